/* Every atomic access of the shared-memory protocol, in C11, each fence naming its partner.
 *
 * Labels: W1.. the ring's writer, R1.. the ring's reader, C1.. a cell's writer, D1.. a cell's reader,
 * T1.. take-over, L1.. the LIVE check, A1.. waiting. `tests/stress/model/` carries the same labels.
 *
 * Payload words are relaxed atomics, never memcpy: a racing plain copy is undefined in C11 and may be split
 * or repeated by the compiler. The scheme is the fence variant of Boehm, "Can seqlocks get along with
 * programming language memory models?" (MSPC 2012). x86 alone proves none of it: arm64 needs every fence.
 *
 * TR_MUTANT_<NAME> takes one protection away; the suite has to notice each of them (tests/stress).
 */
#ifndef TICKRING_ATOMICS_H
#define TICKRING_ATOMICS_H

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock-based atomic is per process, and wrong in shared memory");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a lock-based atomic is per process, and wrong in shared memory");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "layout v1 is little-endian: the futex word is the low half of head"
#endif

/* -- offsets: shm/layout.py is their home, tests/shm/test_layout.py holds these equal ------------------- */
enum {
    TR_H_GENERATION = 32,
    TR_H_EPOCH = 1024,
    TR_H_STATE = 1032,
    TR_H_SUPERSEDED = 1040,
    TR_H_WRITER_PID = 1048,
    TR_H_WRITER_START = 1056,
    TR_H_REASON = 1064,
    TR_H_HEARTBEAT = 1152,
    TR_H_HEARTBEAT_LIMIT = 1160,
    TR_H_WALL_OFFSET = 1168,
    TR_H_HEAD = 1280,
    TR_H_INSTRUMENTS_VERSION = 1408,
    TR_H_INSTRUMENT_COUNT = 1416,
    TR_H_EVENTS_HEAD = 1536,
    TR_H_READY = 4088,
    TR_RECORD = 64,
    TR_INSTRUMENT = 256,
    TR_INSTRUMENT_STATUS = 200,
    TR_TOP_CELL = 128,
    TR_BOOK_HEADER = 128,
    TR_HISTOGRAM_BUCKETS = 512,
    TR_HISTOGRAM_HEADER = 128,
};

typedef enum { TR_DOWN = 0, TR_RESYNC = 1, TR_STALE = 2, TR_LIVE = 3 } tr_state;

typedef _Atomic(uint64_t) tr_word;
typedef _Atomic(uint32_t) tr_half;

/* A price level: int64 mantissas at the instrument's exponents. */
typedef struct {
    int64_t price;
    int64_t size;
} tr_level;

/* A record as a process holds it; in the ring it is a tr_slot. */
typedef struct {
    uint64_t seq;
    int64_t ts_event;
    int64_t ts_recv;
    uint64_t meta; /* instrument | kind << 32 | flags << 40 | aux << 48 */
    int64_t words[4];
} tr_record;

typedef struct {
    tr_word seq;
    tr_word words[7];
} tr_slot;
_Static_assert(sizeof(tr_slot) == TR_RECORD && sizeof(tr_record) == TR_RECORD, "one record, one cache line");

static inline uint64_t tr_meta(uint32_t instrument, uint8_t kind, uint8_t flags, uint16_t aux)
{
    return (uint64_t)instrument | (uint64_t)kind << 32 | (uint64_t)flags << 40 | (uint64_t)aux << 48;
}

static inline uint64_t tr_load(const tr_word *word) { return atomic_load_explicit(word, memory_order_acquire); }
static inline uint64_t tr_peek(const tr_word *word) { return atomic_load_explicit(word, memory_order_relaxed); }
static inline void tr_store(tr_word *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}
static inline void tr_poke(tr_word *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}
/* Single-writer counters: no read-modify-write is needed, the reader sees old or new, never a torn word. */
static inline void tr_add(tr_word *word, uint64_t n) { tr_poke(word, tr_peek(word) + n); }

