// Wilson hopping term. H psi(x) = sum_mu [(1 - gamma_mu) U_mu(x) psi(x+mu) + (1 + gamma_mu) U_mu(x-mu)^+ psi(x-mu)];
// D = 4 + m - H / 2; H^+ = gamma_5 H gamma_5 is H with the signs of gamma_mu turned.
#include "signatures.h"
#include "wilson_hop.h"

// out(x) = same psi_same(x) + other (H or H^+) psi_other(x), x of one parity; `same` may be zero (psi_same unread)
template <class Arguments> SITE_FUNCTION void hop(const Arguments &a, Site x, V *norm) {
    Spinor sum[LS];
    sum_hops(a.geometry, {a.hopping, a.codes, a.signs, a.psi_other}, a.dagger, a.rows, x, sum);
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

// What a lane group to come reads for its link in mu: the link, its force, and spinors of the neighbour, which in fast directions
// are its own
template <int mu> SITE_FUNCTION void prefetch_force_of(const wilson_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const Site next = group_to_come(g, x);
    prefetch_link(g, a.links, next, mu);
    prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.force, x, mu);
    if (LS > 1 || mu == 1) return;  // more spinors come as streams
    const long there = element(g, mu == 0 ? next : forward(g, next, mu), FIELD_REALS);
    prefetch_reals(a.x + there, FIELD_REALS);
    prefetch_reals(a.y + there, FIELD_REALS);
}
// force_a(x, mu) += weight c_a(U (1 - gamma) X(x+mu) Y(x)^+ + U (1 + gamma) Y(x+mu) X(x)^+), X and Y on both parities;
// as (1 -+ gamma)^2 = 2 (1 -+ gamma), upper components of both factors projected are enough.
template <int mu, bool fetch> SITE_FUNCTION void add_force_of(const wilson_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    if constexpr (fetch) prefetch_force_of<mu>(a, x);
    const Site y = forward(g, x, mu);
    const long here = element(g, x, FIELD_REALS), there = element(g, y, FIELD_REALS);
    const Link u = load_link(g, a.links, x, mu);
    V c[ALGEBRA] = {};
    for (int s = 0; s < LS; s++) {
        const long k = s * (SPINOR_REALS * LANES);
        add_outer(u, project<mu, -1>(g, a.x + there + k, y), project<mu, -1>(g, a.y + here + k, x), c);
        add_outer(u, project<mu, 1>(g, a.y + there + k, y), project<mu, 1>(g, a.x + here + k, x), c);
    }
    put_algebra(g, a.force, x, mu, c, a.weight * hopping_sign(g, a.codes, a.signs, x, mu), true);
    if constexpr (mu + 1 < DIMENSIONS) add_force_of<mu + 1, fetch>(a, x);
}
template <bool fetch> SITE_FUNCTION void wilson_force_at(const wilson_force_arguments &a, Site x) {
    add_force_of<0, fetch>(a, x);
}
SITE_KERNEL_AHEAD(wilson_force)
