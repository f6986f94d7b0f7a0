"""Learned flows: order of each scheme, the exact flow of one link, covariance, group membership, gradients, adjoint equation."""

import math

import pytest

torch = pytest.importorskip("torch")

import reference_lcnn as plain  # noqa: E402

from slhmc.backend import open_device  # noqa: E402
from slhmc.errors import InputError  # noqa: E402
from slhmc.networks.flow import SCHEMES, LCNNGenerator, LearnedFlow, LoopGenerator, MLPGenerator, learned  # noqa: E402
from slhmc.networks.flow.algebra import bracket, coefficients_of_link, generators, moved, times_links  # noqa: E402
from slhmc.networks.flow.generators import Generator  # noqa: E402
from slhmc.networks.flow.jacobian import divergence  # noqa: E402
from slhmc.networks.lcnn import Layer, LinkBatch  # noqa: E402
from slhmc.networks.lcnn.loops import link_product, real_trace  # noqa: E402

DEVICE = open_device("cpu")


class SquareTrace(Generator):
    """dU/dt = i lambda t^a (dS/dA^a) U of S = Re tr U^2, dU = i dA U: Q = -lambda TA(U^2), times what depends on time."""

    def __init__(self, strength=1.0, factor=lambda time: 1.0):
        super().__init__(2, 2, "double")
        self.strength, self.factor = torch.nn.Parameter(torch.tensor(strength, dtype=torch.float64)), factor

    def forward(self, batch, time):
        squares = torch.stack([link_product(batch, batch.links[:, mu], batch.links[:, mu]) for mu in range(2)], 1)
        table = coefficients_of_link(batch.algebra, 2).to(squares)
        return -self.factor(time) * self.strength * torch.einsum("ar,bmrsl->bmasl", table, squares)


