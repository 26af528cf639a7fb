"""Topologies of grids against loops, against convolutions, and lowering by lowering."""

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl

L = rl.lowerings
GRIDS = st.sampled_from([(7,), (3, 4), (4, 3), (5, 5), (2, 3, 3), (1, 6)])


def _axes(draw, grid, low, high):
    return tuple(draw(st.integers(low, high)) for _ in grid)


@st.composite
def windows(draw):
    grid = draw(GRIDS)
    size, dilation = _axes(draw, grid, 1, 4), _axes(draw, grid, 1, 2)
    border = draw(st.sampled_from(["cut", "shift"]))
    if border == "shift":
        size = tuple(map(min, size, grid))
        dilation = tuple(
            1 if s * d > n else d for n, s, d in zip(grid, size, dilation, strict=True)
        )
    stride = _axes(draw, grid, 1, 3)
    return rl.Window(
        grid=grid, size=size, dilation=dilation, stride=stride, border=border
    )


@st.composite
def stencils(draw):
    grid = draw(GRIDS)
    size, dilation = _axes(draw, grid, 1, 3), _axes(draw, grid, 1, 2)
    pads = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in grid)
    fits = all(
        n + sum(p) >= (s - 1) * d + 1
        for n, s, d, p in zip(grid, size, dilation, pads, strict=True)
    )
    padding = draw(st.sampled_from(["same", pads] if fits else ["same"]))
    return rl.Stencil(
        grid=grid,
        size=size,
        stride=_axes(draw, grid, 1, 3),
        dilation=dilation,
        padding=padding,
    )


RASTERS = st.builds(
    lambda rows, columns, block, above, beside: rl.RasterBlocks2D(
        grid=(rows * block[0], columns * block[1]),
        block=block,
        above=above,
        beside=beside,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    st.tuples(st.integers(1, 2), st.integers(1, 3)),
    st.integers(0, 3),
    st.integers(0, 4),
)
ANY = st.one_of(windows(), stencils(), RASTERS)
OFTEN = hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True, database=None
)


@OFTEN
@hypothesis.given(st.one_of(ANY, ANY.map(lambda one: one.T)), st.data())
def test_promises_hold_of_the_adjacency_matrix(topology, data):
    mask = topology.mask()
    spans = []
    for count in mask.shape:
        start = data.draw(st.integers(0, count - 1))
        spans.append(range(start, data.draw(st.integers(start + 1, count))))
    rows, columns = spans
    part = mask[rows.start : rows.stop, columns.start : columns.stop]
    tile = topology.classify(rows, columns)
    assert tile != 0 or not part.any()
    assert tile != 2 or part.all()
    heard = np.flatnonzero(mask[rows.start : rows.stop].any(axis=0))
    assert set(heard) <= set(topology.sender_range(rows, mask.shape[1]))
    hearers = np.flatnonzero(mask[:, columns.start : columns.stop].any(axis=1))
    assert set(hearers) <= set(topology.receiver_range(columns, mask.shape[0]))
    offsets = [sender - receiver for receiver, sender in np.argwhere(mask)]
    reach, ahead = topology.reach(), topology.ahead()
    assert reach is None or all(-offset < reach for offset in offsets)
    assert ahead is None or all(offset <= ahead for offset in offsets)
    senders, receivers = topology.edges()
    listed = np.zeros_like(mask)
    listed[receivers, senders] = True
    np.testing.assert_array_equal(listed, mask)


