// Stout layers of rectangles from elements of the algebra alone, as plaquette_layer.cc does those of plaquettes. The exponent of a
// link is q_mu(x) = -2 w_mu times what the gauge force of rectangles is a sum of (rectangles.h).
// Back, from f = -dS/dq: of a rectangle P = a1 a2 b c2^+ c1^+ d^+ at x, a and c in mu, b and d in nu, with w_mu f_mu or w_nu f_nu of
// its links brought to x, A1, A2, B, C1, C2, D, f q is -2 L.c(P), L = A1 + A2 + B - C1 - C2 - D. Its derivatives are -2 times
// c(P L + [A2 + B, P]) at a1, c(P L + [B, P]) brought along a1 at a2, c(P L) along a1 a2 at b, -c(L P) along d c1 at c2,
// -c(L P + [C2, P]) along d at c1, -c(L P + [C1 + C2, P]) at d. Three steps: the first makes these, the second what both links of a long
// side, mu at x + mu, get from either side, H_mu(x), the third brings all to the links.
#include "signatures.h"
#include "layer.h"

// kept at x in this order: what stays at its D links, H_mu(x), then of each rectangle c(P L), c(L P) and what c1 gets
#define TANGENTS (2 * DIMENSIONS + 3 * RECTANGLES)
#define SIDE(mu) (DIMENSIONS + (mu))
#define AT_END(pair) (2 * DIMENSIONS + (pair))
#define FAR_SECOND(pair) (2 * DIMENSIONS + RECTANGLES + (pair))
#define FAR_FIRST(pair) (2 * DIMENSIONS + 2 * RECTANGLES + (pair))

template <bool fetch> SITE_FUNCTION void rectangle_layer_at(const rectangle_layer_arguments &a, Site x) {
    V sum[DIMENSIONS][ALGEBRA] = {};
    add_rectangle_loops<fetch>(a, x, 1, a.add ? a.exponents : (const real *)0, sum);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const real w = (real)a.weights[mu];
        UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] *= w;
        put_exponent(a, x, mu, sum[mu]);
    }
}
SITE_KERNEL_AHEAD(rectangle_layer)

// ------------------------------------------------------------------------------------------------ the way back
template <class Arguments> SITE_FUNCTION real *tangent(const Arguments &a, Site x, int slot) {
    return const_cast<real *>(a.tangents) + window_element(a, x, TANGENTS) + slot * ALGEBRA * LANES;
}
// Links and forces of a lane group to come, and what will be written of it, between the products of a pair
template <bool fetch, int piece>
SITE_FUNCTION void prefetch_tangent_pair(const rectangle_tangents_arguments &a, Site x, int pair) {
    constexpr int pieces = PIECES(3), parts = pieces * RECTANGLES;
    if constexpr (fetch && piece < pieces) {
        prefetch_twice_ahead<DIMENSIONS * LINK_REALS, parts>(a.geometry, a.links, x, pair * pieces + piece);
        prefetch_twice_ahead<DIMENSIONS * ALGEBRA, parts>(a.geometry, a.exponent_force, x, pair * pieces + piece);
        prefetch_share<TANGENTS * ALGEBRA, parts, true>(tangent(a, group_to_come(a.geometry, x), 0), pair * pieces + piece);
    }
}
// what the rectangles of two links in mu share: these links, where they end, and A2
struct LongSide {
    Link two;
    Site end;
    V second[ALGEBRA];
};
// of one rectangle: its own of the slots, what stays at its links and what a2 gets
template <bool fetch>
SITE_FUNCTION void add_rectangle_tangents(const rectangle_tangents_arguments &a, Site x, int mu, int nu, const LongSide &side,
                                          V stays[DIMENSIONS][ALGEBRA], V *near_second) {
    const Geometry &g = a.geometry;
    const int pair = rectangle_slot(mu, nu);
    const Site x_nu = forward(g, x, nu), x_nu_mu = forward(g, x_nu, mu);
    const real w_mu = (real)a.weights[mu], w_nu = (real)a.weights[nu];
    Link p, q, r;
    const Link &d = view_link(g, a.links, x, nu, q);
    const Link first = multiply(d, view_link(g, a.links, x_nu, mu, p));
    prefetch_tangent_pair<fetch, 0>(a, x, pair);
    const Link upper = multiply(first, view_link(g, a.links, x_nu_mu, mu, p));
    prefetch_tangent_pair<fetch, 1>(a, x, pair);
    const Link loop = multiply_adjoint(multiply(side.two, view_link(g, a.links, side.end, nu, r)), upper);
    prefetch_tangent_pair<fetch, 2>(a, x, pair);
    V b[ALGEBRA], c1[ALGEBRA], c2[ALGEBRA], l[ALGEBRA], t[ALGEBRA], left[ALGEBRA], right[ALGEBRA], turn[ALGEBRA];
    exponent_force_along(a, side.two, side.end, nu, w_nu, b);
    exponent_force_along(a, d, x_nu, mu, w_mu, c1);
    exponent_force_along(a, first, x_nu_mu, mu, w_mu, c2);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        c1[k] += c2[k];
        l[k] = load(exponent_force_at(a, x, mu) + k * LANES, x) * w_mu + side.second[k] + b[k] - c1[k];
        l[k] -= rounded(load(exponent_force_at(a, x, nu) + k * LANES, x) * w_nu);
    }
    algebra_coefficients(loop, t);
    products_coefficients(loop, t, l, left, right);
    store_reals<ALGEBRA>(tangent(a, x, AT_END(pair)), x, left);
    store_reals<ALGEBRA>(tangent(a, x, FAR_SECOND(pair)), x, right);
    commutator_coefficients(t, b, turn);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        near_second[k] += left[k] - turn[k];
        b[k] += side.second[k];
    }
    commutator_coefficients(t, b, turn);
    UNROLL for (int k = 0; k < ALGEBRA; k++) stays[mu][k] += left[k] - turn[k];
    commutator_coefficients(t, c1, turn);
    UNROLL for (int k = 0; k < ALGEBRA; k++) stays[nu][k] += turn[k] - right[k];
    commutator_coefficients(t, c2, turn);
    UNROLL for (int k = 0; k < ALGEBRA; k++) turn[k] -= right[k];
    store_reals<ALGEBRA>(tangent(a, x, FAR_FIRST(pair)), x, turn);
}
template <bool fetch> SITE_FUNCTION void rectangle_tangents_at(const rectangle_tangents_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    V stays[DIMENSIONS][ALGEBRA] = {};
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link p, q;
        LongSide side;
        const Link &u = view_link(g, a.links, x, mu, p);
        side.two = multiply(u, view_link(g, a.links, x_mu, mu, q));
        side.end = forward(g, x_mu, mu);
        exponent_force_along(a, u, x_mu, mu, (real)a.weights[mu], side.second);
        V near_second[ALGEBRA] = {};
        UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++)
            if (nu != mu) add_rectangle_tangents<fetch>(a, x, mu, nu, side, stays, near_second);
        store_reals<ALGEBRA>(tangent(a, x, SIDE(mu)), x, near_second);
    }
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) store_reals<ALGEBRA>(tangent(a, x, mu), x, stays[mu]);
}
SITE_KERNEL_AHEAD(rectangle_tangents)

