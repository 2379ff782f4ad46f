/* Lines of one length to blocks of a Zstandard frame (RFC 8878), written directly.
 *
 * A general compressor spends its time on finding what repeats. Here that is known: between two numbers of an
 * embedding, `,-0.0` or `, 0.0`. So each number but the first of a line becomes a sequence: as literals the digits
 * of the number before it, then a match of five bytes (four where the first digit behind the point is no 0) with
 * an earlier number of the same sign. Digits are as good as random: Huffman codes are all that can be done.
 *
 * zstd_tables.py makes the codes and says what is in the tables; zstd.py writes a frame's head and checksum.
 */
#include "../runtime/kernel.h"

/* Content of a block: not more than 128 KiB when every literal takes 11 bits, and a line's text comes on top. */
#define BLOCK_BYTES 88000
#define LARGEST_BLOCK 131072
#define LONGEST_TEXT (BLOCK_BYTES / 4)
#define SHORTEST_MATCH 6 /* of text: fewer bytes cost less as literals */
#define LONGEST_MATCH 34 /* of more, the code has further bits */
#define WINDOW_BYTES (1 << 18) /* as in the frame's head */
#define FEWEST_CODED 256       /* literals that are worth four streams */

/* What is remembered from one call to the next within a frame: bytes of content, and what is still to be told. */
enum { POSITION, ANCHOR_POSITIVE, ANCHOR_NEGATIVE, NO_TREE, NO_TABLES, N_STATE };

typedef struct {
    const uint32_t *entries; /* by symbol, then by state: the next state, and bits to write << 16 */
    const uint8_t *description;
    int log, description_bytes;
} Table;

typedef struct {
    Py_ssize_t line_bytes, embedding_at, d, cell_bytes, decimals;
    int has_matches;
    const uint8_t *lines;
    Py_ssize_t n;
    const uint32_t *codes;      /* by byte: code, and its bits << 16 */
    const uint32_t *pair_codes; /* by two bytes, the second one in the low part */
    const uint8_t *tree;
    Py_ssize_t tree_bytes;
    Table lengths, offsets, matches;
    uint8_t *literals, *match_lengths;
    uint32_t *runs, *values;
    int64_t *state;
    uint8_t *out, *out_end;
    int is_full;
} Frame;

/* Bits, the first at the low end; read back from the high end. */
typedef struct {
    uint64_t container;
    unsigned n_bits;
    uint8_t *at;
} Bits;

INLINE void add_bits(Bits *bits, uint64_t value, unsigned n)
{
    bits->container |= value << bits->n_bits;
    bits->n_bits += n;
}

INLINE void flush_bits(Bits *bits)
{
    memcpy(bits->at, &bits->container, 8);
    bits->at += bits->n_bits >> 3;
    bits->container >>= bits->n_bits & ~7u;
    bits->n_bits &= 7;
}

INLINE uint8_t *close_bits(Bits *bits)
{
    add_bits(bits, 1, 1); /* marks the end (section 4.1) */
    flush_bits(bits);
    return bits->at + (bits->n_bits > 0);
}

/* Section 4.2.2: a stream is written from its last literal to its first. */
INLINE uint8_t *write_stream(const Frame *frame, const uint8_t *literals, Py_ssize_t n, uint8_t *out)
{
    const uint32_t *codes = frame->codes, *pair_codes = frame->pair_codes;
    Bits bits = {0, 0, out};
    const uint8_t *at = literals + n;
    if (n & 1) {
        uint32_t code = codes[*--at];
        add_bits(&bits, code & 0xffff, code >> 16);
    }
    while (at - literals >= 4) { /* two pairs of at most 22 bits, and 7 that wait */
        uint16_t pair;
        at -= 2;
        memcpy(&pair, at, 2);
        uint32_t code = pair_codes[pair];
        add_bits(&bits, code & 0x3fffff, code >> 22);
        at -= 2;
        memcpy(&pair, at, 2);
        code = pair_codes[pair];
        add_bits(&bits, code & 0x3fffff, code >> 22);
        flush_bits(&bits);
    }
    while (at > literals) {
        uint32_t code = codes[*--at];
        add_bits(&bits, code & 0xffff, code >> 16);
    }
    flush_bits(&bits);
    return close_bits(&bits);
}

