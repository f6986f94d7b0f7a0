// Smeared links from the loops C of loops.cc, and the pull-back of a force through that step (docs/conventions.md, "Networks").
// Stout: Q = 2 [C U^+]_TA, U' = exp(Q) U. The pull-back of F' is F = e^{-Q} F' e^{Q} + the force through Q, with
// lambda = int_0^1 e^{-sQ} F' e^{sQ} ds: D = 4 lambda U for loops.cc, and -2 c_a(lambda C U^+) of U^+ here.
#include "signatures.h"
#include "lattice.h"

SITE_FUNCTION void load_algebra(const Geometry &g, const real *field, Site x, int mu, V *p) {
    const real *from = field + element(g, x, DIMENSIONS * ALGEBRA) + (long)mu * ALGEBRA * LANES;
    UNROLL for (int k = 0; k < ALGEBRA; k++) p[k] = load(from + k * LANES, x);
}
// force_a(x, mu) <- what it is, or 0, plus weight f_a
SITE_FUNCTION void put_force(const Geometry &g, real *force, Site x, int mu, const V *f, real weight, bool add) {
    real *to = force + element(g, x, DIMENSIONS * ALGEBRA) + (long)mu * ALGEBRA * LANES;
    UNROLL for (int k = 0; k < ALGEBRA; k++) store(to + k * LANES, x, add ? load(to + k * LANES, x) + f[k] * weight : f[k] * weight);
}
// coefficients of Q = 2 [omega]_TA
SITE_FUNCTION void stout_coefficients(const Link &omega, V *q) {
    algebra_coefficients(omega, q);
    UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] *= real(2);
}
// e^+ x e
SITE_FUNCTION Link turned(const Link &e, const Link &x) { return multiply(adjoint_multiply(e, x), e); }

SITE_FUNCTION void stout_links_site(const stout_links_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Link u = load_link(g, a.links, x, mu);
        V q[ALGEBRA];
        stout_coefficients(multiply_adjoint(load_link(g, a.staples, x, mu), u), q);
        store_link(g, a.smeared, x, mu, multiply(exponential(q), u));
    }
}
SITE_KERNEL(stout_links)

