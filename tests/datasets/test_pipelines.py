import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relational.datasets import Piece, evaluation, training
from relational.datasets.serialisation import attributes, tokens_of, transposed


def _equal(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def _rows(batch):
    return [
        {name: batch[name][row] for name in batch} for row in range(len(batch["token"]))
    ]


def _batches(pieces, *, seed=0, transpose=3, window=32, batch_size=5):
    return training(
        pieces, window=window, batch_size=batch_size, transpose=transpose, seed=seed
    )


def test_batches_are_arrays_of_the_promised_types(pieces):
    batch = next(_batches(pieces))
    assert {name: (a.shape, str(a.dtype)) for name, a in batch.items()} == {
        "token": ((5, 32), "int32"),
        "previous": ((5, 32), "int32"),
        "voice": ((5, 32), "int32"),
        "beat": ((5, 32), "int32"),
        "onset": ((5, 32), "int32"),
        "pitch": ((5, 32), "int32"),
        "weight": ((5, 32), "float32"),
    }


def test_a_seed_decides_everything(pieces):
    one, same, other = (_batches(pieces, seed=seed) for seed in (1, 1, 2))
    differ = False
    for _ in range(5):
        batch = next(one)
        assert _equal(batch, next(same))
        differ |= not _equal(batch, next(other))
    assert differ


def test_a_restored_state_resumes_exactly(pieces):
    interrupted = _batches(pieces)
    for _ in range(7):
        next(interrupted)
    state = json.loads(json.dumps(interrupted.get_state()))
    resumed = _batches(pieces)
    resumed.set_state(state)
    for _ in range(5):
        assert _equal(next(interrupted), next(resumed))


def test_each_epoch_visits_every_piece_once_in_a_new_order(pieces):
    batches = _batches(pieces, window=200, transpose=0)  # A batch is an epoch.
    orders = []
    for _ in range(6):
        lengths = next(batches)["weight"].sum(axis=1).astype(int).tolist()
        assert sorted(lengths) == [40, 80, 120, 160, 200]
        orders.append(tuple(lengths))
    assert len(set(orders)) > 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 60))
def test_a_window_is_a_slice_of_a_transposed_piece(seed, transpose, num_steps):
    rng = np.random.default_rng(seed)
    pitch = rng.integers(40, 78, (40, 4)).astype(np.int32)
    beat = rng.integers(0, 16, 40).astype(np.int32)
    piece = Piece(pitch=pitch, beat=beat, index=0)
    batch = next(
        _batches([piece], seed=seed, transpose=transpose, window=4 * num_steps)
    )
    for row in _rows(batch):
        first, taken = int(row["onset"][0]), min(num_steps, 40)
        assert 0 <= first <= 40 - taken
        shift = int(row["token"][0] + 35 - pitch[first, 0])
        assert abs(shift) <= transpose
        tokens = transposed(tokens_of(pitch), shift)[4 * first : 4 * (first + taken)]
        expected = attributes(tokens, beat[first : first + taken], first_step=first)
        for name, values in expected.items():
            np.testing.assert_array_equal(row[name][: len(values)], values, name)
            assert (row[name][len(values) :] == (60 if name == "pitch" else 0)).all()


def test_transposition_reaches_both_ends_and_leaves_a_full_range_alone(pieces):
    full, free = pieces[3], pieces[0]
    free["pitch"][:] = 60
    for piece, expected in ((full, {0}), (free, {-2, -1, 0, 1, 2})):
        batches = _batches([piece], transpose=2, window=160)
        rows = [row for _ in range(20) for row in _rows(next(batches))]
        original = tokens_of(piece["pitch"])[:160]
        sounds = original.nonzero()[0][0]
        shifts = {int(row["token"][sounds] - original[sounds]) for row in rows}
        assert shifts == expected


