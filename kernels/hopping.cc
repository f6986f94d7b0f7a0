// Makes hopping links from links (hopping.h).
#include "signatures.h"
#include "hopping.h"

SITE_FUNCTION void hopping_links_site(const hopping_links_arguments &a, Site x) {
    const Geometry &g = a.geometry;
    for (int direction = 0; direction < DIRECTIONS; direction++) {
        const bool ahead = direction < DIMENSIONS;
        if (fetches_ahead(g)) {
            const Site next = group_to_come(g, x);
            prefetch_link(g, a.links, ahead ? next : neighbour(g, next, direction), direction % DIMENSIONS);
        }
        Link u = ahead ? load_link(g, a.links, x, direction)
                       : adjoint(load_link(g, a.links, neighbour(g, x, direction), direction - DIMENSIONS));
        const V sign = hopping_sign(g, a.codes, a.signs, x, direction);
        real *to = a.hopping + element(g, x, DIRECTIONS * a.link_reals) + (long)direction * a.link_reals * LANES;
        if (VECTOR_LANES > 1 && g.prefetch > 1)  // past the caches, which will not hold them
            for (int k = 0; k < a.link_reals; k++) stream(to + k * LANES, x, reals(u)[k] * sign);
        else
            for (int k = 0; k < a.link_reals; k++) store(to + k * LANES, x, reals(u)[k] * sign);
    }
}
SITE_KERNEL(hopping_links)
