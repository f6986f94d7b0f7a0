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

// What the step nu of a lane group to come reads; `own`: algebra elements of each link there
template <class Arguments> SITE_FUNCTION void prefetch_plaquette_force(const Arguments &a, Site x, int nu, const real *own) {
    const Geometry &g = a.geometry;
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0}, below = backward(g, next, nu);
    if (own) prefetch_part(g, own, next, DIMENSIONS * ALGEBRA, nu, DIMENSIONS);
    prefetch_reals(a.coefficients + window_element(a, below), PLANES * ALGEBRA);
    prefetch_reals(a.links + element(g, below, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES, LINK_REALS);
}

// sum[mu] += sum_nu [c(P_{mu nu}(x)) - c(U_nu(x-nu)^+ P_{mu nu}(x-nu) U_nu(x-nu))], P_{nu mu} = P_{mu nu}^+:
// c of U_mu(x) staples. weights: if given, each term times weights[mu D + nu]
template <class Arguments>
SITE_FUNCTION void add_plaquette_loops(const Arguments &a, Site x, const real *prefetched, V sum[DIMENSIONS][ALGEBRA],
                                       const double *weights = 0) {
    const Geometry &g = a.geometry;
    const real *own = a.coefficients + window_element(a, x);
    for (int nu = 0; nu < DIMENSIONS; nu++) {
        prefetch_plaquette_force(a, x, nu, prefetched);
        const Site below = backward(g, x, nu);
        const real *there = a.coefficients + window_element(a, below);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            const long plane = plane_of(mu, nu) * ALGEBRA * LANES;
            const real sign = (mu < nu ? 1 : -1) * (weights ? (real)weights[mu * DIMENSIONS + nu] : real(1));
            V c[ALGEBRA], r[ALGEBRA];
            load_reals<ALGEBRA>(g, there + plane, below, c);
            transported_coefficients(u, c, r);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += sign * (load(own + plane + k * LANES, x) - r[k]);
        }
    }
}
