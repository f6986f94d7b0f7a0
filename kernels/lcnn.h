// Fields of gauge-equivariant convolutional networks (L-CNN, arXiv:2012.12901): W(x) -> Omega(x) W(x) Omega(x)^+ in several
// channels, and the two steps of their layers: transport to x from other sites, and products at x. Their derivatives are the
// adjoint linear maps, for the inner product of components. docs/conventions.md, "Lattice gauge equivariant networks".
//
// A matrix W is kept as its Hermitian and its anti-Hermitian part, so that a real combination of W and W^+ acts on each part by
// a factor: SU(2) quaternions as they are (the first of their four reals is the Hermitian part), other matrices by COLORS^2
// reals each: the diagonal, then for each i < j (W_ij + W_ji^*) / sqrt 2 as real and imaginary part; of -i (W - W^+) / 2 alike.
// Components are orthonormal: their sum of squares is |W|^2 (quaternions: half of it).
//
// Lanes are samples. Arrays of one block of samples are (channel, component, site, lane), a chunk of sites in work arrays;
// links (real, site, lane). A group of the range is a site; `targets` are the sites that shifts lead to.
#pragma once
#include "group.h"
#include "exponential.h"

#define COMPONENTS LINK_REALS

// ------------------------------------------------------------------------------------------------ components
#if FULL_MATRICES
SITE_FUNCTION Link from_components(const V *c) {
    const real half = (real)square_root(0.5);
    const V *h = c, *a = c + COLORS * COLORS;
    Link r;
    UNROLL for (int i = 0; i < COLORS; i++) r.e[i][i] = {h[i], a[i]};
    int k = COLORS;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++, k += 2) {
            r.e[i][j] = {(h[k] - a[k + 1]) * half, (h[k + 1] + a[k]) * half};
            r.e[j][i] = {(h[k] + a[k + 1]) * half, (a[k] - h[k + 1]) * half};
        }
    return r;
}
SITE_FUNCTION void to_components(const Link &x, V *c) {
    const real half = (real)square_root(0.5);
    V *h = c, *a = c + COLORS * COLORS;
    UNROLL for (int i = 0; i < COLORS; i++) {
        h[i] = x.e[i][i].re;
        a[i] = x.e[i][i].im;
    }
    int k = COLORS;
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = i + 1; j < COLORS; j++, k += 2) {
            h[k] = (x.e[i][j].re + x.e[j][i].re) * half;
            h[k + 1] = (x.e[i][j].im - x.e[j][i].im) * half;
            a[k] = (x.e[i][j].im + x.e[j][i].im) * half;
            a[k + 1] = (x.e[j][i].re - x.e[i][j].re) * half;
        }
}
#else
SITE_FUNCTION Link from_components(const V *c) { return {{c[0], c[1], c[2], c[3]}}; }
SITE_FUNCTION void to_components(const Link &x, V *c) { UNROLL for (int k = 0; k < 4; k++) c[k] = x.e[k]; }
#endif

// where component 0 of a channel begins at a site, of `sites` in the array; the next component is sites * LANES further
SITE_FUNCTION long place(int channel, int sites, int site) { return ((long)channel * COMPONENTS * sites + site) * LANES; }
// The same in work arrays, rows of matrices at a chunk of sites. Rows are `length` lane groups apart, which should be no power of
// 2: many of them are in use at once, and would all want the same lines of the cache.
SITE_FUNCTION long work_place(int row, int length, int site) { return ((long)row * length + site) * LANES; }

SITE_FUNCTION Link load_reals(const real *p, int sites, Site x) {
    Link r;
    UNROLL for (int k = 0; k < LINK_REALS; k++) reals(r)[k] = load(p + (long)k * sites * LANES, x);
    return r;
}
SITE_FUNCTION void store_reals(real *p, int sites, Site x, const Link &u) {
    UNROLL for (int k = 0; k < LINK_REALS; k++) store(p + (long)k * sites * LANES, x, reals(u)[k]);
}
SITE_FUNCTION void add_reals(real *p, int sites, Site x, const Link &u) {
    UNROLL for (int k = 0; k < LINK_REALS; k++)
        store(p + (long)k * sites * LANES, x, load(p + (long)k * sites * LANES, x) + reals(u)[k]);
}
SITE_FUNCTION Link load_matrix(const real *p, int sites, Site x) {
    const Link r = load_reals(p, sites, x);
    return from_components(reals(r));
}
SITE_FUNCTION void store_matrix(real *p, int sites, Site x, const Link &w) {
    Link r;
    to_components(w, reals(r));
    store_reals(p, sites, x, r);
}
SITE_FUNCTION void add_matrix(real *p, int sites, Site x, const Link &w) {
    Link r;
    to_components(w, reals(r));
    add_reals(p, sites, x, r);
}

