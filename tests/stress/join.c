/* Late join: instruments whose value grows by exactly one with each record; a reader that joins again and again:
 * H = head, the cells, then the ring from H + 1 without what the cells have already. */
#include "harness.h"

enum { INSTRUMENTS = 4, CELL = 16, SLOTS = 1024 };
enum { MISSING, TWICE, ORDER };
static const char *const forbidden_names[] = {"change missing", "change applied twice", "sequence not increasing", NULL};
enum { FOLDED, DROPPED, LAPPED, BUSY };
static const char *const acceptable_names[] = {"folded", "already in the cell", "lapped", "busy", NULL};

static tally *table;
static tr_ring ring;
static tr_word *cells;
static uint64_t joins, seed;

static void forbid(int outcome) { tr_add(&table->forbidden[outcome], 1); }
static void saw(int outcome) { tr_add(&table->seen[outcome], 1); }

static void write_updates(void)
{
    uint64_t random = seeded(seed, 1), values[INSTRUMENTS] = {0};
    while (!tr_load(&table->stop)) {
        /* Up to three instruments in one batch, each with one or two records: records, its cell, then the head. */
        uint64_t roll = draw(&random), batch = 1 + roll % 3;
        for (uint64_t i = 0; i < batch; i++) {
            uint64_t which = (roll >> (8 + 4 * i)) % INSTRUMENTS, records = 1 + (roll >> (24 + i) & 1);
            for (uint64_t j = 0; j < records; j++) {
                int64_t value = (int64_t)++values[which];
                tr_ring_put(&ring, 0, 0, tr_meta((uint32_t)which, 0, 0, 0), value, 0, 0, 0);
            }
            tr_update_cells(&ring);
            tr_word *cell = cells + which * CELL;
            uint64_t begin = tr_cell_begin(cell);
            tr_cell_set(cell, 1, values[which]);
            tr_cell_set(cell, 2, ring.next - 1);
            tr_cell_end(cell, begin);
        }
        tr_ring_publish(&ring);
        rest((roll >> 40) % 128);
    }
}

/* One join and a while of folding; a lap or a busy cell ends it. */
static void join(uint64_t length)
{
    uint64_t values[INSTRUMENTS], since[INSTRUMENTS], words[3], last = 0;
    uint64_t next = tr_load(ring.head) + 1;
    for (int i = 0; i < INSTRUMENTS; i++) {
        if (!tr_cell_read(cells + i * CELL, 3, words)) {
            saw(BUSY);
            return;
        }
        values[i] = words[1];
        since[i] = words[2];
    }
    for (uint64_t done = 0; done < length;) {
        tr_record record;
        int answer = tr_ring_read(ring.slots, ring.mask, ring.head, next, &record);
        if (answer == TR_LAPPED) {
            saw(LAPPED);
            return;
        }
        if (answer == TR_EMPTY) continue;
        if (record.seq <= last) forbid(ORDER);
        last = record.seq;
        next++;
        done++;
        uint32_t which = (uint32_t)record.meta;
        if (!tr_is_news(record.seq, since[which])) {
            saw(DROPPED);
            continue;
        }
        uint64_t value = (uint64_t)record.words[0];
        if (value > values[which] + 1) forbid(MISSING);
        if (value <= values[which]) forbid(TWICE);
        values[which] = value;
        saw(FOLDED);
    }
}

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    joins = option("joins", 100000);
    seed = option("seed", 1);
    table = shared(sizeof *table);
    char *memory = shared(4096 + SLOTS * TR_RECORD + INSTRUMENTS * CELL * 8);
    ring = (tr_ring){(tr_slot *)(memory + 4096), SLOTS - 1, tr_at(memory, TR_H_HEAD), 1};
    cells = tr_at(memory, 4096 + SLOTS * TR_RECORD);
    pid_t writer = forked();
    if (writer == 0) {
        write_updates();
        _exit(0);
    }
    uint64_t random = seeded(seed, 2);
    for (uint64_t i = 0; i < joins; i++) join(8 + draw(&random) % 16);
    tr_store(&table->stop, 1);
    waitpid(writer, NULL, 0);
    tr_store(&table->amount, joins);
    return report("late join", "joins", table, forbidden_names, acceptable_names);
}
