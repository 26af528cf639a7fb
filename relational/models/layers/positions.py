"""What nodes know of their place: layers that add it to their features."""

import functools

from relational import specs
from relational.models import position_layers
from relational.models.layers.stack import Layer, layer_of
from relational.specs.problems import Place


@layer_of.register
def _(
    spec: specs.LaplacianPositionsSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return functools.partial(
        position_layers.with_laplacian, spec, is_training=is_training
    )


@layer_of.register
def _(
    spec: specs.RandomWalkPositionsSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return functools.partial(position_layers.with_random_walk, spec)


@layer_of.register
def _(spec: specs.DegreesSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return functools.partial(position_layers.with_degrees, spec, name=name)
