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

// ------------------------------------------------------------------------------------------------ force
// The plaquettes of U_mu(x) in the plane of mu and nu are P(x) and, brought back along U_nu, P(x - nu): two steps, of which
// the first makes the coefficients of each plaquette once for its four links. They are kept in a
// window of lane groups, at `positions`, which is smaller than the lattice if the caller goes through it slice by slice.
#define PLANES (DIMENSIONS * (DIMENSIONS - 1) / 2)

SITE_FUNCTION int plane_of(int mu, int nu) {
    const int low = mu < nu ? mu : nu, high = mu < nu ? nu : mu;
    return low * (2 * DIMENSIONS - low - 1) / 2 + high - low - 1;
}
template <class Arguments> SITE_FUNCTION long window_element(const Arguments &a, Site x) {
    return ((long)x.parity * a.window + a.positions[x.group]) * PLANES * ALGEBRA * LANES;
}

// c_a(P_{mu nu}(x)), mu < nu
SITE_FUNCTION void plaquette_coefficients_site(const plaquette_coefficients_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *out = a.coefficients + window_element(a, x);
    int plane = 0;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link own, other, ahead, beside;
        const Link &u_mu = view_link(g, a.links, x, mu, own);
        const Site x_mu = forward(g, x, mu);
        for (int nu = mu + 1; nu < DIMENSIONS; nu++, out += ALGEBRA * LANES) {
            prefetch_links(g, a.links, x, false, plane++, PLANES);
            const Link lower = multiply(u_mu, view_link(g, a.links, x_mu, nu, ahead));
            const Link upper = multiply(view_link(g, a.links, x, nu, other), view_link(g, a.links, forward(g, x, nu), mu, beside));
            V c[ALGEBRA];
            algebra_coefficients(multiply_adjoint(lower, upper), c);
            store_reals<ALGEBRA>(out, x, c);
        }
    }
}
SITE_KERNEL(plaquette_coefficients)

// What the step nu of a lane group to come reads
SITE_FUNCTION void prefetch_plaquette_force(const plaquette_force_arguments &a, Site x, int nu) {
    const Geometry &g = a.geometry;
    if (!g.prefetch || x.group + PREFETCH_DISTANCE >= g.groups) return;
    const Site next = Site{x.parity, x.group + PREFETCH_DISTANCE, 0}, below = backward(g, next, nu);
    prefetch_part(g, a.force, next, DIMENSIONS * ALGEBRA, nu, DIMENSIONS);
    prefetch_reals(a.coefficients + window_element(a, below), PLANES * ALGEBRA);
    prefetch_reals(a.links + element(g, below, DIMENSIONS * LINK_REALS) + (long)nu * LINK_REALS * LANES, LINK_REALS);
}

// force_mu(x) += factor sum_nu [c(P_{mu nu}(x)) - c(U_nu(x-nu)^+ P_{mu nu}(x-nu) U_nu(x-nu))], P_{nu mu} = P_{mu nu}^+
SITE_FUNCTION void plaquette_force_site(const plaquette_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);
    const real *own = a.coefficients + window_element(a, x);
    V sum[DIMENSIONS][ALGEBRA] = {};
    for (int nu = 0; nu < DIMENSIONS; nu++) {
        prefetch_plaquette_force(a, x, nu);
        const Site below = backward(g, x, nu);
        const real *there = a.coefficients + window_element(a, below);
        Link scratch;
        const Link &u = view_link(g, a.links, below, nu, scratch);
        for (int mu = 0; mu < DIMENSIONS; mu++) {
            if (mu == nu) continue;
            const long plane = plane_of(mu, nu) * ALGEBRA * LANES;
            const real sign = mu < nu ? 1 : -1;
            V c[ALGEBRA], r[ALGEBRA];
            load_reals<ALGEBRA>(g, there + plane, below, c);
            transported_coefficients(u, c, r);
            UNROLL for (int k = 0; k < ALGEBRA; k++) sum[mu][k] += sign * (load(own + plane + k * LANES, x) - r[k]);
        }
    }
    for (int mu = 0; mu < DIMENSIONS; mu++)
        UNROLL for (int k = 0; k < ALGEBRA; k++) {
            real *p = force + (mu * ALGEBRA + k) * LANES;
            store(p, x, load(p, x) + sum[mu][k] * a.factor);
        }
}
SITE_KERNEL(plaquette_force)

// force_a += factor * c_a(U rectangle staples)
SITE_FUNCTION void rectangle_force_site(const rectangle_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link staples = {};
        for (int side = 0; side < DIRECTIONS; side++)
            if (side != mu && side != mu + DIMENSIONS) add_rectangle_staples(g, a.links, x_mu, mu, side, staples);
        V c[ALGEBRA];
        algebra_coefficients(multiply(load_link(g, a.links, x, mu), staples), c);
        UNROLL for (int k = 0; k < ALGEBRA; k++) {
            real *p = force + (mu * ALGEBRA + k) * LANES;
            store(p, x, load(p, x) + c[k] * a.factor);
        }
    }
}
SITE_KERNEL(rectangle_force)
