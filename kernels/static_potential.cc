// Wilson loops between smeared lines (docs/conventions.md, "Static potential"). Space is all directions but the last.
#include "signatures.h"
#include "lattice.h"

// Products of large groups: one copy of each keeps compile times in seconds.
#if COLORS > 3
#define PRODUCT SITE_ROUTINE
#else
#define PRODUCT SITE_FUNCTION
#endif
PRODUCT void assign_product(Link &r, const Link &x, const Link &y) { r = multiply(x, y); }
PRODUCT void assign_product_adjoint(Link &r, const Link &x, const Link &y) { r = multiply_adjoint(x, y); }
PRODUCT void add_adjoint_product(Link &sum, const Link &x, const Link &y) { add_adjoint_multiply(sum, x, y); }
PRODUCT void add_product_of(Link &sum, const Link &x, const Link &y) { add_multiply(sum, x, y); }

// sum += the staples of U_mu(x) in the plane of mu and nu, from x to x + mu
SITE_FUNCTION void add_plane_staples(const Geometry &g, const real *links, Site x, int mu, int nu, Link &sum) {
    Link p, q, r, side;
    const Site x_mu = forward(g, x, mu), below = backward(g, x, nu);
    assign_product_adjoint(side, view_link(g, links, forward(g, x, nu), mu, p), view_link(g, links, x_mu, nu, q));
    add_product_of(sum, view_link(g, links, x, nu, r), side);
    assign_product(side, view_link(g, links, below, mu, p), view_link(g, links, backward(g, x_mu, nu), nu, q));
    add_adjoint_product(sum, view_link(g, links, below, nu, r), side);
}

// U' = exp(Q) U, Q = 2 [rho C U^+]_TA, C the staples in space; links in time are copied
SITE_FUNCTION void spatial_stout_site(const spatial_stout_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Link u = load_link(g, a.links, x, mu);
        if (mu == DIMENSIONS - 1) {
            store_link(g, a.smeared, x, mu, u);
            continue;
        }
        Link staples = {};
        for (int nu = 0; nu < DIMENSIONS - 1; nu++)
            if (nu != mu) add_plane_staples(g, a.links, x, mu, nu, staples);
        Link loop;
        assign_product_adjoint(loop, staples, u);
        V q[ALGEBRA];
        algebra_coefficients(loop, q);
        UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] *= real(2) * a.rho;
        assign_product(loop, exponential(q), u);
        store_link(g, a.smeared, x, mu, loop);
    }
}
SITE_KERNEL(spatial_stout)

SITE_FUNCTION Link load_matrix(const Geometry &g, const real *field, Site x) {
    Link r;
    load_reals<LINK_REALS>(g, field + element(g, x, LINK_REALS), x, reals(r));
    return r;
}

// to(x) <- from(x + mu)
SITE_FUNCTION void shifted_site(const shifted_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const Link m = load_matrix(g, a.from, forward(g, x, a.mu));
    store_reals<LINK_REALS>(a.to + element(g, x, LINK_REALS), x, reals(m));
}
SITE_KERNEL(shifted)

// to(x) <- left(x) from(x + mu) right(x)^+: a line one step ahead, brought back along a rail at either end
SITE_FUNCTION void ladder_site(const ladder_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link rung, m;
    assign_product(rung, load_matrix(g, a.left, x), load_matrix(g, a.from, forward(g, x, a.mu)));
    assign_product_adjoint(m, rung, load_matrix(g, a.right, x));
    store_reals<LINK_REALS>(a.to + element(g, x, LINK_REALS), x, reals(m));
}
SITE_KERNEL(ladder)