// ------------------------------------------------------------------------------------------------ transport
// out_{s, j}(x) = U_s(x) W_j(x + s) U_s(x)^+ for all shifts s, U_s the product of links on the way; before them, with `local`,
// the W_j(x) themselves
SITE_FUNCTION void lcnn_transport_site(const lcnn_transport_arguments &a, Site x) {
    const int site = x.group, to = site - a.range.begin;
    for (int j = 0; a.local && j < a.channels; j++) {
        const Link w = load_reals(a.field + place(j, a.sites, site), a.sites, x);
        store_reals(a.out + work_place(j, a.length, to), a.chunk, x, w);
    }
    for (int s = 0; s < a.shifts; s++) {
        const int from = a.targets[(long)s * a.sites + site], first = (s + a.local) * a.channels;
        const Link u = load_reals(a.links + place(s, a.sites, site), a.sites, x);
        for (int j = 0; j < a.channels; j++) {
            const Link w = load_matrix(a.field + place(j, a.sites, from), a.sites, x);
            store_matrix(a.out + work_place(first + j, a.length, to), a.chunk, x, multiply_adjoint(multiply(u, w), u));
        }
    }
}
SITE_KERNEL(lcnn_transport)

// The way back of one shift, or, without links, of the local part: dW_j(x + s) += U^+ G_j U, dU += G_j U W_j^+ + G_j^+ U W_j.
// A shift is one to one, so no two groups write to the same site.
SITE_FUNCTION void lcnn_transport_back_site(const lcnn_transport_back_arguments &a, Site x) {
    const int site = x.group, at = site - a.range.begin;
    if (!a.links) {
        for (int j = 0; j < a.channels; j++)
            add_reals(a.field_gradient + place(j, a.sites, site), a.sites, x,
                      load_reals(a.gradient + work_place(j, a.length, at), a.chunk, x));
        return;
    }
    const int from = a.targets[site];
    const Link u = load_reals(a.links + (long)site * LANES, a.sites, x);
    Link du = {};
    for (int j = 0; j < a.channels; j++) {
        const Link g = load_matrix(a.gradient + work_place(j, a.length, at), a.chunk, x);
        add_matrix(a.field_gradient + place(j, a.sites, from), a.sites, x, multiply(adjoint_multiply(u, g), u));
        if (a.link_gradient) {
            const Link w = load_matrix(a.field + place(j, a.sites, from), a.sites, x);
            add_multiply_adjoint(du, g, multiply_adjoint(w, u));
            add_adjoint_multiply(du, g, multiply(u, w));
        }
    }
    if (a.link_gradient) add_reals(a.link_gradient + (long)site * LANES, a.sites, x, du);
}
SITE_KERNEL(lcnn_transport_back)

// ------------------------------------------------------------------------------------------------ products
// out_i = sum_j W_j M_{i,j}, with `daggers` + sum_j W_j^+ M_{i,n+j}, with `unit` + the last M of i
SITE_FUNCTION void lcnn_bilinear_site(const lcnn_bilinear_arguments &a, Site x) {
    const int site = x.group, at = site - a.range.begin, rows = a.channels * (1 + a.daggers) + a.unit;
    for (int i = 0; i < a.outputs; i++) {
        Link sum = {};
        if (a.unit) sum = load_matrix(a.mixed + work_place((i + 1) * rows - 1, a.length, at), a.chunk, x);
        for (int j = 0; j < a.channels; j++) {
            const Link w = load_matrix(a.field + place(j, a.sites, site), a.sites, x);
            add_multiply(sum, w, load_matrix(a.mixed + work_place(i * rows + j, a.length, at), a.chunk, x));
            if (a.daggers)
                add_adjoint_multiply(sum, w, load_matrix(a.mixed + work_place(i * rows + a.channels + j, a.length, at), a.chunk, x));
        }
        store_matrix(a.out + place(i, a.sites, site), a.sites, x, sum);
    }
}
SITE_KERNEL(lcnn_bilinear)

// From G = dL/dout: dW_j += sum_i G_i M_{i,j}^+ + M_{i,n+j} G_i^+; in the place of M: W_j^+ G_i, W_j G_i, G_i
SITE_FUNCTION void lcnn_bilinear_back_site(const lcnn_bilinear_back_arguments &a, Site x) {
    const int site = x.group, at = site - a.range.begin, rows = a.channels * (1 + a.daggers) + a.unit;
    for (int j = 0; j < a.channels; j++) {
        const Link w = load_matrix(a.field + place(j, a.sites, site), a.sites, x);
        Link dw = {};
        for (int i = 0; i < a.outputs; i++) {
            const Link g = load_matrix(a.gradient + place(i, a.sites, site), a.sites, x);
            real *m = a.mixed + work_place(i * rows + j, a.length, at), *n = a.mixed + work_place(i * rows + a.channels + j, a.length, at);
            add_multiply_adjoint(dw, g, load_matrix(m, a.chunk, x));
            store_matrix(m, a.chunk, x, adjoint_multiply(w, g));
            if (a.daggers) {
                add_multiply_adjoint(dw, load_matrix(n, a.chunk, x), g);
                store_matrix(n, a.chunk, x, multiply(w, g));
            }
        }
        add_matrix(a.field_gradient + place(j, a.sites, site), a.sites, x, dw);
    }
    for (int i = 0; a.unit && i < a.outputs; i++)
        store_reals(a.mixed + work_place((i + 1) * rows - 1, a.length, at), a.chunk, x,
                    load_reals(a.gradient + place(i, a.sites, site), a.sites, x));
}
SITE_KERNEL(lcnn_bilinear_back)

