// Vectors of reals in lane groups, whatever their components mean; the recurrences of conjugate gradient, fused; and the
// scalars that steer it, which stay on the device so that a loop needs no host.
#include "signatures.h"

// element i of a range is one vector of lanes; parities are `parity_stride` vectors apart
SITE_FUNCTION long vector_of(Site x, int parity_stride) { return ((long)x.parity * parity_stride + x.group) * LANES; }

// out <- a x + b y
SITE_FUNCTION void combine_site(const combine_arguments &k, Site x) {
    const long i = vector_of(x, k.parity_stride);
    V r = k.a * load(k.x + i, x);
    if (k.b != 0) r += k.b * load(k.y + i, x);
    store(k.out + i, x, r);
}
LINEAR_KERNEL(combine)

SITE_FUNCTION void clear_site(const clear_arguments &k, Site x) { store(k.out + vector_of(x, k.parity_stride), x, V{}); }
LINEAR_KERNEL(clear)

SITE_FUNCTION void dot_site(const dot_arguments &k, Site x, V *sums) {
    const long i = vector_of(x, k.parity_stride);
    sums[0] += load(k.x + i, x) * load(k.y + i, x);
}
LINEAR_REDUCTION(dot, 1)

// to <- previous * to + from, where `from` has another precision or number of lanes;
// table[(parity * stride + group) * LANES + lane] = (group of from) * from_lanes + lane of from. Lanes that come in runs of
// at least CONVERT_RUN (a.run) are read as vectors.
#define CONVERT_RUN 8

template <class From> SITE_FUNCTION void convert_lanes(const convert_arguments &a, const int *table, real *to, Site x) {
    const From *from = (const From *)a.from;
    const bool runs = VECTOR_LANES >= CONVERT_RUN && a.run >= CONVERT_RUN;
    for (int first = 0; first < VECTOR_LANES; first += runs ? CONVERT_RUN : 1) {
        const int at = table[lane_of(x, first)], lane = lane_of(x, first);
        const From *source = from + (long)(at / a.from_lanes) * a.components * a.from_lanes + at % a.from_lanes;
        for (int k = 0; k < a.components; k++) {
            real *target = to + k * LANES + lane;
            const From *values = source + (long)k * a.from_lanes;
            if (runs) {
                real block[CONVERT_RUN];
                UNROLL for (int i = 0; i < CONVERT_RUN; i++) block[i] = (real)values[i];
                if (a.previous != 0)
                    UNROLL for (int i = 0; i < CONVERT_RUN; i++) block[i] += a.previous * target[i];
                UNROLL for (int i = 0; i < CONVERT_RUN; i++) target[i] = block[i];
            } else {
                *target = (real)values[0] + (a.previous != 0 ? a.previous * *target : 0);
            }
        }
    }
}

SITE_FUNCTION void convert_site(const convert_arguments &a, Site x) {
    const int *table = a.table + ((long)x.parity * a.geometry.stride + x.group) * LANES;
    real *to = a.to + (long)x.group * a.components * LANES;
    if (a.from_double) convert_lanes<double>(a, table, to, x);
    else convert_lanes<float>(a, table, to, x);
}
SITE_KERNEL(convert)

// ------------------------------------------------------------------------------------------------ halos
// groups of a field listed in `list` <-> a contiguous buffer
SITE_FUNCTION void pack_site(const pack_arguments &a, Site x) {
    const real *from = a.field + (long)a.list[x.group] * a.components * LANES;
    real *to = a.buffer + (long)x.group * a.components * LANES;
    for (int k = 0; k < a.components; k++) store(to + k * LANES, x, load(from + k * LANES, x));
}
SITE_KERNEL(pack)

SITE_FUNCTION void unpack_site(const unpack_arguments &a, Site x) {
    const real *from = a.buffer + (long)x.group * a.components * LANES;
    real *to = a.field + (long)a.list[x.group] * a.components * LANES;
    for (int k = 0; k < a.components; k++) store(to + k * LANES, x, load(from + k * LANES, x));
}
SITE_KERNEL(unpack)

