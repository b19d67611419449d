/* The checksum of OKX's books: canonical decimal text of mantissas, and CRC-32 (IEEE 802.3, reflected). */
#ifndef TICKRING_OKX_CHECKSUM_H
#define TICKRING_OKX_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TR_OKX_SLICES = 16 };

static uint32_t tr_okx_table[TR_OKX_SLICES][256];

/* Once, before the first use: at the import of the module. */
static void tr_okx_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xEDB88320U : value >> 1;
        tr_okx_table[0][byte] = value;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int slice = 1; slice < TR_OKX_SLICES; slice++) {
            uint32_t before = tr_okx_table[slice - 1][byte];
            tr_okx_table[slice][byte] = before >> 8 ^ tr_okx_table[0][before & 0xFF];
        }
}

/* Sixteen bytes a step, each looked up in the table of its distance from the end; then byte by byte. */
static inline uint32_t tr_okx_crc(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t crc = 0xFFFFFFFFU;
    while (size >= TR_OKX_SLICES) {
        uint32_t head = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        head ^= crc;
        crc = tr_okx_table[15][head & 0xFF] ^ tr_okx_table[14][head >> 8 & 0xFF] ^
              tr_okx_table[13][head >> 16 & 0xFF] ^ tr_okx_table[12][head >> 24];
        for (int i = 4; i < TR_OKX_SLICES; i++)
            crc ^= tr_okx_table[TR_OKX_SLICES - 1 - i][p[i]];
        p += TR_OKX_SLICES;
        size -= TR_OKX_SLICES;
    }
    while (size--)
        crc = crc >> 8 ^ tr_okx_table[0][(crc ^ *p++) & 0xFF];
    return ~crc;
}

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

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Eight digits of a number below 10^8, the first one in the lowest byte: SIMD within a register. Halves of
 * four digits, then pairs, then digits; the multiplications are divisions by 100 and by 10. */
static inline uint64_t tr_okx_digits(uint32_t value)
{
    uint64_t word = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t tens = (word * 10486 >> 20) & 0x0000007F0000007FULL;
    word = tens | (word - 100 * tens) << 16;
    tens = (word * 103 >> 10) & 0x000F000F000F000FULL;
    return tens | (word - 10 * tens) << 8;
}
#endif

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
            word = tr_okx_digits((uint32_t)whole);
            skip = word ? (unsigned)__builtin_ctzll(word) / 8 : 7; /* zeros in front; one digit stays */
            word = (word | zeros) >> 8 * skip;
            memcpy(out, &word, 8);
            out += 8 - skip;
            if (fraction) {
                word = tr_okx_digits(fraction * scale);
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
