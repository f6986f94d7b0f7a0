// Loops through links, for smearing: the weighted sum of open paths C_mu(x) from x to x + mu that close with U_mu(x)^+ to loops
// (docs/conventions.md, "Networks"), and the derivative of sum_l Re tr D_l A_l over all links l: D_l a matrix at each link that
// transforms like it, A_l = C_l^+ the path that closes it.
// For a link l and a loop U_l A through it the derivative is U_l dA, dA the sum over the steps j of A with step j replaced by
// D_j (D_j^+ where it goes backward), times the weight w_j that the link of step j gives the loop.
#include "signatures.h"
#include "lattice.h"

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
            if (fetches_ahead(g)) prefetch_staples(g, a.links, x, mu, nu);
            if (nu == mu) continue;
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
        write_link(g, a.staples, x, mu, sum);
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
    Link sums[DIMENSIONS] = {}, own;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (fetches_ahead(g)) {
                prefetch_staples(g, a.links, x, mu, nu);
                prefetch_staples(g, a.insertions, x, mu, nu);
            }
            if (nu == mu) continue;
            if (nu > mu) add_upper_tangents(a, x, x_mu, mu, nu, sums[mu], sums[nu]);
            add_lower_tangent(a, x, x_mu, mu, nu, sums[mu]);
        }
        put_coefficients(g, a.force, x, mu, multiply(view_link(g, a.links, x, mu, own), sums[mu]), a.factor, true);
    }
}
SITE_KERNEL(plaquette_pull_back)

// ------------------------------------------------------------------------------------------------ two plaquettes with a common link
// Rectangles and chairs are two plaquettes glued together at a link that is left out. Their open paths are a staple of a first
// plaquette, one of whose three links is replaced by its own staple in a second one: for rectangles the one in the same plane and
// away from the first plaquette, for chairs the four (in four dimensions) in other planes. What replaces a link is made first, as
// a field X of `slots` matrices for each link (mu, slot): slot k stands for the k-th other direction, in chairs for the plane that
// is left out; in rectangles 2 k is the staple ahead in that direction, 2 k + 1 the one behind.
// Tangents are derivatives with respect to U along w D and to X along Z, the X of the tangents of staples.
#define OTHERS (DIMENSIONS - 1)

SITE_FUNCTION int slot_of(int mu, int nu) { return nu < mu ? nu : nu - 1; }
SITE_FUNCTION int sided_slot(int slots, int mu, int nu, bool behind) {
    return slots == OTHERS ? slot_of(mu, nu) : 2 * slot_of(mu, nu) + behind;
}
SITE_FUNCTION const Link &view_slot(const Geometry &g, const real *field, int slots, Site x, int mu, int slot, Link &scratch) {
    const real *p = field + element(g, x, DIMENSIONS * LINK_REALS) * slots + (long)(mu * slots + slot) * (LINK_REALS * LANES);
    if (LANES_IN_PLACE && !is_permuted(x)) return *(const Link *)p;
    load_reals<LINK_REALS>(g, p, x, reals(scratch));
    return scratch;
}

// The path from x to x + mu by the side of nu: first middle last^+ ahead, with links of nu, mu, nu; first^+ middle last behind.
struct Detour {
    Site first, middle, last;
};
template <bool ahead> SITE_FUNCTION Detour detour(const Geometry &g, Site x, Site x_mu, int nu) {
    if (ahead) return {x, forward(g, x, nu), x_mu};
    const Site y = backward(g, x, nu);
    return {y, y, backward(g, x_mu, nu)};
}
template <bool ahead> SITE_FUNCTION Link end_with(const Link &middle, const Link &last) {
    return ahead ? multiply_adjoint(middle, last) : multiply(middle, last);
}
template <bool ahead> SITE_FUNCTION void add_end(Link &sum, const Link &middle, const Link &last) {
    if (ahead)
        add_multiply_adjoint(sum, middle, last);
    else
        add_multiply(sum, middle, last);
}
template <bool ahead> SITE_FUNCTION void add_begin(Link &sum, const Link &first, const Link &rest) {
    if (ahead)
        add_multiply(sum, first, rest);
    else
        add_adjoint_multiply(sum, first, rest);
}

