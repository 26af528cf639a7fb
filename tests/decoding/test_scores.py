"""BLEU and chrF are sacreBLEU's, of whole lines as they are read."""

import math

import pytest

from relational.decoding import scores_of


def test_bleu_is_the_geometric_mean_of_precisions_by_hand():
    # Words in a row that are right: 5 of 6, 3 of 5, 2 of 4, 1 of 3; equally long.
    bleu, _ = scores_of(["the cat sat on the mat"], ["the cat sat on a mat"])
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert bleu.value == pytest.approx(100 * expected)
    # One word short: a penalty of exp(1 - 6 / 5); 4 of 5, 3 of 4, 2 of 3, 1 of 2.
    bleu, _ = scores_of(["the cat sat on mat"], ["the cat sat on a mat"])
    expected = (5 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4) * math.exp(1 - 6 / 5)
    assert bleu.value == pytest.approx(100 * expected)


def test_what_is_equal_scores_100_and_capitals_count():
    lines = ["Ein Hund rennt, schnell.", "Zwei Vögel singen am Fluss."]
    bleu, chrf = scores_of(lines, lines)
    assert (bleu.value, chrf.value) == (pytest.approx(100), pytest.approx(100))
    lower = [line.lower() for line in lines]
    assert all(score.value < 90 for score in scores_of(lower, lines))


def test_a_signature_says_how_and_a_language_cuts_in_its_way():
    bleu, chrf = scores_of(["一只狗在跑步"], ["一只狗在跑"], language="zh")
    assert "|tok:zh|" in bleu.signature
    assert bleu.value > 50
    assert chrf.signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|")
    assert str(bleu) == f"BLEU {bleu.value:.2f} ({bleu.signature})"
    german, _ = scores_of(["ja"], ["ja"], language="de")
    assert "|tok:13a|" in german.signature


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([], []), ValueError, "one or more; got 0 and 0"),
        ((["a"], ["a", "b"]), ValueError, "must be equally many lines.* got 1 and 2"),
        (("a", ["a"]), TypeError, "`translations` must be a list of lines; got 'a'"),
    ],
)
def test_lines_that_cannot_be_compared_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        scores_of(*arguments)