def _window_by_loop(window):
    """NATTEN's rule, place by place: groups `dilation` apart, their leaders, borders."""
    heard = {}
    for place in itertools.product(*map(range, window.grid)):
        choices = []
        for axis, at in enumerate(place):
            step, size = window.dilation[axis], window.size[axis]
            group = list(range(at % step, window.grid[axis], step))
            index = group.index(at)
            stride = window.stride[axis]
            if stride > 1:
                index = min(index // stride * stride + stride // 2, len(group) - 1)
            start = index - size // 2
            if window.border == "shift":
                start = min(max(start, 0), len(group) - size)
            inside = range(max(start, 0), min(start + size, len(group)))
            choices.append([group[k] for k in inside])
        heard[place] = set(itertools.product(*choices))
    return heard


@OFTEN
@hypothesis.given(windows())
def test_windows_are_those_of_a_loop(window):
    mask = window.mask().reshape(*window.grid, *window.grid)
    for place, heard in _window_by_loop(window).items():
        assert set(map(tuple, np.argwhere(mask[place]))) == heard


@OFTEN
@hypothesis.given(RASTERS)
def test_raster_blocks_are_those_of_a_loop(topology):
    (height, width), (tall, wide) = topology.grid, topology.block
    order = [
        (top + y, left + x)
        for top in range(0, height, tall)
        for left in range(0, width, wide)
        for y in range(tall)
        for x in range(wide)
    ]
    mask = topology.mask()
    for r, (row, column) in enumerate(order):
        top, left = row // tall * tall, column // wide * wide
        for s, (y, x) in enumerate(order):
            in_rows = top - topology.above <= y < top + tall
            in_columns = left - topology.beside <= x < left + wide + topology.beside
            assert mask[r, s] == (s <= r and in_rows and in_columns)


@OFTEN
@hypothesis.given(st.one_of(windows(), stencils()))
def test_taps_count_the_places_of_a_box(topology):
    labels = np.asarray(topology.tap.label(*np.indices(topology.mask().shape)))
    mask = topology.mask()
    assert (labels[~mask] == topology.num_taps).all()
    receivers = np.argwhere(mask)[:, 0]
    tap = np.stack(np.unravel_index(labels[mask], topology.size), axis=-1)
    place = np.stack(np.unravel_index(receivers, topology.receiver_grid), axis=-1)
    for axis, step in enumerate(topology.dilation):
        sender = topology.first(axis, place[:, axis]) + tap[:, axis] * step
        found = np.unravel_index(np.argwhere(mask)[:, 1], topology.sender_grid)[axis]
        np.testing.assert_array_equal(sender, found)


@pytest.mark.parametrize(
    "bound", [{}, {"clip": 1}, {"limit": (1, 2)}, {"limit": ((-1, 0), 3)}]
)
def test_grid_offsets_are_those_of_a_loop(bound):
    grid = (3, 4)
    offset = rl.GridOffset(grid=grid, **bound)
    lows, highs = {
        (): ((-2, -3), (2, 3)),
        ("clip",): ((-1, -1), (1, 1)),
    }.get(tuple(bound), ((-1, -2), (1, 2)))
    if bound.get("limit") == ((-1, 0), 3):
        lows, highs = (-1, -3), (0, 3)
    places = list(itertools.product(*map(range, grid)))
    found = offset.label(*np.indices((12, 12)))
    widths = [high - low + 1 for low, high in zip(lows, highs, strict=True)]
    assert offset.num_labels == math.prod(widths)
    for (r, one), (s, other) in itertools.product(enumerate(places), repeat=2):
        step = np.subtract(other, one)
        inside = (np.clip(step, lows, highs) == step).all()
        wanted = np.ravel_multi_index(np.clip(step, lows, highs) - lows, widths)
        is_labelled = inside or "clip" in bound
        assert found[r, s] == (wanted if is_labelled else offset.num_labels)
        if is_labelled:
            np.testing.assert_array_equal(
                offset.value(wanted), np.clip(step, lows, highs)
            )


LOWERINGS = [L.Stencil(), L.Edges(), L.Dense(), L.Tiles(block=4)]
AGGREGATORS = [rl.Softmax(), rl.Mean(), (rl.Max(), rl.Std()), rl.LogSumExp()]
DRAWN = hypothesis.settings.default.max_examples // 50  # In the profile `ci` 2.


BLOCKED = {  # On each kind of grid each aggregator, in blocks of several forms.
    "window, one axis": (
        rl.Window(grid=(7,), size=4, dilation=2),
        rl.Softmax(),
        (3,),
    ),
    "window, shifted": (
        rl.Window(grid=(5, 5), size=(3, 2), stride=(2, 1), border="shift"),
        rl.Mean(),
        (2, 3),
    ),
    "window, three axes": (
        rl.Window(grid=(2, 3, 3), size=(1, 2, 3)),
        (rl.Max(), rl.Std()),
        (1, 2, 2),
    ),
    "window, shifted and dilated": (
        rl.Window(grid=(1, 6), size=(1, 3), dilation=(1, 2), border="shift"),
        rl.LogSumExp(),
        (1, 4),
    ),
    "stencil, padded": (
        rl.Stencil(grid=(4, 3), size=(3, 2), stride=(2, 1), padding=((1, 2), (0, 1))),
        rl.Softmax(),
        (1, 2),
    ),
    "stencil, dilated": (
        rl.Stencil(grid=(7,), size=3, dilation=2),
        rl.Mean(),
        (2,),
    ),
    "stencil, strided": (
        rl.Stencil(grid=(3, 4), size=(2, 3), stride=(1, 3), dilation=(2, 1)),
        (rl.Max(), rl.Std()),
        (4, 1),
    ),
    "stencil, three axes": (
        rl.Stencil(grid=(2, 3, 3), size=(2, 2, 1), stride=(1, 2, 2)),
        rl.LogSumExp(),
        (2, 1, 1),
    ),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_blocks_with_a_halo_equal_the_edges(name):
    check_blocks(*BLOCKED[name])


@hypothesis.settings(max_examples=DRAWN, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    st.one_of(windows(), stencils()), st.sampled_from(AGGREGATORS), st.data()
)
def test_drawn_blocks_with_a_halo_equal_the_edges(topology, aggregator, data):
    block = tuple(data.draw(st.integers(1, 4)) for _ in topology.receiver_grid)
    check_blocks(topology, aggregator, block)


def check_blocks(topology, aggregator, block):
    rng = np.random.default_rng(0)
    counts = topology.counts()
    # Round numbers, so that the largest tie; a leading axis that both sides share not.
    query, key, value = (
        jnp.asarray(rng.integers(-2, 3, (*lead, count, 3)), jnp.float32)
        for lead, count in (
            ((2, 1), counts[0]),
            ((1, 3), counts[1]),
            ((2, 3), counts[1]),
        )
    )
    weight = jnp.asarray(rng.normal(size=(1, 1, topology.num_taps, 3)), jnp.float32)
    hears_score = isinstance(aggregator, rl.Softmax)

    def loss(lowering):
        def run(query, key, value, weight):
            found = rl.propagate(
                topology,
                batch_axes=2,
                receivers={"query": query},
                senders={"key": key, "value": value},
                relations={"tap": topology.tap.rows(weight=weight)},
                score=[
                    lambda receiver, sender: rl.dot(receiver.query, sender.key),
                    lambda receiver, tap: rl.dot(receiver.query, tap.weight),
                ]
                if hears_score
                else None,
                message=[
                    lambda sender: sender.value,
                    lambda receiver: receiver.query,
                    lambda sender, tap: jnp.round(4 * tap.weight) / 4 * sender.value,
                ],
                aggregator=aggregator,
                dropout=rl.Dropout(0.25, jax.random.key(1)) if hears_score else None,
                lowering=lowering,
            )
            return sum(jnp.sin(each).sum() for each in jax.tree.leaves(found)), found

        return jax.jit(jax.value_and_grad(run, (0, 1, 2, 3), has_aux=True))(
            query, key, value, weight
        )

    wanted = jax.tree.leaves(loss(L.Edges()))
    for lowering in (
        L.Window(block=block, loops=True),
        L.Window(block=block, loops=False),
        L.Shifts(),
    ):
        for one, other in zip(jax.tree.leaves(loss(lowering)), wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def _filtered(topology, image, kernel, lowering=None, message=None, **more):
    tap = topology.tap if hasattr(topology, "tap") else topology.left.tap.T
    return rl.propagate(
        topology,
        batch_axes=1,
        senders={"pixel": image},
        relations={"tap": tap.rows(kernel=kernel)},
        message=message or (lambda sender, tap: rl.dot(sender.pixel, tap.kernel)),
        aggregator=more.pop("aggregator", rl.Sum()),
        lowering=lowering,
        **more,
    )


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True, database=None)
@hypothesis.given(stencils(), st.booleans())
def test_convolutions_are_those_of_jax(stencil, is_turned):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(1, stencil.num_taps, 3, 2)), jnp.float32)
    counts = math.prod(stencil.sender_grid), math.prod(stencil.receiver_grid)
    image = jnp.asarray(rng.normal(size=(2, counts[0], 3)), jnp.float32)
    heard = jnp.asarray(rng.normal(size=(2, counts[1], 2)), jnp.float32)
    axes = "XYZ"[: len(stencil.grid)]

    def convolve(image):
        return jax.lax.conv_general_dilated(
            image.reshape(2, *stencil.sender_grid, 3),
            kernel.reshape(*stencil.size, 3, 2),
            stencil.stride,
            stencil.pads,
            rhs_dilation=stencil.dilation,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        ).reshape(2, counts[1], 2)

    @jax.jit
    def both(image, heard, kernel):
        wanted, pull = jax.vjp(convolve, image)
        if is_turned:  # The transposed convolution is the gradient of the plain one.
            turned = jnp.swapaxes(kernel, 2, 3)
            found = [_filtered(stencil.T, heard, turned, low) for low in LOWERINGS]
            return found, pull(heard)[0]
        return [_filtered(stencil, image, kernel, low) for low in LOWERINGS], wanted

    found, wanted = both(image, heard, kernel)
    for each in found:
        np.testing.assert_allclose(each, wanted, atol=2e-5)


