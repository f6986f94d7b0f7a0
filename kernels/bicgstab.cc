// The recurrences of BiCGStab (van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631) on complex vectors, whose real and
// imaginary parts are neighbouring vectors of lanes; and the scalars that steer it, which stay on the device.
#include "signatures.h"

// The scalars of a solve are those of `BiCGStabState` in slhmc/backend/signatures.py; complex ones take two places.
#define MOST_STALLS 3     // fresh starts in a row that did not lower the true residual
#define PATIENCE 500      // iterations without a new least residual before a fresh start
#define ORTHOGONAL 1e-14  // |<shadow, r>|^2 / (|shadow| |r|)^2 below which the recurrence has broken down
#define GROWTH 1e10       // of |r|^2, beyond which rounding has eaten what the recurrence knew

struct Pair {
    V re, im;
};
SITE_FUNCTION long pair_of(Site x) { return 2 * (long)x.group * LANES; }
SITE_FUNCTION Pair load_pair(const real *p, Site x) {
    const long i = pair_of(x);
    return {load(p + i, x), load(p + i + LANES, x)};
}
SITE_FUNCTION void store_pair(real *p, Site x, const Pair &v) {
    const long i = pair_of(x);
    store(p + i, x, v.re);
    store(p + i + LANES, x, v.im);
}
// y + (state[item] + i state[item + 1]) x
SITE_FUNCTION Pair add_scaled(const Pair &y, const double *state, int item, real sign, const Pair &x) {
    const real re = sign * (real)state[item], im = sign * (real)state[item + 1];
    return {y.re + re * x.re - im * x.im, y.im + re * x.im + im * x.re};
}
// sums += conj(x) y
SITE_FUNCTION void add_product(V *sums, const Pair &x, const Pair &y) {
    sums[0] += x.re * y.re + x.im * y.im;
    sums[1] += x.re * y.im - x.im * y.re;
}

// shadow = r where the recurrence begins afresh
SITE_FUNCTION void bicgstab_restart_site(const bicgstab_restart_arguments &a, Site x) {
    if (a.state[FRESH] != 0) store_pair(a.shadow, x, load_pair(a.r, x));
}
LINEAR_KERNEL(bicgstab_restart)

// p = r + beta (p - omega v)
SITE_FUNCTION void bicgstab_direction_site(const bicgstab_direction_arguments &a, Site x) {
    const Pair r = load_pair(a.r, x);
    if (a.state[BETA] == 0 && a.state[BETA + 1] == 0) {
        store_pair(a.p, x, r);
        return;
    }
    const Pair old = add_scaled(load_pair(a.p, x), a.state, OMEGA, -1, load_pair(a.v, x));
    store_pair(a.p, x, add_scaled(r, a.state, BETA, 1, old));
}
LINEAR_KERNEL(bicgstab_direction)

// <x, y>
SITE_FUNCTION void bicgstab_product_site(const bicgstab_product_arguments &a, Site x, V *sums) {
    add_product(sums, load_pair(a.x, x), load_pair(a.y, x));
}
LINEAR_REDUCTION(bicgstab_product, 2)

// r -= alpha v
SITE_FUNCTION void bicgstab_half_site(const bicgstab_half_arguments &a, Site x) {
    store_pair(a.r, x, add_scaled(load_pair(a.r, x), a.state, ALPHA, -1, load_pair(a.v, x)));
}
LINEAR_KERNEL(bicgstab_half)

// <t, r> and |t|^2
SITE_FUNCTION void bicgstab_overlap_site(const bicgstab_overlap_arguments &a, Site x, V *sums) {
    const Pair t = load_pair(a.t, x);
    add_product(sums, t, load_pair(a.r, x));
    sums[2] += t.re * t.re + t.im * t.im;
}
LINEAR_REDUCTION(bicgstab_overlap, 3)

// x += alpha p + omega r; r -= omega t; <shadow, r> and |r|^2
SITE_FUNCTION void bicgstab_update_site(const bicgstab_update_arguments &a, Site x, V *sums) {
    const Pair before = load_pair(a.r, x);
    const Pair half = add_scaled(load_pair(a.x, x), a.state, ALPHA, 1, load_pair(a.p, x));
    store_pair(a.x, x, add_scaled(half, a.state, OMEGA, 1, before));
    const Pair r = add_scaled(before, a.state, OMEGA, -1, load_pair(a.t, x));
    store_pair(a.r, x, r);
    add_product(sums, load_pair(a.shadow, x), r);
    sums[2] += r.re * r.re + r.im * r.im;
}
LINEAR_REDUCTION(bicgstab_update, 3)

// ------------------------------------------------------------------------------------------------ scalars
SITE_FUNCTION double squared(const double *z) { return z[0] * z[0] + z[1] * z[1]; }
SITE_FUNCTION bool is_finite(double x) { return x - x == 0; }

