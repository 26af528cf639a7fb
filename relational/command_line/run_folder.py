"""What commands ask of the folder of a run, in the same words."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational import specs


def spec_in(run: Path) -> "specs.Spec":
    """Returns the spec of a run.

    Raises:
      ValueError: if the folder is none of a run.
    """
    from relational import specs

    path = run / "spec.yaml"
    if not path.is_file():
        raise ValueError(
            f"RUN must be the folder of a run, with a `spec.yaml`; got `{run}`. "
            "`relational train` makes one."
        )
    return specs.load(path)


def vocabulary_in(run: Path) -> bytes:
    """Returns the model of the subwords of a run on text.

    Raises:
      ValueError: if it is missing.
    """
    from relational.models.text_data import SUBWORDS, kept_vocabulary

    vocabulary = kept_vocabulary(run)
    if vocabulary is None:
        raise ValueError(
            f"`{run / SUBWORDS}` must be the vocabulary of the run; it is missing. "
            "`relational train` writes it."
        )
    return vocabulary
