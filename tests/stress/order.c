/* The writer's functions as a shared library: a callback after each store, so that a test can compare the memory,
 * store by store, with a twin in plain Python (tests/shm/twin.py); and the reader's functions as they are. */
static void (*order_hook)(const char *label);
#define TR_STEP(label) (order_hook ? order_hook(#label) : (void)0)
#include "shm/atomics.h"

void order_trace(void (*hook)(const char *)) { order_hook = hook; }

static tr_ring ring_of(uint64_t *memory, uint64_t slots, uint64_t next)
{
    return (tr_ring){(tr_slot *)(memory + 8), slots - 1, (tr_word *)memory, next};
}

/* memory[0] is the head, the slots begin at memory[8]. */
void order_put(uint64_t *memory, uint64_t slots, uint64_t next, const uint64_t *w)
{
    tr_ring ring = ring_of(memory, slots, next);
    tr_ring_put(&ring, (int64_t)w[0], (int64_t)w[1], w[2], (int64_t)w[3], (int64_t)w[4], (int64_t)w[5],
                (int64_t)w[6]);
}

void order_publish(uint64_t *memory, uint64_t slots, uint64_t next)
{
    tr_ring ring = ring_of(memory, slots, next);
    tr_ring_publish(&ring);
}

uint64_t order_recover(uint64_t *memory, uint64_t slots)
{
    tr_ring ring = ring_of(memory, slots, 0);
    return tr_ring_recover(ring.slots, ring.mask, ring.head);
}

int order_read(uint64_t *memory, uint64_t slots, uint64_t next, uint64_t *out)
{
    tr_ring ring = ring_of(memory, slots, 0);
    return tr_ring_read(ring.slots, ring.mask, ring.head, next, (tr_record *)out);
}

uint64_t order_skip(uint64_t *memory, uint64_t slots, uint64_t next)
{
    tr_ring ring = ring_of(memory, slots, 0);
    return tr_ring_skip(ring.mask, ring.head, next);
}

void order_cell(uint64_t *cell, size_t count, const uint64_t *values)
{
    uint64_t begin = tr_cell_begin((tr_word *)cell);
    for (size_t i = 1; i < count; i++) tr_cell_set((tr_word *)cell, i, values[i - 1]);
    tr_cell_end((tr_word *)cell, begin);
}

int order_cell_read(const uint64_t *cell, size_t count, uint64_t *out)
{
    return tr_cell_read((const tr_word *)cell, count, out);
}

void order_take_over(char *base, uint64_t epoch, uint64_t reason) { tr_take_over(base, epoch, reason); }

int order_effective(const char *base, int state, uint64_t epoch, int64_t now)
{
    return tr_effective(base, state, epoch, now);
}
