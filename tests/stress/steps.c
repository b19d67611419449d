/* Every interleaving of one writer and one reader, within a bound of preemptions, on the real header.
 *
 * Writer and reader are coroutines of one thread. TR_STEP stops them between any two accesses; the explorer
 * replays the scenario for each choice of up to `--bound` points at which the other side goes on, or at which
 * the writer dies and a new one takes over. Sequentially consistent by construction: what only a weaker memory
 * shows is the model's part (model/ring.pml). Deterministic: a mutant caught here is caught always. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static void step(const char *label);
static long fake_syscall(long number, ...);
static int fake_clock(int clock, struct timespec *out);

#define TR_STEP(label) step(#label)
#define syscall fake_syscall
#define clock_gettime fake_clock
#include "harness.h"
#undef syscall
#undef clock_gettime

enum { WRITER, READER };
enum { SWITCH, CRASH };
enum { PLANS = 6, TRACE = 4096, STACK = 65536, N = 4, SEQS = 64, WORDS = 5 };

static const char *const forbidden_names[] = {
    "torn record accepted", "sequence not increasing",  "got + lost != published", "lapped without a lap",
    "empty although published", "sequence re-used with other content", "torn cell accepted", "cell went backwards",
    "change missing", "change applied twice", "LIVE from a dead epoch", "LIVE past the heartbeat limit",
    "wake-up lost", "dead waiter cost more than one wake", NULL};
enum { TORN, ORDER, SUM, FALSE_LAP, FALSE_EMPTY, REUSED, CELL_TORN, CELL_BACK, MISSING, TWICE, DEAD_LIVE, LATE_LIVE,
       LOST_WAKE, DEAD_WAITER };
static const char *const acceptable_names[] = {"empty", "lapped", "got", "cell read", "cell busy", "crash", "LIVE",
                                               "not LIVE", "slept", NULL};
enum { EMPTY, LAPPED, GOT, CELL_READ, BUSY, CRASHED, LIVE, NOT_LIVE, SLEPT };

static tally table;

/* -- the explorer --------------------------------------------------------------------------------------- */
typedef struct {
    void (*reset)(void);
    void (*writer)(void);
    void (*reader)(void);
    void (*restart)(void); /* the next writer after a crash; NULL: the scenario has no crash */
    void (*verdict)(void);
} scenario;

static const scenario *scene;
static ucontext_t contexts[2], scheduler;
static char stacks[2][STACK];
static int done[2], current, dying, running, incarnation;
static struct {
    uint64_t at;
    int event;
} plan[PLANS];
static int planned, followed, bound, max_crashes, quick;
static uint64_t yields, best_shown;
static uint8_t trace[TRACE];
static const char *labels[TRACE];

static void forbid(int outcome)
{
    tr_add(&table.forbidden[outcome], 1);
    if (best_shown) return;
    best_shown = 1;
    fprintf(stderr, "%s:", forbidden_names[outcome]);
    for (int i = 0; i < planned; i++)
        fprintf(stderr, " %s at %s %s;", plan[i].event == CRASH ? "crash" : "switch",
                trace[plan[i].at] == WRITER ? "writer" : "reader", labels[plan[i].at]);
    fprintf(stderr, "\n");
}

static void saw(int outcome) { tr_add(&table.seen[outcome], 1); }

static void step(const char *label)
{
    if (!running) return;
    yields++;
    if (yields >= TRACE) abort();
    trace[yields] = (uint8_t)current;
    labels[yields] = label;
    if (followed < planned && plan[followed].at == yields) {
        dying = plan[followed].event == CRASH;
        followed++;
        swapcontext(&contexts[current], &scheduler);
    }
}

static void enter_writer(void)
{
    if (incarnation == 0) {
        scene->writer();
    } else {
        step("dead"); /* here the reader may go on before anybody has taken over */
        scene->restart();
    }
    done[WRITER] = 1;
    swapcontext(&contexts[WRITER], &scheduler);
}

static void enter_reader(void)
{
    scene->reader();
    done[READER] = 1;
    swapcontext(&contexts[READER], &scheduler);
}

static void prepare(int side)
{
    getcontext(&contexts[side]);
    contexts[side].uc_stack.ss_sp = stacks[side];
    contexts[side].uc_stack.ss_size = STACK;
    contexts[side].uc_link = NULL;
    makecontext(&contexts[side], side == WRITER ? enter_writer : enter_reader, 0);
}