MESSAGES = {
    "matrix": ((3, 2), lambda sender, tap: rl.dot(sender.pixel, tap.kernel)),
    "turned": ((2, 3), lambda sender, tap: rl.dot(tap.kernel, sender.pixel)),
    "number": ((3,), lambda sender, tap: rl.dot(sender.pixel, tap.kernel)),
    "depthwise": ((3,), lambda sender, tap: sender.pixel * tap.kernel),
    "heads": (
        (3, 2, 4),
        lambda tap, sender: jnp.tensordot(sender.pixel, tap.kernel, 1),
    ),
}
GEOMETRIES = {
    "same": rl.Stencil(grid=(5, 4), size=3),
    "strided": rl.Stencil(grid=(5, 4), size=(3, 2), stride=2, dilation=(1, 2)),
    "turned": rl.Stencil(grid=(5, 4), size=2, stride=(2, 1), padding="valid").T,
    "window": rl.Window(grid=(5, 4), size=(3, 2), dilation=(2, 1)),
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_stencil_equals_the_edges_in_values_and_gradients(geometry, message):
    topology, (shape, term) = GEOMETRIES[geometry], MESSAGES[message]
    rng = np.random.default_rng(0)
    stencil = getattr(topology, "left", topology)
    image = jnp.asarray(rng.normal(size=(2, topology.counts()[1], 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, stencil.num_taps, *shape)), jnp.float32)

    def loss(image, kernel, lowering):
        more = {"aggregator": (rl.Sum(), rl.Mean())}
        found = _filtered(topology, image, kernel, lowering, term, **more)
        return sum(jnp.sin(each).sum() for each in found), found

    slope = jax.value_and_grad(loss, (0, 1), has_aux=True)
    both = jax.jit(
        lambda *args: [slope(*args, low) for low in (L.Stencil(), L.Edges())]
    )
    for one, other in zip(*map(jax.tree.leaves, both(image, kernel)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


GROUPED = {
    "batched": ((2, 3, 4), lambda x, kernel: jnp.einsum("gc,gcf->gf", x, kernel)),
    "turned": ((2, 4, 3), lambda x, kernel: jnp.einsum("gc,gfc->gf", x, kernel)),
    "by channel": ((3, 2, 4), lambda x, kernel: jnp.einsum("gc,cgf->cf", x, kernel)),
    "added up": ((2, 3, 4), lambda x, kernel: jnp.einsum("gc,gcf->f", x, kernel)),
    "mapped": ((2, 3, 4), lambda x, kernel: jax.vmap(rl.dot)(x, kernel)),
}


@pytest.mark.parametrize("name", GROUPED)
def test_groups_of_channels_are_a_grouped_convolution(name):
    stencil = rl.Stencil(grid=(5, 4), size=(3, 2), stride=2)
    shape, product = GROUPED[name]
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, 20, 2, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(1, 6, *shape)), jnp.float32)

    def run(image, kernel, lowering):
        return _filtered(
            stencil,
            image,
            kernel,
            lowering,
            lambda sender, tap: product(sender.pixel, tap.kernel),
        )

    text = str(jax.make_jaxpr(lambda *args: run(*args, L.Stencil()))(image, kernel))
    groups = {"by channel": 3, "added up": 1}.get(name, 2)
    assert f"feature_group_count={groups}" in text

    def pulled(image, kernel, lowering):
        found, pull = jax.vjp(lambda *args: run(*args, lowering), image, kernel)
        return found, pull(jnp.cos(found))

    both = jax.jit(
        lambda *args: [pulled(*args, low) for low in (L.Stencil(), L.Edges())]
    )
    for one, other in zip(*map(jax.tree.leaves, both(image, kernel)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rows_of_grid_offsets_are_those_of_a_filter():
    window = rl.Window(grid=(5, 4), size=3)
    offset = rl.GridOffset(grid=(5, 4), limit=((-1, 0), 1))  # The last taps have none.
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(2, 20, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(1, 6, 3, 2)), jnp.float32)

    def run(relation, lowering=None, topology=window):
        return rl.propagate(
            topology,
            batch_axes=1,
            senders=image,
            relations={"place": relation.rows(kernel=kernel)},
            message=lambda sender, place: rl.dot(sender, place.kernel),
            aggregator=rl.Sum(),
            lowering=lowering,
        )

    np.testing.assert_allclose(
        run(offset, L.Stencil()), run(offset, L.Edges()), atol=1e-5
    )
    other = rl.GridOffset(grid=(2, 10), limit=((0, 1), 1))  # Rows of another length.
    with pytest.raises(ValueError, match="more than a product of sender and tap"):
        run(other, L.Stencil())
    np.testing.assert_allclose(run(other, L.Shifts()), run(other, L.Edges()), atol=1e-5)


def test_a_convolution_of_bfloat16_multiplies_in_it_and_adds_in_float32():
    stencil = rl.Stencil(grid=(8, 8), size=3)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, 64, 16)), jnp.bfloat16)
    kernel = jnp.asarray(rng.normal(size=(1, 9, 16, 4)), jnp.bfloat16)

    def run(image, kernel):
        return _filtered(stencil, image, kernel, L.Stencil())

    text = str(jax.make_jaxpr(run)(image, kernel))
    assert "preferred_element_type=float32" in text
    assert "bf16[1,8,8,16]" in text
    assert "f32[1,8,8,16]" not in text
    wide = [each.astype(jnp.float32) for each in (image, kernel)]
    found, pull = jax.vjp(run, image, kernel)
    wanted, pull_wide = jax.vjp(run, *wide)
    np.testing.assert_allclose(found.astype(jnp.float32), wanted, rtol=1e-2, atol=1e-2)
    assert found.dtype == jnp.bfloat16
    slopes = pull(jnp.ones_like(found)), pull_wide(jnp.ones_like(wanted))
    for one, other in zip(*slopes, strict=True):
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=2e-2, atol=2e-2)


