// SU(N) as full matrices; a part of group.h, which holds the conventions.
#pragma once
#include "target.h"

// One routine per form: a row of the result stays in registers while its terms are added; `accumulate` keeps what r held.
#define MATRIX_PRODUCT(name, TERM)                                                                     \
    template <bool accumulate> SITE_FUNCTION void name(Link &r, const Link &x, const Link &y) {        \
        UNROLL for (int i = 0; i < COLORS; i++) {                                                      \
            Complex row[COLORS] = {};                                                                  \
            if (accumulate)                                                                            \
                UNROLL for (int j = 0; j < COLORS; j++) row[j] = r.e[i][j];                            \
            UNROLL for (int k = 0; k < COLORS; k++)                                                    \
                UNROLL for (int j = 0; j < COLORS; j++) TERM;                                          \
            UNROLL for (int j = 0; j < COLORS; j++) r.e[i][j] = row[j];                                \
        }                                                                                              \
    }
MATRIX_PRODUCT(product, add_product(row[j], x.e[i][k], y.e[k][j]))
MATRIX_PRODUCT(product_adjoint, add_product_conjugate(row[j], x.e[i][k], y.e[j][k]))
MATRIX_PRODUCT(adjoint_product, add_conjugate_product(row[j], x.e[k][i], y.e[k][j]))
SITE_FUNCTION Link multiply(const Link &x, const Link &y) { Link r; product<false>(r, x, y); return r; }
SITE_FUNCTION Link multiply_adjoint(const Link &x, const Link &y) { Link r; product_adjoint<false>(r, x, y); return r; }
SITE_FUNCTION Link adjoint_multiply(const Link &x, const Link &y) { Link r; adjoint_product<false>(r, x, y); return r; }
SITE_FUNCTION void add_multiply(Link &sum, const Link &x, const Link &y) { product<true>(sum, x, y); }
SITE_FUNCTION void add_multiply_adjoint(Link &sum, const Link &x, const Link &y) { product_adjoint<true>(sum, x, y); }
SITE_FUNCTION void add_adjoint_multiply(Link &sum, const Link &x, const Link &y) { adjoint_product<true>(sum, x, y); }
SITE_FUNCTION Link adjoint(const Link &x) {
    Link r;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = 0; j < COLORS; j++) r.e[i][j] = {x.e[j][i].re, -x.e[j][i].im};
    return r;
}
SITE_FUNCTION V real_trace(const Link &x) {
    V t = x.e[0][0].re;
    UNROLL for (int i = 1; i < COLORS; i++) t += x.e[i][i].re;
    return t;
}
SITE_FUNCTION V imaginary_trace(const Link &x) {
    V t = x.e[0][0].im;
    UNROLL for (int i = 1; i < COLORS; i++) t += x.e[i][i].im;
    return t;
}
SITE_FUNCTION V real_trace_multiply_adjoint(const Link &x, const Link &y) {
    V t = {}, s = {};
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = 0; j < COLORS; j++) {
            t += x.e[i][j].re * y.e[i][j].re;
            s += x.e[i][j].im * y.e[i][j].im;
        }
    return t + s;
}
SITE_FUNCTION void add_multiple_of_one(Link &x, const V &factor) {
    UNROLL for (int i = 0; i < COLORS; i++) x.e[i][i].re += factor;
}
SITE_FUNCTION Link identity() {
    Link r = {};
    UNROLL for (int i = 0; i < COLORS; i++) r.e[i][i].re = splat(1);
    return r;
}
// diagonal generator l = 1..N-1: lambda = diagonal_scale(l) diag(1, ..., 1, -l, 0, ...)
SITE_FUNCTION real diagonal_scale(int l) { return (real)square_root(2.0 / (l * (l + 1.0))); }
SITE_FUNCTION void algebra_coefficients(const Link &m, V *c) {
    int a = 0;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++) {
            c[a++] = m.e[i][j].im + m.e[j][i].im;
            c[a++] = m.e[i][j].re - m.e[j][i].re;
        }
    V sum = m.e[0][0].im;
    UNROLL for (int l = 1; l < COLORS; l++) {
        c[a++] = (sum - m.e[l][l].im * real(l)) * diagonal_scale(l);
        sum += m.e[l][l].im;
    }
}
SITE_FUNCTION Link algebra_matrix(const V *c) {
    Link r;
    int a = 0;
    UNROLL for (int i = 0; i < COLORS; i++) r.e[i][i] = {V{}, V{}};
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++) {
            V imaginary = c[a++] * real(0.5), re = c[a++] * real(0.5);
            r.e[i][j] = {re, imaginary};
            r.e[j][i] = {-re, imaginary};
        }
    UNROLL for (int l = 1; l < COLORS; l++) {
        V d = c[a++] * (diagonal_scale(l) * real(0.5));
        UNROLL for (int i = 0; i < l; i++) r.e[i][i].im += d;
        r.e[l][l].im -= d * real(l);
    }
    return r;
}
// 2 M for M = sum_a c_a T_a: strictly upper triangle, and the imaginary parts of the diagonal
SITE_FUNCTION void twice_algebra_matrix(const V *c, Complex upper[COLORS][COLORS], V *diagonal) {
    int a = 0;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++, a += 2) upper[i][j] = {c[a + 1], c[a]};
    UNROLL for (int i = 0; i < COLORS; i++) diagonal[i] = V{};
    UNROLL for (int l = 1; l < COLORS; l++) {
        const V d = c[a++] * diagonal_scale(l);
        UNROLL for (int i = 0; i < l; i++) diagonal[i] += d;
        diagonal[l] -= d * real(l);
    }
}
// Coefficients of what 2 M is, given as twice_algebra_matrix does; a multiple of 1 in it does not count.
SITE_FUNCTION void half_coefficients(const Complex upper[COLORS][COLORS], const V *diagonal, V *r) {
    int a = 0;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++, a += 2) {
            r[a] = upper[i][j].im;
            r[a + 1] = upper[i][j].re;
        }
    V sum = diagonal[0];
    UNROLL for (int l = 1; l < COLORS; l++) {
        r[a++] = (sum - diagonal[l] * real(l)) * (diagonal_scale(l) * real(0.5));
        sum += diagonal[l];
    }
}
// Coefficients of U^+ M U for M = sum_a c_a T_a. It is anti-Hermitian and traceless: the upper triangle says it all, and the
// first column of M U is not needed.
SITE_FUNCTION void transported_coefficients(const Link &u, const V *c, V *r) {
    Complex m[COLORS][COLORS], product[COLORS][COLORS], upper[COLORS][COLORS] = {};
    V d[COLORS], diagonal[COLORS] = {};
    twice_algebra_matrix(c, m, d);
    UNROLL for (int k = 0; k < COLORS; k++)
        UNROLL for (int j = 1; j < COLORS; j++) product[k][j] = {-d[k] * u.e[k][j].im, d[k] * u.e[k][j].re};
    UNROLL for (int l = 0; l < COLORS; l++)
        UNROLL for (int k = 0; k < COLORS; k++) {
            if (l == k) continue;
            const Complex factor = l > k ? m[k][l] : Complex{-m[l][k].re, m[l][k].im};
            UNROLL for (int j = 1; j < COLORS; j++) add_product(product[k][j], factor, u.e[l][j]);
        }
    UNROLL for (int k = 0; k < COLORS; k++)
        UNROLL for (int j = 1; j < COLORS; j++) {
            UNROLL for (int i = 0; i < j; i++) add_conjugate_product(upper[i][j], u.e[k][i], product[k][j]);
            diagonal[j] += u.e[k][j].re * product[k][j].im;
            diagonal[j] -= u.e[k][j].im * product[k][j].re;
        }
    UNROLL for (int j = 1; j < COLORS; j++) diagonal[0] -= diagonal[j];
    half_coefficients(upper, diagonal, r);
}
// sum_k (x_ik y_kj + s y_ik x_kj), i < j, over k other than both, from upper triangles; y is anti-Hermitian.
// s = 1, x Hermitian: of the anticommutator; s = -1, x anti-Hermitian: of the commutator.
template <int s>
SITE_FUNCTION Complex third_terms(const Complex x[COLORS][COLORS], const Complex y[COLORS][COLORS], int i, int j) {
    Complex r = {};
    UNROLL for (int k = 0; k < COLORS; k++) {
        if (k == i || k == j) continue;
        const Complex x_ik = k > i ? x[i][k] : Complex{x[k][i].re * real(s), x[k][i].im * real(-s)};
        const Complex x_kj = k < j ? x[k][j] : Complex{x[j][k].re * real(s), x[j][k].im * real(-s)};
        const Complex y_ik = k > i ? y[i][k] : Complex{-y[k][i].re, y[k][i].im};
        const Complex y_kj = k < j ? y[k][j] : Complex{-y[j][k].re, y[j][k].im};
        add_product(r, x_ik, y_kj);
        add_product(r, Complex{y_ik.re * real(s), y_ik.im * real(s)}, x_kj);
    }
    return r;
}
// Coefficients of [X, Y] of X = sum_a x_a T_a and Y.
SITE_FUNCTION void commutator_coefficients(const V *x, const V *y, V *r) {
    Complex m[COLORS][COLORS], l[COLORS][COLORS], upper[COLORS][COLORS];
    V p[COLORS], q[COLORS], diagonal[COLORS] = {};
    twice_algebra_matrix(x, m, p);
    twice_algebra_matrix(y, l, q);
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++) {
            Complex z = third_terms<-1>(m, l, i, j);
            const V d = p[i] - p[j], e = q[i] - q[j];
            z.re += e * m[i][j].im - d * l[i][j].im;
            z.im += d * l[i][j].re - e * m[i][j].re;
            const V t = (l[i][j].im * m[i][j].re - l[i][j].re * m[i][j].im) * real(2);
            diagonal[i] += t;
            diagonal[j] -= t;
            upper[i][j] = {z.re * real(0.5), z.im * real(0.5)};
        }
    UNROLL for (int i = 0; i < COLORS; i++) diagonal[i] *= real(0.5);
    half_coefficients(upper, diagonal, r);
}
// Coefficients of the traceless part of (H X + X H) / 2, H = (P + P^+) / 2 and X = sum_a x_a T_a.
SITE_FUNCTION void anticommutator_coefficients(const Link &p, const V *x, V *r) {
    Complex h[COLORS][COLORS], l[COLORS][COLORS], upper[COLORS][COLORS];
    V q[COLORS], diagonal[COLORS];
    twice_algebra_matrix(x, l, q);
    UNROLL for (int i = 0; i < COLORS; i++) {
        diagonal[i] = p.e[i][i].re * q[i];
        UNROLL for (int j = i + 1; j < COLORS; j++) h[i][j] = {p.e[i][j].re + p.e[j][i].re, p.e[i][j].im - p.e[j][i].im};
    }
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++) {
            Complex z = third_terms<1>(h, l, i, j);
            const V d = (p.e[i][i].re + p.e[j][j].re) * real(2), e = q[i] + q[j];
            z.re += d * l[i][j].re - e * h[i][j].im;
            z.im += d * l[i][j].im + e * h[i][j].re;
            const V t = (l[i][j].im * h[i][j].re - l[i][j].re * h[i][j].im) * real(0.5);
            diagonal[i] += t;
            diagonal[j] += t;
            upper[i][j] = {z.re * real(0.25), z.im * real(0.25)};
        }
    half_coefficients(upper, diagonal, r);
}
SITE_FUNCTION void outer_coefficients(const ColorVector &w, const ColorVector &z, V *c) {
    Link m;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = 0; j < COLORS; j++) {
            m.e[i][j] = {V{}, V{}};
            add_product_conjugate(m.e[i][j], w.c[i], z.c[j]);
        }
    algebra_coefficients(m, c);
}
SITE_FUNCTION ColorVector multiply(const Link &m, const ColorVector &v) {
    ColorVector r;
    UNROLL for (int i = 0; i < COLORS; i++) {
        Complex sum = {};
        UNROLL for (int j = 0; j < COLORS; j++) add_product(sum, m.e[i][j], v.c[j]);
        r.c[i] = sum;
    }
    return r;
}
// rows made orthonormal one after the other (modified Gram-Schmidt), then the last row takes the phase of the determinant
#if COLORS == 3
SITE_FUNCTION void complete_row(Link &m) {  // third row = conj(first x second)
    UNROLL for (int j = 0; j < 3; j++) {
        Complex p = {}, q = {};
        add_product(p, m.e[0][(j + 1) % 3], m.e[1][(j + 2) % 3]);
        add_product(q, m.e[0][(j + 2) % 3], m.e[1][(j + 1) % 3]);
        m.e[2][j] = {p.re - q.re, q.im - p.im};
    }
}
#else
SITE_FUNCTION void complete_row(Link &m) {  // last row *= conj(det), det by elimination
    Link w = m;
    Complex det = {splat(1), V{}};
    for (int k = 0; k < COLORS; k++) {
        Complex pivot = w.e[k][k], d = {};
        add_product(d, det, pivot);
        det = d;
        V norm = real(1) / (pivot.re * pivot.re + pivot.im * pivot.im);
        for (int i = k + 1; i < COLORS; i++) {
            Complex f = {};
            add_product_conjugate(f, w.e[i][k], pivot);
            f = {f.re * -norm, f.im * -norm};
            for (int j = k + 1; j < COLORS; j++) add_product(w.e[i][j], f, w.e[k][j]);
        }
    }
    V size = square_root_lanes(det.re * det.re + det.im * det.im);
    det = {det.re / size, det.im / size};
    for (int j = 0; j < COLORS; j++) {
        Complex x = {};
        add_product_conjugate(x, m.e[COLORS - 1][j], det);
        m.e[COLORS - 1][j] = x;
    }
}
#endif
SITE_FUNCTION Link reunitarized(const Link &x) {
    Link m = x;
    for (int i = 0; i < (COLORS == 3 ? 2 : COLORS); i++) {
        for (int k = 0; k < i; k++) {
            Complex overlap = {};
            for (int j = 0; j < COLORS; j++) add_product_conjugate(overlap, m.e[i][j], m.e[k][j]);
            overlap = {-overlap.re, -overlap.im};
            for (int j = 0; j < COLORS; j++) add_product(m.e[i][j], overlap, m.e[k][j]);
        }
        V norm = {};
        for (int j = 0; j < COLORS; j++) norm += m.e[i][j].re * m.e[i][j].re + m.e[i][j].im * m.e[i][j].im;
        norm = real(1) / square_root_lanes(norm);
        for (int j = 0; j < COLORS; j++) m.e[i][j] = {m.e[i][j].re * norm, m.e[i][j].im * norm};
    }
    complete_row(m);
    return m;
}
// halvings that bring |P| (the root of sum P_a^2 / 2, a bound of the largest eigenvalue) below one
SITE_FUNCTION int exponential_halvings(const V *p, real &scale) {
    V norm = {};
    for (int a = 0; a < ALGEBRA; a++) norm += p[a] * p[a];
    int halvings = 0;
    scale = 1;
    for (real largest = largest_lane(norm) * real(0.5); largest > real(1) && halvings < 60; largest *= real(0.25)) {
        halvings++;
        scale *= real(0.5);
    }
    return halvings;
}
#if COLORS == 3
// Cayley-Hamilton: Q^3 = h Q + i d with h = tr Q^2 / 2, i d = det Q, so every power is in the span of 1, Q, Q^2.
// The Taylor sum is done by Horner on the three coefficients (18 orders: 1e-17 for |Q| <= 1), not on matrices.
SITE_CONSTANT double inverse_factorial[19] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
    1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0, 1.0 / 87178291200.0, 1.0 / 1307674368000.0,
    1.0 / 20922789888000.0, 1.0 / 355687428096000.0, 1.0 / 6402373705728000.0};
