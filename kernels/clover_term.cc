// The clover term from the links, its inverse and determinant, and its force.
// A = 4 + m + (c_sw / 2) sum_k sigma_k (x) (-i)(B_k + E_k) on the upper chirality, B_k - E_k on the lower one, with the field
// strength F = (Q - Q^+) / 8 of the clover leaves: B_x = F_yz, B_y = F_zx, B_z = F_xy, E_k = F_kt.
#include "signatures.h"
#include "clover.h"
#include "philox.h"

// the four plaquettes of the plane that begin and end at x, each turning from mu to nu
SITE_FUNCTION Link clover_leaves(const Geometry &g, const real *links, Site x, int mu, int nu) {
    const Site right = forward(g, x, mu), left = backward(g, x, mu), up = forward(g, x, nu), down = backward(g, x, nu);
    const Link u_mu = load_link(g, links, x, mu), u_nu = load_link(g, links, x, nu);
    const Link left_mu = load_link(g, links, left, mu), down_nu = load_link(g, links, down, nu);
    Link sum = multiply_adjoint(multiply(u_mu, load_link(g, links, right, nu)), multiply(u_nu, load_link(g, links, up, mu)));
    add_multiply_adjoint(sum, multiply_adjoint(u_nu, load_link(g, links, backward(g, up, mu), mu)),
                         adjoint_multiply(left_mu, load_link(g, links, left, nu)));
    const Site corner = backward(g, left, nu);
    add_adjoint_multiply(sum, multiply(load_link(g, links, corner, nu), left_mu),
                         multiply(load_link(g, links, corner, mu), down_nu));
    add_multiply_adjoint(sum, adjoint_multiply(down_nu, load_link(g, links, down, mu)),
                         multiply_adjoint(u_mu, load_link(g, links, forward(g, down, mu), nu)));
    return sum;
}

// -i F = -i (Q - Q^+) / 8
SITE_FUNCTION Hermitian field_strength(const Link &q) {
    Hermitian f;
#if COLORS == 2
    const real quarter = 0.25;
    f.d[0] = q.e[1] * quarter;
    f.d[1] = -f.d[0];
    f.l[0] = {q.e[3] * quarter, q.e[2] * quarter};
#else
    const real eighth = 0.125;
    UNROLL for (int i = 0; i < COLORS; i++) {
        f.d[i] = q.e[i][i].im * (2 * eighth);
        UNROLL for (int j = 0; j < i; j++)
            f.l[lower(i, j)] = {(q.e[i][j].im + q.e[j][i].im) * eighth, (q.e[j][i].re - q.e[i][j].re) * eighth};
    }
#endif
    return f;
}

SITE_FUNCTION void store_complex(real *p, Site x, int place, const Complex &c) {
    store(p + (CHIRAL + 2 * place) * LANES, x, c.re);
    store(p + (CHIRAL + 2 * place + 1) * LANES, x, c.im);
}

// what sigma_k (x) h adds to a block; components x, y, z in turn, x writes what y adds to
SITE_FUNCTION void store_block_part(real *p, Site x, int k, const Hermitian &h, real diagonal) {
    if (k == 2) {
        UNROLL for (int i = 0; i < COLORS; i++) {
            store(p + i * LANES, x, diagonal + h.d[i]);
            store(p + (COLORS + i) * LANES, x, diagonal - h.d[i]);
            UNROLL for (int j = 0; j < i; j++) {
                const Complex c = h.l[lower(i, j)];
                store_complex(p, x, lower(i, j), c);
                store_complex(p, x, lower(COLORS + i, COLORS + j), {-c.re, -c.im});
            }
        }
        return;
    }
    UNROLL for (int i = 0; i < COLORS; i++)
        UNROLL for (int j = 0; j < COLORS; j++) {
            const int place = lower(COLORS + i, j);
            const real *held = p + (CHIRAL + 2 * place) * LANES;
            Complex c = entry(h, i, j);
            if (k == 1) c = {load(held, x) - c.im, load(held + LANES, x) + c.re};
            store_complex(p, x, place, c);
        }
}

