"""How good translations are, beside those of people: BLEU and chrF, by sacreBLEU.

Both compare whole texts as they are read: detokenised, with their capitals. A figure says
little without its signature, by which others can compute the same.
"""

import dataclasses
from collections.abc import Sequence

from relational._checks import shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """A figure of a whole text.

    >>> print(Score(name="BLEU", value=38.125, signature="nrefs:1|case:mixed"))
    BLEU 38.12 (nrefs:1|case:mixed)
    """

    name: str
    """`BLEU` or `chrF2`."""

    value: float
    """From 0 to 100."""

    signature: str
    """How it was computed, in sacreBLEU's words."""

    def __str__(self) -> str:
        return f"{self.name} {self.value:.2f} ({self.signature})"


def scores_of(
    translations: Sequence[str],
    references: Sequence[str],
    *,
    language: str | None = None,
) -> tuple[Score, Score]:
    """Returns BLEU and chrF of translations against one reference each.

    BLEU is the geometric mean of the precisions of 1 to 4 words in a row, times a penalty
    for being short; words are cut as WMT does (`13a`), or as the language asks. chrF is
    the F-score of 1 to 6 letters in a row, in which recall counts twice.

    These are figures of what a model said by itself. What it says when it is told the
    true words so far has no such figure.

    Args:
        translations: one line a sentence, detokenised, as a person would read it.
        references: what a person wrote, line by line.
        language: of the translations, such as `"de"`; Chinese, Japanese and Korean
            (`"zh"`, `"ja"`, `"ko"`) are cut in their own ways.

    Raises:
        ValueError: if there are none, or not equally many.
        TypeError: if one is a text and no list.
        ImportError: if sacreBLEU is absent (the extra `text`).

    >>> bleu, chrf = scores_of(["the cat sat on the mat"], ["the cat sat on a mat"])
    >>> f"{bleu.name} {bleu.value:.2f}, {chrf.name} {chrf.value:.2f}"
    'BLEU 53.73, chrF2 72.08'
    >>> bleu.signature.rsplit("|", 1)[0]
    'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp'

    References: K. Papineni et al., BLEU: a method for automatic evaluation of machine
    translation, ACL 2002; M. Popović, chrF, WMT 2015; M. Post, A call for clarity in
    reporting BLEU scores, WMT 2018.
    """
    for name, lines in (("translations", translations), ("references", references)):
        if isinstance(lines, str):
            raise TypeError(
                f"`{name}` must be a list of lines; got {shown(lines)}, which is one."
            )
    if not len(translations) or len(translations) != len(references):
        raise ValueError(
            "`translations` and `references` must be equally many lines, one or more; "
            f"got {len(translations)} and {len(references)}."
        )
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise ImportError(
            "BLEU and chrF need the package sacrebleu: `pip install "
            "'relational-nets[text]'`."
        ) from error
    found = []
    for metric in (BLEU(trg_lang=language or ""), CHRF()):
        score = metric.corpus_score(list(translations), [list(references)])
        signature = metric.get_signature().format()
        found.append(
            Score(name=score.name, value=float(score.score), signature=signature)
        )
    return found[0], found[1]
