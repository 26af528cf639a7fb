"""Mistakes in specs of graph networks are told at their places, all at once."""

import pytest

from relational import specs

_GOOD = """\
name: small
model:
  layers:
    - dropout: 0.5
    - graph_convolution: {width: 16}
    - residual: [{activation: relu}, {linear: {nodes: 16}}]
    - repeat: {steps: 2, layers: [{graph_attention: {heads: 2, width: 8}}]}
    - over:
        topology: complete
        relations: {distance: {hops: 8}, kind: {edge_types: 4}}
        layers:
          - residual:
              - graph_transformer: {heads: 2, feed_forward: 4, biases: [distance, kind]}
data: {planetoid: {name: cora}}
training: {steps: 20, batch_size: 1, optimizer: {adam: {l2: 0.1, l2_within: linear_1}}}
"""

# What is replaced in the good spec, by what, and all that is said about it.
_WRONG = [
    (
        "dropout: 0.5",
        "dropout: 1.5",
        "model.layers[0].dropout: must be less than 1; got 1.5.",
    ),
    (
        "dropout: 0.5",
        "dropuot: 0.5",
        "Did you mean `dropout`?",
    ),
    (
        "{width: 16}",
        "{widht: 16}",
        "model.layers[1].graph_convolution.widht: unknown field. Did you mean `width`?",
    ),
    (
        "activation: relu",
        "activation: rely",
        (
            "model.layers[2].residual[0].activation: must be one of 'relu', 'leaky_relu', "
            "'elu', 'gelu', 'silu', 'tanh' or 'sigmoid'; got 'rely'."
        ),
    ),
    (
        "{linear: {nodes: 16}}",
        "linear",
        (
            "model.layers[2].residual[1].linear: must have `edges`, `nodes` or `globals`; got "
            "none of them. Give one, or remove the layer."
        ),
    ),
    (
        "heads: 2",
        "heads: 0",
        (
            "model.layers[3].repeat.layers[0].graph_attention.heads: must be more than 0; got "
            "0."
        ),
    ),
    (
        "topology: complete",
        "topology: complet",
        "model.layers[4].over.topology: must be one of",
    ),
    (
        "biases: [distance, kind]",
        "biases: [distanse, kind]",
        (
            "model.layers[4].over.layers[0].residual[0].graph_transformer.biases[0]: "
            "`distanse` is no relation of an `over` around it. Did you mean `distance`?"
        ),
    ),
    (
        "biases: [distance, kind]",
        "biases: [distance]",
        (
            "model.layers[4].over.relations.kind: no `biases` of the layers have it. Use it "
            "or remove it."
        ),
    ),
    (
        "heads: 2, width: 8}",
        ("heads: 2, width: 8}}, {edge_attention: {heads: 1, width: 4, biases: [kind]}"),
        (
            "model.layers[3].repeat.layers[1].edge_attention.biases[0]: `kind` is no "
            "relation of an `over` around it. There are none."
        ),
    ),
    (
        "{hops: 8}",
        "{limit: 8, width: 4}",
        (
            "model.layers[4].over.relations.distance.width: must be left out: `biases` are "
            "numbers, not rows; got 4."
        ),
    ),
    (
        "{hops: 8}",
        "{hops: 0}",
        "model.layers[4].over.relations.distance.hops: must be 1 or more; got 0.",
    ),
    (
        "graph_convolution: {width: 16}",
        "principal_aggregation: {width: 16, average_log_degree: 1, towers: 3}",
        "model.layers[1].principal_aggregation: `towers` must divide `width`, 16; got 3.",
    ),
    (
        "graph_convolution: {width: 16}",
        "graph_network: {nodes: {widths: [16]}, edges_to_nodes: softmax}",
        (
            "model.layers[1].graph_network: `score` must be given, since nodes hear edges by "
            "`softmax`. Give it, or another `edges_to_nodes`."
        ),
    ),
    (
        "graph_convolution: {width: 16}",
        "graph_network: {nodes: {widths: [16]}, score: {widths: [1]}}",
        (
            "model.layers[1].graph_network: `edges_to_nodes` must be `softmax`, since edges "
            "have a `score`; got `sum`. Change it, or remove `score`."
        ),
    ),
    (
        "graph_convolution: {width: 16}",
        "graph_network: {edges: {widths: [16]}, edges_to_nodes: softmax, score: {widths: [1]}}",
        "model.layers[1].graph_network: `score` must be left out, since no node hears edges.",
    ),
    (
        "graph_convolution: {width: 16}",
        "graph_attention: {heads: 1, width: 4, shares_weights: true}",
        "model.layers[1].graph_attention: `shares_weights` must be left out, since `kind` is",
    ),
    (
        "graph_convolution: {width: 16}",
        "principal_aggregation: {width: 16, average_log_degree: 1, splits_nodes: true}",
        "model.layers[1].principal_aggregation: `splits_nodes` must be left out, since there",
    ),
    ("name: cora", "name: core", "data.planetoid.name: must be one of 'cora' or"),
    (
        "batch_size: 1",
        "batch_size: 8",
        "training.batch_size: must be 1, since cora is one graph; got 8.",
    ),
    (
        "l2_within: linear_1",
        "l2_within: linear_2",
        (
            "training.optimizer.adam.l2_within: `linear_2` is no layer of the model. Did you "
            "mean `linear_1`?"
        ),
    ),
    ("  layers:\n", "  layrs:\n", "model.layrs: unknown field. Did you mean `layers`?"),
    (
        "{planetoid: {name: cora}}",
        "{chorales: {window: 8}}",
        (
            "data: must be what the model reads; got sequences of tokens, which only a model "
            "with `nodes`, `edges` and `blocks` reads. Change one of the two."
        ),
    ),
    (
        "{planetoid: {name: cora}}",
        "{sorting: {nodes: [9, 8]}}",
        (
            "data.sorting.nodes: must be the fewest, then the most; got 9 and 8. Exchange "
            "them."
        ),
    ),
    (
        "{planetoid: {name: cora}}",
        "{springs: {masses: [2, 8]}}",
        "data.springs.masses[0]: must be 3 or more; got 2.",
    ),
]