SITE_FUNCTION void clover_blocks_site(const clover_blocks_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    real *p = a.blocks + element(g, x, BLOCKS_REALS);
    for (int k = 0; k < 3; k++) {
        if (fetches_ahead(g)) prefetch_links<3>(g, a.links, x, true, k);
        const Hermitian b = field_strength(clover_leaves(g, a.links, x, (k + 1) % 3, (k + 2) % 3));
        const Hermitian e = field_strength(clover_leaves(g, a.links, x, k, 3));
        Hermitian plus, minus;
        UNROLL for (int n = 0; n < HERMITIAN_REALS; n++) {
            ((V *)&plus)[n] = (((V *)&b)[n] + ((V *)&e)[n]) * a.factor;
            ((V *)&minus)[n] = (((V *)&b)[n] - ((V *)&e)[n]) * a.factor;
        }
        store_block_part(p, x, k, plus, a.diagonal);
        store_block_part(p + BLOCK_REALS * LANES, x, k, minus, a.diagonal);
    }
}
SITE_KERNEL(clover_blocks)

// inverse blocks of one parity; sums: log det, and the number of sites whose blocks are not positive
SITE_FUNCTION void clover_inverse_site(const clover_inverse_arguments &a, Site x, V *sums) {
    V determinant = splat(1);
    bool bad[VECTOR_LANES] = {};
    for (int chirality = 0; chirality < 2; chirality++) {
        const long at = (long)x.group * (BLOCKS_REALS * LANES) + chirality * (BLOCK_REALS * LANES);
        Block b;
        UNROLL for (int k = 0; k < BLOCK_REALS; k++) ((V *)&b)[k] = load(a.blocks + at + k * LANES, x);
        V pivots[CHIRAL];
        invert(b, pivots);
        UNROLL for (int k = 0; k < CHIRAL; k++) {
            determinant *= pivots[k];
            for (int i = 0; i < VECTOR_LANES; i++) bad[i] |= !(lane_get(pivots[k], i) > 0);
        }
        UNROLL for (int k = 0; k < BLOCK_REALS; k++) store(a.inverse + at + k * LANES, x, ((V *)&b)[k]);
    }
    V values = {}, count = {};
    for (int i = 0; i < VECTOR_LANES; i++) {
        lane_set(values, i, bad[i] ? real(0) : (real)logarithm(lane_get(determinant, i)));
        lane_set(count, i, bad[i] ? real(1) : real(0));
    }
    sums[0] += values;
    sums[1] += count;
}
REDUCTION_KERNEL(clover_inverse, 2)

// ------------------------------------------------------------------------------------------------ force
// An insertion is Lambda = i h for each plane, with sum_{x, mu < nu} Re tr Q_{mu nu} Lambda_{mu nu} the part of the action that
// depends on the links; h is stored, planes in the order B_x, B_y, B_z, E_x, E_y, E_z.
#define INSERTION_REALS (6 * HERMITIAN_REALS)

// sum over spins of sigma_k r
template <int k> SITE_FUNCTION Hermitian spin_trace(const Block &r) {
    Hermitian h;
    UNROLL for (int i = 0; i < COLORS; i++) {
        const Complex c = r.l[lower(COLORS + i, i)];
        h.d[i] = k == 2 ? r.d[i] - r.d[COLORS + i] : real(2) * (k == 0 ? c.re : c.im);
        UNROLL for (int j = 0; j < i; j++) {
            const Complex p = r.l[lower(i, j)], q = r.l[lower(COLORS + i, COLORS + j)];
            const Complex z = r.l[lower(COLORS + i, j)], w = r.l[lower(COLORS + j, i)];
            if (k == 0) h.l[lower(i, j)] = {z.re + w.re, z.im - w.im};
            if (k == 1) h.l[lower(i, j)] = {z.im + w.im, w.re - z.re};
            if (k == 2) h.l[lower(i, j)] = {p.re - q.re, p.im - q.im};
        }
    }
    return h;
}
// *to <- value, or *to + value
SITE_FUNCTION void put(real *to, Site x, const V &value, bool add) {
    store(to, x, add ? load(to, x) + value : value);
}