/* A point between two accesses, named after the store just made or the load about to be made. Nothing in the
 * product; the step tests stop there, look at the memory and let the other side run (tests/stress/steps.c). */
#ifndef TR_STEP
#define TR_STEP(label) ((void)0)
#endif

#if defined(TR_MUTANT_PLAIN_PAYLOAD) /* control for ThreadSanitizer: plain words are a data race */
#define TR_PAYLOAD_STORE(label, word, value) (*(uint64_t *)(word) = (value), TR_STEP(label))
#define TR_PAYLOAD_LOAD(label, word) (TR_STEP(label), *(const uint64_t *)(word))
#else
#define TR_PAYLOAD_STORE(label, word, value) (tr_poke((word), (value)), TR_STEP(label))
#define TR_PAYLOAD_LOAD(label, word) (TR_STEP(label), tr_peek(word))
#endif

static inline void tr_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* `yield` is a no-op on most cores */
#endif
}

static inline int64_t tr_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* -- ring: writer ------------------------------------------------------------------------------------- */
typedef struct {
    tr_slot *slots;
    uint64_t mask;
    tr_word *head;
    uint64_t next; /* the sequence of the next record */
} tr_ring;

static inline void tr_ring_put(tr_ring *ring, int64_t ts_event, int64_t ts_recv, uint64_t meta, int64_t w0,
                               int64_t w1, int64_t w2, int64_t w3)
{
    tr_slot *slot = &ring->slots[ring->next & ring->mask];
#if !defined(TR_MUTANT_NO_PRE_INVALIDATE)
    /* W1: the old sequence goes first: whoever sees one new payload word must not find the old sequence. */
    tr_poke(&slot->seq, 0);
    TR_STEP(W1);
    /* W2, pairs with R3: a reader that saw a word stored after this fence sees W1 (or later) at R4. */
    atomic_thread_fence(memory_order_release);
#endif
    /* W3: the payload, relaxed words. */
    TR_PAYLOAD_STORE(W3, &slot->words[0], (uint64_t)ts_event);
    TR_PAYLOAD_STORE(W3, &slot->words[1], (uint64_t)ts_recv);
    TR_PAYLOAD_STORE(W3, &slot->words[2], meta);
    TR_PAYLOAD_STORE(W3, &slot->words[3], (uint64_t)w0);
    TR_PAYLOAD_STORE(W3, &slot->words[4], (uint64_t)w1);
    TR_PAYLOAD_STORE(W3, &slot->words[5], (uint64_t)w2);
    TR_PAYLOAD_STORE(W3, &slot->words[6], (uint64_t)w3);
    /* W4, pairs with R1: the whole payload is visible before its sequence. */
    tr_store(&slot->seq, ring->next);
    TR_STEP(W4);
    ring->next += 1;
}

/* W5, pairs with R5, A3 and with a resync's first load: slots and cells are visible before the head is.
 * At most half of the ring may be written between two of these: R5 and T3 stand on it. */
static inline void tr_ring_publish(tr_ring *ring)
{
    tr_store(ring->head, ring->next - 1);
    TR_STEP(W5);
}

/* The line between an update's records and its cells: records -> here -> cells -> W5. Does nothing; the
 * mutant stores the head here, so that a late joiner takes a head whose changes no cell has yet. */
static inline void tr_update_cells(tr_ring *ring)
{
#if defined(TR_MUTANT_HEAD_FIRST)
    tr_ring_publish(ring);
#else
    (void)ring;
#endif
}

/* T3: where a new writer goes on after one that died anywhere: behind the last whole record, which readers
 * may have accepted although the head never showed them. */
static inline uint64_t tr_ring_recover(const tr_slot *slots, uint64_t mask, const tr_word *head)
{
    uint64_t last = tr_load(head);
#if defined(TR_MUTANT_SHORT_SCAN)
    if (tr_load(&slots[(last + 1) & mask].seq) == last + 1) last += 1;
#else
    while (tr_load(&slots[(last + 1) & mask].seq) == last + 1) last += 1;
#endif
    return last;
}

