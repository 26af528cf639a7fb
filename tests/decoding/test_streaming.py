"""Streaming: the tokens that come are those that come all at once."""

import numpy as np
import pytest

from relational.decoding import (
    GREEDY,
    Beam,
    Sampling,
    stream,
    stream_translation,
    translate,
)
from tests.decoding.test_generate import MODEL, PRIME, START, TABLE, _generate, _nodes
from tests.decoding.test_translate import EXTRA, LENGTH, SOURCE, made


@pytest.mark.parametrize("every", [1, 5, 100])
def test_the_tokens_of_a_piece_come_as_they_are_drawn(every: int, num_compiled) -> None:
    how = Sampling(temperature=0.7, top_k=4)
    arguments = {"prime": PRIME, "length": 12, "nodes": _nodes, "state": ()}
    arguments |= {"forbidden": (START,), "seed": 3, "how": how}
    whole = _generate(**arguments).tokens
    num_compiled()
    came = list(stream(MODEL, TABLE.astype(np.float32), **arguments, every=every))
    assert num_compiled() == 0
    assert [part.shape[1] for part in came[:-1]] == [every] * (-(-12 // every) - 1)
    assert np.concatenate([PRIME, *came], axis=1).tolist() == whole.tolist()


@pytest.mark.parametrize("how", [GREEDY, Sampling(top_k=5), Beam(size=3, num_best=2)])
def test_a_target_grows_to_what_is_found_at_once(how, num_compiled) -> None:
    model, params, _ = made("absolute")
    arguments = {"how": how, "extra_length": EXTRA, "seed": 2}
    whole = translate(model, params, SOURCE, LENGTH, **arguments)
    num_compiled()
    came = list(stream_translation(model, params, SOURCE, LENGTH, **arguments))
    assert num_compiled() == 0
    last = [tokens.tolist() for tokens in came[-1]]
    assert last == [best[0].tolist() if best else [] for best in whole.tokens]
    for row, target in enumerate(last):
        grown = [each[row].tolist() for each in came]
        assert all(tokens == target[: len(tokens)] for tokens in grown)
        assert sorted(map(len, grown)) == list(map(len, grown))
    # Something is shown before all is there.
    assert max(map(len, came[len(came) // 2])) > 0


def test_what_cannot_be_streamed_is_refused_at_once() -> None:
    model, params, _ = made("absolute")
    with pytest.raises(ValueError, match="`every` must be 1 or more; got 0"):
        stream_translation(model, params, SOURCE, LENGTH, every=0)
    with pytest.raises(ValueError, match="`seed` must be 0 to 4294967295; got -1"):
        stream_translation(model, params, SOURCE, LENGTH, seed=-1)
    with pytest.raises(ValueError, match="`length` must be 1 or more; got 0"):
        stream(MODEL, TABLE, prime=PRIME, length=0, nodes=_nodes, state=())
