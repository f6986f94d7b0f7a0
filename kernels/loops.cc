// Loops through links, for smearing: the weighted sum of open paths C_mu(x) from x to x + mu that close with U_mu(x)^+ to loops
// (docs/conventions.md, "Networks"), and the derivative of sum_l Re tr D_l A_l over all links l: D_l a matrix at each link that
// transforms like it, A_l = C_l^+ the path that closes it.
// For a link l and a loop U_l A through it the derivative is U_l dA, dA the sum over the steps j of A with step j replaced by
// D_j (D_j^+ where it goes backward), times the weight w_j that the link of step j gives the loop.
#include "signatures.h"
#include "lattice.h"

SITE_FUNCTION Link scaled(const Link &x, real factor) {
    Link r;
    UNROLL for (int k = 0; k < LINK_REALS; k++) reals(r)[k] = reals(x)[k] * factor;
    return r;
}
// force_a(x, mu) += factor c_a(m)
SITE_FUNCTION void add_force(real *force, Site x, int mu, const Link &m, real factor) {
    V c[ALGEBRA];
    algebra_coefficients(m, c);
    UNROLL for (int k = 0; k < ALGEBRA; k++) {
        real *p = force + (mu * ALGEBRA + k) * LANES;
        store(p, x, load(p, x) + c[k] * factor);
    }
}

// ------------------------------------------------------------------------------------------------ plaquettes
// weights[mu D + nu]: of the plaquette in the plane of mu and nu, as the link in direction mu sees it.
// U_nu(x+mu) U_mu(x+nu)^+ is common to the upper staples of both links of a plane.
SITE_FUNCTION void plaquette_staples_site(const plaquette_staples_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link sums[DIMENSIONS] = {}, p, q, r;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link &sum = sums[mu];
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            prefetch_links(g, a.links, x, true, mu * DIMENSIONS + nu, DIMENSIONS * DIMENSIONS);
            if (nu == mu) continue;
            prefetch_corner(g, a.links, x, mu, nu);
            const real weight = (real)a.weights[mu * DIMENSIONS + nu];
            if (nu > mu) {
                const Link corner = multiply_adjoint(view_link(g, a.links, x_mu, nu, p),
                                                     view_link(g, a.links, forward(g, x, nu), mu, q));
                add_multiply_adjoint(sum, view_link(g, a.links, x, nu, p), scaled(corner, weight));
                add_multiply(sums[nu], view_link(g, a.links, x, mu, q), scaled(corner, (real)a.weights[nu * DIMENSIONS + mu]));
            }
            const Site below = backward(g, x, nu);
            const Link corner = multiply(view_link(g, a.links, below, mu, p), view_link(g, a.links, backward(g, x_mu, nu), nu, q));
            add_adjoint_multiply(sum, view_link(g, a.links, below, nu, r), scaled(corner, weight));
        }
        store_link(g, a.staples, x, mu, sum);
    }
}
SITE_KERNEL(plaquette_staples)

// own += dE d^+ + w E D_d^+ and other += dE^+ a^+ + w' E^+ D_a^+, what multiplies a = U_mu(x) and d = U_nu(x) in their plaquette,
// E = b c^+, b = U_nu(x+mu), c = U_mu(x+nu)
SITE_FUNCTION void add_upper_tangents(const plaquette_pull_back_arguments &a, Site x, Site x_mu, int mu, int nu, Link &own,
                                      Link &other) {
    const Geometry &g = a.geometry;
    const real w_mu = (real)a.weights[mu * DIMENSIONS + nu], w_nu = (real)a.weights[nu * DIMENSIONS + mu];
    const Site x_nu = forward(g, x, nu);
    Link p, q, r, s;
    const Link &b = view_link(g, a.links, x_mu, nu, p), &c = view_link(g, a.links, x_nu, mu, q);
    const Link corner = multiply_adjoint(b, c);
    Link tangent = scaled(multiply_adjoint(view_link(g, a.insertions, x_mu, nu, r), c), w_nu);
    add_multiply_adjoint(tangent, b, scaled(view_link(g, a.insertions, x_nu, mu, s), w_mu));
    add_multiply_adjoint(own, tangent, view_link(g, a.links, x, nu, p));
    add_multiply_adjoint(own, corner, scaled(view_link(g, a.insertions, x, nu, r), w_nu));
    const Link turned = multiply(view_link(g, a.links, x, mu, q), tangent);
    add(other, adjoint(turned));
    add_adjoint_multiply(other, corner, adjoint(scaled(view_link(g, a.insertions, x, mu, s), w_mu)));
}
// sum += the same of A = (c b)^+ d, b = U_nu(y+mu), c = U_mu(y), d = U_nu(y), y = x - nu
SITE_FUNCTION void add_lower_tangent(const plaquette_pull_back_arguments &a, Site x, Site x_mu, int mu, int nu, Link &sum) {
    const Geometry &g = a.geometry;
    const real w_mu = (real)a.weights[mu * DIMENSIONS + nu], w_nu = (real)a.weights[nu * DIMENSIONS + mu];
    const Site y = backward(g, x, nu), y_mu = backward(g, x_mu, nu);
    Link p, q, r, s;
    const Link &b = view_link(g, a.links, y_mu, nu, p), &c = view_link(g, a.links, y, mu, q);
    const Link corner = multiply(c, b);
    Link tangent = scaled(multiply(view_link(g, a.insertions, y, mu, r), b), w_mu);
    add_multiply(tangent, c, scaled(view_link(g, a.insertions, y_mu, nu, s), w_nu));
    add_adjoint_multiply(sum, tangent, view_link(g, a.links, y, nu, p));
    add_adjoint_multiply(sum, corner, scaled(view_link(g, a.insertions, y, nu, r), w_nu));
}

