/* The protocol under the sanitizers, which see threads, not processes: a writer and two readers on one ring, one
 * cell and the doorbell, with a take-over now and then. Their reports are the outcome; the checks are tear.c's. */
#include <pthread.h>

#include "harness.h"

enum { SLOTS = 64, WORDS = 20, READERS = 2, MASK = SLOTS - 1 };
enum { TORN, CELL_TORN, SUM };
static const char *const forbidden_names[] = {"torn record accepted", "torn cell accepted", "got + lost != published",
                                              NULL};
enum { GOT, LOST, CELLS, LIVE };
static const char *const acceptable_names[] = {"got", "lost", "cells read", "LIVE", NULL};

static tally table;
static _Alignas(64) char base[4096];
static _Alignas(64) tr_slot slots[SLOTS];
static tr_word cell[WORDS];
static tr_half armed;
static uint64_t messages;

static void *write_all(void *unused)
{
    (void)unused;
    tr_ring ring = {slots, MASK, tr_at(base, TR_H_HEAD), 1};
    uint64_t epoch = 0;
    while (ring.next <= messages) {
        if (ring.next % 1024 == 1) {
            tr_take_over(base, ++epoch, 0);
            ring.next = tr_ring_recover(slots, MASK, ring.head) + 1;
            tr_ring_publish(&ring);
            tr_beat(base, tr_now(), 0);
        }
        int64_t n = (int64_t)ring.next;
        tr_ring_put(&ring, n, n, (uint64_t)n, n, n, n, n);
        tr_update_cells(&ring);
        uint64_t begin = tr_cell_begin(cell);
        tr_cell_set(cell, 1, epoch);
        for (size_t i = 2; i < WORDS; i++) tr_cell_set(cell, i, (uint64_t)n);
        tr_cell_end(cell, begin);
        tr_ring_commit(&ring, &armed);
        rest((uint64_t)n % 64); /* slow enough for the readers to be in the middle of it */
    }
    tr_store(&table.total, ring.next - 1);
    tr_store(&table.stop, 1);
    tr_wake_all(ring.head);
    return NULL;
}

static void *read_all(void *unused)
{
    (void)unused;
    const tr_word *head = tr_at(base, TR_H_HEAD);
    uint64_t next = 1, got = 0, lost = 0, words[WORDS];
    tr_record record;
    for (;;) {
        uint64_t finished = tr_load(&table.stop);
        int answer = tr_ring_read(slots, MASK, head, next, &record);
        if (answer == TR_GOT) {
            if ((uint64_t)record.ts_event != next || (uint64_t)record.words[3] != next)
                atomic_fetch_add(&table.forbidden[TORN], 1);
            got++;
            next++;
        } else if (answer == TR_LAPPED) {
            uint64_t target = tr_ring_skip(MASK, head, next);
            lost += target - next;
            next = target;
        } else if (finished) {
            break;
        } else {
            tr_ring_wait(head, &armed, next - 1, 0, 1000000);
        }
        if (next % 16 == 0 && tr_cell_read(cell, WORDS, words)) {
            atomic_fetch_add(&table.seen[CELLS], 1);
            for (size_t i = 3; i < WORDS; i++)
                if (words[i] != words[2]) atomic_fetch_add(&table.forbidden[CELL_TORN], 1);
            if (tr_effective(base, TR_LIVE, words[1], tr_now()) == TR_LIVE) atomic_fetch_add(&table.seen[LIVE], 1);
        }
    }
    if (got + lost != tr_load(&table.total)) atomic_fetch_add(&table.forbidden[SUM], 1);
    atomic_fetch_add(&table.seen[GOT], got);
    atomic_fetch_add(&table.seen[LOST], lost);
    return NULL;
}

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    messages = option("messages", 100000);
    tr_poke(tr_at(base, TR_H_HEARTBEAT_LIMIT), 10000000000);
    pthread_t writer, readers[READERS];
    for (int i = 0; i < READERS; i++) pthread_create(&readers[i], NULL, read_all, NULL);
    pthread_create(&writer, NULL, write_all, NULL);
    pthread_join(writer, NULL);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    tr_store(&table.amount, messages);
    return report("threads", "messages", &table, forbidden_names, acceptable_names);
}
