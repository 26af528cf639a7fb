"""What is measured: inputs that all peers share, and one program a peer."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

_MOST_BYTES = 5 * 2**30  # Of one peer, so that all of a case stay within 20 GiB.


class CannotRun(Exception):
    """Why a peer cannot run at a size, in one line; the others go on."""


def check_memory(num_bytes: float, what: str) -> None:
    """Raises `CannotRun` where a peer's arrays would not fit beside the others.

    Args:
      num_bytes: what they take together, roughly.
      what: which arrays, for the reason.
    """
    if num_bytes > _MOST_BYTES:
        raise CannotRun(
            f"{what} take {num_bytes / 2**30:,.0f} GiB, and a peer is given "
            f"{_MOST_BYTES / 2**30:.0f}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Programs:
    """A peer's compiled programs; each call waits for its result.

    Attributes:
      forward: returns the output.
      both: returns the output's gradients with respect to the inputs, by name, for
        the cotangent among the inputs; None where a peer has no backward pass.
      temporary: bytes of temporary memory of each program, where it is known.
      texts: the instructions of each program, where XLA compiled it.
    """

    forward: Callable[[], Any]
    both: Callable[[], Any] | None
    to_numpy: Callable[[Any], Any]
    temporary: Callable[[], list[int]] | None = None
    texts: Callable[[], list[str]] | None = None

    def results(self) -> Arrays:
        """Runs both programs; returns the output and the gradients, by name."""
        found = {"forward": self.to_numpy(self.forward())}
        if self.both is not None:
            pulled = self.to_numpy(self.both())
            found |= {f"d {name}": value for name, value in pulled.items()}
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Sizes that are plotted, not listed.

    Attributes:
      over: the size that grows.
      sizes: as of a case.
      peers: which are drawn; ours is always.
    """

    over: str
    sizes: Sequence[Mapping[str, int]]
    peers: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison.

    Attributes:
      title: what is computed, with sizes.
      sizes: the sizes to run, by keyword.
      tiny: a size at which every peer takes no time, for tests.
      inputs: makes the arrays of one size.
      peers: by name, what turns inputs into programs; the first is ours, and the
        second is the reference for values. A peer may raise `CannotRun`.
      tolerance: of outputs and gradients, relative to max(1, largest value).
      sweep: what to plot, or None.
    """

    title: str
    sizes: Sequence[Mapping[str, int]]
    tiny: Mapping[str, int]
    inputs: Callable[..., Arrays]
    peers: Mapping[str, Callable[[Arrays], Programs]]
    tolerance: tuple[float, float] = (2e-5, 1e-4)
    sweep: Sweep | None = None


def jax_programs(
    function: Callable[..., Any],
    inputs: Arrays,
    moving: Sequence[str],
    *,
    has_backward: bool = True,
) -> Programs:
    """Returns the programs of `function(**inputs)`, compiled by XLA.

    Args:
      function: of all inputs but "cotangent".
      inputs: with "cotangent", the output's.
      moving: what to differentiate with respect to.
      has_backward: whether there is anything to differentiate.
    """
    import jax
    import jax.numpy as jnp

    given = {name: jnp.asarray(value) for name, value in inputs.items()}
    cotangent = given.pop("cotangent")
    fixed = {name: value for name, value in given.items() if name not in moving}
    moved = {name: given[name] for name in moving}

    def forward(moved: Any, fixed: Any) -> Any:
        return function(**moved, **fixed)

    def both(moved: Any, fixed: Any, cotangent: Any) -> Any:
        _, pull = jax.vjp(lambda moved: forward(moved, fixed), moved)
        return pull(cotangent)[0]

    programs = [jax.jit(forward).lower(moved, fixed).compile()]
    if has_backward:
        programs.append(jax.jit(both).lower(moved, fixed, cotangent).compile())

    def temporary() -> list[int]:
        return [each.memory_analysis().temp_size_in_bytes for each in programs]

    def run_both() -> Any:
        return jax.block_until_ready(programs[1](moved, fixed, cotangent))

    return Programs(
        forward=lambda: jax.block_until_ready(programs[0](moved, fixed)),
        both=run_both if has_backward else None,
        to_numpy=lambda tree: jax.tree.map(np.asarray, tree),
        temporary=temporary,
        texts=lambda: [each.as_text() for each in programs],
    )


def torch_programs(
    function: Callable[..., Any],
    inputs: Arrays,
    moving: Sequence[str],
    *,
    has_backward: bool = True,
) -> Programs:
    """Returns the programs of `function(**inputs)` in PyTorch; as `jax_programs`."""
    import torch

    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    cotangent = given.pop("cotangent")
    moved = {name: given[name] for name in moving}
    if has_backward:  # Some kernels refuse what could be differentiated.
        for tensor in moved.values():
            tensor.requires_grad_()

    def forward() -> Any:
        with torch.no_grad():
            return function(**given)

    def both() -> Any:
        found = torch.autograd.grad(function(**given), list(moved.values()), cotangent)
        return dict(zip(moved, found, strict=True))

    def to_numpy(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: each.numpy() for name, each in value.items()}
        return value.numpy()

    return Programs(
        forward=forward, both=both if has_backward else None, to_numpy=to_numpy
    )
