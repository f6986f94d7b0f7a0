"""L-CNN layers: covariance, plain formulas, derivatives, supports, parameter counts, faults."""

import gc
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import reference_lcnn as plain  # noqa: E402

from slhmc.backend import HostDevice, open_device  # noqa: E402
from slhmc.errors import InputError  # noqa: E402
from slhmc.networks.lcnn import LCNN, Layer, LinkBatch  # noqa: E402
from slhmc.networks.lcnn.layers import first_field  # noqa: E402
from slhmc.networks.lcnn.loops import polyakov, topological_charge_density, wilson_loops  # noqa: E402

EXTENTS = {2: (3, 5), 3: (3, 4, 2), 4: (3, 2, 4, 2)}
DEVICE = open_device("cpu")


def links(colors, extent, samples=3, seed=1):
    """Haar-random links, complex."""
    generator = torch.Generator().manual_seed(seed)
    return plain.haar(generator, (samples, len(extent), *extent[::-1]), colors)


def batch_of(u, colors, extent, real="double"):
    return LinkBatch(DEVICE, plain.packed(u, colors), extent, colors, real)


def network(colors, dimensions, layers, real="double", **options):
    """A network whose weights are not the first ones: heads with bias, L-Exp that moves."""
    net = LCNN(colors, dimensions, layers, real=real, **options)
    with torch.no_grad():
        net.head.bias.fill_(0.3)
    return net


def expected(net, u):
    """Fields by the plain formulas, and y."""
    w = torch.cat([plain.plaquettes(u), plain.polyakov(u)], 1) if net.polyakov else plain.plaquettes(u)
    before = None
    for layer in net.layers:
        name = type(layer).__name__
        entered = w
        if name == "LCB":
            w, before = plain.lcb(u, w, layer.weight, layer.shape.shifts, layer.shape.local), entered
        elif name == "LConv":
            w, before = plain.lconv(u, w, layer.weight, layer.shape.shifts), entered
        elif name == "LBL":
            w, before = plain.lbl(w if before is None else before, w, layer.weight), None
        elif name == "LAct":
            w, before = torch.relu(plain.traces(w).real)[..., None, None] * w, None
        else:
            u = plain.lexp(u, w, layer.weight)
            w, before = torch.cat([plain.plaquettes(u), plain.polyakov(u)], 1) if net.polyakov else plain.plaquettes(u), None
    return w, plain.head(w, net.head.weight, net.head.bias), u


STACKS = {
    "lcb": [Layer(channels=3, kernel=2), Layer(channels=2, kernel=2)],
    "wide": [Layer(channels=2, kernel=3, symmetric=True), Layer(channels=2, kernel=1)],
    "lconv": [Layer("lconv", 3, 2), Layer("lbl", 2), Layer("lact"), Layer("lconv", 2, 2, symmetric=True)],
    "lexp": [Layer(channels=2, kernel=2), Layer("lexp"), Layer(channels=2, kernel=2), Layer("lexp"), Layer("lbl", 2)],
}
GROUPS = [(2, "real"), (2, "complex"), (3, "real"), (3, "complex")]


def stack_for(name, extent):
    """The stack, kernels no wider than the lattice."""
    if min(extent) >= 3:
        return STACKS[name]
    return [Layer(**{**vars(layer), "kernel": min(layer.kernel, 2)}) for layer in STACKS[name]]


@pytest.mark.parametrize("convention", ["arxiv_v1", "prl_2022"])
@pytest.mark.parametrize("dimensions", [2, 3, 4])
@pytest.mark.parametrize(("colors", "weights"), GROUPS)
@pytest.mark.parametrize("name", STACKS)
def test_networks_are_their_plain_formulas(name, colors, weights, dimensions, convention):
    """Kernels and plain complex matrices agree on every layer's W and on y."""
    extent = EXTENTS[dimensions]
    u = links(colors, extent, samples=2)
    net = network(colors, dimensions, stack_for(name, extent), weights=weights, convention=convention, polyakov=dimensions == 2)
    fields, batch = net.fields(batch_of(u, colors, extent))
    w, y, _ = expected(net, u)
    found = plain.matrices(fields[-1].detach(), batch)
    assert torch.allclose(found, w.detach(), rtol=0, atol=1e-12 * float(w.detach().abs().max()))
    ours = net(batch_of(u, colors, extent)).detach()
    assert torch.allclose(ours, y.detach().flatten(1, -2), rtol=0, atol=1e-12 * float(y.detach().abs().max()))