static void play(int first)
{
    scene->reset();
    yields = 0;
    followed = incarnation = 0;
    for (int side = 0; side < 2; side++) {
        done[side] = 0;
        prepare(side);
    }
    current = first;
    running = 1;
    while (!done[WRITER] || !done[READER]) {
        swapcontext(&scheduler, &contexts[current]);
        if (dying) {
            dying = 0;
            incarnation++;
            saw(CRASHED);
            prepare(WRITER);
        } else if (!done[1 - current]) {
            current = 1 - current;
        }
    }
    running = 0;
    scene->verdict();
    tr_add(&table.amount, 1);
}

static int found(void)
{
    for (int i = 0; i < OUTCOMES; i++)
        if (tr_peek(&table.forbidden[i])) return 1;
    return 0;
}

static void explore(int first, int depth, uint64_t from, int crashes)
{
    planned = depth;
    play(first);
    if (depth == bound || (quick && found())) return;
    uint64_t total = yields;
    uint8_t *sides = malloc(total + 1);
    memcpy(sides, trace, total + 1);
    for (uint64_t at = from; at <= total && !(quick && found()); at++) {
        plan[depth].at = at;
        plan[depth].event = SWITCH;
        explore(first, depth + 1, at + 1, crashes);
        if (sides[at] != WRITER || !scene->restart || crashes == max_crashes) continue;
        plan[depth].at = at;
        plan[depth].event = CRASH;
        explore(first, depth + 1, at + 1, crashes + 1);
    }
    free(sides);
}

/* -- ring: two records an update, four slots: the reader is lapped after two updates ----------------------- */
static tr_slot slots[2 * N];
static tr_word head;
static tr_ring ring;
static uint64_t intent[SEQS], accepted[SEQS];
static uint64_t next, got, lost, last;

static void ring_reset(void)
{
    memset(slots, 0, sizeof slots);
    memset(intent, 0, sizeof intent);
    memset(accepted, 0, sizeof accepted);
    tr_poke(&head, 0);
    ring = (tr_ring){slots, N - 1, &head, 1};
    next = 1;
    got = lost = last = 0;
}

static void put(void)
{
    uint64_t value = ring.next * 1000 + (uint64_t)incarnation * 100 + 7;
    intent[ring.next] = value;
    int64_t word = (int64_t)value;
    tr_ring_put(&ring, word, word, value, word, word, word, word);
}

static void ring_writer(void)
{
    for (int update = 0; update < 3; update++) {
        put();
        put();
        tr_ring_publish(&ring);
    }
}

static void ring_restart(void)
{
    tr_ring_resume(&ring); /* T3, T4 */
    put();
    tr_ring_publish(&ring);
    put();
    put();
    tr_ring_publish(&ring);
}

static int poll_once(void)
{
    tr_record record;
    uint64_t before = tr_load(&head);
    int answer = tr_ring_read(slots, ring.mask, &head, next, &record);
    if (answer == TR_GOT) {
        uint64_t value = (uint64_t)record.ts_event;
        if ((uint64_t)record.ts_recv != value || record.meta != value || (uint64_t)record.words[0] != value ||
            (uint64_t)record.words[1] != value || (uint64_t)record.words[2] != value ||
            (uint64_t)record.words[3] != value || value / 1000 != next || record.seq != next)
            forbid(TORN);
        if (record.seq <= last) forbid(ORDER);
        last = record.seq;
        accepted[next] = value;
        got++;
        next++;
        saw(GOT);
    } else if (answer == TR_LAPPED) {
        if (tr_load(&head) + N / 2 < next + N) forbid(FALSE_LAP);
        uint64_t target = tr_ring_skip(ring.mask, &head, next);
        lost += target - next;
        next = target;
        saw(LAPPED);
    } else {
        if (before >= next) forbid(FALSE_EMPTY);
        saw(EMPTY);
    }
    return answer;
}

static void ring_reader(void)
{
    for (int i = 0; i < 5; i++) poll_once();
}

static void ring_verdict(void)
{
    while (poll_once() != TR_EMPTY) {
    }
    if (next - 1 != tr_load(&head) || got + lost != tr_load(&head)) forbid(SUM);
    for (int i = 0; i < SEQS; i++)
        if (accepted[i] && accepted[i] != intent[i]) forbid(REUSED);
}

/* -- a cell: words 1..3 are one content, word 4 the state ---------------------------------------------------- */
static tr_word cell[WORDS];
static uint64_t cell_last;

static void cell_reset(void)
{
    memset(cell, 0, sizeof cell);
    cell_last = 0;
}

