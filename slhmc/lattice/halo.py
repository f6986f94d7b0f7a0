"""Halo exchange: groups at a rank's boundary are copied into the halo groups of its neighbours.

`all_links` fills the whole halo, corners too, one direction after the other; `staple_links` as far as plaquette staples reach;
`ahead` what forward neighbours read, `around` what those up to two steps away in one direction do; `all_faces` depth 1 without
corners. `start_faces` and `finish_faces` send depth 1 of one parity, all directions at once, in two halves so that the interior
can be computed in between.

Groups that lie side by side in memory, in long runs, are sent from where they are into where they belong, if the device lets MPI
do that: so are all faces of the last direction where ranks split no other one. Others are packed into one message, and unpacked.
"""

from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from slhmc.backend.signatures import Range

EAGER_BYTES = 4000  # Open MPI sends up to 4096, header included, without a handshake in shared memory: a third of the time
IN_PLACE_BYTES = 16384  # runs from this on are messages of their own: packing them costs more than another message


@dataclass
class _Message:
    """Records that go to one neighbour, and those that come in from the opposite one."""

    outgoing: np.ndarray
    incoming: np.ndarray
    to: int
    source: int
    tag: int


def _spans(messages: list[_Message], record_bytes: int) -> list[tuple[int, int, _Message]]:
    """(begin, end, first message) of what travels as one: two ranks in a direction are each other's neighbour both ways.

    Not if messages without a handshake would become one that needs it.
    """
    spans, end = [], 0
    for _, same in groupby(messages, lambda m: (m.to, m.source)):
        same = list(same)
        counts = [len(m.outgoing) for m in same]
        if max(counts) * record_bytes <= EAGER_BYTES < sum(counts) * record_bytes:
            parts = list(zip(counts, same, strict=True))
        else:
            parts = [(sum(counts), same[0])]
        for count, message in parts:
            spans.append((end, end + count, message))
            end += count
    return spans


class _Plan:
    """One exchange, for any field of one shape: records of `reals` components are packed, sent, received, unpacked."""

    def __init__(self, layout, reals: int, messages: list[_Message]):
        device = layout.lattice.device
        self.layout, self.reals = layout, reals
        self.count = sum(len(m.outgoing) for m in messages)
        self.outgoing, self.incoming = (device.from_host(np.concatenate(lists).astype(np.int32)) for lists in (
            [m.outgoing for m in messages], [m.incoming for m in messages]))
        self.send, self.receive = (device.empty((self.count, reals, layout.lanes), layout.dtype) for _ in range(2))
        spans = _spans(messages, reals * layout.lanes * layout.dtype.itemsize)
        self.exchange = device.exchange(layout.lattice.communicator, self.send, self.receive,
                                        [(begin, end, m.to, m.tag) for begin, end, m in spans],
                                        [(begin, end, m.source, m.tag) for begin, end, m in spans])

    def start(self, array) -> None:
        """Pack records of a field and send them."""
        device = self.layout.lattice.device
        self._launch("pack", device.pointer(array), device.pointer(self.send), self.outgoing, array)
        device.call(self.exchange.start)

    def finish(self, array) -> None:
        """Wait for the records that come in and put them in their places."""
        device = self.layout.lattice.device
        device.call(self.exchange.finish)
        self._launch("unpack", device.pointer(self.receive), device.pointer(array), self.incoming, array)

    def run(self, array) -> None:
        self.start(array)
        self.finish(array)

    def _launch(self, name: str, source: int, target: int, records, array) -> None:
        device, kernel = self.layout.lattice.device, self.layout.kernel("linear_algebra.cc", name)
        structure = kernel.structure(Range(0, self.count, 0, 1, 0), source, target, device.pointer(records), self.reals)
        device.launch(kernel, structure, array, self)


class _PlanInPlace:
    """One exchange, for any field of one shape, of runs of records that are nowhere packed."""

    def __init__(self, layout, exchange):
        self.layout, self.exchange = layout, exchange

    def start(self, array) -> None:
        self.layout.lattice.device.call(self.exchange.start(array))

    def finish(self, array) -> None:
        self.layout.lattice.device.call(self.exchange.finish(array))

    def run(self, array) -> None:
        self.start(array)
        self.finish(array)


def _runs(message: _Message) -> list[tuple[int, int, int]]:
    """(first outgoing record, first incoming record, number) of records that lie side by side on both sides."""
    order = np.argsort(message.outgoing, kind="stable")
    outgoing, incoming = message.outgoing[order], message.incoming[order]
    ends = np.flatnonzero((np.diff(outgoing) != 1) | (np.diff(incoming) != 1)) + 1
    begins, ends = np.append(0, ends), np.append(ends, len(order))
    return [(int(outgoing[begin]), int(incoming[begin]), int(end - begin)) for begin, end in zip(begins, ends, strict=True)]


def _plan_in_place(layout, reals: int, messages: list[_Message]) -> _PlanInPlace | None:
    """None if runs are short, or if the device cannot."""
    record, outgoing, incoming = reals * layout.lanes, [], []
    for message in messages:
        for sent, received, count in _runs(message):
            if count * record * layout.dtype.itemsize < IN_PLACE_BYTES:
                return None
            outgoing.append((sent * record, (sent + count) * record, message.to, message.tag))
            incoming.append((received * record, (received + count) * record, message.source, message.tag))
    exchange = layout.lattice.device.exchange_in_place(layout.lattice.communicator, layout.dtype, outgoing, incoming)
    return exchange and _PlanInPlace(layout, exchange)


