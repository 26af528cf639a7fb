"""Combinations of choices, few of them, in which every two choices meet."""

import itertools


def pairs_of(case):
    """Returns all pairs of choices of a combination."""
    return set(itertools.combinations(sorted(case.items()), 2))


def covering(options):
    """Returns combinations, each a choice of every option, that cover all pairs.

    Greedy: each takes as many pairs as it can that no other has.

    >>> len(covering({"a": "xy", "b": "xy", "c": "xy"}))
    4
    """
    every = [
        dict(zip(options, choices, strict=True))
        for choices in itertools.product(*options.values())
    ]
    missing = set().union(*map(pairs_of, every))
    found = []
    while missing:
        found.append(max(every, key=lambda case: len(pairs_of(case) & missing)))
        missing -= pairs_of(found[-1])
    return found
