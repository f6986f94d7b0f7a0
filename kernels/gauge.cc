// Plaquettes, rectangles and the force of gauge actions made of them.
#include "signatures.h"
#include "rectangles.h"

// ------------------------------------------------------------------------------------------------ observables
template <bool fetch> SITE_FUNCTION void plaquette_sum_at(const plaquette_sum_arguments &a, Site x, V *sums) {
    const Geometry &g = a.geometry;
    int plane = 0;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link own, other, ahead, beside;
        const Link &u_mu = view_link(g, a.links, x, mu, own);
        const Site x_mu = forward(g, x, mu);
        UNROLL_DIRECTIONS for (int nu = mu + 1; nu < DIMENSIONS; nu++) {
            prefetch_plane<fetch, 0>(g, a.links, x, plane);
            const Link upper = multiply(u_mu, view_link(g, a.links, x_mu, nu, ahead));
            prefetch_plane<fetch, 1>(g, a.links, x, plane);
            const Link lower = multiply(view_link(g, a.links, x, nu, other), view_link(g, a.links, forward(g, x, nu), mu, beside));
            prefetch_plane<fetch, 2>(g, a.links, x, plane++);
            sums[0] += real_trace_multiply_adjoint(upper, lower);
        }
    }
}
REDUCTION_KERNEL_AHEAD(plaquette_sum, 1)

template <bool fetch> SITE_FUNCTION void rectangle_sum_at(const rectangle_sum_arguments &a, Site x, V *sums) {
    const Geometry &g = a.geometry;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Link two = double_link(g, a.links, x, mu);
        const Site end = forward(g, forward(g, x, mu), mu);
        UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            const int pair = rectangle_slot(mu, nu);
            Link p, q;
            prefetch_rectangle_links<fetch, 0>(a, x, pair);
            const Link lower = multiply(two, view_link(g, a.links, end, nu, p));
            prefetch_rectangle_links<fetch, 1>(a, x, pair);
            const Link upper = multiply(view_link(g, a.links, x, nu, q), double_link(g, a.links, forward(g, x, nu), mu));
            prefetch_rectangle_links<fetch, 2>(a, x, pair);
            sums[0] += real_trace_multiply_adjoint(lower, upper);
        }
    }
}
REDUCTION_KERNEL_AHEAD(rectangle_sum, 1)

// ------------------------------------------------------------------------------------------------ force
// The plaquettes of U_mu(x) in the plane of mu and nu are P(x) and, brought back along U_nu, P(x - nu): two steps, of which
// the first makes the coefficients of each plaquette once for its four links (plaquettes.h).

// c_a(P_{mu nu}(x)), mu < nu
template <bool fetch> SITE_FUNCTION void plaquette_coefficients_at(const plaquette_coefficients_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *out = a.coefficients + window_element(a, x);
    int plane = 0;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link own, other, ahead, beside;
        const Link &u_mu = view_link(g, a.links, x, mu, own);
        const Site x_mu = forward(g, x, mu);
        UNROLL_DIRECTIONS for (int nu = mu + 1; nu < DIMENSIONS; nu++, out += ALGEBRA * LANES) {
            prefetch_plane<fetch, 0>(g, a.links, x, plane);
            const Link lower = multiply(u_mu, view_link(g, a.links, x_mu, nu, ahead));
            prefetch_plane<fetch, 1>(g, a.links, x, plane);
            const Link upper = multiply(view_link(g, a.links, x, nu, other), view_link(g, a.links, forward(g, x, nu), mu, beside));
            prefetch_plane<fetch, 2>(g, a.links, x, plane++);
            V c[ALGEBRA];
            algebra_coefficients(multiply_adjoint(lower, upper), c);
            store_reals<ALGEBRA>(out, x, c);
        }
    }
}
SITE_KERNEL_AHEAD(plaquette_coefficients)

// force_mu(x) += factor c(U_mu(x) staples)
template <bool fetch> SITE_FUNCTION void plaquette_force_at(const plaquette_force_arguments &a, Site x) {
    V sum[DIMENSIONS][ALGEBRA] = {};
    add_plaquette_loops<fetch>(a, x, a.force, sum);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) put_algebra(a.geometry, a.force, x, mu, sum[mu], a.factor, true);
}
SITE_KERNEL_AHEAD(plaquette_force)