// force_a(x, mu) += factor c_a(U dA)
SITE_FUNCTION void plaquette_pull_back_site(const plaquette_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);
    Link sums[DIMENSIONS] = {}, own;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            prefetch_links(g, a.links, x, true, mu * DIMENSIONS + nu, DIMENSIONS * DIMENSIONS);
            if (nu == mu) continue;
            prefetch_links(g, a.insertions, x, true, mu * DIMENSIONS + nu, DIMENSIONS * DIMENSIONS);
            if (nu > mu) add_upper_tangents(a, x, x_mu, mu, nu, sums[mu], sums[nu]);
            add_lower_tangent(a, x, x_mu, mu, nu, sums[mu]);
        }
        add_force(force, x, mu, multiply(view_link(g, a.links, x, mu, own), sums[mu]), a.factor);
    }
}
SITE_KERNEL(plaquette_pull_back)

// ------------------------------------------------------------------------------------------------ paths of a table
// paths[(mu count + p) length + k]: step k of path p from x to x + mu, directions as in the neighbour table; weights[mu]: of the
// loop as a link in direction mu sees it.
SITE_FUNCTION void path_staples_site(const path_staples_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const signed char *step = a.paths;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link sum = {};
        for (int path = 0; path < a.count; path++) {
            Link product = identity(), u;
            Site y = x;
            for (int k = 0; k < a.length; k++) {
                const int direction = *step++;
                const Site next = neighbour(g, y, direction);
                if (direction < DIMENSIONS)
                    product = multiply(product, view_link(g, a.links, y, direction, u));
                else
                    product = multiply_adjoint(product, view_link(g, a.links, next, direction - DIMENSIONS, u));
                y = next;
            }
            add(sum, product);
        }
        Link staples = load_link(g, a.staples, x, mu);
        add(staples, scaled(sum, (real)a.weights[mu]));
        store_link(g, a.staples, x, mu, staples);
    }
}
SITE_KERNEL(path_staples)

// the sum over the steps of a path of its product with that link replaced
SITE_FUNCTION Link path_tangent(const path_pull_back_arguments &a, Site y, const signed char *step) {
    const Geometry &g = a.geometry;
    Link product = identity(), tangent = {}, u, d;
    for (int k = 0; k < a.length; k++) {
        const bool ahead = step[k] < DIMENSIONS;
        const int mu = ahead ? step[k] : step[k] - DIMENSIONS;
        const Site next = neighbour(g, y, step[k]), from = ahead ? y : next;
        const Link &link = view_link(g, a.links, from, mu, u);
        const Link insertion = scaled(view_link(g, a.insertions, from, mu, d), (real)a.weights[mu]);
        if (ahead) {
            tangent = multiply(tangent, link);
            add_multiply(tangent, product, insertion);
            product = multiply(product, link);
        } else {
            tangent = multiply_adjoint(tangent, link);
            add_multiply_adjoint(tangent, product, insertion);
            product = multiply_adjoint(product, link);
        }
        y = next;
    }
    return tangent;
}

SITE_FUNCTION void path_pull_back_site(const path_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        Link sum = {}, own;
        for (int path = 0; path < a.count; path++) add(sum, path_tangent(a, x, a.paths + (mu * a.count + path) * a.length));
        add_force(force, x, mu, multiply_adjoint(view_link(g, a.links, x, mu, own), sum), a.factor);
    }
}
SITE_KERNEL(path_pull_back)

// ------------------------------------------------------------------------------------------------ closed straight lines
// A field of one matrix a site: the line W(x) = U(x) U(x+mu) ..., longer by one step of transport each time, so that it may
// cross any number of ranks; and its tangent T, the sum over its links replaced by D in turn.
SITE_FUNCTION Link load_matrix(const Geometry &g, const real *field, Site x) {
    Link r;
    load_reals<LINK_REALS>(g, field + element(g, x, LINK_REALS), x, reals(r));
    return r;
}
SITE_FUNCTION void store_matrix(const Geometry &g, real *field, Site x, const Link &m) {
    store_reals<LINK_REALS>(field + element(g, x, LINK_REALS), x, reals(m));
}

// W(x) <- U(x) W(x+mu), T(x) <- D(x) W(x+mu) + U(x) T(x+mu); first step (from == 0): U and D
SITE_FUNCTION void line_tangent_site(const line_tangent_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link link = load_link(g, a.links, x, a.mu), tangent = load_link(g, a.insertions, x, a.mu);
    if (a.from) {
        const Site next = forward(g, x, a.mu);
        const Link line = load_matrix(g, a.from, next);
        tangent = multiply(tangent, line);
        add_multiply(tangent, link, load_matrix(g, a.from_tangent, next));
        link = multiply(link, line);
    }
    store_matrix(g, a.to, x, link);
    store_matrix(g, a.to_tangent, x, tangent);
}
SITE_KERNEL(line_tangent)

// staples_mu(x) += weights[mu] W(x+mu)^+
SITE_FUNCTION void line_staples_site(const line_staples_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link staples = load_link(g, a.staples, x, a.mu);
    add(staples, adjoint(scaled(load_matrix(g, a.line, forward(g, x, a.mu)), (real)a.weights[a.mu])));
    store_link(g, a.staples, x, a.mu, staples);
}
SITE_KERNEL(line_staples)

// force_a(x, mu) += factor weights[mu] c_a(U T(x+mu))
SITE_FUNCTION void line_pull_back_site(const line_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    const Link tangent = load_matrix(g, a.tangent, forward(g, x, a.mu));
    add_force(a.force + element(g, x, DIMENSIONS * ALGEBRA), x, a.mu, multiply(load_link(g, a.links, x, a.mu), tangent),
              a.factor * (real)a.weights[a.mu]);
}
SITE_KERNEL(line_pull_back)