class HaloExchange:
    """Plans and buffers of one layout; nothing happens where one rank holds a whole direction."""

    def __init__(self, layout):
        self.layout = layout
        self.split = [mu for mu, r in enumerate(layout.lattice.rank_grid) if r > 1]
        self._plans: dict[tuple, _Plan | _PlanInPlace] = {}

    def _plan(self, key: tuple, reals: int, messages, more=None) -> _Plan | _PlanInPlace:
        """The plan of a key, made at first use of messages(), or in place of more(), which has those and what lies between."""
        if (*key, reals) not in self._plans:
            in_place = _plan_in_place(self.layout, reals, (more or messages)())
            self._plans[*key, reals] = in_place or _Plan(self.layout, reals, messages())
        return self._plans[*key, reals]

    def _rank(self, mu: int, step: int) -> int:
        coordinates = list(self.layout.lattice.rank_coordinates)
        coordinates[mu] += step
        return self.layout.lattice.rank_of(coordinates)

    def _up(self, mu: int, depth: int, select, extended=()) -> _Message:
        """The highest slices in mu go to the next rank, for its sites x - mu. `select` turns groups into records."""
        blocks, n = self.layout.blocks, self.layout.blocks.block[mu]
        outgoing, incoming = (select(blocks.slab(mu, *ends, depth, extended)) for ends in ((n - depth, n), (-depth, 0)))
        return _Message(outgoing, incoming, self._rank(mu, +1), self._rank(mu, -1), 2 * mu)

    def _down(self, mu: int, depth: int, select, extended=()) -> _Message:
        """The lowest slices in mu go to the rank before, for its sites x + mu."""
        blocks, n = self.layout.blocks, self.layout.blocks.block[mu]
        outgoing, incoming = (select(blocks.slab(mu, *ends, depth, extended)) for ends in ((0, depth), (n, n + depth)))
        return _Message(outgoing, incoming, self._rank(mu, -1), self._rank(mu, +1), 2 * mu + 1)

    # ---- links
    def all_links(self, array, components: int) -> None:
        """Fill the whole halo of a field on both parities, corners included. Collective."""
        depth = self.layout.blocks.depth
        for k, mu in enumerate(self.split):
            def messages(mu=mu, extended=tuple(self.split[:k])):
                return [way(mu, depth, lambda groups: groups, extended) for way in (self._up, self._down)]
            self._plan(("all", mu), components, messages).run(array)

    def staple_links(self, array, reals: int, directions=None, parity: int | None = None) -> None:
        """Fill the halo of links as far as plaquette staples reach: U_mu at x - mu, x +- nu and x + nu - mu, nu != mu.

        reals: of one link; directions: which mu (all), on which parity (both). Collective.
        """
        dimensions, stride = self.layout.blocks.dimensions, self.layout.stride
        directions = tuple(range(dimensions)) if directions is None else tuple(directions)

        def links(of):
            def select(groups):
                groups = groups if parity is None else groups[groups // stride == parity]
                return (groups[:, None] * dimensions + np.array(of)).ravel()
            return select
        for k, mu in enumerate(self.split):
            def messages(across=tuple(nu for nu in directions if nu != mu), mu=mu, extended=tuple(self.split[:k])):
                up = [self._up(mu, 1, links(directions), extended)]
                return up + ([self._down(mu, 1, links(across), extended)] if across else [])
            self._plan(("staples", mu, directions, parity), reals, messages, partial(messages, directions)).run(array)

    # ---- other fields
    def ahead(self, array, components: int, mu: int) -> None:
        """Fill the sites x + mu of a field on both parities. Collective."""
        if mu in self.split:
            self._plan(("ahead", mu), components, lambda: [self._down(mu, 1, lambda groups: groups)]).run(array)

    def around(self, array, components: int, mu: int, before=()) -> None:
        """Fill the sites x +- mu and x +- 2 mu of a field on both parities. Collective.

        before: directions that are filled already, of whose halo the same is filled.
        """
        if mu in self.split:
            depth, extended = self.layout.blocks.depth, tuple(nu for nu in before if nu in self.split)

            def messages():
                return [way(mu, depth, lambda groups: groups, extended) for way in (self._up, self._down)]
            self._plan(("around", mu, extended), components, messages).run(array)

    def all_faces(self, array, components: int) -> None:
        """Fill depth 1 of a field on both parities, without corners. Collective."""
        if self.split:
            self._plan(("all faces",), components, lambda: self._both_ways(lambda groups: groups)).run(array)

    def start_faces(self, array, parity: int, components: int) -> None:
        """Send the faces of a one-parity field (array of that parity alone). Collective."""
        if self.split:
            self._faces(parity, components).start(array)

    def finish_faces(self, array, parity: int, components: int) -> None:
        """Wait for the faces that `start_faces` sent. Collective."""
        if self.split:
            self._faces(parity, components).finish(array)

    def _faces(self, parity: int, components: int) -> _Plan:
        stride = self.layout.stride

        def of_parity(groups):
            return groups[groups // stride == parity] % stride
        return self._plan(("faces", parity), components, lambda: self._both_ways(of_parity))

    def _both_ways(self, select) -> list[_Message]:
        return [way(mu, 1, select) for mu in self.split for way in (self._up, self._down)]
