// Walking the lattice and loading fields through lane permutations.
#pragma once
#include "group.h"

#define DIRECTIONS (2 * DIMENSIONS)

SITE_FUNCTION Site neighbour(const Geometry &g, Site x, int direction) {
    int entry = g.neighbours[((long)x.parity * g.stride + x.group) * DIRECTIONS + direction];
    return Site{1 - x.parity, entry >> 5, step_lanes(g, x.shift, entry & 31)};
}
SITE_FUNCTION Site forward(const Geometry &g, Site x, int mu) { return neighbour(g, x, mu); }
SITE_FUNCTION Site backward(const Geometry &g, Site x, int mu) { return neighbour(g, x, mu + DIMENSIONS); }

template <int count> SITE_FUNCTION void load_reals(const Geometry &g, const real *p, Site x, V *r) {
    // two loops: one that copies and then permutes becomes a call of memcpy and a second pass
    if (is_permuted(x)) {
        UNROLL for (int k = 0; k < count; k++) r[k] = permute(g, load(p + k * LANES, x), x.shift);
    } else {
        UNROLL for (int k = 0; k < count; k++) r[k] = load(p + k * LANES, x);
    }
}
template <int count> SITE_FUNCTION void store_reals(real *p, Site x, const V *r) {
    UNROLL for (int k = 0; k < count; k++) store(p + k * LANES, x, r[k]);
}

SITE_FUNCTION Link load_link(const Geometry &g, const real *links, Site x, int mu) {
    Link r;
    load_reals<LINK_REALS>(g, links + element(g, x, DIMENSIONS * LINK_REALS) + (long)mu * LINK_REALS * LANES, x, reals(r));
    return r;
}
// The link where it lies in memory if the lanes fit, else a permuted copy in `scratch`.
SITE_FUNCTION const Link &view_link(const Geometry &g, const real *links, Site x, int mu, Link &scratch) {
    const real *p = links + element(g, x, DIMENSIONS * LINK_REALS) + (long)mu * LINK_REALS * LANES;
    if (LANES_IN_PLACE && !is_permuted(x)) return *(const Link *)p;
    load_reals<LINK_REALS>(g, p, x, reals(scratch));
    return scratch;
}
// One of `parts` equal parts of what a field has at y, fetched ahead.
SITE_FUNCTION void prefetch_part(const Geometry &g, const real *field, Site y, int count, int part, int parts) {
    const int from = part * count / parts, to = (part + 1) * count / parts;
    prefetch_reals(field + element(g, y, count) + (long)from * LANES, to - from);
}
// What a lane group to come has in a field of `count` reals a site, one of DIMENSIONS parts.
SITE_FUNCTION void prefetch_own(const Geometry &g, const real *field, Site x, int count, int part) {
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    prefetch_part(g, field, Site{x.parity, x.group + PREFETCH_DISTANCE, 0}, count, part, DIMENSIONS);
}
// Fetch ahead for a lane group to come what a field has there and at its neighbours in the two slowest directions (up; with
// `both`, down too): they are what the cache has not seen for longest. Done in `parts` between the pieces of the work, as a
// core waits once it has asked for more lines than it can keep track of.
SITE_FUNCTION void prefetch_field(const Geometry &g, const real *field, int count, Site x, bool both, int part, int parts) {
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0};
    prefetch_part(g, field, next, count, part, parts);
    for (int mu = DIMENSIONS - 2; mu < DIMENSIONS; mu++) {
        prefetch_part(g, field, forward(g, next, mu), count, part, parts);
        if (both) prefetch_part(g, field, backward(g, next, mu), count, part, parts);
    }
}
SITE_FUNCTION void prefetch_links(const Geometry &g, const real *links, Site x, bool both, int part, int parts) {
    prefetch_field(g, links, DIMENSIONS * LINK_REALS, x, both, part, parts);
}
// The same for U_nu(x + mu - nu) of these directions, which belongs to none of those neighbours.
SITE_FUNCTION void prefetch_corner(const Geometry &g, const real *links, Site x, int mu, int nu) {
    if (!g.prefetch || mu < DIMENSIONS - 2 || nu < DIMENSIONS - 2 || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site corner = backward(g, forward(g, Site{x.parity, x.group + PREFETCH_DISTANCE, 0}, mu), nu);
    prefetch_reals(links + element(g, corner, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES, LINK_REALS);
}
SITE_FUNCTION void store_link(const Geometry &g, real *links, Site x, int mu, const Link &u) {
    store_reals<LINK_REALS>(links + element(g, x, DIMENSIONS * LINK_REALS) + (long)mu * LINK_REALS * LANES, x, reals(u));
}
// What belongs to a link in a field that is written whole, and not read before the cache has seen much else: past it on large
// lattices.
template <int count> SITE_FUNCTION void write_reals(const Geometry &g, real *field, Site x, int mu, const V *r) {
    real *to = field + element(g, x, DIMENSIONS * count) + (long)mu * count * LANES;
    if (VECTOR_LANES == 1 || g.prefetch < 2) return store_reals<count>(to, x, r);  // one lane has nothing to stream
    UNROLL for (int k = 0; k < count; k++) stream(to + k * LANES, x, r[k]);
}
SITE_FUNCTION void write_link(const Geometry &g, real *links, Site x, int mu, const Link &u) {
    write_reals<LINK_REALS>(g, links, x, mu, reals(u));
}
// to_a <- what it is, or 0, plus factor f_a
template <class Factor> SITE_FUNCTION void put_at(real *to, Site x, const V *f, Factor factor, bool add) {
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        const V value = f[k] * factor;
        store(to + k * LANES, x, add ? load(to + k * LANES, x) + value : value);
    }
}
// field_a(x, mu) <- what it is, or 0, plus factor f_a
template <class Factor>
SITE_FUNCTION void put_algebra(const Geometry &g, real *field, Site x, int mu, const V *f, Factor factor, bool add) {
    put_at(field + element(g, x, DIMENSIONS * ALGEBRA) + (long)mu * ALGEBRA * LANES, x, f, factor, add);
}
// the same of f_a = c_a(m)
template <class Factor>
SITE_FUNCTION void put_coefficients(const Geometry &g, real *field, Site x, int mu, const Link &m, Factor factor, bool add) {
    V c[ALGEBRA];
    algebra_coefficients(m, c);
    put_algebra(g, field, x, mu, c, factor, add);
}
SITE_FUNCTION ColorVector load_vector(const Geometry &g, const real *field, Site x) {
    ColorVector r;
    load_reals<2 * COLORS>(g, field + element(g, x, 2 * COLORS), x, (V *)&r);
    return r;
}
