// Markov chains of integer fluxes k and l of a complex scalar field in two dimensions (slhmc/scalar/worm.py has the derivation).
// A call takes one chain: chains side by side are what threads share. Arrays are (chain, site, direction) and (chain, site).
//
// Each site has its power p = (f + ends of the worm on it) / 2, so that its weight is W(2p) whether the worm is open or not.
// ratios[p] = W(2p + 2) / W(2p) is all that is ever read of W. The head carries the flux `charge` with it: on a link that it
// follows k changes by charge, on one that it goes against by -charge. Where |k| grows so does the power that the head comes
// to; where |k| falls so does the one that it leaves.
#include "signatures.h"
#include "philox.h"

#define CLOSE_BIT 4u  // of a draw: at home, the choice between closing and moving

struct Draw {
    double u;
    word bits;  // 12 that u does not contain
};

// Draws of one sweep of one chain, two from each call of Philox. Counter = (chain, call, sweep, draw + call / 2^32).
struct Stream {
    Random random;
    word chain;
    word2 calls;
    Word4 words;
    bool second;
};
SITE_FUNCTION Stream stream_of(const Random &random, long chain, word sweep) {
    Stream s = {};
    s.random = random;
    s.random.trajectory += sweep;
    s.chain = (word)chain;
    return s;
}
SITE_FUNCTION Draw next_draw(Stream &s) {
    if (!s.second) {
        s.words = philox(Word4{{s.chain, (word)s.calls, s.random.trajectory, s.random.draw + (word)(s.calls >> 32)}},
                         s.random.seed, s.random.purpose);
        s.calls++;
    }
    const word high = s.words.x[s.second ? 2 : 0], low = s.words.x[s.second ? 3 : 1];
    s.second = !s.second;
    return {uniform(high, low), low & 0xFFFu};
}
SITE_FUNCTION int integer_below(int n, double u) {
    const int i = (int)(u * n);
    return i < n ? i : n - 1;  // u n may be rounded to n
}

struct Chain {
    int *k, *l, *powers;
    const double *ratios;
    const int *neighbours;  // of each site: +x, +t, -x, -t
    double factors[2];      // of k_t + 1, k_t - 1
    int sites, length;      // length: of the table
};
SITE_FUNCTION int magnitude(int k) { return k < 0 ? -k : k; }
SITE_FUNCTION long link_of(const Chain &c, int site, int step) {
    return 2L * (step & 2 ? c.neighbours[4 * site + step] : site) + (step & 1);
}
SITE_FUNCTION int divergence(const Chain &c, int site) {
    int sum = 0;
    for (int step = 0; step < 4; step++) sum += (step & 2 ? -1 : 1) * c.k[link_of(c, site, step)];
    return sum;
}

// One proposal of the head's Markov chain: a step of the four with the Metropolis ratio `bias` times that of the weights.
// false if the power would leave the table.
SITE_FUNCTION bool move_head(const Chain &c, const Draw &d, int charge, int &head, int to, double bias) {
    const int step = d.bits & 3, change = step & 2 ? -charge : charge;
    const long link = link_of(c, head, step);
    const int k = c.k[link], magnitude_now = magnitude(k);
    const bool grows = magnitude(k + change) > magnitude_now;
    if (step & 1) bias *= c.factors[change < 0];
    const double links = magnitude_now + grows + c.l[link], ratio = c.ratios[grows ? c.powers[to] : c.powers[head] - 1];
    if (!(grows ? d.u * links < bias * ratio : d.u * ratio < bias * links)) return true;
    if (grows && c.powers[to] + 1 >= c.length) return false;
    c.k[link] = k + change;
    c.powers[grows ? to : head] += grows ? 1 : -1;
    head = to;
    return true;
}

// A worm from its start to its end. At home (head = tail) it tries to close in half of its draws.
SITE_FUNCTION bool closed_worm(const Chain &c, Stream &s, long &steps) {
    const Draw start = next_draw(s);
    const int tail = integer_below(c.sites, start.u), charge = start.bits & 1 ? 1 : -1;
    int head = tail;
    if (c.powers[tail] + 1 >= c.length) return false;
    c.powers[tail]++;
    while (true) {
        const Draw d = next_draw(s);
        const bool home = head == tail;
        steps++;
        if (home && d.bits & CLOSE_BIT) {
            if (!(d.u * c.ratios[c.powers[tail] - 1] < c.ratios[0])) continue;
            c.powers[tail]--;
            return true;
        }
        const int to = c.neighbours[4 * head + (d.bits & 3)];
        const bool arrives = to == tail;
        if (!move_head(c, d, charge, head, to, home == arrives ? 1.0 : home ? 2.0 : 0.5)) return false;
    }
}

