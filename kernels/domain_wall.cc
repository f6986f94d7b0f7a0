// Domain-wall quarks: the Wilson hopping term on LS spinors a site, with an operator of the fifth dimension applied to the sum
// while a site's spinors are at hand. (S psi)_s = P_- psi_{s+1} + P_+ psi_{s-1}, a factor -m where s goes round; all that the
// even-odd operator needs is (p + q S)(1 - k S)^-1, by two walks over s (docs/conventions.md, "Domain-wall quarks").
// On one lane the walk over s is the outer one, so that the sum stays in registers; on lanes the directions are: a neighbour's
// slices are one stream, and the sums stay in the first cache.
#ifndef LS
#define LS 8
#endif
#include "signatures.h"
#include "wilson_hop.h"

#define HALF_REALS (SPINOR_REALS / 2)  // of one chirality: gamma_5 = 1 first, then gamma_5 = -1
#define SLICE (SPINOR_REALS * LANES)   // from s to s + 1

// sum += all directions from `direction` on, of slice s
template <int direction, bool dagger, class Arguments>
SITE_FUNCTION void add_directions(const Arguments &a, const real *links, Site x, int s, Spinor &sum) {
    constexpr int mu = direction % DIMENSIONS, sign = (direction < DIMENSIONS) == dagger ? 1 : -1;
    const Site y = neighbour(a.geometry, x, direction);
    const real *psi = a.psi_other + (long)y.group * (FIELD_REALS * LANES) + s * SLICE;
    const HalfSpinor h = project<mu, sign>(a.geometry, psi, y);
    add_transported<mu, sign, COLORS>(sum, links + direction * (LINK_REALS * LANES), h, V{}, x);
    if constexpr (direction + 1 < DIRECTIONS) add_directions<direction + 1, dagger>(a, links, x, s, sum);
}

// Fetch ahead for the next lane group, a part with each slice: its links, the slices that no group before it has needed, of the
// neighbour in the slowest direction, and where the result goes; only where the fields of a solver are beyond the last cache.
template <class Arguments> SITE_FUNCTION void prefetch_slice(const Arguments &a, const real *links, Site x, int s) {
    constexpr int count = DIRECTIONS * LINK_REALS, share = (count + LS - 1) / LS;
    constexpr long field = FIELD_REALS * LANES, large = (1 << 21) / sizeof(real);
    if (a.geometry.groups * field < large || x.group + 1 >= a.geometry.groups) return;
    const Site ahead = neighbour(a.geometry, Site{x.parity, x.group + 1, 0}, DIMENSIONS - 1);
    prefetch_reals(links + (count + s * share) * LANES, share);
    prefetch_reals(a.psi_other + ahead.group * field + s * SLICE, SPINOR_REALS);
    prefetch_reals(a.out + (x.group + 1) * field + s * SLICE, SPINOR_REALS);
}

// the same of all slices
template <int direction, bool dagger, class Arguments>
SITE_FUNCTION void add_slices(const Arguments &a, const real *links, Site x, Spinor *sums) {
    constexpr int mu = direction % DIMENSIONS, sign = (direction < DIMENSIONS) == dagger ? 1 : -1;
    const Site y = neighbour(a.geometry, x, direction);
    const real *psi = a.psi_other + (long)y.group * (FIELD_REALS * LANES);
    for (int s = 0; s < LS; s++) {
        if constexpr (direction == 0) prefetch_slice(a, links, x, s);
        const HalfSpinor h = project<mu, sign>(a.geometry, psi + s * SLICE, y);
        add_transported<mu, sign, COLORS>(sums[s], links + direction * (LINK_REALS * LANES), h, V{}, x);
    }
    if constexpr (direction + 1 < DIRECTIONS) add_slices<direction + 1, dagger>(a, links, x, sums);
}

// what the sum reads beside the links; `out` only to fetch it ahead
struct Slices {
    const Geometry &geometry;
    const real *psi_other, *out;
};
template <bool dagger> SITE_ROUTINE void sum_slices(const Slices &a, const real *links, Site x, Spinor *__restrict__ sums) {
    for (int s = 0; s < LS; s++) sums[s] = Spinor{};
    add_slices<0, dagger>(a, links, x, sums);
}

// put(offset, (p + q S)(1 - k S)^-1 of the field at `from`) for each component of a site; put may overwrite `from`.
// With z = (1 - k S)^-1 psi along the walk: z_s = psi_s + k z_{s-1}, and what lies before the first is `wall` times the sum
// of k^(LS-1-s) psi_s, wall = -m / (1 + m k^LS). S walks up for gamma_5 = 1 and down for -1, S^+ the other way.
template <class Put>
SITE_FUNCTION void walk(const real *from, Site x, bool dagger, real p, real q, real k, real wall, Put put) {
    for (int chirality = 0; chirality < 2; chirality++) {
        const bool up = (chirality == 0) != dagger;
        const int first = (up ? 0 : LS - 1) * SLICE + chirality * (HALF_REALS * LANES), step = up ? SLICE : -SLICE;
        V z[HALF_REALS] = {};
        for (int s = 0, at = first; s < LS; s++, at += step)
            UNROLL for (int i = 0; i < HALF_REALS; i++) z[i] = k * z[i] + load(from + at + i * LANES, x);
        UNROLL for (int i = 0; i < HALF_REALS; i++) z[i] *= wall;
        for (int s = 0, at = first; s < LS; s++, at += step)
            UNROLL for (int i = 0; i < HALF_REALS; i++) {
                const V before = z[i];
                z[i] = k * before + load(from + at + i * LANES, x);
                put(at + i * LANES, p * z[i] + q * before);
            }
    }
}