def links(colors, extent, samples=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return plain.haar(generator, (samples, len(extent), *extent[::-1]), colors)


def batch_of(u, colors, extent, real="double"):
    return LinkBatch(DEVICE, plain.packed(u, colors), extent, colors, real)


def angles(packed):
    """theta in (0, pi) and n of U = exp(i theta n.sigma), from packed SU(2) links [..., real, site]."""
    vector = packed[..., 1:, :].norm(dim=-2)
    return torch.atan2(vector, packed[..., 0, :]), packed[..., 1:, :] / vector[..., None, :]


def exact(packed, time, strength):
    """tan theta(t) = tan theta(0) exp(-2 lambda t), n fixed: theta below pi / 2 goes to 0, else to pi."""
    theta, n = angles(packed)
    later = torch.atan2(torch.sin(theta) * math.exp(-2 * strength * time), torch.cos(theta))
    return torch.cat([torch.cos(later)[..., None, :], torch.sin(later)[..., None, :] * n], -2)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_reaches_the_exact_flow_of_one_link(scheme):
    """To 1e-10 with as many steps as the order needs, by Richardson's extrapolation for low orders; and with its order."""
    batch = batch_of(links(2, (2, 3)), 2, (2, 3))
    wanted = exact(batch.links_of_samples(), 0.5, 0.7)
    order = SCHEMES[scheme].order

    def error(steps):
        with torch.no_grad():
            flow = LearnedFlow(SquareTrace(0.7), 0.5, steps, scheme)
            return float((flow.generator.packed(flow(batch)) - wanted).norm())
    steps = {1: 40, 2: 20, 3: 10, 4: 10}[order]
    measured = math.log2(error(steps) / error(2 * steps))
    assert abs(measured - order) < 0.35, measured
    if order >= 3:
        assert error({3: 1200, 4: 120}[order]) < 1e-10


@pytest.mark.parametrize("scheme", SCHEMES)
def test_orders_hold_with_explicit_time_and_many_directions(scheme):
    """Q = cos(3 t) TA(plaquettes and rectangles): stages at their own times, brackets that do not vanish."""
    u, extent = links(3, (3, 4), samples=1), (3, 4)

    class Timed(LoopGenerator):
        def forward(self, batch, time):
            return math.cos(3 * time) * super().forward(batch, time)
    generator = Timed(3, 2, ("plaquette", "rectangle"), time_degree=1)
    with torch.no_grad():
        generator.weight.copy_(torch.tensor([[0.3, 0.1], [0.2, -0.1]]))

        def ends(steps, used=scheme):
            return LearnedFlow(generator, 0.8, steps, used)(batch_of(u, 3, extent)).links
        reference = ends(128, "munthe_kaas_4")
        order = SCHEMES[scheme].order
        steps = {1: 64, 2: 16, 3: 12, 4: 10}[order]
        coarse, fine = (float((ends(n) - reference).norm()) for n in (steps, 2 * steps))
    assert abs(math.log2(coarse / fine) - order) < 0.4, (coarse, fine)


GENERATORS = {
    "loops": lambda colors, d, real="double": LoopGenerator(colors, d, ("plaquette", "rectangle", "polyakov"), 1, real),
    "lcnn": lambda colors, d, real="double": LCNNGenerator(
        colors, d, [Layer(channels=2, kernel=2, symmetric=True), Layer(channels=2)], time_degree=1, real=real),
}


def strong(generator, scale=1.0):
    """Weights that move links by order one."""
    with torch.no_grad():
        generator.weight.copy_(scale * torch.randn(generator.weight.shape, generator=torch.Generator().manual_seed(4)))
    return generator


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize(("colors", "extent"), [(2, (3, 5)), (3, (4, 3)), (2, (3, 2, 3, 4)), (3, (2, 3, 2, 3))])
def test_flows_of_covariant_generators_are_covariant(kind, colors, extent):
    """The flow of transformed links is the transformed flow, 1e-12, for Haar-random transformations."""
    u = links(colors, extent, samples=1)
    omega = plain.haar(torch.Generator().manual_seed(7), (1, *extent[::-1]), colors)
    flow = LearnedFlow(strong(GENERATORS[kind](colors, len(extent)), 0.2), 0.5, 3)
    with torch.no_grad():
        one, other = (plain.unpacked(flow.generator.packed(flow(batch_of(v, colors, extent))), extent, colors)
                      for v in (u, plain.transformed(u, omega)))
        assert float((one - u).norm()) > 0.1  # it moves
        assert float((plain.transformed(one, omega) - other).abs().max()) < 1e-12


def test_the_perceptron_is_not_covariant():
    """The published toy: a change of gauge changes what it does."""
    extent = (3, 3)
    u = links(2, extent, samples=1)
    omega = plain.haar(torch.Generator().manual_seed(7), (1, 3, 3), 2)
    flow = LearnedFlow(MLPGenerator(2, 2, nodes=(8,)), 0.5, 3)
    with torch.no_grad():
        one, other = (plain.unpacked(flow.generator.packed(flow(batch_of(v, 2, extent))), extent, 2)
                      for v in (u, plain.transformed(u, omega)))
    assert float((plain.transformed(one, omega) - other).abs().max()) > 1e-3


@pytest.mark.parametrize("colors", [2, 3])
def test_a_thousand_steps_stay_in_the_group(colors):
    """U U^+ = 1 and det U = 1 to 1e-12."""
    extent = (2, 3)
    flow = LearnedFlow(strong(GENERATORS["loops"](colors, 2)), 30.0, 1000, "euler")
    with torch.no_grad():
        u = plain.unpacked(flow.generator.packed(flow(batch_of(links(colors, extent), colors, extent))), extent, colors)
    assert float((u @ plain.dagger(u) - torch.eye(colors)).abs().max()) < 1e-12
    assert float((torch.linalg.det(u) - 1).abs().max()) < 1e-12


def gradients(generator, batch, steps, gradient, scheme="munthe_kaas_4"):
    """dL/dtheta and dL/de at the start, of a random linear L of the final links."""
    flow = LearnedFlow(generator, 0.6, steps, scheme, gradient)
    start = generator.prepared(batch)
    packed = start.links.clone().requires_grad_()
    out = flow(start.with_links(packed)).links
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=out.dtype)
    found = torch.autograd.grad((out * weights).sum(), [packed, *generator.parameters()])
    return [learned.algebra_gradient(start, found[0]), *found[1:]]


def distance(one, other):
    return math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(one, other, strict=True)) /
                     sum(float(a.square().sum()) for a in one))


CASES = {"toy": lambda: SquareTrace(0.7, lambda time: 1 + time), "mlp": lambda: MLPGenerator(2, 2, nodes=(8, 8), timed=True),
         "loops": lambda: strong(GENERATORS["loops"](2, 2), 0.3), "lcnn": lambda: strong(GENERATORS["lcnn"](2, 2), 0.3)}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("scheme", ["munthe_kaas_2", "munthe_kaas_4", "crouch_grossman_3"])
def test_the_adjoint_agrees_with_back_propagation_as_the_step_to_its_order(kind, scheme):
    """Their difference falls like step^p, so both have the gradient of the flow itself."""
    batch, generator = batch_of(links(2, (3, 3)), 2, (3, 3)), CASES[kind]()
    order = SCHEMES[scheme].order
    steps = {2: 16, 3: 8, 4: 4}[order]
    coarse, fine = (distance(*(gradients(generator, batch, n, way, scheme) for way in ("backpropagation", "adjoint")))
                    for n in (steps, 2 * steps))
    assert fine < 2e-2
    assert math.log2(coarse / fine) > order - 0.5, (coarse, fine)


