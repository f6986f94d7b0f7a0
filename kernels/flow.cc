// Gradient flow: one stage of its Runge-Kutta scheme (docs/conventions.md, "Gradient flow"), force, sum of forces and update of the
// links in one pass. Links are read from one field and written to another, as neighbours still need the old ones.
#include "signatures.h"
#include "rectangles.h"

// Z_mu = -sum[mu] is the force; A <- fresh Z + kept A; U' = exp(scale step A) U. `before` is A or null, `after` where it goes or null.
template <class Arguments> SITE_FUNCTION void flow_links(const Arguments &a, Site x, const V sum[DIMENSIONS][ALGEBRA]) {
    const Geometry &g = a.geometry;
    const long at = element(g, x, DIMENSIONS * ALGEBRA);
    const real step = (real)*a.step * a.scale;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        V p[ALGEBRA];
        UNROLL for (int k = 0; k < ALGEBRA; k++) {
            const long place = at + (mu * ALGEBRA + k) * LANES;
            p[k] = sum[mu][k] * -a.fresh;
            if (a.before) p[k] += load(a.before + place, x) * a.kept;
            if (a.after) store(a.after + place, x, p[k]);
            p[k] *= step;
        }
        Link u;
        write_link(g, a.moved, x, mu, multiply(exponential(p), view_link(g, a.links, x, mu, u)));
    }
}

template <bool fetch> SITE_FUNCTION void wilson_flow_at(const wilson_flow_arguments &a, Site x) {
    V sum[DIMENSIONS][ALGEBRA] = {};
    add_plaquette_loops<fetch>(a, x, a.before, sum);
    flow_links(a, x, sum);
}
SITE_KERNEL_AHEAD(wilson_flow)

template <bool fetch> SITE_FUNCTION void symanzik_flow_at(const symanzik_flow_arguments &a, Site x) {
    V sum[DIMENSIONS][ALGEBRA] = {};
    add_plaquette_loops<fetch>(a, x, a.before, sum);
    UNROLL for (int k = 0; k < DIMENSIONS * ALGEBRA; k++) sum[k / ALGEBRA][k % ALGEBRA] *= a.c0;
    add_rectangle_loops<fetch>(a, x, a.c1, 0, sum);
    flow_links(a, x, sum);
}
SITE_KERNEL_AHEAD(symanzik_flow)

// One of PIECES(3) for each link that a lane group to come has: links and forces there, and beside it in the slowest directions
template <int piece> SITE_FUNCTION void prefetch_zeuthen(const zeuthen_flow_arguments &a, Site x, int mu) {
    constexpr int pieces = PIECES(3), links = DIMENSIONS * LINK_REALS, forces = DIMENSIONS * ALGEBRA;
    if (piece >= pieces) return;
    const Geometry &g = a.geometry;
    const int part = mu * pieces + piece;
    prefetch_own<links, DIMENSIONS * pieces>(g, a.links, x, part);
    prefetch_own<forces, DIMENSIONS * pieces>(g, a.force, x, part);
    if (a.before) prefetch_own<forces, DIMENSIONS * pieces>(g, a.before, x, part);
    if (mu < DIMENSIONS - 2) return;
    const Site ahead = forward(g, group_to_come(g, x), mu), behind = backward(g, group_to_come(g, x), mu);
    prefetch_share<ALGEBRA, pieces>(a.force + element(g, ahead, forces) + mu * ALGEBRA * LANES, piece);
    prefetch_share<ALGEBRA, pieces>(a.force + element(g, behind, forces) + mu * ALGEBRA * LANES, piece);
    prefetch_share<LINK_REALS, pieces>(a.links + element(g, behind, links) + (long)mu * LINK_REALS * LANES, piece);
}
// sum = (1 + D* D / 12) force with the covariant second difference of f_mu along mu,
// D* D f(x) = U f(x + mu) U^+ + U(x - mu)^+ f(x - mu) U(x - mu) - 2 f(x)
SITE_FUNCTION void zeuthen_flow_site(const zeuthen_flow_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    V sum[DIMENSIONS][ALGEBRA];
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site ahead = forward(g, x, mu), behind = backward(g, x, mu);
        const long place = mu * ALGEBRA * LANES;
        Link scratch;
        V c[ALGEBRA], up[ALGEBRA], down[ALGEBRA];
        if (fetches_ahead(g)) prefetch_zeuthen<0>(a, x, mu);
        load_reals<ALGEBRA>(g, a.force + element(g, ahead, DIMENSIONS * ALGEBRA) + place, ahead, c);
        transported_coefficients(adjoint(view_link(g, a.links, x, mu, scratch)), c, up);
        if (fetches_ahead(g)) prefetch_zeuthen<1>(a, x, mu);
        load_reals<ALGEBRA>(g, a.force + element(g, behind, DIMENSIONS * ALGEBRA) + place, behind, c);
        transported_coefficients(view_link(g, a.links, behind, mu, scratch), c, down);
        if (fetches_ahead(g)) prefetch_zeuthen<2>(a, x, mu);
        load_reals<ALGEBRA>(g, a.force + element(g, x, DIMENSIONS * ALGEBRA) + place, x, c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] = c[k] * real(5.0 / 6) + (up[k] + down[k]) * real(1.0 / 12);
    }
    flow_links(a, x, sum);
}
SITE_KERNEL(zeuthen_flow)

// Distance to the embedded scheme of second order, V' = exp(step (-Z_0 + 2 Z_1)) U, in terms of the A of the first two stages:
// the sum over links of d^8, d^2 the sum of |V - V'|^2 over matrix elements. d^8 stands for the largest.
SITE_FUNCTION void flow_distance_site(const flow_distance_arguments &a, Site x, V *sums) {
    const Geometry &g = a.geometry;
    const real step = (real)*a.step;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const long at = element(g, x, DIMENSIONS * ALGEBRA) + mu * ALGEBRA * LANES;
        V p[ALGEBRA];
        UNROLL for (int k = 0; k < ALGEBRA; k++)
            p[k] = (load(a.second + at + k * LANES, x) * real(9.0 / 4) + load(a.first + at + k * LANES, x) * real(1.0 / 16)) * step;
        Link u, v;
        const Link other = multiply(exponential(p), view_link(g, a.links, x, mu, u));
        const Link &moved = view_link(g, a.moved, x, mu, v);
        V square = {};
        UNROLL for (int k = 0; k < LINK_REALS; k++) {
            const V difference = reals(other)[k] - reals(moved)[k];
            square += difference * difference;
        }
        square *= real(COLORS == 2 ? 2 : 1);  // a quaternion is half of its matrix
        square *= square;
        sums[0] += square * square;
    }
}
GAUGE_REDUCTION(flow_distance, 1)