static void cell_write(uint64_t value)
{
    uint64_t begin = tr_cell_begin(cell);
    for (size_t i = 1; i < WORDS; i++) tr_cell_set(cell, i, value);
    tr_cell_end(cell, begin);
}

static void cell_writer(void)
{
    for (uint64_t value = 1; value <= 3; value++) cell_write(value);
}

/* A new writer first says that the content is being rebuilt (the state alone), then writes it. */
static void cell_restart(void)
{
    if (tr_cell_whole(cell)) {
        uint64_t begin = tr_cell_begin(cell);
        tr_cell_set(cell, 4, TR_RESYNC);
        tr_cell_end(cell, begin);
    }
    cell_write(10);
    cell_write(11);
}

static void cell_once(void)
{
    uint64_t words[WORDS];
    if (!tr_cell_read(cell, WORDS, words)) {
        saw(BUSY);
        return;
    }
    if (words[1] != words[2] || words[2] != words[3]) forbid(CELL_TORN);
    if (words[1] < cell_last) forbid(CELL_BACK);
    cell_last = words[1];
    saw(CELL_READ);
}

static void cell_reader(void)
{
    for (int i = 0; i < 3; i++) cell_once();
}

/* -- late join: one instrument whose value grows by one with each record ------------------------------------ */
static uint64_t value_written, value_folded;
static int joined;

static void join_reset(void)
{
    ring_reset();
    ring.mask = 2 * N - 1;
    cell_reset();
    value_written = value_folded = 0;
}

static void join_writer(void)
{
    for (int update = 0; update < 3; update++) {
        value_written++;
        int64_t value = (int64_t)value_written;
        tr_ring_put(&ring, 0, 0, 0, value, value, value, value);
        tr_update_cells(&ring);
        uint64_t begin = tr_cell_begin(cell);
        tr_cell_set(cell, 1, value_written);
        tr_cell_set(cell, 2, ring.next - 1);
        tr_cell_end(cell, begin);
        tr_ring_publish(&ring);
    }
}

static uint64_t join_cell[3];

static void join_fold(void)
{
    tr_record record;
    while (tr_ring_read(slots, ring.mask, &head, next, &record) == TR_GOT) {
        next++;
        saw(GOT);
        if (!tr_is_news(record.seq, join_cell[2])) continue;
        if ((uint64_t)record.words[0] > value_folded + 1) forbid(MISSING);
        if ((uint64_t)record.words[0] <= value_folded) forbid(TWICE);
        value_folded = (uint64_t)record.words[0];
    }
}

static void join_reader(void)
{
    next = tr_load(&head) + 1;
    step("J1");
    joined = tr_cell_read(cell, 3, join_cell);
    if (!joined) {
        saw(BUSY);
        return;
    }
    saw(CELL_READ);
    value_folded = join_cell[1];
    join_fold();
    join_fold();
}

static void join_verdict(void)
{
    if (!joined) return;
    join_fold();
    if (value_folded != value_written) forbid(MISSING);
}

/* -- LIVE: take-over, the supervisor's DOWN, a writer that stands still ------------------------------------- */
static _Alignas(64) char base[4096];
static uint64_t dead; /* incarnations up to this one are known to be dead */
static int64_t clock_ns;
enum { LIMIT = 100 };

static void live_reset(void)
{
    memset(base, 0, sizeof base);
    cell_reset();
    tr_poke(tr_at(base, TR_H_HEARTBEAT_LIMIT), LIMIT);
    dead = 0;
    clock_ns = 1000;
}

static void live_session(void)
{
    tr_take_over(base, tr_load(tr_at(base, TR_H_EPOCH)) + 1, 0);
    uint64_t epoch = tr_load(tr_at(base, TR_H_EPOCH));
    dead = (uint64_t)incarnation; /* the writers before this one; numbered from 1 in the cell */
    step("T2");
    tr_beat(base, clock_ns, 0);
    for (int i = 0; i < 2; i++) {
        uint64_t begin = tr_cell_begin(cell);
        tr_cell_set(cell, 1, (uint64_t)incarnation + 1);
        tr_cell_set(cell, 2, epoch);
        tr_cell_set(cell, 3, TR_LIVE);
        tr_cell_end(cell, begin);
    }
}

static void live_writer(void)
{
    live_session();
    clock_ns += 10 * LIMIT; /* it stands still (SIGSTOP) */
    step("stopped");
}

static void live_restart(void)
{
    tr_store(tr_at(base, TR_H_STATE), TR_DOWN); /* the supervisor, at the writer's exit */
    dead = (uint64_t)incarnation;
    step("down");
    live_session();
}

