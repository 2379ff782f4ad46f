/* A disk that fails: preloaded, makes the n-th call on files below a folder fail, counted over all processes.
 *
 * SYNTHGEN_FAIL_BELOW  the folder, SYNTHGEN_FAIL_AT the number (1 is the first; 0 counts only),
 * SYNTHGEN_FAIL_ERRNO  what it fails with, SYNTHGEN_FAIL_COUNT a file of 8 bytes that counts the calls.
 * From the n-th call on all fail where SYNTHGEN_FAIL_ON is set: a disk that stays full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic uint64_t *count;
static const char *below;
static uint64_t at;
static int stays, number;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SYNTHGEN_FAIL_COUNT");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int file = path ? real_open(path, O_RDWR) : -1;
    if (file < 0)
        return;
    void *map = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    below = getenv("SYNTHGEN_FAIL_BELOW");
    at = strtoull(getenv("SYNTHGEN_FAIL_AT"), NULL, 10);
    number = atoi(getenv("SYNTHGEN_FAIL_ERRNO"));
    stays = getenv("SYNTHGEN_FAIL_ON") != NULL;
    count = map == MAP_FAILED ? NULL : map;
}

static int fails(void)
{
    uint64_t call = ++*count;
    if (!at || (stays ? call < at : call != at))
        return 0;
    errno = number;
    return 1;
}

static int path_fails(const char *path)
{
    return count && path && !strncmp(path, below, strlen(below)) && fails();
}

static int file_fails(int file)
{
    char link[40], path[4096];
    if (!count)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return path_fails(path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int f, const void *b, size_t n) { REAL(write); return file_fails(f) ? -1 : real(f, b, n); }
ssize_t pwrite(int f, const void *b, size_t n, off_t o) { REAL(pwrite); return file_fails(f) ? -1 : real(f, b, n, o); }
ssize_t pwrite64(int f, const void *b, size_t n, off64_t o) { REAL(pwrite64); return file_fails(f) ? -1 : real(f, b, n, o); }
int fsync(int f) { REAL(fsync); return file_fails(f) ? -1 : real(f); }
int fdatasync(int f) { REAL(fdatasync); return file_fails(f) ? -1 : real(f); }
int ftruncate(int f, off_t n) { REAL(ftruncate); return file_fails(f) ? -1 : real(f, n); }
int ftruncate64(int f, off64_t n) { REAL(ftruncate64); return file_fails(f) ? -1 : real(f, n); }
int posix_fallocate(int f, off_t o, off_t n) { REAL(posix_fallocate); return file_fails(f) ? errno : real(f, o, n); }
int posix_fallocate64(int f, off64_t o, off64_t n) { REAL(posix_fallocate64); return file_fails(f) ? errno : real(f, o, n); }
int rename(const char *a, const char *b) { REAL(rename); return path_fails(b) ? -1 : real(a, b); }
int unlink(const char *p) { REAL(unlink); return number != ENOSPC && path_fails(p) ? -1 : real(p); }

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return flags & (O_WRONLY | O_RDWR) && path_fails(path) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return flags & (O_WRONLY | O_RDWR) && path_fails(path) ? -1 : real(path, flags, mode);
}
