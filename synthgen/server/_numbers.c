/* The one long array of a JSON text to floats, without an object for each number; parsing.py says what for. */
#include "../runtime/kernel.h"
#include <float.h>

/* Powers of ten that are exact doubles. */
#define MAX_POWER 22
static const double powers[MAX_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
/* Powers of five that fit 64 bits: shifted so that the first is 1, by how many, and the reciprocal of that. */
#define MAX_FIVES 27
static struct { uint64_t divisor, reciprocal; int zeros; } fives[MAX_FIVES + 1];
/* Digits, without zeros before them, whose number always fits 64 bits, and up to which all are exact doubles. */
#define MAX_DIGITS 19
#define MAX_EXACT ((uint64_t)1 << 53)
static const uint32_t tens[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

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

/* Returns mantissa / 10**power, rounded once: the quotient to 64 bits, and in its last whether there is a rest.
   The mantissa is not 0, the power from 1 to MAX_FIVES: all are normal doubles. (N. Moeller and T. Granlund, "Improved
   division by invariant integers", 2011, algorithm 4.) */
static double divide(uint64_t mantissa, int power)
{
    uint64_t divisor = fives[power].divisor;
    int zeros = __builtin_clzll(mantissa);
    uint64_t dividend = mantissa << zeros;
    int shift = 63 + (dividend < divisor); /* so that the quotient has 64 bits, the first of them 1 */
    unsigned __int128 wide = (unsigned __int128)dividend << shift;
    unsigned __int128 product = (unsigned __int128)fives[power].reciprocal * (uint64_t)(wide >> 64) + wide;
    uint64_t quotient = (uint64_t)(product >> 64) + 1, rest = (uint64_t)wide - quotient * divisor;
    if (rest > (uint64_t)product) {
        quotient--;
        rest += divisor;
    }
    if (rest >= divisor) {
        quotient++;
        rest -= divisor;
    }
    quotient |= rest != 0;
    /* A power of two: exact. */
    uint64_t scale = (uint64_t)(1023 - shift - power - zeros + fives[power].zeros) << 52;
    double factor;
    memcpy(&factor, &scale, 8);
    return (double)quotient * factor;
}

/* How many digits there are from the first that is not 0 on, in digits that may have a point among them. */
static int significant_digits(const uint8_t *at, const uint8_t *end)
{
    int n = 0;
    for (; at < end; at++)
        n += is_digit(*at) && (n || *at != '0');
    return n;
}

/* Reads the number of JSON at `at` into the nearest double: by one division or product of two exact doubles (W. D.
   Clinger 1990, the fast path), or of integers. NULL: it is none, or takes more than that. */
static const uint8_t *read_number(const uint8_t *at, const uint8_t *end, double *number)
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
    if (at - first > MAX_DIGITS && significant_digits(first, at) > MAX_DIGITS)
        return NULL;
    if (at < end && (*at | 0x20) == 'e') {
        at = read_exponent(at + 1, end, &power);
        if (!at)
            return NULL;
    }
    double value;
    if (mantissa <= MAX_EXACT && power >= -MAX_POWER && power <= MAX_POWER)
        value = power < 0 ? (double)mantissa / powers[-power] : (double)mantissa * powers[power];
    else if (mantissa && power < 0 && power >= -MAX_FIVES)
        value = divide(mantissa, -power);
    else
        return NULL;
    if (is_negative && !mantissa && !power) /* an integer, which has no negative zero */
        return NULL;
    *number = is_negative ? -value : value;
    return at;
}

#define EIGHT(byte) ((uint64_t)0x0101010101010101 * (byte))

INLINE uint64_t load_8(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* Returns the number that the last `n` of the eight bytes before `end` are, 0 to 8 of them; sets `*bad` where they are
   not all digits. Three products (D. Lemire, "Number parsing at a gigabyte per second", 2021, section 5). */
INLINE uint64_t digits_before(const uint8_t *end, int n, uint64_t *bad)
{
    int half = 4 * (8 - n); /* of a shift by up to 64 bits */
    uint64_t digits = (load_8(end - 8) >> half >> half) - (EIGHT('0') >> half >> half);
    *bad |= (digits | (digits + EIGHT(0x76))) & EIGHT(0x80);
    digits = digits << half << half; /* zeros before them */
    digits = digits * 10 + (digits >> 8);
    return ((digits & 0x000000FF000000FF) * 0x000F424000000064 +
            ((digits >> 16) & 0x000000FF000000FF) * 0x0000271000000001) >> 32 & 0xFFFFFFFF;
}

/* Longest fraction that read_short reads, and what it looks at before the end of a number. */
#define MAX_FRACTION 22 /* MAX_POWER */
#define MIN_BEFORE (MAX_FRACTION + 8)

/* Reads all of `at` to `end`, a blank or none, a sign or none, one digit, a point and 1 to 22 digits, into the nearest
   double; returns 0 where it is anything else. There are MIN_BEFORE bytes before `end`, whatever they are. */
INLINE int read_short(const uint8_t *at, const uint8_t *end, double *number)
{
    /* Signs come by chance, and blanks in place of them: a branch would be guessed wrong half of the time. */
    at += *at == ' ';
    uint64_t is_negative = *at == '-';
    at += is_negative;
    int n = (int)(end - at) - 2;
    if (n < 1 || n > MAX_FRACTION || at[1] != '.' || !is_digit(at[0]))
        return 0;
    uint64_t mantissa = (uint64_t)(at[0] - '0'), bad = 0, bits;
    if (n > 16) {
        mantissa = mantissa * tens[n - 16] + digits_before(end - 16, n - 16, &bad);
        if (mantissa >= 1000)
            return 0;
    }
    if (n > 8) {
        int n_middle = n > 16 ? 8 : n - 8;
        mantissa = mantissa * tens[n_middle] + digits_before(end - 8, n_middle, &bad);
    }
    int n_last = n > 8 ? 8 : n;
    mantissa = mantissa * tens[n_last] + digits_before(end, n_last, &bad);
    double value;
    if (mantissa <= MAX_EXACT)
        value = (double)mantissa / powers[n];
    else
        value = divide(mantissa, n);
    memcpy(&bits, &value, 8);
    bits |= is_negative << 63;
    memcpy(number, &bits, 8);
    return !bad;
}

/* Numbers whose ends are looked for at a time. */
#define BLOCK 64

/* Writes where the next BLOCK commas and brackets are, or those up to the last eight bytes; returns how many. `*at` is
   then behind them. The numbers between can be read in any order: none waits for where the one before it ends. */
static int find_ends(const uint8_t **at, const uint8_t *end, const uint8_t **ends)
{
    const uint8_t *word_at = *at;
    int n = 0;
    while (n < BLOCK && word_at < end) {
        uint64_t word = 0;
        if (end - word_at >= 8)
            word = load_8(word_at);
        else
            memcpy(&word, word_at, (size_t)(end - word_at)); /* zeros end nothing */
        uint64_t comma = word ^ EIGHT(','), bracket = word ^ EIGHT(']');
        comma |= (comma & EIGHT(0x7F)) + EIGHT(0x7F); /* the top bit of a byte: it was not 0 */
        bracket |= (bracket & EIGHT(0x7F)) + EIGHT(0x7F);
        for (uint64_t found = ~(comma & bracket) & EIGHT(0x80); found; found &= found - 1)
            ends[n++] = word_at + __builtin_ctzll(found) / 8;
        word_at += 8;
    }
    *at = word_at;
    return n;
}

/* Reads an array of exactly `n` numbers, each finite as a float32, not all zero; NULL where it is none. `text`: where
   what can be read begins. */
static const uint8_t *read_array(const uint8_t *text, const uint8_t *at, const uint8_t *end, float *out, Py_ssize_t n)
{
    const uint8_t *ends[BLOCK + 8], *number_at = at + 1, *next = number_at;
    int is_any = 0;
    if (at == end || *at != '[')
        return NULL;
    for (Py_ssize_t i = 0; i < n;) {
        int n_found = find_ends(&next, end, ends);
        if (n_found == 0)
            return NULL;
        for (int k = 0; k < n_found && i < n; k++, i++) {
            const uint8_t *number_end = ends[k];
            double number;
            if (*number_end != (i + 1 < n ? ',' : ']'))
                return NULL;
            if (number_end - text < MIN_BEFORE || !read_short(number_at, number_end, &number)) {
                const uint8_t *behind = read_number(skip_blanks(number_at, number_end), number_end, &number);
                if (!behind || skip_blanks(behind, number_end) != number_end)
                    return NULL;
            }
            out[i] = (float)number;
            if (!(out[i] >= -FLT_MAX && out[i] <= FLT_MAX))
                return NULL;
            is_any |= out[i] != 0;
            number_at = number_end + 1;
        }
    }
    return is_any ? number_at : NULL;
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
    const uint8_t *behind = begin ? read_array(text, begin, text_end, views[2].buf, views[2].len / 4) : NULL;
    result = behind ? Py_BuildValue("(nn)", (Py_ssize_t)(begin - text), (Py_ssize_t)(behind - text))
                    : Py_NewRef(Py_None);
end:
    kernel_close(views, n_open);
    return result;
}

KERNEL_MODULE("_numbers", "An array of JSON to floats.", KERNEL(read_array_of));

PyMODINIT_FUNC PyInit__numbers(void)
{
    uint64_t five = 1;
    for (int power = 0; power <= MAX_FIVES; power++, five *= 5) {
        fives[power].zeros = __builtin_clzll(five);
        fives[power].divisor = five << fives[power].zeros;
        fives[power].reciprocal = (uint64_t)(~(unsigned __int128)0 / fives[power].divisor);
    }
    return kernel_module(&definition);
}
