// The machine, and nothing else: this header holds the only #ifdefs that ask for it (others ask for colours, dimensions).
//
// A kernel file defines site functions on the value type V of one lane group and exports them with SITE_KERNEL,
// REDUCTION_KERNEL or SCALAR_KERNEL. Three targets accept the same file:
//   host lanes    V is a GCC/Clang vector of LANES reals, one lane group per loop iteration, shared among threads;
//   CUDA          V is one real, one lane per thread (NVRTC);
//   host threads  (-DHOST_THREADS) V is one real, blocks and threads as CUDA would launch them, as plain loops:
//                 proves the launch geometry on a machine without a GPU.
// Arrays are (parity, group, component, lane), lane fastest, whatever the target.
#pragma once

typedef REAL real;

#if defined(__CUDACC_RTC__) || defined(__CUDACC__)
#define CUDA_TARGET 1
#define SITE_FUNCTION __device__ __forceinline__
#define SITE_ROUTINE SITE_FUNCTION
#define SITE_CONSTANT __device__ const
#define UNROLL _Pragma("unroll")
#else
#define SITE_FUNCTION static inline __attribute__((always_inline))
#define SITE_ROUTINE static __attribute__((noinline))  // large, and one copy serves all callers: compiled once
#define SITE_CONSTANT static const
#define UNROLL _Pragma("GCC unroll 16")
#endif

// REDUCTION_BLOCK, REDUCTION_CHUNK, GAUGE_CHUNK: constants of signatures.h
// fewer lane groups than this are not worth sharing among threads: of site kernels, of linear algebra (low: a vector that one
// thread alone touches between two hops is then in the wrong core's cache)
#define PARALLEL_GROUPS 32
#define PARALLEL_VECTORS 512

// ---------------------------------------------------------------- value type
#if !defined(CUDA_TARGET) && !defined(HOST_THREADS) && LANES > 1
#define VECTOR_LANES LANES
typedef real V __attribute__((vector_size(LANES * sizeof(real)), aligned(sizeof(real))));
SITE_FUNCTION V splat(real x) { return x + V{}; }
SITE_FUNCTION real lane_get(const V &v, int i) { return v[i]; }
SITE_FUNCTION void lane_set(V &v, int i, real x) { v[i] = x; }
#else
#define VECTOR_LANES 1
typedef real V;
SITE_FUNCTION V splat(real x) { return x; }
SITE_FUNCTION real lane_get(const V &v, int) { return v; }
SITE_FUNCTION void lane_set(V &v, int, real x) { v = x; }
#endif

#if defined(CUDA_TARGET)
SITE_FUNCTION double square_root(double x) { return sqrt(x); }
SITE_FUNCTION double fused(double a, double b, double c) { return fma(a, b, c); }
#else
SITE_FUNCTION double square_root(double x) { return __builtin_sqrt(x); }
SITE_FUNCTION double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
#endif
typedef unsigned int word;
typedef unsigned long long word2;

#define PREFETCH_DISTANCE 2  // lane groups ahead, of hops; one is too short for memory, four are too many for the cache
// into: 3 the first-level cache, 2 the second-level one, 0 the first level without a place in the second: for a stream that
// would drive out there what is used again; write: what will be written (a store that has to wait for its line holds up others)
template <int into = 3, bool write = false> SITE_FUNCTION void prefetch_reals(const real *p, int count) {
#if !defined(CUDA_TARGET)
    UNROLL for (int k = 0; k < count * LANES; k += 64 / (int)sizeof(real)) __builtin_prefetch(p + k, write, into);
#endif
}

// Keep a value that is used several times in a register: gcc would rather load it again for each product, and two loads a
// cycle are all there are (+25% on the hopping term in cache).
#if defined(CUDA_TARGET) || !defined(__x86_64__)
SITE_FUNCTION void hold(V &) {}
#else
#if defined(__AVX512F__)
#define REGISTER_BYTES 64
#elif defined(__AVX__)
#define REGISTER_BYTES 32
#else
#define REGISTER_BYTES 16
#endif
template <int bytes = sizeof(V)> SITE_FUNCTION void hold(V &v) {  // V by name: a type deduced from it has another alignment
    if constexpr (bytes <= REGISTER_BYTES) __asm__("" : "+v"(v));
}
#endif

// A product that is rounded before anything is added to it. Of two products that are added the compiler fuses one with the sum,
// and not always the same one: where the first is rounded, all versions of a function have the same bits.
SITE_FUNCTION V rounded(V product) {
    hold(product);
    return product;
}

SITE_FUNCTION V square_root_lanes(V v) {
    V r;
    for (int i = 0; i < VECTOR_LANES; i++) lane_set(r, i, (real)square_root((double)lane_get(v, i)));
    return r;
}

