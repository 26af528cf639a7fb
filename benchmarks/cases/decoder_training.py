"""A training step of a decoder: ours by its spec, and the GPT-2 of Hugging Face.

A step is the loss, its gradients and AdamW's update. The weights are the same
(`benchmarks.decoders`), and so are the loss and the gradients, which is checked; forward
is the loss alone. With `bfloat16` 1, ours computes in bfloat16 by `precision` of its
spec, and PyTorch by `autocast`; parameters and updates are float32 in both.

B batch, L length, V vocabulary.
"""

import contextlib
from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs
from benchmarks.decoders import Decoder, batch_of, compiled

_RATE, _DECAY, _B1 = 3e-4, 0.01, 0.9  # Of AdamW, as the spec has them.


def inputs(
    *,
    batch: int,
    length: int,
    layers: int,
    width: int,
    heads: int,
    vocabulary: int,
    bfloat16: int,
) -> Arrays:
    random = np.random.default_rng(0)
    sizes = [layers, width, heads, vocabulary, bfloat16]
    tokens = random.integers(0, vocabulary, (batch, length + 1)).astype(np.int32)
    return {"tokens": tokens, "sizes": np.array(sizes)}


def _decoder(inputs: Arrays) -> tuple[Decoder, bool]:
    layers, width, heads, vocabulary, bfloat16 = inputs["sizes"].tolist()
    sizes = {"layers": layers, "width": width, "heads": heads, "vocabulary": vocabulary}
    return Decoder(**sizes), bool(bfloat16)


def _ours(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    from relational.models.tasks import NextToken
    from relational.training import optimisers, steps

    decoder, is_short = _decoder(inputs)
    spec = decoder.spec(precision="bfloat16" if is_short else "float32")
    task, training = NextToken(spec.model), steps.essentials(spec.training)
    batch = jax.tree.map(jnp.asarray, batch_of(inputs["tokens"]))
    batches = jax.tree.map(lambda leaf: leaf[None], batch)
    params = jax.tree.map(jnp.array, decoder.params())

    @jax.jit
    def loss(params: Any, batch: Any) -> Any:
        cast = steps.in_precision(params, spec.training.precision)
        outcome = task.outcome(cast, jax.random.key(0), batch, is_training=False)
        return outcome.loss.sum() / outcome.weight.sum()

    state = steps.State(
        params=params,
        optimizer=optimisers.optimiser(training).init(params),
        step=jnp.zeros((), jnp.int32),
    )
    state = jax.device_put(state, steps.one_device())
    programs = [
        loss.lower(params, batch).compile(),
        steps.update.lower(state, batches, task=task, training=training).compile(),
    ]
    held, initial = [state], jax.tree.map(jnp.array, params)  # A step takes its state.

    def both() -> Any:
        held[0], report = programs[1](held[0], batches)
        jax.block_until_ready((held[0], report))
        return held[0]

    def to_numpy(value: Any) -> Any:
        if not isinstance(value, steps.State):
            return np.asarray(value)
        (first,) = _found(value.optimizer, "mu")  # After one step, a share of it.
        table = first["model/embed_token"]["table"]
        return {"table": _gradient(np.asarray(table), inputs)}

    return Programs(
        forward=lambda: jax.block_until_ready(programs[0](initial, batch)),
        both=both,
        to_numpy=to_numpy,
        temporary=lambda: [
            each.memory_analysis().temp_size_in_bytes for each in programs
        ],
        texts=lambda: [each.as_text() for each in programs],
    )


def _gradient(first: np.ndarray, inputs: Arrays) -> np.ndarray:
    """Returns the gradient of the summed loss, of AdamW's first mean after one step."""
    num_tokens = inputs["tokens"][:, 1:].size
    scaled: np.ndarray = first * np.float32(num_tokens / (1 - _B1))
    return scaled


def _found(tree: Any, name: str) -> list[Any]:
    """Returns the fields of that name in an optimiser's nested states."""
    if hasattr(tree, name):
        return [getattr(tree, name)]
    if isinstance(tree, tuple):
        return [each for part in tree for each in _found(part, name)]
    return []


def _torch(is_compiled: bool) -> Any:
    def programs(inputs: Arrays) -> Programs:
        import torch

        decoder, is_short = _decoder(inputs)
        tokens = torch.from_numpy(inputs["tokens"].astype(np.int64))
        before, after = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        model = decoder.gpt2(decoder.params(), positions=before.shape[1])
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=_RATE, weight_decay=_DECAY, fused=True
        )
        called = compiled(model) if is_compiled else model

        def loss() -> Any:
            short = torch.autocast("cpu", torch.bfloat16)
            with short if is_short else contextlib.nullcontext():
                logits = called(input_ids=before, use_cache=False).logits
            return torch.nn.functional.cross_entropy(
                logits.float().view(-1, logits.shape[-1]), after.view(-1)
            )

        def forward() -> Any:
            with torch.no_grad():
                return loss()

        def both() -> Any:
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()
            return optimizer

        def to_numpy(value: Any) -> Any:
            if value is not optimizer:
                return value.numpy()
            first = optimizer.state[model.transformer.wte.weight]["exp_avg"]
            return {"table": _gradient(first.numpy(), inputs)}

        return Programs(forward=forward, both=both, to_numpy=to_numpy)

    return programs


def _size(bfloat16: int) -> dict[str, int]:
    sizes = {"batch": 8, "length": 256, "layers": 6, "width": 512, "heads": 8}
    return {**sizes, "vocabulary": 8192, "bfloat16": bfloat16}


CASE = Case(
    title="A training step of a decoder",
    sizes=[_size(0), _size(1)],
    tiny={
        "batch": 2,
        "length": 8,
        "layers": 2,
        "width": 16,
        "heads": 2,
        "vocabulary": 300,
        "bfloat16": 0,
    },
    inputs=inputs,
    tolerance=(2e-3, 3e-2),  # Of bfloat16; in float32 they are nearer by far.
    peers={
        "relational": _ours,
        "Hugging Face GPT-2": _torch(is_compiled=False),
        "Hugging Face GPT-2, compiled": _torch(is_compiled=True),
    },
)
