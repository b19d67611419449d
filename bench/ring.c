/* The ring in C, beside the least that two cores can do: `ring latency`, `ring throughput`, `ring feed`.
 *
 * latency A B ROUNDS N: two forked processes, each spinning on its own core. In turn, ROUNDS times, N samples of
 *   line   a cache line bounced there and back, round trip / 2
 *   ring   a record put and committed, read by a spinning reader, which answers through a second ring; / 2
 *   line1  one way, stamped: the writer stores its clock into a line, every 2 us or later, the reader subtracts
 *   ring1  the same through a record and `tr_ring_read`
 * throughput A B ROUNDS N: N records of 64 bytes from one process to the other, none lost: the writer waits for
 *   the reader's position (kept beside the ring, for this benchmark alone). Beside it `spsc`: Lamport's queue of
 *   64-byte slots, one writer, one reader, no overwriting: what a queue without late joiners costs.
 * feed CORE SEGMENT RING_OFFSET SLOTS HEAD_OFFSET CREDIT N: N records into a real segment, waiting for the
 *   reader's position in the file CREDIT (word 0).
 *
 * One JSON object a line, times in ns of the processor's own counter.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/atomics.h"

enum { SLOTS = 65536, BATCH = 64 };

typedef struct {
    _Alignas(128) tr_word line[2][16];
    _Alignas(128) tr_word head[2][16];
    _Alignas(128) tr_word go, ready, position, tail, spare[12];
    _Alignas(128) tr_word stop[16];
    _Alignas(4096) tr_slot slots[2][SLOTS];
} arena;

static double per_ns;

static inline uint64_t stamp(void)
{
#if defined(__x86_64__)
    unsigned aux;
    return __builtin_ia32_rdtscp(&aux);
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(count)::"memory");
    return count;
#else
    return (uint64_t)tr_now();
#endif
}

static void calibrate(void)
{
    uint64_t from = stamp();
    int64_t at = tr_now();
    while (tr_now() - at < 50000000) {}
    per_ns = (double)(stamp() - from) / (double)(tr_now() - at);
}

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) perror("sched_setaffinity");
}

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    memset(memory, 0, size);
    return memory;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, int round, double *samples, long n, double mean)
{
    qsort(samples, (size_t)n, sizeof *samples, by_value);
    printf("{\"what\":\"%s\",\"round\":%d,\"n\":%ld,\"min\":%.1f,\"p50\":%.1f,\"p99\":%.1f,\"p99.9\":%.1f,\"max\":%.1f,"
           "\"mean\":%.1f}\n",
           what, round, n, samples[0], samples[n / 2], samples[(long)((double)n * 0.99)],
           samples[(long)((double)n * 0.999)], samples[n - 1], mean);
    fflush(stdout);
}

static void meet(arena *a, int side, uint64_t phase)
{
    tr_word *mine = side ? &a->ready : &a->go, *theirs = side ? &a->go : &a->ready;
    tr_store(mine, phase);
    while (tr_load(theirs) < phase) {}
}

static inline void put(tr_ring *ring, tr_half *armed, uint64_t value)
{
    tr_ring_put(ring, 1, (int64_t)value, tr_meta(0, 1, 0, 0), 1, 2, 3, 4);
    tr_ring_commit(ring, armed);
}

static inline int64_t take(const tr_slot *slots, const tr_word *head, uint64_t next)
{
    tr_record record;
    while (tr_ring_read(slots, SLOTS - 1, head, next, &record) != TR_GOT) {}
    return record.ts_recv;
}

/* The next of the paced messages: in its time, and not before the reader has the last one (it may have been off
 * its core: without this its backlog would be measured, not the way). */
static void pace(arena *a, uint64_t taken, uint64_t *due, double gap)
{
    while (tr_load(&a->position) < taken) {}
    uint64_t now = stamp();
    if (*due < now) *due = now;
    while (stamp() < *due) {}
    *due += (uint64_t)gap;
}

