"""A claim: something that is wrong with a spec, and which places it was concluded from."""

import dataclasses
from collections.abc import Iterable, Iterator

from relational.specs.problems import Place, Problem, dotted, shortened, suggestion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """Something that is wrong, if the places that it rests on were read rightly."""

    place: Place
    message: str
    rests_on: tuple[Place, ...] = ()

    @property
    def problem(self) -> Problem:
        """The claim as it is told."""
        return Problem(path=dotted(self.place), message=self.message)


def known_claims(
    name: str, kind: str, place: Place, known: Iterable[str], *rests_on: Place
) -> Iterator[Claim]:
    """Yields a claim if `name`, which stands at `place`, is not known."""
    names = tuple(known)
    if name not in names:
        yield Claim(
            place=place,
            message=f"`{shortened(name)}` is no {kind}. {suggestion(name, names)}",
            rests_on=rests_on,
        )
