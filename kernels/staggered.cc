// Staggered hopping term. H psi(x) = sum_mu eta_mu(x) [U_mu(x) psi(x+mu) - U_mu(x-mu)^+ psi(x-mu)], D = m + H / 2.
// Hopping links: hopping.h; eta is in them, and two rows of SU(3) are enough.
// A site holds LS colour vectors, a block of right-hand sides that share the links read for them.
#ifndef LS
#define LS 1
#endif
#include "signatures.h"
#include "hopping.h"

#define HOPPING_REALS TWO_ROW_REALS
#define VECTOR (2 * COLORS * LANES)  // reals from one vector of a site to the next

struct ColorVectors {
    ColorVector s[LS];
};

#if COLORS == 2
// sum[s] += (hopping link) psi[s], the link at p and psi of y at `psi`
SITE_FUNCTION void add_hops(const Geometry &g, const real *p, const real *psi, V, Site x, Site y, ColorVectors &sum) {
    Link u;
    UNROLL for (int k = 0; k < HOPPING_REALS; k++) {
        reals(u)[k] = load(p + k * LANES, x);
        hold(reals(u)[k]);
    }
    for (int s = 0; s < LS; s++) {
        ColorVector v;
        load_reals<2 * COLORS>(g, psi + s * VECTOR, y, (V *)&v);
        const ColorVector w = multiply(u, v);
        UNROLL for (int i = 0; i < 2; i++) { sum.s[s].c[i].re += w.c[i].re; sum.s[s].c[i].im += w.c[i].im; }
    }
}
#else
// minus the conjugate of entry j of row0 x row1: the third row is conj(row0 x row1) times the sign of the link
SITE_FUNCTION Complex third_row(const Complex u[2][3], int j) {
    Complex c = {};
    add_product(c, u[0][(j + 1) % 3], u[1][(j + 2) % 3]);
    c = {-c.re, -c.im};
    add_product(c, u[0][(j + 2) % 3], u[1][(j + 1) % 3]);
    return c;
}

// the same; sign: of the link
SITE_FUNCTION void add_hops(const Geometry &g, const real *p, const real *psi, V sign, Site x, Site y, ColorVectors &sum) {
    Complex u[2][3], third[LS > 1 ? 3 : 1];
    UNROLL for (int k = 0; k < HOPPING_REALS; k++) {
        ((V *)u)[k] = load(p + k * LANES, x);
        hold(((V *)u)[k]);
    }
    if (LS > 1)  // made once for all vectors; for one alone, where it is used
        UNROLL for (int j = 0; j < 3; j++) third[LS > 1 ? j : 0] = third_row(u, j);
    for (int s = 0; s < LS; s++) {
        ColorVector v;
        load_reals<2 * COLORS>(g, psi + s * VECTOR, y, (V *)&v);
        UNROLL for (int i = 0; i < 2; i++)
            UNROLL for (int j = 0; j < 3; j++) add_product(sum.s[s].c[i], u[i][j], v.c[j]);
        Complex last = {};
        UNROLL for (int j = 0; j < 3; j++) add_conjugate_product(last, LS > 1 ? third[LS > 1 ? j : 0] : third_row(u, j), v.c[j]);
        sum.s[s].c[2].re -= sign * last.re;
        sum.s[s].c[2].im -= sign * last.im;
    }
}
#endif

// sum over the directions of (hopping link) psi(neighbour)
SITE_FUNCTION ColorVectors hopping_sum(const Geometry &g, const real *hopping, const signed char *codes, const real *signs,
                                       const real *psi, Site x) {
    const real *links = hopping + element(g, x, DIRECTIONS * HOPPING_REALS);
    ColorVectors sum = {};
    for (int direction = 0; direction < DIRECTIONS; direction++) {
        // of a block the links alone: its vectors would drive them out of the first cache
        prefetch_hop(g, links, HOPPING_REALS, LS == 1 ? psi : nullptr, 2 * COLORS, x, direction);
        const Site y = neighbour(g, x, direction);
        const V sign = COLORS == 2 ? V{} : hopping_sign(g, codes, signs, x, direction);
        add_hops(g, links + (long)direction * HOPPING_REALS * LANES, psi + (long)y.group * (LS * VECTOR), sign, x, y, sum);
    }
    return sum;
}