@pytest.mark.parametrize(("colors", "weights"), GROUPS)
@pytest.mark.parametrize("name", STACKS)
def test_gradients_are_those_of_the_plain_formulas(name, colors, weights):
    """dL/dweights and dL/dlinks of a random L, kernels against torch's autograd of complex matrices."""
    extent = (3, 4)
    u = links(colors, extent, samples=2)
    net = network(colors, 2, STACKS[name], weights=weights)
    batch = batch_of(u, colors, extent)
    packed = batch.links.clone().requires_grad_()
    y = net(batch.with_links(packed))
    target = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
    parameters = list(net.parameters())
    found = torch.autograd.grad((y * target).sum(), [packed, *parameters])
    leaf = batch.links_of_samples().clone().requires_grad_()
    wanted = torch.autograd.grad((expected(net, plain.unpacked(leaf, extent, colors))[1].flatten(1, -2) * target).sum(),
                                 [leaf, *parameters])
    ours = batch.with_links(found[0]).links_of_samples()
    for mine, theirs in zip((ours, *found[1:]), wanted, strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-11 * max(1e-3, float(theirs.abs().max())))


@pytest.mark.parametrize(("colors", "weights"), GROUPS)
def test_gradients_are_finite_differences(colors, weights):
    """torch's gradcheck of y in all weights and in the links, through L-CB, L-Exp and L-Act."""
    extent = (2, 3)
    batch = batch_of(links(colors, extent, samples=1), colors, extent)
    net = network(colors, 2, [Layer(channels=1, kernel=2), Layer("lexp"), Layer(channels=1, kernel=2, symmetric=True),
                              Layer("lact", activation="tanh")], weights=weights)
    names = [name for name, _ in net.named_parameters()]

    def y(packed, *values):
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (batch.with_links(packed),))
    inputs = [batch.links.clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in net.parameters())]
    assert torch.autograd.gradcheck(y, inputs, eps=1e-6, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("real", "layer_bar", "net_bar"), [("double", 1e-13, 1e-12), ("float", 1e-5, 1e-5)])
@pytest.mark.parametrize("dimensions", [2, 4])
@pytest.mark.parametrize(("colors", "weights"), GROUPS)
@pytest.mark.parametrize("name", STACKS)
def test_layers_are_covariant_and_y_is_invariant(name, colors, weights, dimensions, real, layer_bar, net_bar):
    """W(x) -> Omega W Omega^+ behind each layer, one layer at a time, and y stays, for Haar-random Omega."""
    extent = {2: (3, 5), 4: (3, 4, 3, 5)}[dimensions]
    u = links(colors, extent, samples=1)
    omega = plain.haar(torch.Generator().manual_seed(5), (1, *extent[::-1]), colors)
    one, other = (batch_of(v, colors, extent, real) for v in (u, plain.transformed(u, omega)))
    net = network(colors, dimensions, STACKS[name], real, weights=weights)
    with torch.no_grad():
        y, z = net(one), net(other)
        assert float((y - z).abs().max()) <= net_bar * float(y.abs().max())
        fields, at = net.fields(one)
        turned, _ = net.fields(other)
        first, second = (plain.matrices(f[-1], at).to(torch.complex128) for f in (fields, turned))
        assert float((omega[:, None] @ first @ plain.dagger(omega[:, None]) - second).norm() / first.norm()) <= net_bar
        for layer in net.layers:  # each alone, on the first field's channels
            one_in, other_in = (batch.in_algebra(net.algebra) for batch in (one, other))
            channels = layer.shape.channels if hasattr(layer, "shape") else getattr(layer, "weight", torch.empty(1, 2)).shape[1]
            channels = layer.product.channels if hasattr(layer, "product") else channels
            if hasattr(layer, "product") and layer.product.channels != layer.channels:
                continue  # takes two fields: proved with the whole
            before, after = (_channels(first_field(batch), channels) for batch in (one_in, other_in))
            (w, _, _), (v, _, _) = layer(before, one_in), layer(after, other_in)
            a, b = (plain.matrices(f, one_in).to(torch.complex128) for f in (w, v))
            assert float((omega[:, None] @ a @ plain.dagger(omega[:, None]) - b).norm() / a.norm()) <= layer_bar