/* Section 3.1.1.3.1: the literals of a block, with their codes the first time. */
INLINE uint8_t *write_literals(const Frame *frame, Py_ssize_t n, uint8_t *out)
{
    if (n < FEWEST_CODED) { /* raw, size in 12 bits */
        uint32_t head = 0 | 1 << 2 | (uint32_t)n << 4;
        out[0] = (uint8_t)head;
        out[1] = (uint8_t)(head >> 8);
        memcpy(out + 2, frame->literals, (size_t)n);
        return out + 2 + n;
    }
    int is_new = (int)frame->state[NO_TREE];
    uint8_t *begin = out + 5, *at = begin, *jumps;
    if (is_new) {
        memcpy(at, frame->tree, (size_t)frame->tree_bytes);
        at += frame->tree_bytes;
    }
    frame->state[NO_TREE] = 0;
    jumps = at;
    at += 6;
    Py_ssize_t part = (n + 3) / 4;
    for (int i = 0; i < 4; i++) {
        uint8_t *end = write_stream(frame, frame->literals + i * part, i < 3 ? part : n - 3 * part, at);
        if (i < 3) {
            jumps[2 * i] = (uint8_t)(end - at);
            jumps[2 * i + 1] = (uint8_t)((end - at) >> 8);
        }
        at = end;
    }
    uint64_t head = (is_new ? 2 : 3) | 3 << 2 | (uint64_t)n << 4 | (uint64_t)(at - begin) << 22;
    memcpy(out, &head, 5);
    return at;
}

/* Section 3.1.1.3.2.1.1: the code of a number of literals, and the bits that follow it. */
INLINE unsigned run_code(uint32_t run)
{
    static const uint8_t codes[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 16, 17, 17, 18, 18,
                                    19, 19, 20, 20, 20, 20, 21, 21, 21, 21, 22, 22, 22, 22, 22, 22, 22, 22, 23, 23, 23, 23,
                                    23, 23, 23, 23, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24};
    return run < 64 ? codes[run] : 50 - (unsigned)__builtin_clz(run);
}

