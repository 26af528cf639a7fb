"""Made-up sentences in two languages, for tests that need some text."""

import itertools

WORDS = {
    "a dog": "ein Hund",
    "a cat": "eine Katze",
    "two birds": "zwei Vögel",
    "the child": "das Kind",
    "an old man": "ein alter Mann",
}
VERBS = {"runs": "rennt", "sleeps": "schläft", "sings": "singt", "waits": "wartet"}
PLACES = {"": "", " here": " hier", " at the wide river": " am breiten Fluss"}


def sentences():
    """Returns sixty pairs: two lists of lines."""
    english, german = [], []
    for (one, eins), (two, zwei), (three, drei) in itertools.product(
        WORDS.items(), VERBS.items(), PLACES.items()
    ):
        english.append(f"{one} {two}{three}.")
        german.append(f"{eins} {zwei}{drei}.")
    return english, german
