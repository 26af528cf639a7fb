"""Decoding: a model's next tokens, one after the other, and how good they are."""

from relational.decoding.beam import Beam as Beam
from relational.decoding.beam import Hypotheses as Hypotheses
from relational.decoding.beam import beam_search as beam_search
from relational.decoding.beam import length_penalty as length_penalty
from relational.decoding.chorales import Composed as Composed
from relational.decoding.chorales import compose as compose
from relational.decoding.continued import ContinuedFile as ContinuedFile
from relational.decoding.continued import continued as continued
from relational.decoding.generate import Generated as Generated
from relational.decoding.generate import generate as generate
from relational.decoding.sampling import Sampling as Sampling
from relational.decoding.sampling import draw as draw
from relational.decoding.sampling import keep_min_p as keep_min_p
from relational.decoding.sampling import keep_top_k as keep_top_k
from relational.decoding.sampling import keep_top_p as keep_top_p
from relational.decoding.sampling import tempered as tempered
from relational.decoding.sampling import without as without
from relational.decoding.scores import Score as Score
from relational.decoding.scores import scores_of as scores_of
from relational.decoding.translate import GREEDY as GREEDY
from relational.decoding.translate import Scored as Scored
from relational.decoding.translate import Translations as Translations
from relational.decoding.translate import score as score
from relational.decoding.translate import translate as translate
