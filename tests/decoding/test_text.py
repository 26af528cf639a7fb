"""Text that is continued: words as they come, lines apart, and what the model was given."""

import jax
import numpy as np
import pytest

from relational import specs
from relational.datasets import learn_subwords
from relational.decoding import Sampling, continue_text
from relational.models.tasks import NextToken
from tests.datasets.texts import sentences

ENGLISH, _ = sentences()
SUBWORDS = learn_subwords(ENGLISH, vocabulary=300)
SPEC = """
name: text
model:
  nodes: {token: {vocabulary: 300, width: 16, positions: sinusoid}}
  edges: {self: {from: token, to: token, topology: causal}}
  blocks: [{attention: {over: self, heads: 2}, feed_forward: {width: 32}}]
  read_out: {node: token, tied: false}
data:
  plain_text: {train: [any.txt], validation: [any.txt], vocabulary: 300, window: 32}
training: {steps: 1, batch_size: 1}
"""
BEGINNING = f"{ENGLISH[0]}\na"


@pytest.fixture(scope="module")
def model():
    """A task, its parameters, and what it says after tokens, in one parallel pass."""
    task = NextToken(specs.loads(SPEC, "text").model)
    params = task.init(jax.random.key(1), {"previous": np.zeros([1, 2], np.int32)})
    apply = jax.jit(
        lambda previous: task.model.apply(
            params, None, task.inputs({"previous": previous}), is_training=False
        )
    )
    return task, params, apply


def _likeliest(apply, length):
    """The text after `BEGINNING`, token by token, from parallel passes."""
    first, second = BEGINNING.split("\n")
    tokens = [*SUBWORDS.encode(first), 1, *SUBWORDS.encode(second)]
    num_given = len(tokens)
    for _ in range(length):
        before = np.zeros([1, 96], np.int32)
        before[0, 1 : len(tokens) + 1] = tokens
        logits = np.array(apply(before))[0, len(tokens)]
        logits[[0, 2]] = -np.inf  # Padding, and what is never read.
        tokens.append(int(logits.argmax()))
    lines, text = [[]], tokens[num_given - len(SUBWORDS.encode(second)) :]
    for token in text:
        lines += [[]] if token == 1 else []
        lines[-1] += [] if token == 1 else [token]
    return "\n".join(map(SUBWORDS.decode, lines))[len(second) :]


def test_a_text_goes_on_with_the_likeliest_tokens(model):
    task, params, apply = model
    arguments = {"beginning": BEGINNING, "length": 30}
    cold = Sampling(temperature=0.0)
    came = list(continue_text(task, params, SUBWORDS, **arguments, how=cold))
    assert "".join(came) == _likeliest(apply, 30)
    assert all(word.endswith((" ", "\n")) for word in came[:-1])


def test_what_is_drawn_follows_from_the_seed(model):
    task, params, _ = model

    def drawn(seed):
        return "".join(continue_text(task, params, SUBWORDS, length=30, seed=seed))

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    with pytest.raises(ValueError, match="`length` must be 1 or more; got 0"):
        continue_text(task, params, SUBWORDS, length=0)
