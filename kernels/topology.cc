// Closed loops of one plane, as matrices at each site, and the field strength from them: for charges of loops larger than a
// plaquette (docs/conventions.md, "Gradient flow"). All reach at most two sites, so that loops of any size may cross ranks.
//
// Kernels go through the lattice in the order of a table, (parity, place), of which a part has whole planes: what is made on the
// way is kept in a window for these alone, at positions[parity, group].
#include "signatures.h"
#include "lattice.h"

template <class Arguments> SITE_FUNCTION long kept_element(const Arguments &a, Site x, int count) {
    const long position = a.positions[(long)x.parity * a.geometry.stride + x.group];
    return ((long)x.parity * a.window + position) * count * LANES;
}
template <class Arguments> SITE_FUNCTION Link load_matrix(const Arguments &a, const real *field, Site x) {
    Link m;
    load_reals<LINK_REALS>(a.geometry, field + kept_element(a, x, LINK_REALS), x, reals(m));
    return m;
}

template <class Arguments> SITE_FUNCTION Site site_at(const Arguments &a, Site place) {
    Site x = place;
    x.group = a.order[(long)place.parity * a.geometry.groups + place.group];
    return x;
}
// Fetch ahead, for a lane group to come: a link, and what a field has there or beside it.
template <class Arguments> SITE_FUNCTION bool site_to_come(const Arguments &a, Site place, Site &next) {
    if (!a.geometry.prefetch || place.group + PREFETCH_DISTANCE >= a.geometry.groups) return false;
    next = site_at(a, Site{place.parity, place.group + PREFETCH_DISTANCE, 0});
    return true;
}

// W(x) = P_{mu nu}(x)
SITE_FUNCTION void plane_plaquettes_site(const plane_plaquettes_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place);
    Site next;
    if (site_to_come(a, place, next)) {
        prefetch_link(g, a.links, next, a.mu);
        prefetch_link(g, a.links, next, a.nu);
        prefetch_link(g, a.links, forward(g, next, a.mu), a.nu);
        prefetch_link(g, a.links, forward(g, next, a.nu), a.mu);
    }
    Link p, q;
    const Link lower = multiply(view_link(g, a.links, x, a.mu, p), view_link(g, a.links, forward(g, x, a.mu), a.nu, q));
    const Link upper = multiply(view_link(g, a.links, x, a.nu, p), view_link(g, a.links, forward(g, x, a.nu), a.mu, q));
    const Link w = multiply_adjoint(lower, upper);
    store_reals<LINK_REALS>(a.out + kept_element(a, x, LINK_REALS), x, reals(w));
}
SITE_KERNEL(plane_plaquettes)

// A loop from two that have a line in common: the one of `strip` at x and that of `loops` at x + direction, which lies ahead, so it
// is gone round first (direction mu), or above, so it is gone round last.
SITE_FUNCTION void joined_loops_site(const joined_loops_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place);
    Site next;
    if (site_to_come(a, place, next)) {
        prefetch_link(g, a.links, next, a.direction);
        prefetch_reals(a.strip + kept_element(a, next, LINK_REALS), LINK_REALS);
        prefetch_reals(a.loops + kept_element(a, forward(g, next, a.direction), LINK_REALS), LINK_REALS);
    }
    Link p;
    const Link &u = view_link(g, a.links, x, a.direction, p);
    const Link there = multiply_adjoint(multiply(u, load_matrix(a, a.loops, forward(g, x, a.direction))), u);
    const Link strip = load_matrix(a, a.strip, x), w = a.above ? multiply(strip, there) : multiply(there, strip);
    store_reals<LINK_REALS>(a.out + kept_element(a, x, LINK_REALS), x, reals(w));
}
SITE_KERNEL(joined_loops)

// c_a of a matrix field, or what an algebra field holds
SITE_FUNCTION void load_coefficients(const carried_loops_arguments &a, const real *field, int matrices, Site x, V *c) {
    if (matrices)
        algebra_coefficients(load_matrix(a, field, x), c);
    else
        load_reals<ALGEBRA>(a.geometry, field + kept_element(a, x, ALGEBRA), x, c);
}

// out(x) <- (add: out(x) +) base(x) + from(x - distance mu), brought to x along the links in between; distance 1 or 2. `from` and
// `base`, which may be null, are matrix fields, of which c_a is taken, or algebra fields. whole: `out` has the whole lattice.
SITE_FUNCTION void carried_loops_site(const carried_loops_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place);
    const Site behind = backward(g, x, a.mu), start = a.distance == 2 ? backward(g, behind, a.mu) : behind;
    Site next;
    if (site_to_come(a, place, next)) {
        const int count = a.matrices ? LINK_REALS : ALGEBRA;
        Site from = backward(g, next, a.mu);
        prefetch_link(g, a.links, from, a.mu);
        if (a.distance == 2) {
            from = backward(g, from, a.mu);
            prefetch_link(g, a.links, from, a.mu);
        }
        prefetch_reals(a.from + kept_element(a, from, count), count);
    }
    real *out = a.out + (a.whole ? element(g, x, ALGEBRA) : kept_element(a, x, ALGEBRA));
    V c[ALGEBRA], r[ALGEBRA];
    Link p;
    load_coefficients(a, a.from, a.matrices, start, c);
    if (a.distance == 2) {
        transported_coefficients(view_link(g, a.links, start, a.mu, p), c, r);
        UNROLL for (int k = 0; k < ALGEBRA; k++) c[k] = r[k];
    }
    transported_coefficients(view_link(g, a.links, behind, a.mu, p), c, r);
    if (a.base) {
        load_coefficients(a, a.base, a.base_matrices, x, c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) r[k] += c[k];
    }
    if (a.add)
        UNROLL for (int k = 0; k < ALGEBRA; k++) r[k] += load(out + k * LANES, x);
    store_reals<ALGEBRA>(out, x, r);
}
SITE_KERNEL(carried_loops)
