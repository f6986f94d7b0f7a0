// Hermitian matrices packed: the real diagonal, then the lower triangle row by row. `Block`: one chirality of the clover term
// of a site, 2 COLORS rows in the order (spin, colour). `Hermitian`: a colour matrix, i times which is in u(N).
#pragma once
#include "spinor.h"

#define CHIRAL (2 * COLORS)
#define BLOCK_REALS (CHIRAL * CHIRAL)
#define BLOCKS_REALS (2 * BLOCK_REALS)  // upper chirality (gamma_5 = 1), lower one
#define HERMITIAN_REALS (COLORS * COLORS)

template <int rows> struct Packed {
    V d[rows];
    Complex l[rows * (rows - 1) / 2];
};
typedef Packed<CHIRAL> Block;
typedef Packed<COLORS> Hermitian;

// place of element (i, j), j < i, in the lower triangle
SITE_FUNCTION constexpr int lower(int i, int j) { return i * (i - 1) / 2 + j; }

template <int rows> SITE_FUNCTION Complex entry(const Packed<rows> &h, int i, int j) {
    if (i == j) return {h.d[i], V{}};
    if (i > j) return h.l[lower(i, j)];
    return {h.l[lower(j, i)].re, -h.l[lower(j, i)].im};
}

// out += (block at p) in
SITE_FUNCTION void add_block_product(const real *p, Site x, const Complex *in, Complex *out) {
    UNROLL for (int i = 0; i < CHIRAL; i++) {
        const V d = load(p + i * LANES, x);
        out[i].re += d * in[i].re;
        out[i].im += d * in[i].im;
    }
    p += CHIRAL * LANES;
    UNROLL for (int i = 1; i < CHIRAL; i++)
        UNROLL for (int j = 0; j < i; j++) {
            Complex l = {load(p + 2 * lower(i, j) * LANES, x), load(p + (2 * lower(i, j) + 1) * LANES, x)};
            hold(l.re); hold(l.im);
            add_product(out[i], l, in[j]);
            add_conjugate_product(out[j], l, in[i]);
        }
}

// b <- b^-1 by b = L D L^+, L a unit lower triangle; pivots: D, all positive if and only if b is
SITE_FUNCTION void invert(Block &b, V *pivots) {
    UNROLL for (int j = 0; j < CHIRAL; j++) {
        V p = b.d[j];
        UNROLL for (int k = 0; k < j; k++) {
            const Complex c = b.l[lower(j, k)];
            p -= (c.re * c.re + c.im * c.im) * pivots[k];
        }
        pivots[j] = p;
        b.d[j] = real(1) / p;
        UNROLL for (int i = j + 1; i < CHIRAL; i++) {
            Complex sum = {};
            UNROLL for (int k = 0; k < j; k++) {
                const Complex c = b.l[lower(j, k)];
                add_product_conjugate(sum, b.l[lower(i, k)], {c.re * pivots[k], c.im * pivots[k]});
            }
            Complex &e = b.l[lower(i, j)];
            e = {(e.re - sum.re) * b.d[j], (e.im - sum.im) * b.d[j]};
        }
    }
    // L^-1: column j needs only columns to its right of L
    UNROLL for (int j = 0; j < CHIRAL; j++)
        UNROLL for (int i = j + 1; i < CHIRAL; i++) {
            Complex sum = b.l[lower(i, j)];
            UNROLL for (int k = j + 1; k < i; k++) add_product(sum, b.l[lower(i, k)], b.l[lower(k, j)]);
            b.l[lower(i, j)] = {-sum.re, -sum.im};
        }
    // L^-1+ D^-1 L^-1: row i needs only rows below it of L^-1
    UNROLL for (int i = 0; i < CHIRAL; i++) {
        UNROLL for (int j = 0; j < i; j++) {
            Complex sum = b.l[lower(i, j)];
            sum = {sum.re * b.d[i], sum.im * b.d[i]};
            UNROLL for (int k = i + 1; k < CHIRAL; k++) {
                const Complex c = b.l[lower(k, i)];
                add_conjugate_product(sum, {c.re * b.d[k], c.im * b.d[k]}, b.l[lower(k, j)]);
            }
            b.l[lower(i, j)] = sum;
        }
        UNROLL for (int k = i + 1; k < CHIRAL; k++) {
            const Complex c = b.l[lower(k, i)];
            b.d[i] += (c.re * c.re + c.im * c.im) * b.d[k];
        }
    }
}
