/* The checksum of OKX's books: canonical decimal text of mantissas. */
#ifndef TICKRING_OKX_CHECKSUM_H
#define TICKRING_OKX_CHECKSUM_H

#include "workers/decode/crc32.h"

/* The plain way, any number; the fast way below must give the same. */
static char *tr_okx_text_slow(char *out, uint64_t value, unsigned exponent)
{
    char digits[20];
    unsigned n = 0;
    while (exponent && value % 10 == 0) { /* zeros at the end */
        value /= 10;
        exponent--;
    }
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value || n <= exponent); /* one digit before the dot at least */
    while (n > exponent)
        *out++ = digits[--n];
    if (n) {
        *out++ = '.';
        while (n)
            *out++ = digits[--n];
    }
    return out;
}

#define TR_OKX_CASE(places, power)                      \
    case places:                                        \
        whole = value / power;                          \
        fraction = (uint32_t)(value - whole * power);   \
        scale = 100000000U / power;                     \
        break;

/* A mantissa (not negative) at `exponent` (0 to 18) as the venue writes it: no zeros behind the last decimal,
 * no dot without one. Writes at most 21 bytes; answers where the text ends. */
static inline char *tr_okx_text(char *out, int64_t mantissa, unsigned exponent)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint64_t zeros = 0x3030303030303030ULL;
    uint64_t value = (uint64_t)mantissa, whole, word;
    uint32_t fraction, scale;
    unsigned skip;
    if (exponent <= 8) {
        switch (exponent) { /* a division by a constant is a multiplication */
            TR_OKX_CASE(0, 1U)
            TR_OKX_CASE(1, 10U)
            TR_OKX_CASE(2, 100U)
            TR_OKX_CASE(3, 1000U)
            TR_OKX_CASE(4, 10000U)
            TR_OKX_CASE(5, 100000U)
            TR_OKX_CASE(6, 1000000U)
            TR_OKX_CASE(7, 10000000U)
        default:
            TR_OKX_CASE(8, 100000000U)
        }
        if (whole < 100000000) {
            word = tr_eight_of((uint32_t)whole);
            skip = word ? (unsigned)__builtin_ctzll(word) / 8 : 7; /* zeros in front; one digit stays */
            word = (word | zeros) >> 8 * skip;
            memcpy(out, &word, 8);
            out += 8 - skip;
            if (fraction) {
                word = tr_eight_of(fraction * scale);
                skip = (unsigned)__builtin_clzll(word) / 8; /* zeros at the end */
                word |= zeros;
                *out++ = '.';
                memcpy(out, &word, 8);
                out += 8 - skip;
            }
            return out;
        }
    }
#endif
    return tr_okx_text_slow(out, (uint64_t)mantissa, exponent);
}

#endif
