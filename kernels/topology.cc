// The charge of loops up to 3 x 3 (docs/conventions.md, "Gradient flow"), plane by plane: lines of two and three links, the
// coefficients of each loop once, brought from both ends of its sides in nu to one, then of those in mu.
//
// Kernels go through the lattice in the order of a table, (parity, place), of which a part has whole planes of mu and nu: what is
// made on the way is kept in a window for these alone, at positions[parity, group]. Lines of three links are kept at their second
// site, and so are loops with such sides: then no kernel looks further than two steps, and loops may cross ranks of two sites.
#include "signatures.h"
#include "lattice.h"

// LINES, LOOPS and SIZES are constants of signatures.py; loops of sizes (m, n) follow each other, n fastest.
SITE_FUNCTION bool has_loop(int m, int n) { return m + n != 5; }
SITE_FUNCTION int loop_slot(int m, int n) { return m == 1 ? n - 1 : m == 2 ? n + 2 : 5 + n / 2; }

// A site with the place of its links, its lines, and its loops in one of the fields of them
struct Place {
    Site site;
    const real *links, *lines, *loops;
};
template <class Arguments> SITE_FUNCTION long kept_at(const Arguments &a, Site x) {
    return ((long)x.parity * a.window + a.positions[(long)x.parity * a.geometry.stride + x.group]) * LANES;
}
template <class Arguments> SITE_FUNCTION Place place_of(const Arguments &a, Site x, const real *loops = 0) {
    const long kept = kept_at(a, x);
    return Place{x, a.links + element(a.geometry, x, DIMENSIONS * LINK_REALS), a.lines + kept * (LINES * LINK_REALS),
                 loops + kept * (LOOPS * ALGEBRA)};
}
// Where a line of so many links in a direction of the plane (0: mu, 1: nu) is kept
template <class Arguments> SITE_FUNCTION const real *line_at(const Arguments &a, const Place &x, int side, int length) {
    if (length == 1) return x.links + (long)(side ? a.nu : a.mu) * LINK_REALS * LANES;
    return x.lines + (2 * side + length - 2) * LINK_REALS * LANES;
}
template <class Arguments>
SITE_FUNCTION const Link &view_line(const Arguments &a, const Place &x, int side, int length, Link &scratch) {
    return view_matrix(a.geometry, line_at(a, x, side, length), x.site, scratch);
}
template <class Arguments>
SITE_FUNCTION const Link &view_line(const Arguments &a, Site x, int side, int length, Link &scratch) {
    return view_line(a, place_of(a, x), side, length, scratch);
}

template <class Arguments> SITE_FUNCTION Site site_at(const Arguments &a, Site place) {
    Site x = place;
    x.group = a.order[(long)place.parity * a.geometry.groups + place.group];
    return x;
}
template <class Arguments> SITE_FUNCTION Site site_to_come(const Arguments &a, Site place) {
    return site_at(a, group_to_come(a.geometry, place));
}

// Links come from memory out of order here, with little to do meanwhile: they are asked for long before.
#define LINES_DISTANCE 12

template <bool fetch> SITE_FUNCTION void plane_lines_at(const plane_lines_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place), next = fetch ? site_at(a, group_to_come(g, place, LINES_DISTANCE)) : x;
    const Place to_come = place_of(a, next);
    real *out = a.lines + kept_at(a, x) * (LINES * LINK_REALS);
    UNROLL_DIRECTIONS for (int side = 0; side < 2; side++) {
        const int mu = side ? a.nu : a.mu;
        Link p, q;
        if constexpr (fetch) prefetch_share<LINK_REALS, 2>(line_at(a, to_come, side, 1), 0);
        const Link two = multiply(view_link(g, a.links, x, mu, p), view_link(g, a.links, forward(g, x, mu), mu, q));
        store_reals<LINK_REALS>(out, x, reals(two));
        out += LINK_REALS * LANES;
        if constexpr (fetch) prefetch_share<LINK_REALS, 2>(line_at(a, to_come, side, 1), 1);
        const Link three = multiply(view_link(g, a.links, backward(g, x, mu), mu, p), two);
        store_reals<LINK_REALS>(out, x, reals(three));
        out += LINK_REALS * LANES;
    }
}
SITE_KERNEL_AHEAD(plane_lines)

