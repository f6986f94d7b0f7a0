"""The gradient flow dV/dt = Z(V) V of links, integrated on the group by Luescher's third-order Runge-Kutta scheme."""

from math import ceil, isfinite

import numpy as np

from slhmc.errors import ComputationError, InputError
from slhmc.lattice import (
    AlgebraField,
    GaugeField,
    add_plaquette_force,
    add_rectangle_force,
    plaquette_coefficients,
    rectangle_coefficients,
)

ACTIONS = {"wilson": 0.0, "symanzik": -1.0 / 12.0, "zeuthen": -1.0 / 12.0}  # c1 of the action whose gradient the flow follows
EIGENVALUES = {"wilson": 4.0, "symanzik": 20 / 3, "zeuthen": 40 / 9}  # largest of the linear flow, for each dimension: p = pi
STABLE = 2.5  # steps times eigenvalues of the linear flow beyond which the scheme amplifies (2.51 on the real axis)
SAFETY, SHORTEST, LONGEST = 0.9, 0.2, 2.0  # factors of the step control
REJECTIONS = 30  # in a row: the links are damaged
_POWER = 8  # of the norm over links, see kernels/flow.cc


class GradientFlow:
    """The flow of U in place: `advance(t)` takes U from flow time `time` to t. Collective.

    action: "wilson", "symanzik" (tree level) or "zeuthen" (arXiv:1508.05552), Z = -g0^2 grad S, for zeuthen times
    1 + D*D / 12. Z_mu(x) = -sum_a c_a(U_mu(x) [c0 staples + c1 rectangle staples]) T_a, times in units of a^2
    (docs/conventions.md, "Gradient flow").

    Scheme: arXiv:1006.4518, appendix C. Without `tolerance` all steps of one `advance` are equal, `step` or a little less, so
    that they end at t. With it, steps are chosen such that the distance d to the embedded scheme of second order,
    V' = exp(2 Z_1 - Z_0) V, stays below it: d is the 8-norm over links, (mean of |V - V'|^8)^(1/8), |.| the Frobenius norm; a
    step of which it does not is taken back. The first step tried is `step`; no step goes beyond t, none is longer than the
    stability limit 2.5 / (e D), e = 4, 20/3, 40/9 for wilson, symanzik, zeuthen. Raises InputError for another action, a
    step that is not positive or, without tolerance, beyond that limit, or a tolerance outside (0, 1).
    """

    def __init__(self, U: GaugeField, action: str = "wilson", step: float = 0.02, tolerance: float | None = None):
        if action not in ACTIONS:
            raise InputError(f'flow action "{action}" found, one of {", ".join(ACTIONS)} expected')
        self.limit = STABLE / (EIGENVALUES[action] * U.lattice.dimensions)
        if not 0 < step <= (self.limit if tolerance is None else float("inf")):
            raise InputError(f"flow step = {step}: a number above 0 and up to {self.limit:.3g} expected, beyond which the "
                             "scheme is unstable; take shorter steps, or give a tolerance")
        if tolerance is not None and not 0 < tolerance < 1:
            raise InputError(f"flow tolerance = {tolerance}: a number between 0 and 1 expected, such as 1e-5")
        self.U, self.action, self.step, self.tolerance = U, action, float(step), tolerance
        lattice, adaptive = U.lattice, tolerance is not None
        self._fields = [U] + [GaugeField(lattice, U.colors) for _ in range(1 + adaptive)]
        self._sums = [AlgebraField(lattice, U.colors) for _ in range(1 + adaptive)]
        self._force = AlgebraField(lattice, U.colors) if action == "zeuthen" else None
        self._length = lattice.device.zeros((1,), np.float64)  # of a step: in device memory, so that one tape serves any
        self._distance_sum = lattice.device.zeros((1,), np.float64)
        self._tapes: dict[int, object] = {}
        self.restart()

    def restart(self) -> None:
        """Flow time 0 for the links that U has now."""
        self.time, self._current, self._next = 0.0, 0, min(self.step, self.limit)
        self.steps = self.rejected = 0
        self.distance = float("nan")  # of the last step, with a tolerance

    def advance(self, to_time: float) -> None:
        """U to flow time `to_time`. InputError if that has passed; ComputationError if no step is short enough."""
        links = self.advance_links(to_time)
        if links is not self.U:
            self.U.assign(links)
            self._current = 0

    def advance_links(self, to_time: float) -> GaugeField:
        """The links at flow time `to_time`, without a copy to U: they hold until the flow goes on. Errors of `advance`."""
        if not self.time <= to_time < float("inf"):
            raise InputError(f"flow time {to_time} asked for, but the links are at {self.time}; a finite time from there on "
                             "expected, as there is no way back")
        while self.time < to_time:
            left = to_time - self.time
            if left <= 1e-12 * to_time:  # a sum of steps misses by rounding
                self.time = to_time
                break
            if self.tolerance is None:
                self._equal_steps(to_time)
            else:
                self._one_step(to_time)
        return self._fields[self._current]

    def _equal_steps(self, to_time: float) -> None:
        count = max(1, ceil((to_time - self.time) / self.step - 1e-9))
        self._set_length((to_time - self.time) / count)
        for _ in range(count):
            self._try()
            self._current = 1 - self._current
        self.steps += count
        self.time = to_time

    def _one_step(self, to_time: float) -> None:
        """One step that is good enough, at most to `to_time`."""
        for _ in range(REJECTIONS):
            left = to_time - self.time
            count = max(1, ceil(left / self._next - 1e-9))
            length = left / count
            self._set_length(length)
            self._try()
            distance = self.distance = self._measured_distance()
            good = isfinite(distance) and distance <= self.tolerance
            factor = SAFETY * (self.tolerance / max(distance, 1e-300)) ** (1 / 3) if isfinite(distance) else SHORTEST
            wanted = min(self.limit, length * min(LONGEST, max(SHORTEST, factor)))
            if good:
                self._next = max(self._next, wanted) if length < self._next else wanted  # a step cut short says little
                self._current = 1 - self._current
                self.time = to_time if count == 1 else self.time + length
                self.steps += 1
                return
            self._next = wanted
            self.rejected += 1
        raise ComputationError(f"gradient flow at t = {self.time:g}: {REJECTIONS} steps in a row missed the tolerance "
                               f"{self.tolerance:g}; the links are damaged, or the tolerance is beyond rounding")

    def _measured_distance(self) -> float:
        device, lattice = self.U.lattice.device, self.U.lattice
        device.synchronize()
        mean = float(device.to_host(self._distance_sum)[0]) / (lattice.sites * lattice.dimensions)
        return mean ** (1 / _POWER) if mean >= 0 else float("nan")

    # ---- a step
    def _set_length(self, length: float) -> None:
        self.U.lattice.device.assign(self._length, np.array([length]))

    def _try(self) -> None:
        """V_1 = exp(Z_0/4) V, V_2 = exp(8/9 Z_1 - 17/36 Z_0) V_1, V_3 = exp(3/4 Z_2 - 8/9 Z_1 + 17/36 Z_0) V_2, from the current
        links to the other field; recorded once for each of the two ways.
        """
        if self._current not in self._tapes:
            self._tapes[self._current] = self._record()
        self._tapes[self._current].run()
        for field in self._targets():
            field.changed()

    def _targets(self) -> tuple[GaugeField, GaugeField]:
        """Where the links of a step go, and where those of its second stage."""
        spare = self._fields[2] if self.tolerance is not None else self._fields[self._current]
        return self._fields[1 - self._current], spare

    def _record(self):
        with self.U.lattice.device.record() as tape:
            self.step_kernels()
        return tape

    def step_kernels(self) -> None:
        """The kernels of one step from the current links, of the length that is set; may be recorded."""
        source, (target, spare), (first, last) = self._fields[self._current], self._targets(), (self._sums[0], self._sums[-1])
        source.changed()  # what other ranks have of it may be old when a tape runs
        self._stage(source, target, None, first, 1.0, 0.0, 0.25)
        self._stage(target, spare, first, last, 8 / 9, -17 / 36, 1.0)
        self._stage(spare, target, last, None, 3 / 4, -1.0, 1.0)
        if self.tolerance is not None:
            self._compare(source, target, first, last)

    def _stage(self, U, moved, before, after, fresh: float, kept: float, scale: float) -> None:
        """A <- fresh Z(U) + kept A, moved <- exp(scale step A) U."""
        device, layout = U.lattice.device, U.layout
        pointers = [None if field is None else field.pointer for field in (before, after)]
        common = (layout.geometry, U.pointer, *pointers, moved.pointer, device.pointer(self._length), fresh, kept, scale)
        keep, kernel = (U, moved, before, after, self._length), U.kernel("flow.cc", f"{self.action}_flow")
        if self.action == "zeuthen":
            self._symanzik_force(U)
            layout.launch(kernel, *common, self._force.pointer, keep=(*keep, self._force))
        else:
            c1, extra = ACTIONS[self.action], ()
            if c1:
                loops = rectangle_coefficients(U, plaquettes=True)
                extra = *loops.rectangles, 1 - 8 * c1, c1
            else:
                U.update_staple_halo()
                loops = plaquette_coefficients(U)
            loops.launch(layout, kernel, *common, *loops.plaquettes, *extra, keep=keep)
        moved.changed()

    def _symanzik_force(self, U: GaugeField) -> None:
        """sum_a c_a(U_mu(x) [...]) T_a with what other ranks need of it."""
        c1 = ACTIONS[self.action]
        self._force.clear()
        add_rectangle_force(U, self._force, c1)
        add_plaquette_force(U, self._force, 1 - 8 * c1)
        U.layout.halo.all_faces(self._force.array, self._force.component_count)

    def _compare(self, source, target, first, second) -> None:
        pointers = [field.pointer for field in (source, target, first, second)]
        layout, device = source.layout, source.lattice.device
        layout.reduce(source.kernel("flow.cc", "flow_distance"), self._distance_sum, *pointers, device.pointer(self._length),
                      leading=(layout.geometry,), keep=(source, target, first, second, self._length))
