"""Dataclasses that hold arrays and pass through JAX's transformations.

`jax.tree_util.register_dataclass` runs `__post_init__` again on unflattening, where
leaves may be tracers or placeholders; here unflattening sets the fields and checks
nothing, so that constructors may validate.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def register(data: tuple[str, ...]) -> Callable[[type[T]], type[T]]:
    """Registers a dataclass as a pytree whose `data` fields are its children.

    Args:
      data: names of the fields that hold arrays, or pytrees of arrays, or None. The
        others are static: they must be hashable.

    Returns:
      A class decorator.
    """

    def decorate(cls: type[T]) -> type[T]:
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]  # T is a dataclass.
        static = tuple(name for name in names if name not in data)

        def flatten(value: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            return (
                tuple(getattr(value, name) for name in data),
                tuple(getattr(value, name) for name in static),
            )

        def flatten_with_keys(value: T) -> tuple[Any, Any]:
            children, aux = flatten(value)
            keys = [jax.tree_util.GetAttrKey(name) for name in data]
            return tuple(zip(keys, children, strict=True)), aux

        def unflatten(aux: Any, children: Any) -> T:
            value = object.__new__(cls)
            for name, field in zip((*data, *static), (*children, *aux), strict=True):
                object.__setattr__(value, name, field)
            return value

        jax.tree_util.register_pytree_with_keys(
            cls, flatten_with_keys, unflatten, flatten
        )
        return cls

    return decorate
