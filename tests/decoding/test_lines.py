"""Lines in, lines out: in their order, whatever batches they went through."""

import dataclasses

import numpy as np
import pytest

from relational.datasets import learn_subwords
from relational.decoding.continued import continued
from relational.decoding.lines import (
    BATCHES_IN_CHUNK,
    LineTranslator,
    filled_length,
    translate_into,
)
from tests.datasets.texts import sentences

ENGLISH, GERMAN = sentences()
SUBWORDS = learn_subwords([*ENGLISH, *GERMAN], vocabulary=300)


@dataclasses.dataclass
class Turned:
    """A model that says each source backwards, and then as it is; it keeps its calls."""

    calls: list = dataclasses.field(default_factory=list)
    newline: bool = False

    def __call__(self, source, lengths, numbers):
        self.calls.append((source.copy(), lengths.copy(), numbers))
        rows = [row[: length - 1] for row, length in zip(source, lengths, strict=True)]
        end = SUBWORDS.encode("\n") if self.newline else []
        found = [[[*row[::-1], *end], row] for row in rows]
        scores = [[-1.0, -float(len(row))] for row in rows]
        return type("Found", (), {"tokens": found, "scores": scores})


def turned(line):
    return SUBWORDS.decode(SUBWORDS.encode(line)[::-1])


def translator(model, **options):
    return LineTranslator(subwords=SUBWORDS, decode=model, batch_size=4, **options)


LINES = [ENGLISH[0], "", *ENGLISH[1:9], "   ", " ".join(ENGLISH[:3]), *GERMAN[:5]]


def test_translations_come_in_the_order_of_their_lines():
    model = Turned()
    found = translator(model, num_best=2).chunk(LINES, number=3)
    for line, best in zip(LINES, found, strict=True):
        expected = [turned(line), line] if line.strip() else ["", ""]
        assert [each.text for each in best] == expected
    one = translator(model).chunk(LINES)
    assert [best[0] for best in one] == [best[0] for best in found]
    assert all(len(best) == 1 for best in one)
    # Batches have one size, few lengths, and numbers of their own; no row is empty.
    assert [numbers for *_, numbers in model.calls[:4]] == [(3, n) for n in range(4)]
    for source, lengths, _ in model.calls:
        assert source.shape == (4, filled_length(int(lengths.max())))
        assert lengths.min() > 1
        assert (source[np.arange(4), lengths - 1] == 1).all()
    longest = [int(lengths.max()) for _, lengths, _ in model.calls[:4]]
    assert longest == sorted(longest)


def test_a_newline_that_a_model_says_does_not_break_the_line():
    [[best]] = translator(Turned(newline=True)).chunk([ENGLISH[0]])
    assert "\n" not in best.text
    assert best.text.endswith(" ")


def test_a_line_that_is_no_sentence_is_told_by_its_number():
    lines = [ENGLISH[0], "x y " * 3000]
    with pytest.raises(ValueError, match=r"^line 12 must have at most 4096 subwords"):
        translator(Turned()).chunk(lines, first_line=11)


def test_batches_of_long_lines_have_fewer_so_that_memory_is_bounded():
    lines = [*ENGLISH[:5], *(" ".join(ENGLISH[:count]) for count in (30, 33, 60, 40))]
    model = Turned()
    found = translator(model).chunk(lines)
    assert [best.text for [best] in found] == [turned(line) for line in lines]
    sizes = [source.shape for source, *_ in model.calls]
    assert max(length for _, length in sizes) > 4 * 128
    assert all(rows == 1 or rows * length <= 4 * 128 for rows, length in sizes)
    assert len({numbers for *_, numbers in model.calls}) == len(sizes)


class _Killed(Exception):
    """What stops a process in the middle."""


@dataclasses.dataclass
class Dying(Turned):
    """A model that dies at a call."""

    last: int = 0

    def __call__(self, source, lengths, numbers):
        if len(self.calls) == self.last:
            raise _Killed
        return super().__call__(source, lengths, numbers)


@pytest.mark.parametrize("num_best", [1, 2])
def test_a_killed_translation_goes_on_with_the_same_batches(tmp_path, num_best):
    lines = [*ENGLISH, *GERMAN, *LINES] * 2
    assert len(lines) > 3 * 4 * BATCHES_IN_CHUNK

    def run(path, model):
        with continued(path, {}, lines_in_group=num_best) as file:
            whole = translator(model, num_best=num_best)
            for _ in translate_into(
                file, lines, whole, lambda each, n: f"{n} {each.text}"
            ):
                pass

    undisturbed = Turned()
    run(tmp_path / "whole", undisturbed)
    whole = (tmp_path / "whole").read_text("utf-8").split("\n")[:-1]
    assert [int(line.split()[0]) for line in whole] == [
        number for number in range(1, len(lines) + 1) for _ in range(num_best)
    ]
    path, calls = tmp_path / "killed", []
    for last, torn in ((20, b""), (3, b"137 torn"), (0, b""), (18, b"")):
        model = Dying(last=last)
        with pytest.raises(_Killed):
            run(path, model)
        calls += model.calls
        with path.open("ab") as file:
            file.write(torn)
    last = Turned()
    run(path, last)
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    made = {numbers: source for source, _, numbers in undisturbed.calls}
    for source, _, numbers in [*calls, *last.calls]:
        np.testing.assert_array_equal(source, made[numbers])
    assert last.calls[0][2][0] >= 1  # What was done is not done again.
    again = Turned()
    run(path, again)
    assert again.calls == []


def test_words_come_as_they_are_certain_and_are_those_of_the_whole_line():
    def stream(source, lengths, numbers):
        ((target, _),) = model(source, lengths, numbers).tokens
        for end in range(len(target) + 1):
            yield [target[:end]]

    model = Turned()
    one = dataclasses.replace(translator(model, stream=stream), batch_size=1)
    for line in (ENGLISH[0], GERMAN[3], "x", "", "  "):
        ((whole,),) = one.chunk([line], number=2)
        words = list(one.words(line, number=2))
        assert "".join(words) == whole.text
        assert all(word.count(" ") == 1 for word in words[:-1])  # One at a time.
        assert all(word.endswith(" ") for word in words[:-1])
    assert model.calls[-1][2] == (2, 0)
    with pytest.raises(ValueError, match="line 3 must have at most 4096 subwords"):
        list(one.words("x " * 5000, number=2))
