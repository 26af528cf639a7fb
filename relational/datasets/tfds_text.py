"""Any set of TensorFlow Datasets whose examples hold a sentence in two languages.

A set that has been prepared in the format `array_record` is read without TensorFlow. To
download and prepare one, TFDS needs it, since only then it can write text.
"""

import os
from typing import Any

from relational._checks import shown
from relational.datasets.parallel_source import Pairs

_WITHOUT = (
    "Install it (`pip install tensorflow`), or prepare the set elsewhere in the format "
    "`array_record` and name its folder with `--data`."
)


def load_tfds_pairs(
    name: str,
    source: str,
    target: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> Pairs:
    """A split of a set of TFDS as pairs of sentences; it is prepared if need be.

    Pairs with an empty side are left out: large collections have some.

    Args:
        name: of the set, such as `"wmt14_translate/de-en"`.
        source: the feature that is read, such as `"en"`.
        target: the feature that it is put into, such as `"de"`.
        split: such as `"train"`, or a part of it, `"train[:10%]"`.
        data_dir: where TFDS keeps its sets; its own folder if None.

    Raises:
        ValueError: there is no such set, feature or split, or it cannot be read.
        ImportError: the set must be prepared, and TensorFlow is absent.
    """
    builder = _prepared(name, data_dir)
    features = dict(builder.info.features.items())
    for feature in (source, target):
        if feature not in features:
            listed = ", ".join(map(repr, features))
            raise ValueError(
                f"`{name}` must have a feature for each language; it has {listed}, and no "
                f"{shown(feature)}."
            )
    try:
        examples = _examples(builder, split)
    except ValueError as error:
        words = str(error).splitlines()[0]
        raise ValueError(f"`{name}` has no such split: {words}") from error
    pairs = Pairs([], [])
    for example in examples:
        sides = [_line(example[feature]) for feature in (source, target)]
        if all(sides):
            pairs.source.append(sides[0])
            pairs.target.append(sides[1])
    if not pairs.source:
        raise ValueError(f"`{name}` must have pairs in {split!r}; it has none.")
    return pairs


def _prepared(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    import tensorflow_datasets as tfds

    folder = None if data_dir is None else os.fspath(data_dir)
    try:
        builder = tfds.builder(name, data_dir=folder)
        if not builder.is_prepared():
            _check_tensorflow(name)
            # This format can be read without TensorFlow, and in any order.
            builder = tfds.builder(name, data_dir=folder, file_format="array_record")
            builder.download_and_prepare()
    except (ValueError, AttributeError) as error:
        _check_tensorflow(name)  # Without it, TFDS does not know most of its sets.
        words = str(error).strip().splitlines()[0]
        raise ValueError(
            f"`{name}` must be a set of TensorFlow Datasets; it cannot be used ({words})."
        ) from error
    return builder


def _examples(builder: Any, split: str) -> Any:
    import tensorflow_datasets as tfds

    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        return builder.as_data_source(split=split)
    _check_tensorflow(builder.info.full_name)
    return tfds.as_numpy(builder.as_dataset(split=split))


def _check_tensorflow(name: str) -> None:
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            f"`{name}` of TensorFlow Datasets is not here as `array_record`, and to "
            f"prepare or read it otherwise TensorFlow is needed. {_WITHOUT}"
        ) from error
    del tensorflow  # TFDS imports it where it wants.


def _line(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return " ".join(text.split())