def test_without_the_coadjoint_term_the_adjoint_is_wrong_at_any_step(monkeypatch):
    """By per cents and more, however small the step: what the term [Q, L] is for."""
    batch, generator = batch_of(links(2, (3, 3)), 2, (3, 3)), CASES["mlp"]()
    monkeypatch.setattr(learned, "bracket", lambda q, r, colors: torch.zeros_like(q))
    wrong = [distance(*(gradients(generator, batch, n, way) for way in ("backpropagation", "adjoint"))) for n in (4, 32)]
    assert min(wrong) > 0.02 and abs(wrong[1] / wrong[0] - 1) < 0.1


@pytest.mark.parametrize("kind", CASES)
def test_back_propagation_is_the_finite_difference(kind):
    """Of the discrete flow, in the weights."""
    batch, generator = batch_of(links(2, (2, 2), samples=1), 2, (2, 2)), CASES[kind]()
    names = [name for name, _ in generator.named_parameters()]
    flow = LearnedFlow(generator, 0.4, 2, "munthe_kaas_3")

    def out(*values):
        return torch.func.functional_call(flow, {f"generator.{n}": v for n, v in zip(names, values, strict=True)},
                                          (generator.prepared(batch),)).links
    values = [p.detach().clone() for p in generator.parameters()]
    direction = [torch.randn(v.shape, generator=torch.Generator().manual_seed(k), dtype=v.dtype) for k, v in enumerate(values)]
    leaves = [v.clone().requires_grad_() for v in values]
    weights = torch.randn(out(*values).shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    found = torch.autograd.grad((out(*leaves) * weights).sum(), leaves)
    slope = sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))

    def at(h):
        with torch.no_grad():
            return float((out(*(v + h * d for v, d in zip(values, direction, strict=True))) * weights).sum())
    h = 1e-3
    numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    assert slope == pytest.approx(numeric, rel=1e-7)


def test_log_jacobian_of_the_toy_flow():
    """d log J / dt = -2 lambda (S + 1), S = Re tr U^2, summed over links: local and general divergence."""
    batch = batch_of(links(2, (2, 2)), 2, (2, 2))
    squares = torch.stack([real_trace(batch, link_product(batch, batch.links[:, mu], batch.links[:, mu])) for mu in range(2)], 1)
    wanted = (-2 * 0.7 * (batch.of_samples(squares) + 1)).sum((1, 2))
    for local in (True, False):
        assert torch.allclose(divergence(SquareTrace(0.7), batch, local=local), wanted, rtol=1e-12)


def test_log_jacobian_of_a_covariant_flow_is_its_determinant():
    """The divergence of plaquettes and rectangles, integrated by small steps, against log |det dU(t)/dU(0)| by differences."""
    extent = (2, 2)
    batch = batch_of(links(2, extent, samples=1), 2, extent)
    generator = strong(GENERATORS["loops"](2, 2), 0.3)
    h = 2e-4
    flow = LearnedFlow(generator, h, 1)
    e = batch.links.new_zeros(batch.blocks, 2, 3, 4, batch.lanes).requires_grad_()
    with torch.no_grad():
        ended = flow(batch)

    def frame(e):
        """Coefficients of U'(e) U'(0)^+ close to 1."""
        links = flow(moved(batch, e)).links
        turned = torch.stack([link_product(batch, links[:, mu], ended.links[:, mu], right_adjoint=True) for mu in range(2)], 1)
        return torch.einsum("ar,bmrsl->bmasl", coefficients_of_link("quaternion", 2).to(turned), turned)[..., 0].flatten()
    jacobian = torch.autograd.functional.jacobian(frame, e)[..., 0].reshape(24, 24)
    rate = float(torch.linalg.slogdet(jacobian)[1]) / h
    assert rate == pytest.approx(float(divergence(generator, batch)[0] + divergence(generator, ended, h)[0]) / 2, rel=1e-6)


