// What stout layers by elements of the algebra have in common (plaquette_layer.cc, rectangle_layer.cc).
#pragma once
#include "rectangles.h"
#include "exponential.h"

// exponents <- q = what they are, with a.add, or 0, minus 2 times the sum of loops; smeared links, if asked for, <- exp(q) U
template <class Arguments> SITE_FUNCTION void put_exponent(const Arguments &a, Site x, int mu, const V *loops) {
    const Geometry &g = a.geometry;
    V q[ALGEBRA] = {};
    if (a.add) load_reals<ALGEBRA>(g, a.exponents + element(g, x, DIMENSIONS * ALGEBRA) + mu * ALGEBRA * LANES, x, q);
    UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] -= loops[k] * real(2);
    write_reals<ALGEBRA>(g, a.exponents, x, mu, q);
    Link u;
    if (a.smeared) write_link(g, a.smeared, x, mu, multiply(exponential(q), view_link(g, a.links, x, mu, u)));
}
// where the `exponent_force` of a link is
template <class Arguments> SITE_FUNCTION const real *exponent_force_at(const Arguments &a, Site x, int mu) {
    return a.exponent_force + element(a.geometry, x, DIMENSIONS * ALGEBRA) + mu * ALGEBRA * LANES;
}
// weight U f_mu(x) U^+
template <class Arguments>
SITE_FUNCTION void exponent_force_along(const Arguments &a, const Link &u, Site x, int mu, real weight, V *r) {
    V f[ALGEBRA];
    load_reals<ALGEBRA>(a.geometry, exponent_force_at(a, x, mu), x, f);
    transported_coefficients(adjoint(u), f, r);
    UNROLL for (int k = 0; k < ALGEBRA; k++) r[k] *= weight;
}
// c(P L) and c(L P) of a loop P and L = sum_a l_a T_a, t = c(P). With P = H + T, H Hermitian: (H L + L H) / 2 and half of [T, L].
SITE_FUNCTION void products_coefficients(const Link &p, const V *t, const V *l, V *left, V *right) {
    V even[ALGEBRA], odd[ALGEBRA];
    anticommutator_coefficients(p, l, even);
    commutator_coefficients(t, l, odd);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        left[k] = even[k] + odd[k] * real(0.5);
        right[k] = even[k] - odd[k] * real(0.5);
    }
}
// sum += c brought along u from x, where c lies, to where u ends
SITE_FUNCTION void add_brought(const Geometry &g, const Link &u, const real *c, Site x, real factor, V *sum) {
    V own[ALGEBRA], r[ALGEBRA];
    load_reals<ALGEBRA>(g, c, x, own);
    transported_coefficients(u, own, r);
    UNROLL for (int k = 0; k < ALGEBRA; k++) sum[k] += factor * r[k];
}