// ------------------------------------------------------------------------------------------------ derivative of the exponential
#if COLORS == 2
// halvings that bring the half angle below one
SITE_FUNCTION int derivative_halvings(const V *q, real &scale) {
    const V t = q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
    int halvings = 0;
    scale = 1;
    for (real largest = largest_lane(t) * real(0.25); largest > real(1) && halvings < 60; largest *= real(0.25)) {
        halvings++;
        scale *= real(0.5);
    }
    return halvings;
}
// [x, y] of two matrices in the algebra
SITE_FUNCTION Link commutator(const Link &x, const Link &y) {
    const V *p = x.e, *q = y.e;
    return {{V{}, (p[2] * q[3] - p[3] * q[2]) * real(2), (p[3] * q[1] - p[1] * q[3]) * real(2), (p[1] * q[2] - p[2] * q[1]) * real(2)}};
}
// e = exp(Q) and int_0^1 e^{-sQ} F e^{sQ} ds = F + a [Q, F] + b [Q, [Q, F]]: with the angle x = |Q| of the adjoint rotation,
// a = -(1 - cos x) / x^2 and b = (x - sin x) / x^3, series in t = x^2 <= 4
SITE_FUNCTION Link exponential_average(const V *q, const Link &f, Link &e) {
    e = exponential(q);
    const Link m = algebra_matrix(q);
    const V t = q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
    V first = splat(1), second = splat(1);
    for (int n = 13; n >= 1; n--) {
        first = real(1) - t * first * real(1.0 / ((2 * n + 1) * (2 * n + 2)));
        second = real(1) - t * second * real(1.0 / ((2 * n + 2) * (2 * n + 3)));
    }
    const Link once = commutator(m, f), twice = commutator(m, once);
    Link r = f;
    UNROLL for (int k = 1; k < 4; k++) r.e[k] += second * twice.e[k] * real(1.0 / 6) - first * once.e[k] * real(0.5);
    return r;
}
#else
SITE_FUNCTION int derivative_halvings(const V *q, real &scale) { return exponential_halvings(q, scale); }
// e = exp(Q) and int_0^1 e^{-sQ} F e^{sQ} ds = e^+ d/dt exp(Q + t F): Cayley-Hamilton as in exponential(), with the derivatives
// of its two invariants, h' = tr Q F and i d' = tr Q^2 F, carried through the same recurrence
SITE_FUNCTION Link exponential_average(const V *q, const Link &f, Link &e) {
    const Link m = algebra_matrix(q), s = multiply(m, m);
    V h = {}, d = {}, dh = {}, dd = {};
    UNROLL for (int i = 0; i < 3; i++) {
        h += s.e[i][i].re;
        UNROLL for (int j = 0; j < 3; j++) {
            d += s.e[i][j].re * m.e[j][i].im + s.e[i][j].im * m.e[j][i].re;
            dh += m.e[i][j].re * f.e[j][i].re - m.e[i][j].im * f.e[j][i].im;
            dd += s.e[i][j].re * f.e[j][i].im + s.e[i][j].im * f.e[j][i].re;
        }
    }
    h *= real(0.5);
    d *= real(1.0 / 3);  // det Q = tr Q^3 / 3
    Complex f0 = {splat((real)inverse_factorial[18]), V{}}, f1 = {}, f2 = {}, g0 = {}, g1 = {}, g2 = {};
    for (int n = 17; n >= 0; n--) {
        const Complex p0 = {-(dd * f2.im) - d * g2.im, dd * f2.re + d * g2.re};
        const Complex p1 = {g0.re + dh * f2.re + h * g2.re, g0.im + dh * f2.im + h * g2.im};
        g2 = g1; g1 = p1; g0 = p0;
        const Complex q0 = {real(inverse_factorial[n]) - d * f2.im, d * f2.re};
        const Complex q1 = {f0.re + h * f2.re, f0.im + h * f2.im};
        f2 = f1; f1 = q1; f0 = q0;
    }
    const Link once = multiply(m, f);
    Link derivative;
    UNROLL for (int i = 0; i < 3; i++)
        UNROLL for (int j = 0; j < 3; j++) {
            Complex x = {}, y = {};
            if (i == j) { x = f0; y = g0; }
            add_product(x, f1, m.e[i][j]);
            add_product(x, f2, s.e[i][j]);
            add_product(y, g1, m.e[i][j]);
            add_product(y, g2, s.e[i][j]);
            add_product(y, f1, f.e[i][j]);
            const Complex both = {once.e[i][j].re + once.e[j][i].re, once.e[i][j].im - once.e[j][i].im};  // Q F + F Q
            add_product(y, f2, both);
            e.e[i][j] = x;
            derivative.e[i][j] = y;
        }
    return adjoint_multiply(e, derivative);
}
#endif

// lambda <- int_0^1 e^{-sQ} F e^{sQ} ds, e <- exp(Q). From Q / 2 to Q: the mean of lambda and e^{-Q/2} lambda e^{Q/2}.
SITE_FUNCTION void average_over_exponential(const V *q, const Link &f, Link &lambda, Link &e) {
    real scale;
    const int halvings = derivative_halvings(q, scale);
    V p[ALGEBRA];
    UNROLL for (int k = 0; k < ALGEBRA; k++) p[k] = q[k] * scale;
    lambda = exponential_average(p, f, e);
    for (int n = 0; n < halvings; n++) {
        const Link other = turned(e, lambda);
        UNROLL for (int k = 0; k < LINK_REALS; k++) reals(lambda)[k] = (reals(lambda)[k] + reals(other)[k]) * real(0.5);
        e = multiply(e, e);
    }
}

SITE_FUNCTION void stout_pull_back_site(const stout_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Link u = load_link(g, a.links, x, mu), omega = multiply_adjoint(load_link(g, a.staples, x, mu), u);
        V q[ALGEBRA], p[ALGEBRA], c[ALGEBRA];
        stout_coefficients(omega, q);
        load_algebra(g, a.smeared_force, x, mu, p);
        const Link f = algebra_matrix(p);
        Link lambda, e;
        average_over_exponential(q, f, lambda, e);
        UNROLL for (int k = 0; k < LINK_REALS; k++) reals(lambda)[k] *= real(4);
        store_link(g, a.insertions, x, mu, multiply(lambda, u));
        algebra_coefficients(turned(e, f), p);
        algebra_coefficients(multiply(lambda, omega), c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) p[k] -= c[k] * real(0.5);
        put_force(g, a.force, x, mu, p, a.weight, a.add != 0);
    }
}
SITE_KERNEL(stout_pull_back)
