"""What a user may get wrong at every door of the library, and what they are told.

One row a mistake: what is done, and what the message must have: which argument, what
must hold, what came, and what to do. What is wrong inside specs and MIDI files has
tables of its own, in `specs/test_wrong_specs.py` and `datasets/test_midi.py`.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jraph
import numpy as np
import pytest

import relational as rl
from relational import blocks, command_line, datasets, decoding, models, specs, training
from relational.decoding import Sampling
from relational.models import named

X = np.ones((5, 4), np.float32)
BATCH = np.ones((2, 5, 4), np.float32)
IDS = np.zeros(5, np.int32)
PIECE = datasets.Piece(
    pitch=np.full((8, 4), 60, np.int32), beat=np.arange(8, dtype=np.int32), index=0
)


def propagate(topology: Any = None, **changes: Any) -> Any:
    call = {
        "senders": X,
        "message": lambda sender: sender,
        "aggregator": rl.Sum(),
        **changes,
    }
    return rl.propagate(rl.Causal() if topology is None else topology, **call)


def softmax(score: Any) -> Any:
    return propagate(aggregator=rl.Softmax(), score=score)


def related(relation: Any, **changes: Any) -> Any:
    return propagate(relations={"kind": relation}, **changes)


def interval(pitch: Any) -> Any:
    nodes = {"x": X, "pitch": pitch}
    relation = rl.Difference("pitch", clip=2)
    return related(
        relation, senders=nodes, receivers=nodes, message=lambda sender: sender.x
    )


def graph(nodes: Any = None, **changes: Any) -> rl.Graph:
    fields = {"senders": "word", "receivers": "word", "topology": rl.Causal()}
    return rl.Graph(
        nodes={"word": X} if nodes is None else nodes,
        edges={"self": rl.EdgeSet(**{**fields, **changes})},
    )


def of_tuple(**changes: Any) -> rl.Graph:
    fields = {
        "nodes": np.zeros((5, 2), np.float32),
        "edges": np.zeros((4, 1), np.float32),
        "senders": np.array([0, 1, 3, 4]),
        "receivers": np.array([1, 2, 4, 3]),
        "globals": None,
        "n_node": np.array([3, 2]),
        "n_edge": np.array([2, 2]),
    }
    return rl.Graph.of(jraph.GraphsTuple(**{**fields, **changes}))


def shapes_of(module: Callable[[], Any]) -> Any:
    return jax.eval_shape(hk.transform(module).init, jax.random.key(0))


def attend(over: Any = "self", graph_: Any = None, **changes: Any) -> Any:
    relations = {"offset": rl.Offset(clip=2), "free": rl.Offset()}
    relations["pitch"] = rl.Difference("pitch", clip=3)
    given = graph(relations=relations) if graph_ is None else graph_
    arguments = {"over": over, "num_heads": 2, **changes}
    return shapes_of(lambda: blocks.Attention(**arguments)(given))


def training_batches(**changes: Any) -> Any:
    arguments = {"window": 16, "batch_size": 2, "transpose": 1, "seed": 0}
    pieces = changes.pop("pieces", [PIECE])
    return datasets.training(pieces, **{**arguments, **changes})


def evaluation_batches(**changes: Any) -> Any:
    return datasets.evaluation([PIECE], **{"window": 16, "batch_size": 2, **changes})


def composed(**changes: Any) -> Any:
    task = models.tasks.NextToken(specs.load("demo").model)
    return decoding.compose(task, {}, **{"steps": 4, **changes})


WRONG: list[tuple[Callable[[], Any], str]] = [
    # Topologies.
    (
        lambda: rl.Band(before=1.5),
        "`Band.before` must be a whole number; got 1.5. 0 leaves none on that side.",
    ),
    (
        lambda: rl.Band(before=2, after=-1),
        "`Band.after` must be 0 or more; got -1. 0 leaves none on that side.",
    ),
    (lambda: rl.Band(before="2"), "`Band.before` must be a whole number; got '2'."),
    (lambda: rl.Band(before=True), "`Band.before` must be a whole number; got True."),
    (
        lambda: rl.Blocks(size=2.5),
        "`Blocks.size` must be a whole number; got 2.5. It counts nodes.",
    ),
    (
        lambda: rl.Blocks(size=4, before=-1),
        "`Blocks.before` must be 0 or more; got -1. 0 leaves each block to itself.",
    ),
    (
        lambda: rl.Edges("ab", [1]),
        "`Edges.senders` must be integers; got <U2. Node indices start at 0.",
    ),
    (
        lambda: rl.Edges([[0, 1], [1]], [1]),
        "`Edges.senders` must be one list of integers; got lists of several lengths.",
    ),
    (
        lambda: rl.Edges(0, 1),
        "must have one shape [E] or [*lead, E]; got () and ().",
    ),
    (
        lambda: rl.Edges([0], [1], 1.5),
        "`Edges.num_receivers` must be a whole number; got 1.5. It counts nodes.",
    ),
    (
        lambda: rl.Edges([0], [1], -3),
        "`Edges.num_receivers` must be 0 or more; got -3. It counts nodes.",
    ),
    (
        lambda: rl.Edges([0], [0], 0),
        "`Edges.senders[0]` must be absent without nodes; got 0.",
    ),
    (
        lambda: rl.Edges.of(X),
        "`graph` must be a `jraph.GraphsTuple`; got an array of float32 [5, 4].",
    ),
    (
        lambda: rl.SameSegment(X[0]),
        (
            "`SameSegment.ids` must be integers [*lead, N], a segment a node; got an array "
            "of float32 [4]."
        ),
    ),
    (lambda: rl.SameSegment(3), "`SameSegment.ids` must be integers [*lead, N]"),
    (
        lambda: rl.SameSegment(IDS, sender_ids="ab"),
        "`SameSegment.sender_ids` must be integers [*lead, N], a segment a node; got",
    ),
    (
        lambda: rl.Lengths(senders=2.5),
        "`Lengths.senders` must be integers [*lead], a count a graph; got 2.5.",
    ),
    (
        lambda: rl.Causal() & np.ones((3, 3), bool),
        "both sides of a set operation must be topologies; got an array of bool [3, 3].",
    ),
    (
        lambda: rl.Edges([0], [1], 2) | rl.Edges([0], [1], 3),
        "must be of the same nodes; got 2 receivers in Edges(1 edges) and 3 in Edges(1",
    ),
    (
        lambda: rl.SameSegment(IDS) - rl.SameSegment(IDS[:2]),
        "must be of the same nodes; got 5 receivers in SameSegment() and 2 in Same",
    ),
    (
        lambda: rl.Causal().text(-3),
        "`num_receivers` must be 0 or more; got -3. It counts nodes.",
    ),
    (
        lambda: rl.Causal().edges(2.5),
        "`num_receivers` must be a whole number; got 2.5. It counts nodes.",
    ),
    (
        lambda: rl.SameSegment(IDS).text(3),
        "`num_receivers` must be 5, as many as SameSegment() was made for; got 3.",
    ),
    (
        lambda: rl.Causal().mask(10**9),
        (
            "at most 1,073,741,824 pairs; got 1,000,000,000 receivers x 1,000,000,000 "
            "senders. Ask for fewer nodes, or for `degrees` or `tiles`."
        ),
    ),
    (
        lambda: rl.Causal().tiles(0, 4),
        "`block` must be 1 or more; got 0. It counts nodes.",
    ),
    (
        lambda: rl.SameSegment(np.array([[0, 1], [0, 0]])).edges(),
        (
            "has other edges for each leading index (data of shape (2,)); one list of "
            "edges needs one graph. Index the data first."
        ),
    ),
    # Relations.
    (
        lambda: rl.Offset(clip=1.5),
        (
            "`Offset.clip` must be 0 or more, or (low, high) with low <= high, in whole "
            "numbers; got 1.5. The table has a row for each difference from low to high."
        ),
    ),
    (lambda: rl.Offset(limit=-1), "`Offset.limit` must be 0 or more, or (low, high)"),
    (lambda: rl.Offset(clip=(2, 1)), "low <= high, in whole numbers; got (2, 1)."),
    (lambda: rl.Offset(clip=(1, 2, 3)), "in whole numbers; got (1, 2, 3)."),
    (
        lambda: rl.Offset(clip=1, limit=1),
        "`Offset` takes `clip` or `limit`, not both; got clip=1, limit=1.",
    ),
    (
        lambda: rl.Difference(3, clip=2),
        "`Difference.attribute` must be the name of an attribute of the nodes; got 3.",
    ),
    (
        lambda: rl.Offset().rows(key=X),
        "`Offset(clip=None, limit=None).rows` needs a bounded relation; it has neither",
    ),
    (
        lambda: rl.Labels(np.zeros((5, 5), int), count=0),
        "`Labels.count` must be 1 or more; got 0. It counts labels.",
    ),
    (
        lambda: rl.Labels(None, count=2),
        "`Labels.labels` must be an array; got None. Labels are integers, a pair or an",
    ),
    (
        lambda: related(rl.Labels(np.zeros((5, 5)), count=2)),
        "`relations['kind'].labels` must be integers; got float64.",
    ),
    (
        lambda: related(rl.Labels(np.zeros((3, 3), int), count=2)),
        (
            "`relations['kind'].labels` must have shape [*lead, 5, 5], a label a pair, or "
            "[*lead, E], a label an edge; got (3, 3)."
        ),
    ),
    (
        lambda: related(rl.Labels(np.zeros(7, int), count=2)),
        (
            "`relations['kind'].labels` must have a label an edge of the topology, 15; got "
            "7. Their order is that of `topology.edges()`."
        ),
    ),
    (
        lambda: rl.propagate(
            rl.Edges([0, 1, 2], [0, 2, 1], 3),
            senders=np.ones((3, 3)),
            batch_axes=1,
            aggregator=rl.Sum(),
            message=lambda sender, kind: sender * kind.value,
            relations={
                "kind": rl.Labels(np.zeros((3, 3), int), 2).rows(value=np.ones((1, 2)))
            },
        ),
        "`relations['kind'].labels` of shape (3, 3) could be a label a pair, [R, S], or a",
    ),
    (lambda: related(3), "`relations['kind']` must be a relation or `relation.rows(."),
    (
        lambda: related(rl.Offset(clip=2).rows(key="abc")),
        "`relations['kind'].key` must be an array; got 'abc'. A table has a row for",
    ),
    (
        lambda: interval(np.ones(5)),
        "`receivers['pitch']` must be integers, since `relations['kind']` makes labels",
    ),
    (
        lambda: interval(np.ones((5, 2), int)),
        (
            "`receivers['pitch']` must have shape [*lead, N], one integer a node, since "
            "`relations['kind']` makes labels of it; got (5, 2) with 0 leading axes"
        ),
    ),
    (
        lambda: propagate(relations=[rl.Offset(clip=2)]),
        (
            "`relations` must be a mapping of names to relations, such as {'offset': "
            "rl.Offset(clip=8)}; got [Offset(clip=2, limit=None)]."
        ),
    ),
    (
        lambda: propagate(relations={"two words": rl.Offset(clip=2)}),
        "must be called by a name that can be an argument of a term; got 'two words'.",
    ),
    # Terms.
    (
        lambda: propagate(message=lambda sendr: sendr),
        (
            "a message term's arguments must be among sender; got `sendr`. Arguments are "
            "named after what the term depends on"
        ),
    ),
    (
        lambda: propagate(message=lambda *ends: ends),
        "a message term's arguments must be among sender; got `ends`.",
    ),
    (
        lambda: propagate(message=3),
        (
            "a message must be a term or a list of terms; got 3. A term is a function of "
            "one edge, such as `lambda sender: sender`."
        ),
    ),
    (
        lambda: propagate(message=[None]),
        (
            "a message term must be a function with named arguments, such as `lambda "
            "sender: sender`; got None."
        ),
    ),
    (
        lambda: propagate(message=int),
        "a message term must be a function with named arguments",
    ),
    (lambda: propagate(message=[]), "`message` must be a term or a list of terms; got"),
    (
        lambda: propagate(message=lambda sender: (sender, sender)),
        (
            "a message term must return one array; got tuple. Use one call of `propagate` "
            "an array, or concatenate them."
        ),
    ),
    (
        lambda: propagate(message=lambda sender: "a"),
        "a message term must return one array; got str.",
    ),
    (
        lambda: propagate(senders={"key": X}, message=lambda sender: sender),
        (
            "a message term must return one array; got a record of key. Return one of its "
            "entries, such as `.key`."
        ),
    ),
    (
        lambda: softmax(lambda sender: sender),
        "a score term must return one number an edge; got shape (4,). Heads belong",
    ),
    (
        lambda: softmax(lambda sender: jax.lax.complex(sender[0], sender[1])),
        "a score term must return real numbers; got complex64. Take its real part",
    ),
    (
        lambda: propagate(message=lambda sender: jax.lax.complex(sender, sender)),
        "a message term must return real numbers; got complex64. Take its real part",
    ),
    (lambda: softmax(None), "`score` must be given: Softmax weighs messages by it."),
    # Calls of `propagate` and its kin.
    (lambda: propagate("causal"), "must be a topology such as `rl.Complete()`; got 'c"),
    (
        lambda: propagate(aggregator=None),
        (
            "`aggregator` must be an aggregator such as `rl.Sum()`, or a tuple of them; got "
            "None."
        ),
    ),
    (
        lambda: propagate(aggregator=rl.Sum),
        "`aggregator` must be an aggregator such as",
    ),
    (lambda: propagate(aggregator=()), "or a tuple of them; got none."),
    (
        lambda: rl.LogSumExp("low"),
        "`LogSumExp.unreached` must be a number; got 'low'. It is the value where no",
    ),
    (
        lambda: propagate(batch_axes=1.5),
        "`batch_axes` must be a whole number; got 1.5. It counts leading axes.",
    ),
    (lambda: propagate(batch_axes=-1), "`batch_axes` must be 0 or more; got -1."),
    (
        lambda: propagate(batch_axes=7),
        (
            "`senders` must have 7 leading axes (`batch_axes`) and then one of senders; got "
            "shape (5, 4)."
        ),
    ),
    (
        lambda: propagate(num_receivers=-1),
        "`num_receivers` must be 0 or more; got -1. It counts nodes.",
    ),
    (
        lambda: propagate(receivers=X, num_receivers=3),
        "`num_receivers` must agree with `receivers`; got 3 and 5.",
    ),
    (lambda: propagate(senders="abc"), "`senders` must be an array; got 'abc'."),
    (
        lambda: propagate(senders=[1.0, 2.0]),
        (
            "`senders[0]` must have 0 leading axes (`batch_axes`) and then one of senders; "
            "got shape (). Make one array of a list."
        ),
    ),
    (
        lambda: propagate(context="abc", message=lambda sender, context: sender),
        "`context` must be an array; got 'abc'.",
    ),
    (
        lambda: propagate(senders=BATCH, receivers=BATCH[[0, 0, 0]], batch_axes=1),
        "the 1 leading axes (`batch_axes`) must be full or 1 in every array; got",
    ),
    (
        lambda: propagate(rl.SameSegment(IDS[:2])),
        "must have as many nodes as the topology, 2; got 5.",
    ),
    (
        lambda: propagate(rl.Edges([0, 1], [1, 9])),
        "`Edges.receivers[1]` must be from 0 to 4; got 9. 1 of 2 edges are out of range.",
    ),
    (
        lambda: propagate(lowering="tiles"),
        (
            "`lowering` must be a lowering such as `rl.lowerings.Tiles()`, or None for the "
            "cheapest; got 'tiles'."
        ),
    ),
    (
        lambda: propagate(lowering=rl.lowerings.Tiles),
        "`lowering` must be a lowering su",
    ),
    (
        lambda: propagate(lowering=rl.lowerings.Dense(), partial_terms=True),
        "cannot serve this call: terms are partial: they may not be evaluated off the",
    ),
    (
        lambda: propagate(dropout=0.5),
        "`dropout` must be None or `rl.Dropout(rate, key)`; got 0.5.",
    ),
    (
        lambda: propagate(
            aggregator=(rl.Max(), rl.Std()),
            dropout=rl.Dropout(0.5, jax.random.key(0)),
        ),
        "`dropout` must be None or of rate 0: it drops weights of edges, and there are none",
    ),
    (
        lambda: rl.Dropout("half", jax.random.key(0)),
        "`Dropout.rate` must be a number from 0 to below 1; got 'half'. 0 drops nothing.",
    ),
    (
        lambda: rl.Dropout(0.5, 3),
        "`Dropout.key` must be one JAX key, such as `jax.random.key(0)`; got 3.",
    ),
    (
        lambda: rl.Dropout(0.5, jax.random.split(jax.random.key(0))),
        "`Dropout.key` must be one JAX key",
    ),
    (
        lambda: rl.per_edge(rl.Causal(), lambda edge: edge, senders=X),
        "arguments must be among sender; got `edge`.",
    ),
    (
        lambda: rl.start(rl.Edges([1], [0]), BATCH, length=3, batch_axes=1),
        "cannot be stepped: node 0 hears node 1, which comes later. Intersect it with",
    ),
    # Graphs.
    (
        lambda: rl.Graph(nodes=X),
        "`nodes` must be a mapping of names to arrays; got an array of float32 [5, 4].",
    ),
    (
        lambda: rl.Graph(nodes={"word": [1, 2]}),
        (
            "`nodes['word'][0]` must have 0 leading axes (`batch_axes`) and then an axis of "
            "nodes; got shape (). Make one array of a list."
        ),
    ),
    (
        lambda: rl.Graph(nodes={"word": "abc"}),
        "`nodes['word']` must be an array; got '",
    ),
    (
        lambda: rl.Graph(nodes={"word": X}, batch_axes=-1),
        "`batch_axes` must be 0 or mo",
    ),
    (
        lambda: rl.Graph(nodes={"word": X}, edges={"self": rl.Causal()}),
        (
            "`edges['self']` must be an `rl.EdgeSet`, which says between which node sets it "
            "leads; got Causal()."
        ),
    ),
    (
        lambda: graph(topology="causal"),
        "`EdgeSet.topology` must be a topology such as `rl.Causal()`; got 'causal'.",
    ),
    (
        lambda: graph(relations={"offset": 3}),
        (
            "`EdgeSet.relations['offset']` must be a relation such as `rl.Offset(clip=8)`; "
            "got 3."
        ),
    ),
    (
        lambda: graph(receivers="note"),
        "`edges['self'].receivers` must name a node set, word; got `note`.",
    ),
    (
        lambda: graph().num_nodes("note"),
        "there is no node set `note` in the graph; it has word.",
    ),
    (
        lambda: graph().with_features("note", X),
        "there is no node set `note` in the graph; it has word.",
    ),
    (
        lambda: graph({"word": {"pitch": IDS}}).features("word"),
        "`nodes['word']` must have `features`, which blocks update; it has pitch. Add",
    ),
    (
        lambda: rl.Graph.of(graph()),
        "`graph` must be a `jraph.GraphsTuple`; got a Graph.",
    ),
    (
        lambda: of_tuple(n_node=np.array([3, 3])),
        "`nodes` must have sum(n_node) = 6 rows; got shape (5, 2).",
    ),
    (
        lambda: of_tuple(n_node=5),
        (
            "`n_node` must be an array of integers [G], one a graph; got 5. Of one graph: "
            "`n_node=jnp.array([count])`."
        ),
    ),
    (
        lambda: of_tuple(n_edge=np.array([5, -1])),
        "`n_edge[1]` must be 0 or more; got -1. It counts the edges of a graph.",
    ),
    (
        lambda: of_tuple(n_edge=np.array([4])),
        "`n_edge` must have an entry a graph, as `n_node` has, 2; got shape (1,).",
    ),
    (
        lambda: of_tuple(receivers=np.array([1, 2, 4])),
        "`receivers` must have sum(n_edge) = 4 entries; got shape (3,).",
    ),
    # Blocks and models.
    (
        lambda: attend("slf"),
        "there is no edge set `slf` in the graph; it has self.",
    ),
    (
        lambda: attend(num_heads=3),
        "`num_heads` must divide the width of the nodes, 4; got 3. Or give `head_width`",
    ),
    (lambda: attend(num_heads=0), "`num_heads` must be 1 or more; got 0."),
    (lambda: attend(head_width=2.5), "`head_width` must be a whole number; got 2.5."),
    (
        lambda: attend(score="content"),
        (
            "`score` must be a list of 'content' and names of relations, such as "
            "['content', 'offset']; got 'content'."
        ),
    ),
    (
        lambda: attend(score=["content", "ofset"]),
        "name relations of the edge set `self`, offset, free, pitch; got `ofset`.",
    ),
    (
        lambda: attend(message=["content", "content"]),
        "`message` has `content` a second time. Remove it.",
    ),
    (
        lambda: attend(score=["free"]),
        "the relation `free` must be bounded to have a table; got Offset(clip=None, ",
    ),
    (
        lambda: attend(score=["pitch"]),
        "`relations['pitch']` reads the attribute `pitch`, which `receivers` must have",
    ),
    (
        lambda: attend(tables="each"),
        "`tables` must be 'per_head' or 'shared'; got 'each'.",
    ),
    (
        lambda: attend(graph_=X),
        "`graph` must be an `rl.Graph` or a `jraph.GraphsTuple`; got an array of float",
    ),
    (
        lambda: attend(graph_=graph({"word": X.astype(np.int32)})),
        (
            "the features of the node set `word` must be floats [*lead, N, D] with 0 leading "
            "axes (`batch_axes`); got an array of int32 [5, 4]."
        ),
    ),
    (
        lambda: shapes_of(lambda: blocks.Embedding(vocabulary=4, width=4)(X[0])),
        "`tokens` must be integers, 0 to 3; got an array of float32 [4].",
    ),
    (
        lambda: shapes_of(lambda: blocks.Embedding(vocabulary=0, width=4)(IDS)),
        "`vocabulary` must be 1 or more; got 0. It counts tokens.",
    ),
    (
        lambda: shapes_of(lambda: blocks.FeedForward(width=4, activation="tanh")),
        "`activation` must be one of 'relu', 'gelu', 'gelu_exact', 'silu'; got 'tanh'.",
    ),
    (
        lambda: blocks.sinusoids(IDS, 4, "mixed"),
        "`layout` must be 'interleaved', 'halves' or 'split'; got 'mixed'.",
    ),
    (
        lambda: blocks.Residual("middle", "word"),
        "`Residual.order` must be 'pre' or 'post'; got 'middle'.",
    ),
    (
        lambda: models.build(specs.load("demo")),
        (
            "`spec` must be a `ModelSpec`, a `StackSpec` or an `EncodeProcessDecodeSpec`; "
            "got a Spec. Give its `.model`."
        ),
    ),
    (
        lambda: named.topology_of("causal"),
        "`spec` must be a `TopologySpec`, such as `CausalSpec()`; got 'causal'.",
    ),
    # Specs, by the doors that are no file.
    (
        lambda: specs.load(3),
        "`path_or_name` must be a path or one of `specs.names()`; got 3.",
    ),
    (
        lambda: specs.loads(b"name: small"),
        (
            "`text` must be the text of a spec, a `str`; got b'name: small'. A file is read "
            "by `specs.load`."
        ),
    ),
    (
        lambda: specs.override(specs.load("demo"), "training.steps=3"),
        "`settings` must be a list of texts, such as ['training.steps=200']; got 'train",
    ),
    (
        lambda: specs.difference(specs.load("demo"), "demo"),
        "`after` must be a `Spec`; got 'demo'.",
    ),
    # Sampling and composing.
    (
        lambda: Sampling(temperature="hot"),
        "`temperature` must be a number of 0 or more; got hot. 1 is the model itself",
    ),
    (
        lambda: Sampling(top_k=2.5),
        "`top_k` must be a whole number of 1 or more; got 2.5. Leave it out to draw",
    ),
    (
        lambda: Sampling(top_k=2**40),
        "`top_k` must be 2147483647 or less; got 1099511627776. Leave it out to draw",
    ),
    (
        lambda: Sampling(top_p=0),
        "`top_p` must be above 0 and at most 1; got 0. 1 draws from all tokens.",
    ),
    (
        lambda: decoding.without(X, "ab"),
        "`forbidden` must be a list of ids, whole numbers; got 'ab'.",
    ),
    (
        lambda: decoding.draw(jax.random.key(0), X),
        "`keys` must be a key for each row of `logits`, 5; got shape ().",
    ),
    (
        lambda: composed(steps=0),
        "`steps` must be 1 to 8192 (prime and continuation have at most 8192 sixteenths",
    ),
    (lambda: composed(count=0), "`count` must be 1 or more; got 0."),
    (lambda: composed(first_beat=16), "`first_beat` must be 0 to 15; got 16."),
    (
        lambda: composed(prime=np.full((4, 3), 60)),
        "`pitch` must have shape [steps, 4] (soprano, alto, tenor, bass); got [4, 3].",
    ),
    # Data.
    (
        lambda: training_batches(window="long"),
        "`window` must be a whole number; got 'long'. It counts tokens.",
    ),
    (
        lambda: training_batches(batch_size=1.5),
        "`batch_size` must be a whole number; got 1.5. It counts windows.",
    ),
    (
        lambda: training_batches(seed=1.5),
        "`seed` must be 0 to 4294967295; got 1.5. It is a whole number.",
    ),
    (
        lambda: training_batches(pieces=[{"pitch": PIECE["pitch"]}]),
        (
            "`pieces` must each be a mapping with `pitch` and `beat`, as `datasets.load` "
            "gives them; got a dict as piece 0."
        ),
    ),
    (
        lambda: evaluation_batches(overlap=1.5),
        "`overlap` must be a whole number; got 1.5. It counts tokens.",
    ),
    (
        lambda: datasets.load(["jsb"], "train"),
        "`source` must be one of 'music21', 'jsb'; got ['jsb'].",
    ),
    (lambda: datasets.read_midi(3), "`path` must be the path of a file; got 3."),
    (
        lambda: datasets.write_midi(PIECE["pitch"], "a.mid", velocity=1.5),
        "`velocity` must be 1 to 127; got 1.5.",
    ),
    (
        lambda: datasets.repeat_loss([PIECE], "often"),
        "`probability` must lie between 0 and 1; got 'often'. Fit it with",
    ),
    (
        lambda: training.load("nowhere"),
        "`folder` must be a run that has saved a checkpoint; `nowhere` has none yet.",
    ),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG, ids=[told for _, told in WRONG])
def test_a_mistake_is_told(wrong: Callable[[], Any], told: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        wrong()
    assert type(caught.value) in (ValueError, TypeError, specs.SpecError)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (lambda sender: sender.value, AttributeError),
        (lambda sender: sender @ np.ones((5, 2)), TypeError),
        (lambda sender: np.asarray(sender), TypeError),
        (lambda sender: 1 / 0, ZeroDivisionError),
    ],
)
def test_what_fails_inside_a_term_is_told_what_the_term_saw(
    message: Callable[..., Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        propagate(message=message)
    assert (
        "This came of the message term `<lambda>(sender)`, which is traced on the "
        "shapes of one edge: `sender` is float32[4]."
    ) in caught.value.__notes__


@pytest.mark.parametrize("far", [2**31 - 1, 10**30])
def test_reaches_beyond_all_positions_hear_everyone(far: int) -> None:
    positions = jax.numpy.arange(3, dtype=jax.numpy.int32)
    for topology in (
        rl.Band(before=far, after=far),
        rl.Blocks(size=far),
        rl.Blocks(size=1, before=far) | rl.Band(before=0, after=far),
    ):
        assert topology.contains(positions[:, None], positions[None]).all()


_FILES = {
    "empty.yaml": b"",
    "binary.yaml": bytes(range(256)),
    "zero.yaml": b"name: a\0b",
    "utf16.yaml": "name: small".encode("utf-16"),
    "list.yaml": b"[1, 2]",
    "prime.txt": b"la la la",
    "cut.mid": b"MThd\0\0",
    "broken/spec.yaml": b"name: {",
}

# Words after `relational`; what begins with `@` is one of the files, or their folder.
TYPED = [
    ("spec show @nothing.yaml", "nothing.yaml: there is no such file."),
    ("spec show demoo", "is neither a file nor a shipped spec. Did you mean `demo`?"),
    ("spec check @", "is a folder, and a spec is a file."),
    ("spec check @broken", "is a folder; its spec is `"),
    ("spec check @empty.yaml", "is empty; a spec says name, model, data, ..."),
    ("spec check @binary.yaml", "is not UTF-8 (byte 129). Save it as UTF-8."),
    (
        "spec check @zero.yaml",
        "zero.yaml: is no YAML: unacceptable character #x0000: spec",
    ),
    ("spec check @utf16.yaml", "is not UTF-8 (byte 1). Save it as UTF-8."),
    ("spec check @list.yaml", "must be a mapping with name, model, data and training"),
    ("spec check /dev/zero", "must have at most 65536 characters."),
    ("spec diff demo @cut.mid", "cut.mid: is no YAML"),
    ("spec show demo --set steps", "must be a path, `=` and a value, such as"),
    ("spec show demo --set steps=3", "steps: unknown field."),
    ("spec show demo --set training.steps=", "must be a whole number; got nothing."),
    (
        "spec show demo --set training.steps=99999999999999999999",
        "training.steps: must be 2147483647 or less; got 99999999999999999999.",
    ),
    (
        "spec show demo --set training.seed=" + "9" * 5000,
        "has a number of 5000 digits.",
    ),
    (
        "spec show demo --set model.blocks[9].repeat=2",
        "model.blocks: has no [9]; got a",
    ),
    ("spec show demo --set model.blocks[-1].repeat=2", "must be a path, `=` and a val"),
    ("spec show demo --set name=a\u2028b", r"got 'a\u2028b'."),
    (
        "spec show demo --set model.read_out.node=\x1b[31m",
        "is no YAML: unacceptable character #x001b: spe",
    ),
    ("spec shw demo", "No such command 'shw'"),
    ("explain @list.yaml", "must be a mapping with name, model, data and training"),
    ("explain demo --length 0", "--length must be 1 to 131072; got 0."),
    ("explain demo --batch 999999999", "--batch must be 1 to 131072; got 999999999."),
    (
        "explain demo --length long",
        "Invalid value for '--length'",
    ),
    ("train @", "is a folder, and a spec is a file."),
    ("train @cut.mid", "cut.mid: is no YAML"),
    (
        "train demo --set training.steps=0",
        "training.steps: must be more than 0; got 0.",
    ),
    ("train demo --data @", "`data_source` must be absent for source 'music21'"),
    ("evaluate @", "RUN must be the folder of a run, with a `spec.yaml`; got"),
    (
        "evaluate @empty.yaml",
        "RUN must be the folder of a run, with a `spec.yaml`; got",
    ),
    ("evaluate @broken", "spec.yaml:1: is no YAML"),
    ("generate @", "RUN must be the folder of a run, with a `spec.yaml`; got"),
    ("generate @ --bars many", "Invalid value for '--bars'"),
    ("generate @ --bars 0", "--bars must be 1 to 512; got 0."),
    ("generate @ --top-p 2", "`top_p` must be above 0 and at most 1; got 2.0."),
    ("generate @ --temperature -1", "`temperature` must be a number of 0 or more; got"),
    ("generate", "Missing argument 'RUN'"),
    ("demo --steps -1", "--steps must be 1 or more; got -1."),
    ("compose", "No such command 'compose'"),
]


@pytest.mark.parametrize(("typed", "told"), TYPED, ids=[told for _, told in TYPED])
def test_a_mistake_on_the_command_line_is_told_in_short(
    typed: str,
    told: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in _FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    words = [
        str(tmp_path / word[1:]) if word.startswith("@") else word
        for word in typed.split(" ")
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["relational", *words])
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    printed, said = capsys.readouterr()
    assert (leaving.value.code, printed) == (2, "")
    assert told in said
    assert "Traceback" not in said
    if said.startswith("error:"):
        assert len(said.splitlines()) == 1
    else:
        assert said.startswith("Usage: relational")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nothing.mid", "it does not exist."),
        ("broken", "it is a folder."),
        ("empty.yaml", "it is empty."),
        ("prime.txt", "it is not a MIDI file (it does not begin with MThd)."),
        ("cut.mid", "it is cut short."),
    ],
)
def test_what_is_no_prime_is_told_before_the_model_is_read(
    name: str,
    told: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file, content in _FILES.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    specs.save(specs.load("demo"), tmp_path / "spec.yaml")
    words = ["generate", str(tmp_path), "--prime", str(tmp_path / name)]
    monkeypatch.setattr(sys, "argv", ["relational", *words])
    with pytest.raises(SystemExit):
        command_line.main()
    path = str(tmp_path / name)
    assert capsys.readouterr().err == f"error: {path!r} cannot be a prime: {told}\n"
