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
// A matrix where it lies in memory if the lanes fit, else a permuted copy in `scratch`.
SITE_FUNCTION const Link &view_matrix(const Geometry &g, const real *p, Site x, Link &scratch) {
    if (LANES_IN_PLACE && !is_permuted(x)) return *(const Link *)p;
    load_reals<LINK_REALS>(g, p, x, reals(scratch));
    return scratch;
}
SITE_FUNCTION const Link &view_link(const Geometry &g, const real *links, Site x, int mu, Link &scratch) {
    return view_matrix(g, links + element(g, x, DIMENSIONS * LINK_REALS) + (long)mu * LINK_REALS * LANES, x, scratch);
}
// Fetching ahead is for fields that the nearest caches do not hold. A core waits once it has asked for more lines than it can
// keep track of, a dozen at a time or so: what a lane group to come needs is asked for in shares between the pieces of the work.
// Kernels in which that shows are compiled with it and without it, from a function name_at<fetch>.
#define MAY_FETCH (VECTOR_LANES > 1 && COLORS <= 3)  // the arithmetic of larger groups takes longer than memory
SITE_FUNCTION bool fetches_ahead(const Geometry &g) { return MAY_FETCH && g.prefetch; }
#define SITE_KERNEL_AHEAD(name)                                                                        \
    SITE_FUNCTION void name##_site(const name##_arguments &a, Site x) {                                \
        if (MAY_FETCH && a.geometry.prefetch) name##_at<true>(a, x);                                   \
        else name##_at<false>(a, x);                                                                   \
    }                                                                                                  \
    SITE_KERNEL(name)
#define REDUCTION_KERNEL_AHEAD(name, K)                                                                \
    SITE_FUNCTION void name##_site(const name##_arguments &a, Site x, V *sums) {                       \
        if (MAY_FETCH && a.geometry.prefetch) name##_at<true>(a, x, sums);                             \
        else name##_at<false>(a, x, sums);                                                             \
    }                                                                                                  \
    GAUGE_REDUCTION(name, K)
SITE_FUNCTION Site group_to_come(const Geometry &g, Site x, int distance) {
    const int group = x.group + distance;
    return Site{x.parity, group < g.groups ? group : g.groups - 1, 0};
}
SITE_FUNCTION Site group_to_come(const Geometry &g, Site x) { return group_to_come(g, x, g.distance); }
// One of `parts` shares of `count` reals a site, all of the same length.
template <int count, int parts, bool write = false> SITE_FUNCTION void prefetch_share(const real *p, int part) {
    prefetch_reals<3, write>(p + (long)(part * count / parts) * LANES, (count + parts - 1) / parts);
}
template <int count, int parts> SITE_FUNCTION void prefetch_own(const Geometry &g, const real *field, Site x, int part) {
    prefetch_share<count, parts>(field + element(g, group_to_come(g, x), count), part);
}
// also at its neighbours in the two slowest directions (up; with `both`, down too): the cache has not seen them for longest
template <int count, int parts>
SITE_FUNCTION void prefetch_field(const Geometry &g, const real *field, Site x, bool both, int part) {
    const Site next = group_to_come(g, x);
    prefetch_share<count, parts>(field + element(g, next, count), part);
    UNROLL for (int mu = DIMENSIONS - 2; mu < DIMENSIONS; mu++) {
        prefetch_share<count, parts>(field + element(g, forward(g, next, mu), count), part);
        if (both) prefetch_share<count, parts>(field + element(g, backward(g, next, mu), count), part);
    }
}
SITE_FUNCTION void prefetch_link(const Geometry &g, const real *links, Site y, int mu) {
    prefetch_reals(links + element(g, y, DIMENSIONS * LINK_REALS) + (long)mu * LINK_REALS * LANES, LINK_REALS);
}
template <int parts> SITE_FUNCTION void prefetch_links(const Geometry &g, const real *links, Site x, bool both, int part) {
    prefetch_field<DIMENSIONS * LINK_REALS, parts>(g, links, x, both, part);
}
// The share of a step is asked for at once for SU(2), whose lines are few, and in as many pieces for the others.
#define PIECES(most) (COLORS == 2 ? 1 : (most))
// The share of a pair of directions in what staples of all planes take, among it U_nu(x + mu - nu), which belongs to none of
// those neighbours
SITE_FUNCTION void prefetch_staples(const Geometry &g, const real *links, Site x, int mu, int nu) {
    prefetch_links<DIMENSIONS * DIMENSIONS>(g, links, x, true, mu * DIMENSIONS + nu);
    if (mu == nu || mu < DIMENSIONS - 2 || nu < DIMENSIONS - 2) return;
    const Site corner = backward(g, forward(g, group_to_come(g, x), mu), nu);
    prefetch_link(g, links, corner, nu);
}
SITE_FUNCTION void store_link(const Geometry &g, real *links, Site x, int mu, const Link &u) {
    store_reals<LINK_REALS>(links + element(g, x, DIMENSIONS * LINK_REALS) + (long)mu * LINK_REALS * LANES, x, reals(u));
}
// Into a field that is written whole, and not read before the cache has seen much else: past it on large lattices.
template <int count> SITE_FUNCTION void write_at(const Geometry &g, real *to, Site x, const V *r) {
    if (VECTOR_LANES == 1 || g.prefetch < 2) return store_reals<count>(to, x, r);  // one lane has nothing to stream
    UNROLL for (int k = 0; k < count; k++) stream(to + k * LANES, x, r[k]);
}
template <int count> SITE_FUNCTION void write_reals(const Geometry &g, real *field, Site x, int mu, const V *r) {
    write_at<count>(g, field + element(g, x, DIMENSIONS * count) + (long)mu * count * LANES, x, r);
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
