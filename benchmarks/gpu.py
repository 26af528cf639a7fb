"""`python -m benchmarks.gpu`: attention on a GPU, ours against cuDNN and PyTorch.

Plain causal attention and relative causal attention (a row for each of 512 distances),
in bfloat16, forward, and forward and backward. All peers of a length must agree before
any is timed; then they run in turn.

Without a GPU it says so. `--interpret` runs tiny sizes on any device: it shows that the
benchmark runs, and times nothing worth knowing.
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some.

import statistics
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

import relational as rl

_DISTANCES = 512  # That have a row of their own; those beyond have none.
_TOLERANCES = (2e-2, 6e-2)  # Of values and gradients in bfloat16, of the largest.
_SCALE = 0.125

Peer = tuple[Callable[[], Any], Callable[[], Any]]  # Forward; forward and backward.


def main(
    length: Annotated[
        list[int] | None, typer.Option(help="Nodes; 1k to 32k if not given.")
    ] = None,
    heads: Annotated[int, typer.Option(help="Heads, all of one sequence.")] = 16,
    width: Annotated[int, typer.Option(help="Features of a head.")] = 64,
    rounds: Annotated[int, typer.Option(help="How often each peer runs.")] = 15,
    interpret: Annotated[
        bool, typer.Option(help="Interpret the kernel: any device, tiny sizes.")
    ] = False,
) -> None:
    """Prints a table for plain and for relative attention."""
    if jax.default_backend() != "gpu" and not interpret:
        print("benchmarks.gpu needs a GPU; `--interpret` tries it out without one.")
        sys.exit(1)
    lengths = length or ([96] if interpret else [2**n * 1024 for n in range(6)])
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    for is_relative in (False, True):
        name = "Relative" if is_relative else "Plain"
        print(f"\n### {name} causal attention, {heads} heads of {width}, bfloat16\n")
        print("| nodes | peer | forward, ms | forward and backward, ms |")
        print("|---|---|---|---|")
        for nodes in lengths:
            inputs = _inputs(heads, nodes, width, is_relative)
            for line in _compared(inputs, rounds, interpret):
                print(f"| {nodes} | {line}", flush=True)


def _inputs(heads: int, nodes: int, width: int, is_relative: bool) -> dict[str, Any]:
    random = np.random.default_rng(0)
    shapes = dict.fromkeys(("query", "key", "value"), (heads, nodes, width))
    if is_relative:
        shapes["rows"] = (heads, _DISTANCES, width)
    shapes["cotangent"] = (heads, nodes, width)
    return {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def _compared(inputs: dict[str, Any], rounds: int, interpret: bool) -> list[str]:
    """Returns lines of a table; raises where two peers do not agree."""
    peers, failed, wanted = {}, {}, None
    for name, make in _peers("rows" in inputs, interpret).items():
        try:
            peer = make(inputs)
            found = peer[0](), peer[1]()
        except Exception as error:  # noqa: BLE001  # What fails is told in the table.
            failed[name] = f"{type(error).__name__}: {str(error)[:90]}".split("\n")[0]
            continue
        found = jax.tree.map(_numpy, found)
        wanted = found if wanted is None else wanted
        _check(name, found, wanted)
        peers[name] = peer
    times = {name: ([], []) for name in peers}
    for _ in range(rounds):
        for name, peer in peers.items():
            for run, taken in zip(peer, times[name], strict=True):
                start = time.perf_counter()
                run()
                taken.append(time.perf_counter() - start)
    lines = []
    for name, pair in times.items():
        medians = [f"{statistics.median(taken) * 1e3:.3f}" for taken in pair]
        lines.append(f"{name} | {' | '.join(medians)} |")
    return lines + [f"{name} | {reason} | |" for name, reason in failed.items()]


def _numpy(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return np.asarray(leaf, np.float32)
    return leaf.detach().float().cpu().numpy()


def _check(name: str, found: Any, wanted: Any) -> None:
    for part, other, most in zip(found, wanted, _TOLERANCES, strict=True):
        for leaf, its in zip(
            jax.tree.leaves(part), jax.tree.leaves(other), strict=True
        ):
            size = np.abs(leaf - its).max() / max(1.0, np.abs(its).max())
            if not size <= most:
                sys.exit(f"error: {name} differs by {size:.1e}, more than {most}.")


def _peers(is_relative: bool, interpret: bool) -> dict[str, Callable[[Any], Peer]]:
    lowerings = {
        "relational tiles": rl.lowerings.Tiles(),
        "relational kernel": rl.lowerings.Kernel(interpret=interpret),
    }
    fused = rl.lowerings.Fused(implementation="xla" if interpret else "cudnn")
    if not is_relative:
        lowerings["relational fused"] = fused
    peers = {name: _ours(lowering) for name, lowering in lowerings.items()}
    if not is_relative:
        implementation = "xla" if interpret else "cudnn"
        peers[f"jax.nn, {implementation}"] = _jax_nn(implementation)
    return peers | _torch_peers(is_relative)


def _ours(lowering: Any) -> Callable[[Any], Peer]:
    def attend(query: Any, key: Any, value: Any, rows: Any = None) -> Any:
        score = [lambda receiver, sender: rl.dot(receiver, sender.key) * _SCALE]
        relations = {}
        if rows is not None:
            offset = rl.Offset(limit=(1 - _DISTANCES, 0))
            relations["offset"] = offset.rows(key=rows)
            score += [lambda receiver, offset: rl.dot(receiver, offset.key) * _SCALE]
        return rl.propagate(
            rl.Causal(),
            batch_axes=1,
            receivers=query,
            senders={"key": key, "value": value},
            relations=relations,
            score=score,
            message=lambda sender: sender.value,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    return lambda inputs: _jax_peer(attend, inputs)


def _jax_nn(implementation: str) -> Callable[[Any], Peer]:
    def attend(query: Any, key: Any, value: Any) -> Any:
        sides = [jnp.swapaxes(side, 0, 1)[None] for side in (query, key, value)]
        heard = jax.nn.dot_product_attention(
            *sides, scale=_SCALE, is_causal=True, implementation=implementation
        )
        return jnp.swapaxes(heard[0], 0, 1)

    return lambda inputs: _jax_peer(attend, inputs)


def _jax_peer(attend: Callable[..., Any], inputs: dict[str, Any]) -> Peer:
    moving = {name: jnp.asarray(leaf, jnp.bfloat16) for name, leaf in inputs.items()}
    cotangent = moving.pop("cotangent")

    @jax.jit
    def forward(moving: Any) -> Any:
        return attend(**moving)

    @jax.jit
    def both(moving: Any, cotangent: Any) -> Any:
        return jax.vjp(lambda moving: attend(**moving), moving)[1](cotangent)[0]

    return (
        lambda: jax.block_until_ready(forward(moving)),
        lambda: jax.block_until_ready(both(moving, cotangent)),
    )


def _torch_peers(is_relative: bool) -> dict[str, Callable[[Any], Peer]]:
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    flex = {"PyTorch flex_attention": lambda inputs: _torch_peer(_flex(), inputs)}
    if is_relative:
        return flex

    def attend(query: Any, key: Any, value: Any) -> Any:
        fused = torch.nn.functional.scaled_dot_product_attention
        return fused(query, key, value, scale=_SCALE, is_causal=True)

    return flex | {"PyTorch SDPA": lambda inputs: _torch_peer(attend, inputs)}


def _flex() -> Callable[..., Any]:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def causal(batch: Any, head: Any, receiver: Any, sender: Any) -> Any:
        return sender <= receiver

    compiled = torch.compile(flex_attention)

    def attend(query: Any, key: Any, value: Any, rows: Any = None) -> Any:
        nodes = query.shape[2]
        mask = create_block_mask(causal, None, None, nodes, nodes)
        if rows is None:
            return compiled(query, key, value, block_mask=mask, scale=_SCALE)
        product = query @ rows.transpose(-1, -2) * _SCALE  # By distance.

        def add(score: Any, batch: Any, head: Any, receiver: Any, sender: Any) -> Any:
            label = sender - receiver + _DISTANCES - 1
            own = product[batch, head, receiver, label.clamp(0, _DISTANCES - 1)]
            return score + torch.where(label >= 0, own, 0.0)

        return compiled(query, key, value, score_mod=add, block_mask=mask, scale=_SCALE)

    return attend


def _torch_peer(attend: Callable[..., Any], inputs: dict[str, Any]) -> Peer:
    import torch

    moving = {
        name: torch.from_numpy(leaf)[None].to("cuda", torch.bfloat16)
        for name, leaf in inputs.items()
    }
    cotangent = moving.pop("cotangent")
    moving = {name: leaf.requires_grad_() for name, leaf in moving.items()}

    def forward() -> Any:
        with torch.no_grad():
            heard = attend(**moving)[0]
        torch.cuda.synchronize()
        return heard

    def both() -> Any:
        heard = attend(**moving)
        found = torch.autograd.grad(heard, list(moving.values()), cotangent)
        torch.cuda.synchronize()
        return dict(zip(moving, (leaf[0] for leaf in found), strict=True))

    return forward, both


if __name__ == "__main__":
    typer.run(main)