// c_a(R_{mu nu}(x)), two links in mu and one in nu
template <bool fetch> SITE_FUNCTION void rectangle_coefficients_at(const rectangle_coefficients_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *out = a.rectangles + window_element(a, x, RECTANGLES);
    const Site to_come = group_to_come(g, x);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Link two = double_link(g, a.links, x, mu);
        const Site end = forward(g, forward(g, x, mu), mu);
        UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            const int pair = rectangle_slot(mu, nu);
            prefetch_rectangle_links<fetch, 0>(a, x, pair);
            Link p, q;
            const Link lower = multiply(two, view_link(g, a.links, end, nu, p));
            prefetch_rectangle_links<fetch, 1>(a, x, pair);
            const Link upper = multiply(view_link(g, a.links, x, nu, q), double_link(g, a.links, forward(g, x, nu), mu));
            prefetch_rectangle_links<fetch, 2>(a, x, pair);
            if constexpr (fetch)
                prefetch_share<RECTANGLES * ALGEBRA, RECTANGLES, true>(a.rectangles + window_element(a, to_come, RECTANGLES), pair);
            V c[ALGEBRA];
            algebra_coefficients(multiply_adjoint(lower, upper), c);
            store_reals<ALGEBRA>(out, x, c);
            out += ALGEBRA * LANES;
        }
    }
}
SITE_KERNEL_AHEAD(rectangle_coefficients)

// what both links of a long side have in common, see rectangles.h
template <bool fetch> SITE_FUNCTION void rectangle_sides_at(const rectangle_sides_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    V sum[DIMENSIONS][ALGEBRA] = {};
    UNROLL_DIRECTIONS for (int nu = 0; nu < DIMENSIONS; nu++) {
        const Site below = backward(g, x, nu);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            if constexpr (fetch) prefetch_sides(a, x, mu, nu);
            V own[ALGEBRA], c[ALGEBRA], r[ALGEBRA];
            load_rectangle(a, x, mu, nu, own);
            load_rectangle(a, below, mu, nu, c);
            transported_coefficients(u, c, r);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += own[k] - r[k];
        }
    }
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++)
        store_reals<ALGEBRA>(a.sides + window_element(a, x, DIMENSIONS) + mu * ALGEBRA * LANES, x, sum[mu]);
}
SITE_KERNEL_AHEAD(rectangle_sides)

// force_mu(x) += factor c(U_mu(x) rectangle staples)
template <bool fetch> SITE_FUNCTION void rectangle_force_at(const rectangle_force_arguments &a, Site x) {
    V sum[DIMENSIONS][ALGEBRA] = {};
    add_rectangle_loops<fetch>(a, x, 1, a.force, sum);
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) put_algebra(a.geometry, a.force, x, mu, sum[mu], a.factor, true);
}
SITE_KERNEL_AHEAD(rectangle_force)

// ------------------------------------------------------------------------------------------------ field strength
// G_{mu nu}(x) = sum_a G^a T_a, G^a = c_a of the four plaquettes that turn from mu to nu and begin at x, divided by 4: those of the
// plaquettes at x, x - mu, x - nu and x - mu - nu, brought to x along links of them.
SITE_FUNCTION void field_strength(const field_strength_sums_arguments &a, Site x, int mu, int nu, V *field) {
    const Geometry &g = a.geometry;
    const long plane = plane_of(mu, nu) * ALGEBRA * LANES;
    const Site left = backward(g, x, mu), down = backward(g, x, nu), corner = backward(g, down, mu);
    Link scratch;
    V c[ALGEBRA], r[ALGEBRA];
    load_reals<ALGEBRA>(g, a.coefficients + window_element(a, corner) + plane, corner, c);
    transported_coefficients(view_link(g, a.links, corner, mu, scratch), c, r);
    load_reals<ALGEBRA>(g, a.coefficients + window_element(a, down) + plane, down, c);
    UNROLL for (int k = 0; k < ALGEBRA; k++) c[k] += r[k];
    transported_coefficients(view_link(g, a.links, down, nu, scratch), c, field);
    load_reals<ALGEBRA>(g, a.coefficients + window_element(a, left) + plane, left, c);
    transported_coefficients(view_link(g, a.links, left, mu, scratch), c, r);
    load_reals<ALGEBRA>(g, a.coefficients + window_element(a, x) + plane, x, c);
    UNROLL for (int k = 0; k < ALGEBRA; k++) field[k] = (field[k] + c[k] + r[k]) * real(0.25);
}

// E = sum_{mu < nu} G^a G^a / 2, and in four dimensions 8 pi^2 q = G_xy.G_zt - G_xz.G_yt + G_xt.G_yz
SITE_FUNCTION void field_strength_sums_site(const field_strength_sums_arguments &a, Site x, V *sums) {
    V fields[PLANES][ALGEBRA];
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++)
        UNROLL_DIRECTIONS for (int nu = mu + 1; nu < DIMENSIONS; nu++) {
            V *field = fields[plane_of(mu, nu)];
            field_strength(a, x, mu, nu, field);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sums[0] += field[k] * field[k] * real(0.5);
        }
#if DIMENSIONS == 4
    UNROLL for (int k = 0; k < ALGEBRA; k++)
        sums[1] += fields[0][k] * fields[5][k] - fields[1][k] * fields[4][k] + fields[2][k] * fields[3][k];
#endif
}
GAUGE_REDUCTION(field_strength_sums, 2)
