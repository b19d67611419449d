/* Reading venue text where it lies: a bounded JSON byte cursor and decimal text -> int64 mantissa.
 *
 * Nothing here reads at or past `end`, allocates, or goes through a float. The fast paths take eight bytes at
 * once (SWAR: SIMD within a register); TR_SCAN_PORTABLE leaves only the byte loops, which are also what a
 * big-endian machine gets. `tests/fuzz/scan_fuzz.c` holds both equal under ASan and UBSan; the plain-Python
 * twin of `tr_decimal` is `workers/decode/decimals.py`. TR_MUTANT_<NAME> takes one protection away; the tests
 * have to notice.
 */
#ifndef TICKRING_SCAN_H
#define TICKRING_SCAN_H

#include <stdint.h>
#include <string.h>

#if !defined(TR_SCAN_PORTABLE) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#define TR_SCAN_PORTABLE
#endif

#define TR_INLINE static inline __attribute__((always_inline))
#define TR_LIKELY(x) __builtin_expect(!!(x), 1)
#define TR_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* What became of a decimal text; ordered so that the larger one of two is the one to report. */
enum {
    TR_EXACT = 0,
    TR_INEXACT = 1,  /* a non-zero digit beyond the exponent */
    TR_OVERFLOW = 2, /* more than INT64_MAX at that exponent */
    TR_MALFORMED = 3 /* not digits, or digits '.' digits */
};

enum { TR_MAX_EXPONENT = 18, TR_KEY_WORDS = 3, TR_KEY_BYTES = 24 };

typedef struct {
    const char *p;
    const char *end;
} tr_cursor;

static const uint64_t TR_POW10[TR_MAX_EXPONENT + 1] = {
    1ULL,
    10ULL,
    100ULL,
    1000ULL,
    10000ULL,
    100000ULL,
    1000000ULL,
    10000000ULL,
    100000000ULL,
    1000000000ULL,
    10000000000ULL,
    100000000000ULL,
    1000000000000ULL,
    10000000000000ULL,
    100000000000000ULL,
    1000000000000000ULL,
    10000000000000000ULL,
    100000000000000000ULL,
    1000000000000000000ULL,
};

TR_INLINE uint64_t tr_load8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* The cursor moves past `literal` when it is next; else it stays. `literal` is a constant: its length folds. */
TR_INLINE int tr_match(tr_cursor *c, const char *literal)
{
    size_t n = __builtin_strlen(literal);
    if (TR_UNLIKELY((size_t)(c->end - c->p) < n) || memcmp(c->p, literal, n) != 0)
        return 0;
    c->p += n;
    return 1;
}

TR_INLINE int tr_byte(tr_cursor *c, char wanted)
{
    if (TR_UNLIKELY(c->p == c->end) || *c->p != wanted)
        return 0;
    c->p++;
    return 1;
}

TR_INLINE unsigned tr_digit(char byte) { return (unsigned)(unsigned char)byte - '0'; } /* >= 10: no digit */

/* A JSON integer, 0 to INT64_MAX, without sign and without a leading zero. 1: read, 0: not one. */
TR_INLINE int tr_unsigned(tr_cursor *c, uint64_t *out)
{
    const char *p = c->p, *start = p;
    uint64_t value = 0;
    unsigned digit;
    while (p < c->end && (digit = tr_digit(*p)) < 10) {
        value = value * 10 + digit; /* 19 digits cannot wrap a u64; more are refused below */
        p++;
    }
    if (p == start || p - start > 19 || value > INT64_MAX || (*start == '0' && p - start > 1))
        return 0;
    c->p = p;
    *out = value;
    return 1;
}

/* Skips a JSON integer of any sign and size that this decoder has no use for. */
TR_INLINE int tr_skip_integer(tr_cursor *c)
{
    const char *p = c->p, *start;
    if (p < c->end && *p == '-')
        p++;
    start = p;
    while (p < c->end && tr_digit(*p) < 10)
        p++;
    if (p == start || p - start > 18 || (*start == '0' && p - start > 1))
        return 0;
    c->p = p;
    return 1;
}

/* Skips what a decimal string is made of (digits, dots, minus), up to another byte; never fails. */
TR_INLINE void tr_skip_decimal(tr_cursor *c)
{
    while (c->p < c->end && (tr_digit(*c->p) < 10 || *c->p == '.' || *c->p == '-'))
        c->p++;
}

