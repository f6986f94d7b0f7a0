// Stout layers of plaquettes from elements of the algebra alone (docs/conventions.md, "Networks"). The exponent of a link is
// q_mu(x) = -2 sum_nu w_{mu nu} [c(P_{mu nu}(x)) - c(U_nu^+ P_{mu nu}(x - nu) U_nu)], U_nu = U_nu(x - nu), as in the gauge force.
// Back, from f = -dS/dq (lambda in the conventions): of a plaquette P = U_1 U_2 U_3^+ U_4^+ at x, with what its links have brought to x,
// A = w_{mu nu} f_mu(x), B = w_{nu mu} U_1 f_nu(x + mu) U_1^+, C = w_{mu nu} U_4 f_mu(x + nu) U_4^+, D = w_{nu mu} f_nu(x),
// f q is -2 L.c(P), L = A + B - C - D. Its derivatives are -2 times c(P L + [B, P]) at the first link, c(P L), brought back along
// U_1, at the second, -c(L P) along U_4 at the third, -c(L P + [C, P]) at the fourth. With P = H + T, H Hermitian, only
// (H L + L H) / 2 and commutators with T are left of them. Two steps: the first makes what the second brings to the links.
#include "signatures.h"
#include "layer.h"

// kept at x in this order: sums over planes of what stays at its D links, then c(P L) of each plane, then c(L P)
#define TANGENTS (DIMENSIONS + 2 * PLANES)

template <bool fetch> SITE_FUNCTION void plaquette_layer_at(const plaquette_layer_arguments &a, Site x) {
    V sum[DIMENSIONS][ALGEBRA] = {};
    add_plaquette_loops<fetch>(a, x, a.add ? a.exponents : (const real *)0, sum, a.weights);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) put_exponent(a, x, mu, sum[mu]);
}
SITE_KERNEL_AHEAD(plaquette_layer)

// Links and forces of a lane group to come, and what will be written of it, between the products of a plane
template <bool fetch, int piece>
SITE_FUNCTION void prefetch_tangent_plane(const plaquette_tangents_arguments &a, Site x, int plane) {
    constexpr int pieces = PIECES(3), parts = pieces * PLANES;
    prefetch_plane<fetch, piece>(a.geometry, a.links, x, plane);
    if constexpr (fetch && piece < pieces) {
        const int part = plane * pieces + piece;
        prefetch_field<DIMENSIONS * ALGEBRA, parts>(a.geometry, a.exponent_force, x, false, part);
        const real *out = a.tangents + window_element(a, group_to_come(a.geometry, x), TANGENTS);
        if (COLORS > 2) prefetch_share<TANGENTS * ALGEBRA, parts, true>(out, part);  // those of SU(2) stay in the cache
    }
}
// of one plane, with the links U_1 and U_4: c(P L) and c(L P) to `out`, what stays at their links to sums
template <bool fetch>
SITE_FUNCTION void add_plane_tangents(const plaquette_tangents_arguments &a, Site x, Site x_mu, int mu, int nu, const Link &u_mu,
                                      const Link &u_nu, real *out, V stays[DIMENSIONS][ALGEBRA]) {
    const Geometry &g = a.geometry;
    const Site x_nu = forward(g, x, nu);
    const real w_mu = (real)a.weights[mu * DIMENSIONS + nu], w_nu = (real)a.weights[nu * DIMENSIONS + mu];
    const real *f = a.exponent_force + element(g, x, DIMENSIONS * ALGEBRA);
    Link ahead, beside;
    prefetch_tangent_plane<fetch, 0>(a, x, plane_of(mu, nu));
    const Link lower = multiply(u_mu, view_link(g, a.links, x_mu, nu, ahead));
    prefetch_tangent_plane<fetch, 1>(a, x, plane_of(mu, nu));
    const Link upper = multiply(u_nu, view_link(g, a.links, x_nu, mu, beside));
    prefetch_tangent_plane<fetch, 2>(a, x, plane_of(mu, nu));
    const Link p = multiply_adjoint(lower, upper);
    V b[ALGEBRA], c[ALGEBRA], l[ALGEBRA], t[ALGEBRA], left[ALGEBRA], right[ALGEBRA], t_b[ALGEBRA], t_c[ALGEBRA];
    exponent_force_along(a, u_mu, x_mu, nu, w_nu, b);
    exponent_force_along(a, u_nu, x_nu, mu, w_mu, c);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        const V a_k = rounded(load(f + (mu * ALGEBRA + k) * LANES, x) * w_mu);
        l[k] = a_k - load(f + (nu * ALGEBRA + k) * LANES, x) * w_nu + b[k] - c[k];
    }
    algebra_coefficients(p, t);
    products_coefficients(p, t, l, left, right);
    commutator_coefficients(t, b, t_b);
    commutator_coefficients(t, c, t_c);
    store_reals<ALGEBRA>(out, x, left);
    store_reals<ALGEBRA>(out + PLANES * ALGEBRA * LANES, x, right);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        stays[mu][k] += left[k] - t_b[k];
        stays[nu][k] += t_c[k] - right[k];
    }
}
template <bool fetch> SITE_FUNCTION void plaquette_tangents_at(const plaquette_tangents_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *own = a.tangents + window_element(a, x, TANGENTS), *out = own + DIMENSIONS * ALGEBRA * LANES;
    V stays[DIMENSIONS][ALGEBRA] = {};
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link own_mu, own_nu;
        const Link &u_mu = view_link(g, a.links, x, mu, own_mu);
        UNROLL_DIRECTIONS for (int nu = mu + 1; nu < DIMENSIONS; nu++, out += ALGEBRA * LANES)
            add_plane_tangents<fetch>(a, x, x_mu, mu, nu, u_mu, view_link(g, a.links, x, nu, own_nu), out, stays);
    }
    UNROLL for (int k = 0; k < DIMENSIONS * ALGEBRA; k++) store(own + k * LANES, x, stays[k / ALGEBRA][k % ALGEBRA]);
}
SITE_KERNEL_AHEAD(plaquette_tangents)

