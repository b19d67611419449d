/* CRC-32 (IEEE 802.3, reflected) and the digits of a number: what venues' checksums of books are made of.
 *
 * The plain twins are zlib's crc32 and str(). Nothing here allocates.
 */
#ifndef TICKRING_CRC32_H
#define TICKRING_CRC32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TR_CRC32_SLICES = 16 };

static uint32_t tr_crc32_table[TR_CRC32_SLICES][256];

/* Once, before the first use: at the import of the module. */
static inline void tr_crc32_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ 0xEDB88320U : value >> 1;
        tr_crc32_table[0][byte] = value;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int slice = 1; slice < TR_CRC32_SLICES; slice++) {
            uint32_t before = tr_crc32_table[slice - 1][byte];
            tr_crc32_table[slice][byte] = before >> 8 ^ tr_crc32_table[0][before & 0xFF];
        }
}

/* Sixteen bytes a step, each looked up in the table of its distance from the end; then byte by byte. */
static inline uint32_t tr_crc32(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t crc = 0xFFFFFFFFU;
    while (size >= TR_CRC32_SLICES) {
        uint32_t head = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        head ^= crc;
        crc = tr_crc32_table[15][head & 0xFF] ^ tr_crc32_table[14][head >> 8 & 0xFF] ^
              tr_crc32_table[13][head >> 16 & 0xFF] ^ tr_crc32_table[12][head >> 24];
        for (int i = 4; i < TR_CRC32_SLICES; i++)
            crc ^= tr_crc32_table[TR_CRC32_SLICES - 1 - i][p[i]];
        p += TR_CRC32_SLICES;
        size -= TR_CRC32_SLICES;
    }
    while (size--)
        crc = crc >> 8 ^ tr_crc32_table[0][(crc ^ *p++) & 0xFF];
    return ~crc;
}

/* The plain way, any number; the fast way below must give the same. */
static inline char *tr_digits_slow(char *out, uint64_t value)
{
    char digits[20];
    unsigned n = 0;
    for (; value; value /= 10)
        digits[n++] = (char)('0' + value % 10);
    while (n)
        *out++ = digits[--n];
    return out;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Eight digits of a number below 10^8, the first one in the lowest byte: SIMD within a register. Halves of
 * four digits, then pairs, then digits; the multiplications are divisions by 100 and by 10. */
static inline uint64_t tr_eight_of(uint32_t value)
{
    uint64_t word = value / 10000 | (uint64_t)(value % 10000) << 32;
    uint64_t tens = (word * 10486 >> 20) & 0x0000007F0000007FULL;
    word = tens | (word - 100 * tens) << 16;
    tens = (word * 103 >> 10) & 0x000F000F000F000FULL;
    return tens | (word - 10 * tens) << 8;
}
#endif

/* The digits of a number (below 10^19) without zeros in front, of 0 none; answers where they end. Up to 20
 * bytes are written. */
static inline char *tr_digits(char *out, uint64_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint64_t zeros = 0x3030303030303030ULL, group = 100000000ULL;
    uint64_t head = value, word;
    uint32_t tail = 0;
    unsigned skip;
    if (value >= group * group)
        return tr_digits_slow(out, value);
    if (value >= group) {
        head = value / group;
        tail = (uint32_t)(value - head * group);
    }
    if (head == 0)
        return out;
    word = tr_eight_of((uint32_t)head);
    skip = (unsigned)__builtin_ctzll(word) / 8; /* zeros in front */
    word = (word | zeros) >> 8 * skip;
    memcpy(out, &word, 8);
    out += 8 - skip;
    if (value >= group) {
        word = tr_eight_of(tail) | zeros;
        memcpy(out, &word, 8);
        out += 8;
    }
    return out;
#else
    return tr_digits_slow(out, value);
#endif
}

#endif