@pytest.mark.parametrize("colors", [2, 3])
def test_algebra(colors):
    """Brackets, products with links and coefficients by plain matrices."""
    t = torch.as_tensor(generators(colors))
    assert torch.allclose(torch.einsum("aij,bji->ab", t, t), -0.5 * torch.eye(len(t), dtype=t.dtype), atol=1e-15)
    q, r = torch.randn(2, 1, 2, len(t), 6, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    m, n = (torch.einsum("bmasl,aij->bmslij", x + 0j, t) for x in (q, r))
    wanted = torch.einsum("bmslij,aji->bmasl", m @ n - n @ m, -2 * t).real
    assert torch.allclose(bracket(q, r, colors), wanted, atol=1e-13)
    batch = batch_of(links(colors, (2, 3), samples=1), colors, (2, 3))
    product = times_links(batch, q)
    u = plain.unpacked(batch.links_of_samples(), (2, 3), colors).flatten(2, 3)
    assert torch.allclose(plain.unpacked(product[..., 0], (2, 3), colors).flatten(2, 3), m[:, :, :, 0] @ u, atol=1e-13)


def test_a_loop_flow_is_the_flow_network_of_guides():
    """Euler steps at half times: the engine's network of kind "flow" with the same weights."""
    from slhmc.lattice import Draws, GaugeField, Lattice, Purpose
    from slhmc.networks import make_network

    extent, loops = (4, 4), ("plaquette", "rectangle", "polyakov_t")
    U = GaugeField(Lattice(extent, DEVICE), 2)
    U.randomize(Draws(1, 0).next(Purpose.START))
    weights = [[0.1, 0.05, 0.2], [0.1, -0.02, 0.1]]
    smeared = make_network("flow", 2, 2, 4, loops, weights, time_degree=1).smear(U).to_sites()
    generator = LoopGenerator(2, 2, loops, 1)
    with torch.no_grad():
        generator.weight.copy_(torch.tensor(weights))

        class Halves(LearnedFlow):
            def _step(self, batch, time, step):
                return super()._step(batch, time + step / 2, step)
        matrices = torch.as_tensor(U.to_sites()).movedim(2, 0)[None]
        ended = Halves(generator, 1.0, 4, "euler")(batch_of(matrices, 2, extent))
        found = plain.unpacked(generator.packed(ended), extent, 2)[0].movedim(0, 2)
    assert torch.allclose(found, torch.as_tensor(smeared), atol=1e-12)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: LearnedFlow(SquareTrace(), 1.0, 4, "heun"), "schemes are euler"),
    (lambda: LearnedFlow(SquareTrace(), 1.0, 0), "must be positive"),
    (lambda: LearnedFlow(SquareTrace(), 1.0, 4, gradient="forward"), "gradients backpropagation, adjoint"),
    (lambda: LoopGenerator(2, 2, ("chair",)), "loops of plaquette, rectangle, polyakov"),
    (lambda: LoopGenerator(2, 2, time_degree=10**9), "weights; 1e.08 are the most"),
    (lambda: MLPGenerator(2, 2, nodes=(10**5, 10**5)), "100000 x 100000 = 1.0e.10 weights; 1e.08 are the most"),
    (lambda: LCNNGenerator(2, 2, [Layer()], time_degree=10**9), "weights; 1e.08 are the most"),
    (lambda: MLPGenerator(2, 2, nodes=()), "one or more positive numbers"),
    (lambda: LCNNGenerator(2, 2, [Layer("lexp")]), "leave it out"),
    (lambda: LoopGenerator(2, 2).check((4, 4, 4), 2), "in 2 dimensions, found"),
])
def test_faults_are_named(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_memory_of_the_adjoint_does_not_grow_with_the_steps():
    """Tensors kept for the way back, counted: links once whatever the steps, against once a step of back-propagation."""
    batch = batch_of(links(2, (4, 4)), 2, (4, 4))
    kept = {}
    for gradient in ("adjoint", "backpropagation"):
        for steps in (4, 16):
            sizes = []
            flow = LearnedFlow(GENERATORS["loops"](2, 2), 0.5, steps, "munthe_kaas_2", gradient)

            def pack(tensor, sizes=sizes):
                sizes.append(tensor.numel())
                return tensor
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                flow(batch)
            kept[gradient, steps] = sum(sizes)
    assert kept["adjoint", 16] == kept["adjoint", 4] <= 2 * batch.links.numel()
    assert kept["backpropagation", 16] >= 3 * kept["adjoint", 16]


def test_training_does_not_gather_batches():
    """Batches and what is derived of them go away with the step that made them."""
    import gc
    import weakref

    u, seen = plain.packed(links(2, (3, 3)), 2), []
    flow = LearnedFlow(GENERATORS["loops"](2, 2), 0.5, 2)
    for _ in range(3):
        batch = LinkBatch(DEVICE, u, (3, 3), 2)
        ended = flow(batch)
        seen += [weakref.ref(batch), weakref.ref(ended)]
        ended.links.square().sum().backward()
        plaquette = real_trace(ended, link_product(ended, ended.links[:, 0], ended.links[:, 1]))
        seen.append(weakref.ref(ended.derived("kept", lambda p=plaquette: p)))
        del batch, ended, plaquette
    gc.collect()
    assert not any(reference() is not None for reference in seen)