def test_a_convolution_compiles_to_one_and_gathers_nothing():
    stencil = rl.Stencil(grid=(16, 16), size=(3, 3))
    image, kernel = jnp.ones((4, 256, 8)), jnp.ones((1, 9, 8, 12))
    plan = rl.explain(lambda *args: _filtered(stencil, *args), image, kernel).plans[0]
    assert plan.lowering.name == "stencil"
    text = str(jax.make_jaxpr(lambda *args: _filtered(stencil, *args))(image, kernel))
    assert text.count("conv_general_dilated[") == 1
    assert "gather" not in text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"aggregator": rl.Max()}, "a convolution adds up"),
        ({"dropout": rl.Dropout(0.5, jax.random.key(0))}, "drops no edges"),
        (
            {"message": lambda sender, tap: sender.pixel @ tap.kernel + 1},
            "more than a product",
        ),
        (
            {"message": lambda sender, tap: jnp.tanh(sender.pixel) @ tap.kernel},
            "more than a product",
        ),
    ],
)
def test_what_is_no_convolution_is_refused(call, words):
    stencil = rl.Stencil(grid=(4, 4), size=3)
    with pytest.raises(ValueError, match=words):
        _filtered(
            stencil, jnp.ones((1, 16, 2)), jnp.ones((1, 9, 2, 2)), L.Stencil(), **call
        )
    with pytest.raises(ValueError, match="not those of a convolution"):
        rl.propagate(
            rl.Causal(),
            senders=jnp.ones(3),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=L.Stencil(),
        )


