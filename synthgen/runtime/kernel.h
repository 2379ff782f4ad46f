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

/* Whether the modules of this process run their vector code; set by kernel_module. */
static int kernel_is_wide __attribute__((unused));

/* Compiles the function NAME_body(TYPE) twice; KERNEL_RUN calls the one for this machine, other threads free. */
#define KERNEL_VARIANTS(NAME, TYPE)                               \
    static void NAME##_baseline(TYPE job) { NAME##_body(job); }   \
    WIDE static void NAME##_wide(TYPE job) { NAME##_body(job); }
#define KERNEL_RUN(NAME, JOB)                \
    do {                                     \
        Py_BEGIN_ALLOW_THREADS               \
        if (kernel_is_wide)                  \
            NAME##_wide(JOB);                \
        else                                 \
            NAME##_baseline(JOB);            \
        Py_END_ALLOW_THREADS                 \
    } while (0)

/* Returns whether a kernel was called with `n` arguments; TypeError where not. */
static inline int kernel_is_called_with(Py_ssize_t n_args, Py_ssize_t n)
{
    if (n_args != n)
        PyErr_Format(PyExc_TypeError, "%zd arguments are needed, not %zd", n, n_args);
    return n_args == n;
}

/* What is wanted as a C-contiguous buffer: at least `n_least` items of `item_bytes`. */
typedef struct {
    PyObject *object;
    int is_written;
    Py_ssize_t item_bytes, n_least;
    const char *name;
} Wanted;

/* Opens `n` buffers behind the `*n_open` that are open already, and counts them there; -1 and an error at the first
   that is not as wanted. */
static inline int kernel_open(const Wanted *wanted, int n, Py_buffer *views, int *n_open)
{
    for (const Wanted *one = wanted; one < wanted + n; one++) {
        Py_buffer *view = &views[*n_open];
        if (PyObject_GetBuffer(one->object, view, (one->is_written ? PyBUF_WRITABLE : 0) | PyBUF_C_CONTIGUOUS) < 0)
            return -1;
        ++*n_open;
        if (view->itemsize != one->item_bytes || view->len / one->item_bytes < one->n_least) {
            PyErr_Format(PyExc_ValueError, "%s: %zd items of %zd bytes, at least %zd of %zd are needed", one->name,
                         view->itemsize ? view->len / view->itemsize : 0, view->itemsize, one->n_least,
                         one->item_bytes);
            return -1;
        }
    }
    return 0;
}

static inline void kernel_close(Py_buffer *views, int n)
{
    for (int i = 0; i < n; i++)
        PyBuffer_Release(&views[i]);
}

/* Chooses the code for this machine, and makes the module, whose `is_wide` tells which it is. */
static inline PyObject *kernel_module(struct PyModuleDef *definition)
{
#if HAS_WIDE
    const char *baseline = getenv("SYNTHGEN_BASELINE_CODE");
    __builtin_cpu_init();
    kernel_is_wide =
        !(baseline && *baseline) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#endif
    PyObject *module = PyModule_Create(definition);
    if (module && PyModule_AddIntConstant(module, "is_wide", kernel_is_wide) < 0)
        Py_CLEAR(module);
    return module;
}

/* The table of one kernel, and the definition of a module of them. */
#define KERNEL(NAME) {#NAME, (PyCFunction)(void (*)(void))NAME, METH_FASTCALL, NAME##_doc}
#define KERNEL_MODULE(NAME, DOC, ...)                                                    \
    static PyMethodDef methods[] = {__VA_ARGS__, {NULL, NULL, 0, NULL}};                 \
    static struct PyModuleDef definition = {                                             \
        PyModuleDef_HEAD_INIT, NAME, DOC, -1, methods, NULL, NULL, NULL, NULL,           \
    }

#endif
