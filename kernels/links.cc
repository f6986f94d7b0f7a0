// Link fields: update by the momenta, return to the group, random links, products along a line.
#include "signatures.h"
#include "lattice.h"
#include "philox.h"

// U <- exp(step P) U
SITE_FUNCTION void link_update_site(const link_update_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const real *momenta = a.momenta + element(g, x, DIMENSIONS * ALGEBRA);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        if (COLORS > 2 && fetches_ahead(g)) {  // the short lines of SU(2) come by themselves
            prefetch_link(g, a.links, group_to_come(g, x), mu);
            prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.momenta, x, mu);
        }
        V p[ALGEBRA];
        UNROLL for (int k = 0; k < ALGEBRA; k++) p[k] = load(momenta + (mu * ALGEBRA + k) * LANES, x) * a.step;
        store_link(g, a.links, x, mu, multiply(exponential(p), load_link(g, a.links, x, mu)));
    }
}
SITE_KERNEL(link_update)

SITE_FUNCTION void reunitarize_site(const reunitarize_arguments &a, Site x) {
    for (int mu = 0; mu < DIMENSIONS; mu++)
        store_link(a.geometry, a.links, x, mu, reunitarized(load_link(a.geometry, a.links, x, mu)));
}
SITE_KERNEL(reunitarize)

// Haar-random links: Gram-Schmidt of a matrix of Gaussians, determinant set to one
SITE_FUNCTION void random_links_site(const random_links_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link u;
        for (int k = 0; k < LINK_REALS; k += 2)
            gaussian_pair(g, x, a.random, (mu * LINK_REALS + k) / 2, reals(u)[k], reals(u)[k + 1]);
        store_link(g, a.links, x, mu, reunitarized(u));
    }
}
SITE_KERNEL(random_links)

// line(x) <- U_mu(x) line(x + mu); the first step (from == 0) has line = 1
SITE_FUNCTION void transport_site(const transport_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link u = load_link(g, a.links, x, a.mu);
    if (a.from) {
        Link line;
        const Site next = forward(g, x, a.mu);
        load_reals<LINK_REALS>(g, a.from + element(g, next, LINK_REALS), next, reals(line));
        u = multiply(u, line);
    }
    store_reals<LINK_REALS>(a.to + element(g, x, LINK_REALS), x, reals(u));
}
SITE_KERNEL(transport)

SITE_FUNCTION void matrix_trace_site(const matrix_trace_arguments &a, Site x, V *sums) {
    Link u;
    load_reals<LINK_REALS>(a.geometry, a.matrices + element(a.geometry, x, LINK_REALS), x, reals(u));
    sums[0] += real_trace(u);
    sums[1] += imaginary_trace(u);
}
REDUCTION_KERNEL(matrix_trace, 2)