// A Metropolis proposal l + 1 or l - 1 for each link in turn
SITE_FUNCTION bool local_sweep(const Chain &c, Stream &s) {
    for (int site = 0; site < c.sites; site++)
        for (int nu = 0; nu < 2; nu++) {
            const Draw d = next_draw(s);
            const long link = 2L * site + nu;
            const int ahead = c.neighbours[4 * site + nu], same = ahead == site;
            const int l = c.l[link], p = c.powers[site], q = c.powers[ahead], k = magnitude(c.k[link]);
            if (d.bits & 1) {
                if (q + 1 + same >= c.length || p + 1 >= c.length) return false;
                if (!(d.u * (k + l + 1.0) * (l + 1.0) < c.ratios[p] * c.ratios[q + same])) continue;
                c.l[link] = l + 1, c.powers[site]++, c.powers[ahead]++;
            } else if (l > 0 && d.u * c.ratios[p - 1] * c.ratios[q - 1 - same] < (double)(k + l) * l) {
                c.l[link] = l - 1, c.powers[site]--, c.powers[ahead]--;
            }
        }
    return true;
}

template <class Arguments> SITE_FUNCTION Chain chain_of(const Arguments &a, long chain) {
    const long first = chain * a.sites;
    return {a.k + 2 * first, a.l + 2 * first, a.powers + first, a.ratios + (long)a.tables[chain] * a.length, a.neighbours,
            {a.factors[2 * chain], a.factors[2 * chain + 1]}, a.sites, a.length};
}

// `sweeps` sweeps: `worms` closed worms, then all l once if `local`
SITE_FUNCTION void worm_sweeps_site(const worm_sweeps_arguments &a, Site x) {
    for (int i = 0; i < VECTOR_LANES; i++) {
        const long chain = (long)x.group * LANES + lane_of(x, i);
        const Chain c = chain_of(a, chain);
        long steps = 0;
        bool fits = true;
        for (int sweep = 0; sweep < a.sweeps && fits; sweep++) {
            Stream s = stream_of(a.random, chain, (word)sweep);
            for (int worm = 0; worm < a.worms && fits; worm++) fits = closed_worm(c, s, steps);
            if (fits && a.local) fits = local_sweep(c, s);
        }
        a.steps[chain] += steps;
        if (!fits) a.faults[chain] = 1;
    }
}
CHAIN_KERNEL(worm_sweeps)

// `counts[chain]` worms that stay open, on copies of the fields
SITE_FUNCTION void open_worms_site(const open_worms_arguments &a, Site x) {
    for (int i = 0; i < VECTOR_LANES; i++) {
        const long chain = (long)x.group * LANES + lane_of(x, i);
        const Chain c = chain_of(a, chain);
        Stream s = stream_of(a.random, chain, 0);
        bool fits = true;
        for (int worm = 0; worm < a.counts[chain] && fits; worm++) {
            Draw d = next_draw(s);
            while (divergence(c, integer_below(c.sites, d.u)) != 0) d = next_draw(s);  // not where another one ends
            int head = integer_below(c.sites, d.u);
            const int charge = d.bits & 1 ? 1 : -1;
            c.powers[head]++;
            fits = c.powers[head] < c.length;
            while (fits) {  // again if it stops where another end is, so that it never matters how it got away from there
                const int moves = 1 + integer_below(a.moves, next_draw(s).u);
                for (int move = 0; fits && move < moves; move++) {
                    d = next_draw(s);
                    fits = move_head(c, d, charge, head, c.neighbours[4 * head + (d.bits & 3)], 1.0);
                }
                if (magnitude(divergence(c, head)) == 1) break;
            }
        }
        if (!fits) a.faults[chain] = 1;
    }
}
CHAIN_KERNEL(open_worms)

// values[chain] = (sum of k_t, sum of W(f + 2) / W(f)) / sites, of closed configurations
SITE_FUNCTION void flux_averages_site(const flux_averages_arguments &a, Site x) {
    for (int i = 0; i < VECTOR_LANES; i++) {
        const long chain = (long)x.group * LANES + lane_of(x, i), first = chain * a.sites;
        const double *ratios = a.ratios + (long)a.tables[chain] * a.length;
        long charge = 0;
        double square = 0;
        for (int site = 0; site < a.sites; site++) {
            charge += a.k[2 * (first + site) + 1];
            square += ratios[a.powers[first + site]];
        }
        a.values[2 * chain] = (double)charge / a.sites;
        a.values[2 * chain + 1] = square / a.sites;
    }
}
CHAIN_KERNEL(flux_averages)