// insertions <- weight times those of the blocks, or their sum with what is there
template <int k>
SITE_FUNCTION void put_insertions(real *to, Site x, const Block &plus, const Block &minus, real weight, bool add) {
    const Hermitian p = spin_trace<k>(plus), m = spin_trace<k>(minus);
    UNROLL for (int n = 0; n < HERMITIAN_REALS; n++) {
        put(to + (k * HERMITIAN_REALS + n) * LANES, x, (((V *)&p)[n] + ((V *)&m)[n]) * weight, add);
        put(to + ((k + 3) * HERMITIAN_REALS + n) * LANES, x, (((V *)&p)[n] - ((V *)&m)[n]) * weight, add);
    }
    if constexpr (k + 1 < 3) put_insertions<k + 1>(to, x, plus, minus, weight, add);
}

// X Y^+ + Y X^+ of one chirality
SITE_FUNCTION void outer_block(const real *x_field, const real *y_field, Site site, Block &r) {
    Complex x[CHIRAL], y[CHIRAL];
    UNROLL for (int k = 0; k < 2 * CHIRAL; k++) {
        ((V *)x)[k] = load(x_field + k * LANES, site);
        ((V *)y)[k] = load(y_field + k * LANES, site);
    }
    UNROLL for (int i = 0; i < CHIRAL; i++) {
        r.d[i] = real(2) * (x[i].re * y[i].re + x[i].im * y[i].im);
        UNROLL for (int j = 0; j < i; j++) {
            Complex c = {};
            add_product_conjugate(c, x[i], y[j]);
            add_product_conjugate(c, y[i], x[j]);
            r.l[lower(i, j)] = c;
        }
    }
}

// insertions of weight 2 Re Y^+ A X at fixed X and Y
SITE_FUNCTION void clover_outer_site(const clover_outer_arguments &a, Site x) {
    const long at = element(a.geometry, x, SPINOR_REALS), half = SPINOR_REALS / 2 * LANES;
    Block plus, minus;
    outer_block(a.x + at, a.y + at, x, plus);
    outer_block(a.x + at + half, a.y + at + half, x, minus);
    put_insertions<0>(a.insertions + element(a.geometry, x, INSERTION_REALS), x, plus, minus, a.weight, a.add != 0);
}
SITE_KERNEL(clover_outer)

// insertions of log det A: A^-1 of one parity takes the place of X Y^+ + Y X^+
SITE_FUNCTION void clover_determinant_site(const clover_determinant_arguments &a, Site x) {
    const real *inverse = a.inverse + (long)x.group * (BLOCKS_REALS * LANES);
    Block plus, minus;
    UNROLL for (int k = 0; k < BLOCK_REALS; k++) {
        ((V *)&plus)[k] = load(inverse + k * LANES, x);
        ((V *)&minus)[k] = load(inverse + (BLOCK_REALS + k) * LANES, x);
    }
    put_insertions<0>(a.insertions + element(a.geometry, x, INSERTION_REALS), x, plus, minus, 1, false);
}
SITE_KERNEL(clover_determinant)

