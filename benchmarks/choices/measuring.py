"""Times every lowering that can serve a case, and keeps what was found line by line.

Minima of calls that take turns: other work on a machine only ever adds to a call.
"""

import concurrent.futures
import dataclasses
import gc
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from benchmarks.choices.grid import Case
from relational.plans import Candidate

_HOPELESS = 20  # Times the best estimate: such a candidate is not run ...
_SHORT = 1.0  # ... unless that is less than these seconds.
_MOST_BYTES = 2 * 2**30  # Of temporary memory, estimated or as XLA has it.
_LEAST_SLOTS = 50_000  # Edges x graphs, below which 20 seconds of compiling are saved.
_ROUNDS = 5
_SECONDS = 0.5  # For the calls of one program, of which there are two at least.


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The seconds of one case, by lowering: [forward, forward and backward].

    Attributes:
      seconds: None where a lowering was not run, or not to its end.
      load: how many processes wanted a core, at the beginning.
      bytes: of temporary memory forward and backward, of what was run.
    """

    case: str
    seconds: dict[str, tuple[float, float] | None]
    load: float
    bytes: dict[str, int] = dataclasses.field(default_factory=dict)


def candidates(case: Case) -> list[Candidate]:
    """Returns the lowerings that can serve a case, the planner's choice first."""
    plan = rl.explain(case.call, *case.shapes()).plans[0]
    able = [each for each in plan.candidates if not each.reasons]
    return sorted(able, key=lambda each: each.weight)


def read(path: pathlib.Path) -> dict[str, Measurement]:
    """Returns measurements by case; none if there is no file."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    found = [Measurement(**json.loads(line)) for line in lines]
    return {each.case: each for each in found}


def append(path: pathlib.Path, measurement: Measurement) -> None:
    """Adds a line, at once, so that a run may be stopped at any case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(measurement)) + "\n")


def measure(case: Case) -> Measurement:
    """Compiles and times what can serve a case."""
    load = os.getloadavg()[0]
    able = candidates(case)
    run = {each.lowering.name: each for each in able if _is_worth(each, able, case)}
    moving, ids = case.arrays()
    made = _compiled(case, [each.lowering for each in run.values()], moving, ids)
    programs = dict(zip(run, made, strict=True))
    sizes = {
        name: both.memory_analysis().temp_size_in_bytes
        for name, (_, both) in programs.items()
    }
    cotangent = jnp.ones(jax.eval_shape(case.call, moving, ids).shape)
    calls = {
        name: [_call(forward, (moving, ids)), _call(both, (moving, ids, cotangent))]
        for name, (forward, both) in programs.items()
        if sizes[name] <= _MOST_BYTES
    }
    best = [_minima([pair[at] for pair in calls.values()]) for at in (0, 1)]
    seconds: dict[str, Any] = {each.lowering.name: None for each in able}
    for name, *both in zip(calls, *best, strict=True):
        seconds[name] = None if None in both else tuple(both)
    jax.clear_caches()
    gc.collect()
    return Measurement(case.name, seconds, load, sizes)


def _is_worth(candidate: Candidate, able: list[Candidate], case: Case) -> bool:
    least = min(each.seconds for each in able)
    if candidate.lowering.name == "slots":
        edges = case.built.senders.size * case.lead[0] * case.lead[1]
        return candidate is able[0] or edges >= _LEAST_SLOTS
    is_slow = candidate.seconds > max(_SHORT, _HOPELESS * least)
    return not is_slow and candidate.bytes <= _MOST_BYTES


def _compiled(case: Case, lowerings: list[Any], moving: Any, ids: Any) -> list[Any]:
    """Returns for each lowering its program forward, and forward and backward."""

    def lowered(lowering: Any) -> list[Any]:
        def forward(moving: Any, ids: Any) -> Any:
            return case.call(moving, ids, lowering)

        def both(moving: Any, ids: Any, cotangent: Any) -> Any:
            out, pull = jax.vjp(lambda moving: forward(moving, ids), moving)
            return out, pull(cotangent)

        shape = jax.eval_shape(forward, moving, ids)
        return [
            jax.jit(forward).lower(moving, ids),
            jax.jit(both).lower(moving, ids, shape),
        ]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        traced = [lowered(lowering) for lowering in lowerings]
        made = [[pool.submit(each.compile) for each in pair] for pair in traced]
        return [[each.result() for each in pair] for pair in made]


def _call(program: Any, arguments: Any) -> Callable[[], float]:
    def call() -> float:
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        return time.perf_counter() - start

    return call


def _minima(calls: list[Callable[[], float]]) -> list[float | None]:
    """Returns the least seconds of each call; None for those that are hopeless."""
    first = [call() for call in calls]
    limit = max(_SHORT, _HOPELESS * min(first))
    least = list(first)
    for turn in range(_ROUNDS):
        for at, call in enumerate(calls):
            if first[at] > limit or (turn >= 2 and least[at] > _SECONDS):
                continue
            count = max(1, min(20, int(_SECONDS / _ROUNDS / least[at])))
            least[at] = min(least[at], *(call() for _ in range(count)))
    return [None if f > limit else s for f, s in zip(first, least, strict=True)]