/* -- ring: reader ------------------------------------------------------------------------------------- */
enum { TR_EMPTY = 0, TR_GOT = 1, TR_LAPPED = 2, TR_CORRUPT = 3 };

static inline int tr_ring_read(const tr_slot *slots, uint64_t mask, const tr_word *head, uint64_t next,
                               tr_record *out)
{
    const tr_slot *slot = &slots[next & mask];
    /* R1, pairs with W4: a whole sequence brings its whole payload. */
    TR_STEP(R1);
    uint64_t seq = tr_load(&slot->seq);
    if (seq == 0) {
#if defined(TR_MUTANT_ZERO_IS_LAPPED)
        return TR_LAPPED;
#endif
        /* R5, pairs with W5: an invalidated slot is either the record to come or the one that overwrites
         * ours; the head decides which, as never more than half of the ring is written between two heads. W1 is
         * relaxed, so the head seen here may be one commit behind it (W2 of the record before orders older
         * ones): two halves make one ring, that is still not below a sequence which is overwritten. */
        TR_STEP(R5);
        if (tr_load(head) < next) return TR_EMPTY;
#if defined(TR_MUTANT_NO_SECOND_LOOK)
        return TR_LAPPED;
#endif
        /* R6, pairs with W4 through R5: our record was written whole before this head. It may be that it was
         * being written at R1 and whole by R5: then it is here, and no loss may be reported. */
        TR_STEP(R6);
        seq = tr_load(&slot->seq);
        if (seq == 0) return TR_LAPPED;
    }
    if (seq == next) {
        /* R2: the copy, relaxed words. */
        out->seq = seq;
        out->ts_event = (int64_t)TR_PAYLOAD_LOAD(R2, &slot->words[0]);
        out->ts_recv = (int64_t)TR_PAYLOAD_LOAD(R2, &slot->words[1]);
        out->meta = TR_PAYLOAD_LOAD(R2, &slot->words[2]);
        out->words[0] = (int64_t)TR_PAYLOAD_LOAD(R2, &slot->words[3]);
        out->words[1] = (int64_t)TR_PAYLOAD_LOAD(R2, &slot->words[4]);
        out->words[2] = (int64_t)TR_PAYLOAD_LOAD(R2, &slot->words[5]);
        out->words[3] = (int64_t)TR_PAYLOAD_LOAD(R2, &slot->words[6]);
#if defined(TR_MUTANT_NO_RECHECK)
        return TR_GOT;
#endif
        /* R3, pairs with W2: had R2 seen a newer word, R4 would see its invalidation. */
        atomic_thread_fence(memory_order_acquire);
        /* R4: still the same record? If not, it was there and is overwritten. */
        TR_STEP(R4);
        return tr_peek(&slot->seq) == next ? TR_GOT : TR_LAPPED;
    }
    return seq > next ? TR_LAPPED : TR_EMPTY;
}

/* R7: where a lapped raw cursor goes on: half a ring behind the head, and always past the lost record. */
static inline uint64_t tr_ring_skip(uint64_t mask, const tr_word *head, uint64_t next)
{
    uint64_t last = tr_load(head);
    uint64_t half = (mask + 1) / 2;
    uint64_t target = last > half ? last - half : 0;
    return target > next ? target : next + 1;
}

/* Whether the words behind TR_LAPPED are some that a writer leaves: slot n mod SLOTS holds sequences of its own
 * residue alone, none is more than half a ring ahead of the head, and 2^62 records are 146 years at 10^9 a
 * second. Without this a reader would step through a ring of nonsense for ever. */
static inline int tr_ring_sane(const tr_slot *slots, uint64_t mask, const tr_word *head, uint64_t next)
{
    uint64_t seq = tr_load(&slots[next & mask].seq);
    uint64_t last = tr_load(head);
    if (last >> 62) return 0;
    return seq == 0 || (((seq ^ next) & mask) == 0 && seq <= last + (mask + 1) / 2 + 1);
}

