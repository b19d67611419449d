/* SIGKILL fuzz: one writer after the other is killed at a random instant; each successor takes over in place. One
 * reader lives through all of them with one mapping.
 *
 * A record's words are made of its sequence, its writer and the word's place, so that neither a tear nor a
 * sequence that was used twice goes unnoticed; the reader looks back at what it accepted. */
#include "harness.h"

enum { SLOTS = 64, TOPS = 4, TOP_WORDS = 14, BOOK_WORDS = 96, STRIDE = 128, BACK = 24, KEEP = 64 };
enum { TORN, ORDER, SUM, REUSED, EPOCH_BACK, CELL_TORN, CELL_BACK, FALSE_LAP, WRITER_FAILED };
static const char *const forbidden_names[] = {"torn record accepted",
                                              "sequence not increasing",
                                              "got + lost != published",
                                              "sequence re-used with other content",
                                              "epoch went backwards",
                                              "torn cell accepted",
                                              "cell went backwards",
                                              "lapped without a lap",
                                              "writer failed by itself",
                                              NULL};
enum { GOT, LOST, LAPS, CELLS, BUSY, MID_UPDATE, SLOT_LEFT, CELL_LEFT, IN_TAKE_OVER };
static const char *const acceptable_names[] = {"got", "lost", "laps", "cells read", "cells busy",
                                               "killed between record and head", "slot left invalid", "cell left odd",
                                               "killed before its first record", NULL};

static tally *table;
static char *base;
static tr_ring ring;
static tr_half *armed;
static uint64_t kills, seed;

static void forbid(int outcome) { tr_add(&table->forbidden[outcome], 1); }

static tr_word *cell_at(int index) { return tr_at((char *)(ring.slots + SLOTS), (size_t)index * STRIDE * 8); }
static size_t cell_words(int index) { return index < TOPS ? TOP_WORDS : BOOK_WORDS; }

/* -- writer ---------------------------------------------------------------------------------------------- */
static void put(uint64_t epoch)
{
    uint64_t n = ring.next;
    tr_ring_put(&ring, (int64_t)epoch, (int64_t)mixed(n, epoch, 1), mixed(n, epoch, 2), (int64_t)mixed(n, epoch, 3),
                (int64_t)mixed(n, epoch, 4), (int64_t)mixed(n, epoch, 5), (int64_t)mixed(n, epoch, 6));
}

/* word 1: ring_seq, word 2: epoch, word 3: state, the others follow from the first two */
static void write_cell(int index, uint64_t epoch)
{
    tr_word *cell = cell_at(index);
    uint64_t n = ring.next - 1, begin = tr_cell_begin(cell);
    tr_cell_set(cell, 1, n);
    tr_cell_set(cell, 2, epoch);
    tr_cell_set(cell, 3, TR_LIVE);
    for (size_t i = 4; i < cell_words(index); i++) tr_cell_set(cell, i, mixed(n, epoch, i));
    tr_cell_end(cell, begin);
}

static void write_state(int index, uint64_t state)
{
    tr_word *cell = cell_at(index);
    if (!tr_cell_whole(cell)) return; /* half-written: it stays odd until it is written whole */
    uint64_t begin = tr_cell_begin(cell);
    tr_cell_set(cell, 3, state);
    tr_cell_end(cell, begin);
}

static void write_updates(uint64_t incarnation)
{
    uint64_t random = seeded(seed, incarnation + 10);
    tr_take_over(base, tr_load(tr_at(base, TR_H_EPOCH)) + 1, 0);
    uint64_t epoch = tr_load(tr_at(base, TR_H_EPOCH));
    tr_ring_resume(&ring); /* T3, T4 */
    tr_beat(base, tr_now(), 0);
    put(epoch); /* STATUS */
    for (int i = 0; i <= TOPS; i++) write_state(i, TR_RESYNC);
    tr_ring_commit(&ring, armed);
    while (!tr_load(&table->stop)) {
        uint64_t roll = draw(&random), records = 1 + roll % (SLOTS / 4);
        for (uint64_t i = 0; i < records; i++) put(epoch);
        tr_update_cells(&ring);
        write_cell((int)((roll >> 8) % TOPS), epoch);
        if ((roll >> 16) % 2) write_cell(TOPS, epoch);
        tr_ring_commit(&ring, armed);
        if ((roll >> 24) % 16 == 0) rest((roll >> 32) % 512);
    }
}

/* -- reader ---------------------------------------------------------------------------------------------- */
static uint64_t kept_seq[KEEP], kept_epoch[KEEP];

static int whole_record(const tr_record *r, uint64_t n)
{
    uint64_t epoch = (uint64_t)r->ts_event;
    return (uint64_t)r->ts_recv == mixed(n, epoch, 1) && r->meta == mixed(n, epoch, 2) &&
           (uint64_t)r->words[0] == mixed(n, epoch, 3) && (uint64_t)r->words[1] == mixed(n, epoch, 4) &&
           (uint64_t)r->words[2] == mixed(n, epoch, 5) && (uint64_t)r->words[3] == mixed(n, epoch, 6);
}