static void latency_side(arena *a, int side, int core, int rounds, long n)
{
    tr_ring ring = {a->slots[side], SLOTS - 1, &a->head[side][0], 1};
    tr_half *armed = (tr_half *)&a->stop[side * 8];
    uint64_t next = 1, turn = 0, phase = 0, base = 0;
    double *samples = malloc((size_t)n * sizeof *samples);
    if (!samples) exit(1);
    pin(core);
    for (int round = -1; round < rounds; round++) {
        int64_t began;
        meet(a, side, ++phase);
        began = tr_now();
        uint64_t last = stamp();
        for (long i = 0; i < n; i++) { /* line */
            turn++;
            if (side == 0) tr_store(&a->line[0][0], turn);
            while (tr_load(&a->line[side == 0 ? 1 : 0][0]) != turn) {}
            if (side == 1) tr_store(&a->line[1][0], turn);
            else {
                uint64_t now = stamp();
                samples[i] = (double)(now - last) / per_ns / 2;
                last = now;
            }
        }
        double mean = (double)(tr_now() - began) / (double)n / 2;
        if (side == 0 && round >= 0) report("line", round, samples, n, mean);

        meet(a, side, ++phase);
        began = tr_now();
        last = stamp();
        for (long i = 0; i < n; i++) { /* ring */
            if (side == 0) put(&ring, armed, (uint64_t)i);
            take(a->slots[!side], &a->head[!side][0], next++);
            if (side == 1) put(&ring, armed, (uint64_t)i);
            else {
                uint64_t now = stamp();
                samples[i] = (double)(now - last) / per_ns / 2;
                last = now;
            }
        }
        mean = (double)(tr_now() - began) / (double)n / 2;
        if (side == 0 && round >= 0) report("ring", round, samples, n, mean);

        double gap = 2000 * per_ns;
        meet(a, side, ++phase);
        uint64_t due = stamp() + (uint64_t)(100 * gap), before = tr_load(&a->line[0][8]);
        meet(a, side, ++phase);
        double sum = 0;
        /* line1: from side 0 to side 1 */
        for (long i = 0; i < n; i++) {
            if (side == 0) {
                pace(a, base + (uint64_t)i, &due, gap);
                tr_store(&a->line[0][8], stamp());
            } else {
                uint64_t seen;
                while ((seen = tr_load(&a->line[0][8])) == before) {}
                samples[i] = (double)(int64_t)(stamp() - seen) / per_ns;
                tr_store(&a->position, base + (uint64_t)i + 1);
                before = seen;
                sum += samples[i];
            }
        }
        base += (uint64_t)n;
        if (side == 1 && round >= 0) report("line1", round, samples, n, sum / (double)n);

        meet(a, side, ++phase);
        due = stamp() + (uint64_t)(100 * gap);
        sum = 0;
        for (long i = 0; i < n; i++) { /* ring1 */
            if (side == 0) {
                pace(a, base + (uint64_t)i, &due, gap);
                put(&ring, armed, stamp());
            } else {
                int64_t seen = take(a->slots[0], &a->head[0][0], next++);
                samples[i] = (double)((int64_t)stamp() - seen) / per_ns;
                tr_store(&a->position, base + (uint64_t)i + 1);
                sum += samples[i];
            }
        }
        base += (uint64_t)n;
        if (side == 1 && round >= 0) report("ring1", round, samples, n, sum / (double)n);
    }
    free(samples);
}

static void rate(const char *what, int round, long n, int64_t took)
{
    printf("{\"what\":\"%s\",\"round\":%d,\"n\":%ld,\"per_second\":%.0f}\n", what, round, n,
           (double)n / ((double)took * 1e-9));
    fflush(stdout);
}

