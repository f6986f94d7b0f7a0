// Heat bath and over-relaxation of the Wilson action, by SU(2) subgroups (Creutz 1980; Cabibbo and Marinari 1982).
// A call updates the links of one direction on one parity: no plaquette holds two of them, so their order is free.
#include "signatures.h"
#include "staples.h"
#include "philox.h"

#define SUBGROUPS (COLORS * (COLORS - 1) / 2)
#define TINY 1e-200           // |q|^2 below this: no direction to speak of
#define FLAT_BELOW 0.75       // of alpha, the concentration: there both proposals succeed 4 times in 10, the worst case

// a + b j: the first row (a, b) of a matrix (a, b; -b*, a*)
struct Quaternion {
    Complex a, b;
};

SITE_FUNCTION Quaternion multiply(const Quaternion &x, const Quaternion &y) {
    Quaternion r = {};
    add_product_conjugate(r.a, Complex{-x.b.re, -x.b.im}, y.b);
    add_product(r.a, x.a, y.a);
    add_product(r.b, x.a, y.b);
    add_product_conjugate(r.b, x.b, y.a);
    return r;
}

// q = size * v with v in SU(2), v = 1 where q vanishes; returns v^+
SITE_FUNCTION Quaternion adjoint_direction(const Quaternion &q, V &size) {
    const V square = q.a.re * q.a.re + q.a.im * q.a.im + q.b.re * q.b.re + q.b.im * q.b.im;
    V one;
    size = square_root_lanes(square);
    for (int i = 0; i < VECTOR_LANES; i++) lane_set(one, i, (real)(lane_get(square, i) < TINY ? 1 : 0));
    const V inverse = (real(1) - one) / (size + one);
    return {{q.a.re * inverse + one, -q.a.im * inverse}, {-q.b.re * inverse, -q.b.im * inverse}};
}

#if COLORS == 2
SITE_FUNCTION Quaternion subgroup_part(const Link &m, int, int) { return {{m.e[0], m.e[1]}, {m.e[2], m.e[3]}}; }
SITE_FUNCTION void rotate_rows(const Quaternion &g, Link &m, int, int) {
    m = multiply(Link{{g.a.re, g.a.im, g.b.re, g.b.im}}, m);
}
#else
// q with Re tr(g m) = Re tr(g q) + what does not depend on g, for g in the SU(2) of rows i and j
SITE_FUNCTION Quaternion subgroup_part(const Link &m, int i, int j) {
    const real half = 0.5;
    return {{(m.e[i][i].re + m.e[j][j].re) * half, (m.e[i][i].im - m.e[j][j].im) * half},
            {(m.e[i][j].re - m.e[j][i].re) * half, (m.e[i][j].im + m.e[j][i].im) * half}};
}
SITE_FUNCTION void rotate_rows(const Quaternion &g, Link &m, int i, int j) {
    UNROLL for (int k = 0; k < COLORS; k++) {
        const Complex upper = m.e[i][k], lower = m.e[j][k];
        Complex first = {}, second = {};
        add_product(first, g.a, upper);
        add_product(first, g.b, lower);
        add_conjugate_product(second, g.a, lower);
        add_conjugate_product(second, Complex{-g.b.re, -g.b.im}, upper);
        m.e[i][k] = first;
        m.e[j][k] = second;
    }
}
#endif

// U times the sum of its staples: the action is -beta / Nc Re tr of it, and linear in U
SITE_FUNCTION Link link_times_staples(const Geometry &g, const real *links, Site x, int mu, const Link &u) {
    const Site x_mu = forward(g, x, mu);
    const bool fetch = fetches_ahead(g);
    Link staples = {};
    if (fetch) prefetch_link(g, links, group_to_come(g, x), mu);
    for (int nu = 0; nu < DIMENSIONS; nu++) {
        if (nu == mu) continue;
        add_upper_staple(g, links, x, x_mu, mu, nu, fetch, staples);
        add_lower_staple(g, links, x, x_mu, mu, nu, fetch, staples);
    }
    return multiply(u, staples);
}

// ------------------------------------------------------------------------------------------------ heat bath
// The draws of one subgroup of one link: call n of attempt k has the component
// ((3 k + n) SUBGROUPS + subgroup) DIMENSIONS + mu.
struct Stream {
    Random random;
    word link;  // subgroup DIMENSIONS + mu
};
SITE_FUNCTION Word4 stream_words(const Stream &s, word site, word attempt, word call) {
    const word component = (attempt * 3 + call) * (SUBGROUPS * DIMENSIONS) + s.link;
    return philox(Word4{{site, component, s.random.trajectory, s.random.draw}}, s.random.seed, s.random.purpose);
}