// to <- factor from, parts of the components of a site: blocks of right-hand sides
SITE_FUNCTION void copy_part_site(const copy_part_arguments &a, Site x) {
    const real *from = a.from + (long)x.group * a.from_components * LANES;
    real *to = a.to + (long)x.group * a.to_components * LANES;
    for (int k = 0; k < a.components; k++) store(to + k * LANES, x, a.factor * load(from + k * LANES, x));
}
SITE_KERNEL(copy_part)

// ------------------------------------------------------------------------------------------------ scalars
SUM_KERNEL(sum_partials)

// out <- a x + b y + c
SITE_FUNCTION void combine_scalars_scalar(const combine_scalars_arguments &k) {
    double r = k.c;
    if (k.a != 0) r += k.a * k.x[0];
    if (k.b != 0) r += k.b * k.y[0];
    k.out[0] = r;
}
SCALAR_KERNEL(combine_scalars)

// ------------------------------------------------------------------------------------------------ conjugate gradient
// The scalars of a solve are those of `SolverState` in slhmc/backend/signatures.py.
#define MOST_STALLS 1  // fresh starts in a row that did not lower the true residual

// x += alpha p; p = r + beta p
SITE_FUNCTION void cg_direction_site(const cg_direction_arguments &a, Site x) {
    const long i = vector_of(x, 0);
    const real alpha = (real)a.state[ALPHA], beta = (real)a.state[BETA];
    const V p = load(a.p + i, x);
    store(a.x + i, x, load(a.x + i, x) + alpha * p);
    store(a.p + i, x, load(a.r + i, x) + beta * p);
}
LINEAR_KERNEL(cg_direction)

// x += alpha p, what the last direction still owes the solution
SITE_FUNCTION void cg_finish_site(const cg_finish_arguments &a, Site x) {
    const long i = vector_of(x, 0);
    store(a.x + i, x, load(a.x + i, x) + (real)a.state[ALPHA] * load(a.p + i, x));
}
LINEAR_KERNEL(cg_finish)

// r -= alpha q, and |r|^2
SITE_FUNCTION void cg_residual_site(const cg_residual_arguments &a, Site x, V *sums) {
    const long i = vector_of(x, 0);
    const V r = load(a.r + i, x) - (real)a.state[ALPHA] * load(a.q + i, x);
    store(a.r + i, x, r);
    sums[0] += r * r;
}
LINEAR_REDUCTION(cg_residual, 1)

// source: |b|^2 is in SOURCE
SITE_FUNCTION void cg_start_scalar(const cg_start_arguments &a) {
    double *s = a.state;
    s[TARGET] = a.tolerance * a.tolerance * s[SOURCE];
    s[ALPHA] = s[BETA] = s[ITERATIONS] = s[RESTARTS] = 0;
    s[RESIDUAL] = 0;
    s[BEST] = s[STALLS] = 0;
}
SCALAR_KERNEL(cg_start)

// after the true residual: is it good enough, and how far may the inner recurrence trust itself?
SITE_FUNCTION void cg_outer_scalar(const cg_outer_arguments &a) {
    double *s = a.state;
    const double r = s[TRUE_RESIDUAL];
    // the old direction is conjugate to a new one only if the recurrence had not lost the true residual
    const double drift = s[RESTARTS] > 0 && s[RESIDUAL] > 0 ? r / s[RESIDUAL] : 0;
    s[ALPHA] = 0;
    s[RESIDUAL] = r;
    const double floor = a.reduction * a.reduction * r;
    s[FLOOR] = floor > s[TARGET] ? floor : s[TARGET];
    const bool falling = s[RESTARTS] == 0 || r < s[BEST];
    s[STALLS] = falling ? 0 : s[STALLS] + 1;
    s[BETA] = falling && drift > 0.9 && drift < 1.1 ? s[BETA] * drift : 0;
    s[BEST] = falling ? r : s[BEST];
    s[RESTARTS] += 1;
    s[OUTER] = r > s[TARGET] && s[STALLS] <= MOST_STALLS && s[ITERATIONS] < a.max_iterations;
    s[INNER] = s[OUTER];
    if (s[OUTER] != 0) return;
    s[TOTAL_ITERATIONS] += s[ITERATIONS];
    if (!(r <= s[TARGET] && r - r == 0)) {  // not a number and infinity are failures, too
        s[FAILURES] += 1;
        s[FAILED_RESIDUAL] = s[SOURCE] > 0 ? r / s[SOURCE] : r;
        s[FAILED_ITERATIONS] = s[ITERATIONS];
    }
}
SCALAR_KERNEL(cg_outer)

