// Wilson hopping term. H psi(x) = sum_mu [(1 - gamma_mu) U_mu(x) psi(x+mu) + (1 + gamma_mu) U_mu(x-mu)^+ psi(x-mu)];
// D = 4 + m - H / 2; H^+ = gamma_5 H gamma_5 is H with the signs of gamma_mu turned. Fields hold LS spinors a site (domain
// wall quarks; 1 otherwise), which share the links that are loaded once.
#include "signatures.h"
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

// Fetch ahead for a lane group to come: its links, and the spinor that no group before it has needed, not all the
// way: two lane groups fill the first-level cache.
template <int direction, int link_reals>
SITE_FUNCTION void prefetch_direction(const Geometry &g, const real *links, const real *psi, Site x) {
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    links += (PREFETCH_DISTANCE * 8 + direction) * (long)(link_reals * LANES);
    if (g.prefetch == 2) prefetch_reals<0>(links, link_reals);
    else prefetch_reals<2>(links, link_reals);
    if (direction != DIMENSIONS - 1) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0};
    prefetch_reals<2>(psi + (long)neighbour(g, next, direction).group * (FIELD_REALS * LANES), FIELD_REALS);
}

template <int direction, bool dagger, int rows, class Arguments>
SITE_FUNCTION void add_direction(const Geometry &g, const Arguments &a, const real *links, Site x, Spinor *sum) {
    constexpr int mu = direction % 4, sign = (direction < 4) == dagger ? 1 : -1;
    constexpr int link_reals = COLORS == 2 ? 4 : 6 * rows;
    prefetch_direction<direction, link_reals>(g, links, a.psi_other, x);
    const Site y = neighbour(g, x, direction);
    const V third_sign = rows == 2 && COLORS == 3 ? hopping_sign(g, a.codes, a.signs, x, direction) : V{};
    const real *psi = a.psi_other + (long)y.group * (FIELD_REALS * LANES);
    for (int s = 0; s < LS; s++)
        add_transported<mu, sign, rows>(sum[s], links + (long)direction * link_reals * LANES,
                                        project<mu, sign>(g, psi + s * (SPINOR_REALS * LANES), y), third_sign, x);
    if constexpr (direction + 1 < 8) add_direction<direction + 1, dagger, rows>(g, a, links, x, sum);
}

// out(x) = same psi_same(x) + other (H or H^+) psi_other(x), x of one parity; `same` may be zero (psi_same unread)
template <bool dagger, int rows, class Arguments> SITE_FUNCTION void hopping_result(const Arguments &a, Site x, V *norm) {
    const Geometry &g = a.geometry;
    Spinor sum[LS] = {};
    const int link_reals = COLORS == 2 ? 4 : 6 * rows;
    add_direction<0, dagger, rows>(g, a, a.hopping + element(g, x, 8 * link_reals), x, sum);
    const long at = (long)x.group * (FIELD_REALS * LANES);
    for (int s = 0; s < LS; s++) {
        V *r = (V *)&sum[s];
        const long here = at + s * (SPINOR_REALS * LANES);
        UNROLL for (int k = 0; k < SPINOR_REALS; k++) {
            V v = a.other * r[k];
            if (a.same != 0) v += a.same * load(a.psi_same + here + k * LANES, x);
            store(a.out + here + k * LANES, x, v);
            *norm += v * v;
        }
    }
}

template <class Arguments> SITE_FUNCTION void hop(const Arguments &a, Site x, V *norm) {
    if (a.rows == 2 && COLORS == 3) {
        if (a.dagger) hopping_result<true, 2>(a, x, norm);
        else hopping_result<false, 2>(a, x, norm);
    } else {
        if (a.dagger) hopping_result<true, 3>(a, x, norm);
        else hopping_result<false, 3>(a, x, norm);
    }
}
SITE_FUNCTION void wilson_hop_site(const wilson_hop_arguments &a, Site x) {
    V norm = {};
    hop(a, x, &norm);
}
SITE_KERNEL(wilson_hop)

// the same, and the sum of |out(x)|^2
SITE_FUNCTION void wilson_hop_norm_site(const wilson_hop_norm_arguments &a, Site x, V *sums) { hop(a, x, sums); }
REDUCTION_KERNEL(wilson_hop_norm, 1)

// c += coefficients of (U h) k^+, spins summed
SITE_FUNCTION void add_outer(const Link &u, const HalfSpinor &h, const HalfSpinor &k, V *c) {
    UNROLL for (int s = 0; s < SPINS / 2; s++) {
        V one[ALGEBRA];
        outer_coefficients(multiply(u, h.s[s]), k.s[s], one);
        UNROLL for (int a = 0; a < ALGEBRA; a++) c[a] += one[a];
    }
}

// force_a(x, mu) += weight c_a(U (1 - gamma) X(x+mu) Y(x)^+ + U (1 + gamma) Y(x+mu) X(x)^+), X and Y on both parities;
// as (1 -+ gamma)^2 = 2 (1 -+ gamma), upper components of both factors projected are enough.
template <int mu> SITE_FUNCTION void add_force_of(const wilson_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const Site y = forward(g, x, mu);
    const long here = element(g, x, FIELD_REALS), there = element(g, y, FIELD_REALS);
    const Link u = load_link(g, a.links, x, mu);
    V c[ALGEBRA] = {};
    for (int s = 0; s < LS; s++) {
        const long k = s * (SPINOR_REALS * LANES);
        add_outer(u, project<mu, -1>(g, a.x + there + k, y), project<mu, -1>(g, a.y + here + k, x), c);
        add_outer(u, project<mu, 1>(g, a.y + there + k, y), project<mu, 1>(g, a.x + here + k, x), c);
    }
    const V factor = a.weight * hopping_sign(g, a.codes, a.signs, x, mu);
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA) + mu * ALGEBRA * LANES;
    UNROLL for (int k = 0; k < ALGEBRA; k++) store(force + k * LANES, x, load(force + k * LANES, x) + factor * c[k]);
    if constexpr (mu + 1 < DIMENSIONS) add_force_of<mu + 1>(a, x);
}
SITE_FUNCTION void wilson_force_site(const wilson_force_arguments &a, Site x) { add_force_of<0>(a, x); }
SITE_KERNEL(wilson_force)