// out(x) = same * psi_same(x) + other * H psi_other(x), x of one parity; `same` may be zero (psi_same unread)
SITE_FUNCTION ColorVectors hopping_result(const Geometry &g, const real *hopping, const signed char *codes, const real *signs,
                                          const real *psi_same, const real *psi_other, real same, real other, Site x) {
    ColorVectors sum = hopping_sum(g, hopping, codes, signs, psi_other, x);
    V *r = (V *)&sum;
    const long at = (long)x.group * (LS * VECTOR);
    if (same != 0) {
        UNROLL for (int k = 0; k < LS * 2 * COLORS; k++) r[k] = other * r[k] + same * load(psi_same + at + k * LANES, x);
    } else {
        UNROLL for (int k = 0; k < LS * 2 * COLORS; k++) r[k] *= other;
    }
    return sum;
}

SITE_FUNCTION void staggered_hop_site(const staggered_hop_arguments &a, Site x) {
    const ColorVectors r = hopping_result(a.geometry, a.hopping, a.codes, a.signs, a.psi_same, a.psi_other, a.same, a.other, x);
    store_reals<LS * 2 * COLORS>(a.out + (long)x.group * (LS * VECTOR), x, (const V *)&r);
}
SITE_KERNEL(staggered_hop)

// the same, and the sum of Re psi_same(x)^+ out(x)
SITE_FUNCTION void staggered_hop_dot_site(const staggered_hop_dot_arguments &a, Site x, V *sums) {
    const ColorVectors r = hopping_result(a.geometry, a.hopping, a.codes, a.signs, a.psi_same, a.psi_other, a.same, a.other, x);
    const long at = (long)x.group * (LS * VECTOR);
    store_reals<LS * 2 * COLORS>(a.out + at, x, (const V *)&r);
    UNROLL for (int k = 0; k < LS * 2 * COLORS; k++) sums[0] += ((const V *)&r)[k] * load(a.psi_same + at + k * LANES, x);
}
REDUCTION_KERNEL(staggered_hop_dot, 1)

// F_a(x, mu) += weight s(x) eta_mu(x) c_a(U_mu(x) Z(x+mu) Z(x)^+), s = +1 on even and -1 on odd sites, Z = X on even
// and Y = D_oe X on odd sites; derivation in slhmc/dirac/staggered.py.
template <bool fetch> SITE_FUNCTION void staggered_force_at(const staggered_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const ColorVector here = load_vector(g, a.field, x);
    const real weight = x.parity ? -a.weight : a.weight;
    const Site next = group_to_come(g, x);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        if constexpr (fetch) {
            prefetch_link(g, a.links, next, mu);
            prefetch_reals(a.field + element(g, forward(g, next, mu), 2 * COLORS), 2 * COLORS);
            prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.force, x, mu);
        }
        const ColorVector w = multiply(load_link(g, a.links, x, mu), load_vector(g, a.field, forward(g, x, mu)));
        V c[ALGEBRA];
        outer_coefficients(w, here, c);
        put_algebra(g, a.force, x, mu, c, weight * hopping_sign(g, a.codes, a.signs, x, mu), true);
    }
}
SITE_FUNCTION void staggered_force_site(const staggered_force_arguments &a, Site x) {
    if (COLORS > 2 && fetches_ahead(a.geometry)) staggered_force_at<true>(a, x);  // the short lines of SU(2) come by themselves
    else staggered_force_at<false>(a, x);
}
SITE_KERNEL(staggered_force)
