"""Halo exchange: groups at a rank's boundary are copied into the halo groups of its neighbours.

`all_links` fills the whole halo, corners too, one direction after the other; `faces` fills depth 1 of one parity, all
directions at once, in two halves (start, finish) so that the interior can be computed in between.
"""

import numpy as np

from slhmc.backend.signatures import Range


class _Message:
    """One slab to one neighbour and the slab that comes back from the opposite side."""

    def __init__(self, layout, components: int, send, receive, to: int, source: int, tag: int):
        device = layout.lattice.device
        self.to, self.source, self.tag = to, source, tag
        self.count = len(send)
        self.send_list, self.receive_list = (device.from_host(np.ascontiguousarray(x, np.int32)) for x in (send, receive))
        shape = (self.count, components, layout.lanes)
        self.send_buffer, self.receive_buffer = (device.empty(shape, layout.dtype) for _ in range(2))
        self.send_host, self.receive_host = device.staging(self.send_buffer), device.staging(self.receive_buffer)


class HaloExchange:
    """Plans and buffers of one layout; nothing happens where one rank holds a whole direction."""

    def __init__(self, layout):
        self.layout = layout
        self.split = [mu for mu, r in enumerate(layout.lattice.rank_grid) if r > 1]
        self._plans: dict[tuple, list] = {}

    def _messages(self, mu: int, depth: int, extended, components: int, select) -> list[_Message]:
        layout, lattice = self.layout, self.layout.lattice
        blocks, n = layout.blocks, layout.blocks.block[mu]

        def rank(step):
            coordinates = list(lattice.rank_coordinates)
            coordinates[mu] += step
            return lattice.rank_of(coordinates)

        def slab(low, high):
            return select(blocks.slab(mu, low, high, extended))
        up = _Message(layout, components, slab(n - depth, n), slab(-depth, 0), rank(+1), rank(-1), 2 * mu)
        down = _Message(layout, components, slab(0, depth), slab(n, n + depth), rank(-1), rank(+1), 2 * mu + 1)
        return [up, down]

    def all_links(self, array, components: int) -> None:
        """Fill the halo of a two-parity field, corners included. Collective."""
        for k, mu in enumerate(self.split):
            key = ("all", mu, components)
            if key not in self._plans:
                extended = tuple(self.split[:k])
                self._plans[key] = self._messages(mu, self.layout.blocks.depth, extended, components, lambda flat: flat)
            self._start(self._plans[key], array, components)
            self._finish(self._plans[key], array, components)

    def _faces(self, parity: int, components: int) -> list[_Message]:
        key = ("faces", parity, components)
        if key not in self._plans:
            stride = self.layout.stride

            def of_parity(flat):
                return flat[flat // stride == parity] % stride
            self._plans[key] = [m for mu in self.split for m in self._messages(mu, 1, (), components, of_parity)]
        return self._plans[key]

    def start_faces(self, array, parity: int, components: int) -> None:
        """Send the faces of a one-parity field (array of that parity alone). Collective."""
        if self.split:
            self._start(self._faces(parity, components), array, components)

    def finish_faces(self, array, parity: int, components: int) -> None:
        """Wait for the faces that `start_faces` asked for. Collective."""
        if self.split:
            self._finish(self._faces(parity, components), array, components)

    def _start(self, messages, array, components: int) -> None:
        device = self.layout.lattice.device
        pack = self.layout.kernel("linear_algebra.cc", "pack")
        for m in messages:
            structure = pack.structure(Range(0, m.count, 0, 1, 0), device.pointer(array), device.pointer(m.send_buffer),
                                       device.pointer(m.send_list), components)
            device.launch(pack, structure, array, m)
        communicator = self.layout.lattice.communicator

        def post():
            for m in messages:
                device.stage_out(m.send_buffer, m.send_host)
            requests = [communicator.Irecv(m.receive_host, m.source, m.tag) for m in messages]
            requests += [communicator.Isend(m.send_host, m.to, m.tag) for m in messages]
            self._requests = requests
        device.call(post)

    def _finish(self, messages, array, components: int) -> None:
        device = self.layout.lattice.device
        unpack = self.layout.kernel("linear_algebra.cc", "unpack")

        def wait():
            for request in self._requests:
                request.Wait()
            for m in messages:
                device.stage_in(m.receive_host, m.receive_buffer)
        device.call(wait)
        for m in messages:
            structure = unpack.structure(Range(0, m.count, 0, 1, 0), device.pointer(m.receive_buffer),
                                         device.pointer(array), device.pointer(m.receive_list), components)
            device.launch(unpack, structure, array, m)
