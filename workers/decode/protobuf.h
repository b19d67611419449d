/* Reading protobuf's wire format where it lies: what a native decoder of protobuf frames needs, and no more.
 *
 * Nothing here reads at or past `end` or allocates. It is narrower than the format: tags of one or two bytes
 * (fields 1 to 2047), lengths of up to four, varints of up to nine (any int64 that is not negative), no groups.
 * Whatever is beyond that is 0, "not read", and the decoder leaves the frame to its reference decoder. What is
 * read means what protobuf says that it means. `tests/fuzz/protobuf_fuzz.c` holds it to that under ASan and
 * UBSan; TR_MUTANT_<NAME> takes one protection away, and the tests have to notice.
 */
#ifndef TICKRING_PROTOBUF_H
#define TICKRING_PROTOBUF_H

#include "workers/decode/scan.h"

enum { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

/* A varint of at most `most` bytes; 0: cut off or longer. */
TR_INLINE int pb_varint_of(tr_cursor *c, unsigned most, uint64_t *out)
{
    const char *p = c->p;
    uint64_t value = 0, byte;
#ifdef TR_MUTANT_CUT
    for (unsigned n = 0; n < most; n++) {
#else
    for (unsigned n = 0; n < most && p < c->end; n++) {
#endif
        byte = (unsigned char)*p++;
        value |= (byte & 0x7F) << (7 * n);
        if (byte < 0x80) {
            c->p = p;
            *out = value;
            return 1;
        }
    }
    return 0;
}

TR_INLINE int pb_varint(tr_cursor *c, uint64_t *out) { return pb_varint_of(c, 9, out); }

/* Field number << 3 | wire type. 0: none, longer than two bytes, or field 0, which does not exist. */
TR_INLINE int pb_tag(tr_cursor *c, uint32_t *out)
{
    uint64_t tag = 0;
    if (TR_UNLIKELY(!pb_varint_of(c, 2, &tag) || tag < 8))
        return 0;
    *out = (uint32_t)tag;
    return 1;
}

/* What a length-delimited field holds; the cursor moves behind it. */
TR_INLINE int pb_span(tr_cursor *c, tr_cursor *inner)
{
    uint64_t size = 0;
#ifdef TR_MUTANT_SPAN
    if (TR_UNLIKELY(!pb_varint_of(c, 4, &size)))
#else
    if (TR_UNLIKELY(!pb_varint_of(c, 4, &size) || size > (uint64_t)(c->end - c->p)))
#endif
        return 0;
    inner->p = c->p;
    inner->end = c->p += size;
    return 1;
}

/* 1 when every byte is ASCII: text that is UTF-8 without a closer look, which protobuf demands of it. */
TR_INLINE int pb_ascii(tr_cursor text)
{
    const uint64_t high = 0x8080808080808080ULL;
    uint64_t seen = 0;
    for (; text.end - text.p >= 8; text.p += 8)
        seen |= tr_load8(text.p);
    for (; text.p < text.end; text.p++)
        seen |= (unsigned char)*text.p;
    return !(seen & high);
}

/* An ASCII text field: its span. */
TR_INLINE int pb_text(tr_cursor *c, tr_cursor *text) { return pb_span(c, text) && pb_ascii(*text); }

/* Past the value of a field that the decoder does not know. */
TR_INLINE int pb_skip(tr_cursor *c, uint32_t tag)
{
    tr_cursor inner;
    uint64_t value;
    size_t size;
    switch (tag & 7) {
    case PB_VARINT:
        return pb_varint(c, &value);
    case PB_BYTES:
        return pb_span(c, &inner);
    case PB_FIXED64:
        size = 8;
        break;
    case PB_FIXED32:
        size = 4;
        break;
    default: /* a group, or no type that exists */
        return 0;
    }
#ifndef TR_MUTANT_SKIP
    if ((size_t)(c->end - c->p) < size)
        return 0;
#endif
    c->p += size;
    return 1;
}

/* A whole text as one decimal, as `tr_decimal_text` reads it, but faster: texts here have no padding, so their
 * decimals are anything, and their length is known. */
TR_INLINE int pb_decimal(tr_cursor text, unsigned exponent, int64_t *out)
{
    const char *p = text.p, *start = p;
    uint64_t value = 0, power;
    unsigned digit, decimals = 0;
    if (TR_UNLIKELY(text.end - p > 19)) /* up to 19 digits cannot wrap a u64 */
        return tr_decimal_text(p, (size_t)(text.end - p), exponent, out);
    while (p < text.end && (digit = tr_digit(*p)) < 10) {
        value = value * 10 + digit;
        p++;
    }
    if (TR_UNLIKELY(p == start))
        return TR_MALFORMED;
    if (p < text.end) {
        if (TR_UNLIKELY(*p != '.'))
            return TR_MALFORMED;
        start = ++p;
        while (p < text.end && (digit = tr_digit(*p)) < 10) {
            value = value * 10 + digit;
            p++;
        }
        if (TR_UNLIKELY(p == start || p < text.end))
            return TR_MALFORMED;
        decimals = (unsigned)(p - start);
    }
    if (TR_UNLIKELY(decimals > exponent)) { /* at most 18 digits here: what is left of them fits */
        power = TR_POW10[decimals - exponent];
        if (value % power)
            return TR_INEXACT;
        value /= power;
    } else if (__builtin_mul_overflow(value, TR_POW10[exponent - decimals], &value)) {
        return TR_OVERFLOW;
    }
    if (TR_UNLIKELY(value > INT64_MAX))
        return TR_OVERFLOW;
    *out = (int64_t)value;
    return TR_EXACT;
}

#endif
