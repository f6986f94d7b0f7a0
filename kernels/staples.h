// The plaquette staples of a link: what multiplies U_mu(x) in the plaquettes that hold it.
#pragma once
#include "lattice.h"

// fetch: what both take at a lane group to come is fetched ahead, link by link between the products
// U_nu(x+mu) U_mu(x+nu)^+ U_nu(x)^+
SITE_FUNCTION void add_upper_staple(const Geometry &g, const real *links, Site x, Site x_mu, int mu, int nu, bool fetch, Link &sum) {
    Link a, b, c;
    const Site next = group_to_come(g, x);
    if (fetch) prefetch_link(g, links, forward(g, next, mu), nu);
    const Link upper = multiply_adjoint(view_link(g, links, x_mu, nu, a), view_link(g, links, forward(g, x, nu), mu, b));
    if (fetch) prefetch_link(g, links, forward(g, next, nu), mu);
    add_multiply_adjoint(sum, upper, view_link(g, links, x, nu, c));
    if (fetch) prefetch_link(g, links, next, nu);
}
// U_nu(x+mu-nu)^+ U_mu(x-nu)^+ U_nu(x-nu)
SITE_FUNCTION void add_lower_staple(const Geometry &g, const real *links, Site x, Site x_mu, int mu, int nu, bool fetch, Link &sum) {
    Link a, b, c;
    const Site below = backward(g, x, nu), next = group_to_come(g, x), next_below = backward(g, next, nu);
    if (fetch) prefetch_link(g, links, next_below, mu);
    const Link corner = multiply(view_link(g, links, below, mu, a), view_link(g, links, backward(g, x_mu, nu), nu, b));
    if (fetch) prefetch_link(g, links, backward(g, forward(g, next, mu), nu), nu);
    add_adjoint_multiply(sum, corner, view_link(g, links, below, nu, c));
    if (fetch) prefetch_link(g, links, next_below, nu);
}
