"""Plans say what is computed, how, and why."""

import jax
import pytest

import relational as rl


def attend(query, key, value, rows):
    return rl.propagate(
        rl.Causal(),
        batch_axes=1,
        receivers=query,
        senders={"key": key, "value": value},
        relations={"offset": rl.Offset(limit=(-63, 0)).rows(key=rows)},
        score=[
            lambda receiver, sender: rl.dot(receiver, sender.key),
            lambda receiver, offset: rl.dot(receiver, offset.key),
        ],
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
    )


def explanation(length):
    nodes = jax.ShapeDtypeStruct((8, length, 64), "float32")
    rows = jax.ShapeDtypeStruct((8, 64, 64), "float32")
    return rl.explain(attend, nodes, nodes, nodes, rows)


def test_a_long_piece_takes_tiles_and_a_short_one_all_pairs():
    assert explanation(2048).plans[0].lowering.name == "tiles"
    assert explanation(32).plans[0].lowering.name == "dense"


def test_an_explanation_names_terms_costs_and_choice():
    text = str(explanation(2048))
    assert "2,048 receivers x 2,048 senders x 8 graphs, 2,098,176 edges" in text
    assert "dot of receiver, sender: a matrix product" in text
    assert "a product with the table, then skewed into the tile" in text
    assert "leaf of sender: weights @ values" in text
    assert "<- chosen" in text


def test_layers_of_one_shape_are_counted_once():
    def twice(x, rows):
        return attend(attend(x, x, x, rows), x, x, rows)

    nodes = jax.ShapeDtypeStruct((8, 128, 64), "float32")
    rows = jax.ShapeDtypeStruct((8, 64, 64), "float32")
    found = rl.explain(twice, nodes, rows)
    assert found.counts == (2,)
    assert "2 times" in str(found)


def test_a_plan_says_why_a_lowering_cannot_serve():
    nodes = jax.ShapeDtypeStruct((4, 2), "float32")
    plan = rl.lower(
        rl.Edges([0, 1], [1, 2], 4),
        senders=nodes,
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    assert "cannot serve: the edges are listed one by one" in str(plan)


def test_repeated_edges_stay_a_list():
    plan = rl.lower(
        rl.Edges([0, 0], [1, 1], 2),
        senders=jax.ShapeDtypeStruct((2, 2), "float32"),
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    assert plan.lowering.name == "edges"
    assert "an edge may occur twice" in str(plan)


def test_asking_for_what_cannot_serve_lists_what_can():
    with pytest.raises(ValueError, match=r"These can: sparse, slots, edges\."):
        rl.propagate(
            rl.Edges([0, 0], [1, 1], 2),
            senders=jax.numpy.ones(2),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=rl.lowerings.Dense(),
        )
