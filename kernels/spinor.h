// Four-component spinors on lane groups: gamma matrices in the chiral basis, spin projection and reconstruction.
// docs/conventions.md, "Gamma matrices": gamma_5 = diag(1, 1, -1, -1); gamma_mu links an upper and a lower component, so
// (1 -+ gamma_mu) psi is fixed by its two upper components.
#pragma once
#include "hopping.h"

#define SPINS 4
#define SPINOR_REALS (2 * SPINS * COLORS)

struct Spinor {
    ColorVector s[SPINS];
};
struct HalfSpinor {
    ColorVector s[SPINS / 2];
};

// gamma_mu[upper][partner] = i^power; the entry [partner][upper] is its complex conjugate
template <int mu, int upper> struct Gamma {
    static constexpr int partner = mu < 2 ? 3 - upper : 2 + upper;
    static constexpr int power = mu == 0 ? 3 : mu == 1 ? (upper ? 0 : 2) : mu == 2 ? (upper ? 1 : 3) : 2;
};

// c += i^power v
template <int power> SITE_FUNCTION void add_turned(Complex &c, const Complex &v) {
    if constexpr (power % 4 == 0) { c.re += v.re; c.im += v.im; }
    if constexpr (power % 4 == 1) { c.re -= v.im; c.im += v.re; }
    if constexpr (power % 4 == 2) { c.re -= v.re; c.im -= v.im; }
    if constexpr (power % 4 == 3) { c.re += v.im; c.im -= v.re; }
}
template <int power> SITE_FUNCTION void add_turned(ColorVector &c, const ColorVector &v) {
    UNROLL for (int i = 0; i < COLORS; i++) add_turned<power>(c.c[i], v.c[i]);
}

SITE_FUNCTION ColorVector load_color(const real *p, Site x) {
    ColorVector r;
    UNROLL for (int k = 0; k < 2 * COLORS; k++) ((V *)&r)[k] = load(p + k * LANES, x);
    return r;
}

// upper components of (1 + sign gamma_mu) psi, psi stored at p in the lanes that x names; lanes permuted after the projection,
// when there is half as much to permute
template <int mu, int sign> SITE_FUNCTION HalfSpinor project(const Geometry &g, const real *p, Site x) {
    const int turn = sign > 0 ? 0 : 2;
    HalfSpinor h = {{load_color(p, x), load_color(p + 2 * COLORS * LANES, x)}};
    add_turned<Gamma<mu, 0>::power + turn>(h.s[0], load_color(p + Gamma<mu, 0>::partner * (2 * COLORS * LANES), x));
    add_turned<Gamma<mu, 1>::power + turn>(h.s[1], load_color(p + Gamma<mu, 1>::partner * (2 * COLORS * LANES), x));
    if (is_permuted(x))
        UNROLL for (int k = 0; k < 4 * COLORS; k++) ((V *)&h)[k] = permute(g, ((V *)&h)[k], x.shift);
    return h;
}

// sum += the spinor whose upper components are h, an eigenvector of gamma_mu with eigenvalue `sign`; one colour
template <int mu, int sign> SITE_FUNCTION void add_reconstructed(Spinor &sum, int color, const Complex &h0, const Complex &h1) {
    const int turn = sign > 0 ? 0 : 2;
    add_turned<0>(sum.s[0].c[color], h0);
    add_turned<0>(sum.s[1].c[color], h1);
    add_turned<4 - Gamma<mu, 0>::power + turn>(sum.s[Gamma<mu, 0>::partner].c[color], h0);
    add_turned<4 - Gamma<mu, 1>::power + turn>(sum.s[Gamma<mu, 1>::partner].c[color], h1);
}
