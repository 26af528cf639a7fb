"""Text from a model of tokens: a beginning is continued, word by word.

The text is what `models.plain_text` made of files: lines of subwords, each with a token
at its end.

Shapes: B texts.
"""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from relational.decoding.sampling import Sampling
from relational.decoding.streaming import stream
from relational.models.tasks import NextToken

if TYPE_CHECKING:
    from relational.datasets import Subwords


def continue_text(
    task: NextToken,
    params: Any,
    subwords: "Subwords",
    *,
    beginning: str = "",
    length: int = 100,
    seed: int = 0,
    how: Sampling | None = None,
) -> Iterator[str]:
    r"""Yields what a model goes on with after a beginning, as whole words come.

    Args:
      task: a model of text, as `relational.models.tasks.from_spec` gives it.
      params: its parameters.
      subwords: its vocabulary.
      beginning: lines; the last one is gone on with.
      length: tokens that are drawn.
      seed: of all that is drawn.
      how: temperature and cuts.

    Raises:
      ValueError: if an argument is out of its range.

    >>> import jax
    >>> from relational import datasets, models, specs
    >>> words = datasets.learn_subwords(["a dog runs", "a cat runs"], vocabulary=270)
    >>> small = ["model.blocks[0].repeat=1", "model.nodes.token.embed={}",
    ...          "model.nodes.token.vocabulary=270"]
    >>> task = NextToken(specs.override(specs.load("transformer"), small).model)
    >>> one = {"previous": np.zeros([1, 1], np.int32)}
    >>> params = task.init(jax.random.key(0), one)
    >>> came = continue_text(task, params, words, beginning="a dog", length=3)
    >>> isinstance("".join(came), str)
    True
    """
    from relational.datasets.subwords import EOS, PAD, UNKNOWN

    lines = beginning.split("\n")
    prime = [token for line in lines for token in (*subwords.encode(line), EOS)][:-1]

    def text(tokens: list[int]) -> str:
        ends = [at for at, token in enumerate(tokens) if token == EOS]
        starts, stops = [0, *(at + 1 for at in ends)], [*ends, len(tokens)]
        spans = zip(starts, stops, strict=True)
        return "\n".join(subwords.decode(tokens[start:stop]) for start, stop in spans)

    came = stream(
        task.model,
        params,
        prime=np.asarray(prime, np.int32).reshape(1, -1),
        length=length,
        nodes=TextNodes(task),
        state=(),
        seed=seed,
        how=how,
        forbidden=(PAD, UNKNOWN),
    )

    def words() -> Iterator[str]:
        tokens, shown = list(prime), len(text(prime))
        for drawn in came:
            tokens += drawn[0].tolist()
            whole = text(tokens)
            end = 1 + max(
                whole.rfind(" "), whole.rfind("\n")
            )  # The last word may grow.
            if end > shown:
                yield whole[shown:end]
                shown = end
        yield text(tokens)[shown:]

    return words()


@dataclasses.dataclass(frozen=True)
class TextNodes:
    """What each node of a text is given: the token before it."""

    task: NextToken

    def __call__(
        self, token: Int[Array, " B"], position: Int[Array, ""], state: Any
    ) -> tuple[dict[str, dict[str, Shaped[Array, " B"]]], Any]:
        """Returns the inputs of the model, and `state` as it is."""
        from relational.datasets.text_windows import START

        before = jnp.where(position == 0, START, token)
        inputs: Any = self.task.inputs({"previous": before})
        return inputs, state