/* R8: a late joiner takes H = head, reads the cells, polls from H + 1, and drops what its cell has already:
 * is this record newer than the cell that the reader began with? */
static inline int tr_is_news(uint64_t seq, uint64_t ring_seq)
{
#if defined(TR_MUTANT_NO_RING_SEQ)
    (void)seq;
    (void)ring_seq;
    return 1;
#else
    return seq > ring_seq;
#endif
}

/* -- cells: a seqlock each; word 0 is the lock -------------------------------------------------------- */
static inline uint64_t tr_cell_begin(tr_word *cell)
{
    uint64_t seq = tr_peek(&cell[0]);
#if defined(TR_MUTANT_CELL_BEGIN)
    uint64_t begin = seq + 1;
#else
    /* C1: odd while being written; a cell left odd by a dead writer stays odd until it is whole again. */
    uint64_t begin = (seq + 1) | 1;
#endif
    tr_poke(&cell[0], begin);
    TR_STEP(C1);
    /* C2, pairs with D3: a reader that saw a word stored after this fence sees C1 (or later) at D4. */
    atomic_thread_fence(memory_order_release);
    return begin;
}

/* Was the cell's last writer able to finish it? If not, only a write of the *whole* content may end it: a
 * change of some words (a state alone) has to leave it odd, or half-written words would turn valid (I5). */
static inline int tr_cell_whole(const tr_word *cell)
{
#if defined(TR_MUTANT_REPAIR)
    (void)cell;
    return 1;
#else
    return !(tr_peek(&cell[0]) & 1);
#endif
}

/* C3: the content, relaxed words. */
static inline void tr_cell_set(tr_word *cell, size_t index, uint64_t value)
{
    TR_PAYLOAD_STORE(C3, &cell[index], value);
}

/* C4, pairs with D1: the whole content is visible before the even sequence. */
static inline void tr_cell_end(tr_word *cell, uint64_t begin)
{
    tr_store(&cell[0], begin + 1);
    TR_STEP(C4);
}

enum { TR_CELL_TRIES = 64 };

/* Copies words 1..count-1 of a cell; out[0] is its sequence. 0 when no whole state was seen in 64 tries. */
static inline int tr_cell_read(const tr_word *cell, size_t count, uint64_t *out)
{
    for (int attempt = 0; attempt < TR_CELL_TRIES; attempt++) {
        /* D1, pairs with C4. */
        TR_STEP(D1);
        uint64_t seq = tr_load(&cell[0]);
        if (!(seq & 1)) {
            /* D2: the copy, relaxed words. */
            for (size_t i = 1; i < count; i++) out[i] = TR_PAYLOAD_LOAD(D2, &cell[i]);
#if defined(TR_MUTANT_NO_CELL_RECHECK)
            out[0] = seq;
            return 1;
#endif
            /* D3, pairs with C2. */
            atomic_thread_fence(memory_order_acquire);
            /* D4: still the same content? */
            TR_STEP(D4);
            if (tr_peek(&cell[0]) == seq) {
                out[0] = seq;
                return 1;
            }
        }
        tr_pause();
    }
    return 0;
}

/* -- liveness ----------------------------------------------------------------------------------------- */
static inline tr_word *tr_at(char *base, size_t offset) { return (tr_word *)(base + offset); }
static inline const tr_word *tr_at_const(const char *base, size_t offset)
{
    return (const tr_word *)(base + offset);
}

/* Take-over, in this order: T1 the epoch (all old cells lapse with one store), T2 the state, T3 the scan,
 * T4 the head, T5 the heartbeat. T5 pairs with L1: who sees the new heartbeat sees the new epoch. */
