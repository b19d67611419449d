/* What the stress programs share: options, a seeded generator, and a table of named outcomes.
 *
 * A FORBIDDEN outcome is a broken promise of the protocol: its count has to be 0. An ACCEPTABLE one is part of
 * it (an empty ring, a lap) and is counted to show that the run went where it was meant to go. */
#ifndef TICKRING_STRESS_HARNESS_H
#define TICKRING_STRESS_HARNESS_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/atomics.h"

enum { OUTCOMES = 16 };

/* Lives in shared memory: both processes count into it, each outcome on the side that notices it. */
typedef struct {
    tr_word forbidden[OUTCOMES];
    tr_word seen[OUTCOMES];
    tr_word amount;
    tr_word stop;
    tr_word total;
    tr_word spare[8];
} tally;

static int option_count;
static char **options;

/* --name=value, or the default. */
static inline uint64_t option(const char *name, uint64_t otherwise)
{
    size_t length = strlen(name);
    for (int i = 1; i < option_count; i++) {
        const char *text = options[i];
        if (strncmp(text, "--", 2) == 0 && strncmp(text + 2, name, length) == 0 && text[2 + length] == '=')
            return strtoull(text + 3 + length, NULL, 0);
    }
    return otherwise;
}

static inline void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    memset(memory, 0, size);
    return memory;
}

/* xorshift64*: quick, seeded, the same on every machine. */
static inline uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

static inline uint64_t seeded(uint64_t seed, uint64_t stream)
{
    uint64_t state = (seed + 1) * 0x9E3779B97F4A7C15ULL ^ (stream + 1) * 0xBF58476D1CE4E5B9ULL;
    for (int i = 0; i < 4; i++) draw(&state);
    return state ? state : 1;
}

/* A number that tells a sequence, its writer and a word's place apart. */
static inline uint64_t mixed(uint64_t seq, uint64_t epoch, uint64_t place)
{
    uint64_t x = seq * 0x9E3779B97F4A7C15ULL + epoch * 0xC2B2AE3D27D4EB4FULL + place * 0x165667B19E3779F9ULL;
    return x ^ x >> 29;
}

static inline void rest(uint64_t rounds)
{
    for (uint64_t i = 0; i < rounds; i++) tr_pause();
}

static inline pid_t forked(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    return pid;
}

static inline int print_outcomes(const char *key, const char *const *names, const tr_word *counts)
{
    int bad = 0;
    printf(",\"%s\":{", key);
    for (int i = 0; names[i]; i++) {
        uint64_t count = tr_load(&counts[i]);
        printf("%s\"%s\":%llu", i ? "," : "", names[i], (unsigned long long)count);
        bad |= count != 0;
    }
    printf("}");
    return bad;
}

/* One JSON line; exit status 3 when a forbidden outcome was seen. */
static inline int report(const char *what, const char *unit, const tally *table, const char *const *forbidden,
                         const char *const *acceptable)
{
    printf("{\"what\":\"%s\",\"unit\":\"%s\",\"amount\":%llu", what, unit,
           (unsigned long long)tr_load(&table->amount));
    int bad = print_outcomes("forbidden", forbidden, table->forbidden);
    print_outcomes("acceptable", acceptable, table->seen);
    printf("}\n");
    return bad ? 3 : 0;
}

#endif