SITE_FUNCTION Link exponential(const V *p) {
    real scale;
    const int halvings = exponential_halvings(p, scale);
    V q[ALGEBRA];
    UNROLL for (int a = 0; a < ALGEBRA; a++) q[a] = p[a] * scale;
    const Link m = algebra_matrix(q);
    V h = {};
    UNROLL for (int a = 0; a < ALGEBRA; a++) h -= q[a] * q[a];
    h *= real(0.25);
    Link s = multiply(m, m);
    Complex det = {};
    UNROLL for (int j = 0; j < 3; j++) {
        Complex cofactor = {}, minus = {};
        add_product(cofactor, m.e[1][(j + 1) % 3], m.e[2][(j + 2) % 3]);
        add_product(minus, m.e[1][(j + 2) % 3], m.e[2][(j + 1) % 3]);
        cofactor = {cofactor.re - minus.re, cofactor.im - minus.im};
        add_product(det, m.e[0][j], cofactor);
    }
    const V d = det.im;
    Complex f0 = {splat((real)inverse_factorial[18]), V{}}, f1 = {}, f2 = {};
    for (int n = 17; n >= 0; n--) {
        Complex g0 = {real(inverse_factorial[n]) - d * f2.im, d * f2.re};
        Complex g1 = {f0.re + h * f2.re, f0.im + h * f2.im};
        f2 = f1; f1 = g1; f0 = g0;
    }
    Link r;
    UNROLL for (int i = 0; i < 3; i++)
        UNROLL for (int j = 0; j < 3; j++) {
            Complex x = {};
            if (i == j) x = f0;
            add_product(x, f1, m.e[i][j]);
            add_product(x, f2, s.e[i][j]);
            r.e[i][j] = x;
        }
    for (int k = 0; k < halvings; k++) r = multiply(r, r);
    return r;
}
#else
SITE_FUNCTION Link exponential(const V *p) {  // Taylor by Horner (|Q| <= 1), then squarings
    real scale;
    const int halvings = exponential_halvings(p, scale);
    V q[ALGEBRA];
    for (int a = 0; a < ALGEBRA; a++) q[a] = p[a] * scale;
    const Link m = algebra_matrix(q);
    Link r = identity();
    for (int n = 18; n >= 1; n--) {
        Link next = multiply(m, r);
        for (int i = 0; i < COLORS; i++)
            for (int j = 0; j < COLORS; j++) {
                r.e[i][j] = {next.e[i][j].re * real(1.0 / n), next.e[i][j].im * real(1.0 / n)};
                if (i == j) r.e[i][j].re += real(1);
            }
    }
    for (int k = 0; k < halvings; k++) r = multiply(r, r);
    return r;
}
#endif