static inline void tr_take_over(char *base, uint64_t epoch, uint64_t reason)
{
#if !defined(TR_MUTANT_NO_EPOCH)
    tr_store(tr_at(base, TR_H_EPOCH), epoch); /* T1, pairs with L3 */
    TR_STEP(T1);
#else
    (void)epoch;
#endif
    tr_poke(tr_at(base, TR_H_REASON), reason);
    tr_store(tr_at(base, TR_H_STATE), TR_RESYNC); /* T2, pairs with L2: who sees it sees T1 */
    TR_STEP(T2);
}

/* T5, pairs with L1. */
static inline void tr_beat(char *base, int64_t now, int64_t wall_offset)
{
    tr_poke(tr_at(base, TR_H_WALL_OFFSET), (uint64_t)wall_offset);
    tr_store(tr_at(base, TR_H_HEARTBEAT), (uint64_t)now);
    TR_STEP(T5);
}

/* Is a cell's content LIVE? To be called after the cell was read, with a `now` read after it too. Returns the state a reader must report:
 * the cell's own, or the feed's where that is worse. */
static inline int tr_effective(const char *base, int cell_state, uint64_t cell_epoch, int64_t now)
{
    /* L1, pairs with T5: the heartbeat first: a fresh one brings its writer's epoch with it. */
    TR_STEP(L1);
    uint64_t heartbeat = tr_load(tr_at_const(base, TR_H_HEARTBEAT));
    uint64_t limit = tr_peek(tr_at_const(base, TR_H_HEARTBEAT_LIMIT));
#if !defined(TR_MUTANT_NO_HEARTBEAT)
    /* Too old, or further ahead than a reader can have been held up between its clock and here: no writer of
     * this boot stores that. Unsigned, so that no content of the words overflows. */
    uint64_t age = (uint64_t)now - heartbeat;
    if (limit > INT64_MAX / 2 || age + limit > 2 * limit) return TR_DOWN;
#else
    (void)now;
    (void)heartbeat;
    (void)limit;
#endif
    /* L2: the state next; DOWN, or what is no state, outranks everything that the cells say. */
    TR_STEP(L2);
    if (tr_load(tr_at_const(base, TR_H_STATE)) - 1 >= TR_LIVE || cell_state > TR_LIVE) return TR_DOWN;
    TR_STEP(L3);
#if !defined(TR_MUTANT_NO_EPOCH_CHECK)
    /* L3, pairs with T1: a cell of a dead epoch is being rebuilt, whatever it says. */
    if (tr_peek(tr_at_const(base, TR_H_EPOCH)) != cell_epoch)
        return cell_state < TR_RESYNC ? cell_state : TR_RESYNC;
#else
    (void)cell_epoch;
#endif
    return cell_state;
}

/* -- waiting ------------------------------------------------------------------------------------------ */
static inline long tr_futex(const tr_half *word, int op, uint32_t value, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

/* Wakes everybody, whatever the flag says and leaving it as it is: for what happens without a new head
 * (DOWN, superseded) and for a new writer, whose predecessor may have died between W5a and its wake. */
static inline void tr_wake_all(const tr_word *head)
{
    tr_futex((const tr_half *)head, FUTEX_WAKE, INT32_MAX, NULL);
}

/* T3 and T4: a new writer finds its position, stores it as the head, and wakes everybody: its predecessor may
 * have taken the flag down (W5a) and died before the wake. */
static inline void tr_ring_resume(tr_ring *ring)
{
    ring->next = tr_ring_recover(ring->slots, ring->mask, ring->head) + 1;
    tr_ring_publish(ring);
#if !defined(TR_MUTANT_SILENT_TAKE_OVER)
    tr_wake_all(ring->head);
#endif
}

/* Stores the head and wakes whoever armed the doorbell. The flag is all that the writer reads of readers'
 * memory; a waiter that died costs one wake. Returns 1 when it made that system call.
 *
 * The flag goes down *before* the head is stored. Taken down afterwards, it could be the flag of a waiter that
 * has seen this very head and is about to sleep until the next: that one would wake nobody. */
static inline int tr_ring_commit(tr_ring *ring, tr_half *armed)
{
#if defined(TR_MUTANT_LATE_DISARM)
    tr_ring_publish(ring);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(armed, memory_order_relaxed) == 0) return 0;
    TR_STEP(W6);
    atomic_exchange_explicit(armed, 0, memory_order_relaxed);
    tr_wake_all(ring->head);
    return 1;
#else
    int waiting = 0;
    /* W5a: who armed before this will be woken below; who arms from here on stays armed for the next head. */
    if (atomic_load_explicit(armed, memory_order_relaxed) != 0)
        waiting = atomic_exchange_explicit(armed, 0, memory_order_relaxed) != 0;
    TR_STEP(W5a);
    tr_ring_publish(ring); /* W5 */
#if !defined(TR_MUTANT_NO_WAKE_FENCE)
    /* W6, pairs with A2: either we see `armed`, or the waiter sees the head stored at W5. */
    atomic_thread_fence(memory_order_seq_cst);
#endif
    TR_STEP(W6);
    if (!waiting && atomic_load_explicit(armed, memory_order_relaxed) == 0) return 0;
    tr_wake_all(ring->head); /* W7 */
    return 1;
#endif
}

