/* Waiting: two waiters with a long timeout and one writer that reads nothing of theirs but `armed`; then a waiter
 * that was killed in its sleep. */
#include "harness.h"

enum { WAITERS = 2, PATIENCE = 2000 };
enum { LOST_WAKE, DEAD_COST };
static const char *const forbidden_names[] = {"wake-up lost", "dead waiter cost more than one wake", NULL};
enum { WAKES, QUIET, SLEPT, DEAD };
static const char *const acceptable_names[] = {"commits with a wake", "commits without", "waits", "dead waiters", NULL};

static tally *table;
static tr_ring ring;
static tr_half *armed;
static uint64_t rounds, seed;

static void wait_forever(int index)
{
    uint64_t seen = 0;
    while (!tr_load(&table->stop)) {
        /* the timeout is far beyond the writer's patience: only a wake-up brings the waiter back */
        if (tr_ring_wait(ring.head, armed, seen, 0, 20000000000)) seen = tr_load(ring.head);
        tr_add(&table->seen[SLEPT], 1);
        tr_store(&table->spare[index], seen);
    }
}

static int acknowledged(uint64_t head)
{
    for (int i = 0; i < WAITERS; i++)
        if (tr_load(&table->spare[i]) != head) return 0;
    return 1;
}

static void commit(void)
{
    tr_ring_put(&ring, 0, 0, 0, 0, 0, 0, 0);
    tr_add(&table->seen[tr_ring_commit(&ring, armed) ? WAKES : QUIET], 1);
}

/* A waiter is killed asleep, with its flag up: the commits that follow make one system call among them. */
static void dead_waiter(void)
{
    atomic_store(armed, 0);
    pid_t waiter = forked();
    if (waiter == 0) {
        tr_ring_wait(ring.head, armed, tr_load(ring.head), 0, 20000000000);
        _exit(0);
    }
    while (!atomic_load(armed)) rest(64);
    kill(waiter, SIGKILL);
    waitpid(waiter, NULL, 0);
    uint64_t before = tr_load(&table->seen[WAKES]);
    for (int i = 0; i < 1000; i++) commit();
    if (tr_load(&table->seen[WAKES]) - before != 1) tr_add(&table->forbidden[DEAD_COST], 1);
    tr_add(&table->seen[DEAD], 1);
}

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    rounds = option("rounds", 20000);
    seed = option("seed", 1);
    table = shared(sizeof *table);
    armed = shared(4096);
    char *memory = shared(4096 + 64 * TR_RECORD);
    ring = (tr_ring){(tr_slot *)(memory + 4096), 63, tr_at(memory, TR_H_HEAD), 1};
    pid_t waiters[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = forked();
        if (waiters[i] == 0) {
            wait_forever(i);
            _exit(0);
        }
    }
    uint64_t random = seeded(seed, 1);
    for (uint64_t round = 0; round < rounds && !tr_load(&table->forbidden[LOST_WAKE]); round++) {
        uint64_t roll = draw(&random);
        for (uint64_t i = 0; i <= roll % 3; i++) {
            commit();
            rest((roll >> (8 + 8 * i)) % 256);
        }
        int64_t end = tr_now() + PATIENCE * 1000000LL;
        while (!acknowledged(ring.next - 1)) {
            rest(16);
            if (tr_now() > end) {
                tr_add(&table->forbidden[LOST_WAKE], 1);
                break;
            }
        }
        rest((roll >> 40) % 1024); /* they may be asleep again by the next round, or on their way */
        tr_add(&table->amount, 1);
    }
    tr_store(&table->stop, 1);
    for (int i = 0; i < WAITERS; i++) {
        kill(waiters[i], SIGKILL);
        waitpid(waiters[i], NULL, 0);
    }
    for (int i = 0; i < 20; i++) dead_waiter();
    return report("waiting", "rounds", table, forbidden_names, acceptable_names);
}