def test_listed_edges_within_a_window_stay_a_list():
    listed = rl.Edges([0, 5, 7, 3], [1, 4, 0, 3], 9) & rl.Window(grid=(3, 3), size=3)
    plan = rl.lower(
        listed,
        senders=jnp.arange(9.0),
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    reasons = {each.lowering.name: each.reasons for each in plan.candidates}
    assert "the edges are listed one by one" in reasons["window"]
    assert listed.mask().sum() == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rl.Window(grid=16, size=3), "`Window.grid` must be a tuple of counts"),
        (
            lambda: rl.Window(grid=(4, 0), size=3),
            "`Window.grid` must be a tuple of counts",
        ),
        (lambda: rl.Window(grid=(4, 4), size=(3,)), "for each of 2 axes; got \\(3,\\)"),
        (lambda: rl.Window(grid=(4,), size=0), "`Window.size` must be 1 or more"),
        (
            lambda: rl.Window(grid=(4,), size=3, border="wrap"),
            '"cut" or "shift"; got \'wrap\'',
        ),
        (lambda: rl.Window(grid=(4,), size=5, border="shift"), "must fit the grid"),
        (
            lambda: rl.Stencil(grid=(4,), size=5, padding="valid"),
            "must fit the padded grid",
        ),
        (lambda: rl.Stencil(grid=(4,), size=3, padding=1), "`Stencil.padding` must be"),
        (
            lambda: rl.RasterBlocks2D(grid=(4, 5), block=2, above=1, beside=1),
            "whole blocks",
        ),
        (
            lambda: rl.RasterBlocks2D(grid=(4,), block=2, above=1, beside=1),
            "must have 2 axes",
        ),
        (lambda: rl.GridOffset(grid=(4, 4), clip=(1, 2, 3)), "one bound for all axes"),
        (
            lambda: rl.GridOffset(grid=(4, 4), clip=1, limit=1),
            "`clip` or `limit`, not both",
        ),
        (lambda: rl.Strided(0), "`Strided.stride` must be 1 or more"),
        (lambda: rl.Where(lambda r, s: r - s), "must return booleans"),
        (lambda: rl.BlockSparse(np.ones((2, 2)), 2), "a matrix of booleans"),
        (
            lambda: rl.BlockSparse(np.ones((2, 2), bool), 2).degrees(5),
            r"must have shape \[3, 3\] for 5 receivers",
        ),
    ],
)
def test_wrong_grids_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


