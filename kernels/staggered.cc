// Staggered hopping term. H psi(x) = sum_mu eta_mu(x) [U_mu(x) psi(x+mu) - U_mu(x-mu)^+ psi(x-mu)], D = m + H / 2.
// Hopping links: hopping.h; eta is in them, and two rows of SU(3) are enough.
#include "signatures.h"
#include "hopping.h"

#define HOPPING_REALS TWO_ROW_REALS

// sum over the directions of (hopping link) psi(neighbour)
SITE_FUNCTION ColorVector hopping_sum(const Geometry &g, const real *hopping, const signed char *codes, const real *signs,
                                      const real *psi, Site x) {
    const real *links = hopping + element(g, x, DIRECTIONS * HOPPING_REALS);
    ColorVector sum = {};
    for (int direction = 0; direction < DIRECTIONS; direction++) {
        prefetch_hop(g, links, HOPPING_REALS, psi, 2 * COLORS, x, direction);
        const Site y = neighbour(g, x, direction);
        ColorVector v;
        load_reals<2 * COLORS>(g, psi + (long)y.group * (2 * COLORS * LANES), y, (V *)&v);
        const real *p = links + (long)direction * HOPPING_REALS * LANES;
#if COLORS == 2
        Link u;
        UNROLL for (int k = 0; k < HOPPING_REALS; k++) {
            reals(u)[k] = load(p + k * LANES, x);
            hold(reals(u)[k]);
        }
        const ColorVector w = multiply(u, v);
        UNROLL for (int i = 0; i < 2; i++) { sum.c[i].re += w.c[i].re; sum.c[i].im += w.c[i].im; }
#else
        Complex u[2][3];
        UNROLL for (int k = 0; k < HOPPING_REALS; k++) {
            ((V *)u)[k] = load(p + k * LANES, x);
            hold(((V *)u)[k]);
        }
        UNROLL for (int i = 0; i < 2; i++)
            UNROLL for (int j = 0; j < 3; j++) add_product(sum.c[i], u[i][j], v.c[j]);
        // third row = s conj(row0 x row1): its product with v is s (conj(row0) x conj(row1)) . v
        Complex last = {};
        UNROLL for (int j = 0; j < 3; j++) {
            Complex c = {};
            add_product(c, u[0][(j + 1) % 3], u[1][(j + 2) % 3]);
            c = {-c.re, -c.im};
            add_product(c, u[0][(j + 2) % 3], u[1][(j + 1) % 3]);
            add_conjugate_product(last, c, v.c[j]);
        }
        const V sign = hopping_sign(g, codes, signs, x, direction);
        sum.c[2].re -= sign * last.re;
        sum.c[2].im -= sign * last.im;
#endif
    }
    return sum;
}

// out(x) = same * psi_same(x) + other * H psi_other(x), x of one parity; `same` may be zero (psi_same unread)
SITE_FUNCTION ColorVector hopping_result(const Geometry &g, const real *hopping, const signed char *codes, const real *signs,
                                         const real *psi_same, const real *psi_other, real same, real other, Site x) {
    ColorVector sum = hopping_sum(g, hopping, codes, signs, psi_other, x);
    V *r = (V *)&sum;
    const long at = (long)x.group * (2 * COLORS * LANES);
    if (same != 0) {
        UNROLL for (int k = 0; k < 2 * COLORS; k++) r[k] = other * r[k] + same * load(psi_same + at + k * LANES, x);
    } else {
        UNROLL for (int k = 0; k < 2 * COLORS; k++) r[k] *= other;
    }
    return sum;
}

SITE_FUNCTION void staggered_hop_site(const staggered_hop_arguments &a, Site x) {
    const ColorVector r = hopping_result(a.geometry, a.hopping, a.codes, a.signs, a.psi_same, a.psi_other, a.same, a.other, x);
    store_reals<2 * COLORS>(a.out + (long)x.group * (2 * COLORS * LANES), x, (const V *)&r);
}
SITE_KERNEL(staggered_hop)

// the same, and the sum of Re psi_same(x)^+ out(x)
SITE_FUNCTION void staggered_hop_dot_site(const staggered_hop_dot_arguments &a, Site x, V *sums) {
    const ColorVector r = hopping_result(a.geometry, a.hopping, a.codes, a.signs, a.psi_same, a.psi_other, a.same, a.other, x);
    const long at = (long)x.group * (2 * COLORS * LANES);
    store_reals<2 * COLORS>(a.out + at, x, (const V *)&r);
    UNROLL for (int k = 0; k < 2 * COLORS; k++) sums[0] += ((const V *)&r)[k] * load(a.psi_same + at + k * LANES, x);
}
REDUCTION_KERNEL(staggered_hop_dot, 1)

// F_a(x, mu) += weight s(x) eta_mu(x) c_a(U_mu(x) Z(x+mu) Z(x)^+), s = +1 on even and -1 on odd sites, Z = X on even
// and Y = D_oe X on odd sites; derivation in slhmc/dirac/staggered.py.
SITE_FUNCTION void staggered_force_site(const staggered_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const ColorVector here = load_vector(g, a.field, x);
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);
    const real weight = x.parity ? -a.weight : a.weight;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const ColorVector w = multiply(load_link(g, a.links, x, mu), load_vector(g, a.field, forward(g, x, mu)));
        V c[ALGEBRA];
        outer_coefficients(w, here, c);
        const V factor = weight * hopping_sign(g, a.codes, a.signs, x, mu);
        UNROLL for (int k = 0; k < ALGEBRA; k++) {
            real *p = force + (mu * ALGEBRA + k) * LANES;
            store(p, x, load(p, x) + factor * c[k]);
        }
    }
}
SITE_KERNEL(staggered_force)
