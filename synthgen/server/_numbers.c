/* The one long array of a JSON text to floats, without an object for each number; parsing.py says what for. */
#include "../runtime/kernel.h"
#include <float.h>

/* Powers of ten that are exact doubles. */
#define MAX_POWER 22
static const double powers[MAX_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
/* Digits whose number always fits 64 bits, and the largest integer below which all are exact doubles. */
#define MAX_DIGITS 18
#define MAX_EXACT ((uint64_t)1 << 53)

INLINE int is_digit(uint8_t byte)
{
    return (uint8_t)(byte - '0') < 10;
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* Reads digits into `*mantissa`; NULL where there is none. */
INLINE const uint8_t *read_digits(const uint8_t *at, const uint8_t *end, uint64_t *mantissa)
{
    const uint8_t *first = at;
    for (; at < end && is_digit(*at); at++)
        *mantissa = *mantissa * 10 + (uint64_t)(*at - '0');
    return at == first ? NULL : at;
}

/* Reads what may follow an "e"; NULL where it is no small exponent. */
static const uint8_t *read_exponent(const uint8_t *at, const uint8_t *end, int *power)
{
    int is_negative = at < end && *at == '-';
    uint64_t digits = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const uint8_t *first = at;
    at = read_digits(at, end, &digits);
    if (!at || at - first > 3)
        return NULL;
    *power += is_negative ? -(int)digits : (int)digits;
    return at;
}

/* Reads the number of JSON at `at` into the nearest double, by way of one division or product of two exact doubles
   (W. D. Clinger 1990, the fast path). NULL: it is none, or takes more than that. */
INLINE const uint8_t *read_number(const uint8_t *at, const uint8_t *end, double *number)
{
    uint64_t mantissa = 0;
    int power = 0, is_negative = at < end && *at == '-';
    at += is_negative;
    const uint8_t *first = at;
    at = read_digits(at, end, &mantissa);
    if (!at || (*first == '0' && at - first > 1))
        return NULL;
    if (at < end && *at == '.') {
        const uint8_t *fraction = at + 1;
        at = read_digits(fraction, end, &mantissa);
        if (!at)
            return NULL;
        power = -(int)(at - fraction < 1000 ? at - fraction : 1000);
    }
    if (at - first > MAX_DIGITS + 1) /* with a point, which may be absent: then 19 digits, which fit, too */
        return NULL;
    if (at < end && (*at | 0x20) == 'e') {
        at = read_exponent(at + 1, end, &power);
        if (!at)
            return NULL;
    }
    if (mantissa > MAX_EXACT || power < -MAX_POWER || power > MAX_POWER)
        return NULL;
    if (is_negative && !mantissa && !power) /* an integer, which has no negative zero */
        return NULL;
    double value = power < 0 ? (double)mantissa / powers[-power] : (double)mantissa * powers[power];
    *number = is_negative ? -value : value;
    return at;
}

/* Reads an array of exactly `n` numbers, each finite as a float32, not all zero; NULL where it is none. */
static const uint8_t *read_array(const uint8_t *at, const uint8_t *end, float *out, Py_ssize_t n)
{
    int is_any = 0;
    if (at == end || *at++ != '[')
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        double number;
        at = read_number(skip_blanks(at, end), end, &number);
        if (!at)
            return NULL;
        out[i] = (float)number;
        if (!(out[i] >= -FLT_MAX && out[i] <= FLT_MAX))
            return NULL;
        is_any |= out[i] != 0;
        at = skip_blanks(at, end);
        if (at == end || *at++ != (i + 1 < n ? ',' : ']'))
            return NULL;
    }
    return is_any ? at : NULL;
}

/* Returns the first `"key":` of a text, quotes included in `key`: what follows its colon and blanks; NULL: none. */
static const uint8_t *find_value(const uint8_t *at, const uint8_t *end, const Py_buffer *key)
{
    const uint8_t *name = key->buf;
    size_t n = (size_t)key->len;
    for (const uint8_t *begin = at; (size_t)(end - at) >= n; at++) {
        at = memchr(at, name[0], (size_t)(end - at) - n + 1);
        if (!at)
            return NULL;
        if (memcmp(at, name, n) || (at > begin && at[-1] == '\\'))
            continue;
        const uint8_t *colon = skip_blanks(at + n, end);
        if (colon < end && *colon == ':')
            return skip_blanks(colon + 1, end);
    }
    return NULL;
}

PyDoc_STRVAR(read_array_of_doc,
             "read_array_of(text, key, out)\n--\n\n"
             "Read the array behind the first ``key`` (bytes, with its quotes) of a JSON ``text`` (bytes) into ``out``\n"
             "(n float32); return where the array begins and ends in it.\n\n"
             "Each number becomes the nearest double and that the nearest float32. None where there is no such key, or\n"
             "its value is not an array of exactly n numbers, each finite as a float32 and not all zero, or one of them\n"
             "has too many digits to be read by one exact operation. The rest of ``text`` is not looked at: whether the\n"
             "key is one of the outermost object is for the caller to see.");

static PyObject *read_array_of(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer views[3];
    int n_open = 0;
    PyObject *result = NULL;
    if (!kernel_is_called_with(n_args, 3))
        return NULL;
    const Wanted wanted[] = {{args[0], 0, 1, 0, "text"}, {args[1], 0, 1, 3, "key"}, {args[2], 1, 4, 1, "out"}};
    if (kernel_open(wanted, 3, views, &n_open) < 0)
        goto end;
    const uint8_t *text = views[0].buf, *text_end = text + views[0].len;
    const uint8_t *begin = find_value(text, text_end, &views[1]);
    const uint8_t *behind = begin ? read_array(begin, text_end, views[2].buf, views[2].len / 4) : NULL;
    result = behind ? Py_BuildValue("(nn)", (Py_ssize_t)(begin - text), (Py_ssize_t)(behind - text))
                    : Py_NewRef(Py_None);
end:
    kernel_close(views, n_open);
    return result;
}

KERNEL_MODULE("_numbers", "An array of JSON to floats.", KERNEL(read_array_of));

PyMODINIT_FUNC PyInit__numbers(void) { return kernel_module(&definition); }
