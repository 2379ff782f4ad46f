/* The inner loops of both laws: random words to components on the grid. isotropic.py and mixture.py say what
 * is computed and why it is exact; streams.py which words belong to which row.
 */
#include "../runtime/kernel.h"
#include <math.h>

typedef unsigned __int128 Wide;

/* PCG64 DXSM (O'Neill 2014; the variant and its multiplier as in numpy, whose words these are, bit for bit). */
typedef struct {
    Wide state, increment;
} Words;

#define MULTIPLIER 0xda942042e4dd58b5ULL

INLINE uint64_t next_word(Words *words)
{
    uint64_t high = (uint64_t)(words->state >> 64), low = (uint64_t)words->state | 1;
    words->state = words->state * MULTIPLIER + words->increment;
    high ^= high >> 32;
    high *= MULTIPLIER;
    high ^= high >> 48;
    return high * low;
}

static Words read_words(const uint64_t *state)
{
    return (Words){((Wide)state[1] << 64) | state[0], ((Wide)state[3] << 64) | state[2]};
}

static void write_words(const Words *words, uint64_t *state)
{
    state[0] = (uint64_t)words->state;
    state[1] = (uint64_t)(words->state >> 64);
}

/* The nearest integer, ties to even, of |x| < 2**31: adding 1.5 x 2**52 leaves no bits behind the point. */
INLINE int32_t nearest(double x)
{
    union {
        double real;
        int64_t bits;
    } sum = {x + 0x1.8p52};
    return (int32_t)sum.bits;
}

INLINE void round_all(const double *vector, double factor, int32_t *out, Py_ssize_t d)
{
    for (Py_ssize_t j = 0; j < d; j++)
        out[j] = nearest(vector[j] * factor);
}

/* Sums of squares of integers below 2**52 in all: exact, so the eight parts may be added in any order. */
INLINE double sum_squares(const double *vector, Py_ssize_t d)
{
    double parts[8] = {0};
    Py_ssize_t j = 0;
    for (; j + 8 <= d; j += 8)
        for (int k = 0; k < 8; k++)
            parts[k] += vector[j + k] * vector[j + k];
    for (; j < d; j++)
        parts[0] += vector[j] * vector[j];
    return ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]));
}

typedef struct {
    Words words;
    const int32_t *noise, *centroids;
    const int64_t *clusters;
    double grid, *vector;
    int32_t *out;
    Py_ssize_t n, d;
} Isotropic;

INLINE void draw_isotropic_body(Isotropic *job)
{
    Words words = job->words;
    const int32_t *noise = job->noise;
    double *restrict vector = job->vector;
    Py_ssize_t d = job->d;
    for (Py_ssize_t row = 0; row < job->n; row++) {
        const int32_t *centre = job->centroids + job->clusters[row] * d;
        int32_t *restrict out = job->out + row * d;
        Py_ssize_t j = 0;
        for (; j + 4 <= d; j += 4) { /* four 16-bit draws a word, little end first */
            uint64_t word = next_word(&words);
            out[j] = noise[word & 0xffff];
            out[j + 1] = noise[word >> 16 & 0xffff];
            out[j + 2] = noise[word >> 32 & 0xffff];
            out[j + 3] = noise[word >> 48];
        }
        if (j < d)
            for (uint64_t word = next_word(&words); j < d; j++, word >>= 16)
                out[j] = noise[word & 0xffff];
        for (j = 0; j < d; j++)
            vector[j] = out[j] + centre[j];
        round_all(vector, job->grid / sqrt(sum_squares(vector, d)), out, d);
    }
    job->words = words;
}

KERNEL_VARIANTS(draw_isotropic, Isotropic *)

#define N_VECTORS 11

typedef struct {
    Words words;
    const int8_t *table;
    const int64_t *places;
    const float *weights;
    const double *middle, *factors;
    double *vector;
    uint64_t *bytes;
    int32_t *out;
    Py_ssize_t n, d;
} Mixture;

INLINE void mix_row(const int8_t *const *v, const float *w, const int8_t *noise, const double *middle,
                    double *restrict out, Py_ssize_t d)
{
    for (Py_ssize_t j = 0; j < d; j++) {
        float near = w[0] * v[0][j] + w[1] * v[1][j] + w[2] * v[2][j] + w[3] * v[3][j];
        float far = w[4] * v[4][j] + w[5] * v[5][j] + w[6] * v[6][j] + w[7] * v[7][j];
        float rest = w[8] * v[8][j] + w[9] * v[9][j] + w[10] * v[10][j] + w[11] * (float)(int8_t)(noise[j] | 1);
        out[j] = (double)((near + far) + rest) + middle[j];
    }
}

/* Vectors lie anywhere in a table that no core's cache holds: ask for the next row's while mixing this one. */
INLINE void prefetch_row(const int8_t *table, const int64_t *places, Py_ssize_t d)
{
    for (int k = 0; k < N_VECTORS; k++)
        for (Py_ssize_t j = 0; j < d; j += 64)
            __builtin_prefetch(table + places[k] * d + j);
}

