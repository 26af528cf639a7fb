"""Layers in order: each is found by the type of its spec, and named by its place.

A layer is made within a Haiku transform, under a name that its place gives it, and may
then be called several times with the same parameters.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk

import relational as rl
from relational import specs
from relational._checks import shown
from relational.specs.layers import module_name
from relational.specs.problems import Place, dotted

Layer = Callable[[rl.Graph], rl.Graph]


class LayerError(ValueError):
    """A layer cannot do what its spec says to the graph that it is given."""


class Stack(hk.Module):
    """The layers of a spec, in order, as one block from graph to graph.

    Args:
      layers: the layers.
      place: where they stand in the spec, for errors.
      is_training: whether there is dropout.
    """

    def __init__(
        self,
        layers: Sequence[specs.LayerSpec],
        place: Place,
        *,
        is_training: bool,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.layers = tuple(layers)
        self.place = place
        self.is_training = is_training

    def __call__(self, graph: rl.Graph) -> rl.Graph:
        """Returns the graph after the last layer.

        Raises:
          LayerError: a layer needs what the graph does not have; the message begins with
            its path in the spec.
        """
        for index, spec in enumerate(self.layers):
            name = module_name(spec, index)
            place = (*self.place, index, name.rpartition("_")[0])
            layer = layer_of(spec, name, place, is_training=self.is_training)
            try:
                graph = layer(graph)
            except LayerError:
                raise
            except (ValueError, TypeError) as error:
                raise LayerError(f"{dotted(place)}: {error}") from error
        return graph


@functools.singledispatch
def layer_of(spec: Any, name: str, place: Place, *, is_training: bool) -> Layer:
    """Returns the function from graph to graph that a spec describes.

    Args:
      spec: a `LayerSpec`.
      name: of its parameters.
      place: where it stands in the spec, for errors of layers within it.
      is_training: whether there is dropout.
    """
    del name, place, is_training
    raise TypeError(
        "`spec` must be a `LayerSpec`, such as `GraphConvolutionSpec(width=16)`; got "
        f"{shown(spec)}."
    )
