/* Rows to lines of one length; jsonl.py has their layout, the template that they are written over, and the tables. */
#include "../runtime/kernel.h"

/* Offsets in a line and widths of its parts, in bytes; `d`: numbers in an embedding. */
typedef struct {
    Py_ssize_t line_bytes, id_at, id_bytes, content_at, content_bytes, embedding_at, d, cell_bytes, tail_at,
        confidence_at;
} Layout;

typedef struct {
    Layout layout;
    const uint8_t *ids, *contents;
    const int32_t *numbers, *confidences;
    const uint64_t *lead_table;
    const uint8_t *tail_table;
    uint32_t *leads, *tails, n_leads;
    uint8_t *lines;
    Py_ssize_t n;
    int tail_digits;
} Lines;

#define CONFIDENCE_DIGITS 6

/* `power` and `width` are constants where this is expanded: a division becomes a product, a copy a store. */
INLINE void write_numbers(const Lines *job, const int32_t *numbers, uint8_t *cell, const uint32_t power,
                          const int width)
{
    Py_ssize_t d = job->layout.d, cell_bytes = job->layout.cell_bytes, tail_at = job->layout.tail_at;
    uint32_t *restrict leads = job->leads, *restrict tails = job->tails;
    const uint64_t *lead_table = job->lead_table;
    const uint8_t *tail_table = job->tail_table;
    uint32_t n_leads = job->n_leads;
    for (Py_ssize_t j = 0; j < d; j++) {
        int32_t number = numbers[j], sign = number >> 31;
        uint32_t size = (uint32_t)((number ^ sign) - sign), lead = size / power;
        tails[j] = size - lead * power;
        lead = lead < n_leads ? lead : n_leads - 1; /* no number may read beyond the table */
        leads[j] = lead + (n_leads & ~(uint32_t)sign); /* negative ones come first */
    }
    for (Py_ssize_t j = 0; j < d; j++, cell += cell_bytes) {
        memcpy(cell, lead_table + leads[j], 8);
        if (width) /* behind the first part, whose bytes may be more than its digits */
            memcpy(cell + tail_at, tail_table + (size_t)tails[j] * width, width);
    }
}

INLINE void write_confidence(uint8_t *at, uint32_t millionths)
{
    at[0] = (uint8_t)('0' + millionths / 1000000 % 10);
    at[1] = '.';
    for (int i = CONFIDENCE_DIGITS; i > 0; i--, millionths /= 10)
        at[1 + i] = (uint8_t)('0' + millionths % 10);
}

INLINE void write_lines_of(const Lines *job, const uint32_t power, const int width)
{
    const Layout *layout = &job->layout;
    for (Py_ssize_t row = 0; row < job->n; row++) {
        uint8_t *line = job->lines + row * layout->line_bytes;
        memcpy(line + layout->id_at, job->ids + row * layout->id_bytes, layout->id_bytes);
        memcpy(line + layout->content_at, job->contents + row * layout->content_bytes, layout->content_bytes);
        write_numbers(job, job->numbers + row * layout->d, line + layout->embedding_at, power, width);
        /* What a table holds may reach up to the comma, and behind the last number there is none. */
        line[layout->embedding_at + layout->d * layout->cell_bytes - 1] = ']';
        write_confidence(line + layout->confidence_at, (uint32_t)job->confidences[row]);
    }
}

INLINE void write_lines_body(const Lines *job)
{
    switch (job->tail_digits) {
    case 0: write_lines_of(job, 1, 0); break;
    case 1: write_lines_of(job, 10, 1); break;
    case 2: write_lines_of(job, 100, 2); break;
    case 3: write_lines_of(job, 1000, 4); break;
    default: write_lines_of(job, 10000, 4); break;
    }
}

KERNEL_VARIANTS(write_lines, const Lines *)

static int fits(const Layout *layout, int tail_digits, int tail_bytes)
{
    return tail_digits >= 0 && tail_digits <= 4 && layout->line_bytes > 0 && layout->id_at >= 0 &&
           layout->id_bytes >= 0 && layout->id_at + layout->id_bytes <= layout->line_bytes &&
           layout->content_at >= 0 && layout->content_bytes >= 0 &&
           layout->content_at + layout->content_bytes <= layout->line_bytes && layout->embedding_at >= 0 &&
           layout->d >= 1 && layout->cell_bytes >= 8 && layout->tail_at >= 0 &&
           layout->tail_at + tail_bytes <= layout->cell_bytes &&
           layout->embedding_at + layout->d * layout->cell_bytes <= layout->line_bytes &&
           layout->confidence_at >= 0 && layout->confidence_at + 2 + CONFIDENCE_DIGITS <= layout->line_bytes;
}

