"""Sentences with their translations: Multi30k, and any pair of files.

`load_multi30k` is a door to what TFDS keeps (`parallel_builder.Multi30k`). Files of one's
own are read where they lie: a copy of them in a cache would help nobody. Both give the
same `Pairs`; `subwords` makes tokens of them, `token_batches` batches.
"""

import functools
import os
from typing import TYPE_CHECKING

from relational._checks import shown
from relational.datasets import multi30k_source, preparing
from relational.datasets.parallel_source import Pairs

if TYPE_CHECKING:
    from relational.datasets.parallel_builder import Multi30k

VERSION = "1.0.0"  # Of the prepared set; raise it when its content changes.


def load_multi30k(
    source: str,
    target: str,
    split: str,
    *,
    data_source: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Pairs:
    """A split of Multi30k. The first call prepares the set, later ones read it.

    Args:
        source: the language that is read: `"en"`, `"de"` or `"fr"`.
        target: the language that it is put into, another one.
        split: `"train"`, of 29 000 pairs, `"validation"`, of 1014, or a test:
            `"test_2016_flickr"` and `"test_2017_flickr"`, of 1000 each, and
            `"test_2017_mscoco"`, of 461.
        data_source: the folder of its files, `train.en.gz` and so on, packed or not. If
            absent, the environment variable `RELATIONAL_MULTI30K_SOURCE` is looked at,
            then they are downloaded. It is read only when the set has not been prepared.
        cache: the folder for prepared sets; else `RELATIONAL_CACHE`, else
            `~/.cache/relational`.

    Returns:
        The sentences and their translations, in the order of the files.

    Raises:
        ValueError: if an argument is unknown, or a file or folder cannot be used.

    >>> load_multi30k("en", "en", "train")
    Traceback (most recent call last):
    ...
    ValueError: `source` and `target` must be two of 'de', 'en', 'fr'; got 'en' and 'en'.

    References: D. Elliott, S. Frank, K. Sima'an, L. Specia, Multi30K: multilingual
    English-German image descriptions, VL 2016; D. Elliott et al., Findings of the second
    shared task on multimodal machine translation and multilingual image description, WMT
    2017.
    """
    languages = multi30k_source.LANGUAGES
    if source == target or source not in languages or target not in languages:
        listed = ", ".join(map(repr, languages))
        raise ValueError(
            f"`source` and `target` must be two of {listed}; got {shown(source)} and "
            f"{shown(target)}."
        )
    if split not in multi30k_source.SPLITS:
        listed = ", ".join(map(repr, multi30k_source.SPLITS))
        raise ValueError(f"`split` must be one of {listed}; got {shown(split)}.")
    config = "_".join(sorted((source, target)))
    builder = functools.partial(_builder, config, data_source)
    examples = preparing.examples(builder, f"multi30k/{config}/{VERSION}", split, cache)
    return Pairs(
        source=[example[source].tobytes().decode() for example in examples],
        target=[example[target].tobytes().decode() for example in examples],
    )


def _builder(
    config: str, data_source: str | os.PathLike[str] | None, folder: str
) -> "Multi30k":
    from relational.datasets.parallel_builder import Multi30k

    return Multi30k(
        data_source=data_source,
        data_dir=folder,
        config=config,
        file_format="array_record",
    )
