// The sum over neighbours of the Wilson hopping term, shared by the operators that are made of it (wilson.cc, clover.cc).
// Fields hold LS spinors a site (domain wall quarks; 1 otherwise), which share the links that are loaded once.
#pragma once
#include "spinor.h"

#ifndef LS
#define LS 1
#endif
#define FIELD_REALS (LS * SPINOR_REALS)

// sum += (hopping link) h, row by row; `rows` of SU(3) are stored
template <int mu, int sign, int rows>
SITE_FUNCTION void add_transported(Spinor &sum, const real *p, const HalfSpinor &h, V third_sign, Site x) {
#if COLORS == 2
    Link u;
    UNROLL for (int k = 0; k < 4; k++) reals(u)[k] = load(p + k * LANES, x);
    const ColorVector w0 = multiply(u, h.s[0]), w1 = multiply(u, h.s[1]);
    UNROLL for (int i = 0; i < 2; i++) add_reconstructed<mu, sign>(sum, i, w0.c[i], w1.c[i]);
#else
    UNROLL for (int i = 0; i < rows; i++) {
        Complex u[3], w0 = {}, w1 = {};
        UNROLL for (int k = 0; k < 6; k++) {
            ((V *)u)[k] = load(p + (6 * i + k) * LANES, x);
            hold(((V *)u)[k]);
        }
        UNROLL for (int j = 0; j < 3; j++) {
            add_product(w0, u[j], h.s[0].c[j]);
            add_product(w1, u[j], h.s[1].c[j]);
        }
        hold(w0.re); hold(w0.im); hold(w1.re); hold(w1.im);
        add_reconstructed<mu, sign>(sum, i, w0, w1);
    }
    if constexpr (rows == 2) {  // third row = s conj(row 0 x row 1)
        Complex u[2][3], w0 = {}, w1 = {};
        UNROLL for (int k = 0; k < 12; k++) ((V *)u)[k] = load(p + k * LANES, x);
        UNROLL for (int j = 0; j < 3; j++) {
            Complex c = {};
            add_product(c, u[0][(j + 2) % 3], u[1][(j + 1) % 3]);
            c = {-c.re, -c.im};
            add_product(c, u[0][(j + 1) % 3], u[1][(j + 2) % 3]);
            c = {c.re * third_sign, c.im * third_sign};
            add_conjugate_product(w0, c, h.s[0].c[j]);
            add_conjugate_product(w1, c, h.s[1].c[j]);
        }
        add_reconstructed<mu, sign>(sum, 2, w0, w1);
    }
#endif
}

// Fetch ahead for a lane group to come: its links, not all the way, as those of two lane groups fill the first-level cache, and
// the spinor that no group before it has needed.
template <int direction, int link_reals>
SITE_FUNCTION void prefetch_direction(const Geometry &g, const real *links, const real *psi, Site x) {
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    links += (PREFETCH_DISTANCE * 8 + direction) * (long)(link_reals * LANES);
    if (g.prefetch == 2) prefetch_reals<0>(links, link_reals);
    else prefetch_reals<2>(links, link_reals);
    if (direction != DIMENSIONS - 1) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0};
    prefetch_reals(psi + (long)neighbour(g, next, direction).group * (FIELD_REALS * LANES), FIELD_REALS);
}

// what a hop reads beside the geometry
struct Neighbours {
    const real *hopping;
    const signed char *codes;
    const real *signs, *psi;
};

template <int direction, bool dagger, int rows>
SITE_FUNCTION void add_direction(const Geometry &g, const Neighbours &n, const real *links, Site x, Spinor *sum) {
    constexpr int mu = direction % 4, sign = (direction < 4) == dagger ? 1 : -1;
    constexpr int link_reals = COLORS == 2 ? 4 : 6 * rows;
    prefetch_direction<direction, link_reals>(g, links, n.psi, x);
    const Site y = neighbour(g, x, direction);
    V third_sign = {};
    if constexpr (rows == 2) third_sign = hopping_sign(g, n.codes, n.signs, x, direction);
    const real *psi = n.psi + (long)y.group * (FIELD_REALS * LANES);
    for (int s = 0; s < LS; s++)
        add_transported<mu, sign, rows>(sum[s], links + (long)direction * link_reals * LANES,
                                        project<mu, sign>(g, psi + s * (SPINOR_REALS * LANES), y), third_sign, x);
    if constexpr (direction + 1 < 8) add_direction<direction + 1, dagger, rows>(g, n, links, x, sum);
}

template <bool dagger, int rows> SITE_ROUTINE void sum_all(const Geometry &g, const Neighbours &n, Site x, Spinor *result) {
    const int link_reals = COLORS == 2 ? 4 : 6 * rows;
    Spinor sum[LS] = {};  // our own: the compiler knows that nothing else is written to while we read
    add_direction<0, dagger, rows>(g, n, n.hopping + element(g, x, 8 * link_reals), x, sum);
    for (int s = 0; s < LS; s++) result[s] = sum[s];
}

// sum = H psi or H^+ psi at x
SITE_FUNCTION void sum_hops(const Geometry &g, const Neighbours &n, bool dagger, int rows, Site x, Spinor *sum) {
#if COLORS == 3
    if (rows == 2) {
        if (dagger) sum_all<true, 2>(g, n, x, sum);
        else sum_all<false, 2>(g, n, x, sum);
        return;
    }
#endif
    if (dagger) sum_all<true, 3>(g, n, x, sum);
    else sum_all<false, 3>(g, n, x, sum);
}