// factor Lambda of one plane
SITE_FUNCTION Link load_insertion(const Geometry &g, const real *insertions, Site x, int plane, real factor) {
    Hermitian h;
    load_reals<HERMITIAN_REALS>(g, insertions + element(g, x, INSERTION_REALS) + plane * (HERMITIAN_REALS * LANES), x, (V *)&h);
    UNROLL for (int k = 0; k < HERMITIAN_REALS; k++) ((V *)&h)[k] *= factor;
#if COLORS == 2
    return {{V{}, (h.d[0] - h.d[1]) * real(0.5), h.l[0].im, h.l[0].re}};
#else
    Link r;
    UNROLL for (int i = 0; i < COLORS; i++) {
        r.e[i][i] = {V{}, h.d[i]};
        UNROLL for (int j = 0; j < i; j++) {
            const Complex c = h.l[lower(i, j)];
            r.e[i][j] = {-c.im, c.re};
            r.e[j][i] = {c.im, c.re};
        }
    }
    return r;
#endif
}

// factor [Lambda(x) U_mu(x) + U_mu(x) Lambda(x + mu)]: the link between its two insertions
SITE_FUNCTION Link insert_both(const Geometry &g, const real *insertions, Site x, Site x_mu, int plane, const Link &u,
                               real factor) {
    Link sum = multiply(load_insertion(g, insertions, x, plane, factor), u);
    add_multiply(sum, u, load_insertion(g, insertions, x_mu, plane, factor));
    return sum;
}

// sum += factor times what multiplies U_mu(x) in the plaquettes of one plane with an insertion at each corner in turn. With
// A, B, C the links U_nu(x+mu), U_mu(x+nu), U_nu(x) and K = B with insertions at its ends: upper staple S = A B^+ C^+, with
// insertions -A K^+ C^+; the lower one turns the other way, so its sign is the opposite. Corners x and x + mu are common to both.
SITE_FUNCTION void add_clover_staples(const clover_force_arguments &a, Site x, Site x_mu, int mu, int nu, int plane, real factor,
                                      Link &sum) {
    const Geometry &g = a.geometry;
    Link staples;
    {
        const Site down = backward(g, x, nu), down_mu = backward(g, x_mu, nu);
        const Link far = load_link(g, a.links, down, mu), beside = load_link(g, a.links, down_mu, nu);
        const Link own = load_link(g, a.links, down, nu);
        staples = adjoint_multiply(multiply(far, beside), own);
        UNROLL for (int k = 0; k < LINK_REALS; k++) reals(staples)[k] = -reals(staples)[k];
        add_adjoint_multiply(sum, multiply(insert_both(g, a.insertions, down, down_mu, plane, far, factor), beside), own);
    }
    {
        const Site up = forward(g, x, nu), up_mu = forward(g, x_mu, nu);
        const Link far = load_link(g, a.links, up, mu), beside = load_link(g, a.links, x_mu, nu);
        const Link own = load_link(g, a.links, x, nu);
        add_multiply_adjoint(staples, multiply_adjoint(beside, far), own);
        add_multiply_adjoint(sum, multiply_adjoint(beside, insert_both(g, a.insertions, up, up_mu, plane, far, -factor)), own);
    }
    add_multiply(sum, staples, load_insertion(g, a.insertions, x, plane, factor));
    add_multiply(sum, load_insertion(g, a.insertions, x_mu, plane, factor), staples);
}

// force_a(x, mu) += weight c_a(U_mu(x) times its staples with insertions); Lambda_{nu mu} = -Lambda_{mu nu}
SITE_FUNCTION void clover_force_site(const clover_force_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const Site x_mu = forward(g, x, mu);
        Link sum = {};
        for (int nu = 0; nu < DIMENSIONS; nu++) {
            if (fetches_ahead(g)) prefetch_staples(g, a.links, x, mu, nu);
            if (nu == mu) continue;
            const int plane = nu == 3 ? 3 + mu : mu == 3 ? 3 + nu : 3 - mu - nu;
            const bool positive = nu == 3 || (mu != 3 && (nu - mu + 3) % 3 == 1);
            add_clover_staples(a, x, x_mu, mu, nu, plane, positive ? a.weight : -a.weight, sum);
        }
        put_coefficients(g, a.force, x, mu, multiply(load_link(g, a.links, x, mu), sum), real(1), true);
    }
}
SITE_KERNEL(clover_force)