/* Waits until the head is not `seen` any more: spins, then sleeps on the futex. Always bounded. `armed` may
 * be NULL (no right to write the doorbell): then it naps. Returns 1 when the head moved, 0 otherwise. */
static inline int tr_ring_wait(const tr_word *head, tr_half *armed, uint64_t seen, int64_t spin, int64_t timeout)
{
    int64_t start = tr_now();
    int64_t nap = 20000;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (tr_load(head) != seen) return 1;
            tr_pause();
        }
        int64_t waited = tr_now() - start;
        if (waited >= timeout) return 0;
        if (waited < spin) continue;
        int64_t left = timeout - waited;
        if (armed == NULL) {
            int64_t rest = nap < left ? nap : left;
            struct timespec pause = {rest / 1000000000, rest % 1000000000};
            clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
            if (nap < 1000000) nap *= 2;
            continue;
        }
        struct timespec limit = {left / 1000000000, left % 1000000000};
        atomic_store_explicit(armed, 1, memory_order_relaxed); /* A1 */
        TR_STEP(A1);
        /* A2, pairs with W6. */
        atomic_thread_fence(memory_order_seq_cst);
        /* A3: re-check, now that the writer can see us. */
        if (tr_load(head) != seen) return 1;
        TR_STEP(A4);
        /* A4: sleeps only while the low half of head is still `seen`; works on a read-only mapping. */
        long answer = tr_futex((const tr_half *)head, FUTEX_WAIT, (uint32_t)seen, &limit);
        if (tr_load(head) != seen) return 1;
        /* Woken without a new head: a state change (DOWN, superseded) or a signal: the caller looks. */
        if (answer == 0 || errno == EINTR) return 0;
    }
}

/* -- histograms: log-linear, 8 sub-buckets an octave, nanoseconds -------------------------------------- */
static inline unsigned tr_bucket(uint64_t value)
{
    if (value < 8) return (unsigned)value;
    unsigned octave = 63u - (unsigned)__builtin_clzll(value);
    return (octave - 2) * 8 + (unsigned)((value >> (octave - 3)) & 7);
}

/* `n` values at once: what one clock reading says of all messages of a socket read. */
static inline void tr_observe(char *histogram, int64_t value, uint64_t n)
{
    uint64_t clipped = value < 0 ? 0 : (uint64_t)value; /* clocks of two hosts may disagree */
    tr_word *stats = tr_at(histogram, 64);
    tr_word *buckets = tr_at(histogram, TR_HISTOGRAM_HEADER);
    tr_add(&buckets[tr_bucket(clipped)], n);
    tr_add(&stats[1], clipped * n);
    if (clipped > tr_peek(&stats[2])) tr_poke(&stats[2], clipped);
    tr_add(&stats[0], n);
}

#endif