INLINE void draw_mixture_body(Mixture *job)
{
    Words words = job->words;
    Py_ssize_t d = job->d, n_words = (d + 7) / 8;
    for (Py_ssize_t row = 0; row < job->n; row++) {
        const int64_t *places = job->places + row * N_VECTORS;
        const int8_t *vectors[N_VECTORS];
        for (int k = 0; k < N_VECTORS; k++)
            vectors[k] = job->table + places[k] * d;
        if (row + 1 < job->n)
            prefetch_row(job->table, places + N_VECTORS, d);
        for (Py_ssize_t i = 0; i < n_words; i++) /* eight 8-bit draws a word */
            job->bytes[i] = next_word(&words);
        mix_row(vectors, job->weights + row * (N_VECTORS + 1), (const int8_t *)job->bytes, job->middle,
                job->vector, d);
        round_all(job->vector, job->factors[row] / sqrt(sum_squares(job->vector, d)), job->out + row * d, d);
    }
    job->words = words;
}

KERNEL_VARIANTS(draw_mixture, Mixture *)

static int check_places(const int64_t *places, Py_ssize_t n, Py_ssize_t n_rows, const char *name)
{
    for (Py_ssize_t i = 0; i < n; i++)
        if (places[i] < 0 || places[i] >= n_rows) {
            PyErr_Format(PyExc_IndexError, "%s: %lld is none of %zd rows", name, (long long)places[i], n_rows);
            return -1;
        }
    return 0;
}

PyDoc_STRVAR(draw_isotropic_doc,
             "draw_isotropic(state, noise, centroids, clusters, grid, out, dimension)\n--\n\n"
             "Write rows of the isotropic law to ``out`` (n, d) int32, n = len(``clusters``), int64.\n\n"
             "``state``: (4,) uint64 of the stream, moved on; ``noise`` (65536,) int32 and ``centroids``\n"
             "(k, d) int32 in one unit; ``grid``: steps of the grid a unit of length.");

static PyObject *draw_isotropic(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer views[5];
    int n_open = 0;
    PyObject *result = NULL;
    Isotropic job = {.vector = NULL};
    if (!kernel_is_called_with(n_args, 7))
        return NULL;
    job.grid = PyFloat_AsDouble(args[4]);
    job.d = PyLong_AsSsize_t(args[6]);
    if (PyErr_Occurred())
        return NULL;
    if (job.d < 1) {
        PyErr_SetString(PyExc_ValueError, "dimension: at least 1 is needed");
        return NULL;
    }
    const Wanted read[] = {
        {args[0], 1, 8, 4, "state"},
        {args[1], 0, 4, 65536, "noise"},
        {args[2], 0, 4, job.d, "centroids"},
        {args[3], 0, 8, 0, "clusters"},
    };
    if (kernel_open(read, 4, views, &n_open) < 0)
        goto end;
    job.n = views[3].len / 8;
    const Wanted out = {args[5], 1, 4, job.n * job.d, "out"};
    if (kernel_open(&out, 1, views, &n_open) < 0)
        goto end;
    job.noise = views[1].buf;
    job.centroids = views[2].buf;
    job.clusters = views[3].buf;
    job.out = views[4].buf;
    if (check_places(job.clusters, job.n, views[2].len / 4 / job.d, "clusters") < 0)
        goto end;
    job.vector = malloc((size_t)job.d * sizeof(double));
    if (!job.vector) {
        PyErr_NoMemory();
        goto end;
    }
    job.words = read_words(views[0].buf);
    KERNEL_RUN(draw_isotropic, &job);
    write_words(&job.words, views[0].buf);
    result = Py_NewRef(Py_None);
end:
    free(job.vector);
    kernel_close(views, n_open);
    return result;
}

PyDoc_STRVAR(draw_mixture_doc,
             "draw_mixture(state, table, places, weights, middle, factors, out, dimension)\n--\n\n"
             "Write rows of the mixture law to ``out`` (n, d) int32, n = len(``factors``), float64.\n\n"
             "``state``: (4,) uint64 of the stream of noise, moved on; ``table`` (m, d) int8; ``places``\n"
             "(n, 11) int64 its rows to mix; ``weights`` (n, 12) float32, integers, the last of the noise;\n"
             "``middle`` (d,) float64, integers, what is added to all; ``factors``: lengths in steps.");

