"""What Hugging Face's models say, as `tests/golden/make_hugging_face.py` recorded it."""

import functools
import pathlib

import numpy as np

from relational import models, weights

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "hugging_face"
NAMES = ("gpt2", "t5", "t5_untied", "marian", "bert")


@functools.cache
def imported(name):
    return weights.load(GOLDEN / name)


@functools.cache
def model_of(name):
    return models.build(imported(name).spec)


def recorded(name, folder=GOLDEN):
    with np.load(folder / name / "expected.npz") as file:
        return dict(file)


def inputs_of(name):
    """The recorded inputs, as our models take them."""
    known = recorded(name)
    first = {"token": known["input_ids"]}
    if "attention_mask" in known:
        first["length"] = known["attention_mask"].sum(axis=1, dtype=np.int32)
    if "decoder_input_ids" in known:
        return {"source": first, "target": {"token": known["decoder_input_ids"]}}
    if "token_type_ids" in known:
        first["token_type"] = known["token_type_ids"]
    return {"token": first}
