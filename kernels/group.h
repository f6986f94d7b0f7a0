// SU(N) and su(N) on lane groups. Conventions: docs/conventions.md.
// T_a anti-Hermitian, tr T_a T_b = -delta_ab / 2, T_a = (i/2) lambda_a; order: for each i < j the symmetric and the
// antisymmetric generator, then the diagonal ones. N = 2 is held as a real quaternion (first row a, b; second -b*, a*):
// sums and products of SU(2) matrices stay in that form, which halves bytes and flops.
#pragma once
#include "target.h"

#define ALGEBRA (COLORS * COLORS - 1)
#ifndef FULL_MATRICES
#define FULL_MATRICES (COLORS != 2)  // a file whose matrices leave the quaternions asks for 1
#endif
// Loops over directions of links: of SU(2) unrolled, as registers hold the sums of all links then; of larger matrices not, as
// gcc runs out of registers (0.7 times as fast).
#if COLORS == 2
#define UNROLL_DIRECTIONS UNROLL
#else
#define UNROLL_DIRECTIONS
#endif

struct Complex {
    V re, im;
};

// c += a b;  c += a conj(b);  c += conj(a) b
SITE_FUNCTION void add_product(Complex &c, const Complex &a, const Complex &b) {
    c.re += a.re * b.re; c.im += a.re * b.im;
    c.re -= a.im * b.im; c.im += a.im * b.re;
}
SITE_FUNCTION void add_product_conjugate(Complex &c, const Complex &a, const Complex &b) {
    c.re += a.re * b.re; c.im -= a.re * b.im;
    c.re += a.im * b.im; c.im += a.im * b.re;
}
SITE_FUNCTION void add_conjugate_product(Complex &c, const Complex &a, const Complex &b) {
    c.re += a.re * b.re; c.im += a.re * b.im;
    c.re += a.im * b.im; c.im -= a.im * b.re;
}

struct ColorVector {
    Complex c[COLORS];
};

// cos sqrt(t) and sin sqrt(t) / sqrt(t), t <= 1. t / n is made first: what waits for the order before is one multiply-add.
SITE_FUNCTION void cosine_sine_series(const V &t, V &cosine, V &sine) {
    cosine = sine = splat(1);
    for (int n = 10; n >= 1; n--) {
        cosine = real(1) - cosine * (t * real(1.0 / ((2 * n - 1) * (2 * n))));
        sine = real(1) - sine * (t * real(1.0 / ((2 * n) * (2 * n + 1))));
    }
}

#if FULL_MATRICES
#define LINK_REALS (2 * COLORS * COLORS)
struct Link {
    Complex e[COLORS][COLORS];
};
#else
#define LINK_REALS 4
struct Link {
    V e[4];  // Re a, Im a, Re b, Im b
};
#endif
SITE_FUNCTION V *reals(Link &x) { return (V *)&x; }
SITE_FUNCTION const V *reals(const Link &x) { return (const V *)&x; }
SITE_FUNCTION void add(Link &x, const Link &y) {
    UNROLL for (int k = 0; k < LINK_REALS; k++) reals(x)[k] += reals(y)[k];
}
template <class Factor> SITE_FUNCTION Link scaled(const Link &x, Factor factor) {
    Link r;
    UNROLL for (int k = 0; k < LINK_REALS; k++) reals(r)[k] = reals(x)[k] * factor;
    return r;
}

#if FULL_MATRICES
#include "matrix.h"
#else
#include "quaternion.h"
#endif