template <bool ahead> SITE_FUNCTION Link staple(const Geometry &g, const real *links, Site x, Site x_mu, int mu, int nu) {
    const Detour at = detour<ahead>(g, x, x_mu, nu);
    Link r = {}, p, q;
    const Link rest = end_with<ahead>(view_link(g, links, at.middle, mu, p), view_link(g, links, at.last, nu, q));
    add_begin<ahead>(r, view_link(g, links, at.first, nu, p), rest);
    return r;
}
// D of a link times the weight of its direction
SITE_FUNCTION Link weighted(const Geometry &g, const real *insertions, const double *weights, Site x, int mu) {
    Link d;
    return scaled(view_link(g, insertions, x, mu, d), (real)weights[mu]);
}
template <bool ahead>
SITE_FUNCTION Link staple_tangent(const sided_tangents_arguments &a, Site x, Site x_mu, int mu, int nu) {
    const Geometry &g = a.geometry;
    const Detour at = detour<ahead>(g, x, x_mu, nu);
    Link r = {}, p, q;
    const Link &middle = view_link(g, a.links, at.middle, mu, p), &last = view_link(g, a.links, at.last, nu, q);
    add_begin<ahead>(r, weighted(g, a.insertions, a.weights, at.first, nu), end_with<ahead>(middle, last));
    Link rest = end_with<ahead>(weighted(g, a.insertions, a.weights, at.middle, mu), last);
    add_end<ahead>(rest, middle, weighted(g, a.insertions, a.weights, at.last, nu));
    add_begin<ahead>(r, view_link(g, a.links, at.first, nu, p), rest);
    return r;
}
// sides[2 k + behind] of a link to its slots
SITE_FUNCTION void store_slots(const Geometry &g, real *field, int slots, Site x, int mu, const Link *sides) {
    real *to = field + element(g, x, DIMENSIONS * LINK_REALS) * slots + (long)mu * slots * (LINK_REALS * LANES);
    for (int slot = 0; slot < slots; slot++) {
        Link sum = {};
        if (slots == OTHERS) {
            for (int k = 0; k < 2 * OTHERS; k++)
                if (k / 2 != slot) add(sum, sides[k]);
        } else {
            sum = sides[slot];
        }
        store_reals<LINK_REALS>(to + slot * (LINK_REALS * LANES), x, reals(sum));
    }
}

SITE_FUNCTION void sided_staples_site(const sided_staples_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link sides[2 * OTHERS];
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            sides[2 * slot_of(mu, nu)] = staple<true>(g, a.links, x, x_mu, mu, nu);
            sides[2 * slot_of(mu, nu) + 1] = staple<false>(g, a.links, x, x_mu, mu, nu);
        }
        store_slots(g, a.out, a.slots, x, mu, sides);
    }
}
SITE_KERNEL(sided_staples)

SITE_FUNCTION void sided_tangents_site(const sided_tangents_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link sides[2 * OTHERS];
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            sides[2 * slot_of(mu, nu)] = staple_tangent<true>(a, x, x_mu, mu, nu);
            sides[2 * slot_of(mu, nu) + 1] = staple_tangent<false>(a, x, x_mu, mu, nu);
        }
        store_slots(g, a.out, a.slots, x, mu, sides);
    }
}
SITE_KERNEL(sided_tangents)

// sum += the staple with its first, middle or last link replaced by its X
template <bool ahead>
SITE_FUNCTION void add_glued(const glued_staples_arguments &a, Site x, Site x_mu, int mu, int nu, Link &sum) {
    const Geometry &g = a.geometry;
    const Detour at = detour<ahead>(g, x, x_mu, nu);
    Link p, q, r;
    const Link &middle = view_link(g, a.links, at.middle, mu, p), &last = view_link(g, a.links, at.last, nu, q);
    const int first_slot = sided_slot(a.slots, nu, mu, true), last_slot = sided_slot(a.slots, nu, mu, false);
    add_begin<ahead>(sum, view_slot(g, a.replaced, a.slots, at.first, nu, first_slot, r), end_with<ahead>(middle, last));
    Link rest = end_with<ahead>(view_slot(g, a.replaced, a.slots, at.middle, mu, sided_slot(a.slots, mu, nu, !ahead), r), last);
    add_end<ahead>(rest, middle, view_slot(g, a.replaced, a.slots, at.last, nu, last_slot, r));
    add_begin<ahead>(sum, view_link(g, a.links, at.first, nu, p), rest);
}

