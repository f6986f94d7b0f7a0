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
template <class Arguments> SITE_FUNCTION void load_rectangle(const Arguments &a, Site x, int mu, int nu, V *c) {
    const int slot = mu * (DIMENSIONS - 1) + (nu < mu ? nu : nu - 1);
    load_reals<ALGEBRA>(a.geometry, a.rectangles + window_element(a, x, RECTANGLES) + (long)slot * ALGEBRA * LANES, x, c);
}
// H_mu(x)
template <class Arguments> SITE_FUNCTION void load_side(const Arguments &a, Site x, int mu, V *c) {
    load_reals<ALGEBRA>(a.geometry, a.sides + window_element(a, x, DIMENSIONS) + mu * ALGEBRA * LANES, x, c);
}
// Fetch ahead the links two steps away in the slowest directions, as prefetch_links does those one step away.
SITE_FUNCTION void prefetch_far_links(const Geometry &g, const real *links, Site x, int part, int parts) {
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0};
    for (int mu = DIMENSIONS - 2; mu < DIMENSIONS; mu++) {
        const Site ahead = forward(g, next, mu);
        for (int nu = mu; nu < DIMENSIONS; nu++) prefetch_part(g, links, forward(g, ahead, nu), DIMENSIONS * LINK_REALS, part, parts);
    }
}
// What the step nu of H of a lane group to come reads
template <class Arguments> SITE_FUNCTION void prefetch_sides(const Arguments &a, Site x, int nu) {
    const Geometry &g = a.geometry;
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0}, below = backward(g, next, nu);
    prefetch_reals(a.links + element(g, below, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES, LINK_REALS);
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        if (mu == nu) continue;
        const long place = (mu * (DIMENSIONS - 1) + (nu < mu ? nu : nu - 1)) * ALGEBRA * LANES;
        prefetch_reals(a.rectangles + window_element(a, next, RECTANGLES) + place, ALGEBRA);
        prefetch_reals(a.rectangles + window_element(a, below, RECTANGLES) + place, ALGEBRA);
    }
}
// What the step nu of a lane group to come reads besides its links
template <class Arguments> SITE_FUNCTION void prefetch_rectangles(const Arguments &a, Site x, int nu) {
    const Geometry &g = a.geometry;
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0}, below = backward(g, next, nu), start = backward(g, below, nu);
    const int others = DIMENSIONS - 1;
    prefetch_reals(a.sides + window_element(a, below, DIMENSIONS) + nu * ALGEBRA * LANES, ALGEBRA);
    prefetch_reals(a.rectangles + window_element(a, start, RECTANGLES) + nu * others * ALGEBRA * LANES, others * ALGEBRA);
    prefetch_reals(a.rectangles + window_element(a, next, RECTANGLES) + nu * others * ALGEBRA * LANES, others * ALGEBRA);
    prefetch_reals(a.links + element(g, below, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES, LINK_REALS);
    prefetch_reals(a.links + element(g, start, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES, LINK_REALS);
}

// sum[mu] += factor c(U_mu(x) rectangle staples)
template <class Arguments>
SITE_FUNCTION void add_rectangle_loops(const Arguments &a, Site x, real factor, V sum[DIMENSIONS][ALGEBRA]) {
    const Geometry &g = a.geometry;
    for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu), start = backward(g, below, nu);
        V c[ALGEBRA], r[ALGEBRA];
        Link scratch;
        prefetch_rectangles(a, x, nu);
        load_side(a, below, nu, c);
        transported_coefficients(view_link(g, a.links, below, nu, scratch), c, r);
        load_side(a, x, nu, c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) sum[nu][k] += factor * (c[k] + r[k]);
        const Link two = double_link(g, a.links, start, nu);
        for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            load_rectangle(a, start, nu, mu, c);
            transported_coefficients(two, c, r);
            load_rectangle(a, x, nu, mu, c);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += factor * (r[k] - c[k]);
        }
    }
}
