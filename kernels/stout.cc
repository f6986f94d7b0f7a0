// Smeared links from the loops C of loops.cc, and the pull-back of a force through that step (docs/conventions.md, "Networks").
// Stout: Q = 2 [C U^+]_TA, U' = exp(Q) U. The pull-back of F' is F = e^{-Q} F' e^{Q} + the force through Q, with
// lambda = int_0^1 e^{-sQ} F' e^{sQ} ds: D = 4 lambda U for loops.cc, and -2 c_a(lambda C U^+) of U^+ here.
#include "signatures.h"
#include "lattice.h"
#include "exponential.h"

SITE_FUNCTION void load_algebra(const Geometry &g, const real *field, Site x, int mu, V *p) {
    const real *from = field + element(g, x, DIMENSIONS * ALGEBRA) + (long)mu * ALGEBRA * LANES;
    UNROLL for (int k = 0; k < ALGEBRA; k++) p[k] = load(from + k * LANES, x);
}
// coefficients of Q = 2 [omega]_TA
SITE_FUNCTION void stout_coefficients(const Link &omega, V *q) {
    algebra_coefficients(omega, q);
    UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] *= real(2);
}

// Part of Q may come from elsewhere (plaquette_layer.cc): `exponents`, which become all of Q.
SITE_FUNCTION void stout_links_site(const stout_links_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        if (fetches_ahead(g)) {
            prefetch_own<DIMENSIONS * LINK_REALS, DIMENSIONS>(g, a.links, x, mu);
            prefetch_own<DIMENSIONS * LINK_REALS, DIMENSIONS>(g, a.staples, x, mu);
            if (a.exponents) prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.exponents, x, mu);
        }
        const Link u = load_link(g, a.links, x, mu);
        V q[ALGEBRA], more[ALGEBRA];
        stout_coefficients(multiply_adjoint(load_link(g, a.staples, x, mu), u), q);
        if (a.exponents) {
            load_algebra(g, a.exponents, x, mu, more);
            UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] += more[k];
            write_reals<ALGEBRA>(g, a.exponents, x, mu, q);
        }
        write_link(g, a.smeared, x, mu, multiply(exponential(q), u));
    }
}
SITE_KERNEL(stout_links)

// Without `exponents` Q is that of C; without staples no C is there, and no insertions are asked for. exponent_force, if given:
// lambda, the force on Q.
SITE_FUNCTION void stout_pull_back_site(const stout_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    UNROLL_DIRECTIONS for (int mu = 0; mu < DIMENSIONS; mu++) {
        if (fetches_ahead(g)) {
            prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.smeared_force, x, mu);
            if (a.exponents) prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.exponents, x, mu);
            if (a.add) prefetch_own<DIMENSIONS * ALGEBRA, DIMENSIONS>(g, a.force, x, mu);
        }
        Link u = {}, omega = {};
        V q[ALGEBRA], p[ALGEBRA], c[ALGEBRA];
        if (a.staples) {
            if (fetches_ahead(g)) {
                prefetch_own<DIMENSIONS * LINK_REALS, DIMENSIONS>(g, a.links, x, mu);
                prefetch_own<DIMENSIONS * LINK_REALS, DIMENSIONS>(g, a.staples, x, mu);
            }
            u = load_link(g, a.links, x, mu);
            omega = multiply_adjoint(load_link(g, a.staples, x, mu), u);
        }
        if (a.exponents) load_algebra(g, a.exponents, x, mu, q);
        else stout_coefficients(omega, q);
        load_algebra(g, a.smeared_force, x, mu, p);
        const Link f = algebra_matrix(p);
        Link lambda, e;
        average_over_exponential(q, f, lambda, e);
        transported_coefficients(e, p, p);
        if (a.exponent_force) {
            algebra_coefficients(lambda, c);
            write_reals<ALGEBRA>(g, a.exponent_force, x, mu, c);
        }
        if (a.staples) {
            lambda = scaled(lambda, real(4));
            write_link(g, a.insertions, x, mu, multiply(lambda, u));
            algebra_coefficients(multiply(lambda, omega), c);
            UNROLL for (int k = 0; k < ALGEBRA; k++) p[k] -= c[k] * real(0.5);
        }
        put_algebra(g, a.force, x, mu, p, a.weight, a.add != 0);
    }
}
SITE_KERNEL(stout_pull_back)