SITE_FUNCTION void glued_staples_site(const glued_staples_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link sum = {};
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            add_glued<true>(a, x, x_mu, mu, nu, sum);
            add_glued<false>(a, x, x_mu, mu, nu, sum);
        }
        Link staples = load_link(g, a.staples, x, mu);
        add(staples, scaled(sum, (real)a.weights[mu]));
        store_link(g, a.staples, x, mu, staples);
    }
}
SITE_KERNEL(glued_staples)

// sum += the derivative of add_glued
template <bool ahead>
SITE_FUNCTION void add_glued_tangent(const glued_pull_back_arguments &a, Site x, Site x_mu, int mu, int nu, Link &sum) {
    const Geometry &g = a.geometry;
    const Detour at = detour<ahead>(g, x, x_mu, nu);
    const int first_slot = sided_slot(a.slots, nu, mu, true), last_slot = sided_slot(a.slots, nu, mu, false);
    const int middle_slot = sided_slot(a.slots, mu, nu, !ahead);
    Link p, q, r, s, t;
    const Link &middle = view_link(g, a.links, at.middle, mu, p), &last = view_link(g, a.links, at.last, nu, q);
    const Link &X_middle = view_slot(g, a.replaced, a.slots, at.middle, mu, middle_slot, r);
    const Link &X_last = view_slot(g, a.replaced, a.slots, at.last, nu, last_slot, s);
    Link rest = end_with<ahead>(middle, last);
    add_begin<ahead>(sum, view_slot(g, a.tangents, a.slots, at.first, nu, first_slot, t), rest);
    rest = end_with<ahead>(X_middle, last);
    add_end<ahead>(rest, middle, X_last);
    add_begin<ahead>(sum, weighted(g, a.insertions, a.weights, at.first, nu), rest);
    const Link d_middle = weighted(g, a.insertions, a.weights, at.middle, mu);
    const Link d_last = weighted(g, a.insertions, a.weights, at.last, nu);
    rest = end_with<ahead>(d_middle, last);
    add_end<ahead>(rest, middle, d_last);
    add_begin<ahead>(sum, view_slot(g, a.replaced, a.slots, at.first, nu, first_slot, t), rest);
    rest = end_with<ahead>(view_slot(g, a.tangents, a.slots, at.middle, mu, middle_slot, t), last);
    add_end<ahead>(rest, X_middle, d_last);
    add_end<ahead>(rest, d_middle, X_last);
    add_end<ahead>(rest, middle, view_slot(g, a.tangents, a.slots, at.last, nu, last_slot, t));
    add_begin<ahead>(sum, view_link(g, a.links, at.first, nu, p), rest);
}

// force_a(x, mu) += factor c_a(U dC^+)
SITE_FUNCTION void glued_pull_back_site(const glued_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *force = a.force + element(g, x, DIMENSIONS * ALGEBRA);  // here: spills less on GPUs
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link sum = {}, own;
        V c[ALGEBRA];
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (nu == mu) continue;
            add_glued_tangent<true>(a, x, x_mu, mu, nu, sum);
            add_glued_tangent<false>(a, x, x_mu, mu, nu, sum);
        }
        algebra_coefficients(multiply_adjoint(view_link(g, a.links, x, mu, own), sum), c);
        put_at(force + mu * ALGEBRA * LANES, x, c, a.factor, true);
    }
}
SITE_KERNEL(glued_pull_back)

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
    put_coefficients(g, a.force, x, a.mu, multiply(load_link(g, a.links, x, a.mu), tangent), a.factor * (real)a.weights[a.mu], true);
}
SITE_KERNEL(line_pull_back)
