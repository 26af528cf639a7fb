"""Decoding by a decoder: ours by its spec, and the GPT-2 of Hugging Face by `generate`.

The weights are the same (`benchmarks.decoders`), and so are the tokens, which is checked.
A beam of 1 takes the likeliest token each time: ours by `decoding.generate` at
temperature 0. A wider one searches: ours by `decoding.beam_search` over the same steps,
without a length penalty. What is timed is a whole call: the pass over a prime, then a
token at a time.

B batch, P tokens of the prime, N new tokens, V vocabulary.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs
from benchmarks.decoders import Decoder

_FIRST = 0  # The token at position 0.
_BOLDNESS = 8  # Or the same token would be said again and again.


def inputs(
    *,
    batch: int,
    beam: int,
    prime: int,
    new: int,
    layers: int,
    width: int,
    heads: int,
    vocabulary: int,
) -> Arrays:
    random = np.random.default_rng(1)
    tokens = random.integers(0, vocabulary, (batch, prime)).astype(np.int32)
    tokens[:, 0] = _FIRST
    return {
        "tokens": tokens,
        "asked": np.array([beam, new]),
        "sizes": np.array([layers, width, heads, vocabulary]),
    }


def _decoder(inputs: Arrays) -> Decoder:
    layers, width, heads, vocabulary = inputs["sizes"].tolist()
    return Decoder(layers=layers, width=width, heads=heads, vocabulary=vocabulary)


def _ours(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    from relational import models
    from relational.decoding import Sampling, generate

    decoder, (beam, new) = _decoder(inputs), inputs["asked"].tolist()
    model = models.build(decoder.spec().model)
    params = jax.tree.map(jnp.asarray, decoder.params(boldness=_BOLDNESS))
    prime = inputs["tokens"][:, 1:]  # A node hears the token before it.

    def greedily() -> np.ndarray:
        found = generate(
            model,
            params,
            prime=prime,
            length=new,
            nodes=_nodes,
            state=(),
            how=Sampling(temperature=0.0),
        )
        return found.tokens[:, prime.shape[1] :]

    if beam == 1:
        return Programs(forward=greedily, both=None, to_numpy=np.asarray)
    search = jax.jit(_search(model, beam, new))
    return Programs(
        forward=lambda: jax.block_until_ready(search(params, inputs["tokens"])),
        both=None,
        to_numpy=np.asarray,
    )


def _nodes(token: Any, position: Any, state: Any) -> Any:
    del position
    return {"token": {"token": token}}, state


def _search(model: Any, beam: int, new: int) -> Any:
    """Returns a function from parameters and primes to the best continuations."""
    import jax
    import jax.numpy as jnp

    from relational.decoding import Beam, beam_search

    def search(params: Any, tokens: Any) -> Any:
        batch, length = tokens.shape

        def given(tokens: Any) -> Any:
            return {"token": {"token": tokens}}

        caches = model.start(params, given(tokens[:, :1]), length + new)
        heard = given(tokens[:, :-1])
        lengths = jnp.full(batch, length - 1)
        _, caches = model.prefill(params, caches, heard, lengths)
        rows = jax.tree.map(lambda leaf: jnp.repeat(leaf, beam, axis=0), caches)
        last = jnp.repeat(tokens[:, -1], beam)

        def advance(token: Any, position: Any, caches: Any) -> Any:
            token = jnp.where(position == 0, last, token)
            at = jnp.full(token.shape, position + length - 1)
            logits, caches = model.step(params, caches, given(token[:, None]), at)
            return logits[:, 0], caches

        found = beam_search(
            advance,
            rows,
            longest=jnp.full(batch, new),
            capacity=new,
            how=Beam(size=beam, alpha=0.0),
            start=_FIRST,
            end=-1,  # No token ends a sequence here.
        )
        return found.tokens[:, 0]

    return search


def _theirs(inputs: Arrays) -> Programs:
    import torch

    decoder, (beam, new) = _decoder(inputs), inputs["asked"].tolist()
    tokens = torch.from_numpy(inputs["tokens"].astype(np.int64))
    length = tokens.shape[1]
    model = decoder.gpt2(
        decoder.params(boldness=_BOLDNESS), positions=length + new
    ).eval()
    of_search = {"length_penalty": 0.0} if beam > 1 else {}

    def generated() -> np.ndarray:
        with torch.no_grad():
            found = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=new,
                do_sample=False,
                num_beams=beam,
                pad_token_id=0,
                **of_search,
            )
        made: np.ndarray = found.numpy()[:, length:]
        return made

    return Programs(forward=generated, both=None, to_numpy=np.asarray)


def _size(batch: int, beam: int) -> dict[str, int]:
    sizes = {"batch": batch, "beam": beam, "prime": 32, "new": 224}
    return {**sizes, "layers": 6, "width": 512, "heads": 8, "vocabulary": 8192}


CASE = Case(
    title="Decoding",
    sizes=[_size(1, beam=1), _size(8, beam=1), _size(1, beam=4)],
    tiny={
        "batch": 2,
        "beam": 1,
        "prime": 3,
        "new": 5,
        "layers": 2,
        "width": 16,
        "heads": 2,
        "vocabulary": 300,
    },
    inputs=inputs,
    peers={
        "relational": _ours,
        "Hugging Face GPT-2": _theirs,
    },
)
