/* Which pieces of mapped code run between two moments, and when each runs first.
 *
 * `passed_arm` takes the permission to execute away from them. The first instruction in a piece faults: the handler
 * notes the time, gives the permission back and returns, and the instruction runs again. A fault anywhere else goes
 * to the handler of before.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MOST 256

static struct { uintptr_t start; size_t length; int64_t passed; } pieces[MOST];
static int count;
static struct sigaction before;

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < count; i++) {
        if (address - pieces[i].start < pieces[i].length && !pieces[i].passed) {
            pieces[i].passed = monotonic_ns();
            mprotect((void *)pieces[i].start, pieces[i].length, PROT_READ | PROT_EXEC);
            return;
        }
    }
    sigaction(SIGSEGV, &before, NULL); /* the instruction runs again, into that handler */
}

/* 0, or -1: too many, or a page that cannot be protected. */
int passed_arm(const uintptr_t *starts, const size_t *lengths, int n) {
    struct sigaction ours;
    if (n > MOST) return -1;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO;
    count = n;
    if (sigaction(SIGSEGV, &ours, &before)) return -1;
    for (int i = 0; i < n; i++) {
        pieces[i].start = starts[i];
        pieces[i].length = lengths[i];
        pieces[i].passed = 0;
        if (mprotect((void *)starts[i], lengths[i], PROT_READ)) return -1;
    }
    return 0;
}

/* Everything is as before. `into`: of each piece CLOCK_MONOTONIC ns of its first instruction; 0: none has run. */
void passed_disarm(int64_t *into) {
    for (int i = 0; i < count; i++) {
        mprotect((void *)pieces[i].start, pieces[i].length, PROT_READ | PROT_EXEC);
        into[i] = pieces[i].passed;
    }
    sigaction(SIGSEGV, &before, NULL);
}