def _channels(field, count):
    """As many channels of W as asked, each another multiple."""
    return torch.cat([field * (1 + 0.1 * k) for k in range(count)], 1)[:, :count]


def test_translation_and_tiling():
    """A shifted lattice gives shifted y, two by two copies of a lattice give copies of y."""
    extent = (4, 5)
    u = links(2, extent)
    net = network(2, 2, STACKS["lexp"])
    y = net(batch_of(u, 2, extent)).detach().view(3, 5, 4)
    moved = net(batch_of(torch.roll(u, (2, 3), (2, 3)), 2, extent)).detach().view(3, 5, 4)
    assert torch.allclose(moved, torch.roll(y, (2, 3), (1, 2)), rtol=0, atol=1e-14)
    tiled = net(batch_of(u.repeat(1, 1, 2, 2, 1, 1), 2, (8, 10))).detach().view(3, 10, 8)
    assert torch.allclose(tiled, y.repeat(1, 2, 2), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("symmetric", "dilation", "reached"), [
    (False, 0, {(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)}),
    (True, 0, {(0, 0), (1, 0), (2, 0), (-1, 0), (-2, 0), (0, 1), (0, 2), (0, -1), (0, -2)}),
    (False, 1, {(0, 0), (2, 0), (4, 0), (0, 2), (0, 4)})])
