// Coefficients of plaquettes, kept in a window of lane groups, and the force of a link from them.
#pragma once
#include "lattice.h"

// `positions` says where a lane group is in the window, which is smaller than the lattice if the caller goes through it slice by
// slice.
#define PLANES (DIMENSIONS * (DIMENSIONS - 1) / 2)

SITE_FUNCTION int plane_of(int mu, int nu) {
    const int low = mu < nu ? mu : nu, high = mu < nu ? nu : mu;
    return low * (2 * DIMENSIONS - low - 1) / 2 + high - low - 1;
}
// where the `loops` algebra elements of a lane group begin in the window
template <class Arguments> SITE_FUNCTION long window_element(const Arguments &a, Site x, int loops = PLANES) {
    return ((long)x.parity * a.window + a.positions[x.group]) * loops * ALGEBRA * LANES;
}

// The links of the plaquettes of a lane group to come, between the products of those of a plane
template <bool fetch, int piece> SITE_FUNCTION void prefetch_plane(const Geometry &g, const real *links, Site x, int plane) {
    constexpr int pieces = PIECES(3);
    if constexpr (fetch && piece < pieces) prefetch_links<pieces * PLANES>(g, links, x, false, plane * pieces + piece);
}
// What links of a lane group to come take from behind in nu: pieces of U_nu(x - nu), and of the algebra elements there + place(mu)
// if nu is slow: else the cache has seen them as the lane group's own
#define PAIRS PIECES(DIMENSIONS - 1)
SITE_FUNCTION int pair_piece(int mu, int nu) { return mu < nu ? mu : mu - 1; }
template <class Place>
SITE_FUNCTION void prefetch_behind(const Geometry &g, const real *links, Site below, int mu, int nu, const real *there,
                                   Place place) {
    const real *from = links + element(g, below, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES;
    prefetch_share<LINK_REALS, PAIRS>(from, pair_piece(mu, nu));
    if (nu < DIMENSIONS - 2) return;
    if (PAIRS > 1) return prefetch_reals(there + (long)place(mu) * ALGEBRA * LANES, ALGEBRA);
    UNROLL for (int rho = 0; rho < DIMENSIONS; rho++)
        if (rho != nu) prefetch_reals(there + (long)place(rho) * ALGEBRA * LANES, ALGEBRA);
}
// What the force of a lane group to come reads, a piece for each pair: its `own` algebra elements of each link, if any, its
// coefficients, and what is behind
template <class Arguments>
SITE_FUNCTION void prefetch_plaquette_force(const Arguments &a, Site x, int mu, int nu, const real *own) {
    const Geometry &g = a.geometry;
    const int piece = pair_piece(mu, nu), part = nu * PAIRS + piece;
    if (piece >= PAIRS) return;
    const Site next = group_to_come(g, x), below = backward(g, next, nu);
    if (own) prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS * PAIRS>(g, own, x, part);
    prefetch_share<PLANES * ALGEBRA, DIMENSIONS * PAIRS>(a.coefficients + window_element(a, next), part);
    const real *there = a.coefficients + window_element(a, below);
    prefetch_behind(g, a.links, below, mu, nu, there, [nu](int rho) { return plane_of(rho, nu); });
}

// sum[mu] += sum_nu [c(P_{mu nu}(x)) - c(U_nu(x-nu)^+ P_{mu nu}(x-nu) U_nu(x-nu))], P_{nu mu} = P_{mu nu}^+:
// c of U_mu(x) staples. weights: if given, each term times weights[mu D + nu]
template <bool fetch, class Arguments>
SITE_FUNCTION void add_plaquette_loops(const Arguments &a, Site x, const real *prefetched, V sum[DIMENSIONS][ALGEBRA],
                                       const double *weights = 0) {
    const Geometry &g = a.geometry;
    const real *own = a.coefficients + window_element(a, x);
    UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu);
        const real *there = a.coefficients + window_element(a, below);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            if constexpr (fetch) prefetch_plaquette_force(a, x, mu, nu, prefetched);
            const long plane = plane_of(mu, nu) * ALGEBRA * LANES;
            const real sign = (mu < nu ? 1 : -1) * (weights ? (real)weights[mu * DIMENSIONS + nu] : real(1));
            V c[ALGEBRA], r[ALGEBRA];
            load_reals<ALGEBRA>(g, there + plane, below, c);
            transported_coefficients(u, c, r);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += sign * (load(own + plane + k * LANES, x) - r[k]);
        }
    }
}
