/* JSON strings of one width to the strings that they mean, each behind its length; parquet.py says what for. */
#include "../runtime/kernel.h"

#define LENGTH_BYTES 4

static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Returns the number of four hexadecimal digits, or -1. */
static int32_t read_unit(const uint8_t *at, const uint8_t *end)
{
    int32_t unit = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int value = hex_value(at[i]);
        if (value < 0)
            return -1;
        unit = unit << 4 | value;
    }
    return unit;
}

static uint8_t *write_utf8(uint8_t *out, uint32_t point)
{
    int n_more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t leads[] = {0, 0xC0, 0xE0, 0xF0};
    *out++ = (uint8_t)(leads[n_more] | point >> 6 * n_more);
    for (int i = n_more - 1; i >= 0; i--)
        *out++ = (uint8_t)(0x80 | (point >> 6 * i & 0x3F));
    return out;
}

/* Writes what an escape means, whose backslash is before `*at`; moves `*at` behind it. NULL: it is none. */
static uint8_t *write_escape(const uint8_t **at, const uint8_t *end, uint8_t *out)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (*at == end)
        return NULL;
    uint8_t kind = *(*at)++;
    const char *name = kind ? strchr(names, kind) : NULL;
    if (name) {
        *out++ = (uint8_t)meanings[name - names];
        return out;
    }
    int32_t unit = kind == 'u' ? read_unit(*at, end) : -1;
    if (unit < 0)
        return NULL;
    *at += 4;
    if (unit < 0xD800 || unit > 0xDFFF)
        return write_utf8(out, (uint32_t)unit);
    int32_t low = end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' ? read_unit(*at + 2, end) : -1;
    if (unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF)
        return NULL;
    *at += 6;
    return write_utf8(out, 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
}

/* Writes the content of the JSON string [at, end), quotes included; NULL: it is none. Never longer than it. */
static uint8_t *write_content(const uint8_t *at, const uint8_t *end, uint8_t *out)
{
    while (end > at && end[-1] == ' ')
        end--;
    if (end - at < 2 || *at++ != '"' || *--end != '"')
        return NULL;
    for (;;) {
        const uint8_t *escape = memchr(at, '\\', (size_t)(end - at));
        size_t n = (size_t)((escape ? escape : end) - at);
        memcpy(out, at, n);
        out += n;
        if (!escape)
            return out;
        at = escape + 1;
        out = write_escape(&at, end, out);
        if (!out)
            return NULL;
    }
}

PyDoc_STRVAR(write_strings_doc,
             "write_strings(strings, width, out)\n--\n\n"
             "Write the strings that ``strings`` (n, width) uint8 mean to ``out`` (bytes); return how many.\n\n"
             "Each is JSON (UTF-8, quotes included) with blanks behind, and becomes four bytes of length and the\n"
             "content without escapes. ``out`` must hold n * (width + 4) bytes. ValueError for what is no JSON.");

static PyObject *write_strings(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer views[2];
    int n_open = 0;
    PyObject *result = NULL;
    if (!kernel_is_called_with(n_args, 3))
        return NULL;
    Py_ssize_t width = PyLong_AsSsize_t(args[1]);
    if (PyErr_Occurred())
        return NULL;
    if (width < 1) {
        PyErr_SetString(PyExc_ValueError, "a width of at least 1 is needed");
        return NULL;
    }
    const Wanted strings_wanted = {args[0], 0, 1, 0, "strings"};
    if (kernel_open(&strings_wanted, 1, views, &n_open) < 0)
        goto end;
    Py_ssize_t n = views[0].len / width;
    const Wanted out_wanted = {args[2], 1, 1, n * (width + LENGTH_BYTES), "out"};
    if (kernel_open(&out_wanted, 1, views, &n_open) < 0)
        goto end;
    const uint8_t *strings = views[0].buf;
    uint8_t *begin = views[1].buf, *out = begin;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < n && out; i++) {
        uint8_t *length_at = out;
        out = write_content(strings + i * width, strings + (i + 1) * width, out + LENGTH_BYTES);
        if (out) {
            uint32_t length = (uint32_t)(out - length_at - LENGTH_BYTES);
            memcpy(length_at, &length, LENGTH_BYTES);
        }
    }
    Py_END_ALLOW_THREADS
    if (out)
        result = PyLong_FromSsize_t(out - begin);
    else
        PyErr_SetString(PyExc_ValueError, "not strings of JSON");
end:
    kernel_close(views, n_open);
    return result;
}

KERNEL_MODULE("_strings", "JSON strings to what they mean.", KERNEL(write_strings));

PyMODINIT_FUNC PyInit__strings(void) { return kernel_module(&definition); }