// What a lane group to come reads and writes of sides, a piece for each pair
SITE_FUNCTION void prefetch_tangent_sides(const rectangle_tangent_sides_arguments &a, Site x, int mu, int nu) {
    const int piece = pair_piece(mu, nu);
    if (piece >= PAIRS) return;
    const Site next = group_to_come(a.geometry, x), below = backward(a.geometry, next, nu);
    prefetch_share<DIMENSIONS * ALGEBRA, DIMENSIONS * PAIRS, true>(tangent(a, next, SIDE(0)), nu * PAIRS + piece);
    prefetch_behind(a.geometry, a.links, below, mu, nu, tangent(a, below, 0),
                    [nu](int rho) { return FAR_SECOND(rectangle_slot(rho, nu)); });
}
// H_mu(x): what a2 gets and, brought along U_nu(x - nu), what c2 gets there
template <bool fetch> SITE_FUNCTION void rectangle_tangent_sides_at(const rectangle_tangent_sides_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    V sum[DIMENSIONS][ALGEBRA];
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) load_reals<ALGEBRA>(g, tangent(a, x, SIDE(mu)), x, sum[mu]);
    UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            if constexpr (fetch) prefetch_tangent_sides(a, x, mu, nu);
            add_brought(g, u, tangent(a, below, FAR_SECOND(rectangle_slot(mu, nu))), below, -1, sum[mu]);
        }
    }
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) store_reals<ALGEBRA>(tangent(a, x, SIDE(mu)), x, sum[mu]);
}
SITE_KERNEL_AHEAD(rectangle_tangent_sides)

// What the links of a lane group to come get, a piece for each pair
SITE_FUNCTION void prefetch_tangent_ends(const rectangle_tangent_force_arguments &a, Site x, int mu, int nu) {
    const Geometry &g = a.geometry;
    const int piece = pair_piece(mu, nu), part = nu * PAIRS + piece;
    if (piece >= PAIRS) return;
    const Site next = group_to_come(g, x), below = backward(g, next, nu), start = backward(g, below, nu);
    prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS * PAIRS>(g, a.force, x, part);
    prefetch_share<DIMENSIONS * ALGEBRA, DIMENSIONS * PAIRS>(tangent(a, next, 0), part);
    if (nu >= DIMENSIONS - 2) prefetch_share<ALGEBRA, PAIRS>(tangent(a, below, SIDE(nu)), piece);
    prefetch_behind(g, a.links, below, mu, nu, tangent(a, below, 0),
                    [nu](int rho) { return FAR_FIRST(rectangle_slot(rho, nu)); });
    prefetch_behind(g, a.links, start, mu, nu, tangent(a, start, 0),
                    [nu](int rho) { return AT_END(rectangle_slot(nu, rho)); });
}
// force_mu(x) += factor times what stays at a link or is brought to it
template <bool fetch> SITE_FUNCTION void rectangle_tangent_force_at(const rectangle_tangent_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    V sum[DIMENSIONS][ALGEBRA];
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) load_reals<ALGEBRA>(g, tangent(a, x, mu), x, sum[mu]);
    UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu), start = backward(g, below, nu);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        add_brought(g, u, tangent(a, below, SIDE(nu)), below, 1, sum[nu]);
        const Link two = double_link(g, a.links, start, nu);
        UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            if constexpr (fetch) prefetch_tangent_ends(a, x, mu, nu);
            add_brought(g, u, tangent(a, below, FAR_FIRST(rectangle_slot(mu, nu))), below, 1, sum[mu]);
            add_brought(g, two, tangent(a, start, AT_END(rectangle_slot(nu, mu))), start, 1, sum[mu]);
        }
    }
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) put_algebra(g, a.force, x, mu, sum[mu], a.factor, true);
}
SITE_KERNEL_AHEAD(rectangle_tangent_force)
