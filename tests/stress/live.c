/* Liveness: the writer is killed or stopped under a reader that asks all the time "is this top LIVE?" (I12). */
#include "harness.h"

enum { WORDS = 8, LIMIT = 4000000 };
enum { DEAD_LIVE, DOWN_LIVE, LATE_LIVE, NEVER_LIVE };
static const char *const forbidden_names[] = {"LIVE from a dead epoch", "LIVE although the feed is DOWN",
                                              "LIVE past the heartbeat limit", "not LIVE again after a restart", NULL};
enum { LIVE, RESYNC, DOWN, BUSY, KILLED, STOPPED, DOWN_STORED };
static const char *const acceptable_names[] = {"LIVE", "RESYNC", "DOWN", "busy", "killed", "stopped", "DOWN stored", NULL};

static tally *table;
static char *base;
static tr_word *cell;
static uint64_t rounds, seed;

static void forbid(int outcome) { tr_add(&table->forbidden[outcome], 1); }

/* spare[0]: incarnations up to this one lapsed; spare[1]: LIVE answers for the running one */
static void write_live(uint64_t incarnation)
{
    tr_take_over(base, tr_load(tr_at(base, TR_H_EPOCH)) + 1, 0);
    uint64_t epoch = tr_load(tr_at(base, TR_H_EPOCH));
    tr_store(&table->spare[0], incarnation - 1);
    tr_beat(base, tr_now(), 0);
    rest(2000); /* the feed has a writer, the old cells are still there: they must not be LIVE */
    for (uint64_t n = 1;; n++) {
        uint64_t begin = tr_cell_begin(cell);
        tr_cell_set(cell, 1, incarnation);
        tr_cell_set(cell, 2, epoch);
        tr_cell_set(cell, 3, TR_LIVE);
        tr_cell_set(cell, 4, n);
        tr_cell_end(cell, begin);
        if (n % 64 == 0) tr_beat(base, tr_now(), 0);
        rest(16);
    }
}

static void read_live(void)
{
    uint64_t words[WORDS];
    while (!tr_load(&table->stop)) {
        uint64_t lapsed = tr_load(&table->spare[0]), down = tr_load(&table->spare[2]);
        int64_t before = tr_now();
        if (!tr_cell_read(cell, WORDS, words)) {
            tr_add(&table->seen[BUSY], 1);
            continue;
        }
        int state = tr_effective(base, (int)words[3], words[2], tr_now());
        if (state != TR_LIVE) {
            tr_add(&table->seen[state == TR_DOWN ? DOWN : RESYNC], 1);
            continue;
        }
        tr_add(&table->seen[LIVE], 1);
        if (words[1] <= lapsed) forbid(DEAD_LIVE);
        if (words[1] <= down) forbid(DOWN_LIVE);
        /* The heartbeat that was judged is this one or an older one; the clock that was used is later. */
        if (before - (int64_t)tr_load(tr_at(base, TR_H_HEARTBEAT)) > LIMIT) forbid(LATE_LIVE);
        tr_store(&table->spare[1], words[1]);
    }
}

static void nap(int64_t ns)
{
    struct timespec pause = {ns / 1000000000, ns % 1000000000};
    nanosleep(&pause, NULL);
}

static void until_live(uint64_t incarnation)
{
    for (int64_t end = tr_now() + 5000000000; tr_load(&table->spare[1]) < incarnation; nap(100000))
        if (tr_now() > end) {
            forbid(NEVER_LIVE);
            return;
        }
}

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    rounds = option("rounds", 200);
    seed = option("seed", 1);
    table = shared(sizeof *table);
    base = shared(8192);
    cell = tr_at(base, 4096);
    tr_poke(tr_at(base, TR_H_HEARTBEAT_LIMIT), LIMIT);
    pid_t reader = forked();
    if (reader == 0) {
        read_live();
        _exit(0);
    }
    uint64_t random = seeded(seed, 1);
    for (uint64_t incarnation = 1; incarnation <= rounds; incarnation++) {
        pid_t writer = forked();
        if (writer == 0) write_live(incarnation);
        until_live(incarnation);
        nap((int64_t)(draw(&random) % 300000));
        if (incarnation % 4 == 0) { /* it stands still past its limit, and goes on */
            kill(writer, SIGSTOP);
            nap(3 * LIMIT);
            tr_add(&table->seen[STOPPED], 1);
            kill(writer, SIGCONT);
            nap(LIMIT);
        }
        kill(writer, SIGKILL);
        waitpid(writer, NULL, 0);
        tr_add(&table->seen[KILLED], 1);
        if (draw(&random) % 2) { /* the supervisor saw the exit; or the restart was quicker */
            tr_store(tr_at(base, TR_H_STATE), TR_DOWN);
            tr_store(&table->spare[2], incarnation);
            tr_add(&table->seen[DOWN_STORED], 1);
            nap(200000);
        }
    }
    tr_store(&table->stop, 1);
    waitpid(reader, NULL, 0);
    tr_store(&table->amount, rounds);
    return report("liveness", "kills and stops", table, forbidden_names, acceptable_names);
}
