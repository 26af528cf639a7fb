"""Checks that many constructors and calls share, in the words of all our errors.

Each names the argument, what must hold, what came, and what to do.
"""

from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

_MOST_SEED = 2**32 - 1


def check_count(name: str, value: object, *, least: int, advice: str) -> None:
    """Raises a ValueError unless `value` is a whole number of at least `least`.

    >>> check_count("Band.before", 1.5, least=0, advice="It counts nodes.")
    Traceback (most recent call last):
    ...
    ValueError: `Band.before` must be a whole number; got 1.5. It counts nodes.
    """
    if not is_whole(value):
        raise ValueError(
            f"`{name}` must be a whole number; got {shown(value)}. {advice}"
        )
    if value < least:
        raise ValueError(f"`{name}` must be {least} or more; got {value}. {advice}")


def check_seed(name: str, value: object, advice: str = "It is a whole number.") -> None:
    """Raises a ValueError unless `value` is a seed: of 32 bits, which is Grain's bound.

    >>> check_seed("seed", -1)
    Traceback (most recent call last):
    ...
    ValueError: `seed` must be 0 to 4294967295; got -1. It is a whole number.
    """
    if not is_whole(value) or not 0 <= value <= _MOST_SEED:
        raise ValueError(
            f"`{name}` must be 0 to {_MOST_SEED}; got {shown(value)}. {advice}"
        )


def check_tokens(name: str, tokens: np.ndarray, vocabulary: int) -> None:
    """Raises a ValueError unless all of an array are tokens of a vocabulary.

    >>> check_tokens("prime", np.array([[3, 7]]), 7)
    Traceback (most recent call last):
    ...
    ValueError: `prime` must hold tokens from 0 to 6; got 3 to 7. The model's vocabulary \
is another.
    """
    if tokens.size and (tokens.min() < 0 or tokens.max() >= vocabulary):
        raise ValueError(
            f"`{name}` must hold tokens from 0 to {vocabulary - 1}; got {tokens.min()} to "
            f"{tokens.max()}. The model's vocabulary is another."
        )


def is_whole(value: object) -> TypeGuard[int | np.integer]:
    """Says whether a value is a whole number of Python or NumPy, and no boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_array(name: str, leaf: Any, advice: str) -> None:
    """Raises a ValueError unless a leaf is an array, or a number, that JAX can hold."""
    try:
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        is_held = jnp.issubdtype(dtype, np.number) or jnp.issubdtype(dtype, np.bool_)
        is_held = is_held or jnp.issubdtype(dtype, jax.dtypes.prng_key)
    except (TypeError, ValueError):
        is_held = False
    if not is_held:
        raise ValueError(f"`{name}` must be an array; got {shown(leaf)}. {advice}")


def shown(value: object) -> str:
    """Returns a value as an error repeats it: in one line, shortened.

    >>> shown("a"), shown(3), shown([0.5] * 1000), shown(np.zeros((2, 3)))
    ("'a'", '3', 'a list', 'an array of float64 [2, 3]')
    """
    if isinstance(value, jax.Array | np.ndarray):
        return f"an array of {value.dtype} {list(value.shape)}"
    text = repr(value)
    if len(text) <= 60 and text.isprintable():
        return text
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises a ValueError unless a value is one of those known."""
    if value not in known:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, known))}; got "
            f"{shown(value)}."
        )