/* Skips plain ASCII text up to a closing quote, which stays. 0: something else (an escape, a control
 * character, UTF-8) or no quote at all: for the reference decoder to judge. */
TR_INLINE int tr_skip_text(tr_cursor *c)
{
    const char *p = c->p;
#ifndef TR_SCAN_PORTABLE
    const uint64_t ones = 0x0101010101010101ULL, high = 0x8080808080808080ULL;
    while (c->end - p >= 8) {
        uint64_t word = tr_load8(p), quote = word ^ ones * '"', escape = word ^ ones * '\\';
        /* A byte's high bit: it is zero after the xor, is below 0x20, or is not ASCII. A borrow can only
         * mark a byte above a marked one, so "none marked" is exact. */
        if (((quote - ones) | (escape - ones) | (word - ones * 0x20) | word) & high)
            break;
        p += 8;
    }
#endif
    for (; p < c->end; p++) {
        unsigned char byte = (unsigned char)*p;
        if (byte == '"') {
            c->p = p;
            return 1;
        }
        if (byte < 0x20 || byte >= 0x80 || byte == '\\')
            return 0;
    }
    return 0;
}

/* Text up to a closing quote (which is consumed) as a zero-padded key of 24 bytes. 0: no quote in reach. */
TR_INLINE int tr_key(tr_cursor *c, uint64_t key[TR_KEY_WORDS])
{
    const char *p = c->p;
    key[0] = key[1] = key[2] = 0;
#ifndef TR_SCAN_PORTABLE
    if (TR_LIKELY(c->end - p > TR_KEY_BYTES)) {
        const uint64_t ones = 0x0101010101010101ULL, high = 0x8080808080808080ULL;
        for (int i = 0; i < TR_KEY_WORDS; i++) {
            uint64_t word = tr_load8(p + 8 * i), quote = word ^ ones * '"';
            uint64_t mark = (quote - ones) & ~quote & high; /* lowest mark = first quote */
            if (mark) {
                unsigned bits = (unsigned)__builtin_ctzll(mark) & ~7U;
                key[i] = word & ((1ULL << bits) - 1);
                c->p = p + 8 * i + bits / 8 + 1;
                return 1;
            }
            key[i] = word;
        }
        if (p[TR_KEY_BYTES] != '"')
            return 0;
        c->p = p + TR_KEY_BYTES + 1;
        return 1;
    }
#endif
    for (size_t n = 0; n <= TR_KEY_BYTES && p + n < c->end; n++) {
        if (p[n] == '"') {
            memcpy(key, p, n);
            c->p = p + n + 1;
            return 1;
        }
    }
    return 0;
}

/* 1 when every byte of the text in [from, to) is ASCII that JSON takes as it stands. */
TR_INLINE int tr_plain(const char *from, const char *to)
{
    for (; from < to; from++)
        if ((unsigned char)*from < 0x20 || (unsigned char)*from >= 0x80 || *from == '\\')
            return 0;
    return 1;
}

/* -- decimals ------------------------------------------------------------------------------------------ */

/* The plain way, any length; the fast way below must give the same. */
static inline int tr_decimal_slow(tr_cursor *c, unsigned exponent, int64_t *out)
{
    const char *p = c->p, *start = p;
    uint64_t value = 0;
    unsigned digit, decimals = 0;
    int overflow = 0, inexact = 0;
    while (p < c->end && (digit = tr_digit(*p)) < 10) {
        overflow |= __builtin_mul_overflow(value, 10U, &value) || __builtin_add_overflow(value, digit, &value);
        p++;
    }
    if (p == start)
        return TR_MALFORMED;
    if (p < c->end && *p == '.') {
        start = ++p;
        while (p < c->end && (digit = tr_digit(*p)) < 10) {
            if (decimals < exponent) {
                overflow |=
                    __builtin_mul_overflow(value, 10U, &value) || __builtin_add_overflow(value, digit, &value);
                decimals++;
            } else {
#ifndef TR_MUTANT_ROUND
                inexact |= digit != 0;
#endif
            }
            p++;
        }
        if (p == start)
            return TR_MALFORMED;
    }
    for (; decimals < exponent; decimals++)
        overflow |= __builtin_mul_overflow(value, 10U, &value);
    c->p = p;
    if (overflow || value > INT64_MAX)
        return TR_OVERFLOW;
    if (inexact)
        return TR_INEXACT;
    *out = (int64_t)value;
    return TR_EXACT;
}