// A share of the lines that loops of a lane group to come see first: those in mu two steps on in nu
#define PLANE_SHARES (LOOPS * PIECES(3))
template <bool fetch, int piece>
SITE_FUNCTION void prefetch_loop_lines(const plane_loops_arguments &a, const Place &next, const Place &above, int slot) {
    if constexpr (fetch && piece < PIECES(3)) {
        UNROLL for (int length = 1; length <= 3; length++) {
            prefetch_share<LINK_REALS, PLANE_SHARES>(line_at(a, above, 0, length), slot * PIECES(3) + piece);
            prefetch_share<LINK_REALS, PLANE_SHARES>(line_at(a, next, 1, length), slot * PIECES(3) + piece);
        }
    }
}

// c_a of the loops that begin at x, or with sides of three links one step behind
template <bool fetch> SITE_FUNCTION void plane_loops_at(const plane_loops_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place), left = backward(g, x, a.mu), down = backward(g, x, a.nu);
    const Site right = forward(g, x, a.mu), farther = forward(g, right, a.mu), up = forward(g, x, a.nu), above = forward(g, up, a.nu);
    const Site next = fetch ? site_to_come(a, place) : x;
    const Place own = place_of(a, next), higher = fetch ? place_of(a, forward(g, forward(g, next, a.nu), a.nu)) : own;
    real *out = a.loops + kept_at(a, x) * (LOOPS * ALGEBRA);
    UNROLL_DIRECTIONS for (int m = 1; m <= 3; m++)
        UNROLL_DIRECTIONS for (int n = 1; n <= 3; n++) {
            if (!has_loop(m, n)) continue;
            const int slot = loop_slot(m, n);
            Link p, q;
            V c[ALGEBRA];
            prefetch_loop_lines<fetch, 0>(a, own, higher, slot);
            const Link lower = multiply(view_line(a, n == 3 ? down : x, 0, m, p), view_line(a, m == 1 ? right : farther, 1, n, q));
            prefetch_loop_lines<fetch, 1>(a, own, higher, slot);
            const Link upper = multiply(view_line(a, m == 3 ? left : x, 1, n, p), view_line(a, n == 1 ? up : above, 0, m, q));
            prefetch_loop_lines<fetch, 2>(a, own, higher, slot);
            algebra_coefficients(multiply_adjoint(lower, upper), c);
            store_reals<ALGEBRA>(out + slot * ALGEBRA * LANES, x, c);
        }
}
SITE_KERNEL_AHEAD(plane_loops)

// x, and what lies beside it in one direction of the plane
struct Row {
    Place here, ahead, behind[2];
};
template <class Arguments> SITE_FUNCTION Row row_of(const Arguments &a, Site x, int mu, const real *loops) {
    const Geometry &g = a.geometry;
    const Site behind = backward(g, x, mu);
    return Row{place_of(a, x, loops), place_of(a, forward(g, x, mu), loops),
               {place_of(a, behind, loops), place_of(a, backward(g, behind, mu), loops)}};
}
// sum_a += c_a of loops whose sides in this direction begin at x, plus c_a of those whose sides end there, along these sides;
// sides: the row in which they are, where loops are kept at another one
template <class Arguments>
SITE_FUNCTION void add_both_ends(const Arguments &a, int slot, int side, int length, const Row &row, const Row &sides, V *sum) {
    const Geometry &g = a.geometry;
    const Place &from = row.behind[length > 1], &to = length == 3 ? row.ahead : row.here;
    V c[ALGEBRA], r[ALGEBRA];
    Link scratch;
    load_reals<ALGEBRA>(g, from.loops + slot * ALGEBRA * LANES, from.site, c);
    transported_coefficients(view_line(a, sides.behind[length > 1], side, length, scratch), c, r);
    load_reals<ALGEBRA>(g, to.loops + slot * ALGEBRA * LANES, to.site, c);
    UNROLL for (int k = 0; k < ALGEBRA; k++) sum[k] += c[k] + r[k];
}
// A share of what both ends of loops of a lane group to come take
template <class Arguments>
SITE_FUNCTION void prefetch_both_ends(const Arguments &a, int slot, int side, const Place &there, const Place &from) {
    prefetch_share<LOOPS * ALGEBRA, LOOPS>(there.loops, slot);
    UNROLL for (int length = 1; length <= 3; length++) prefetch_share<LINK_REALS, LOOPS>(line_at(a, from, side, length), slot);
}