// One attempt at d = 1 - w0 in (0, 2) with density sqrt(d (2 - d)) exp(-alpha d); true if it is to be repeated.
// Kennedy and Pendleton (1985): d = chi^2_3 / (2 alpha), kept with probability sqrt(1 - d / 2). Where alpha is small
// that d is mostly too large; then d is flat, kept with probability sqrt(d (2 - d)) exp(-alpha d).
SITE_FUNCTION bool attempt_fails(const Word4 &r, const Word4 &s, double alpha, double &d) {
    const double first = -logarithm(uniform(r.x[0], r.x[1])), second = -logarithm(uniform(r.x[2], r.x[3]));
    const double angle = uniform(s.x[0], s.x[1]), accept = uniform(s.x[2], s.x[3]);
    double sine, cosine;
    sine_cosine(angle, sine, cosine);
    const bool flat = alpha < FLAT_BELOW;
    d = flat ? 2 * angle : fused(cosine * cosine, second, first) / alpha;
    const double bound = flat ? (first < alpha * d ? 0 : d * (2 - d)) : 1 - d / 2;
    return accept * accept > bound;  // false where alpha is not a number: the loop must end
}

// w in SU(2) with density exp(alpha w0), alpha >= 0 in each lane
SITE_FUNCTION Quaternion draw_rotation(const Geometry &g, Site x, const Stream &stream, const V &alpha) {
    double d[VECTOR_LANES], repeat[VECTOR_LANES], left = 1;
    for (int i = 0; i < VECTOR_LANES; i++) repeat[i] = 1;
    for (word attempt = 0; left > 0; attempt++) {  // all lanes together: the compiler makes vectors of this loop
        for (int i = 0; i < VECTOR_LANES; i++) {
            const word site = site_number(g, x, i);
            double value;
            const Word4 r = stream_words(stream, site, attempt, 0), s = stream_words(stream, site, attempt, 1);
            const bool fails = attempt_fails(r, s, lane_get(alpha, i), value);
            d[i] = repeat[i] > 0 ? value : d[i];
            repeat[i] = fails ? repeat[i] : 0;
        }
        left = 0;
        for (int i = 0; i < VECTOR_LANES; i++) left += repeat[i];
    }
    Quaternion w;
    for (int i = 0; i < VECTOR_LANES; i++) {  // (w1, w2, w3) points anywhere
        const Word4 r = stream_words(stream, site_number(g, x, i), 0, 2);
        const double u = uniform(r.x[0], r.x[1]), length = square_root(d[i] * (2 - d[i]));
        const double across = length * 2 * square_root(u * (1 - u));
        double sine, cosine;
        sine_cosine(uniform(r.x[2], r.x[3]), sine, cosine);
        lane_set(w.a.re, i, (real)(1 - d[i]));
        lane_set(w.a.im, i, (real)(length * (2 * u - 1)));
        lane_set(w.b.re, i, (real)(across * cosine));
        lane_set(w.b.im, i, (real)(across * sine));
    }
    return w;
}

// each subgroup in turn: U <- w v^+ U with size v the part of U staples there; strength = 2 beta / Nc
SITE_FUNCTION void heat_bath_site(const heat_bath_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link u = load_link(g, a.links, x, a.mu);
    Link m = link_times_staples(g, a.links, x, a.mu, u);
    word subgroup = 0;
    for (int i = 0; i < COLORS; i++)
        for (int j = i + 1; j < COLORS; j++, subgroup++) {
            V size;
            const Quaternion back = adjoint_direction(subgroup_part(m, i, j), size);
            const Stream stream = {a.random, subgroup * DIMENSIONS + a.mu};
            const Quaternion rotation = multiply(draw_rotation(g, x, stream, size * a.strength), back);
            rotate_rows(rotation, u, i, j);
            rotate_rows(rotation, m, i, j);
        }
    store_link(g, a.links, x, a.mu, u);
}
SITE_KERNEL(heat_bath)

// ------------------------------------------------------------------------------------------------ over-relaxation
// each subgroup in turn: U <- v^+ v^+ U, the other U of the same action; an involution of each subgroup
SITE_FUNCTION void over_relaxation_site(const over_relaxation_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    Link u = load_link(g, a.links, x, a.mu);
    Link m = link_times_staples(g, a.links, x, a.mu, u);
    for (int i = 0; i < COLORS; i++)
        for (int j = i + 1; j < COLORS; j++) {
            V size;
            const Quaternion back = adjoint_direction(subgroup_part(m, i, j), size), reflection = multiply(back, back);
            rotate_rows(reflection, u, i, j);
            rotate_rows(reflection, m, i, j);
        }
    store_link(g, a.links, x, a.mu, u);
}
SITE_KERNEL(over_relaxation)
