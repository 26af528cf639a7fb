"""Citation graphs: papers that cite each other, to be told apart by field.

Cora and Citeseer with the public split of Planetoid: 20 papers of each class to learn
from, 500 to choose by, 1000 to test on, all in one graph. `load_planetoid` is the door;
the TFDS builder behind it is `planetoid_builder.Planetoid`, the files are read in
`planetoid_source`.

Shapes: N papers, E directed edges, D words.
"""

import dataclasses
import functools
import os
from typing import TYPE_CHECKING

import jraph
import numpy as np
from jaxtyping import Bool, Float, Int32

from relational.datasets import preparing
from relational.datasets.graph_pairs import graph

if TYPE_CHECKING:
    from relational.datasets.planetoid_builder import Planetoid

VERSION = "1.0.0"  # Of the prepared sets; raise it when their content changes.

PARTS = ("none", "train", "validation", "test")
"""What a paper is for, as the prepared sets number it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CitationSizes:
    """What is known of a set: counts of papers, edges (undirected), words and classes."""

    num_nodes: int
    num_edges: int
    num_words: int
    num_classes: int


SIZES = {
    "cora": CitationSizes(
        num_nodes=2708, num_edges=5278, num_words=1433, num_classes=7
    ),
    "citeseer": CitationSizes(
        num_nodes=3327, num_edges=4552, num_words=3703, num_classes=6
    ),
}
"""The sets by name. Publications count 5429 and 4732 edges, with those that occur twice
or lead from a paper to itself."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Citations:
    """One graph of papers with their classes, and which of them are for what.

    Attributes:
        graph: nodes [N, D] say which words a paper holds; an edge is a citation, in both
            directions, without features, sorted by receiver, then by sender. There are
            no self-edges: models that want them add them.
        labels: the class of each paper, -1 where it is not known.
        train, validation, test: which papers are for what; no paper is for two.
        num_classes: how many classes there are.

    >>> none = np.zeros(2, bool)
    >>> two = np.array([0, 1])
    >>> papers = Citations(
    ...     graph=graph(nodes=np.eye(2), edges=None, senders=two, receivers=two[::-1],
    ...                 num_nodes=2),
    ...     labels=np.array([0, -1], np.int32), train=np.array([True, False]),
    ...     validation=none, test=none, num_classes=1)
    >>> papers.labels[papers.train]
    array([0], dtype=int32)
    """

    graph: jraph.GraphsTuple
    labels: Int32[np.ndarray, " N"]
    train: Bool[np.ndarray, " N"]
    validation: Bool[np.ndarray, " N"]
    test: Bool[np.ndarray, " N"]
    num_classes: int


def load_planetoid(
    name: str,
    *,
    normalise_rows: bool = True,
    data_source: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Citations:
    """Cora or Citeseer. The first call prepares the set, later ones read it.

    Citeseer has 48 papers without a citation. For 15 others, numbered among those of the
    test, there are no words and no class: their rows are zero, their labels -1, and they
    are in no part.

    Args:
        name: `"cora"` or `"citeseer"`.
        normalise_rows: divide each paper's words by their number, as GCN and GAT do; a
            row without words stays zero.
        data_source: the folder of the files `ind.<name>.*` of Planetoid (each may be
            packed with gzip), or of `<name>.npz`, made from them. Without it, the
            environment variable `RELATIONAL_PLANETOID_SOURCE` is looked at, then the
            files are downloaded. It is read only when the set has not been prepared.
        cache: the folder for prepared sets; else `RELATIONAL_CACHE`, else
            `~/.cache/relational`.

    Returns:
        The graph, the labels and the parts.

    Raises:
        ValueError: if an argument is unknown, or a file or folder cannot be used.

    >>> load_planetoid("pubmed")
    Traceback (most recent call last):
    ...
    ValueError: `name` must be one of 'cora', 'citeseer'; got 'pubmed'.

    References: P. Sen et al., Collective classification in network data, AI Magazine
    29(3), 2008 (the sets); Z. Yang, W. Cohen and R. Salakhutdinov, Revisiting
    semi-supervised learning with graph embeddings, ICML 2016 (the split).
    """
    if name not in SIZES:
        listed = ", ".join(map(repr, SIZES))
        raise ValueError(f"`name` must be one of {listed}; got {name!r}.")
    builder = functools.partial(_builder, name, data_source)
    prepared = f"planetoid/{name}/{VERSION}"  # As TFDS lays it out.
    (example,) = preparing.examples(builder, prepared, "graph", cache)
    part, sizes = example["part"], SIZES[name]
    return Citations(
        graph=_graph(
            example["edges"], _features(example["words"], sizes), normalise_rows
        ),
        labels=example["labels"],
        train=part == PARTS.index("train"),
        validation=part == PARTS.index("validation"),
        test=part == PARTS.index("test"),
        num_classes=sizes.num_classes,
    )


def _features(
    words: Int32[np.ndarray, "K 2"], sizes: CitationSizes
) -> Float[np.ndarray, "N D"]:
    features = np.zeros([sizes.num_nodes, sizes.num_words], np.float32)
    features[words[:, 0], words[:, 1]] = 1
    return features


def _graph(
    edges: Int32[np.ndarray, "K 2"],
    features: Float[np.ndarray, "N D"],
    normalise_rows: bool,
) -> jraph.GraphsTuple:
    if normalise_rows:
        features = features / np.maximum(features.sum(axis=1, keepdims=True), 1)
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.lexsort((both[:, 0], both[:, 1]))]  # By receiver, then by sender.
    return graph(
        nodes=features,
        edges=None,
        senders=both[:, 0],
        receivers=both[:, 1],
        num_nodes=len(features),
    )


def _builder(
    name: str, data_source: str | os.PathLike[str] | None, folder: str
) -> "Planetoid":
    from relational.datasets.planetoid_builder import Planetoid

    return Planetoid(
        data_source=data_source,
        data_dir=folder,
        config=name,
        file_format="array_record",
    )