// out = a / b; false, and out = 0, where that is no number
SITE_FUNCTION bool divide(double *out, const double *a, const double *b) {
    const double size = squared(b), re = (a[0] * b[0] + a[1] * b[1]) / size, im = (a[1] * b[0] - a[0] * b[1]) / size;
    const bool good = is_finite(re) && is_finite(im);
    out[0] = good ? re : 0;
    out[1] = good ? im : 0;
    return good;
}

// source: |b|^2 is in SOURCE
SITE_FUNCTION void bicgstab_start_scalar(const bicgstab_start_arguments &a) {
    double *s = a.state;
    s[TARGET] = a.tolerance * a.tolerance * s[SOURCE];
    s[ITERATIONS] = s[RESTARTS] = s[RESIDUAL] = s[BEST] = s[STALLS] = s[BROKEN] = 0;
}
SCALAR_KERNEL(bicgstab_start)

// after the true residual: is it good enough, how far may the recurrence trust itself, and must it begin afresh?
SITE_FUNCTION void bicgstab_outer_scalar(const bicgstab_outer_arguments &a) {
    double *s = a.state;
    const double r = s[TRUE_RESIDUAL];
    const double drift = s[RESTARTS] > 0 && s[RESIDUAL] > 0 ? r / s[RESIDUAL] : 0;
    const bool falling = s[RESTARTS] == 0 || r < s[BEST];
    s[FRESH] = s[BROKEN] != 0 || !falling || !(drift > 0.9 && drift < 1.1);
    s[SHADOW] = s[FRESH] != 0 ? r : s[SHADOW];
    s[BROKEN] = 0;
    s[RESIDUAL] = s[START] = s[LEAST] = r;
    s[LEAST_AT] = s[ITERATIONS];
    const double floor = a.reduction * a.reduction * r;
    s[FLOOR] = floor > s[TARGET] ? floor : s[TARGET];
    s[STALLS] = falling ? 0 : s[STALLS] + 1;
    s[BEST] = falling ? r : s[BEST];
    s[RESTARTS] += 1;
    s[OUTER] = r > s[TARGET] && s[STALLS] <= MOST_STALLS && s[ITERATIONS] < a.max_iterations;
    s[INNER] = s[OUTER];
    if (s[OUTER] != 0) return;
    s[TOTAL_ITERATIONS] += s[ITERATIONS];
    if (!(r <= s[TARGET] && is_finite(r))) {
        s[FAILURES] += 1;
        s[FAILED_RESIDUAL] = s[SOURCE] > 0 ? r / s[SOURCE] : r;
        s[FAILED_ITERATIONS] = s[ITERATIONS];
    }
}
SCALAR_KERNEL(bicgstab_outer)

// beta = (next rho / rho) (alpha / omega), 0 for a fresh start
SITE_FUNCTION void bicgstab_beta_scalar(const bicgstab_beta_arguments &a) {
    double *s = a.state, first[2], second[2];
    const bool good = divide(first, s + NEXT_RHO, s + RHO) && divide(second, s + ALPHA, s + OMEGA) && s[FRESH] == 0;
    s[BETA] = good ? first[0] * second[0] - first[1] * second[1] : 0;
    s[BETA + 1] = good ? first[0] * second[1] + first[1] * second[0] : 0;
    s[RHO] = s[NEXT_RHO];
    s[RHO + 1] = s[NEXT_RHO + 1];
    s[FRESH] = 0;
}
SCALAR_KERNEL(bicgstab_beta)

SITE_FUNCTION void bicgstab_alpha_scalar(const bicgstab_alpha_arguments &a) {
    if (!divide(a.state + ALPHA, a.state + RHO, a.state + PRODUCT)) a.state[BROKEN] = 1;
}
SCALAR_KERNEL(bicgstab_alpha)

// omega = <t, r> / |t|^2
SITE_FUNCTION void bicgstab_omega_scalar(const bicgstab_omega_arguments &a) {
    const double norm[2] = {a.state[OVERLAP_NORM], 0};
    if (!divide(a.state + OMEGA, a.state + OVERLAP, norm) || squared(a.state + OMEGA) == 0) a.state[BROKEN] = 1;
}
SCALAR_KERNEL(bicgstab_omega)

SITE_FUNCTION void bicgstab_next_scalar(const bicgstab_next_arguments &a) {
    double *s = a.state;
    const double r = s[NEW_RESIDUAL];
    s[RESIDUAL] = r;
    s[ITERATIONS] += 1;
    if (r < s[LEAST]) {
        s[LEAST] = r;
        s[LEAST_AT] = s[ITERATIONS];
    }
    if (squared(s + NEXT_RHO) <= ORTHOGONAL * s[SHADOW] * r || !(r < GROWTH * s[START]) || s[ITERATIONS] - s[LEAST_AT] > PATIENCE)
        s[BROKEN] = 1;
    s[INNER] = r > s[FLOOR] && s[BROKEN] == 0 && s[ITERATIONS] < a.max_iterations;
}
SCALAR_KERNEL(bicgstab_next)