SITE_FUNCTION void cg_alpha_scalar(const cg_alpha_arguments &a) { a.state[ALPHA] = a.state[RESIDUAL] / a.state[CURVATURE]; }
SCALAR_KERNEL(cg_alpha)

SITE_FUNCTION void cg_beta_scalar(const cg_beta_arguments &a) {
    double *s = a.state;
    s[BETA] = s[NEW_RESIDUAL] / s[RESIDUAL];
    s[RESIDUAL] = s[NEW_RESIDUAL];
    s[ITERATIONS] += 1;
    s[INNER] = s[RESIDUAL] > s[FLOOR] && s[ITERATIONS] < a.max_iterations;
}
SCALAR_KERNEL(cg_beta)

// |r|/|b| after each iteration, for those who ask
// |r| / |b| of any solver, whose scalars have the numbers given
SITE_FUNCTION void residual_history_scalar(const residual_history_arguments &a) {
    const double *s = a.state;
    const int i = (int)s[a.iterations];
    if (i < a.length) a.history[i] = s[a.source] > 0 ? square_root(s[a.residual] / s[a.source]) : 0;
}
SCALAR_KERNEL(residual_history)

// ------------------------------------------------------------------------------------------------ multi-shift conjugate gradient
// (A + s_k) x_k = b for all k from the Krylov space of A (Jegerlehner, hep-lat/9612014). The residual of shift k is zeta_k r.
// Shifts rise, so the last ones converge first: ACTIVE are left, OWING were when the last directions were made. A table has five
// rows of `count` numbers.
enum { SHIFT, SHIFT_ALPHA, SHIFT_BETA, ZETA, RATIO };

SITE_FUNCTION void multi_shift_start_scalar(const multi_shift_start_arguments &a) {
    double *s = a.state, *t = a.table;
    s[TARGET] = a.tolerance * a.tolerance * s[SOURCE];
    s[RESIDUAL] = s[SOURCE];
    s[ITERATIONS] = s[BETA] = s[ALPHA] = 0;
    s[ACTIVE] = s[OWING] = a.count;
    s[INNER] = s[RESIDUAL] > s[TARGET];
    for (int k = 0; k < a.count; k++) {
        t[SHIFT_ALPHA * a.count + k] = t[SHIFT_BETA * a.count + k] = 0;
        t[ZETA * a.count + k] = t[RATIO * a.count + k] = 1;
    }
}
SCALAR_KERNEL(multi_shift_start)

// p = r + beta p; x_k += alpha_k p_k; p_k = zeta_k r + beta_k p_k; before the first iteration x_k and all p are taken as 0
SITE_FUNCTION void multi_shift_direction_site(const multi_shift_direction_arguments &a, Site x) {
    const long i = vector_of(x, 0);
    const double *alpha = a.table + SHIFT_ALPHA * a.count, *beta = a.table + SHIFT_BETA * a.count;
    const double *zeta = a.table + ZETA * a.count;
    const int active = (int)a.state[ACTIVE], owing = (int)a.state[OWING];
    const V r = load(a.r + i, x);
    if (a.state[ITERATIONS] == 0) {
        store(a.p + i, x, r);
        for (int k = 0; k < a.count; k++) {
            store(a.solutions[k] + i, x, V{});
            store(a.directions[k] + i, x, r);
        }
        return;
    }
    store(a.p + i, x, r + (real)a.state[BETA] * load(a.p + i, x));
    for (int k = 0; k < owing; k++) {
        const V p = load(a.directions[k] + i, x);
        store(a.solutions[k] + i, x, load(a.solutions[k] + i, x) + (real)alpha[k] * p);
        if (k < active) store(a.directions[k] + i, x, (real)zeta[k] * r + (real)beta[k] * p);
    }
}
LINEAR_KERNEL(multi_shift_direction)