PyDoc_STRVAR(write_lines_doc,
             "write_lines(rows, tables, tail_digits, layout, lines)\n--\n\n"
             "Write n rows over the template in ``lines`` (n, line_bytes) uint8, n = len(confidences).\n\n"
             "``rows``: ids (n, i) uint8, contents (n, c) uint8, numbers (n, d) int32, confidences (n,) int32;\n"
             "``tables``: eight bytes (2 L,) uint64 by number without its last ``tail_digits`` (0 to 4),\n"
             "negative ones first, and the bytes of those; ``layout``: line_bytes, id_at, id_bytes, content_at,\n"
             "content_bytes, embedding_at, d, cell_bytes, tail_at, confidence_at.");

static PyObject *write_lines(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    static const int tail_bytes[] = {0, 1, 2, 4, 4};
    static const int powers[] = {1, 10, 100, 1000, 10000};
    Py_buffer views[7];
    int n_open = 0, tail_digits;
    PyObject *result = NULL, *ids, *contents, *numbers, *confidences, *leads, *tails;
    Lines job = {.leads = NULL};
    Layout *layout = &job.layout;
    if (!kernel_is_called_with(n_args, 5))
        return NULL;
    tail_digits = (int)PyLong_AsLong(args[2]);
    if (PyErr_Occurred() || !PyArg_ParseTuple(args[0], "OOOO", &ids, &contents, &numbers, &confidences) ||
        !PyArg_ParseTuple(args[1], "OO", &leads, &tails) ||
        !PyArg_ParseTuple(args[3], "nnnnnnnnnn", &layout->line_bytes, &layout->id_at, &layout->id_bytes,
                          &layout->content_at, &layout->content_bytes, &layout->embedding_at, &layout->d,
                          &layout->cell_bytes, &layout->tail_at, &layout->confidence_at))
        return NULL;
    if (!fits(layout, tail_digits, tail_digits >= 0 && tail_digits <= 4 ? tail_bytes[tail_digits] : 0)) {
        PyErr_SetString(PyExc_ValueError, "the parts do not fit the line");
        return NULL;
    }
    const Wanted first = {confidences, 0, 4, 0, "confidences"};
    if (kernel_open(&first, 1, views, &n_open) < 0)
        goto end;
    job.tail_digits = tail_digits;
    job.n = views[0].len / 4;
    const Wanted wanted[] = {
        {ids, 0, 1, job.n * layout->id_bytes, "ids"},
        {contents, 0, 1, job.n * layout->content_bytes, "contents"},
        {numbers, 0, 4, job.n * layout->d, "numbers"},
        {leads, 0, 8, 2, "the first table"},
        {tails, 0, 1, tail_digits ? powers[tail_digits] * tail_bytes[tail_digits] : 0, "the second table"},
        {args[4], 1, 1, job.n * layout->line_bytes, "lines"},
    };
    if (kernel_open(wanted, 6, views, &n_open) < 0)
        goto end;
    job.confidences = views[0].buf;
    job.ids = views[1].buf;
    job.contents = views[2].buf;
    job.numbers = views[3].buf;
    job.lead_table = views[4].buf;
    job.n_leads = (uint32_t)(views[4].len / 16);
    job.tail_table = views[5].buf;
    job.lines = views[6].buf;
    job.leads = malloc((size_t)layout->d * 2 * sizeof(uint32_t));
    if (!job.leads) {
        PyErr_NoMemory();
        goto end;
    }
    job.tails = job.leads + layout->d;
    KERNEL_RUN(write_lines, &job);
    result = Py_NewRef(Py_None);
end:
    free(job.leads);
    kernel_close(views, n_open);
    return result;
}

KERNEL_MODULE("_lines", "Rows to lines of one length.", KERNEL(write_lines));

PyMODINIT_FUNC PyInit__lines(void) { return kernel_module(&definition); }
