"""The kinds of value that the fields of specs hold, with their bounds.

Numbers are strict: a text that looks like a number, or `true` for 1, is refused.
"""

from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeAlias, TypeVar

from pydantic import AfterValidator, ConfigDict, Field

CONFIG = ConfigDict(
    extra="forbid",  # An unused field is an error.
    use_attribute_docstrings=True,  # They become the JSON Schema's descriptions.
    validate_by_name=True,
    validate_by_alias=True,
    allow_inf_nan=False,
)
"""What every spec class is configured with."""

_LARGEST = 2**31 - 1  # Sizes and counts fit an int32, as jax has them.

Count: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=_LARGEST)]
"""A whole number of at least 1."""

Reach: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=_LARGEST)]
"""A whole number of at least 0."""

Probability: TypeAlias = Annotated[float, Field(strict=True, ge=0, lt=1)]
"""A number from 0 to below 1."""

Amount: TypeAlias = Annotated[float, Field(strict=True, ge=0)]
"""A number of at least 0."""

Rate: TypeAlias = Annotated[float, Field(strict=True, gt=0)]
"""A number above 0."""

Flag: TypeAlias = Annotated[bool, Field(strict=True)]
"""`true` or `false`."""

Name: TypeAlias = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64, examples=["name"])
]
"""A name that the spec gives: a small letter, then small letters, digits and `_`."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class FrozenDict(dict[Key, Value]):
    """A dictionary that can be hashed and not be changed."""

    def __hash__(self) -> int:  # type: ignore[override]  # dict says None: unhashable.
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        del args, kwargs
        raise TypeError(
            "a spec's mapping cannot be changed; make a new spec with "
            "`dataclasses.replace` or `override`."
        )

    __setitem__: Callable[..., NoReturn] = _refuse
    __delitem__: Callable[..., NoReturn] = _refuse
    __ior__: Callable[..., NoReturn] = _refuse
    clear: Callable[..., NoReturn] = _refuse
    pop: Callable[..., NoReturn] = _refuse
    popitem: Callable[..., NoReturn] = _refuse
    setdefault: Callable[..., NoReturn] = _refuse
    update: Callable[..., NoReturn] = _refuse


Named: TypeAlias = Annotated[dict[Name, Value], AfterValidator(FrozenDict)]
"""A mapping from names that the spec gives to values of one type."""
