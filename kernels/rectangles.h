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
SITE_FUNCTION int rectangle_slot(int mu, int nu) { return mu * (DIMENSIONS - 1) + (nu < mu ? nu : nu - 1); }
// E_{mu nu}(x)
template <class Arguments> SITE_FUNCTION void load_rectangle(const Arguments &a, Site x, int mu, int nu, V *c) {
    const long slot = rectangle_slot(mu, nu);
    load_reals<ALGEBRA>(a.geometry, a.rectangles + window_element(a, x, RECTANGLES) + slot * ALGEBRA * LANES, x, c);
}
// H_mu(x)
template <class Arguments> SITE_FUNCTION void load_side(const Arguments &a, Site x, int mu, V *c) {
    load_reals<ALGEBRA>(a.geometry, a.sides + window_element(a, x, DIMENSIONS) + mu * ALGEBRA * LANES, x, c);
}
// A share of a field at a lane group to come and up to two steps ahead of it in the slowest directions
template <int count, int parts> SITE_FUNCTION void prefetch_twice_ahead(const Geometry &g, const real *field, Site x, int part) {
    prefetch_field<count, parts>(g, field, x, false, part);
    UNROLL for (int mu = DIMENSIONS - 2; mu < DIMENSIONS; mu++) {
        const Site forth = forward(g, group_to_come(g, x), mu);
        UNROLL for (int nu = mu; nu < DIMENSIONS; nu++)
            prefetch_share<count, parts>(field + element(g, forward(g, forth, nu), count), part);
    }
}
// The links that rectangles of a lane group to come take, between the products of those of a pair
template <bool fetch, int piece, class Arguments>
SITE_FUNCTION void prefetch_rectangle_links(const Arguments &a, Site x, int pair) {
    constexpr int pieces = PIECES(3), parts = pieces * RECTANGLES;
    if constexpr (fetch && piece < pieces)
        prefetch_twice_ahead<DIMENSIONS * LINK_REALS, parts>(a.geometry, a.links, x, pair * pieces + piece);
}
// What the sides of a lane group to come read and write, a piece for each pair
template <class Arguments> SITE_FUNCTION void prefetch_sides(const Arguments &a, Site x, int mu, int nu) {
    const Geometry &g = a.geometry;
    const int piece = pair_piece(mu, nu), part = nu * PAIRS + piece;
    if (piece >= PAIRS) return;
    const Site next = group_to_come(g, x), below = backward(g, next, nu);
    prefetch_share<RECTANGLES * ALGEBRA, DIMENSIONS * PAIRS>(a.rectangles + window_element(a, next, RECTANGLES), part);
    prefetch_share<DIMENSIONS * ALGEBRA, DIMENSIONS * PAIRS, true>(a.sides + window_element(a, next, DIMENSIONS), part);
    prefetch_behind(g, a.links, below, mu, nu, a.rectangles + window_element(a, below, RECTANGLES),
                    [nu](int rho) { return rectangle_slot(rho, nu); });
}
// What the rectangles of a lane group to come bring to its links in the step nu: sides with the links that bring them, a piece of
// its `own` algebra elements of each link, if any,
template <class Arguments> SITE_FUNCTION void prefetch_long_sides(const Arguments &a, Site x, int nu, const real *own) {
    const Geometry &g = a.geometry;
    if (own) prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, own, x, nu);
    const Site next = group_to_come(g, x), below = backward(g, next, nu);
    prefetch_reals(a.sides + window_element(a, next, DIMENSIONS) + nu * ALGEBRA * LANES, ALGEBRA);
    prefetch_link(g, a.links, below, nu);
    if (nu < DIMENSIONS - 2) return;
    prefetch_reals(a.sides + window_element(a, below, DIMENSIONS) + nu * ALGEBRA * LANES, ALGEBRA);
}
// and for each pair a piece of its rectangles, and of the links and rectangles two steps behind
template <class Arguments> SITE_FUNCTION void prefetch_rectangles(const Arguments &a, Site x, int mu, int nu) {
    const Geometry &g = a.geometry;
    const int piece = pair_piece(mu, nu), part = nu * PAIRS + piece;
    if (piece >= PAIRS) return;
    const Site next = group_to_come(g, x), start = backward(g, backward(g, next, nu), nu);
    prefetch_share<RECTANGLES * ALGEBRA, DIMENSIONS * PAIRS>(a.rectangles + window_element(a, next, RECTANGLES), part);
    if (nu < DIMENSIONS - 2) return;  // the cache has it
    prefetch_behind(g, a.links, start, mu, nu, a.rectangles + window_element(a, start, RECTANGLES),
                    [nu](int rho) { return rectangle_slot(nu, rho); });
}

// sum[mu] += factor c(U_mu(x) rectangle staples)
template <bool fetch, class Arguments>
SITE_FUNCTION void add_rectangle_loops(const Arguments &a, Site x, real factor, const real *prefetched,
                                       V sum[DIMENSIONS][ALGEBRA]) {
    const Geometry &g = a.geometry;
    UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu), start = backward(g, below, nu);
        V c[ALGEBRA], r[ALGEBRA];
        Link scratch;
        if constexpr (fetch) prefetch_long_sides(a, x, nu, prefetched);
        load_side(a, below, nu, c);
        transported_coefficients(view_link(g, a.links, below, nu, scratch), c, r);
        load_side(a, x, nu, c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) sum[nu][k] += factor * (c[k] + r[k]);
        const Link two = double_link(g, a.links, start, nu);
        UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            if constexpr (fetch) prefetch_rectangles(a, x, mu, nu);
            load_rectangle(a, start, nu, mu, c);
            transported_coefficients(two, c, r);
            load_rectangle(a, x, nu, mu, c);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += factor * (r[k] - c[k]);
        }
    }
}
