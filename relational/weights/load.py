"""From a folder of Hugging Face to a spec and its parameters."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from pydantic import ValidationError

from relational import specs
from relational.weights import bert, gpt2, marian, t5
from relational.weights.config import Config, read_config
from relational.weights.layers import Params
from relational.weights.tensors import Tensors, open_tensors
from relational.weights.vocabulary import vocabulary_beside


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """A model that was trained elsewhere.

    Attributes:
      kind: `gpt2`, `bert`, `t5` or `marian`.
      spec: the model as a graph, for `models.build`.
      params: its parameters, nested dicts of float32 arrays.
      ignored: the names of tensors that the model does not use, such as a pooler.
      subwords: the vocabulary that lies beside the weights, for `datasets.vocabulary_of`:
        T5's `spiece.model`, or Marian's `source.spm`, `target.spm` and `vocab.json`.

    >>> import jax, jax.numpy as jnp
    >>> from relational import models, specs, weights
    >>> spec = specs.load("multi30k_absolute").model
    >>> one = {name: {"token": jnp.zeros((1, 1), int)} for name in spec.nodes}
    >>> params = jax.eval_shape(models.build(spec).init, jax.random.key(0), one)
    >>> weights.Imported(kind="marian", spec=spec, params=params, ignored=()).kind
    'marian'
    """

    kind: str
    spec: specs.ModelSpec
    params: Mapping[str, Mapping[str, jax.Array]]
    ignored: tuple[str, ...]
    subwords: bytes | None = dataclasses.field(default=None, repr=False)


def load(folder: str | os.PathLike[str]) -> Imported:
    """Returns the model of a folder as a spec and parameters.

    Tensors may lie in one file or in several with an index, in any floating type; they
    become float32.

    Args:
      folder: what `save_pretrained` wrote, of `GPT2LMHeadModel`, `BertForMaskedLM`,
        `T5ForConditionalGeneration` or `MarianMTModel`: `config.json` and
        `model.safetensors`, or `model.safetensors.index.json` and its files.

    Raises:
      ValueError: it is no such folder, or a model that specs cannot say; or tensors are
        missing, left over or of another shape, all of which are told.
      ImportError: safetensors is absent.

    >>> from relational import models, weights
    >>> weights.load("no_such_folder")
    Traceback (most recent call last):
    ...
    ValueError: `folder` must be a model that Hugging Face's `save_pretrained` wrote, \
with `config.json` and safetensors; `no_such_folder` has no `config.json`.

    `models.build(imported.spec).apply(imported.params, None, inputs)` are then the
    logits of the original.
    """
    config = read_config(Path(folder))
    kind = config.one_of("model_type", "", {name: name for name in _ARCHITECTURES})
    architecture = _ARCHITECTURES[kind]
    tensors = open_tensors(Path(folder), architecture.prefix)
    try:
        # Under `jit` too, what files hold are constants.
        with jax.ensure_compile_time_eval():
            spec, params = architecture.spec_and_params(config, tensors)
            params = jax.tree.map(jnp.asarray, params)
    except ValidationError as error:
        told = "; ".join(_told(detail) for detail in error.errors(include_url=False))
        raise ValueError(
            f"`{config.path}` must describe a model that a spec can say; {told}"
        ) from error
    ignored = tensors.check_all_taken(architecture.ignored)
    return Imported(
        kind=kind,
        spec=spec,
        params=params,
        ignored=ignored,
        subwords=vocabulary_beside(Path(folder), spec),
    )


def _told(detail: Any) -> str:
    place = ".".join(map(str, detail["loc"]))
    words = str(detail["msg"]).removeprefix("Value error, ")
    return f"{place}: {words}" if place else words


@dataclasses.dataclass(frozen=True)
class _Architecture:
    """How the models of one kind become ours."""

    spec_and_params: Callable[[Config, Tensors], tuple[specs.ModelSpec, Params]]
    prefix: str
    """Taken off the names of tensors, where they have it."""
    ignored: tuple[str, ...]
    """Patterns of tensors that say nothing about the logits."""


_ARCHITECTURES = {
    name: _Architecture(its.spec_and_params, its.PREFIX, its.IGNORED)
    for name, its in (("gpt2", gpt2), ("bert", bert), ("t5", t5), ("marian", marian))
}
"""The models that can be imported, by the `model_type` of their configs."""
