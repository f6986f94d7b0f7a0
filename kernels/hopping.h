// Hopping links: for each site and direction the matrix that multiplies that neighbour, in one contiguous stream per lane
// group, with the phase of the quarks and the boundary factor in it: no halo of links and no address arithmetic in the solver.
// N = 3 keeps three rows or two; the third is then s conj(row 1 x row 2), where s is the sign of the whole entry (one code per
// group and direction, as only the boundary distinguishes lanes): 12 reals instead of 18.
#pragma once
#include "lattice.h"

#if COLORS == 2
#define TWO_ROW_REALS 4  // SU(2): a quaternion, which is its first row, whatever the number of rows asked for
#else
#define TWO_ROW_REALS (4 * COLORS)
#endif

SITE_FUNCTION V hopping_sign(const Geometry &g, const signed char *codes, const real *signs, Site x, int direction) {
    const int code = codes[((long)x.parity * g.stride + x.group) * DIRECTIONS + direction];
    return load(signs + code * LANES, x);
}

// Fetch ahead for a lane group to come, direction by direction: its hopping links and the `components` of psi, unless it is null,
// that they multiply.
SITE_FUNCTION void prefetch_hop(const Geometry &g, const real *links, int link_reals, const real *psi, int components, Site x,
                                int direction) {
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0};
    prefetch_reals(links + (PREFETCH_DISTANCE * DIRECTIONS + direction) * (long)(link_reals * LANES), link_reals);
    if (psi) prefetch_reals(psi + (long)neighbour(g, next, direction).group * (components * LANES), components);
}
