// Replays recorded kernel calls without the interpreter. Host only.
// A step calls a kernel, calls back into Python (which returns non-zero to stop), or jumps back while a scalar is not 0.
enum Kind { CALL = 0, CALLBACK = 1, REPEAT = 2, SKIP = 3 };

struct Step {
    long kind;
    void (*function)(const void *);
    const void *arguments;
    long target;
};

extern "C" long replay(const Step *steps, long count) {
    for (long i = 0; i < count; i++) {
        const Step &s = steps[i];
        if (s.kind == CALL) s.function(s.arguments);
        else if (s.kind == REPEAT) { if (*(const double *)s.arguments != 0) i = s.target - 1; }
        else if (s.kind == SKIP) { if (*(const double *)s.arguments == 0) i = s.target - 1; }
        else if (((long (*)(const void *))s.function)(s.arguments)) return i + 1;
    }
    return 0;
}
