"""Text by a trained model, printed word by word: `relational generate` for such runs."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relational.command_line.printing import print_at_once
from relational.command_line.run_folder import vocabulary_in

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

    if not 1 <= length <= _MOST_TOKENS:
        raise ValueError(f"--tokens must be 1 to {_MOST_TOKENS}; got {length}.")
    subwords = datasets.Subwords(vocabulary_in(run))
    model: Any = spec.model
    words = decoding.continue_text(
        NextToken(model),
        training.load(run).params,
        subwords,
        beginning=beginning,
        length=length,
        seed=seed,
        how=how,
    )
    for each in itertools.chain([beginning], words, ["\n"]):
        if not print_at_once(each):
            return
