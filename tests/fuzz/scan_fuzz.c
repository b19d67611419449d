/* Throws texts at scan.h: `scan_fuzz ROUNDS SEED`.
 *
 * Each text lies in a heap buffer of exactly its size, so ASan sees any read beyond it. Each answer is held to
 * a slow oracle written another way. Prints a digest of all answers: the fast and the portable build must
 * print the same. Built with -DTR_MUTANT_ROUND or -DTR_MUTANT_OVERREAD it must fail.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "workers/decode/scan.h"

static uint64_t state, digest = 14695981039346656037ULL;

static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static unsigned below(unsigned n) { return (unsigned)(draw() >> 33) % n; }

static void note(uint64_t value) { digest = (digest ^ value) * 1099511628211ULL; }

static void fail(const char *what, const char *text, size_t size, unsigned exponent)
{
    fprintf(stderr, "scan_fuzz: %s differs for <%.*s> at %u\n", what, (int)size, text, exponent);
    exit(1);
}

/* -- oracles: one digit at a time, on 128 bits ----------------------------------------------------------- */
static int isdig(char c) { return c >= '0' && c <= '9'; }

static int oracle_decimal(const char *text, size_t size, unsigned exponent, int64_t *out)
{
    size_t dot = size;
    int lost = 0;
    unsigned __int128 value = 0, limit = (unsigned __int128)INT64_MAX + 1;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '.' && dot == size)
            dot = i;
        else if (!isdig(text[i]))
            return TR_MALFORMED;
    }
    if (dot == 0 || size == 0 || dot + 1 == size)
        return TR_MALFORMED;
    for (size_t i = 0; i < dot; i++)
        if ((value = value * 10 + (unsigned)(text[i] - '0')) > limit)
            value = limit; /* saturated: it stays too large */
    for (size_t i = 0; i < exponent; i++) {
        unsigned digit = dot + 1 + i < size ? (unsigned)(text[dot + 1 + i] - '0') : 0;
        if ((value = value * 10 + digit) > limit)
            value = limit;
    }
    for (size_t i = dot + 1 + exponent; i < size; i++)
        lost |= text[i] != '0';
    if (value > INT64_MAX)
        return TR_OVERFLOW;
    if (lost)
        return TR_INEXACT;
    *out = (int64_t)value;
    return TR_EXACT;
}

static int oracle_unsigned(const char *text, size_t size, uint64_t *out, size_t *length)
{
    size_t n = 0;
    unsigned __int128 value = 0;
    for (; n < size && isdig(text[n]); n++)
        if (value < ((unsigned __int128)1 << 100))
            value = value * 10 + (unsigned)(text[n] - '0');
    if (n == 0 || (text[0] == '0' && n > 1) || value > INT64_MAX)
        return 0;
    *out = (uint64_t)value;
    *length = n;
    return 1;
}

static int oracle_text(const char *text, size_t size, size_t *length)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"') {
            *length = i;
            return 1;
        }
        if (byte < 0x20 || byte > 0x7f || byte == '\\')
            return 0;
    }
    return 0;
}

/* -- texts ------------------------------------------------------------------------------------------------ */
static size_t decimal_like(char *text)
{
    size_t n = 0;
    unsigned whole = below(8) ? below(9) : below(24), fraction = below(3) ? 8 : below(24);
    for (unsigned i = 0; i < whole; i++)
        text[n++] = (char)('0' + below(10));
    if (below(8))
        text[n++] = '.';
    for (unsigned i = 0; i < fraction; i++)
        text[n++] = (char)('0' + (i < below(10) ? below(10) : 0));
    if (!below(8) && n)
        text[below((unsigned)n)] = "0.-e+ \"x/:\x80"[below(11)];
    return n;
}

/* Just below, at and above what 63 and 64 bits hold, the dot anywhere. */
static size_t edge_like(char *text)
{
    static const uint64_t edges[] = {INT64_MAX, UINT64_MAX, UINT64_MAX / 10, INT64_MAX / 10, 1000000000000000000ULL};
    char digits[32];
    uint64_t value = edges[below(5)] + below(400) - 200;
    size_t n = 0, length = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, value);
    size_t dot = below(3) ? length - below(10) : below((unsigned)length);
    for (unsigned nines = below(5); nines && nines < length; nines--)
        digits[length - nines] = '9';
    for (size_t i = 0; i < length; i++) {
        if (i == dot)
            text[n++] = '.';
        text[n++] = digits[i];
    }
    for (unsigned zeros = dot < length ? 8 - (length - dot > 8 ? 8 : (unsigned)(length - dot)) : 0; zeros; zeros--)
        text[n++] = '0';
    return n;
}

