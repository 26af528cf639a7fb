"""The vocabulary that lies beside weights, if it is one that the library speaks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from relational import specs

_SHARED = "spiece.model"  # What T5's tokenizer calls its model.
_PAIR = ("source.spm", "target.spm", "vocab.json")  # Marian's.


def vocabulary_beside(folder: Path, spec: specs.ModelSpec) -> bytes | None:
    """Returns a vocabulary as `datasets.vocabulary_of` takes it, None if there is none.

    Args:
      folder: that of the weights.
      spec: the model, whose tokens they must be.

    Raises:
      ValueError: the files are no vocabulary, or that of another model.
      ImportError: there is one, and SentencePiece is absent.
    """
    shared, pair = folder / _SHARED, [folder / name for name in _PAIR]
    if shared.is_file():
        return _checked(shared, spec, lambda: shared.read_bytes())
    if all(path.is_file() for path in pair):
        return _checked(pair[-1], spec, lambda: _paired(pair))
    return None


def _checked(path: Path, spec: specs.ModelSpec, read: Callable[[], bytes]) -> bytes:
    from relational.datasets import PairedSubwords, vocabulary_of
    from relational.datasets.subwords import EOS

    try:
        found = vocabulary_of(read())
    except (ValueError, AttributeError) as error:  # Of JSON that is no mapping.
        raise ValueError(f"`{path}` must be a vocabulary; {error}") from error
    most = min(node.vocabulary for node in spec.nodes.values())
    end = found.end if isinstance(found, PairedSubwords) else EOS
    if found.size > most or end != spec.read_out.end:
        raise ValueError(
            f"`{path}` must be the vocabulary of the model, with at most {most} tokens "
            f"that end with {spec.read_out.end}; it has {found.size}, which end with {end}."
        )
    return found.model


def _paired(files: Sequence[Path]) -> bytes:
    from relational.datasets import paired

    source, target, numbers = (path.read_bytes() for path in files)
    table = json.loads(numbers)
    return paired(source, target, dict(table.items())).model