// what the last directions still owe the solutions; 0 where there was no iteration
SITE_FUNCTION void multi_shift_finish_site(const multi_shift_finish_arguments &a, Site x) {
    const long i = vector_of(x, 0);
    const double *alpha = a.table + SHIFT_ALPHA * a.count;
    const bool none = a.state[ITERATIONS] == 0;
    const int owing = (int)a.state[OWING];
    for (int k = 0; k < owing; k++) {
        const V before = none ? V{} : load(a.solutions[k] + i, x) + (real)alpha[k] * load(a.directions[k] + i, x);
        store(a.solutions[k] + i, x, before);
    }
}
LINEAR_KERNEL(multi_shift_finish)

// ratio_k = zeta_k / (zeta_k one iteration before)
SITE_FUNCTION void multi_shift_alpha_scalar(const multi_shift_alpha_arguments &a) {
    double *s = a.state, *t = a.table;
    const double alpha = s[RESIDUAL] / s[CURVATURE], carried = s[ITERATIONS] > 0 ? alpha * s[BETA] / s[ALPHA] : 0;
    for (int k = 0; k < (int)s[ACTIVE]; k++) {
        double &ratio = t[RATIO * a.count + k];
        ratio = 1 / (1 + t[SHIFT * a.count + k] * alpha + carried * (1 - ratio));
        t[ZETA * a.count + k] *= ratio;
        t[SHIFT_ALPHA * a.count + k] = alpha * ratio;
    }
    s[ALPHA] = alpha;
}
SCALAR_KERNEL(multi_shift_alpha)

SITE_FUNCTION void multi_shift_beta_scalar(const multi_shift_beta_arguments &a) {
    double *s = a.state, *t = a.table;
    s[BETA] = s[NEW_RESIDUAL] / s[RESIDUAL];
    s[RESIDUAL] = s[NEW_RESIDUAL];
    s[ITERATIONS] += 1;
    s[OWING] = s[ACTIVE];
    int active = (int)s[ACTIVE];
    for (int k = 0; k < active; k++) t[SHIFT_BETA * a.count + k] = s[BETA] * t[RATIO * a.count + k] * t[RATIO * a.count + k];
    while (active > 0 && t[ZETA * a.count + active - 1] * t[ZETA * a.count + active - 1] * s[RESIDUAL] <= s[TARGET]) active--;
    s[ACTIVE] = active;
    s[INNER] = active > 0 && s[ITERATIONS] < a.max_iterations && s[RESIDUAL] - s[RESIDUAL] == 0;
    if (s[INNER] == 0) s[TOTAL_ITERATIONS] += s[ITERATIONS];
}
SCALAR_KERNEL(multi_shift_beta)

// |r_k|/|b| of all shifts after each iteration; a shift that is done keeps its last zeta
SITE_FUNCTION void multi_shift_history_scalar(const multi_shift_history_arguments &a) {
    const double *s = a.state, size = s[SOURCE] > 0 ? square_root(s[RESIDUAL] / s[SOURCE]) : 0;
    const int i = (int)s[ITERATIONS];
    for (int k = 0; i < a.length && k < a.count; k++) a.history[(long)i * a.count + k] = size * a.table[ZETA * a.count + k];
}
SCALAR_KERNEL(multi_shift_history)

// out = constant x + sum_k weights_k fields_k
SITE_FUNCTION void weighted_sum_site(const weighted_sum_arguments &a, Site x) {
    const long i = vector_of(x, 0);
    V r = a.constant * load(a.x + i, x);
    for (int k = 0; k < a.count; k++) r += (real)a.weights[k] * load(a.fields[k] + i, x);
    store(a.out + i, x, r);
}
LINEAR_KERNEL(weighted_sum)

// out += shift x, and <x, out>
SITE_FUNCTION void add_shift_site(const add_shift_arguments &k, Site x, V *sums) {
    const long i = vector_of(x, 0);
    const V v = load(k.x + i, x), r = load(k.out + i, x) + k.shift * v;
    store(k.out + i, x, r);
    sums[0] += v * r;
}
LINEAR_REDUCTION(add_shift, 1)
