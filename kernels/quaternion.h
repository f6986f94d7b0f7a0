// SU(2) as real quaternions; a part of group.h, which holds the conventions.
#pragma once
#include "target.h"

// (a, b)(c, d) = (a c - b d*, a d + b c*)
SITE_FUNCTION Link multiply(const Link &x, const Link &y) {
    const V *p = x.e, *q = y.e;
    return {{p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3], p[0] * q[1] + p[1] * q[0] - p[3] * q[2] + p[2] * q[3],
             p[0] * q[2] - p[1] * q[3] + p[2] * q[0] + p[3] * q[1], p[0] * q[3] + p[1] * q[2] - p[2] * q[1] + p[3] * q[0]}};
}
SITE_FUNCTION Link adjoint(const Link &x) { return {{x.e[0], -x.e[1], -x.e[2], -x.e[3]}}; }
SITE_FUNCTION Link multiply_adjoint(const Link &x, const Link &y) { return multiply(x, adjoint(y)); }
SITE_FUNCTION Link adjoint_multiply(const Link &x, const Link &y) { return multiply(adjoint(x), y); }
SITE_FUNCTION void add_multiply_adjoint(Link &sum, const Link &x, const Link &y) {
    const Link r = multiply_adjoint(x, y);
    UNROLL for (int k = 0; k < 4; k++) sum.e[k] += r.e[k];
}
SITE_FUNCTION void add_adjoint_multiply(Link &sum, const Link &x, const Link &y) {
    const Link r = adjoint_multiply(x, y);
    UNROLL for (int k = 0; k < 4; k++) sum.e[k] += r.e[k];
}
SITE_FUNCTION void add_multiply(Link &sum, const Link &x, const Link &y) {
    const Link r = multiply(x, y);
    UNROLL for (int k = 0; k < 4; k++) sum.e[k] += r.e[k];
}
SITE_FUNCTION V real_trace(const Link &x) { return x.e[0] * real(2); }
SITE_FUNCTION V imaginary_trace(const Link &) { return V{}; }
SITE_FUNCTION V real_trace_multiply_adjoint(const Link &x, const Link &y) {
    return (x.e[0] * y.e[0] + x.e[1] * y.e[1] + x.e[2] * y.e[2] + x.e[3] * y.e[3]) * real(2);
}
SITE_FUNCTION void add_multiple_of_one(Link &x, const V &factor) { x.e[0] += factor; }
SITE_FUNCTION Link identity() { return {{splat(1), V{}, V{}, V{}}}; }
SITE_FUNCTION void algebra_coefficients(const Link &m, V *c) {
    c[0] = m.e[3] * real(2);
    c[1] = m.e[2] * real(2);
    c[2] = m.e[1] * real(2);
}
// coefficients of U^+ M U for M = sum_a c_a T_a, U in SU(2): a rotation, with U = u_0 + 2 u_a T_a and t = 2 u x c it is
// c + u_0 t + u x t
SITE_FUNCTION void transported_coefficients(const Link &u, const V *c, V *r) {
    const V *e = u.e, x = e[3] * real(2), y = e[2] * real(2), z = e[1] * real(2);
    const V p = y * c[2] - z * c[1], q = z * c[0] - x * c[2], s = x * c[1] - y * c[0];
    const V a = c[0] + e[0] * p + e[2] * s - e[1] * q;
    const V b = c[1] + e[0] * q + e[1] * p - e[3] * s;
    r[2] = c[2] + e[0] * s + e[3] * q - e[2] * p;
    r[0] = a;
    r[1] = b;
}
// coefficients of [X, Y] of X = sum_a x_a T_a and Y
SITE_FUNCTION void commutator_coefficients(const V *x, const V *y, V *r) {
    UNROLL for (int k = 0; k < ALGEBRA; k++) r[k] = rounded(x[(k + 2) % 3] * y[(k + 1) % 3]) - x[(k + 1) % 3] * y[(k + 2) % 3];
}
// coefficients of (H X + X H) / 2, H = (P + P^+) / 2
SITE_FUNCTION void anticommutator_coefficients(const Link &p, const V *x, V *r) {
    UNROLL for (int k = 0; k < ALGEBRA; k++) r[k] = p.e[0] * x[k];
}
// c_a of TA(w z^+)
SITE_FUNCTION void outer_coefficients(const ColorVector &w, const ColorVector &z, V *c) {
    Complex m01 = {}, m10 = {};
    V i00 = {}, i11 = {};
    add_product_conjugate(m01, w.c[0], z.c[1]);
    add_product_conjugate(m10, w.c[1], z.c[0]);
    i00 = w.c[0].im * z.c[0].re - w.c[0].re * z.c[0].im;
    i11 = w.c[1].im * z.c[1].re - w.c[1].re * z.c[1].im;
    c[0] = m01.im + m10.im;
    c[1] = m01.re - m10.re;
    c[2] = i00 - i11;
}
SITE_FUNCTION ColorVector multiply(const Link &m, const ColorVector &v) {
    ColorVector r;
    const V *e = m.e;
    r.c[0].re = e[0] * v.c[0].re - e[1] * v.c[0].im + e[2] * v.c[1].re - e[3] * v.c[1].im;
    r.c[0].im = e[0] * v.c[0].im + e[1] * v.c[0].re + e[2] * v.c[1].im + e[3] * v.c[1].re;
    r.c[1].re = e[0] * v.c[1].re + e[1] * v.c[1].im - e[2] * v.c[0].re - e[3] * v.c[0].im;
    r.c[1].im = e[0] * v.c[1].im - e[1] * v.c[1].re - e[2] * v.c[0].im + e[3] * v.c[0].re;
    return r;
}
SITE_FUNCTION Link algebra_matrix(const V *c) { return {{V{}, c[2] * real(0.5), c[1] * real(0.5), c[0] * real(0.5)}}; }
// exp of P = sum_a P_a T_a: half angle squared t = |P|^2 / 4, exp = cos sqrt(t) + (sin sqrt(t) / sqrt(t)) P.
// cos and sin/x are entire in t: their series need no root; large angles are halved and squared.
SITE_FUNCTION Link exponential(const V *p) {
    V t = (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) * real(0.25);
    int halvings = 0;
    for (real largest = largest_lane(t); largest > real(1) && halvings < 60; largest *= real(0.25)) halvings++;
    real scale = 1;
    for (int k = 0; k < halvings; k++) scale *= real(0.5);
    t *= scale * scale;
    V cosine, sine;
    cosine_sine_series(t, cosine, sine);
    V s = sine * (scale * real(0.5));
    Link r = {{cosine, p[2] * s, p[1] * s, p[0] * s}};
    for (int k = 0; k < halvings; k++) r = multiply(r, r);
    return r;
}
SITE_FUNCTION Link reunitarized(const Link &x) {
    V norm = square_root_lanes(x.e[0] * x.e[0] + x.e[1] * x.e[1] + x.e[2] * x.e[2] + x.e[3] * x.e[3]);
    return {{x.e[0] / norm, x.e[1] / norm, x.e[2] / norm, x.e[3] / norm}};
}