static void throughput_side(arena *a, int side, int core, int rounds, long n)
{
    tr_ring ring = {a->slots[0], SLOTS - 1, &a->head[0][0], 1};
    tr_half *armed = (tr_half *)&a->stop[0];
    uint64_t next = 1, at = 0, phase = 0, check = 0;
    tr_record record;
    pin(core);
    for (int round = -1; round < rounds; round++) {
        meet(a, side, ++phase);
        int64_t began = tr_now();
        if (side == 0) { /* ring: records, a commit every BATCH */
            uint64_t end = ring.next + (uint64_t)n;
            while (ring.next < end) {
                while (ring.next - tr_load(&a->position) > SLOTS / 2 - 2 * BATCH) {}
                for (int i = 0; i < BATCH; i++)
                    tr_ring_put(&ring, 1, (int64_t)ring.next, tr_meta(0, 1, 0, 0), 1, 2, 3, 4);
                tr_ring_commit(&ring, armed);
            }
        } else {
            uint64_t end = next + (uint64_t)(n / BATCH * BATCH + (n % BATCH ? BATCH : 0));
            while (next < end) {
                int got = tr_ring_read(a->slots[0], SLOTS - 1, &a->head[0][0], next, &record);
                if (got == TR_LAPPED) {
                    fprintf(stderr, "lost a record in a lossless run\n");
                    exit(1);
                }
                if (got != TR_GOT) continue;
                check += (uint64_t)record.ts_recv;
                next++;
                if (!(next & 1023)) tr_store(&a->position, next);
            }
            tr_store(&a->position, next);
            if (round >= 0) rate("ring", round, n, tr_now() - began);
        }

        meet(a, side, ++phase);
        began = tr_now();
        uint64_t (*queue)[8] = (uint64_t(*)[8])a->slots[1];
        if (side == 0) { /* spsc: head and tail of its own, published every BATCH */
            for (uint64_t end = at + (uint64_t)n; at < end;) {
                while (at - tr_load(&a->tail) > SLOTS - BATCH) {}
                for (int i = 0; i < BATCH; i++, at++)
                    for (int word = 0; word < 8; word++) queue[at & (SLOTS - 1)][word] = at;
                tr_store(&a->head[1][0], at);
            }
        } else {
            uint64_t copy[8];
            for (uint64_t end = at + (uint64_t)(n / BATCH * BATCH + (n % BATCH ? BATCH : 0)); at < end;) {
                uint64_t head = tr_load(&a->head[1][0]);
                for (; at < head; at++) {
                    memcpy(copy, queue[at & (SLOTS - 1)], sizeof copy);
                    __asm__ volatile("" ::"r"(copy) : "memory");
                    check += copy[0];
                    if (!(at & 1023)) tr_store(&a->tail, at);
                }
                tr_store(&a->tail, at);
            }
            if (round >= 0) rate("spsc", round, n, tr_now() - began);
        }
    }
    if (check == 42) puts("");
}

static int feed(char **argv)
{
    pin(atoi(argv[2]));
    int data = open(argv[3], O_RDWR), credit = open(argv[7], O_RDWR);
    off_t size = lseek(data, 0, SEEK_END);
    char *base = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, data, 0);
    tr_word *position = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, credit, 0);
    if (data < 0 || credit < 0 || base == MAP_FAILED || (void *)position == MAP_FAILED) {
        perror("feed");
        return 1;
    }
    uint64_t slots = strtoull(argv[5], NULL, 0);
    tr_word *head = tr_at(base, strtoull(argv[6], NULL, 0));
    tr_ring ring = {(tr_slot *)(base + strtoull(argv[4], NULL, 0)), slots - 1, head, tr_load(head) + 1};
    uint64_t end = ring.next + strtoull(argv[8], NULL, 0);
    while (tr_load(&position[1]) == 0) {}
    while (ring.next < end) {
        while (ring.next - tr_load(position) > slots / 2 - 2 * BATCH) {}
        for (int i = 0; i < BATCH; i++) tr_ring_put(&ring, 1, 1, tr_meta(0, 1, 0, 0), 1, 2, 3, 4);
        tr_ring_publish(&ring);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 9 && !strcmp(argv[1], "feed")) return feed(argv);
    if (argc != 6) {
        fprintf(stderr, "usage: see the head of bench/ring.c\n");
        return 2;
    }
    void (*side)(arena *, int, int, int, long) = strcmp(argv[1], "latency") ? throughput_side : latency_side;
    int rounds = atoi(argv[4]);
    long n = atol(argv[5]);
    arena *a = shared(sizeof *a);
    calibrate();
    pid_t child = fork();
    if (child == 0) {
        /* A shared mapping is inherited without its page tables: not to be measured. */
        for (int i = 0; i < 2 * SLOTS; i += 4096 / TR_RECORD) tr_store(&a->slots[0][i].seq, 0);
        side(a, 1, atoi(argv[3]), rounds, n);
        exit(0);
    }
    side(a, 0, atoi(argv[2]), rounds, n);
    int status = 1;
    waitpid(child, &status, 0);
    return status != 0;
}