// ------------------------------------------------------------------------------------------------ links
SITE_FUNCTION Link adjoint_if(int adjoined, const Link &x) { return adjoined ? adjoint(x) : x; }

// out(x) = A(x + s) B(x + t), A^+ or B^+ where asked; a group of the range is a site of one of many blocks of samples
SITE_FUNCTION void lcnn_link_product_site(const lcnn_link_product_arguments &a, Site x) {
    const int block = x.group / a.sites, site = x.group % a.sites;
    const Link left = load_reals(a.left + block * a.left_stride + (long)a.left_targets[site] * LANES, a.sites, x);
    const Link right = load_reals(a.right + block * a.right_stride + (long)a.right_targets[site] * LANES, a.sites, x);
    store_reals(a.out + ((long)block * LINK_REALS * a.sites + site) * LANES, a.sites, x,
                multiply(adjoint_if(a.left_adjoint, left), adjoint_if(a.right_adjoint, right)));
}
SITE_KERNEL(lcnn_link_product)

SITE_FUNCTION void lcnn_link_product_back_site(const lcnn_link_product_back_arguments &a, Site x) {
    const int block = x.group / a.sites, site = x.group % a.sites;
    const long at = (long)a.left_targets[site] * LANES, bt = (long)a.right_targets[site] * LANES;
    const Link left = load_reals(a.left + block * a.left_stride + at, a.sites, x);
    const Link right = load_reals(a.right + block * a.right_stride + bt, a.sites, x);
    const long own = (long)block * LINK_REALS * a.sites * LANES;
    const Link g = load_reals(a.gradient + own + (long)site * LANES, a.sites, x);
    const Link dl = multiply(g, adjoint_if(!a.right_adjoint, right)), dr = multiply(adjoint_if(!a.left_adjoint, left), g);
    store_reals(a.left_gradient + own + at, a.sites, x, adjoint_if(a.left_adjoint, dl));
    store_reals(a.right_gradient + own + bt, a.sites, x, adjoint_if(a.right_adjoint, dr));
}
SITE_KERNEL(lcnn_link_product_back)

SITE_FUNCTION void load_coefficients(const real *p, int sites, Site x, V *q) {
    UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] = load(p + (long)k * sites * LANES, x);
}
// U' = exp(Q) U, Q = sum_a q_a T_a
SITE_FUNCTION void lcnn_exponential_site(const lcnn_exponential_arguments &a, Site x) {
    const int block = x.group / a.sites, site = x.group % a.sites;
    const long at = ((long)block * LINK_REALS * a.sites + site) * LANES;
    V q[ALGEBRA];
    load_coefficients(a.coefficients + ((long)block * ALGEBRA * a.sites + site) * LANES, a.sites, x, q);
    store_reals(a.out + at, a.sites, x, multiply(exponential(q), load_reals(a.links + at, a.sites, x)));
}
SITE_KERNEL(lcnn_exponential)

// From G = dL/dU': dU = exp(-Q) G, dq_a = <G, d_a exp(Q) U> = c_a(int_0^1 e^{sQ} exp(-Q) G U^+ e^{-sQ} ds) / 2; of quaternions,
// whose inner product is half of Re tr, half of that
SITE_FUNCTION void lcnn_exponential_back_site(const lcnn_exponential_back_arguments &a, Site x) {
    const int block = x.group / a.sites, site = x.group % a.sites;
    const long at = ((long)block * LINK_REALS * a.sites + site) * LANES, qt = ((long)block * ALGEBRA * a.sites + site) * LANES;
    V q[ALGEBRA], c[ALGEBRA];
    load_coefficients(a.coefficients + qt, a.sites, x, q);
    UNROLL for (int k = 0; k < ALGEBRA; k++) q[k] = -q[k];
    const Link inverse = exponential(q), du = multiply(inverse, load_reals(a.gradient + at, a.sites, x));
    store_reals(a.link_gradient + at, a.sites, x, du);
    algebra_coefficients(multiply_adjoint(du, load_reals(a.links + at, a.sites, x)), c);
    Link lambda, e;
    average_over_exponential(q, algebra_matrix(c), lambda, e);
    algebra_coefficients(lambda, c);
    UNROLL for (int k = 0; k < ALGEBRA; k++)
        store(a.coefficient_gradient + qt + (long)k * a.sites * LANES, x, c[k] * real(FULL_MATRICES ? 0.5 : 0.25));
}
SITE_KERNEL(lcnn_exponential_back)