// ------------------------------------------------------------------------------------------------ projection on the group
// U' = N(z), z = U + C. With z = W H, W unitary, H = sqrt(z^+ z): U' = W times a phase that makes its determinant 1, the one with
// the smallest angle. A change dz turns W by W^+ dW = Y, Y H + H Y = W^+ dz - dz^+ W, and U' by the traceless part of W Y W^+.
// So the change of the action by F' is -Re tr K^+ dz, K = 4 W g, g H + H g = W^+ F' W: K is the D of loops.cc.
#if COLORS == 2
SITE_FUNCTION Link projected(const Link &z) { return reunitarized(z); }
// z is a multiple of U', and so is H of 1
SITE_FUNCTION Link projection_derivative(const Link &z, const Link &smeared, const Link &f) {
    const V size = real_trace_multiply_adjoint(z, smeared) * real(0.5);
    Link r = multiply(f, smeared);
    UNROLL for (int k = 0; k < LINK_REALS; k++) reals(r)[k] *= real(2) / size;
    return r;
}
#else
SITE_FUNCTION Complex multiply(const Complex &x, const Complex &y) {
    Complex r = {};
    add_product(r, x, y);
    return r;
}
SITE_FUNCTION Complex unit(const Complex &x) {
    const V size = square_root_lanes(x.re * x.re + x.im * x.im);
    return {x.re / size, x.im / size};
}
SITE_FUNCTION Link scaled(const Link &x, const Complex &factor) {
    Link r;
    UNROLL for (int i = 0; i < 3; i++)
        UNROLL for (int j = 0; j < 3; j++) r.e[i][j] = multiply(x.e[i][j], factor);
    return r;
}
SITE_FUNCTION V square_norm(const Link &x) { return real_trace_multiply_adjoint(x, x); }
// cofactors: the inverse is their transpose over the determinant
SITE_FUNCTION Link cofactors(const Link &x) {
    Link r;
    UNROLL for (int i = 0; i < 3; i++)
        UNROLL for (int j = 0; j < 3; j++) {
            const Complex p = multiply(x.e[(i + 1) % 3][(j + 1) % 3], x.e[(i + 2) % 3][(j + 2) % 3]);
            const Complex q = multiply(x.e[(i + 1) % 3][(j + 2) % 3], x.e[(i + 2) % 3][(j + 1) % 3]);
            r.e[i][j] = {p.re - q.re, p.im - q.im};
        }
    return r;
}
SITE_FUNCTION Complex determinant(const Link &x, const Link &cofactor) {
    Complex r = {};
    UNROLL for (int j = 0; j < 3; j++) add_product(r, x.e[0][j], cofactor.e[0][j]);
    return r;
}
// x <- (s x + x^-+ / s) / 2 with s^2 = |x^-+| / |x|: Newton's iteration for the unitary factor, scaled (Higham, SIAM J. Sci. Stat.
// Comput. 7 (1986) 1160); it is quadratic in the end, so a change below 1e-9 is the last that matters
SITE_FUNCTION Link unitary_factor(const Link &z) {
    Link x = z;
    real change = 1;
    for (int n = 0; n < 40 && change > real(1e-18); n++) {
        const Link cofactor = cofactors(x);
        const Complex det = determinant(x, cofactor);
        const V size = det.re * det.re + det.im * det.im;
        V scale = square_root_lanes(square_norm(cofactor) / (square_norm(x) * size)), moved = {};
        scale = square_root_lanes(scale) * real(0.5);
        const Complex inverse = {det.re * (real(0.25) / (scale * size)), det.im * (real(0.25) / (scale * size))};
        UNROLL for (int i = 0; i < 3; i++)
            UNROLL for (int j = 0; j < 3; j++) {
                Complex next = {x.e[i][j].re * scale, x.e[i][j].im * scale};
                add_product_conjugate(next, inverse, cofactor.e[i][j]);
                const V re = next.re - x.e[i][j].re, im = next.im - x.e[i][j].im;
                moved += re * re + im * im;
                x.e[i][j] = next;
            }
        change = largest_lane(moved);
    }
    return x;
}
// exp(-ia/3) of exp(ia), -pi < a < pi: half angles, then Newton's iteration r <- (2 r + c r^-2) / 3, which turns an error e of
// the angle into one of order e^5 when |r| is brought back to 1
SITE_FUNCTION Complex inverse_cube_root(const Complex &c) {
    const Complex half = unit({c.re + real(1), c.im});
    Complex r = unit({half.re + real(1), half.im});
    for (int n = 0; n < 4; n++) {
        const Complex square = multiply(r, r);
        Complex next = {r.re * real(2), r.im * real(2)};
        add_product_conjugate(next, c, square);
        r = unit(next);
    }
    return {r.re, -r.im};
}
SITE_FUNCTION Link projected(const Link &z) {
    const Link w = unitary_factor(z);
    return scaled(w, inverse_cube_root(unit(determinant(w, cofactors(w)))));
}
// x H + H x = b for anti-Hermitian b, H Hermitian and positive, by the invariants of H
SITE_FUNCTION Link anticommutator_inverse(const Link &h, const Link &b) {
    const Link h2 = multiply(h, h), hb = multiply(h, b), h2b = multiply(h2, b);
    const V trace = real_trace(h), second = (trace * trace - real_trace(h2)) * real(0.5), det = determinant(h, cofactors(h)).re;
    const V d = trace * second - det;
    const Link both = multiply(hb, h), more = multiply(h2b, h), most = multiply(h2b, h2);
    const V norm = real(0.5) / (det * d), c_both = (trace * trace * trace + det) * norm, c_more = trace * trace * norm;
    const V c_hb = trace * trace * second * norm, c_h2b = d * norm, c_most = trace * norm;
    const V c_b = (trace * trace * det + d * second) * norm;
    Link r;
    UNROLL for (int i = 0; i < 3; i++)
        UNROLL for (int j = 0; j < 3; j++) {
            const Complex p = h2b.e[i][j], q = h2b.e[j][i], s = hb.e[i][j], t = hb.e[j][i], u = more.e[i][j], v = more.e[j][i];
            r.e[i][j].re = c_most * most.e[i][j].re - c_more * (u.re - v.re) + c_h2b * (p.re - q.re) + c_both * both.e[i][j].re
                - c_hb * (s.re - t.re) + c_b * b.e[i][j].re;
            r.e[i][j].im = c_most * most.e[i][j].im - c_more * (u.im + v.im) + c_h2b * (p.im + q.im) + c_both * both.e[i][j].im
                - c_hb * (s.im + t.im) + c_b * b.e[i][j].im;
        }
    return r;
}
// K; the phase of the determinant is that of tr U'^+ z, as H is positive
SITE_FUNCTION Link projection_derivative(const Link &z, const Link &smeared, const Link &f) {
    const Link turned_h = adjoint_multiply(smeared, z);
    Complex phase = unit({real_trace(turned_h), imaginary_trace(turned_h)});
    const Link g = anticommutator_inverse(scaled(turned_h, {phase.re, -phase.im}), turned(smeared, f));
    return multiply(scaled(smeared, {phase.re * real(4), phase.im * real(4)}), g);
}
#endif

SITE_FUNCTION Link sum_with_staples(const Geometry &g, const real *links, const real *staples, Site x, int mu) {
    Link z = load_link(g, links, x, mu);
    add(z, load_link(g, staples, x, mu));
    return z;
}

SITE_FUNCTION void ape_links_site(const ape_links_arguments &a, Site x) {
    for (int mu = 0; mu < DIMENSIONS; mu++)
        store_link(a.geometry, a.smeared, x, mu, projected(sum_with_staples(a.geometry, a.links, a.staples, x, mu)));
}
SITE_KERNEL(ape_links)

SITE_FUNCTION void ape_pull_back_site(const ape_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        V p[ALGEBRA];
        load_algebra(g, a.smeared_force, x, mu, p);
        const Link z = sum_with_staples(g, a.links, a.staples, x, mu);
        const Link k = projection_derivative(z, load_link(g, a.smeared, x, mu), algebra_matrix(p));
        store_link(g, a.insertions, x, mu, k);
        algebra_coefficients(multiply_adjoint(load_link(g, a.links, x, mu), k), p);
        put_algebra(g, a.force, x, mu, p, a.weight * real(-0.5), a.add != 0);
    }
}
SITE_KERNEL(ape_pull_back)
