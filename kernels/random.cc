// Fields of random numbers.
#include "signatures.h"
#include "philox.h"

// field <- scale * normal deviates
SITE_FUNCTION void gaussian_site(const gaussian_arguments &a, Site x) {
    real *field = a.field + element(a.geometry, x, a.components);
    for (int k = 0; k < a.components; k += 2) {
        V first, second;
        gaussian_pair(a.geometry, x, a.random, k / 2, first, second);
        store(field + k * LANES, x, first * a.scale);
        if (k + 1 < a.components) store(field + (k + 1) * LANES, x, second * a.scale);
    }
}
SITE_KERNEL(gaussian)

// field <- uniform deviates in (0, 1), one Philox call each; component = counter
SITE_FUNCTION void uniform_field_site(const uniform_field_arguments &a, Site x) {
    real *field = a.field + element(a.geometry, x, a.components);
    for (int k = 0; k < a.components; k++) {
        V value;
        for (int i = 0; i < VECTOR_LANES; i++) {
            const Word4 r = philox(Word4{{site_number(a.geometry, x, i), (word)k, a.random.trajectory, a.random.draw}},
                                   a.random.seed, a.random.purpose);
            lane_set(value, i, (real)uniform(r.x[0], r.x[1]));
        }
        store(field + k * LANES, x, value);
    }
}
SITE_KERNEL(uniform_field)

// the four words for one counter: known answers
SITE_FUNCTION void philox_words_scalar(const philox_words_arguments &a) {
    const Word4 r = philox(Word4{{a.counter[0], a.counter[1], a.counter[2], a.counter[3]}}, a.counter[4], a.counter[5]);
    for (int k = 0; k < 4; k++) a.words[k] = r.x[k];
}
SCALAR_KERNEL(philox_words)