TURNED = {
    "strided": rl.Stencil(grid=(5, 4), size=(3, 2), stride=2).T,
    "dilated": rl.Stencil(grid=(5, 4), size=2, dilation=2).T,
    "window": rl.Window(grid=(5, 4), size=(3, 2)).T,
    "within": rl.Stencil(grid=(5, 4), size=3, stride=2).T & rl.Band(before=12, after=1),
    "without": rl.Stencil(grid=(5, 4), size=3) - rl.Strided(3),
}


@pytest.mark.parametrize("aggregator", [rl.Softmax(), (rl.Max(), rl.Std())], ids=str)
@pytest.mark.parametrize("name", TURNED)
def test_shifts_equal_the_edges_on_boxes_that_are_turned_or_cut(name, aggregator):
    topology = TURNED[name]
    receivers, senders = topology.counts()
    rng = np.random.default_rng(0)
    nodes = jnp.asarray(rng.integers(-3, 4, (2, receivers, 3)), jnp.float32)
    said = jnp.asarray(rng.integers(-3, 4, (1, senders, 3)), jnp.float32)
    scored = isinstance(aggregator, rl.Softmax)

    def loss(lowering):
        def run(nodes, said):
            found = rl.propagate(
                topology,
                batch_axes=1,
                receivers={"query": nodes, "pitch": jnp.arange(receivers)[None]},
                senders={"value": said, "pitch": jnp.arange(senders)[None] // 2},
                relations={"pitch": rl.Difference("pitch"), "offset": rl.Offset()},
                score=[
                    lambda receiver, sender: rl.dot(receiver.query, sender.value),
                    lambda pitch: -0.1 * jnp.abs(pitch).astype(jnp.float32),
                ]
                if scored
                else None,
                message=[
                    lambda sender: jnp.sin(sender.value),
                    lambda offset: offset.astype(jnp.float32)[None] / jnp.ones(3),
                ],
                aggregator=aggregator,
                lowering=lowering,
            )
            return sum(jnp.sin(each).sum() for each in jax.tree.leaves(found)), found

        run = jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))
        return jax.tree.leaves(run(nodes, said))

    for found, wanted in zip(loss(L.Shifts()), loss(L.Edges()), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def _pooled(stencil, image, lowering=None):
    return rl.propagate(
        stencil,
        batch_axes=1,
        senders=image,
        message=lambda sender: sender,
        aggregator=rl.Max(),
        lowering=lowering,
    )


def test_pooling_is_that_of_jax_a_tap_at_a_time():
    stencil = rl.Stencil(grid=(28, 30), size=3, stride=2)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 840, 16)), jnp.float32)
    large = rl.Stencil(grid=(64, 64), size=3, stride=2)
    images = jax.ShapeDtypeStruct((8, 4096, 64), "float32")
    plan = rl.explain(lambda image: _pooled(large, image), images).plans[0]
    assert plan.lowering.name == "shifts"
    wanted = jax.lax.reduce_window(
        image.reshape(2, 28, 30, 16),
        -jnp.inf,
        jax.lax.max,
        (1, 3, 3, 1),
        (1, 2, 2, 1),
        ((0, 0), *stencil.pads, (0, 0)),
    )
    found = _pooled(stencil, image, L.Shifts())
    np.testing.assert_array_equal(found, wanted.reshape(2, 210, 16))


