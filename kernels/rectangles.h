// The force of a link from the coefficients of rectangles, each of which is made once for its six links.
// With E_{mu nu}(x) = c(R_{mu nu}(x)) and T_l the transport along links l to where they end, c of a loop that begins elsewhere:
// both links of the long sides see H_mu(x) = sum_nu [E_{mu nu}(x) - T_nu E_{mu nu}(x - nu)], the first half of a side at once and
// the second T_mu H_mu(x - mu); those of the short sides see T_nu T_nu E_{nu mu}(x - 2 nu) - E_{nu mu}(x).
#pragma once
#include "plaquettes.h"

#define RECTANGLES (DIMENSIONS * (DIMENSIONS - 1))

// two links forward in mu
SITE_FUNCTION Link double_link(const Geometry &g, const real *links, Site x, int mu) {
    Link a, b;
    return multiply(view_link(g, links, x, mu, a), view_link(g, links, forward(g, x, mu), mu, b));
}
// E_{mu nu}(x)
SITE_FUNCTION void load_rectangle(const Geometry &g, const real *rectangles, Site x, int mu, int nu, V *c) {
    const int slot = mu * (DIMENSIONS - 1) + (nu < mu ? nu : nu - 1);
    load_reals<ALGEBRA>(g, rectangles + element(g, x, RECTANGLES * ALGEBRA) + (long)slot * ALGEBRA * LANES, x, c);
}

// sum[mu] += factor c(U_mu(x) rectangle staples)
template <class Arguments>
SITE_FUNCTION void add_rectangle_loops(const Arguments &a, Site x, real factor, V sum[DIMENSIONS][ALGEBRA]) {
    const Geometry &g = a.geometry;
    for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu), start = backward(g, below, nu);
        V c[ALGEBRA], r[ALGEBRA];
        Link scratch;
        load_reals<ALGEBRA>(g, a.sides + element(g, below, DIMENSIONS * ALGEBRA) + nu * ALGEBRA * LANES, below, c);
        transported_coefficients(view_link(g, a.links, below, nu, scratch), c, r);
        load_reals<ALGEBRA>(g, a.sides + element(g, x, DIMENSIONS * ALGEBRA) + nu * ALGEBRA * LANES, x, c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) sum[nu][k] += factor * (c[k] + r[k]);
        const Link two = double_link(g, a.links, start, nu);
        for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            load_rectangle(g, a.rectangles, start, nu, mu, c);
            transported_coefficients(two, c, r);
            load_rectangle(g, a.rectangles, x, nu, mu, c);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += factor * (r[k] - c[k]);
        }
    }
}
