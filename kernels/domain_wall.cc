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

// Lanes: slices whose sums stay in the first cache beside what is read for them.
#define BLOCK 8
#define FIELD ((long)FIELD_REALS * LANES)
// How far fields of so many bytes are fetched ahead: 0 not, 1 links of the next lane group (fields are beyond the second-level
// cache), 2 the next neighbours too (the fields of a solver are beyond the last cache).
SITE_FUNCTION int look_ahead(const Geometry &g) {
    const long bytes = g.groups * FIELD * (long)sizeof(real);
    return (bytes > (2 << 20)) + (bytes > (5 << 20));
}

// what the sum reads beside the links
struct Slices {
    const Geometry &geometry;
    const real *psi;
};
SITE_FUNCTION const real *slices_at(const Slices &a, Site y) { return a.psi + y.group * FIELD; }

// The part of slice s in fetching ahead: links of the next group, this slice of the next direction, and in the slowest direction
// of the next group, where no group before it has been.
template <int direction, int ahead>
SITE_FUNCTION void prefetch_slice(const real *links, const real *next, const real *beyond, int s) {
    if constexpr (ahead > 0) {
        const int from = s * LINK_REALS / LS, to = (s + 1) * LINK_REALS / LS;
        prefetch_reals(links + ((DIRECTIONS + direction) * LINK_REALS + from) * LANES, to - from);
    }
    if constexpr (ahead > 1) prefetch_reals(next + s * SLICE, SPINOR_REALS);
    if constexpr (ahead > 1 && direction == DIMENSIONS - 1) prefetch_reals(beyond + s * SLICE, SPINOR_REALS);
}

// the same of a block of slices; `after` is the next group
template <int direction, bool dagger, int ahead>
SITE_FUNCTION void add_slices(const Slices &a, const real *links, Site x, Site after, int first, Spinor *sums) {
    constexpr int mu = direction % DIMENSIONS, sign = (direction < DIMENSIONS) == dagger ? 1 : -1;
    constexpr bool turn = direction + 1 == DIRECTIONS;  // to the next block, or the next group
    const int last = first + BLOCK < LS ? first + BLOCK : LS;
    const Site y = neighbour(a.geometry, x, direction);
    const real *psi = slices_at(a, y), *next = psi, *beyond = psi;
    if constexpr (ahead > 1) {
        next = slices_at(a, neighbour(a.geometry, turn && last == LS ? after : x, (direction + 1) % DIRECTIONS));
        if (turn) next += (last == LS ? -first : BLOCK) * SLICE;
        if (direction == DIMENSIONS - 1) beyond = slices_at(a, neighbour(a.geometry, after, direction));
    }
    for (int s = first; s < last; s++) {
        prefetch_slice<direction, ahead>(links, next, beyond, s);
        const HalfSpinor h = project<mu, sign>(a.geometry, psi + s * SLICE, y);
        add_transported<mu, sign, COLORS>(sums[s], links + direction * (LINK_REALS * LANES), h, V{}, x);
    }
    if constexpr (!turn) add_slices<direction + 1, dagger, ahead>(a, links, x, after, first, sums);
}
template <bool dagger, int ahead>
SITE_ROUTINE void sum_slices(const Slices &a, const real *links, Site x, Spinor *__restrict__ sums) {
    const Site after = Site{x.parity, x.group + 1 < a.geometry.groups ? x.group + 1 : x.group, 0};
    for (int s = 0; s < LS; s++) sums[s] = Spinor{};
    for (int first = 0; first < LS; first += BLOCK) add_slices<0, dagger, ahead>(a, links, x, after, first, sums);
}
template <bool dagger>
SITE_FUNCTION void sum_all_slices(int ahead, const Slices &a, const real *links, Site x, Spinor *sums) {
    if (ahead == 0) sum_slices<dagger, 0>(a, links, x, sums);
    else if (ahead == 1) sum_slices<dagger, 1>(a, links, x, sums);
    else sum_slices<dagger, 2>(a, links, x, sums);
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

// |psi|^2 of a site of one field, in many sums: one would wait for itself
SITE_FUNCTION V squared(const real *psi, Site x) {
    V sums[HALF_REALS] = {}, total = {};
    for (int at = 0; at < FIELD; at += HALF_REALS * LANES)
        UNROLL for (int i = 0; i < HALF_REALS; i++) {
            const V v = load(psi + at + i * LANES, x);
            sums[i] += v * v;
        }
    UNROLL for (int i = 0; i < HALF_REALS; i++) total += sums[i];
    return total;
}

// From the sum H psi_other of a site, at `sums`, what `hop` promises; put(p, v) writes to a field. `sums` may be the site of
// a.out; else it holds `out` in the end if that is needed again.
template <class Arguments, class Put> SITE_FUNCTION void finish(const Arguments &a, real *sums, Site x, V *norm, Put put) {
    const long site = (long)x.group * FIELD;
    const bool keep = a.image || norm;
    const auto write = [&](int at, V v) {
        if (a.same != 0) v += a.same * load(a.psi_same + site + at, x);
        put(a.out + site + at, v);
        if (LANES_IN_PLACE && keep) store(sums + at, x, v);
    };
    if (a.q == 0 && a.k == 0)  // no fifth dimension
        for (int i = 0; i < FIELD_REALS; i++) write(i * LANES, a.p * load(sums + i * LANES, x));
    else
        walk(sums, x, a.dagger, a.p, a.q, a.k, a.wall, write);
    if (norm) *norm += squared(sums, x);
    if (a.image)
        walk(sums, x, !a.dagger, a.image_p, a.image_q, a.k, a.wall, [&](int at, V v) { put(a.image + site + at, v); });
}

// out = same psi_same + (p + q S)(1 - k S)^-1 H psi_other on a site of one parity, dagger: S^+ and H^+; norm, unless it is
// null, += |out|^2. image, unless it is null: (image_p + image_q S')(1 - k S')^-1 out with the other one of S and S^+.
template <class Arguments> SITE_FUNCTION void hop(const Arguments &a, Site x, V *norm) {
    const real *links = a.hopping + element(a.geometry, x, DIRECTIONS * LINK_REALS);
    const auto put = [&](real *p, V v) { store(p, x, v); };
    if constexpr (LANES_IN_PLACE) {
        Spinor sums[LS];
        const int ahead = look_ahead(a.geometry);
        if (a.dagger) sum_all_slices<true>(ahead, {a.geometry, a.psi_other}, links, x, sums);
        else sum_all_slices<false>(ahead, {a.geometry, a.psi_other}, links, x, sums);
        if (ahead < 2) finish(a, (real *)sums, x, norm, put);
        else finish(a, (real *)sums, x, norm, [&](real *p, V v) { stream(p, x, v); });
    } else {
        real *out = a.out + (long)x.group * FIELD;
        for (int s = 0; s < LS; s++) {
            Spinor sum = {};
            if (a.dagger) add_directions<0, true>(a, links, x, s, sum);
            else add_directions<0, false>(a, links, x, s, sum);
            UNROLL for (int i = 0; i < SPINOR_REALS; i++) store(out + s * SLICE + i * LANES, x, ((V *)&sum)[i]);
        }
        finish(a, out, x, norm, put);
    }
}
SITE_FUNCTION void domain_wall_hop_site(const domain_wall_hop_arguments &a, Site x) { hop(a, x, nullptr); }
SITE_KERNEL(domain_wall_hop)

// the same, and the sum of |out(x)|^2
SITE_FUNCTION void domain_wall_hop_norm_site(const domain_wall_hop_norm_arguments &a, Site x, V *sums) { hop(a, x, sums); }
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
