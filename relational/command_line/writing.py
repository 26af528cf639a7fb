"""Text by a trained model, printed word by word: `relational generate` for such runs."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational import specs
    from relational.decoding import Sampling

_MOST_TOKENS = 100_000


def write(
    run: Path,
    spec: "specs.Spec",
    *,
    beginning: str,
    length: int,
    seed: int,
    how: "Sampling",
) -> None:
    """Prints a beginning and what a run's model goes on with, as the words come.

    Raises:
      ValueError: if an option is out of its range, or the run lacks its vocabulary.
    """
    from relational import datasets, decoding, training
    from relational.models.tasks import NextToken
    from relational.models.text_data import SUBWORDS, kept_vocabulary

    if not 1 <= length <= _MOST_TOKENS:
        raise ValueError(f"--tokens must be 1 to {_MOST_TOKENS}; got {length}.")
    vocabulary = kept_vocabulary(run)
    if vocabulary is None:
        raise ValueError(
            f"`{run / SUBWORDS}` must be the vocabulary of the run; it is missing. "
            "`relational train` writes it."
        )
    model: Any = spec.model
    words = decoding.continue_text(
        NextToken(model),
        training.load(run).params,
        datasets.Subwords(vocabulary),
        beginning=beginning,
        length=length,
        seed=seed,
        how=how,
    )
    stream = typer.get_binary_stream("stdout")
    for each in itertools.chain([beginning], words, ["\n"]):
        try:
            stream.write(each.encode())
            stream.flush()
        except BrokenPipeError:  # Nobody reads it any more, as after `| head`.
            return