def test_support_of_a_kernel(symmetric, dilation, reached):
    """One L-CB of width 3 sees the plaquettes of its own shifts only: one perturbed plaquette at the origin, who changes?"""
    extent = (9, 9)
    net = network(2, 2, [Layer(channels=1, kernel=3, symmetric=symmetric, dilation=dilation)])
    batch = batch_of(links(2, extent, samples=1), 2, extent)
    layer, field = net.layers[0], first_field(batch)
    other = field.clone()
    other[..., 0, :] *= 1.5
    with torch.no_grad():
        changed = (layer(field, batch)[0] - layer(other, batch)[0]).abs().sum((0, 1, 2, 4)) > 0
    # y(x) sees W(x + s): it changes at x = -s
    sites = {(-(int(k) % 9 - 9 * (int(k) % 9 > 4)), -(int(k) // 9 - 9 * (int(k) // 9 > 4))) for k in torch.nonzero(changed)}
    assert sites == reached


@pytest.mark.parametrize(("kind", "convention", "dilation", "steps"), [
    ("lcb", "arxiv_v1", None, (1, 2)), ("lcb", "arxiv_v1", 1, (2, 4)), ("lcb", "prl_2022", None, (1, 2)),
    ("lcb", "prl_2022", 1, (1, 2)), ("lcb", "prl_2022", 2, (2, 4)), ("lconv", "arxiv_v1", 1, (1, 2)),
    ("lconv", "prl_2022", 3, (3, 6))])
def test_dilation_counts_as_its_convention_says(kind, convention, dilation, steps):
    """From 0 in the L-CB of arxiv_v1, from 1 in that of prl_2022 and in L-Conv; the reach is the longest step."""
    net = LCNN(2, 2, [Layer(kind, kernel=3, dilation=dilation)], convention=convention)
    assert net.layers[0].shape.shifts == tuple((mu, step) for mu in range(2) for step in steps) and net.reach == steps[-1]


def quarter_turn(u, w):
    """Links and a field of 5 x 5 sites seen after x' = y, y' = -x; sites are [y, x]."""
    new_y, new_x = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    at = new_x, (-new_y) % 5  # old y, x
    along = u[:, 1][:, at[0], at[1]]
    behind = plain.dagger(u[:, 0])[:, at[0], (at[1] - 1) % 5]
    return torch.stack([along, behind], 1), w[:, :, at[0], at[1]]


@pytest.mark.parametrize(("symmetric", "tied", "holds"), [(True, True, True), (True, False, False), (False, True, False)])
def test_rotations_need_symmetric_kernels_and_tied_weights(symmetric, tied, holds):
    """A layer commutes with a quarter turn of links and W only if its kernel is symmetric and all directions share weights."""
    extent = (5, 5)
    u = links(2, extent, samples=1)
    batch = batch_of(u, 2, extent)
    layer = network(2, 2, [Layer(channels=2, kernel=2, symmetric=symmetric)], convention="prl_2022").layers[0]
    sites = layer.shape.transported
    with torch.no_grad():
        if tied:  # centre, then the shifts; W and then W^+
            for first in (0, sites):
                layer.weight[:, :, first + 1:first + sites] = layer.weight[:, :, first + 1:first + 2]
        def image(field):
            shape = (*field.shape[:3], 5, 5, field.shape[-1])
            return quarter_turn(u, field.view(shape).movedim((3, 4), (2, 3)))[1].movedim((2, 3), (3, 4)).reshape(field.shape)
        field = first_field(batch)
        turned = batch_of(quarter_turn(u, u[:, :1])[0], 2, extent)
        one, other = image(layer(field, batch)[0]), layer(image(field), turned)[0]
    assert (float((one - other).norm() / one.norm()) < 1e-13) is holds


@pytest.mark.parametrize("colors", [2, 3])
def test_a_hundred_exponentials_stay_in_the_group(colors):
    """det U = 1 and U U^+ = 1 to 1e-13 behind 100 L-Exp in double."""
    extent = (3, 4)
    net = network(colors, 2, [Layer("lexp")] * 100)
    with torch.no_grad():
        _, batch = net.fields(batch_of(links(colors, extent), colors, extent))
        u = plain.unpacked(batch.links_of_samples(), extent, colors)
    unit = torch.eye(colors, dtype=u.dtype)
    assert float((u @ plain.dagger(u) - unit).abs().max()) < 1e-13
    assert float((torch.linalg.det(u) - 1).abs().max()) < 1e-13


@pytest.mark.parametrize(("colors", "weights"), GROUPS)
def test_steps_leave_nothing_behind(colors, weights):
    """Links behind an L-Exp are freed with the graph of a step: no function holds what was made of them."""
    net = network(colors, 2, STACKS["lexp"], weights=weights)
    fields, batch = net.fields(batch_of(links(colors, (3, 4)), colors, (3, 4)))
    fields[-1].square().sum().backward()
    kept = weakref.ref(batch)
    del fields, batch
    gc.collect()
    assert kept() is None


LCB = lambda *layers: [Layer(kernel=k, channels=n) for k, n in layers]  # noqa: E731
COUNTS = [  # Table V of arXiv:2012.12901; PRL counts where known
    (2, LCB((1, 1)), 12, 12),
    (2, LCB((2, 2)), 35, 47), (2, LCB((3, 4)), 117, 141), (2, LCB((4, 8)), 329, 377),
    (2, LCB((2, 2), (2, 2)), 125, 177), (2, LCB((3, 4), (3, 4)), 1305, 1617), (2, LCB((4, 8), (4, 8)), 13521, 15745),
    (2, LCB((2, 2), (2, 2), (3, 2), (3, 2)), 465, 597), (2, LCB((3, 4), (3, 4), (4, 4), (4, 4)), 4833, 5721),
    (2, LCB(*[(4, 8)] * 4), 39905, 46481),
    (4, LCB((2, 4)), None, 3181), (4, LCB((1, 1)), 172, 172),
    (4, LCB((2, 2), (2, 2)), None, 1801),
]


@pytest.mark.parametrize(("dimensions", "layers", "arxiv", "prl"), COUNTS)
def test_parameter_counts(dimensions, layers, arxiv, prl):
    """Published counts in both conventions, and n_out (2 n_in + 1)(2 n_in s + 1) for all."""
    for convention, count in (("arxiv_v1", arxiv), ("prl_2022", prl)):
        net = LCNN(2, dimensions, layers, convention=convention)
        channels, total = dimensions * (dimensions - 1) // 2, 0
        for layer in layers:
            shifts = dimensions * (layer.kernel - 1)
            sites = 1 + shifts if convention == "prl_2022" else max(1, shifts)
            total += layer.channels * (2 * channels + 1) * (2 * channels * sites + 1)
            channels = layer.channels
        assert net.parameter_count == total + 2 * channels + 1
        assert count is None or net.parameter_count == count


def test_symmetric_kernels_of_the_published_charge_network():
    """5677 parameters in the published script, which takes symmetric kernels."""
    assert LCNN(2, 4, [Layer(kernel=2, channels=4, symmetric=True)], convention="prl_2022").parameter_count == 5677


@pytest.mark.parametrize("colors", [2, 3])
@pytest.mark.parametrize("extent", [(4, 5), (3, 4, 5)])
def test_loops_of_links(colors, extent):
    """Wilson and Polyakov loops by the kernels and by the plain product of links."""
    u = links(colors, extent, samples=2)
    batch = batch_of(u, colors, extent)
    d = len(extent)
    for n, m in ((1, 1), (1, 2), (3, 2)):
        wanted = torch.stack([plain.traces(plain.loop(u, mu, nu, n, m)).real.flatten(1) / colors
                              for mu in range(d) for nu in range(mu + 1, d)], -1)
        assert torch.allclose(wilson_loops(batch, n, m), wanted, rtol=0, atol=1e-13)
    traces = plain.traces(plain.polyakov(u)).real.flatten(2)
    first = first_field(batch, True)[:, -d:]
    found = plain.traces(plain.matrices(first, batch)).real.flatten(2)
    assert torch.allclose(found, traces, rtol=0, atol=1e-13)
    assert polyakov(batch).shape[1] == d


@pytest.mark.parametrize("colors", [2, 3])
def test_topological_charge_density(colors):
    """All 24 terms of the epsilon tensor, by plain matrices."""
    extent = (2, 3, 2, 3)
    u = links(colors, extent, samples=2)
    wanted = plain.topological_charge_density(u).flatten(1)
    assert torch.allclose(topological_charge_density(batch_of(u, colors, extent)), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("samples", [1, 2, 7, 50])
def test_any_number_of_samples(samples):
    """A batch gives each sample what it gives alone, whatever the lanes and the copies that fill the last block."""
    u = links(2, (4, 3), samples=samples)
    net = network(2, 2, STACKS["lcb"])
    with torch.no_grad():
        together = net(batch_of(u, 2, (4, 3)))
        assert together.shape == (samples, 12, 1)
        for k in {0, samples // 2, samples - 1}:
            alone = net(batch_of(u[k:k + 1], 2, (4, 3)))
            assert torch.allclose(together[k], alone[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("colors", "weights"), GROUPS)
def test_the_launch_geometry_of_gpus(colors, weights):
    """Threads of a GPU as host loops, one lane each, give the same y and gradients as lane vectors."""
    u, net = links(colors, (3, 4)), network(colors, 2, STACKS["lexp"], weights=weights)
    packed, found = plain.packed(u, colors), []
    for device in (DEVICE, HostDevice(threads_geometry=True)):
        y = net(LinkBatch(device, packed, (3, 4), colors))
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), list(net.parameters()))))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-12)


def test_chunks_do_not_matter(monkeypatch):
    """Sites in one chunk and in many: the same y and gradients."""
    from slhmc.networks.lcnn import functions
    u, net = links(2, (5, 4)), network(2, 2, STACKS["lcb"])
    found = []
    for size in (1 << 30, 1 << 10):
        monkeypatch.setattr(functions, "WORKSPACE_BYTES", size)
        y = net(batch_of(u, 2, (5, 4)))
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), list(net.parameters()))))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_real_weights_of_quaternions_are_real_weights_of_matrices():
    """SU(2) with real weights: quaternions and full matrices are one network."""
    u, net = links(2, (4, 3)), network(2, 2, STACKS["lexp"])
    with torch.no_grad():
        quaternions = net(batch_of(u, 2, (4, 3)))
        net.algebra = "matrix"
        assert torch.allclose(net(batch_of(u, 2, (4, 3))), quaternions, rtol=0, atol=1e-13)