/* Of eight bytes, the high bit of each that is no ASCII digit. */
TR_INLINE uint64_t tr_no_digits(uint64_t word)
{
    const uint64_t low = 0x7F7F7F7F7F7F7F7FULL, high = 0x8080808080808080ULL;
    word ^= 0x3030303030303030ULL;
    return (((word & low) + 0x7676767676767676ULL) | word) & high; /* no byte carries into the next */
}

/* The value (below 10^8) of the first `digits` (1 to 8) bytes, all of them ASCII digits. Little-endian. */
TR_INLINE uint64_t tr_digits_value(uint64_t word, unsigned digits)
{
    word <<= 64 - 8 * digits; /* leading zeros instead of what follows */
    word &= 0x0F0F0F0F0F0F0F0FULL;
    word = (word * 10 + (word >> 8)) & 0x00FF00FF00FF00FFULL;    /* four pairs */
    word = (word * 100 + (word >> 16)) & 0x0000FFFF0000FFFFULL;  /* two groups of four */
    return (word * 10000 + (word >> 32)) & 0xFFFFFFFFULL;
}

/* Decimal text at the cursor -> mantissa at `exponent` (0 to 18; value = mantissa * 10^-exponent).
 * Ends at the first byte that cannot belong to it: the caller matches what must follow, which is how a second
 * dot, an exponent or a letter is refused. `out` is written only when EXACT; after MALFORMED the cursor has
 * not moved. */
TR_INLINE int tr_decimal(tr_cursor *c, unsigned exponent, int64_t *out)
{
#ifndef TR_SCAN_PORTABLE
    const char *p = c->p;
    uint64_t whole, fraction = 0, part, divisor, marks;
    unsigned digits;
#ifndef TR_MUTANT_OVERREAD
    /* Seven digits, the dot, eight more and the byte behind them: all that is read below. */
    if (TR_UNLIKELY(c->end - p < 17))
        return tr_decimal_slow(c, exponent, out);
#endif
    whole = tr_load8(p);
    marks = tr_no_digits(whole);
    if (TR_UNLIKELY(marks == 0 || marks & 0x80)) /* eight digits or more, or none */
        return tr_decimal_slow(c, exponent, out);
    digits = (unsigned)__builtin_ctzll(marks) / 8;
    whole = tr_digits_value(whole, digits);
    p += digits;
    if (TR_LIKELY(*p == '.')) {
        part = tr_load8(++p);
        marks = tr_no_digits(part);
        digits = marks ? (unsigned)__builtin_ctzll(marks) / 8 : 8;
        if (TR_UNLIKELY(digits == 0 || (digits == 8 && tr_digit(p[8]) < 10)))
            return tr_decimal_slow(c, exponent, out);
        part = tr_digits_value(part, digits);
        p += digits;
        if (digits <= exponent) {
            fraction = part * TR_POW10[exponent - digits];
        } else {
            divisor = TR_POW10[digits - exponent];
            fraction = (uint32_t)part / (uint32_t)divisor;
#ifndef TR_MUTANT_ROUND
            if (TR_UNLIKELY(fraction * divisor != part)) {
                c->p = p;
                return __builtin_mul_overflow(whole, TR_POW10[exponent], &whole) ||
                               whole > (uint64_t)INT64_MAX - fraction
                           ? TR_OVERFLOW
                           : TR_INEXACT;
            }
#endif
        }
    }
    c->p = p;
#ifdef TR_MUTANT_WRAP
    if (__builtin_mul_overflow(whole, TR_POW10[exponent], &whole) || whole + fraction > INT64_MAX)
#else
    /* Compared before the sum, which could wrap around. */
    if (__builtin_mul_overflow(whole, TR_POW10[exponent], &whole) || whole > (uint64_t)INT64_MAX - fraction)
#endif
        return TR_OVERFLOW;
    *out = (int64_t)(whole + fraction);
    return TR_EXACT;
#else
    return tr_decimal_slow(c, exponent, out);
#endif
}

/* A whole text as one decimal. */
static inline int tr_decimal_text(const char *text, size_t size, unsigned exponent, int64_t *out)
{
    tr_cursor c = {text, text + size};
    int64_t value = 0;
    int verdict = tr_decimal(&c, exponent, &value);
    if (verdict == TR_MALFORMED || c.p != c.end)
        return TR_MALFORMED;
    if (verdict == TR_EXACT)
        *out = value;
    return verdict;
}

#endif
