"""Subwords: text comes back as it was, and equal corpora give equal vocabularies."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from relational.datasets import Subwords, learn_subwords, subwords
from tests.datasets.texts import sentences

CORPUS = [line for side in sentences() for line in side]
LEARNED = {
    kind: learn_subwords(CORPUS, vocabulary=310, kind=kind)
    for kind in ("bpe", "unigram")
}
TEXT = strategies.text(
    strategies.characters(exclude_categories=["Cs"], exclude_characters="\u2581")
)


@pytest.mark.parametrize("kind", list(LEARNED))
@hypothesis.given(text=TEXT | strategies.sampled_from(CORPUS))
@hypothesis.example(text="  two  spaces, a tab\t, a line\r\n and \x00 ")
@hypothesis.example(text="</s><unk><pad><0x41>")
@hypothesis.example(text="e\u0301 is not \u00e9, \ufb01 is not fi, \u2028")
def test_any_text_comes_back_as_it_was(kind, text):
    words = LEARNED[kind]
    tokens = words.encode(text)
    assert words.decode(tokens) == text
    assert not {subwords.PAD, subwords.EOS, subwords.UNKNOWN} & set(tokens)
    assert all(0 <= token < words.size for token in tokens)


def test_what_writes_a_space_inside_comes_back_as_one():
    assert LEARNED["bpe"].decode(LEARNED["bpe"].encode("a\u2581b")) == "a b"


@pytest.mark.parametrize("kind", list(LEARNED))
def test_equal_corpora_give_equal_vocabularies(kind):
    again = learn_subwords(iter(CORPUS), vocabulary=310, kind=kind)
    assert again == LEARNED[kind]
    assert again.digest == LEARNED[kind].digest
    assert again.size == 310
    other = learn_subwords(CORPUS[1:], vocabulary=310, kind=kind)
    assert other.digest != again.digest


def test_many_lines_are_those_lines_one_by_one_with_an_end():
    words = LEARNED["bpe"]
    lines = [*CORPUS[:5], "", "\u2603"]
    together = words.encode_all(lines)
    assert [tokens.tolist() for tokens in map(together.__getitem__, range(7))] == [
        [*words.encode(line), subwords.EOS] for line in lines
    ]


def test_ends_and_padding_say_nothing_and_broken_bytes_are_marked():
    words = LEARNED["bpe"]
    tokens = words.encode(CORPUS[0])
    padded = np.array([*tokens, 1, 0, 0], np.int32)
    assert words.decode(padded) == CORPUS[0]
    byte = words.encode("\u2603")[1]  # The first of three bytes.
    assert "\ufffd" in words.decode([byte])
    assert words.pieces(words.encode("\u2603"))[1:] == ["<0xE2>", "<0x98>", "<0x83>"]


def test_a_vocabulary_is_learned_once_and_kept(tmp_path, monkeypatch):
    first = subwords.kept_subwords(CORPUS, vocabulary=300, cache=tmp_path)
    [kept] = (tmp_path / "subwords").iterdir()
    assert kept.read_bytes() == first.model
    monkeypatch.setattr(subwords, "learn_subwords", None)  # It is not asked again.
    assert subwords.kept_subwords(CORPUS, vocabulary=300, cache=tmp_path) == first
    kept.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"cannot be read. Delete the file"):
        subwords.kept_subwords(CORPUS, vocabulary=300, cache=tmp_path)


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        (["a dog"], {"vocabulary": 8000}, r"must be at most \d+, the pieces that"),
        (CORPUS, {"vocabulary": 262}, r"must be at least 2\d\d, since every letter"),
        (CORPUS, {"vocabulary": 100}, "`vocabulary` must be 261 or more; got 100"),
        (CORPUS, {"vocabulary": 300, "kind": "word"}, "'bpe' or 'unigram'; got 'word'"),
        ([], {"vocabulary": 300}, "`lines` must hold some text; got none"),
        (["", " "], {"vocabulary": 300}, "`lines` must hold some text; got none"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(lines, options, words):
    with pytest.raises(ValueError, match=words):
        learn_subwords(lines, **options)


def test_bytes_and_tokens_of_something_else_are_refused():
    with pytest.raises(
        ValueError, match="must be a model of SentencePiece; got 5 bytes"
    ):
        Subwords(b"hello")
    with pytest.raises(ValueError, match="`tokens` must be 0 to 309; got 310"):
        LEARNED["bpe"].decode([5, 310])


def test_a_model_whose_ends_are_elsewhere_is_refused():
    import io

    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        vocab_size=60,
        minloglevel=2,
    )
    with pytest.raises(
        ValueError, match=r"must have <pad>, </s>, <unk> as its tokens 0"
    ):
        Subwords(written.getvalue())