SITE_FUNCTION real largest_lane(V v) {
    real m = lane_get(v, 0);
    for (int i = 1; i < VECTOR_LANES; i++) m = lane_get(v, i) > m ? lane_get(v, i) : m;
    return m;
}

// ---------------------------------------------------------------- where a kernel works
// begin..end are lane groups of each parity; linear kernels use one parity and count vectors of lanes.
struct Range {
    int begin, end, first_parity, parities, partial_offset;
};

// neighbours[(parity * stride + group) * 2 DIMENSIONS + direction] = group << 5 | lane shift; directions are
// +x +y +z +t -x -y -z -t. Groups at and beyond `groups` are copies of other ranks' groups (halo).
// permutations[shift * LANES + lane] is the lane that `lane` reads from; shifts add field by field (low/high masks).
struct Geometry {
    const int *neighbours;
    const long *permutations;
    const int *permutations32;
    const int *site_numbers;
    int groups, stride, shift_low, shift_high;
    int prefetch;  // fetch ahead what lane groups to come need: 0 no, the cache holds it, 1 from the last-level cache, 2 from memory
    int distance;  // how many lane groups: as many as a row has, but not so many that they leave the cache before they are used
};

// Key and counter words of a draw (philox.h).
struct Random {
    word seed, purpose, trajectory, draw;
};

// A lane group, or on one-lane targets a site, together with the lanes that it is read through.
struct Site {
    int parity, group;
    int shift;  // host lanes: accumulated lane shift; one-lane targets: the lane
};

SITE_FUNCTION int add_shifts(const Geometry &g, int a, int b) {
    return ((a & g.shift_low) + (b & g.shift_low)) ^ ((a ^ b) & g.shift_high);
}

#if VECTOR_LANES > 1
template <int size> struct LaneMask;
template <> struct LaneMask<8> {
    typedef long type __attribute__((vector_size(LANES * 8), aligned(8)));
    SITE_FUNCTION type load(const Geometry &g, int shift) { return *(const type *)(g.permutations + shift * LANES); }
};
template <> struct LaneMask<4> {
    typedef int type __attribute__((vector_size(LANES * 4), aligned(4)));
    SITE_FUNCTION type load(const Geometry &g, int shift) { return *(const type *)(g.permutations32 + shift * LANES); }
};
SITE_FUNCTION V permute(const Geometry &g, V v, int shift) {
    typename LaneMask<sizeof(real)>::type mask = LaneMask<sizeof(real)>::load(g, shift);
#if defined(__clang__)
    V r;
    for (int i = 0; i < LANES; i++) r[i] = v[mask[i]];
    return r;
#else
    return __builtin_shuffle(v, mask);
#endif
}
SITE_FUNCTION int step_lanes(const Geometry &g, int shift, int by) { return add_shifts(g, shift, by); }
SITE_FUNCTION bool is_permuted(Site x) { return x.shift != 0; }
SITE_FUNCTION int lane_of(Site, int i) { return i; }
#define LANES_IN_PLACE true  // components of a lane group are V's in memory
SITE_FUNCTION V load(const real *p, Site) { return *(const V *)p; }
SITE_FUNCTION void store(real *p, Site, V v) { *(V *)p = v; }
// Store past the caches, which need not fetch first what is written; for fields that they do not hold until they are read.
SITE_FUNCTION void stream(real *p, Site x, V v) {
#if defined(__AVX__)
    if constexpr (sizeof(V) == REGISTER_BYTES) __asm__("vmovntps %1, %0" : "=m"(*(V *)p) : "v"(v));
    else store(p, x, v);
#else
    store(p, x, v);
#endif
}
#else
SITE_FUNCTION V permute(const Geometry &, V v, int) { return v; }
SITE_FUNCTION int step_lanes(const Geometry &g, int lane, int by) {
    return by ? g.permutations32[by * LANES + lane] : lane;
}
SITE_FUNCTION bool is_permuted(Site) { return false; }
SITE_FUNCTION int lane_of(Site x, int) { return x.shift; }
#define LANES_IN_PLACE false
SITE_FUNCTION V load(const real *p, Site x) { return p[x.shift]; }
SITE_FUNCTION void store(real *p, Site x, V v) { p[x.shift] = v; }
SITE_FUNCTION void stream(real *p, Site x, V v) { store(p, x, v); }
#endif
// Streamed stores are in order with what a thread tells others only after this.
SITE_FUNCTION void finish_streams() {
#if defined(__AVX__) && !defined(CUDA_TARGET)
    __builtin_ia32_sfence();
#endif
}

// where the components of a site begin in a field on both parities
SITE_FUNCTION long element(const Geometry &g, Site x, int components) {
    return ((long)x.parity * g.stride + x.group) * components * LANES;
}

