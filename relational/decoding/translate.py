"""Translation: from sources of any length to targets.

Shapes: B sources, S tokens of a source, P of a prefix, T of a target.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from relational._checks import check_count, check_seed, check_tokens, is_whole, shown
from relational.decoding.beam import Beam, Hypotheses
from relational.decoding.sampling import Sampling
from relational.decoding.target_loop import Writing, begin, go_on
from relational.models import Model
from relational.models.translation import Ends, ends_of, spec_of

GREEDY = Sampling(temperature=0.0)
"""The likeliest token at each place."""

_GRAIN = 8  # Lengths up to the next multiple of it share a program.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translations:
    """What was made of each source: the best first.

    >>> made = Translations(tokens=[[np.array([3, 4])]], scores=[[-0.5]],
    ...                     is_finished=[[True]], seconds=0.1)
    >>> made.tokens[0][0].tolist()
    [3, 4]
    """

    tokens: list[list[Int[np.ndarray, " T"]]]
    """Tokens of each target, without start, end and padding."""

    scores: list[list[float]]
    """By search, log-probability over length penalty; of what was cut off or drawn,
    log-probability."""

    is_finished: list[list[bool]]
    """Whether the model itself ended the target; if not, it was cut off."""

    seconds: float
    """What the program took, without compilation."""


def translate(
    model: Model,
    params: Any,
    source: Shaped[np.ndarray, "B S"],
    source_length: Shaped[np.ndarray, " B"],
    *,
    how: Beam | Sampling | None = None,
    extra_length: int = 50,
    prefixes: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> Translations:
    """Writes a target for each source.

    Two programs, for the sources and for the loop over targets, are compiled for a
    model, a number of sources, and lengths up to the next multiple of 8; another alpha,
    temperature, prefix or seed costs nothing.

    Args:
      model: with two node sets, of which the one that is read out is the target.
      params: its parameters.
      source: tokens that end with 1 (or the `end` of the read-out), padded with 0.
      source_length: how many tokens of each row count, the end included; a row of 0 has
        no target.
      how: `Beam(size=4, alpha=0.6)`, if not given; `Sampling()` draws; `GREEDY` takes
        the likeliest token each time, as a beam of 1 does.
      extra_length: how many tokens a target may have more than its source (Vaswani et
        al. 2017, section 6.1).
      prefixes: tokens that each target begins with.
      seed: of all that is drawn.

    Raises:
      ValueError: if an argument is out of its range, or the model cannot be stepped.

    >>> from relational import models, specs
    >>> small = [f"model.blocks[{i}].repeat=1" for i in (0, 1)]
    >>> spec = specs.override(specs.load("multi30k_absolute"), small)
    >>> model = models.build(spec.model)
    >>> one = {name: {"token": np.zeros([1, 1], int)} for name in ("source", "target")}
    >>> params = jax.jit(model.init)(jax.random.key(0), one)
    >>> source = np.array([[7, 9, 1], [8, 1, 0]])
    >>> found = translate(model, params, source, np.array([3, 2]), extra_length=2)
    >>> len(found.tokens), len(found.tokens[0]), len(found.tokens[1][0]) <= 4
    (2, 1, True)
    """
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
    fixed, writing, before = targets.begin()
    _, found, _, after = targets.go_on(fixed, writing, targets.capacity)
    return listed(found, targets.longest, before + after)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targets:
    """A call of `translate`, checked: the programs of `target_loop`, and their arrays."""

    params: Any
    source: tuple[Array, Array]
    longest: Int[np.ndarray, " B"]
    chosen: tuple[Array, Array, Any]
    static: Mapping[str, Any]
    capacity: int

    @classmethod
    def of(
        cls,
        model: Model,
        params: Any,
        source: Shaped[np.ndarray, "B S"],
        source_length: Shaped[np.ndarray, " B"],
        *,
        how: Beam | Sampling | None,
        extra_length: int,
        prefixes: Sequence[Sequence[int]] | None,
        seed: int,
    ) -> "Targets":
        """Checks the arguments of `translate`, and pads them."""
        how = Beam() if how is None else how
        source, source_length = np.asarray(source), np.asarray(source_length)
        spec = spec_of(model)
        ends = ends_of(spec)
        _check_source(source, source_length, spec.nodes[ends.source].vocabulary)
        check_count("extra_length", extra_length, least=0, advice="50, if not given.")
        check_seed("seed", seed)
        if not isinstance(how, Beam | Sampling):
            raise TypeError(
                f"`how` must be a `Beam` or a `Sampling`; got {shown(how)}."
            )
        if isinstance(how, Sampling) and how.temperature == 0:
            how = Beam(size=1, alpha=0.0)  # Nothing is drawn, and so it is the same.
        source_length = source_length.astype(np.int64)  # A small type would wrap.
        longest = np.where(source_length > 0, source_length + extra_length, 0)
        forced = _forced(prefixes, longest, spec.nodes[ends.target].vocabulary, ends)
        width = _rounded_up(source.shape[1])
        source = np.pad(source, ((0, 0), (0, width - source.shape[1])))
        beam = dataclasses.replace(how, alpha=0.0) if isinstance(how, Beam) else None
        numbers = jnp.float32(how.alpha) if isinstance(how, Beam) else how.numbers()
        return cls(
            params=params,
            source=(jnp.asarray(source, jnp.int32), _integers(source_length)),
            longest=longest,
            chosen=(_integers(forced), jnp.asarray(seed, jnp.uint32), numbers),
            static={"model": model, "ends": ends, "beam": beam},
            capacity=_rounded_up(width + extra_length),
        )

    def begin(self) -> tuple[Any, Writing, float]:
        """Returns what `target_loop.begin` does, and seconds without compilation."""
        dynamic = (self.params, *self.source, _integers(self.longest))
        lowered = begin.lower(*dynamic, capacity=self.capacity, **self.static)
        program = lowered.compile()  # Kept by jax: the second time this takes no time.
        began = time.perf_counter()
        fixed, writing = jax.block_until_ready(program(*dynamic))
        return fixed, writing, time.perf_counter() - began

    def go_on(
        self, fixed: Any, writing: Writing, until: int
    ) -> tuple[Writing, Hypotheses, bool, float]:
        """Returns what `target_loop.go_on` does, and seconds without compilation."""
        place, longest = jnp.int32(until), _integers(self.longest)
        dynamic = (self.params, fixed, writing, place, longest, *self.chosen)
        program = go_on.lower(*dynamic, **self.static).compile()
        began = time.perf_counter()
        writing, found, is_done = program(*dynamic)
        found = jax.tree.map(np.asarray, found)  # This waits.
        return writing, found, bool(is_done), time.perf_counter() - began


def listed(
    found: Hypotheses, longest: Int[np.ndarray, " B"], seconds: float
) -> Translations:
    """Returns lists without padding; a source of length 0 has no target."""
    tokens, scores, is_finished = [], [], []
    for row, most in enumerate(longest):
        if most and np.isnan(found.scores[row]).any():
            raise ValueError(
                "`params` must give probabilities; those of a target are not numbers. The "
                "training that they come from has diverged."
            )
        there = np.isfinite(found.scores[row]) & (most > 0)
        places = np.flatnonzero(there)
        lengths = found.lengths[row] - found.is_finished[row]  # Without the end.
        tokens.append([np.asarray(found.tokens[row, k, : lengths[k]]) for k in places])
        scores.append([float(found.scores[row, k]) for k in places])
        is_finished.append([bool(found.is_finished[row, k]) for k in places])
    return Translations(
        tokens=tokens, scores=scores, is_finished=is_finished, seconds=seconds
    )


def _forced(
    prefixes: Sequence[Sequence[int]] | None,
    longest: Int[np.ndarray, " B"],
    vocabulary: int,
    ends: Ends,
) -> Int[np.ndarray, "B P"]:
    """Returns the prefixes, padded with the start; without any, [B, 0]."""
    if prefixes is None:
        return np.zeros((len(longest), 0), np.int32)
    if len(prefixes) != len(longest):
        raise ValueError(
            f"`prefixes` must be one for each source, {len(longest)}; got "
            f"{len(prefixes)}. An empty list asks for nothing."
        )
    for row, prefix in enumerate(prefixes):
        never = {ends.start, ends.end}
        is_right = [
            is_whole(token) and 0 <= token < vocabulary and token not in never
            for token in prefix
        ]
        if not all(is_right):
            raise ValueError(
                f"`prefixes[{row}]` must be tokens from 0 to {vocabulary - 1} without "
                f"the start, {ends.start}, and the end, {ends.end}; got "
                f"{shown(list(prefix))}."
            )
        if len(prefix) and len(prefix) >= longest[row]:
            raise ValueError(
                f"`prefixes[{row}]` must be shorter than its target may be, "
                f"{longest[row]} tokens; got {len(prefix)}. Raise `extra_length`."
            )
    width = _rounded_up(max(map(len, prefixes), default=0))
    forced = np.full((len(prefixes), width), ends.start, np.int32)
    for row, prefix in enumerate(prefixes):
        forced[row, : len(prefix)] = prefix
    return forced


def _integers(values: Any) -> Array:
    return jnp.asarray(values, jnp.int32)


def _rounded_up(length: int) -> int:
    return -(-length // _GRAIN) * _GRAIN


def _check_source(
    source: Shaped[np.ndarray, "..."],
    length: Shaped[np.ndarray, "..."],
    vocabulary: int,
) -> None:
    are_whole = np.issubdtype(source.dtype, np.integer)
    if source.ndim != 2 or not source.size or not are_whole:
        raise ValueError(
            "`source` must be whole numbers [B, S], a row a source; got "
            f"{source.dtype} of shape {list(source.shape)}."
        )
    check_tokens("source", source, vocabulary)
    batch, most = source.shape
    are_whole = np.issubdtype(length.dtype, np.integer)
    is_fitting = length.shape == (batch,) and are_whole
    if not is_fitting or length.min() < 0 or length.max() > most:
        raise ValueError(
            f"`source_length` must be whole numbers [{batch}] from 0 to {most}; got "
            f"{shown(length)}. It counts the tokens of each row."
        )