template <bool fetch> SITE_FUNCTION void loop_sides_at(const loop_sides_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place), next = fetch ? site_to_come(a, place) : x;
    const Place ahead = place_of(a, fetch ? forward(g, next, a.nu) : x, a.loops);
    const Place below = place_of(a, fetch ? backward(g, next, a.nu) : x);
    const Row row = row_of(a, x, a.nu, a.loops), left = row_of(a, backward(g, x, a.mu), a.nu, a.loops);
    real *out = a.sides + kept_at(a, x) * (LOOPS * ALGEBRA);
    UNROLL_DIRECTIONS for (int m = 1; m <= 3; m++)
        UNROLL_DIRECTIONS for (int n = 1; n <= 3; n++) {
            if (!has_loop(m, n)) continue;
            const int slot = loop_slot(m, n);
            V sum[ALGEBRA] = {};
            if constexpr (fetch) prefetch_both_ends(a, slot, 1, ahead, below);
            add_both_ends(a, slot, 1, n, row, m == 3 ? left : row, sum);
            store_reals<ALGEBRA>(out + slot * ALGEBRA * LANES, x, sum);
        }
}
SITE_KERNEL_AHEAD(loop_sides)

// Sum over the corners that x can be, of the loops m x n and n x m
template <bool fetch, class Arguments>
SITE_FUNCTION void loop_strength(const Arguments &a, const Row &row, const Place &next, int m, int n, V *sum) {
    if constexpr (fetch) prefetch_both_ends(a, loop_slot(m, n), 0, next, next);
    add_both_ends(a, loop_slot(m, n), 0, m, row, row, sum);
    if (m == n) return;
    if constexpr (fetch) prefetch_both_ends(a, loop_slot(n, m), 0, next, next);
    add_both_ends(a, loop_slot(n, m), 0, n, row, row, sum);
}

template <bool fetch> SITE_FUNCTION void loop_strengths_at(const loop_strengths_arguments &a, Site place) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place);
    const Place next = place_of(a, fetch ? site_to_come(a, place) : x, a.sides);
    const Row row = row_of(a, x, a.mu, a.sides);
    real *out = a.strengths + element(g, x, SIZES * ALGEBRA);
    UNROLL_DIRECTIONS for (int m = 1; m <= 3; m++)
        UNROLL_DIRECTIONS for (int n = m; n <= 3; n++) {
            if (!has_loop(m, n)) continue;
            V sum[ALGEBRA] = {};
            loop_strength<fetch>(a, row, next, m, n, sum);
            write_at<ALGEBRA>(g, out, x, sum);
            out += ALGEBRA * LANES;
        }
}
SITE_KERNEL_AHEAD(loop_strengths)

// sum over sizes of weights[size] times the product with the strengths of the other plane
template <bool fetch> SITE_FUNCTION void loop_charges_at(const loop_charges_arguments &a, Site place, V *sums) {
    const Geometry &g = a.geometry;
    const Site x = site_at(a, place);
    const Place next = place_of(a, fetch ? site_to_come(a, place) : x, a.sides);
    const Row row = row_of(a, x, a.mu, a.sides);
    const real *other = a.strengths + element(g, x, SIZES * ALGEBRA), *ahead = a.strengths + element(g, next.site, SIZES * ALGEBRA);
    const double *weight = a.weights;
    UNROLL_DIRECTIONS for (int m = 1; m <= 3; m++)
        UNROLL_DIRECTIONS for (int n = m; n <= 3; n++) {
            if (!has_loop(m, n)) continue;
            V sum[ALGEBRA] = {}, product = {};
            if constexpr (fetch) prefetch_reals(ahead, ALGEBRA);
            loop_strength<fetch>(a, row, next, m, n, sum);
            UNROLL for (int k = 0; k < ALGEBRA; k++) product += sum[k] * load(other + k * LANES, x);
            sums[0] += product * (real)*weight++;
            other += ALGEBRA * LANES;
            ahead += ALGEBRA * LANES;
        }
}
REDUCTION_KERNEL_AHEAD(loop_charges, 1)
