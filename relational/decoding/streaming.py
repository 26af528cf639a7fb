"""Tokens as they come: the loops of `generate` and `translate`, some steps at a time.

The programs are those of `generate` and `translate`, which are stopped after some
positions and taken up again. So what is shown is what those return, and nothing more is
compiled.

Shapes: B pieces or sources, N tokens that are new, T tokens of a target.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from relational._checks import check_count
from relational.decoding.beam import Beam
from relational.decoding.generate import Pieces
from relational.decoding.sampling import Sampling
from relational.decoding.target_loop import certain_of
from relational.decoding.token_loop import Nodes
from relational.decoding.translate import Targets, listed
from relational.models import Model
from relational.models.translation import Ends


def stream(
    model: Model,
    params: Any,
    *,
    prime: Shaped[np.ndarray, "B P"],
    length: int,
    nodes: Nodes,
    state: Any,
    seed: int = 0,
    how: Sampling | None = None,
    forbidden: tuple[int, ...] = (),
    every: int = 1,
) -> Iterator[Int[np.ndarray, "B N"]]:
    """Yields the tokens that `generate` draws, as they come.

    Args:
      every: tokens that are drawn before they are shown.
      The others: as for `generate`.

    Raises:
      ValueError: as `generate`, at once.

    >>> import jax
    >>> from relational import models, specs
    >>> changes = ["model.nodes.token.embed={}", "model.blocks[0].repeat=1"]
    >>> spec = specs.override(specs.load("transformer"), changes).model
    >>> model = models.build(spec)
    >>> def nodes(token, position, state):  # Each node is given the token before it.
    ...     return {"token": {"token": token}}, state
    >>> one = {"token": {"token": np.zeros([1, 1], np.int32)}}
    >>> params = jax.jit(model.init)(jax.random.key(0), one)
    >>> prime = np.zeros([2, 4], np.int32)
    >>> came = stream(model, params, prime=prime, length=8, nodes=nodes, state=(), every=3)
    >>> [tokens.shape for tokens in came]
    [(2, 3), (2, 3), (2, 2)]
    """
    check_count("every", every, least=1, advice="It counts tokens.")
    pieces = Pieces.of(
        model,
        params,
        prime=prime,
        length=length,
        nodes=nodes,
        state=state,
        seed=seed,
        how=how,
        forbidden=forbidden,
    )

    def drawn() -> Iterator[Int[np.ndarray, "B N"]]:
        drawing, _ = pieces.begin()
        for place in range(pieces.total - length, pieces.total, every):
            stop = min(place + every, pieces.total)
            drawing, _ = pieces.go_on(drawing, stop)
            yield np.asarray(drawing.tokens)[:, place:stop]

    return drawn()


def stream_translation(
    model: Model,
    params: Any,
    source: Shaped[np.ndarray, "B S"],
    source_length: Shaped[np.ndarray, " B"],
    *,
    how: Beam | Sampling | None = None,
    extra_length: int = 50,
    prefixes: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    every: int = 1,
) -> Iterator[list[Int[np.ndarray, " T"]]]:
    """Yields the target of each source as it grows; the last time, what `translate` finds.

    A search shows the tokens in which all of its hypotheses agree, so that nothing that
    was shown is taken back.

    Args:
      every: positions from one time to the next.
      The others: as for `translate`.

    Raises:
      ValueError: as `translate`, at once.

    >>> import jax
    >>> from relational import models, specs
    >>> small = [f"model.blocks[{i}].repeat=1" for i in (0, 1)]
    >>> spec = specs.override(specs.load("multi30k_absolute"), small)
    >>> model = models.build(spec.model)
    >>> one = {name: {"token": np.zeros([1, 1], int)} for name in ("source", "target")}
    >>> params = jax.jit(model.init)(jax.random.key(0), one)
    >>> source = np.array([[7, 9, 1], [8, 1, 0]])
    >>> came = list(stream_translation(
    ...     model, params, source, np.array([3, 2]), how=Beam(size=1), extra_length=2))
    >>> [len(both[0]) for both in came][:3], len(came[-1][0])
    ([1, 2, 3], 5)
    """
    check_count("every", every, least=1, advice="It counts tokens.")
    targets = Targets.of(
        model,
        params,
        source,
        source_length,
        how=how,
        extra_length=extra_length,
        prefixes=prefixes,
        seed=seed,
    )

    def written() -> Iterator[list[Int[np.ndarray, " T"]]]:
        fixed, writing, _ = targets.begin()
        ends, is_done, place = targets.static["ends"], False, 0
        while not is_done and place < targets.capacity:
            place = min(place + every, targets.capacity)
            writing, found, is_done, _ = targets.go_on(fixed, writing, place)
            if not is_done and place < targets.capacity:
                yield [_before_end(row, ends) for row in certain_of(writing, ends)]
        best = listed(found, targets.longest, 0.0).tokens
        yield [each[0] if each else np.zeros(0, np.int32) for each in best]

    return written()


def _before_end(tokens: Int[np.ndarray, " L"], ends: Ends) -> Int[np.ndarray, " T"]:
    over = np.flatnonzero((tokens == ends.start) | (tokens == ends.end))
    return tokens[: over[0]] if len(over) else tokens
