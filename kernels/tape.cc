// Replays recorded kernel calls without the interpreter, on a team of threads. Host only.
//
// The first thread walks the tape: it alone calls Python, decides about loops and runs what is not worth sharing. The
// others follow from one shared step to the next, after each of which all meet. A barrier of our own takes a quarter of
// the time of libgomp's, and an eighth of a parallel region for each kernel.
#include <atomic>
#include <climits>
#include <linux/futex.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

// A step calls a kernel, calls back into Python (which returns non-zero to stop), or jumps back while a scalar is not 0.
enum Kind { CALL = 0, CALLBACK = 1, REPEAT = 2, SKIP = 3 };
typedef void (*Kernel)(const void *arguments, long thread, long threads);

struct Step {
    long kind;
    void (*function)();
    const void *arguments;
    long target;
    long shared;  // all threads run the kernel, each its share
};

// A count that only its own thread raises and others wait for, on cache lines of its own (they are fetched in pairs).
// Waits are short while all threads run: spin. Where others need the cores, sleep: who is woken gets a core sooner than
// who only offers its own to others. Counts may wrap.
#define SPINS 1000
struct alignas(128) Signal {
    std::atomic<unsigned> count{0}, sleepers{0};
    long next = 0;  // the shared step that follows, from the first thread

    void raise(unsigned to) {
        count.store(to);  // before sleepers is read, as sleepers is raised before count is looked at for the last time
        if (sleepers.load() != 0) syscall(SYS_futex, &count, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }

    void await(unsigned value) {
        for (int spins = 0; spins < SPINS; spins++) {
            if ((int)(count.load(std::memory_order_acquire) - value) >= 0) return;
            relax();
        }
        sleepers.fetch_add(1);
        for (unsigned seen; (int)((seen = count.load()) - value) < 0;)
            syscall(SYS_futex, &count, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
        sleepers.fetch_sub(1);
    }

    static void relax() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
};

struct Walk {
    const Step *steps;
    const long count;
    long failed = 0;              // 1 + the step that stopped the tape
    Signal lead;                  // stretches of steps that the first thread has ended
    std::vector<Signal> signals;  // from each thread: rounds of barriers that it has entered

    Walk(const Step *steps, long count, long threads) : steps(steps), count(count), signals(threads) {}

    // the steps of the first thread alone, from i on; the shared step that follows, or the end
    long alone(long i) {
        for (; i < count && !steps[i].shared; i++) {
            const Step &s = steps[i];
            if (s.kind == CALL) ((Kernel)s.function)(s.arguments, 0, 1);
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
    void meet(long thread, long threads, unsigned &round) {
        for (long distance = 1; distance < threads; distance *= 2) {
            signals[thread].raise(++round);
            signals[(thread + threads - distance) % threads].await(round);
        }
    }

    void run(long thread, long threads) {
        long i = 0;
        unsigned round = 0;
        for (unsigned stretch = 1;; stretch++) {
            if (thread == 0) {
                lead.next = i = alone(i);  // nobody reads it now: all have met since the last stretch
                lead.raise(stretch);
            } else {
                lead.await(stretch);
                i = lead.next;
            }
            if (i == count) return;
            for (; i < count && steps[i].shared; i++) {
                ((Kernel)steps[i].function)(steps[i].arguments, thread, threads);
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

// seconds that all threads take to meet, mean of `count` times; 0 for one thread
extern "C" double meeting_seconds(long count) {
    const long threads = omp_get_max_threads();
    if (threads == 1) return 0;
    Walk walk(nullptr, 0, threads);
    double seconds = 0;
#pragma omp parallel num_threads(threads)
    {
        const long thread = omp_get_thread_num(), here = omp_get_num_threads();
        unsigned round = 0;
        walk.meet(thread, here, round);
        const double begun = omp_get_wtime();
        for (long i = 0; i < count; i++) walk.meet(thread, here, round);
        if (thread == 0) seconds = (omp_get_wtime() - begun) / count;
    }
    return seconds;
}

// one kernel now
extern "C" void execute(Kernel function, const void *arguments) {
#pragma omp parallel
    function(arguments, omp_get_thread_num(), omp_get_num_threads());
}

extern "C" void use_threads(int count) { omp_set_num_threads(count); }