// ---------------------------------------------------------------- launching
// A kernel on a host does the share of `thread` among `threads`, which tape.cc brings together; worth sharing from
// `enough` lane groups on, never if 0.
#define HOST_FUNCTION(name, enough)                                                                    \
    extern "C" { long name##_enough = enough; }                                                        \
    extern "C" void name(const name##_arguments *p, long thread, long threads)
SITE_FUNCTION long range_length(const Range &r) { return (long)(r.end - r.begin) * r.parities; }
SITE_FUNCTION Site site_of(const Range &r, long i, int lane) {
    // parities alternate: a group and its neighbours, which have the other parity, are used close together in time
    const int parity = r.parities == 2 ? (int)(i & 1) : 0;
    return Site{r.first_parity + parity, r.begin + (int)(r.parities == 2 ? i >> 1 : i), lane};
}

#if defined(CUDA_TARGET)
#define SITE_KERNEL(name)                                                                              \
    extern "C" __global__ void name(name##_arguments a) {                                              \
        long i = (long)blockIdx.x * blockDim.x + threadIdx.x, group = i / LANES;                       \
        if (group < range_length(a.range)) name##_site(a, site_of(a.range, group, (int)(i % LANES)));  \
    }
#define REDUCTION_KERNEL(name, K)                                                                      \
    extern "C" __global__ void __launch_bounds__(REDUCTION_BLOCK) name(name##_arguments a) {           \
        __shared__ double shared[K][REDUCTION_BLOCK];                                                  \
        long i = (long)blockIdx.x * blockDim.x + threadIdx.x, group = i / LANES;                       \
        V sums[K] = {};                                                                                \
        if (group < range_length(a.range))                                                             \
            name##_site(a, site_of(a.range, group, (int)(i % LANES)), sums);                           \
        for (int k = 0; k < K; k++) shared[k][threadIdx.x] = sums[k];                                  \
        for (int half = REDUCTION_BLOCK / 2; half > 0; half /= 2) {                                    \
            __syncthreads();                                                                           \
            if ((int)threadIdx.x < half)                                                               \
                for (int k = 0; k < K; k++) shared[k][threadIdx.x] += shared[k][threadIdx.x + half];   \
        }                                                                                              \
        if (threadIdx.x == 0)                                                                          \
            for (int k = 0; k < K; k++)                                                                \
                a.partials[(a.range.partial_offset + (long)blockIdx.x) * K + k] = shared[k][0];        \
    }
#define SCALAR_KERNEL(name)                                                                            \
    extern "C" __global__ void name(name##_arguments a) {                                              \
        if (blockIdx.x == 0 && threadIdx.x == 0) name##_scalar(a);                                     \
    }
// one block: each thread adds its strided share in order, then a tree
#define SUM_KERNEL(name)                                                                               \
    extern "C" __global__ void __launch_bounds__(REDUCTION_BLOCK) name(name##_arguments a) {           \
        __shared__ double shared[REDUCTION_BLOCK];                                                     \
        for (int k = 0; k < a.components; k++) {                                                       \
            double total = 0;                                                                          \
            for (long i = threadIdx.x; i < a.count; i += REDUCTION_BLOCK)                              \
                total += a.partials[i * a.components + k];                                             \
            shared[threadIdx.x] = total;                                                               \
            for (int half = REDUCTION_BLOCK / 2; half > 0; half /= 2) {                                \
                __syncthreads();                                                                       \
                if ((int)threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];        \
            }                                                                                          \
            if (threadIdx.x == 0) a.result[k] = shared[0];                                             \
            __syncthreads();                                                                           \
        }                                                                                              \
    }
#elif defined(HOST_THREADS)
#define SITE_KERNEL(name)                                                                              \
    HOST_FUNCTION(name, 0) {                                                                           \
        const name##_arguments a = *p;                                                                 \
        long blocks = (range_length(a.range) * LANES + REDUCTION_BLOCK - 1) / REDUCTION_BLOCK;         \
        for (long block = 0; block < blocks; block++)                                                  \
            for (int thread = 0; thread < REDUCTION_BLOCK; thread++) {                                 \
                long i = block * REDUCTION_BLOCK + thread, group = i / LANES;                          \
                if (group < range_length(a.range))                                                     \
                    name##_site(a, site_of(a.range, group, (int)(i % LANES)));                         \
            }                                                                                          \
    }
#define REDUCTION_KERNEL(name, K)                                                                      \
    HOST_FUNCTION(name, 0) {                                                                           \
        const name##_arguments a = *p;                                                                 \
        static thread_local double shared[K][REDUCTION_BLOCK];                                         \
        long blocks = (range_length(a.range) * LANES + REDUCTION_BLOCK - 1) / REDUCTION_BLOCK;         \
        for (long block = 0; block < blocks; block++) {                                                \
            for (int thread = 0; thread < REDUCTION_BLOCK; thread++) {                                 \
                long i = block * REDUCTION_BLOCK + thread, group = i / LANES;                          \
                V sums[K] = {};                                                                        \
                if (group < range_length(a.range))                                                     \
                    name##_site(a, site_of(a.range, group, (int)(i % LANES)), sums);                   \
                for (int k = 0; k < K; k++) shared[k][thread] = sums[k];                               \
            }                                                                                          \
            for (int half = REDUCTION_BLOCK / 2; half > 0; half /= 2)                                  \
                for (int thread = 0; thread < half; thread++)                                          \
                    for (int k = 0; k < K; k++) shared[k][thread] += shared[k][thread + half];         \
            for (int k = 0; k < K; k++)                                                                \
                a.partials[(a.range.partial_offset + block) * K + k] = shared[k][0];                   \
        }                                                                                              \
    }
#define SCALAR_KERNEL(name)                                                                            \
    HOST_FUNCTION(name, 0) { name##_scalar(*p); }
#else
#define SITE_KERNEL(name) HOST_KERNEL(name, PARALLEL_GROUPS)
#define LINEAR_KERNEL(name) HOST_KERNEL(name, PARALLEL_VECTORS)
#define CHAIN_KERNEL(name) HOST_KERNEL(name, 2)  // one Markov chain each: work enough for a thread
#define REDUCTION_KERNEL(name, K) HOST_REDUCTION(name, K, PARALLEL_GROUPS, REDUCTION_CHUNK)
#define GAUGE_REDUCTION(name, K) HOST_REDUCTION(name, K, PARALLEL_GROUPS, GAUGE_CHUNK)
#define LINEAR_REDUCTION(name, K) HOST_REDUCTION(name, K, PARALLEL_VECTORS, REDUCTION_CHUNK)
#define SHARE(length, thread) ((length) * (thread) / threads)  // where the share of a thread begins
// Site kernels read their arguments where they lie, reductions copy them: each the faster way, by up to 10%.
// one parity: consecutive groups; both: parities alternate (site_of)
#define HOST_KERNEL(name, enough)                                                                      \
    HOST_FUNCTION(name, enough) {                                                                      \
        const name##_arguments &a = *p;                                                                \
        const long length = range_length(a.range), first = SHARE(length, thread), last = SHARE(length, thread + 1); \
        if (a.range.parities == 1) {                                                                   \
            const int begin = a.range.begin + (int)first, end = a.range.begin + (int)last;             \
            for (int group = begin; group < end; group++) name##_site(a, Site{a.range.first_parity, group, 0}); \
        } else {                                                                                       \
            for (long i = first; i < last; i++) name##_site(a, site_of(a.range, i, 0));                \
        }                                                                                              \
        finish_streams();                                                                              \
    }
// one chunk cannot be shared
#define HOST_REDUCTION(name, K, enough, chunk_groups)                                                  \
    extern "C" { long name##_chunk = chunk_groups; }                                                   \
    HOST_FUNCTION(name, enough > chunk_groups ? enough : chunk_groups + 1) {                           \
        const name##_arguments a = *p;                                                                 \
        const long length = range_length(a.range), chunks = (length + chunk_groups - 1) / chunk_groups; \
        for (long chunk = SHARE(chunks, thread); chunk < SHARE(chunks, thread + 1); chunk++) {         \
            V sums[K] = {};                                                                            \
            long last = (chunk + 1) * chunk_groups < length ? (chunk + 1) * chunk_groups : length;     \
            for (long i = chunk * chunk_groups; i < last; i++) name##_site(a, site_of(a.range, i, 0), sums); \
            for (int k = 0; k < K; k++) {                                                              \
                double total = 0;                                                                      \
                for (int lane = 0; lane < VECTOR_LANES; lane++) total += lane_get(sums[k], lane);      \
                a.partials[(a.range.partial_offset + chunk) * K + k] = total;                          \
            }                                                                                          \
        }                                                                                              \
        finish_streams();                                                                              \
    }
#define SCALAR_KERNEL(name)                                                                            \
    HOST_FUNCTION(name, 0) { name##_scalar(*p); }
#endif

#if defined(CUDA_TARGET) || defined(HOST_THREADS)
#define CHAIN_KERNEL(name) SITE_KERNEL(name)
#define LINEAR_KERNEL(name) SITE_KERNEL(name)
#define LINEAR_REDUCTION(name, K) REDUCTION_KERNEL(name, K)
#define GAUGE_REDUCTION(name, K) REDUCTION_KERNEL(name, K)
#endif
#if !defined(CUDA_TARGET)
#define SUM_KERNEL(name)                                                                               \
    HOST_FUNCTION(name, 0) {                                                                           \
        for (int k = 0; k < p->components; k++) {                                                      \
            double total = 0;                                                                          \
            for (long i = 0; i < p->count; i++) total += p->partials[i * p->components + k];           \
            p->result[k] = total;                                                                      \
        }                                                                                              \
    }
#endif