def _told(text: str) -> list[str]:
    with pytest.raises(specs.SpecError) as caught:
        specs.loads(text)
    return str(caught.value).splitlines()


def test_the_good_spec_is_good() -> None:
    assert specs.loads(_GOOD).name == "small"


@pytest.mark.parametrize(("right", "wrong", "told"), _WRONG)
def test_a_mistake_is_told_and_no_consequence_of_it(
    right: str, wrong: str, told: str
) -> None:
    assert right in _GOOD
    (line,) = _told(_GOOD.replace(right, wrong, 1))
    assert told in line


def test_all_mistakes_are_told_at_once() -> None:
    text = _GOOD
    for right, wrong in (
        ("dropout: 0.5", "dropout: -1"),
        ("heads: 2", "headz: 2"),
        ("name: cora", "name: pubmed"),
        ("steps: 20", "steps: many"),
    ):
        text = text.replace(right, wrong, 1)
    assert [line.partition(":")[0] for line in _told(text)] == [
        "model.layers[0].dropout",
        "model.layers[3].repeat.layers[0].graph_attention.headz",
        "data.planetoid.name",
        "training.steps",
    ]


def test_graphs_are_no_data_of_a_model_of_tokens() -> None:
    with pytest.raises(
        specs.SpecError, match="got graphs, which only a model with `lay"
    ):
        specs.override(specs.load("demo"), ["data=sorting"])


def test_a_difference_follows_the_layers() -> None:
    settings = ["model.layers[0].dropout=0.3", "model.layers[1]=gated_graph_network"]
    before = specs.loads(
        _GOOD.replace("data: {planetoid: {name: cora}}", "data: sorting")
    )
    assert specs.difference(before, specs.override(before, settings)) == [
        "- model.layers[0].dropout: 0.5",
        "+ model.layers[0].dropout: 0.3",
        "- model.layers[1]: {graph_convolution: {width: 16}}",
        "+ model.layers[1]: gated_graph_network",
    ]


def test_a_network_of_the_papers_reads_like_its_figure() -> None:
    lines = specs.dumps(specs.load("cora_gat")).splitlines()
    assert [line.strip() for line in lines if line.startswith("    - ")] == [
        "- dropout: 0.6",
        "- graph_attention: {heads: 8, width: 8, dropout: 0.6}",
        "- activation: elu",
        "- dropout: 0.6",
        "- graph_attention: {heads: 1, width: 7, dropout: 0.6}",
    ]
