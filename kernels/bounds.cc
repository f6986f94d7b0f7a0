// What the machine can do: multiply-adds in registers, and bytes to and from memory.
#include "signatures.h"

// 2 * FMA_CHAINS * rounds flops a lane
SITE_FUNCTION void multiply_add_peak_site(const multiply_add_peak_arguments &a, Site x) {
    V chain[FMA_CHAINS];
    const V factor = load(a.data, x), term = load(a.data + LANES, x);
    UNROLL for (int k = 0; k < FMA_CHAINS; k++) chain[k] = factor * real(k + 1);
    for (int round = 0; round < a.rounds; round++)
        UNROLL for (int k = 0; k < FMA_CHAINS; k++) chain[k] = chain[k] * factor + term;
    V sum = chain[0];
    UNROLL for (int k = 1; k < FMA_CHAINS; k++) sum += chain[k];
    store(a.out + (long)x.group * LANES, x, sum);
}
SITE_KERNEL(multiply_add_peak)

// out <- x + s y: two reads and a write; as in `combine`, without its choice
SITE_FUNCTION void triad_site(const triad_arguments &a, Site x) {
    const long i = (long)x.group * LANES;
    store(a.out + i, x, load(a.x + i, x) + a.s * load(a.y + i, x));
}
LINEAR_KERNEL(triad)
