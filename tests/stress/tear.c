/* Tear fuzz: a writer and a reader, two processes, one tiny ring or one cell; every payload word of record n is
 * n. The writer never waits for the reader, so that the reader is lapped all the time.
 *
 * tear ring [--messages --slots --seed]    tear cell [--messages --words --seed] */
#include <stdint.h>
#include <time.h>

/* Now and then the reader sleeps in the middle of a copy, long enough for a lap: on cores that others use, too, the
 * two processes would otherwise meet there too seldom for a missing check to show. */
enum {
    STEP_W1, STEP_W3, STEP_W4, STEP_W5, STEP_W5a, STEP_W6, STEP_R1, STEP_R2, STEP_R4, STEP_R5,
    STEP_R6, STEP_C1, STEP_C3, STEP_C4, STEP_D1, STEP_D2, STEP_D4, STEP_T1, STEP_T2, STEP_T5,
    STEP_L1, STEP_L2, STEP_L3, STEP_A1, STEP_A4
};
static inline void step(int label)
{
    static uint32_t words;
    uint32_t every = label == STEP_R2 ? 0x200 : label == STEP_D2 ? 0x10000 : 0;
    if (every && ++words % every == 0)
        nanosleep(&(struct timespec){0, 20000}, NULL);
}
#define TR_STEP(label) step(STEP_##label)
#include "harness.h"

static tally *table;
static uint64_t messages, seed;

static void forbid(int outcome) { tr_add(&table->forbidden[outcome], 1); }

/* -- ring ------------------------------------------------------------------------------------------------ */
enum { TORN, ORDER, OLDER, SUM, FALSE_LAP, FALSE_EMPTY };
static const char *const ring_forbidden[] = {
    "torn record accepted",    "sequence not increasing", "record older than the lost jump", "got + lost != published",
    "lapped without a lap", "empty although published",  NULL};
enum { GOT, LOST, LAPS, EMPTY };
static const char *const ring_acceptable[] = {"got", "lost", "laps", "empty", NULL};

static void ring_writer(tr_ring ring)
{
    uint64_t random = seeded(seed, 1), half = (ring.mask + 1) / 2;
    while (ring.next <= messages) {
        uint64_t roll = draw(&random);
        uint64_t update = 1 + roll % half;
        for (uint64_t i = 0; i < update; i++) {
            int64_t n = (int64_t)ring.next;
            tr_ring_put(&ring, n, n, (uint64_t)n, n, n, n, n);
        }
        tr_ring_publish(&ring);
        /* Mostly flat out; sometimes slow enough for the reader to be the one who waits. */
        if ((roll >> 32) % 64 < 8) rest((roll >> 40) % 256);
    }
    tr_store(&table->total, ring.next - 1);
    tr_store(&table->stop, 1);
}

static void ring_reader(const tr_slot *slots, uint64_t mask, const tr_word *head)
{
    uint64_t random = seeded(seed, 2), next = 1, last = 0, floor = 0, size = mask + 1;
    uint64_t got = 0, lost = 0, laps = 0, empty = 0;
    tr_record record;
    for (;;) {
        uint64_t finished = tr_load(&table->stop), before = tr_load(head);
        int answer = tr_ring_read(slots, mask, head, next, &record);
        if (answer == TR_GOT) {
            uint64_t n = (uint64_t)record.ts_event;
            if ((uint64_t)record.ts_recv != n || record.meta != n || (uint64_t)record.words[0] != n ||
                (uint64_t)record.words[1] != n || (uint64_t)record.words[2] != n ||
                (uint64_t)record.words[3] != n || n != next)
                forbid(TORN);
            if (record.seq <= last) forbid(ORDER);
            if (n < floor) forbid(OLDER);
            last = record.seq;
            next++;
            if ((++got & 1023) == 0 && draw(&random) % 8 == 0) rest(draw(&random) % 4096); /* slow at times */
        } else if (answer == TR_LAPPED) {
            /* An update is half a ring at most: the writer cannot be further than that from the head. */
            if (tr_load(head) + size / 2 < next + size) forbid(FALSE_LAP);
            uint64_t target = tr_ring_skip(mask, head, next);
            lost += target - next;
            next = floor = target;
            laps++;
        } else {
            if (before >= next) forbid(FALSE_EMPTY);
            if (finished) break;
            empty++;
        }
    }
    if (got + lost != tr_load(&table->total)) forbid(SUM);
    uint64_t counts[] = {got, lost, laps, empty};
    for (int i = 0; i < 4; i++) tr_store(&table->seen[i], counts[i]);
    tr_store(&table->amount, tr_load(&table->total));
}

static int tear_ring(void)
{
    uint64_t size = option("slots", 8);
    char *memory = shared(4096 + size * TR_RECORD);
    tr_ring ring = {(tr_slot *)(memory + 4096), size - 1, tr_at(memory, TR_H_HEAD), 1};
    pid_t writer = forked();
    if (writer == 0) {
        ring_writer(ring);
        _exit(0);
    }
    ring_reader(ring.slots, ring.mask, ring.head);
    waitpid(writer, NULL, 0);
    return report("tear ring", "messages", table, ring_forbidden, ring_acceptable);
}

/* -- cell ------------------------------------------------------------------------------------------------ */
enum { CELL_TORN, CELL_BACK, CELL_LAST };
static const char *const cell_forbidden[] = {"torn cell accepted", "cell went backwards",
                                             "last content not readable", NULL};
static const char *const cell_acceptable[] = {"read", "changed", "busy", NULL};

static int tear_cell(void)
{
    size_t words = option("words", 14);
    tr_word *cell = shared(4096 + 8 * words);
    pid_t writer = forked();
    if (writer == 0) {
        uint64_t random = seeded(seed, 1);
        for (uint64_t n = 1; n <= messages; n++) {
            uint64_t begin = tr_cell_begin(cell);
            for (size_t i = 1; i < words; i++) tr_cell_set(cell, i, n);
            tr_cell_end(cell, begin);
            uint64_t roll = draw(&random);
            if (roll % 8 == 0) rest((roll >> 32) % 64);
        }
        tr_store(&table->stop, 1);
        _exit(0);
    }
    uint64_t *copy = calloc(words, 8), last = 0, counts[3] = {0};
    for (;;) {
        uint64_t finished = tr_load(&table->stop);
        if (tr_cell_read(cell, words, copy)) {
            counts[0]++;
            for (size_t i = 2; i < words; i++)
                if (copy[i] != copy[1]) {
                    forbid(CELL_TORN);
                    break;
                }
            if (copy[1] < last) forbid(CELL_BACK);
            counts[1] += copy[1] != last;
            last = copy[1];
        } else {
            counts[2]++;
        }
        if (finished) break;
    }
    if (last != messages) forbid(CELL_LAST);
    free(copy);
    waitpid(writer, NULL, 0);
    for (int i = 0; i < 3; i++) tr_store(&table->seen[i], counts[i]);
    tr_store(&table->amount, messages);
    return report("tear cell", "writes", table, cell_forbidden, cell_acceptable);
}

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    table = shared(sizeof *table);
    messages = option("messages", 1000000);
    seed = option("seed", 1);
    return count > 1 && strcmp(arguments[1], "cell") == 0 ? tear_cell() : tear_ring();
}