static void live_reader(void)
{
    for (int i = 0; i < 3; i++) {
        uint64_t words[WORDS], known = dead;
        int64_t before = clock_ns;
        if (!tr_cell_read(cell, WORDS - 1, words)) continue;
        if (tr_effective(base, (int)words[3], words[2], clock_ns) != TR_LIVE) {
            saw(NOT_LIVE);
            continue;
        }
        saw(LIVE);
        if (words[1] <= known) forbid(DEAD_LIVE);
        if (before - (int64_t)tr_load(tr_at(base, TR_H_HEARTBEAT)) > LIMIT) forbid(LATE_LIVE);
    }
}

static void nothing(void) {}

/* -- waiting: `armed` was left up by a dead waiter, and a living one comes --------------------------------------- */
static tr_half armed;
static int asleep, wakes;

static void wait_reset(void)
{
    ring_reset();
    atomic_store(&armed, 1);
    asleep = wakes = 0;
    clock_ns = 0;
}

static void wait_writer(void)
{
    for (int i = 0; i < 3; i++) {
        put();
        tr_ring_commit(&ring, &armed);
    }
}

/* The first writer may have died with the flag down and nobody woken. */
static void wait_restart(void)
{
    tr_ring_resume(&ring);
    put();
    tr_ring_commit(&ring, &armed);
}

static void wait_reader(void)
{
    for (int i = 0; i < 2; i++) {
        uint64_t seen = tr_load(&head);
        step("A0");
        tr_ring_wait(&head, &armed, seen, 0, 1000000000);
    }
}

static int fake_clock(int clock, struct timespec *out)
{
    (void)clock;
    *out = (struct timespec){clock_ns / 1000000000, clock_ns % 1000000000};
    return 0;
}

static long fake_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    const tr_half *word = va_arg(arguments, const tr_half *);
    int op = va_arg(arguments, int);
    uint32_t value = va_arg(arguments, uint32_t);
    va_end(arguments);
    if (op == FUTEX_WAKE) {
        wakes++;
        asleep = 0;
        return 0;
    }
    if (atomic_load(word) != value) {
        errno = EAGAIN;
        return -1;
    }
    asleep = 1;
    saw(SLEPT);
    while (asleep && !done[WRITER]) swapcontext(&contexts[READER], &scheduler);
    if (!asleep) return 0;
    if (atomic_load(word) != value) forbid(LOST_WAKE); /* the head moved, the writer is through, nobody woke us */
    clock_ns += 2000000000;
    errno = ETIMEDOUT;
    return -1;
}

/* Many commits beside a waiter that died with its flag up: one system call in all. */
static void dead_waiter(void)
{
    wait_reset();
    int calls = 0;
    for (int i = 0; i < 50; i++) {
        put();
        calls += tr_ring_commit(&ring, &armed);
    }
    if (calls != 1 || wakes != 1) forbid(DEAD_WAITER);
    tr_add(&table.amount, 1);
}

static const struct {
    const char *name;
    scenario scene;
    int crashes;
} scenarios[] = {
    {"ring", {ring_reset, ring_writer, ring_reader, NULL, ring_verdict}, 0},
    {"ring-crash", {ring_reset, ring_writer, ring_reader, ring_restart, ring_verdict}, 2},
    {"cell", {cell_reset, cell_writer, cell_reader, cell_restart, cell_once}, 2},
    {"join", {join_reset, join_writer, join_reader, NULL, join_verdict}, 0},
    {"live", {live_reset, live_writer, live_reader, live_restart, nothing}, 1},
    {"wait", {wait_reset, wait_writer, wait_reader, wait_restart, nothing}, 1},
};

int main(int count, char **arguments)
{
    option_count = count;
    options = arguments;
    const char *wanted = NULL;
    for (int i = 1; i < count; i++)
        if (arguments[i][0] != '-') wanted = arguments[i];
    quick = (int)option("quick", 0);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        if (wanted && strcmp(wanted, scenarios[i].name) != 0) continue;
        scene = &scenarios[i].scene;
        max_crashes = scenarios[i].crashes;
        bound = (int)option("bound", 3);
        if (bound > PLANS) bound = PLANS;
        explore(WRITER, 0, 1, 0);
        explore(READER, 0, 1, 0);
        if (strcmp(scenarios[i].name, "wait") == 0) dead_waiter();
    }
    return report("steps", "interleavings", &table, forbidden_names, acceptable_names);
}