def test_shifts_store_nothing_of_the_size_of_the_edges_and_gather_nothing():
    stencil = rl.Stencil(grid=(32, 32), size=(5, 5))
    image = jnp.ones((1, 1024, 8))

    def loss(image):
        return (_pooled(stencil, image, L.Shifts()) ** 2).sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(image))
    assert "gather" not in text
    assert "scatter" not in text
    compiled = jax.jit(jax.grad(loss)).lower(image).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    assert memory < 12 * image.nbytes  # One array of all edges is 25 times it.
    second = jax.grad(lambda image: (jax.grad(loss)(image) ** 2).sum())(image + 1)
    assert bool(jnp.isfinite(second).all())


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        (rl.Causal(), "not those of boxes on a grid"),
        (rl.Window(grid=(3, 3), size=3, border="shift").T, "not those of boxes"),
        (rl.Edges([0], [1], 9) & rl.Window(grid=(3, 3), size=3), "listed one by one"),
    ],
)
def test_what_has_no_taps_is_not_shifted(topology, words):
    with pytest.raises(ValueError, match=words):
        _pooled(topology, jnp.ones((1, 9, 1)), L.Shifts())


STEPPED = {
    "window": rl.Window(grid=(3, 4), size=3) & rl.Causal(),
    "rasters": rl.RasterBlocks2D(grid=(4, 4), block=(2, 2), above=1, beside=1),
}


@pytest.mark.parametrize("name", STEPPED)
def test_pixels_are_stepped_as_they_are_computed(name):
    topology = STEPPED[name]
    count = topology.counts()[0]
    nodes = jnp.asarray(
        np.random.default_rng(0).normal(size=(1, count, 3)), jnp.float32
    )
    call = {"message": lambda sender: sender, "aggregator": rl.Sum()}
    wanted = rl.propagate(topology, senders=nodes, batch_axes=1, **call)
    cache = rl.start(topology, nodes, length=count, batch_axes=1)
    step = jax.jit(lambda cache, at, now: rl.step(cache, at, senders=now, **call))
    for at in range(count):
        found, cache = step(cache, jnp.array([at]), nodes[:, at : at + 1])
        np.testing.assert_allclose(found[:, 0], wanted[:, at], atol=1e-5)


