// Wilson-clover hops: the blocks of a site are applied together with the sum over its neighbours.
// D = A - H / 2, A = 4 + m + the clover term: two Hermitian blocks a site (clover.h), the same for D and D^+.
#include "signatures.h"
#include "wilson_hop.h"
#include "clover.h"

// out(x) = blocks psi_same(x) + other (H or H^+) psi_other(x); without psi_same: blocks (other (H or H^+) psi_other(x))
template <class Arguments> SITE_FUNCTION void hop(const Arguments &a, Site x, V *norm) {
    const Geometry &g = a.geometry;
    const real *blocks = a.blocks + (long)x.group * (BLOCKS_REALS * LANES);
    if (g.prefetch && x.group + PREFETCH_DISTANCE < g.groups)
        prefetch_reals(blocks + PREFETCH_DISTANCE * (BLOCKS_REALS * LANES), BLOCKS_REALS);
    Spinor sum[LS];
    sum_hops(g, {a.hopping, a.codes, a.signs, a.psi_other}, a.dagger, a.rows, x, sum);
    const long here = (long)x.group * (SPINOR_REALS * LANES);
    for (int chirality = 0; chirality < 2; chirality++) {
        const Complex *hop = (const Complex *)&sum + chirality * CHIRAL;
        const long at = here + chirality * (2 * CHIRAL * LANES);
        Complex in[CHIRAL], out[CHIRAL];
        UNROLL for (int k = 0; k < CHIRAL; k++) out[k] = {a.other * hop[k].re, a.other * hop[k].im};
        if (a.psi_same) {
            UNROLL for (int k = 0; k < 2 * CHIRAL; k++) ((V *)in)[k] = load(a.psi_same + at + k * LANES, x);
        } else {
            UNROLL for (int k = 0; k < CHIRAL; k++) {
                in[k] = out[k];
                out[k] = {V{}, V{}};
            }
        }
        add_block_product(blocks + chirality * (BLOCK_REALS * LANES), x, in, out);
        UNROLL for (int k = 0; k < 2 * CHIRAL; k++) {
            const V v = ((V *)out)[k];
            store(a.out + at + k * LANES, x, v);
            *norm += v * v;
        }
    }
}

SITE_FUNCTION void clover_hop_site(const clover_hop_arguments &a, Site x) {
    V norm = {};
    hop(a, x, &norm);
}
SITE_KERNEL(clover_hop)

// the same, and the sum of |out(x)|^2
SITE_FUNCTION void clover_hop_norm_site(const clover_hop_norm_arguments &a, Site x, V *sums) { hop(a, x, sums); }
REDUCTION_KERNEL(clover_hop_norm, 1)
