"""Multi30k from its files: found or downloaded, and known by the checksums of their content.

Source: `data/task1/raw` of https://github.com/multi30k/dataset, raw text. The captions are
for research and education that is not commercial.
"""

import hashlib
import os

from relational._checks import shown
from relational.datasets import source_files
from relational.datasets.parallel_source import lines_of

LANGUAGES = ("de", "en", "fr")
"""The languages of Multi30k that have all of its splits."""

SPLITS = {
    "train": "train",
    "validation": "val",
    "test_2016_flickr": "test_2016_flickr",
    "test_2017_flickr": "test_2017_flickr",
    "test_2017_mscoco": "test_2017_mscoco",
}
"""The splits of Multi30k, and how their files are called."""

VARIABLE = "RELATIONAL_MULTI30K_SOURCE"

ADDRESS = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    "a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
)


def read(
    language: str, split: str, data_source: str | os.PathLike[str] | None = None
) -> list[str]:
    """The lines of one file of Multi30k, whose content has a known checksum.

    Args:
        language: one of `LANGUAGES`.
        split: one of `SPLITS`.
        data_source: the folder of files such as `train.en.gz`, packed or not. If
            absent, the environment variable `RELATIONAL_MULTI30K_SOURCE`, then the
            address of the file.

    Raises:
        ValueError: if the file is not found, cannot be downloaded or read, or its
            content is not what was published.

    >>> read("en", "train", "/nonexistent")
    Traceback (most recent call last):
    ...
    ValueError: `data_source` must be train.en, or the folder it lies in; got \
'/nonexistent', which does not exist. Download train.en.gz from https://\
raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/\
task1/raw/train.en.gz.
    """
    for name, value, known in (
        ("language", language, LANGUAGES),
        ("split", split, tuple(SPLITS)),
    ):
        if value not in known:
            listed = ", ".join(map(repr, known))
            raise ValueError(f"`{name}` must be one of {listed}; got {shown(value)}.")
    file = f"{SPLITS[split]}.{language}"
    address = f"{ADDRESS}{file}.gz"
    advice = f"Download {file}.gz from {address}."
    path = source_files.find([file], data_source, variable=VARIABLE, advice=advice)
    if path is None:
        elsewhere = (
            "Download it elsewhere and name its folder with `data_source=` or the "
            f"environment variable {VARIABLE}."
        )
        origin = address
        content = source_files.download(address, advice=elsewhere)
    else:
        origin, content = os.fspath(path), source_files.read(path, advice=advice)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[file]:
        raise ValueError(
            f"the file from {origin!r} must be {file} of Multi30k with the checksum "
            f"{SHA256[file]}; got {found}. It is another file, or was cut short. {advice}"
        )
    return lines_of(content, file)


SHA256 = {
    "train.de": ("2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
    "train.en": ("460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
    "train.fr": ("5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
    "val.de": ("660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
    "val.en": ("1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
    "val.fr": ("5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc"),
    "test_2016_flickr.de": (
        "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"
    ),
    "test_2016_flickr.en": (
        "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"
    ),
    "test_2016_flickr.fr": (
        "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6"
    ),
    "test_2017_flickr.de": (
        "c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081"
    ),
    "test_2017_flickr.en": (
        "ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98"
    ),
    "test_2017_flickr.fr": (
        "6f3764e31dac41e9455e612958bcfd4e877c5e15cd66df2c2b2be6d9bd83e5b6"
    ),
    "test_2017_mscoco.de": (
        "58277df3c75f92f7145a11b910b553d1cf82c439249d4dc237c899609eafac22"
    ),
    "test_2017_mscoco.en": (
        "43051fdfa86fd5395182e718a94ca67b1b227b9f7c79596ff0f6b813216981d2"
    ),
    "test_2017_mscoco.fr": (
        "39cde3f43f32b0a6bf29ce4917a46329ff32e53070c2fac87506695a740ae0a0"
    ),
}
"""Of the content of each file, unpacked."""