/* Few digits on either side of the dot, at their edges: what is scaled up most. */
static size_t short_like(char *text)
{
    static const unsigned edges[] = {0, 9, 10, 18, 19, 92, 93, 184, 185, 999, 9999999, 10000000};
    size_t n = (size_t)sprintf(text, "%u", edges[below(12)]);
    if (below(4)) {
        text[n++] = '.';
        for (unsigned digits = 1 + below(9), nines = below(2); digits; digits--)
            text[n++] = nines ? '9' : (char)('0' + below(10));
    }
    return n;
}

static size_t any_text(char *text)
{
    size_t n = below(40);
    for (size_t i = 0; i < n; i++)
        text[i] = below(12) ? (char)(0x20 + below(95)) : (char)below(256);
    if (n && below(2))
        text[below((unsigned)n)] = '"';
    return n;
}

/* -- the checks ------------------------------------------------------------------------------------------- */
static void check_decimal(const char *text, size_t size)
{
    unsigned exponent = below(TR_MAX_EXPONENT + 1);
    int64_t got = 0, want = 0;
    int verdict = tr_decimal_text(text, size, exponent, &got);
    if (verdict != oracle_decimal(text, size, exponent, &want) || got != want)
        fail("decimal", text, size, exponent);
    note((uint64_t)verdict);
    note((uint64_t)got);
    /* As it stands on the wire: something follows, which is where the fast way may be taken. */
    size_t behind = below(2) ? 0 : below(24);
    char *quoted = malloc(size + 1 + behind);
    memcpy(quoted, text, size);
    quoted[size] = '"';
    for (size_t i = 0; i < behind; i++)
        quoted[size + 1 + i] = below(2) ? (char)('0' + below(10)) : (char)below(256);
    tr_cursor c = {quoted, quoted + size + 1 + behind};
    int before = verdict;
    got = 0;
    verdict = tr_decimal(&c, exponent, &got);
    if (before == TR_MALFORMED ? verdict != TR_MALFORMED && c.p == quoted + size
                               : verdict != before || got != want || c.p != quoted + size)
        fail("quoted decimal", text, size, exponent);
    free(quoted);
}

static void check_unsigned(const char *text, size_t size)
{
    tr_cursor c = {text, text + size};
    uint64_t got = 0, want = 0;
    size_t length = 0;
    int ok = tr_unsigned(&c, &got);
    if (ok != oracle_unsigned(text, size, &want, &length) || (ok && got != want) || (size_t)(c.p - text) != length)
        fail("unsigned", text, size, 0);
    note((uint64_t)ok);
    c.p = text;
    note((uint64_t)tr_skip_integer(&c));
    tr_skip_decimal(&c);
    if (c.p > c.end)
        fail("skip", text, size, 0);
    note((uint64_t)(c.p - text));
}

static void check_text(const char *text, size_t size)
{
    tr_cursor c = {text, text + size};
    uint64_t key[TR_KEY_WORDS];
    char want[TR_KEY_BYTES] = {0};
    size_t length = 0, quote = 0;
    int ok = tr_skip_text(&c);
    if (ok != oracle_text(text, size, &length) || (size_t)(c.p - text) != length)
        fail("text", text, size, 0);
    while (quote < size && text[quote] != '"')
        quote++;
    c.p = text;
    ok = tr_key(&c, key);
    if (ok != (quote < size && quote <= TR_KEY_BYTES))
        fail("key", text, size, 0);
    if (ok) {
        memcpy(want, text, quote);
        if (memcmp(want, key, TR_KEY_BYTES) != 0 || (size_t)(c.p - text) != quote + 1)
            fail("key's bytes", text, size, 0);
    } else if (c.p != text) {
        fail("key's cursor", text, size, 0);
    }
    c.p = text;
    note((uint64_t)tr_match(&c, "\",\"b\":[[\""));
    note((uint64_t)tr_byte(&c, '"'));
    note((uint64_t)ok);
}

int main(int argc, char **argv)
{
    char text[128];
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    state = (argc > 2 ? strtoul(argv[2], NULL, 10) : 1) * 0x9E3779B97F4A7C15ULL | 1;
    for (unsigned long i = 0; i < rounds; i++) {
        unsigned what = below(5);
        size_t size = what == 0   ? any_text(text)
                      : what == 1 ? edge_like(text)
                      : what == 2 ? short_like(text)
                                  : decimal_like(text);
        char *exact = malloc(size ? size : 1);
        char *start = size ? exact : exact + 1; /* an empty text lies at the very end */
        memcpy(start, text, size);
        check_decimal(start, size);
        check_unsigned(start, size);
        check_text(start, size);
        free(exact);
    }
    printf("%016" PRIx64 "\n", digest);
    return 0;
}