INLINE unsigned run_bits(unsigned code)
{
    static const uint8_t bits[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,  1,
                                   1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    return bits[code];
}

/* One step of a finite state entropy coder: from the state that comes next to the one that leads there. */
INLINE uint32_t encode_symbol(Bits *bits, const Table *table, uint32_t state, unsigned symbol)
{
    uint32_t entry = table->entries[(symbol << table->log) + state], n = entry >> 16;
    add_bits(bits, state & ((1u << n) - 1), n);
    return entry & 0xffff;
}

/* A sequence's bits beside its codes, in the order of section 3.1.1.3.2.1.2, from its end. */
INLINE void write_extra(Bits *bits, uint32_t run, uint32_t value, unsigned code)
{
    if (run >= 16) { /* between lines */
        unsigned n_run = run_bits(run_code(run));
        flush_bits(bits);
        add_bits(bits, run & ((1u << n_run) - 1), n_run); /* each base is a multiple of its range */
    }
    add_bits(bits, value - (1u << code), code);
    flush_bits(bits);
}

/* Section 3.1.1.3.2: the sequences of a block, written from the last to the first. */
INLINE uint8_t *write_sequences(const Frame *frame, Py_ssize_t n, uint8_t *out)
{
    if (n >= 128)
        *out++ = (uint8_t)((n >> 8) + 128);
    *out++ = (uint8_t)n;
    if (n == 0)
        return out;
    int is_new = (int)frame->state[NO_TABLES];
    frame->state[NO_TABLES] = 0;
    *out++ = is_new ? 0xa8 : 0xfc;
    const Table *tables[] = {&frame->lengths, &frame->offsets, &frame->matches};
    for (int i = 0; is_new && i < 3; i++) {
        memcpy(out, tables[i]->description, (size_t)tables[i]->description_bytes);
        out += tables[i]->description_bytes;
    }
    const Table lengths = frame->lengths, offsets = frame->offsets, matches = frame->matches;
    const uint32_t *runs = frame->runs, *values = frame->values;
    const uint8_t *match_lengths = frame->match_lengths;
    Bits bits = {0, 0, out};
    Py_ssize_t i = n - 1;
    unsigned code = 31 - (unsigned)__builtin_clz(values[i]);
    /* Any state of a symbol may be the last one: the one that leads to 0. */
    uint32_t run_state = lengths.entries[run_code(runs[i]) << lengths.log] & 0xffff;
    uint32_t offset_state = offsets.entries[code << offsets.log] & 0xffff;
    uint32_t match_state = matches.entries[(match_lengths[i] - 3u) << matches.log] & 0xffff;
    write_extra(&bits, runs[i], values[i], code);
    while (i-- > 0) {
        code = 31 - (unsigned)__builtin_clz(values[i]);
        offset_state = encode_symbol(&bits, &offsets, offset_state, code);
        match_state = encode_symbol(&bits, &matches, match_state, match_lengths[i] - 3u);
        run_state = encode_symbol(&bits, &lengths, run_state, run_code(runs[i]));
        write_extra(&bits, runs[i], values[i], code);
    }
    add_bits(&bits, match_state, (unsigned)matches.log);
    add_bits(&bits, offset_state, (unsigned)offsets.log);
    add_bits(&bits, run_state, (unsigned)lengths.log);
    flush_bits(&bits);
    return close_bits(&bits);
}

static uint8_t *write_block_head(uint8_t *out, unsigned type, Py_ssize_t n_bytes)
{
    uint32_t head = type << 1 | (uint32_t)n_bytes << 3;
    out[0] = (uint8_t)head;
    out[1] = (uint8_t)(head >> 8);
    out[2] = (uint8_t)(head >> 16);
    return out + 3;
}

/* The block that is being made: its literals, of which `run` since the last match, its sequences. */
typedef struct {
    uint8_t *literal;
    uint8_t *run_begin;
    Py_ssize_t n_sequences, n_bytes;
} Block;

static void write_block(Frame *frame, Block *block)
{
    Py_ssize_t n_literals = block->literal - frame->literals;
    Py_ssize_t most = 2 * n_literals + 8 * block->n_sequences + 1024; /* more than any of them takes */
    if (frame->out_end - frame->out < most)
        frame->is_full = 1;
    else if (n_literals) {
        uint8_t *begin = frame->out + 3, *end = write_literals(frame, n_literals, begin);
        end = write_sequences(frame, block->n_sequences, end);
        write_block_head(frame->out, 2, end - begin);
        frame->out = end;
    }
    *block = (Block){frame->literals, frame->literals, 0, 0};
}

static void write_raw_blocks(Frame *frame, const uint8_t *bytes, Py_ssize_t n)
{
    if (frame->out_end - frame->out < n + 3 * (n / LARGEST_BLOCK + 1))
        frame->is_full = 1;
    while (n > 0 && !frame->is_full) {
        Py_ssize_t part = n < LARGEST_BLOCK ? n : LARGEST_BLOCK;
        memcpy(write_block_head(frame->out, 0, part), bytes, (size_t)part);
        frame->out += 3 + part;
        bytes += part;
        n -= part;
    }
}

INLINE void add_match(Frame *frame, Block *block, uint32_t value, uint32_t length)
{
    Py_ssize_t n = block->n_sequences++;
    frame->values[n] = value;
    frame->runs[n] = (uint32_t)(block->literal - block->run_begin);
    frame->match_lengths[n] = (uint8_t)length;
    block->run_begin = block->literal;
    block->n_bytes += length;
}

/* What lies between embeddings: what it has in common with the line before lies one line back, since lines are
 * equally long. There is no code for bytes above 127: such text stays as it is.
 */
static void add_text(Frame *frame, Block *block, const uint8_t *text, Py_ssize_t n, int is_first)
{
    uint8_t all = 0;
    for (Py_ssize_t i = 0; i < n; i++)
        all |= text[i];
    int is_raw = all > 127 || n > LONGEST_TEXT, was_line = 0;
    if (is_raw || block->n_bytes + n > BLOCK_BYTES)
        write_block(frame, block);
    if (is_raw) {
        write_raw_blocks(frame, text, n);
        return;
    }
    const uint8_t *before = text - frame->line_bytes;
    int has_line = !is_first && frame->line_bytes <= WINDOW_BYTES;
    for (Py_ssize_t at = 0; at < n;) {
        Py_ssize_t length = 0;
        while (has_line && length < LONGEST_MATCH && at + length < n && text[at + length] == before[at + length])
            length++;
        if (length >= SHORTEST_MATCH) {
            int is_last = was_line && block->literal > block->run_begin; /* 1 means another one after no literal */
            add_match(frame, block, is_last ? 1 : (uint32_t)frame->line_bytes + 3, (uint32_t)length);
            was_line = 1;
        } else {
            length = length ? length : 1;
            memcpy(block->literal, text + at, (size_t)length);
            block->literal += length;
            block->n_bytes += length;
        }
        at += length;
    }
}

/* By value: what is in registers stays there. */
INLINE Block end_full_block(Frame *frame, Block block)
{
    if (block.n_bytes > BLOCK_BYTES) {
        Block full = block;
        write_block(frame, &full);
        return full;
    }
    return block;
}

/* The last three offsets and the nearest one that would do, a byte each from the low end, as places in the history
 * of a line. Using the one at `place` puts it first and moves those before it on (section 3.1.1.5).
 */
INLINE uint32_t use_offset(uint32_t offsets, unsigned place)
{
    uint32_t used = offsets >> (8 * place) & 0xff, before = (1u << (8 * place)) - 1;
    return used | (offsets & before) << 8 | (offsets & ~(before << 8 | 0xff));
}

#define NOWHERE 63 /* a place that is never taken: of offsets that lead into another line */

/* The numbers of a line; `position`: of the first one in the content.
 *
 * What earlier numbers of the line begin with is kept as bits, bit k for the k-th before the last: whether it is
 * negative, is below 0.1 (`tiny`), is below 1 (`small`). Signs are random: to branch on them would cost more than
 * all the rest.
 */
INLINE void add_numbers(Frame *frame, Block *block, const uint8_t *cells, int64_t position)
{
    const Py_ssize_t cell_bytes = frame->cell_bytes, decimals = frame->decimals, d = frame->d;
    int64_t anchors[2]; /* the last tiny number of either sign */
    uint32_t offsets = NOWHERE | NOWHERE << 8 | NOWHERE << 16;
    uint64_t all_negative = 0, all_tiny = 0, all_small = 0;
    memcpy(anchors, frame->state + ANCHOR_POSITIVE, sizeof anchors);
    memcpy(block->literal, cells, (size_t)cell_bytes - 1);
    block->literal += cell_bytes - 1;
    block->n_bytes += cell_bytes - 1;
    Block now = *block;
    for (Py_ssize_t j = 1; j < d; j++) {
        const uint8_t *cell = cells + j * cell_bytes;
        uint64_t negative = cell[0] == '-', small = cell[1] == '0', tiny = small & (cell[3] == '0');
        uint64_t like = (tiny ? all_tiny : all_small) & (all_negative ^ (negative - 1)) & ~(1ULL << NOWHERE);
        int64_t distance;
        uint32_t nearest = NOWHERE;
        if (like) {
            nearest = (uint32_t)__builtin_ctzll(like);
            distance = (int64_t)(nearest + 1) * cell_bytes;
        } else {
            distance = position + j * cell_bytes - 1 - anchors[negative];
        }
        if (!small || distance > WINDOW_BYTES) {
            now = end_full_block(frame, now);
            memcpy(now.literal, cell - 1, (size_t)cell_bytes);
            now.literal += cell_bytes;
            now.n_bytes += cell_bytes;
        } else {
            uint64_t fits = (like >> (offsets & 0xff) & 1) | (like >> (offsets >> 8 & 0xff) & 1) << 1 |
                            (like >> (offsets >> 16 & 0xff) & 1) << 2 | 8;
            unsigned place = (unsigned)__builtin_ctzll(fits);
            uint32_t value = fits == 8 ? (uint32_t)distance + 3 : place + 1;
            offsets = use_offset((offsets & 0xffffff) | nearest << 24, place);
            add_match(frame, &now, value, 4 + (uint32_t)tiny);
            now = end_full_block(frame, now); /* with digits to follow: a run of 0 would change what 1 to 3 mean */
            memcpy(now.literal, cell + 3 + tiny, 8); /* the digits, and bytes that the next ones overwrite */
            now.literal += decimals - (Py_ssize_t)tiny;
            now.n_bytes += decimals - (Py_ssize_t)tiny;
        }
        all_negative = all_negative << 1 | negative;
        all_tiny = all_tiny << 1 | tiny;
        all_small = all_small << 1 | small;
        if (tiny)
            anchors[negative] = position + j * cell_bytes - 1;
    }
    memcpy(frame->state + ANCHOR_POSITIVE, anchors, sizeof anchors);
    *block = now;
}

INLINE void add_numbers_as_text(Frame *frame, Block *block, const uint8_t *cells)
{
    Py_ssize_t left = frame->d * frame->cell_bytes - 1;
    while (left > 0) {
        Py_ssize_t part = left < LONGEST_TEXT ? left : LONGEST_TEXT;
        if (block->n_bytes + part > BLOCK_BYTES)
            write_block(frame, block);
        memcpy(block->literal, cells, (size_t)part);
        block->literal += part;
        block->n_bytes += part;
        cells += part;
        left -= part;
    }
}

INLINE void write_frame_body(Frame *frame)
{
    Block block = {frame->literals, frame->literals, 0, 0};
    int64_t begin = frame->state[POSITION];
    Py_ssize_t embedding_end = frame->embedding_at + frame->d * frame->cell_bytes - 1;
    for (Py_ssize_t row = 0; row < frame->n; row++) {
        const uint8_t *line = frame->lines + row * frame->line_bytes;
        int is_first = row == 0; /* of this call: what lies before it may not be in memory */
        add_text(frame, &block, line, frame->embedding_at, is_first);
        if (frame->has_matches)
            add_numbers(frame, &block, line + frame->embedding_at,
                        begin + row * frame->line_bytes + frame->embedding_at);
        else
            add_numbers_as_text(frame, &block, line + frame->embedding_at);
        add_text(frame, &block, line + embedding_end, frame->line_bytes - embedding_end, is_first);
    }
    write_block(frame, &block);
    frame->state[POSITION] = begin + frame->n * frame->line_bytes;
}

static void write_frame_baseline(Frame *frame) { write_frame_body(frame); }
WIDE static void write_frame_wide(Frame *frame) { write_frame_body(frame); }

/* Scratch of a block: literals with room for one text or number too many, then what its sequences are. */
#define LITERAL_BYTES (BLOCK_BYTES + 2 * LONGEST_TEXT)
#define MOST_SEQUENCES (BLOCK_BYTES / SHORTEST_MATCH + 8)
#define SCRATCH_BYTES (LITERAL_BYTES + 9 * MOST_SEQUENCES)

static int read_table(PyObject *object, Table *table, unsigned n_symbols, Py_buffer *views, int *n_open)
{
    PyObject *entries, *description;
    if (!PyArg_ParseTuple(object, "OOi", &entries, &description, &table->log))
        return -1;
    if (table->log < 5 || table->log > 9) {
        PyErr_SetString(PyExc_ValueError, "tables have 2**5 to 2**9 states");
        return -1;
    }
    const Py_buffer *opened = &views[*n_open];
    const Wanted wanted[] = {
        {entries, 0, 4, (Py_ssize_t)n_symbols << table->log, "entries"},
        {description, 0, 1, 1, "description"},
    };
    if (kernel_open(wanted, 2, views, n_open) < 0)
        return -1;
    table->entries = opened[0].buf;
    table->description = opened[1].buf;
    table->description_bytes = (int)opened[1].len;
    return 0;
}

PyDoc_STRVAR(write_blocks_doc,
             "write_blocks(lines, layout, codes, tables, state, scratch, out)\n--\n\n"
             "Write ``lines`` (n, line_bytes) uint8 as blocks of a frame to ``out`` uint8; return their bytes.\n\n"
             "``layout``: line_bytes, embedding_at, d, cell_bytes, decimals, whether numbers are below 10;\n"
             "``codes``: (256,) and (65536,) uint32, and the tree uint8; ``tables``: three of (entries uint32,\n"
             "description uint8, log) for runs of literals, offsets and matches; ``state`` (5,) int64: zeros and\n"
             "ones in the last two begin a frame; ``scratch``: uint8, at least SCRATCH_BYTES. Raises ValueError\n"
             "where ``out`` is too short.");

static PyObject *write_blocks(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_buffer views[13];
    int n_open = 0;
    PyObject *result = NULL, *codes, *pair_codes, *tree, *tables[3];
    Frame frame = {.is_full = 0};
    if (!kernel_is_called_with(n_args, 7))
        return NULL;
    if (!PyArg_ParseTuple(args[1], "nnnnnp", &frame.line_bytes, &frame.embedding_at, &frame.d, &frame.cell_bytes,
                          &frame.decimals, &frame.has_matches) ||
        !PyArg_ParseTuple(args[2], "OOO", &codes, &pair_codes, &tree) ||
        !PyArg_ParseTuple(args[3], "OOO", &tables[0], &tables[1], &tables[2]))
        return NULL;
    if (frame.d < 1 || frame.cell_bytes < 8 || frame.cell_bytes > 64 || frame.decimals < 0 || frame.decimals > 7 ||
        (frame.has_matches && frame.cell_bytes != frame.decimals + 4) || frame.embedding_at < 1 ||
        frame.embedding_at + frame.d * frame.cell_bytes + 8 > frame.line_bytes) {
        PyErr_SetString(PyExc_ValueError, "not the layout of a line");
        return NULL;
    }
    Table *made[] = {&frame.lengths, &frame.offsets, &frame.matches};
    static const unsigned n_symbols[] = {36, 19, LONGEST_MATCH - 2};
    for (int i = 0; i < 3; i++)
        if (read_table(tables[i], made[i], n_symbols[i], views, &n_open) < 0)
            goto end;
    const Wanted wanted[] = {
        {args[0], 0, 1, 0, "lines"},
        {codes, 0, 4, 256, "codes"},
        {pair_codes, 0, 4, 65536, "codes of pairs"},
        {tree, 0, 1, 2, "tree"},
        {args[4], 1, 8, N_STATE, "state"},
        {args[5], 1, 1, SCRATCH_BYTES, "scratch"},
        {args[6], 1, 1, 0, "out"},
    };
    int first = n_open;
    if (kernel_open(wanted, 7, views, &n_open) < 0)
        goto end;
    const Py_buffer *lines = &views[first];
    frame.n = lines->len / frame.line_bytes;
    frame.lines = lines->buf;
    frame.codes = views[first + 1].buf;
    frame.pair_codes = views[first + 2].buf;
    frame.tree = views[first + 3].buf;
    frame.tree_bytes = views[first + 3].len;
    frame.state = views[first + 4].buf;
    uint8_t *scratch = views[first + 5].buf;
    frame.runs = (uint32_t *)scratch;
    frame.values = frame.runs + MOST_SEQUENCES;
    frame.match_lengths = scratch + 8 * MOST_SEQUENCES;
    frame.literals = frame.match_lengths + MOST_SEQUENCES;
    frame.out = views[first + 6].buf;
    frame.out_end = frame.out + views[first + 6].len;
    KERNEL_RUN(write_frame, &frame);
    if (frame.is_full)
        PyErr_SetString(PyExc_ValueError, "out: too short for the blocks");
    else
        result = PyLong_FromSsize_t(frame.out - (uint8_t *)views[first + 6].buf);
end:
    kernel_close(views, n_open);
    return result;
}

KERNEL_MODULE("_frames", "Lines to blocks of a Zstandard frame.", KERNEL(write_blocks));

PyMODINIT_FUNC PyInit__frames(void)
{
    PyObject *module = kernel_module(&definition);
    if (module && PyModule_AddIntConstant(module, "SCRATCH_BYTES", SCRATCH_BYTES) < 0)
        Py_CLEAR(module);
    return module;
}