PATTERNS = {
    "strided": rl.Causal() & (rl.Band(before=2) | rl.Strided(3)),
    "where": rl.Where(lambda receiver, sender: (receiver * sender) % 3 != 1),
    "blocks": rl.BlockSparse(np.random.default_rng(1).random((5, 5)) < 0.5, size=3),
    "window": rl.Window(grid=(13,), size=5, border="shift"),
    "rasters": rl.RasterBlocks2D(grid=(4, 6), block=(2, 3), above=1, beside=2),
    "grid": rl.Window(grid=(4, 6), size=(3, 5)) & rl.Causal(),
    "other grid": rl.Window(grid=(4, 6), size=(3, 5), border="shift"),
}


@pytest.mark.parametrize("lowering", [L.Window(block=(2, 3)), L.Shifts()], ids=str)
def test_what_has_no_row_on_a_grid_is_said_of_the_zero_row(lowering):
    window, offset = rl.Window(grid=(6, 5), size=5), rl.GridOffset(grid=(6, 5), limit=1)
    rng = np.random.default_rng(0)
    bias = jnp.asarray(rng.normal(size=(1, 9)), jnp.float32)
    value = jnp.asarray(rng.normal(size=(2, 30, 3)), jnp.float32)

    def pulled(bias, value, lowering):
        heard, pull = jax.vjp(lambda *args: run(*args, lowering), bias, value)
        return heard, pull(jnp.sin(heard))

    def run(bias, value, lowering):
        return rl.propagate(
            window,
            batch_axes=1,
            senders=value,
            relations={"offset": offset.rows(bias=bias)},
            score=lambda offset: jnp.cos(offset.bias),  # Of zero it is 1.
            message=[
                lambda sender: sender,
                lambda offset: jnp.exp(offset.bias) / jnp.arange(1.0, 4.0),
            ],
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    both = jax.jit(lambda *args: [pulled(*args, low) for low in (lowering, L.Edges())])
    for one, other in zip(*map(jax.tree.leaves, both(bias, value)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", PATTERNS)
def test_attention_over_patterns_is_that_of_the_edges(name):
    topology = PATTERNS[name]
    count = topology.counts()[0] or 13
    grid = {"grid": (4, 6), "other grid": (2, 12)}.get(name, (count,))
    rng = np.random.default_rng(0)
    offset = rl.GridOffset(grid=grid, clip=2)
    query, key, value = (
        jnp.asarray(rng.normal(size=(2, count, 4)), jnp.float32) for _ in range(3)
    )
    rows = jnp.asarray(rng.normal(size=(1, offset.num_labels, 4)), jnp.float32)

    def loss(lowering):
        def run(query, key, value, rows):
            heard = rl.propagate(
                topology,
                batch_axes=1,
                receivers=query,
                senders={"key": key, "value": value},
                relations={
                    "offset": offset.rows(key=rows),
                    "step": rl.GridOffset(grid=grid),
                },
                score=[
                    lambda receiver, sender: rl.dot(receiver, sender.key),
                    lambda receiver, offset: rl.dot(receiver, offset.key),
                    lambda step: -0.1 * (step**2).sum().astype(jnp.float32),
                ],
                message=[lambda sender: sender.value, lambda offset: offset.key],
                aggregator=rl.Softmax(),
                lowering=lowering,
            )
            return jnp.sin(heard).sum(), heard

        run = jax.jit(jax.value_and_grad(run, (0, 1, 2, 3), has_aux=True))
        return run(query, key, value, rows)

    wanted = jax.tree.leaves(loss(L.Edges()))
    lowerings = [L.Dense(), L.Tiles(block=4)]
    if name in ("window", "grid", "other grid"):
        lowerings += [L.Window(), L.Window(loops=False), L.Shifts()]
    for lowering in lowerings:
        for one, other in zip(jax.tree.leaves(loss(lowering)), wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_one_number_a_tap_for_all_features_is_no_convolution_and_right():
    stencil = rl.Stencil(grid=(3, 4), size=3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 2)), jnp.float32)
    rows = jnp.arange(9.0)

    def heard(lowering=None):
        return rl.propagate(
            stencil,
            senders=x,
            relations={"tap": stencil.tap.rows(weight=rows)},
            message=lambda sender, tap: sender * tap.weight,
            aggregator=rl.Sum(),
            lowering=lowering,
        )

    np.testing.assert_allclose(heard(), heard(L.Edges()), atol=1e-5)
    with pytest.raises(ValueError, match="more than a product of sender and tap"):
        heard(L.Stencil())
