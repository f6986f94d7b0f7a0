// Philox4x32-10 (Salmon et al., SC11) and what is drawn from it. Key = (seed, purpose); counter = (global site,
// component, trajectory, draw): the same number on any rank, lane or device. Logarithm, sine and cosine are written
// out with explicit fused multiply-adds, so that Gaussians, too, have the same bits on every target.
#pragma once
#include "target.h"

struct Word4 {
    word x[4];
};

SITE_FUNCTION Word4 philox(Word4 counter, word key0, word key1) {
    word *c = counter.x;
    UNROLL for (int round = 0; round < 10; round++) {
        const word2 p0 = (word2)0xD2511F53u * c[0], p1 = (word2)0xCD9E8D57u * c[2];
        const word c1 = c[1], c3 = c[3];
        c[0] = (word)(p1 >> 32) ^ c1 ^ key0;
        c[1] = (word)p1;
        c[2] = (word)(p0 >> 32) ^ c3 ^ key1;
        c[3] = (word)p0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// in (0, 1), never 0 or 1: 52 bits and half a step
SITE_FUNCTION double uniform(word high, word low) {
    return fused((double)((((word2)high << 32) | low) >> 12), 1.0 / 4503599627370496.0, 0.5 / 4503599627370496.0);
}

// log u for 0 < u < 1: u = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m + 1))
SITE_FUNCTION double logarithm(double u) {
    union { double value; word2 bits; } b;
    b.value = u;
    int e = (int)(b.bits >> 52) - 1022;
    b.bits = (b.bits & 0x000FFFFFFFFFFFFFull) | 0x3FE0000000000000ull;  // [1/2, 1)
    double m = b.value;
    const bool low = m < 0.70710678118654752;
    m = low ? m * 2 : m;
    e -= low;
    const double s = (m - 1) / (m + 1), t = s * s;
    double sum = 1.0 / 23;
    UNROLL for (int k = 21; k >= 3; k -= 2) sum = fused(sum, t, 1.0 / k);
    return fused((double)e, 0.69314718055994531, 2 * fused(sum * t, s, s));
}

// sin and cos of 2 pi u
SITE_FUNCTION void sine_cosine(double u, double &sine, double &cosine) {
    const int quadrant = (int)(u * 4 + 0.5);
    const double r = (u * 4 - quadrant) * 1.5707963267948966, t = r * r;
    double s = 1, c = 1;
    UNROLL for (int k = 16; k >= 2; k -= 2) {
        s = fused(-s * t, 1.0 / (k * (k + 1)), 1.0);
        c = fused(-c * t, 1.0 / (k * (k - 1)), 1.0);
    }
    s *= r;
    const bool odd = quadrant & 1;
    const double x = odd ? c : s, y = odd ? s : c;
    sine = (quadrant & 2) ? -x : x;
    cosine = ((quadrant + 1) & 2) ? -y : y;
}

SITE_FUNCTION word site_number(const Geometry &g, Site x, int i) {
    return (word)g.site_numbers[((long)x.parity * g.stride + x.group) * LANES + lane_of(x, i)];
}

// two independent normal deviates in each lane (Box and Muller)
SITE_FUNCTION void gaussian_pair(const Geometry &g, Site x, const Random &random, int component, V &first, V &second) {
    for (int i = 0; i < VECTOR_LANES; i++) {
        const Word4 r = philox(Word4{{site_number(g, x, i), (word)component, random.trajectory, random.draw}},
                               random.seed, random.purpose);
        double sine, cosine;
        const double radius = square_root(-2 * logarithm(uniform(r.x[0], r.x[1])));
        sine_cosine(uniform(r.x[2], r.x[3]), sine, cosine);
        lane_set(first, i, (real)(radius * cosine));
        lane_set(second, i, (real)(radius * sine));
    }
}
