// The derivative of the exponential on su(2) and su(3): exp(Q) and the mean of F turned by exp(sQ), s from 0 to 1.
#pragma once
#include "group.h"

// e^+ x e
SITE_FUNCTION Link turned(const Link &e, const Link &x) { return multiply(adjoint_multiply(e, x), e); }
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
#if FULL_MATRICES
    Link r = multiply(x, y);
    const Link other = multiply(y, x);
    UNROLL for (int k = 0; k < LINK_REALS; k++) reals(r)[k] -= reals(other)[k];
    return r;
#else
    const V *p = x.e, *q = y.e;
    return {{V{}, (p[2] * q[3] - p[3] * q[2]) * real(2), (p[3] * q[1] - p[1] * q[3]) * real(2), (p[1] * q[2] - p[2] * q[1]) * real(2)}};
#endif
}
// e = exp(Q) and int_0^1 e^{-sQ} F e^{sQ} ds = F + a [Q, F] + b [Q, [Q, F]]: with the angle x = |Q| <= 2 of the adjoint rotation,
// a = -(1 - cos x) / x^2 = -(sin(x/2) / (x/2))^2 / 2 and b = (x - sin x) / x^3
SITE_FUNCTION Link exponential_average(const V *q, const Link &f, Link &e) {
    const Link m = algebra_matrix(q);
    const V t = q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
    V cosine, sine, second = splat(1);
    cosine_sine_series(t * real(0.25), cosine, sine);
    for (int n = 13; n >= 1; n--) second = real(1) - second * (t * real(1.0 / ((2 * n + 2) * (2 * n + 3))));
    e = scaled(m, sine);
    add_multiple_of_one(e, cosine);
    const V first = sine * sine;
    const Link once = commutator(m, f), twice = commutator(m, once);
    Link r = f;
    UNROLL for (int k = 0; k < LINK_REALS; k++)
        reals(r)[k] += second * reals(twice)[k] * real(1.0 / 6) - first * reals(once)[k] * real(0.5);
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