// out = same psi_same + (p + q S)(1 - k S)^-1 H psi_other on a site of one parity, dagger: S^+ and H^+; norm += |out|^2.
// image, unless it is null: (image_p + image_q S')(1 - k S')^-1 out with the other one of S and S^+.
template <bool dagger, class Arguments> SITE_FUNCTION void hop(const Arguments &a, Site x, V *norm) {
    const real *links = a.hopping + element(a.geometry, x, DIRECTIONS * LINK_REALS);
    const long site = (long)x.group * (FIELD_REALS * LANES);
    real *out = a.out + site;
    const auto finish = [&](int at, V v) {
        if (a.same != 0) v += a.same * load(a.psi_same + site + at, x);
        store(out + at, x, v);
        *norm += v * v;
    };
    const bool local = a.q == 0 && a.k == 0;  // no fifth dimension
    if constexpr (LANES_IN_PLACE) {
        Spinor sums[LS];
        sum_slices<dagger>({a.geometry, a.psi_other, a.out}, links, x, sums);
        if (local) for (int i = 0; i < FIELD_REALS; i++) finish(i * LANES, a.p * ((V *)sums)[i]);
        else walk((const real *)sums, x, dagger, a.p, a.q, a.k, a.wall, finish);
    } else {
        for (int s = 0; s < LS; s++) {
            Spinor sum = {};
            add_directions<0, dagger>(a, links, x, s, sum);
            if (local) UNROLL for (int i = 0; i < SPINOR_REALS; i++) finish(s * SLICE + i * LANES, a.p * ((V *)&sum)[i]);
            else UNROLL for (int i = 0; i < SPINOR_REALS; i++) store(out + s * SLICE + i * LANES, x, ((V *)&sum)[i]);
        }
        if (!local) walk(out, x, dagger, a.p, a.q, a.k, a.wall, finish);
    }
    if (a.image)
        walk(out, x, !dagger, a.image_p, a.image_q, a.k, a.wall, [&](int at, V v) { store(a.image + site + at, x, v); });
}
SITE_FUNCTION void domain_wall_hop_site(const domain_wall_hop_arguments &a, Site x) {
    V norm = {};
    if (a.dagger) hop<true>(a, x, &norm);
    else hop<false>(a, x, &norm);
}
SITE_KERNEL(domain_wall_hop)

// the same, and the sum of |out(x)|^2
SITE_FUNCTION void domain_wall_hop_norm_site(const domain_wall_hop_norm_arguments &a, Site x, V *sums) {
    if (a.dagger) hop<true>(a, x, sums);
    else hop<false>(a, x, sums);
}
REDUCTION_KERNEL(domain_wall_hop_norm, 1)

// out = (p + q S)(1 - k S)^-1 psi on the parities of the range
SITE_FUNCTION void fifth_dimension_site(const fifth_dimension_arguments &a, Site x) {
    const long site = element(a.geometry, x, FIELD_REALS);
    walk(a.psi + site, x, a.dagger, a.p, a.q, a.k, a.wall, [&](int at, V v) { store(a.out + site + at, x, v); });
}
SITE_KERNEL(fifth_dimension)

// psi(x) = gamma_5 = 1 part of slice `right` and gamma_5 = -1 part of slice `left` of a field of LS spinors
SITE_FUNCTION void extract_walls_site(const extract_walls_arguments &a, Site x) {
    const real *from = a.slices + element(a.geometry, x, FIELD_REALS);
    real *to = a.psi + element(a.geometry, x, SPINOR_REALS);
    UNROLL for (int i = 0; i < SPINOR_REALS; i++)
        store(to + i * LANES, x, load(from + (i < HALF_REALS ? a.right : a.left) * SLICE + i * LANES, x));
}
SITE_KERNEL(extract_walls)

// the other way: psi spread over two slices, 0 elsewhere
SITE_FUNCTION void insert_walls_site(const insert_walls_arguments &a, Site x) {
    const real *from = a.psi + element(a.geometry, x, SPINOR_REALS);
    real *to = a.slices + element(a.geometry, x, FIELD_REALS);
    for (int s = 0; s < LS; s++)
        UNROLL for (int i = 0; i < SPINOR_REALS; i++)
            store(to + s * SLICE + i * LANES, x, s == (i < HALF_REALS ? a.right : a.left) ? load(from + i * LANES, x) : V{});
}
SITE_KERNEL(insert_walls)

// out = the LS / 2 lowest and the LS / 2 highest slices of a field of `slices` spinors
SITE_FUNCTION void wall_slices_site(const wall_slices_arguments &a, Site x) {
    const real *from = a.psi + element(a.geometry, x, a.slices * SPINOR_REALS);
    real *to = a.out + element(a.geometry, x, FIELD_REALS);
    for (int s = 0; s < LS; s++)
        UNROLL for (int i = 0; i < SPINOR_REALS; i++)
            store(to + s * SLICE + i * LANES, x, load(from + (s < LS / 2 ? s : s + a.slices - LS) * SLICE + i * LANES, x));
}
SITE_KERNEL(wall_slices)
