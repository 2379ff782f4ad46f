/* What the compiled kernels of several rooms share: checked buffers, and the choice of vector code.
 *
 * Kernels are plain C that compilers vectorise. Each is compiled twice on x86-64, for the baseline and for
 * AVX2, and chosen when the module is loaded; SYNTHGEN_BASELINE_CODE=1 in the environment keeps the baseline (a
 * test compares the bits). No result depends on it: sums are exact in any order, and contraction of products
 * and sums into one rounding is off (setup's -ffp-contract=off).
 */
#ifndef SYNTHGEN_KERNEL_H
#define SYNTHGEN_KERNEL_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000 /* one build for every Python from 3.11 on */
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "synthgen's kernels are written for little-endian machines"
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define HAS_WIDE 1
#define WIDE __attribute__((target("avx2,bmi2")))
#else
#define HAS_WIDE 0
#define WIDE
#endif

static int kernel_is_wide(void)
{
#if HAS_WIDE
    const char *baseline = getenv("SYNTHGEN_BASELINE_CODE");
    __builtin_cpu_init();
    return !(baseline && *baseline) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#else
    return 0;
#endif
}

/* Opens `object` as a C-contiguous buffer of items of `item_bytes`; at least `n_least` of them. */
static int kernel_open(PyObject *object, Py_buffer *view, int writable, Py_ssize_t item_bytes,
                       Py_ssize_t n_least, const char *name)
{
    if (PyObject_GetBuffer(object, view, (writable ? PyBUF_WRITABLE : 0) | PyBUF_C_CONTIGUOUS) < 0)
        return -1;
    if (view->itemsize == item_bytes && view->len / item_bytes >= n_least)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s: %zd items of %zd bytes, at least %zd of %zd are needed", name,
                 view->itemsize ? view->len / view->itemsize : 0, view->itemsize, n_least, item_bytes);
    PyBuffer_Release(view);
    return -1;
}

static void kernel_close(Py_buffer *views, int n)
{
    for (int i = 0; i < n; i++)
        PyBuffer_Release(&views[i]);
}

#endif