def test_random_windows_begin_everywhere(pieces):
    batches = _batches(pieces[1:2], window=40)  # 20 steps, 10 of them in the window.
    firsts = [int(row["onset"][0]) for _ in range(40) for row in _rows(next(batches))]
    assert set(firsts) == set(range(11))


def test_a_batch_may_be_one_window(pieces):
    assert next(_batches(pieces, batch_size=1))["token"].shape == (1, 32)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.integers(1, 12),
    st.integers(0, 11),
    st.integers(1, 5),
)
def test_evaluation_weighs_every_token_once(lengths, window, overlap, batch_size):
    overlap = min(overlap, window - 1)
    pieces = [
        Piece(
            pitch=np.full((length, 4), 40 + length, np.int32),
            beat=np.arange(length, dtype=np.int32),
            index=7,
        )
        for length in lengths
    ]
    seen = [np.zeros((length, 4), int) for length in lengths]
    batches = evaluation(
        pieces, window=4 * window, batch_size=batch_size, overlap=4 * overlap
    )
    for batch in batches:
        assert batch["token"].shape == (batch_size, 4 * window)
        assert batch["piece"].shape == (batch_size,)
        for row in _rows(batch):
            scored = row["weight"] == 1
            if row["piece"] < 0:
                assert not row["weight"].any()
                continue
            assert scored.any()  # No window is all context.
            assert set(row["token"][scored].tolist()) <= {lengths[row["piece"]] + 5}
            np.add.at(
                seen[row["piece"]], (row["onset"][scored], row["voice"][scored]), 1
            )
            if row["onset"][0] > 0:
                assert (row["weight"][: 4 * overlap] == 0).all()
    assert all((counts == 1).all() for counts in seen)


def test_evaluation_is_finite_repeatable_and_has_a_length(pieces):
    batches = evaluation(pieces, window=40, batch_size=4)  # 1 + 2 + ... + 5 windows.
    assert len(batches) == 4
    first, second = list(batches), list(batches)
    assert len(first) == 4
    assert all(_equal(one, other) for one, other in zip(first, second, strict=True))
    assert first[-1]["piece"].tolist() == [4, 4, 4, -1]


def test_evaluation_windows_begin_afresh_where_the_piece_stands(pieces):
    (batch,) = evaluation(pieces[1:2], window=40, batch_size=2)
    assert batch["previous"][:, 0].tolist() == [47, 47]
    assert batch["onset"][:, 0].tolist() == [0, 10]
    assert batch["beat"][:, 0].tolist() == [12, 6]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"window": 30}, "`window` must be a multiple of 4.*got 30.*nearest"),
        ({"window": 0}, "`window` must be 4 or more; got 0"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more; got 0"),
        ({"transpose": -1}, "`transpose` must be 0 or more; got -1"),
        ({"seed": -1}, "`seed` must be 0 to 4294967295; got -1"),
        ({"pieces": []}, "`pieces` must hold at least one piece"),
    ],
)
def test_wrong_arguments_of_training_are_named(pieces, wrong, words):
    right = {"pieces": pieces, "window": 32, "batch_size": 2, "transpose": 0, "seed": 0}
    arguments = {**right, **wrong}
    with pytest.raises(ValueError, match=words):
        training(arguments.pop("pieces"), **arguments)


@pytest.mark.parametrize(
    ("overlap", "words"),
    [
        (32, "`overlap` must be smaller than `window`, 32; got 32"),
        (6, "`overlap` must be a multiple of 4"),
        (-4, "`overlap` must be a multiple of 4.*got -4"),
    ],
)
def test_wrong_overlaps_are_refused(pieces, overlap, words):
    with pytest.raises(ValueError, match=words):
        evaluation(pieces, window=32, batch_size=2, overlap=overlap)


def test_a_piece_with_too_few_beats_is_named(pieces):
    pieces[2]["beat"] = pieces[2]["beat"][:-1]
    with pytest.raises(
        ValueError, match=r"30 steps and beats of shape \[29\].*piece 2"
    ):
        _batches(pieces)