def test_tensors_of_another_batch_do_not_reach_kernels():
    """Kernels see addresses only: a tensor of other lanes, sites or channels is refused before."""
    batch, net = batch_of(links(2, (4, 3)), 2, (4, 3)), network(2, 2, STACKS["lexp"])
    field = first_field(batch)
    for wrong in (field[..., :1], field[..., 1:, :], field.repeat(1, 2, 1, 1, 1), field.float()):
        with pytest.raises(ValueError, match="expected"):
            net.layers[0](wrong, batch)
    with pytest.raises(ValueError, match="links: .* expected"):
        net.layers[1](net.layers[0](field, batch)[0], batch.with_links(batch.links[..., :1]))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: LCNN(4, 2, []), "Nc = 2 and 3"),
    (lambda: LCNN(2, 5, []), "2 to 4 dimensions"),
    (lambda: LCNN(2, 2, [Layer(kernel=0)]), "kernel are 1 or more"),
    (lambda: LCNN(2, 2, [Layer("lcc")]), "known kinds"),
    (lambda: LCNN(2, 2, [Layer(kernel=10**9)]), "a layer with 2 x 3 x 3999999997 = .* weights; 1e.08 are the most: make"),
    (lambda: LCNN(2, 2, [Layer("lconv", kernel=10**9)]), "2 x 1999999999 = .* weights; 1e.08 are the most: make it smaller"),
    (lambda: LCNN(2, 2, [Layer(channels=10**5), Layer(channels=10**5)]), "weights; 1e.08 are the most: make it smaller"),
    (lambda: LCNN(2, 2, [Layer(dilation=0)], convention="prl_2022"), "a dilation 1 or more"),
    (lambda: LCNN(2, 2, [Layer("lconv", dilation=0)]), "L-Conv with dilation 0: 1 or more"),
    (lambda: LCNN(2, 2, [], convention="prl"), "known are arxiv_v1, prl_2022"),
    (lambda: LCNN(2, 2, [Layer(kernel=5)]).check((4, 8), 2), "reaches 4 sites, too wide for 4x8"),
    (lambda: LCNN(2, 2, []).check((4, 8), 3), "found SU\\(3\\)"),
    (lambda: LCNN(2, 2, []).check((4, 8, 2), 2), "in 2 dimensions"),
    (lambda: LinkBatch(DEVICE, np.zeros((2, 2, 4, 15)), (4, 4), 2), "is \\[1 or more, 2, 4, 16\\]"),
    (lambda: LinkBatch(DEVICE, np.zeros((2, 2, 4, 16)), (4, 4), 5), "Nc = 2 and 3 are"),
    (lambda: LinkBatch(DEVICE, np.zeros((2, 2, 18, 16)), (4, 4), 3).in_algebra("quaternion"), "are not quaternions"),
    (lambda: wilson_loops(LinkBatch(DEVICE, np.zeros((2, 2, 4, 16)), (4, 4), 2), 1, 5), "does not fit on 4x4"),
    (lambda: topological_charge_density(LinkBatch(DEVICE, np.zeros((2, 2, 4, 16)), (4, 4), 2)), "needs 4 dimensions"),
])
def test_faults_are_named(make, words):
    """Found, expected, what to do."""
    with pytest.raises(InputError, match=words):
        make()
