"""From tokens to nodes and back: embeddings, sinusoid positions, the read-out.

Shapes: *lead leading axes, N nodes, D width, V vocabulary.
"""

import math
from typing import Literal, get_args

import haiku as hk
import jax
import jax.numpy as jnp

from relational._checks import check_count, shown
from relational.blocks.linear import with_rows

_BASE = 10_000  # Vaswani et al. 2017, section 3.5.


class Embedding(hk.Module):
    """A table of tokens that may also be read out (Vaswani et al. 2017, section 3.4).

    Args:
      vocabulary: V.
      width: D.
      is_scaled: whether rows are multiplied by sqrt(D), as the paper has it.

    >>> import haiku as hk, jax, jax.numpy as jnp
    >>> from relational.blocks import Embedding
    >>> def both(tokens):
    ...     table = Embedding(vocabulary=10, width=8)
    ...     return table.read_out(table(tokens))
    >>> model = hk.transform(both)
    >>> params = model.init(jax.random.key(0), jnp.arange(3))
    >>> model.apply(params, None, jnp.arange(3)).shape
    (3, 10)
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        is_scaled: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("vocabulary", vocabulary, least=1, advice="It counts tokens.")
        check_count("width", width, least=1, advice="It counts channels.")
        self.vocabulary = vocabulary
        self.width = width
        self.is_scaled = is_scaled

    @property
    def table(self) -> jax.Array:
        """The table, [V, D], drawn from N(0, 1 / D)."""
        init = hk.initializers.RandomNormal(self.width**-0.5)
        table: jax.Array = hk.get_parameter(
            "table", (self.vocabulary, self.width), init=init
        )
        return table

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Returns rows [*lead, N, D], maybe times sqrt(D), for tokens [*lead, N]."""
        if not jnp.issubdtype(jnp.result_type(tokens), jnp.integer):
            raise ValueError(
                f"`tokens` must be integers, 0 to {self.vocabulary - 1}; got "
                f"{shown(tokens)}."
            )
        rows = jnp.take(self.table, tokens, axis=0, mode="clip")
        if not self.is_scaled:
            return rows
        return rows * jnp.asarray(math.sqrt(self.width), rows.dtype)

    def read_out(self, features: jax.Array) -> jax.Array:
        """Returns logits [*lead, N, V] in float32: products with the table's rows."""
        if features.shape[-1:] != (self.width,):
            raise ValueError(
                f"`features` must be as wide as the table, {self.width}; got shape "
                f"{features.shape}. Read out by `hk.Linear` where widths differ."
            )
        flat = features.reshape(-1, self.width)
        logits = with_rows(flat, self.table)
        return logits.reshape(*features.shape[:-1], self.vocabulary)


Layout = Literal["interleaved", "halves", "split"]


def sinusoids(positions: jax.Array, width: int, layout: Layout) -> jax.Array:
    """Returns sines and cosines of positions, [*positions.shape, width] in float32.

    Interleaved: PE[p, 2i] = sin(p / 10000^(2i/D)), PE[p, 2i + 1] = cos(the same)
    (Vaswani et al. 2017, section 3.5). Halves: all sines, then all cosines, with
    wavelengths from 2 pi to 10000 * 2 pi inclusive, as Tensor2Tensor has it; not a
    permutation of the first. Split: all sines, then all cosines, of the first.

    >>> import jax.numpy as jnp
    >>> sinusoids(jnp.array([1]), 8, "interleaved").round(4).tolist()[0][:4]
    [0.8414999842643738, 0.5403000116348267, 0.0997999981045723, 0.9950000047683716]
    """
    check_count("width", width, least=0, advice="It counts channels.")
    if layout not in get_args(Layout):
        raise ValueError(
            f"`layout` must be 'interleaved', 'halves' or 'split'; got {shown(layout)}."
        )
    if width % 2:
        raise ValueError(f"`width` must be even: a sine has its cosine; got {width}.")
    pairs = width // 2
    if layout == "halves":
        exponent = jnp.arange(pairs) / max(1, pairs - 1)
    else:
        exponent = jnp.arange(pairs) / pairs
    angles = jnp.einsum(
        "...,w->...w",
        positions.astype(jnp.float32),
        jnp.exp(-math.log(_BASE) * exponent),
    )
    both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    if layout != "interleaved":
        both = jnp.moveaxis(both, -1, -2)
    return both.reshape(*positions.shape, width)