/* Are the last records still what they were when they were accepted? */
static void look_back(uint64_t next)
{
    tr_record record;
    for (uint64_t n = next > BACK ? next - BACK : 1; n < next; n++)
        if (kept_seq[n % KEEP] == n &&
            tr_ring_read(ring.slots, ring.mask, ring.head, n, &record) == TR_GOT &&
            (uint64_t)record.ts_event != kept_epoch[n % KEEP])
            forbid(REUSED);
}

static void read_cells(uint64_t *last)
{
    uint64_t words[BOOK_WORDS];
    for (int i = 0; i <= TOPS; i++) {
        if (!tr_cell_read(cell_at(i), cell_words(i), words)) {
            tr_add(&table->seen[BUSY], 1);
            continue;
        }
        tr_add(&table->seen[CELLS], 1);
        if (words[0] == 0) continue; /* never written */
        if (words[1] < last[i]) forbid(CELL_BACK);
        last[i] = words[1];
        for (size_t j = 4; j < cell_words(i); j++)
            if (words[1] != 0 && words[j] != mixed(words[1], words[2], j)) {
                forbid(CELL_TORN);
                break;
            }
    }
}

static void read_all(void)
{
    uint64_t next = 1, last = 0, epoch = 0, got = 0, lost = 0, idle = 0, cells[TOPS + 1] = {0};
    tr_record record;
    for (;;) {
        uint64_t finished = tr_load(&table->spare[0]);
        int answer = tr_ring_read(ring.slots, ring.mask, ring.head, next, &record);
        if (answer == TR_GOT) {
            if (!whole_record(&record, next)) forbid(TORN);
            if (record.seq <= last) forbid(ORDER);
            if ((uint64_t)record.ts_event < epoch) forbid(EPOCH_BACK);
            epoch = (uint64_t)record.ts_event;
            last = record.seq;
            kept_seq[next % KEEP] = next;
            kept_epoch[next % KEEP] = epoch;
            got++;
            next++;
            if ((got & 63) == 0) read_cells(cells);
        } else if (answer == TR_LAPPED) {
            if (tr_load(ring.head) + SLOTS / 2 < next + SLOTS) forbid(FALSE_LAP);
            uint64_t target = tr_ring_skip(ring.mask, ring.head, next);
            lost += target - next;
            next = target;
            tr_add(&table->seen[LAPS], 1);
        } else {
            if (finished) break;
            if ((++idle & 15) == 0) {
                read_cells(cells);
                look_back(next);
            }
        }
    }
    if (got + lost != tr_load(ring.head) || next - 1 != tr_load(ring.head)) forbid(SUM);
    tr_store(&table->seen[GOT], got);
    tr_store(&table->seen[LOST], lost);
}

/* -- the one who kills ----------------------------------------------------------------------------------- */
static void what_it_left(uint64_t epoch_before, uint64_t head_before)
{
    uint64_t head = tr_load(ring.head), next = tr_ring_recover(ring.slots, ring.mask, ring.head) + 1;
    if (next - 1 > head) tr_add(&table->seen[MID_UPDATE], 1);
    if (tr_load(&ring.slots[next & ring.mask].seq) == 0 && next > SLOTS) tr_add(&table->seen[SLOT_LEFT], 1);
    for (int i = 0; i <= TOPS; i++)
        if (tr_load(&cell_at(i)[0]) & 1) {
            tr_add(&table->seen[CELL_LEFT], 1);
            break;
        }
    if (tr_load(tr_at(base, TR_H_EPOCH)) == epoch_before || head == head_before) tr_add(&table->seen[IN_TAKE_OVER], 1);
}

static void nap(uint64_t ns)
{
    struct timespec pause = {0, (long)ns};
    nanosleep(&pause, NULL);
}

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    kills = option("kills", 5000);
    seed = option("seed", 1);
    table = shared(sizeof *table);
    armed = shared(4096);
    base = shared(4096 + SLOTS * TR_RECORD + (TOPS + 1) * STRIDE * 8);
    ring = (tr_ring){(tr_slot *)(base + 4096), SLOTS - 1, tr_at(base, TR_H_HEAD), 1};
    pid_t reader = forked();
    if (reader == 0) {
        read_all();
        _exit(0);
    }
    uint64_t random = seeded(seed, 1);
    for (uint64_t i = 0; i < kills; i++) {
        uint64_t epoch = tr_load(tr_at(base, TR_H_EPOCH)), head = tr_load(ring.head);
        pid_t writer = forked();
        if (writer == 0) {
            write_updates(i);
            _exit(1);
        }
        /* From "not yet running" to some hundred updates later. */
        if (draw(&random) % 4) /* mostly once it writes, sometimes in the take-over */
            for (int64_t patience = tr_now() + 50000000; tr_load(ring.head) == head && tr_now() < patience;) nap(10000);
        nap(draw(&random) % 100000); /* sleeping leaves the core to the writer */
        rest(draw(&random) % 512);
        kill(writer, SIGKILL);
        int status = 0;
        waitpid(writer, &status, 0);
        if (!WIFSIGNALED(status)) forbid(WRITER_FAILED);
        what_it_left(epoch, head);
        tr_add(&table->amount, 1);
    }
    tr_store(&table->stop, 1);
    write_updates(kills); /* the last take-over, and a clean end */
    tr_store(&table->spare[0], 1);
    waitpid(reader, NULL, 0);
    return report("kill", "kills", table, forbidden_names, acceptable_names);
}
