"""Reordering nodes changes what tiles hold, and nothing else."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl

L = rl.lowerings
N = 12
GRID = (3, 4)
TURNED = rl.orders.Order(np.random.default_rng(0).permutation(N))
OTHER = rl.orders.Order(np.random.default_rng(1).permutation(N))
LISTED = rl.Edges([0, 3, 3, 11, 7, 2], [1, 3, 9, 0, 0, 5], num_receivers=N)
TOPOLOGIES = {
    "causal": rl.Causal(),
    "window": rl.Window(grid=GRID, size=3),
    "shifted": rl.Window(grid=GRID, size=(2, 3), border="shift"),
    "sparse": rl.BlockSparse(np.eye(4, dtype=bool), size=3),
    "rule": rl.Where(lambda receiver, sender: (receiver + sender) % 5 == 0),
    "packed": rl.Band(before=4) & rl.SameSegment(np.arange(N) // 5),
    "listed": LISTED,
    "of a list": LISTED - rl.Self(),
    "between grids": rl.Stencil(grid=GRID, size=2, stride=(1, 2)),
    "nobody": rl.Causal() - rl.Causal(),
}


def some(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def orders_of(topology):
    receivers, _ = topology.sizes(*(None if n else N for n in topology.counts()))
    order = rl.orders.Order(np.random.default_rng(2).permutation(receivers))
    return order, OTHER


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_an_ordered_topology_is_the_permuted_matrix(name):
    topology = TOPOLOGIES[name]
    receivers, senders = orders_of(topology)
    mask = topology.mask(len(receivers), N)[np.ix_(receivers.nodes, senders.nodes)]
    ordered = topology.ordered(receivers=receivers, senders=senders)
    np.testing.assert_array_equal(ordered.mask(), mask)
    np.testing.assert_array_equal(ordered.T.mask(), mask.T)
    np.testing.assert_array_equal((ordered - ordered).mask(), np.zeros_like(mask))
    np.testing.assert_array_equal(
        (ordered & rl.Causal()).mask(), mask & np.tri(*mask.shape, dtype=bool)
    )
    assert ordered.degrees().tolist() == mask.sum(axis=1).tolist()
    assert ordered.density() == mask.mean()
    listed = np.zeros_like(mask)
    listed[ordered.edges()[1], ordered.edges()[0]] = True
    np.testing.assert_array_equal(listed, mask)
    if name != "listed":
        keys = ordered.edges()[1] * N + ordered.edges()[0]
        assert name == "of a list" or (np.diff(keys) > 0).all()


@pytest.mark.parametrize("name", TOPOLOGIES)
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data())
def test_promises_of_an_ordered_topology_hold(name, data):
    topology = TOPOLOGIES[name]
    receivers, senders = orders_of(topology)
    sides = {"receivers": receivers, "senders": senders}
    for side in data.draw(st.sampled_from([(), ("receivers",), ("senders",)])):
        del sides[side]
    ordered = topology.ordered(**sides)
    mask = ordered.mask(*(None if n else N for n in ordered.counts()))
    spans = []
    for count in mask.shape:
        start = data.draw(st.integers(0, count - 1))
        spans.append(range(start, data.draw(st.integers(start + 1, count))))
    rows, columns = spans
    part = mask[rows.start : rows.stop, columns.start : columns.stop]
    tile = ordered.classify(rows, columns)
    assert tile != 0 or not part.any()
    assert tile != 2 or part.all()
    heard = np.flatnonzero(mask[rows.start : rows.stop].any(axis=0))
    assert set(heard) <= set(ordered.sender_range(rows, mask.shape[1]))
    hearers = np.flatnonzero(mask[:, columns.start : columns.stop].any(axis=1))
    assert set(hearers) <= set(ordered.receiver_range(columns, mask.shape[0]))
    offsets = [sender - receiver for receiver, sender in np.argwhere(mask)]
    reach, ahead = ordered.reach(), ordered.ahead()
    assert reach is None or all(-offset < reach for offset in offsets)
    assert ahead is None or all(offset <= ahead for offset in offsets)


def classes(mask, block):
    """Returns the class of each tile by looking at the matrix."""
    cuts = [range(0, count, block) for count in mask.shape]
    tiles = [mask[r : r + block, s : s + block] for r, s in itertools.product(*cuts)]
    found = [2 if tile.all() else int(tile.any()) for tile in tiles]
    return np.reshape(found, [len(cut) for cut in cuts])


@pytest.mark.parametrize("name", sorted(set(TOPOLOGIES) - {"packed"}))
@pytest.mark.parametrize("block", [1, 3, 5, 40])
def test_tiles_of_an_ordered_topology_are_exact(name, block):
    topology = TOPOLOGIES[name]
    receivers, senders = orders_of(topology)
    ordered = topology.ordered(receivers=receivers, senders=senders)
    wanted = classes(ordered.mask(), block)
    np.testing.assert_array_equal(ordered.tiles(block), wanted)
    if ordered.listed(*ordered.sizes()) is None:
        for row, column in np.ndindex(wanted.shape):
            spans = [
                range(at * block, min(at * block + block, count))
                for at, count in zip((row, column), ordered.sizes(), strict=True)
            ]
            assert ordered.classify(*spans) == wanted[row, column]


def test_no_tile_is_full_or_lost_where_data_decide():
    ids = np.arange(N) // 5
    topology = rl.Band(before=2, after=2) & rl.SameSegment(ids)
    back = topology.ordered(TURNED).ordered(TURNED.inverse)
    np.testing.assert_array_equal(back.mask(), topology.mask())
    tiles = back.tiles(2)
    exact = classes((rl.Band(before=2, after=2)).mask(N), 2)
    np.testing.assert_array_equal(tiles, np.minimum(exact, 1))


def relations(topology):
    own = {
        "offset": rl.Offset(clip=3),
        "place": rl.GridOffset(grid=GRID, limit=1),
        "pitch": rl.Difference("pitch", clip=2),
        "label": rl.Labels(np.arange(N * N).reshape(N, N) % 5, count=4),
    }
    if hasattr(topology, "tap"):
        own["tap"] = topology.tap
    return own


@pytest.mark.parametrize("lowering", [L.Edges(), L.Dense(), L.Tiles(block=4)])
@pytest.mark.parametrize("name", ["causal", "window", "packed", "of a list"])
def test_propagation_commutes_with_an_order(name, lowering):
    topology = TOPOLOGIES[name]
    if name == "of a list" and isinstance(lowering, L.Tiles):
        pytest.skip("no tile of a list is known to be empty")
    own = relations(topology)
    tables = {key: some(3, 1, each.num_labels, 4) for key, each in own.items()}
    nodes = {"query": some(4, 2, N, 4), "value": some(5, 2, N, 4)}
    pitch = jnp.arange(N, dtype=jnp.int32)[None] % 7

    def run(topology, own, nodes, pitch, lowering):
        return rl.propagate(
            topology,
            batch_axes=1,
            receivers={**nodes, "pitch": pitch},
            senders={**nodes, "pitch": pitch},
            relations={key: each.rows(row=tables[key]) for key, each in own.items()},
            score=[
                lambda receiver, sender: rl.dot(receiver.query, sender.value),
                *(SCORES[key] for key in own),
            ],
            message=[lambda sender: sender.value, lambda offset: offset.row],
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    def both(nodes):
        apply = lambda tree: TURNED.apply(tree, axis=1)
        turned = {key: each.ordered(TURNED) for key, each in own.items()}
        found = run(
            topology.ordered(TURNED), turned, apply(nodes), apply(pitch), lowering
        )
        return TURNED.undo(found, axis=1)

    def first(nodes):
        return run(topology, own, nodes, pitch, L.Edges())

    def slopes(function):
        return jax.jit(
            jax.value_and_grad(
                lambda nodes: (jnp.sin(function(nodes)).sum(), function(nodes)),
                has_aux=True,
            )
        )(nodes)

    for found, wanted in zip(
        jax.tree.leaves(slopes(both)), jax.tree.leaves(slopes(first)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


SCORES = {
    "offset": lambda receiver, offset: rl.dot(receiver.query, offset.row),
    "place": lambda receiver, place: rl.dot(receiver.query, place.row),
    "pitch": lambda receiver, pitch: rl.dot(receiver.query, pitch.row),
    "label": lambda label: label.row[0],
    "tap": lambda tap: tap.row[1],
}


def test_listed_edges_are_renumbered_and_keep_their_features():
    turned = LISTED.ordered(TURNED)
    assert isinstance(turned, rl.Edges)
    np.testing.assert_array_equal(TURNED.nodes[turned.senders], LISTED.senders)
    weight = jnp.arange(6.0)

    def heard(topology, nodes):
        return rl.propagate(
            topology,
            senders=nodes,
            edges=weight,
            message=lambda sender, edge: sender * edge,
            aggregator=rl.Sum(),
        )

    nodes = some(0, N)
    found = TURNED.undo(heard(turned, TURNED.apply(nodes)))
    np.testing.assert_allclose(found, heard(LISTED, nodes), atol=1e-6)


def test_traced_edges_are_renumbered_and_those_out_of_range_stay_dropped():
    @jax.jit
    def heard(senders, receivers, nodes):
        topology = rl.Edges(senders, receivers, num_receivers=N).ordered(TURNED)
        return rl.propagate(
            topology,
            senders=nodes,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
        )

    senders, receivers = jnp.array([0, 1, 2, 40]), jnp.array([3, -1, N, 3])
    found = TURNED.undo(heard(senders, receivers, TURNED.apply(jnp.arange(1.0, N + 1))))
    assert found.tolist() == [0, 0, 0, 1] + [0] * (N - 4)


def test_blocks_are_the_order_of_raster_blocks():
    grid, block = (4, 6), (2, 3)
    rasters = rl.RasterBlocks2D(grid=grid, block=block, above=4, beside=6)
    order = rl.orders.blocks(grid, block)
    mask = rasters.ordered(order.inverse).mask()  # Of pixels in raster order.
    rank = order.inverse.nodes
    np.testing.assert_array_equal(mask, rank[None] <= rank[:, None])


@pytest.mark.parametrize("grid", [(8, 8), (3, 5), (7,), (2, 3, 4)])
@pytest.mark.parametrize("block", [2, 3])
def test_orders_of_grids_are_those_of_a_loop(grid, block):
    places = list(itertools.product(*map(range, grid)))

    def in_blocks(node):
        place = places[node]
        return [at // block for at in place], [at % block for at in place]

    def on_the_curve(node):
        return [at >> bit & 1 for bit in (3, 2, 1, 0) for at in places[node]]

    nodes = range(len(places))
    found = rl.orders.blocks(grid, block).nodes.tolist()
    assert found == sorted(nodes, key=in_blocks)
    assert rl.orders.morton(grid).nodes.tolist() == sorted(nodes, key=on_the_curve)


def test_a_window_fills_fewer_tiles_in_blocks_than_in_raster_order():
    window = rl.Window(grid=(64, 64), size=7)
    raster = window.ordered(rl.orders.Order(np.arange(4096)))  # Its tiles are counted.
    morton = window.ordered(rl.orders.morton((64, 64)))
    blocks = window.ordered(rl.orders.blocks((64, 64), (4, 4)))
    count = {
        block: [int((each.tiles(block) > 0).sum()) for each in (raster, morton, blocks)]
        for block in (16, 32, 64)
    }
    assert count == {
        16: [4360, 2116, 2116],
        32: [1744, 1012, 1012],
        64: [436, 484, 460],  # A tile as long as a row of pixels: nothing to gain.
    }
    assert (morton.tiles(16) == 2).sum() == 256


def test_a_shuffled_mesh_finds_its_band_again():
    grid = (20, 20)
    mesh = rl.Window(grid=grid, size=3) - rl.Self()
    shuffled = rl.orders.Order(np.random.default_rng(0).permutation(400))
    edges = rl.Edges(*mesh.edges(), num_receivers=400).ordered(shuffled)
    order = rl.orders.reverse_cuthill_mckee(edges)
    senders, receivers = edges.ordered(order).edges()
    width = np.abs(edges.senders - edges.receivers).max()
    assert width > 350
    assert np.abs(senders - receivers).max() < 60
    count = [int((each.tiles(20) > 0).sum()) for each in (edges, edges.ordered(order))]
    assert count[0] == 400
    assert count[1] < 100


def test_an_order_is_part_of_the_program():
    compiles = []

    @jax.jit
    def run(order, nodes):
        compiles.append(order)
        return order.apply(nodes)

    for nodes in ([1, 0, 2], [1, 0, 2], [2, 1, 0]):
        run(rl.orders.Order(np.array(nodes)), jnp.arange(3))
    assert len(compiles) == 2
    matrix = rl.BlockSparse(np.eye(2, dtype=bool), size=2)
    again = rl.BlockSparse(np.eye(2, dtype=bool), size=2)
    heard = jax.jit(lambda topology: jnp.asarray(topology.mask(4)).sum())
    assert heard(matrix) == heard(again) == 8


def test_a_causal_window_in_another_order_is_stepped_as_it_is_computed():
    window = rl.Window(grid=GRID, size=3).ordered(rl.orders.blocks(GRID, 2))
    topology = window & rl.Causal()
    nodes = some(0, 1, N, 3)
    call = {"message": lambda sender: sender, "aggregator": rl.Sum()}
    wanted = rl.propagate(topology, senders=nodes, batch_axes=1, **call)
    cache = rl.start(topology, nodes, length=N, batch_axes=1)
    assert cache.slots == topology.reach()
    for at in range(N):
        now = nodes[:, at : at + 1]
        found, cache = rl.step(cache, jnp.array([at]), senders=now, **call)
        np.testing.assert_allclose(found[:, 0], wanted[:, at], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rl.orders.Order([0, 2]), "must hold each node from 0 to N - 1 once"),
        (lambda: rl.orders.Order([0.0, 1.0]), "must hold each node"),
        (lambda: rl.orders.Order([[0, 1]]), "must hold each node"),
        (lambda: TURNED.apply(np.ones(3)), "must be that of the 12 nodes"),
        (lambda: TURNED.apply(np.ones(N), axis=1), "axis 1 must be"),
        (lambda: rl.orders.blocks((0, 2), 1), r"`orders.blocks.grid` must be a tuple"),
        (lambda: rl.orders.blocks((4, 4), (2,)), r"`orders.blocks.block` must be 1 or"),
        (lambda: rl.Causal().ordered(), "takes one order of all nodes"),
        (lambda: rl.Causal().ordered(TURNED, senders=TURNED), "got nodes, senders"),
        (
            lambda: rl.Window(grid=(2, 2), size=1).ordered(TURNED),
            "an order of receivers must be of as many nodes",
        ),
        (lambda: rl.Edges([0], [1], 2).ordered(TURNED), "an order of receivers"),
        (lambda: rl.Edges([40], [1]).ordered(TURNED), "must be from 0 to 11"),
        (
            lambda: rl.Labels(np.zeros(3, int), count=2).ordered(TURNED),
            "must be given pair by pair",
        ),
        (
            lambda: rl.orders.reverse_cuthill_mckee(
                rl.Stencil(grid=(4,), size=2, stride=2)
            ),
            "must be of one node set",
        ),
        (lambda: rl.orders.reverse_cuthill_mckee(rl.Causal()), "`num_receivers` must"),
    ],
)
def test_wrong_orders_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_what_is_no_order_is_refused():
    with pytest.raises(TypeError, match="`nodes` must be an order"):
        rl.Causal().ordered(np.arange(3))
    with pytest.raises(TypeError, match="an order is part of the compiled program"):
        jax.jit(rl.orders.Order)(jnp.arange(3))
    with pytest.raises(TypeError, match="`topology` must be a topology"):
        rl.orders.reverse_cuthill_mckee(np.eye(3))
