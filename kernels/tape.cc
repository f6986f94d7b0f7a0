// Replays recorded kernel calls without the interpreter, on a team of threads. Host only.
//
// The first thread walks the tape: it alone calls Python, decides about loops and runs what is not worth sharing. The
// others follow from one shared step to the next. Between steps they meet at a barrier of our own: a quarter of the time
// of libgomp's, an eighth of opening a parallel region for each kernel.
#include <atomic>
#include <omp.h>
#include <sched.h>
#include <vector>

// A step calls a kernel, calls back into Python (which returns non-zero to stop), or jumps back while a scalar is not 0.
enum Kind { CALL = 0, CALLBACK = 1, REPEAT = 2, SKIP = 3 };
typedef void (*Kernel)(const void *arguments, long thread, long threads);

struct Step {
    long kind;
    Kernel function;
    const void *arguments;
    long target;
    long shared;  // all threads run the kernel, each its share
};

// Waits are short while all threads run. Where they do not, because others need the cores, let those go first.
#define SPINS 1000
static void wait(const std::atomic<long> &count, long value) {
    for (long spins = 0; count.load(std::memory_order_acquire) < value; spins++) {
        if (spins >= SPINS) sched_yield();
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#elif defined(__aarch64__)
        else __asm__ volatile("yield");
#endif
    }
}

// What threads tell each other, each on cache lines of its own (they are fetched in pairs).
struct alignas(128) Signal {
    std::atomic<long> count{0};
    long next = 0;
};

struct Walk {
    const Step *steps;
    const long count;
    long failed = 0;             // 1 + the step that stopped the tape
    Signal lead;                 // from the first thread: stretches that it has ended, the shared step that is next
    std::vector<Signal> signals; // from each thread: rounds of barriers that it has entered

    Walk(const Step *steps, long count, long threads) : steps(steps), count(count), signals(threads) {}

    // the steps of the first thread alone, from i on; the shared step that follows, or the end
    long alone(long i) {
        for (; i < count && !steps[i].shared; i++) {
            const Step &s = steps[i];
            if (s.kind == CALL) s.function(s.arguments, 0, 1);
            else if (s.kind == REPEAT) { if (*(const double *)s.arguments != 0) i = s.target - 1; }
            else if (s.kind == SKIP) { if (*(const double *)s.arguments == 0) i = s.target - 1; }
            else if (((long (*)(const void *))s.function)(s.arguments)) {
                failed = i + 1;
                return count;
            }
        }
        return i;
    }

    // returns when all threads have come here: in round r a thread hears from the one 2^r before it
    void meet(long thread, long threads, long &round) {
        for (long distance = 1; distance < threads; distance *= 2) {
            signals[thread].count.store(++round, std::memory_order_release);
            wait(signals[(thread + threads - distance) % threads].count, round);
        }
    }

    void run(long thread, long threads) {
        long round = 0, i = 0;
        for (long stretch = 1;; stretch++) {
            if (thread == 0) {
                lead.next = i = alone(i);  // nobody reads it now: all have met since the last stretch
                lead.count.store(stretch, std::memory_order_release);
            } else {
                wait(lead.count, stretch);
                i = lead.next;
            }
            if (i == count) return;
            for (; i < count && steps[i].shared; i++) {
                steps[i].function(steps[i].arguments, thread, threads);
                meet(thread, threads, round);
            }
        }
    }
};

// 0, or 1 + the step that stopped the tape
extern "C" long replay(const Step *steps, long count) {
    long shared = 0;
    for (long i = 0; i < count; i++) shared += steps[i].shared;
    const long threads = shared ? omp_get_max_threads() : 1;
    Walk walk(steps, count, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
    walk.run(omp_get_thread_num(), omp_get_num_threads());
    return walk.failed;
}

// one kernel now
extern "C" void execute(Kernel function, const void *arguments) {
#pragma omp parallel
    function(arguments, omp_get_thread_num(), omp_get_num_threads());
}

extern "C" void use_threads(int count) { omp_set_num_threads(count); }
