// The plaquette staples of a link: what multiplies U_mu(x) in the plaquettes that hold it.
#pragma once
#include "lattice.h"

// U_nu(x+mu) U_mu(x+nu)^+ U_nu(x)^+
SITE_FUNCTION void add_upper_staple(const Geometry &g, const real *links, Site x, Site x_mu, int mu, int nu, Link &sum) {
    Link a, b, c;
    const Link upper = multiply_adjoint(view_link(g, links, x_mu, nu, a), view_link(g, links, forward(g, x, nu), mu, b));
    add_multiply_adjoint(sum, upper, view_link(g, links, x, nu, c));
}
// U_nu(x+mu-nu)^+ U_mu(x-nu)^+ U_nu(x-nu)
SITE_FUNCTION void add_lower_staple(const Geometry &g, const real *links, Site x, Site x_mu, int mu, int nu, Link &sum) {
    Link a, b, c;
    const Site below = backward(g, x, nu);
    const Link corner = multiply(view_link(g, links, below, mu, a), view_link(g, links, backward(g, x_mu, nu), nu, b));
    add_adjoint_multiply(sum, corner, view_link(g, links, below, nu, c));
}
