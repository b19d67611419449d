/* Throws bytes at protobuf.h: `protobuf_fuzz ROUNDS SEED`.
 *
 * Each message lies in a heap buffer of exactly its size, so ASan sees any read beyond it. Numbers, lengths and
 * texts are held to slow oracles written another way; decimals to `tr_decimal_text`, which has its own. Built
 * with -DTR_MUTANT_SPAN, -DTR_MUTANT_SKIP or -DTR_MUTANT_CUT it must fail.
 */
#include <stdio.h>
#include <stdlib.h>

#include "workers/decode/protobuf.h"

static uint64_t state;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static unsigned below(unsigned n) { return (unsigned)(draw() >> 33) % n; }

static void fail(const char *what)
{
    fprintf(stderr, "protobuf_fuzz: %s differs\n", what);
    exit(1);
}

static char *copy(const char *bytes, size_t size)
{
    char *out = malloc(size ? size : 1);
    memcpy(out, bytes, size);
    return realloc(out, size ? size : 1);
}

/* -- oracles --------------------------------------------------------------------------------------------- */
/* How many bytes a varint takes, 0: none within `most`; by division and not by shifts. */
static size_t oracle_varint(const char *text, size_t size, unsigned most, uint64_t *out)
{
    uint64_t value = 0, unit = 1;
    for (size_t n = 0; n < size && n < most; n++) {
        unsigned byte = (unsigned char)text[n];
        value += byte % 128 * unit;
        unit *= 128;
        if (byte < 128) {
            *out = value;
            return n + 1;
        }
    }
    return 0;
}

static void numbers(const char *text, size_t size)
{
    uint64_t got = 7, right = 7;
    uint32_t tag = 7;
    tr_cursor c = {text, text + size}, inner;
    size_t n = oracle_varint(text, size, 9, &right);
    if (pb_varint(&c, &got) != (n != 0) || c.p != text + n || got != right)
        fail("varint");
    right = 7;
    n = oracle_varint(text, size, 2, &right);
    c.p = text;
    if (pb_tag(&c, &tag) != (n && right / 8 > 0) || (n && right / 8 && (tag != right || c.p != text + n)))
        fail("tag");
    right = 7;
    n = oracle_varint(text, size, 4, &right);
    c.p = text;
    if (pb_span(&c, &inner) != (n && right <= size - n))
        fail("span");
    if (n && right <= size - n && (inner.p != text + n || inner.end != inner.p + right || c.p != inner.end))
        fail("span's ends");
}

/* Every message in the bytes, as deep as it goes: nothing is read beyond (ASan), the cursor only moves on. */
static unsigned walk(tr_cursor c, unsigned depth)
{
    unsigned count = 0;
    uint32_t tag;
    while (c.p != c.end) {
        const char *before = c.p;
        tr_cursor inner;
        int ascii = 1;
        if (!pb_tag(&c, &tag))
            return count;
        if ((tag & 7) == PB_BYTES && below(4)) {
            if (!pb_span(&c, &inner))
                return count;
            for (const char *p = inner.p; p < inner.end; p++)
                ascii &= (unsigned char)*p < 0x80;
            if (pb_ascii(inner) != ascii)
                fail("ascii");
            count += depth < 8 ? walk(inner, depth + 1) : 0;
        } else if (!pb_skip(&c, tag)) {
            return count;
        }
        if (c.p <= before || c.p > c.end)
            fail("cursor");
        count++;
    }
    return count + 1;
}

static void decimals(void)
{
    static const char alphabet[] = "0123456789000999.";
    char text[48];
    size_t size = below(26);
    unsigned exponent = below(TR_MAX_EXPONENT + 1);
    int64_t got = 7, right = 7;
    for (size_t i = 0; i < size; i++)
        text[i] = below(60) ? alphabet[below(below(6) ? 16 : 17)] : (char)draw();
    if (size > 2 && below(3))
        text[1 + below((unsigned)size - 2)] = '.';
    char *exact = copy(text, size);
    tr_cursor c = {exact, exact + size};
    if (pb_decimal(c, exponent, &got) != tr_decimal_text(exact, size, exponent, &right) || got != right) {
        fprintf(stderr, "<%.*s> at %u\n", (int)size, text, exponent);
        fail("decimal");
    }
    free(exact);
}

/* A message of fields that mostly are whole, some within others. */
static size_t message(char *out, size_t room, unsigned depth)
{
    size_t at = 0;
    unsigned count = below(5);
    while (count-- && at + 32 < room) {
        unsigned type = (unsigned[]){0, 0, 1, 2, 2, 2, 5, 3}[below(8)], number = 1 + below(below(2) ? 15 : 2047);
        out[at++] = (char)((number << 3 | type) & 0x7F) | (number > 15 ? (char)0x80 : 0);
        if (number > 15)
            out[at++] = (char)(number >> 4);
        if (type == 2) {
            size_t inner = depth < 3 && below(2) ? message(out + at + 1, (room - at) / 2, depth + 1) : below(20);
            if (inner > 127)
                inner = 127;
            out[at++] = (char)(inner + (below(40) == 0));
            at += inner;
        } else if (type == 0) {
            unsigned bytes = below(11);
            while (bytes--)
                out[at++] |= (char)0x80;
            out[at++] = (char)below(128);
        } else {
            at += type == 1 ? 8 : 4;
        }
    }
    return at;
}

int main(int argc, char **argv)
{
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    unsigned long walked = 0;
    state = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    state = state * 0x9E3779B97F4A7C15ULL | 1;
    for (unsigned long round = 0; round < rounds; round++) {
        char bytes[512];
        size_t size = sizeof bytes;
        for (size_t i = 0; i < size; i++)
            bytes[i] = below(3) ? (char)below(128) : (char)draw();
        size = below(4) ? message(bytes, 400, 0) : below(40);
        if (size && !below(4))
            size = below((unsigned)size);
        char *exact = copy(bytes, size);
        tr_cursor c = {exact, exact + size};
        numbers(exact, size);
        walked += walk(c, 0);
        free(exact);
        decimals();
    }
    if (walked < rounds)
        fail("what was walked: too little of it");
    printf("%lu rounds, %lu fields\n", rounds, walked);
    return 0;
}
