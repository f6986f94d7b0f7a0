// Attention of a link to the loops through it (docs/conventions.md, "Networks"), one loop i a launch. With links U, queries U^Q,
// keys U^K and values U^V: scores s = scale Re tr(U^Q c_i(U^K)^+ - U c_i(U)^+), c_i the mean of the open paths of loop i, attention
// a = s / sqrt(1 + s^2), and the paths that smear the link are C = sum_i (r_i + a_i) c_i(U^V), r_i = n_i rho_i with n_i paths.
#include "signatures.h"
#include "lattice.h"

SITE_FUNCTION real *score_of(const Geometry &g, real *scores, Site x, int mu) {
    return scores + element(g, x, DIMENSIONS) + (long)mu * LANES;
}
SITE_FUNCTION const real *score_of(const Geometry &g, const real *scores, Site x, int mu) {
    return scores + element(g, x, DIMENSIONS) + (long)mu * LANES;
}

SITE_FUNCTION void attention_scores_site(const attention_scores_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const V seen = real_trace_multiply_adjoint(load_link(g, a.queries, x, mu), load_link(g, a.key_paths, x, mu));
        const V thin = real_trace_multiply_adjoint(load_link(g, a.links, x, mu), load_link(g, a.paths, x, mu));
        store(score_of(g, a.scores, x, mu), x, (seen - thin) * a.scale);
    }
}
SITE_KERNEL(attention_scores)

// out <- what it is, or 0, plus (weight + a) paths; a = 0 without scores
SITE_FUNCTION void attended_paths_site(const attended_paths_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        V factor = splat((real)*a.weight);
        if (a.scores) {
            const V s = load(score_of(g, a.scores, x, mu), x);
            factor += s / square_root_lanes(s * s + real(1));
        }
        Link sum = scaled(load_link(g, a.paths, x, mu), factor);
        if (a.add) add(sum, load_link(g, a.out, x, mu));
        store_link(g, a.out, x, mu, sum);
    }
}
SITE_KERNEL(attended_paths)

// From D of the paths C: what stands for D of c_i(U^V), c_i(U^K) and c_i(U), and the forces by the first factors of the score on
// queries and on links. da/ds = (1 + s^2)^(-3/2).
SITE_FUNCTION void attention_pull_back_site(const attention_pull_back_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int mu = 0; mu < DIMENSIONS; mu++) {
        const V s = load(score_of(g, a.scores, x, mu), x), square = s * s + real(1), root = square_root_lanes(square);
        const Link d = load_link(g, a.insertions, x, mu), u = load_link(g, a.links, x, mu), q = load_link(g, a.queries, x, mu);
        const V turn = real_trace_multiply_adjoint(d, load_link(g, a.value_paths, x, mu)) * a.scale / (square * root);
        store_link(g, a.value_insertions, x, mu, scaled(d, s / root + (real)*a.rho));
        store_link(g, a.key_insertions, x, mu, scaled(q, turn));
        store_link(g, a.link_insertions, x, mu, scaled(u, -turn));
        put_coefficients(g, a.query_force, x, mu, multiply_adjoint(q, load_link(g, a.key_paths, x, mu)), turn * real(-0.5), a.add);
        put_coefficients(g, a.force, x, mu, multiply_adjoint(u, load_link(g, a.paths, x, mu)), turn * (a.weight * real(0.5)), true);
    }
}
SITE_KERNEL(attention_pull_back)