// where c(P L) or c(L P) of a plane is that the link mu gets from behind in nu
SITE_FUNCTION int tangent_slot(int mu, int nu) { return DIMENSIONS + plane_of(mu, nu) + (mu < nu ? PLANES : 0); }
// What a lane group to come reads, a piece for each pair
SITE_FUNCTION void prefetch_tangents(const plaquette_tangent_force_arguments &a, Site x, int mu, int nu) {
    const Geometry &g = a.geometry;
    const int piece = pair_piece(mu, nu), part = nu * PAIRS + piece;
    if (piece >= PAIRS) return;
    const Site next = group_to_come(g, x), below = backward(g, next, nu);
    prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS * PAIRS>(g, a.force, x, part);
    prefetch_share<TANGENTS * ALGEBRA, DIMENSIONS * PAIRS>(a.tangents + window_element(a, next, TANGENTS), part);
    prefetch_behind(g, a.links, below, mu, nu, a.tangents + window_element(a, below, TANGENTS),
                    [nu](int rho) { return tangent_slot(rho, nu); });
}
// force_mu(x) += factor times what stays at a link or is brought to it
template <bool fetch> SITE_FUNCTION void plaquette_tangent_force_at(const plaquette_tangent_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const real *own = a.tangents + window_element(a, x, TANGENTS);
    V sum[DIMENSIONS][ALGEBRA];
    UNROLL for (int k = 0; k < DIMENSIONS * ALGEBRA; k++) sum[k / ALGEBRA][k % ALGEBRA] = load(own + k * LANES, x);
    UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu);
        const real *there = a.tangents + window_element(a, below, TANGENTS);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            if constexpr (fetch) prefetch_tangents(a, x, mu, nu);
            const real sign = mu < nu ? -1 : 1;
            add_brought(g, u, there + (long)tangent_slot(mu, nu) * ALGEBRA * LANES, below, sign, sum[mu]);
        }
    }
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) put_algebra(g, a.force, x, mu, sum[mu], a.factor, true);
}
SITE_KERNEL_AHEAD(plaquette_tangent_force)
