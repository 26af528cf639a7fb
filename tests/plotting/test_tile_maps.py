import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import relational as rl
from relational import plotting
from relational.explaining.covers import cover

FREE, MASKED, WASTED, PAPER = "#0072B2", "#56A8D8", "#F3DFC1", "#F4F4F1"


def plan_of(topology, nodes, lowering=None):
    return rl.lower(
        topology,
        senders=jax.ShapeDtypeStruct((nodes, 2), "float32"),
        message=lambda sender: sender,
        aggregator=rl.Max(),
        lowering=lowering,
    )


def colours(figure):
    image = np.asarray(figure.axes[0].images[0].get_array())
    return {
        name: np.isclose(image, to_rgb(name)).all(axis=-1)
        for name in (FREE, MASKED, WASTED, PAPER)
    }


def test_each_pair_has_the_colour_of_what_is_done_with_it():
    tiles = rl.lowerings.Tiles(block=4)
    topology = rl.Blocks(size=4, before=1)
    found = colours(plotting.tile_maps(plan_of(topology, 12, tiles)))
    blocks = np.arange(12) // 4
    apart = blocks[:, None] - blocks[None]
    np.testing.assert_array_equal(found[FREE], (apart == 0) | (apart == 1))
    np.testing.assert_array_equal(found[PAPER], (apart < 0) | (apart > 1))
    assert not found[WASTED].any()


def test_what_is_masked_away_is_told_from_what_is_never_computed():
    plan = plan_of(rl.Causal(), 8, rl.lowerings.Tiles(block=4))
    found = colours(plotting.tile_maps(plan))
    edges = rl.Causal().mask(8)
    np.testing.assert_array_equal(found[MASKED], edges)
    first, second = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    first[:4, :4], second[4:] = True, True
    np.testing.assert_array_equal(found[WASTED], (first | second) & ~edges)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_neighbourhood_takes_boxes_that_hold_all_its_edges(stride):
    near = rl.Window(grid=(8, 8), size=3, stride=stride)
    lowering = rl.lowerings.Window(block=(2, 4))
    x = jax.ShapeDtypeStruct((64, 2), "float32")
    plan = rl.lower(
        near,
        senders=x,
        message=lambda sender: sender,
        aggregator=rl.Max(),
        lowering=lowering,
    )
    found = cover(plan)
    assert (found.computed >= found.edges).all()
    np.testing.assert_array_equal(found.edges, near.mask())
    assert found.words.endswith("blocks of 2 x 4 receivers")
    figure = plotting.tile_maps(plan)
    assert figure.axes[1].get_title(loc="left") == (
        "the same on the grid of 8 x 8 senders"
    )


def test_a_box_of_pixels_takes_a_box_a_little_larger():
    near = rl.Window(grid=(8, 8), size=3)
    found = cover(plan_of(near, 64, rl.lowerings.Window(block=(4, 4))))
    taken = found.computed[0].reshape(8, 8)  # Pixel (0, 0) lies in the first box.
    assert taken[:5, :5].all()  # Four pixels, and one more on the side that has it.
    assert taken.sum() == 5 * 5


@pytest.mark.parametrize(
    ("lowering", "words"),
    [
        (rl.lowerings.Dense(), "dense: one block of all pairs, 2.00 pairs"),
        (rl.lowerings.Edges(), "edges: edge by edge, 1.00 pairs"),
        (rl.lowerings.Slots(), "slots: edge by edge, 1.00 pairs"),
    ],
)
def test_a_list_of_edges_is_drawn_too(lowering, words):
    plan = plan_of(rl.Edges([0, 1, 0, 1], [0, 0, 3, 3], 4), 4, lowering)
    assert words.replace("2.00", "4.00") in plotting.tile_maps(plan).axes[0].get_title(
        loc="left"
    )


def test_the_legend_says_how_much_there_is_of_each():
    figure = plotting.tile_maps(plan_of(rl.Causal(), 8, rl.lowerings.Tiles(block=4)))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == [
        "computed under a mask 56%",
        "computed and masked away 19%",
        "never computed 25%",
    ]


def test_several_plans_stand_below_each_other(tmp_path):
    plans = [plan_of(rl.Causal(), 8), plan_of(rl.Complete(), 6)]
    figure = plotting.tile_maps(*plans)
    titles = [axes.get_title(loc="left").splitlines()[0] for axes in figure.axes]
    assert titles == ["Causal()", "Complete()"]
    figure.savefig(tmp_path / "two.svg")
    assert "<svg" in (tmp_path / "two.svg").read_text("utf-8")


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="`plans` must hold a plan; got none"):
        plotting.tile_maps()
    with pytest.raises(ValueError, match="at most 4096 nodes a side; got 5000"):
        plotting.tile_maps(plan_of(rl.Causal(), 5000))
    with pytest.raises(ValueError, match="must have nodes on both sides; got 0"):
        plotting.tile_maps(plan_of(rl.Causal(), 0))


def test_where_arrays_are_traced_the_edges_that_may_be_are_drawn():
    def call(ids, x):
        return rl.propagate(
            rl.Causal() & rl.SameSegment(ids),
            senders=x,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
        )

    plan = rl.explain(call, jnp.zeros(4, int), jnp.ones((4, 2))).plans[0]
    figure = plotting.tile_maps(plan)
    np.testing.assert_array_equal(colours(figure)[MASKED], np.tri(4, dtype=bool))
    assert "1.60 pairs computed a possible edge" in figure.axes[0].get_title(loc="left")


def test_lists_of_edges_that_are_traced_cannot_be_drawn():
    def call(ends, x):
        return rl.propagate(
            rl.Edges(*ends, 4),
            senders=x,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
        )

    plan = rl.explain(call, jnp.zeros((2, 3), int), jnp.ones((4, 2))).plans[0]
    with pytest.raises(ValueError, match="a picture of a plan needs its edges"):
        plotting.tile_maps(plan)
