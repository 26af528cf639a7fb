import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import relational as rl
from relational import plotting

EDGE, MASKED_EDGE, WASTED, PAPER = "#0072B2", "#56A8D8", "#F3DFC1", "#F4F4F1"


def image_of(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def cells(image, colour):
    return np.isclose(image, to_rgb(colour)).all(axis=-1)


def test_edges_are_marked_and_nothing_else():
    topology = rl.Causal() & rl.Band(before=2)
    image = image_of(plotting.topology(topology, 7))
    np.testing.assert_array_equal(cells(image, EDGE), topology.mask(7))
    np.testing.assert_array_equal(cells(image, PAPER), ~topology.mask(7))


def test_receivers_go_down_and_senders_to_the_right():
    image = image_of(plotting.topology(rl.Complete(), 3, 5))
    assert image.shape == (3, 5, 3)


def test_tiles_tell_edges_that_need_no_mask_from_those_that_do():
    image = image_of(plotting.topology(rl.Causal(), 5, block=2))  # 2 divides no 5.
    row = [EDGE, EDGE, MASKED_EDGE, WASTED, PAPER]
    np.testing.assert_allclose(image[2], [to_rgb(colour) for colour in row])


def test_a_list_of_edges_knows_its_counts():
    edges = rl.Edges(np.array([0, 2]), np.array([1, 0]), num_receivers=3)
    np.testing.assert_array_equal(
        cells(image_of(plotting.topology(edges)), EDGE), edges.mask()
    )


def test_of_leading_axes_the_first_is_drawn():
    segments = np.array([[0, 0, 1], [0, 1, 1]])
    image = image_of(plotting.topology(rl.SameSegment(segments)))
    np.testing.assert_array_equal(
        cells(image, EDGE), rl.SameSegment(segments[0]).mask()
    )


def test_the_title_is_the_name_of_the_topology_or_what_is_asked_for():
    composed = plotting.topology(rl.Causal() & rl.Self(), 3)
    assert composed.axes[0].get_title() == "Causal() & Self()"
    assert plotting.topology(rl.Causal(), 3, title="mine").axes[0].get_title() == "mine"


def test_a_picture_can_be_drawn_into_a_part_of_another(tmp_path):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plotting.topology(rl.Causal(), 4, axes=left) is figure
    assert not right.images
    figure.savefig(tmp_path / "two.png")
    assert (tmp_path / "two.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "`num_receivers` must be given"),
        ({"num_receivers": 4, "block": 0}, "`block` must be 1 or more; got 0"),
        ({"num_receivers": 5000}, "must be at most 4096 for a picture; got 5000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plotting.topology(rl.Causal(), **arguments)
