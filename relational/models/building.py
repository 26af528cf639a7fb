"""From the model of a spec to pure functions, whichever kind of model it is."""

from typing import overload

from relational import specs
from relational._checks import shown
from relational.models.graph_model import Model, build_model
from relational.models.network import Network, build_network


@overload
def build(spec: specs.ModelSpec) -> Model: ...


@overload
def build(spec: specs.NetworkSpec) -> Network: ...


def build(spec: specs.ModelSpec | specs.NetworkSpec) -> Model | Network:
    """Returns the pure functions of a model.

    Args:
      spec: a model of tokens, or a graph network (`StackSpec`,
        `EncodeProcessDecodeSpec`).

    >>> from relational import models, specs
    >>> type(models.build(specs.load("demo").model)).__name__
    'Model'
    >>> type(models.build(specs.load("cora_gat").model)).__name__
    'Network'
    """
    if isinstance(spec, specs.ModelSpec):
        return build_model(spec)
    if isinstance(spec, specs.StackSpec | specs.EncodeProcessDecodeSpec):
        return build_network(spec)
    whole = " Give its `.model`." if isinstance(spec, specs.Spec) else ""
    raise TypeError(
        "`spec` must be a `ModelSpec`, a `StackSpec` or an `EncodeProcessDecodeSpec`; "
        f"got {shown(spec)}.{whole}"
    )
