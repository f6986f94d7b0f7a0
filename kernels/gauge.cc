// Plaquettes, rectangles and the force of gauge actions made of them.
#include "signatures.h"
#include "staples.h"

// ------------------------------------------------------------------------------------------------ observables
SITE_FUNCTION void plaquette_sum_site(const plaquette_sum_arguments &a, Site x, V *sums) {
    const Geometry &g = a.geometry;
    int plane = 0;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link own, other, ahead, beside;
        const Link &u_mu = view_link(g, a.links, x, mu, own);
        const Site x_mu = forward(g, x, mu);
        for (int nu = mu + 1; nu < DIMENSIONS; nu++) {
            prefetch_links(g, a.links, x, false, plane++, DIMENSIONS * (DIMENSIONS - 1) / 2);
            const Link upper = multiply(u_mu, view_link(g, a.links, x_mu, nu, ahead));
            const Link lower = multiply(view_link(g, a.links, x, nu, other), view_link(g, a.links, forward(g, x, nu), mu, beside));
            sums[0] += real_trace_multiply_adjoint(upper, lower);
        }
    }
}
REDUCTION_KERNEL(plaquette_sum, 1)

// two links forward in mu
SITE_FUNCTION Link double_link(const Geometry &g, const real *links, Site x, int mu) {
    return multiply(load_link(g, links, x, mu), load_link(g, links, forward(g, x, mu), mu));
}

SITE_FUNCTION void rectangle_sum_site(const rectangle_sum_arguments &a, Site x, V *sums) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Link two = double_link(g, a.links, x, mu);
        const Site end = forward(g, forward(g, x, mu), mu);
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            Link lower = multiply(two, load_link(g, a.links, end, nu));
            Link upper = multiply(load_link(g, a.links, x, nu), double_link(g, a.links, forward(g, x, nu), mu));
            sums[0] += real_trace_multiply_adjoint(lower, upper);
        }
    }
}
REDUCTION_KERNEL(rectangle_sum, 1)

// ------------------------------------------------------------------------------------------------ staples
// Product of links along a path of signed directions (d < DIMENSIONS forward, else backward), from x.
SITE_FUNCTION Link path_product(const Geometry &g, const real *links, Site x, const signed char *path, int length) {
    Link product = identity();
    for (int k = 0; k < length; k++) {
        const int direction = path[k];
        if (direction < DIMENSIONS) {
            product = multiply(product, load_link(g, links, x, direction));
            x = forward(g, x, direction);
        } else {
            x = neighbour(g, x, direction);
            product = multiply_adjoint(product, load_link(g, links, x, direction - DIMENSIONS));
        }
    }
    return product;
}

// The six 2x1 rectangles through U_mu(x) in the plane of mu and one other direction, as staples from x+mu back to x.
// 0, 1: steps +mu, -mu; 2, 3: steps +other, -other, so the same table serves both sides of the link.
SITE_CONSTANT signed char rectangle_staples[3][5] = {{0, 2, 1, 1, 3}, {2, 1, 1, 3, 0}, {2, 2, 1, 3, 3}};

SITE_FUNCTION void add_rectangle_staples(const Geometry &g, const real *links, Site x_mu, int mu, int side, Link &sum) {
    const int opposite = side < DIMENSIONS ? side + DIMENSIONS : side - DIMENSIONS;
    const signed char step[4] = {(signed char)mu, (signed char)(mu + DIMENSIONS), (signed char)side, (signed char)opposite};
    for (int shape = 0; shape < 3; shape++) {
        signed char path[5];
        for (int k = 0; k < 5; k++) path[k] = step[rectangle_staples[shape][k]];
        add(sum, path_product(g, links, x_mu, path, 5));
    }
}

// force_mu(x) += plaquette * c_a(P), force_nu(x) -= the same: P_{mu nu}(x) begins with U_mu(x), its adjoint with U_nu(x)
SITE_FUNCTION void add_plaquette_force(const gauge_force_arguments &a, Site x, Site x_mu, int mu, int nu, real *force) {
    const Geometry &g = a.geometry;
    Link p, q;
    const Link lower = multiply(view_link(g, a.links, x, mu, p), view_link(g, a.links, x_mu, nu, q));
    const Link upper = multiply(view_link(g, a.links, x, nu, p), view_link(g, a.links, forward(g, x, nu), mu, q));
    V c[ALGEBRA];
    algebra_coefficients(multiply_adjoint(lower, upper), c);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        real *own = force + (mu * ALGEBRA + k) * LANES, *other = force + (nu * ALGEBRA + k) * LANES;
        store(own, x, load(own, x) + c[k] * a.plaquette);
        store(other, x, load(other, x) - c[k] * a.plaquette);
    }
}

// The next lane group's links and force, in as many parts as there are pairs of directions.
SITE_FUNCTION void prefetch_force(const gauge_force_arguments &a, Site x, int part) {
    const Geometry &g = a.geometry;
    prefetch_links(g, a.links, x, true, part, DIMENSIONS * DIMENSIONS);
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0};
    prefetch_part(g, a.force, next, DIMENSIONS * ALGEBRA, part, DIMENSIONS * DIMENSIONS);
}

// force_a += plaquette * c_a(U staples) + rectangle * c_a(U rectangle staples), c_a the algebra coefficients
SITE_FUNCTION void gauge_force_site(const gauge_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link staples = {};
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            prefetch_force(a, x, mu * DIMENSIONS + nu);
            if (nu == mu) continue;
            prefetch_corner(g, a.links, x, mu, nu);
            if (nu > mu) add_plaquette_force(a, x, x_mu, mu, nu, force);
            add_lower_staple(g, a.links, x, x_mu, mu, nu, staples);
        }
        UNROLL for (int k = 0; k < LINK_REALS; k++) reals(staples)[k] *= a.plaquette;
        if (a.rectangle != 0) {
            Link rectangles = {};
            for (int side = 0; side < DIRECTIONS; side++)
                if (side != mu && side != mu + DIMENSIONS) add_rectangle_staples(g, a.links, x_mu, mu, side, rectangles);
            UNROLL for (int k = 0; k < LINK_REALS; k++) reals(staples)[k] += a.rectangle * reals(rectangles)[k];
        }
        V c[ALGEBRA];
        algebra_coefficients(multiply(load_link(g, a.links, x, mu), staples), c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) {
            real *p = force + (mu * ALGEBRA + k) * LANES;
            store(p, x, load(p, x) + c[k]);
        }
    }
}
SITE_KERNEL(gauge_force)