static PyObject *draw_mixture(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer views[7];
    int n_open = 0;
    PyObject *result = NULL;
    Mixture job = {.vector = NULL};
    if (!kernel_is_called_with(n_args, 8))
        return NULL;
    job.d = PyLong_AsSsize_t(args[7]);
    if (PyErr_Occurred())
        return NULL;
    if (job.d < 1) {
        PyErr_SetString(PyExc_ValueError, "dimension: at least 1 is needed");
        return NULL;
    }
    const Wanted factors = {args[5], 0, 8, 0, "factors"};
    if (kernel_open(&factors, 1, views, &n_open) < 0)
        goto end;
    job.n = views[0].len / 8;
    const Wanted wanted[] = {
        {args[0], 1, 8, 4, "state"},
        {args[1], 0, 1, job.d, "table"},
        {args[2], 0, 8, job.n * N_VECTORS, "places"},
        {args[3], 0, 4, job.n * (N_VECTORS + 1), "weights"},
        {args[4], 0, 8, job.d, "middle"},
        {args[6], 1, 4, job.n * job.d, "out"},
    };
    if (kernel_open(wanted, 6, views, &n_open) < 0)
        goto end;
    job.factors = views[0].buf;
    job.table = views[2].buf;
    job.places = views[3].buf;
    job.weights = views[4].buf;
    job.middle = views[5].buf;
    job.out = views[6].buf;
    if (check_places(job.places, job.n * N_VECTORS, views[2].len / job.d, "places") < 0)
        goto end;
    job.vector = malloc((size_t)job.d * sizeof(double) + (size_t)(job.d + 7) / 8 * sizeof(uint64_t));
    if (!job.vector) {
        PyErr_NoMemory();
        goto end;
    }
    job.bytes = (uint64_t *)(job.vector + job.d);
    job.words = read_words(views[1].buf);
    KERNEL_RUN(draw_mixture, &job);
    write_words(&job.words, views[1].buf);
    result = Py_NewRef(Py_None);
end:
    free(job.vector);
    kernel_close(views, n_open);
    return result;
}

/* Texts of any length, one behind the other: text i at `bytes` + starts[i], up to starts[i + 1]. */
typedef struct {
    const uint8_t *bytes;
    const int64_t *starts, *places;
} Texts;

INLINE uint8_t *copy_text(uint8_t *to, const Texts *texts, Py_ssize_t row)
{
    const int64_t *start = texts->starts + texts->places[row];
    memcpy(to, texts->bytes + start[0], (size_t)(start[1] - start[0]));
    return to + (start[1] - start[0]);
}

PyDoc_STRVAR(join_texts_doc,
             "join_texts(near, towards, out, at)\n--\n\n"
             "Write into each row of ``out`` (n, w) uint8, from byte ``at`` on, two texts, then blanks.\n\n"
             "``near``, ``towards``: bytes of all texts uint8, starts of each (m + 1,) int64 ascending, places of\n"
             "the rows' texts (n,) int64.");

static PyObject *join_texts(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer views[7];
    int n_open = 0;
    PyObject *result = NULL;
    Texts texts[2];
    Py_ssize_t n = 0, longest = 0;
    if (!kernel_is_called_with(n_args, 4))
        return NULL;
    Py_ssize_t at = PyLong_AsSsize_t(args[3]);
    for (int side = 0; side < 2; side++) {
        PyObject *parts[3];
        if (PyErr_Occurred() || !PyArg_ParseTuple(args[side], "OOO", &parts[0], &parts[1], &parts[2]))
            goto end;
        const Wanted of_texts[] = {
            {parts[0], 0, 1, 0, "texts"}, {parts[1], 0, 8, 2, "starts"}, {parts[2], 0, 8, 0, "places"}};
        if (kernel_open(of_texts, 3, views, &n_open) < 0)
            goto end;
        const Py_buffer *of_side = &views[3 * side];
        texts[side] = (Texts){of_side[0].buf, of_side[1].buf, of_side[2].buf};
        Py_ssize_t n_texts = of_side[1].len / 8 - 1, most = 0;
        const int64_t *starts = texts[side].starts;
        if (side && of_side[2].len / 8 != n) {
            PyErr_SetString(PyExc_ValueError, "as many places are needed of both");
            goto end;
        }
        n = of_side[2].len / 8;
        if (check_places(texts[side].places, n, n_texts, "places") < 0)
            goto end;
        for (Py_ssize_t row = 0; row < n; row++) {
            int64_t place = texts[side].places[row], bytes = starts[place + 1] - starts[place];
            if (starts[place] < 0 || bytes < 0 || starts[place + 1] > of_side[0].len) {
                PyErr_SetString(PyExc_ValueError, "starts: not within the texts");
                goto end;
            }
            most = bytes > most ? bytes : most;
        }
        longest += most;
    }
    const Wanted out = {args[2], 1, 1, n, "out"};
    if (kernel_open(&out, 1, views, &n_open) < 0)
        goto end;
    Py_ssize_t width = n ? views[6].len / n : 0;
    if (at < 0 || (n && at + longest > width)) {
        PyErr_SetString(PyExc_ValueError, "out: the texts do not fit");
        goto end;
    }
    for (Py_ssize_t row = 0; row < n; row++) {
        uint8_t *line = (uint8_t *)views[6].buf + row * width, *to;
        to = copy_text(line + at, &texts[0], row);
        to = copy_text(to, &texts[1], row);
        memset(to, ' ', (size_t)(line + width - to));
    }
    result = Py_NewRef(Py_None);
end:
    kernel_close(views, n_open);
    return result;
}

KERNEL_MODULE("_rows", "Inner loops of the laws of geometry.", KERNEL(draw_isotropic), KERNEL(draw_mixture),
              KERNEL(join_texts));

PyMODINIT_FUNC PyInit__rows(void) { return kernel_module(&definition); }
