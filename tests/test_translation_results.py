"""The scripts behind the results of `docs/translation.md` do what the page says."""

import pathlib

import jax
import numpy as np
import pytest

from benchmarks import kept, packing, translation
from relational import models, specs

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "translation"
OFFSETS = [
    f"model.edges.{name}.relations.offset.clip="
    for name in ("source_self", "target_self")
]


def clipped(at, *settings):
    whole = specs.load("multi30k_relative")
    return specs.override(whole, [*(f"{each}{at}" for each in OFFSETS), *settings])


def test_the_page_has_the_tables_of_what_was_kept():
    page = (ROOT / "docs" / "translation.md").read_text("utf-8").splitlines()
    rows = kept.rows(RESULTS / "runs.jsonl")
    assert {"multi30k_absolute", "multi30k_relative"} <= {row["spec"] for row in rows}
    for line in translation.table(rows).splitlines():
        assert line in page


def test_every_kept_run_has_its_curve():
    for row in kept.rows(RESULTS / "runs.jsonl"):
        steps, nats = zip(*translation.curve_of(RESULTS, row), strict=True)
        assert steps[-1] == row["steps"]
        assert abs(nats[-1] - row["last_nats"]) < 1e-3


def test_a_run_is_told_by_its_spec(tmp_path):
    spec = clipped(4, "training.seed=2", "data.multi30k.target=fr")
    (tmp_path / "spec.yaml").write_text(specs.dumps(spec), "utf-8")
    assert translation.described(tmp_path) == {
        "spec": "multi30k_relative",
        "target": "fr",
        "steps": 6000,
        "clip": 4,
        "seed": 2,
    }


def test_seeds_of_one_spec_share_a_line():
    row = {
        "spec": "a",
        "target": "de",
        "steps": 10,
        "clip": None,
        "nats": 2.0,
        "bleu": {"test_2016_flickr": 30.0},
    }
    other = {**row, "nats": 2.2, "bleu": {"test_2016_flickr": 31.0}}
    lines = translation.table([row, other, {**row, "clip": 0}]).splitlines()
    assert lines[2:] == [
        "| `a` | de | 10 |  | 2 | 2.100 ± 0.141 | 30.5 ± 0.7 |  |  |",
        "| `a` | de | 10 | 0 | 1 | 2.000 | 30.0 |  |  |",
    ]


@pytest.mark.parametrize(("clip", "is_heard"), [(0, False), (1, True)])
def test_clipped_at_nothing_the_order_of_a_source_cannot_be_heard(clip, is_heard):
    tiny = [f"model.blocks[{index}].repeat=1" for index in (0, 1)]
    model = models.build(clipped(clip, *tiny).model)
    source = np.array([[7, 9, 11, 13, 15, 1]])
    target = {"token": np.array([[0, 8, 5]])}

    def inputs(order):
        return {"source": {"token": source[:, order]}, "target": target}

    params = jax.jit(model.init)(jax.random.key(0), inputs([0, 1, 2, 3, 4, 5]))
    apply = jax.jit(lambda given: model.apply(params, None, given, is_training=False))
    first, turned = apply(inputs([0, 1, 2, 3, 4, 5])), apply(inputs([3, 1, 0, 4, 2, 5]))
    assert np.allclose(first, turned, atol=1e-4) == (not is_heard)


def test_packed_pairs_lie_behind_each_other_and_none_is_lost():
    rng = np.random.default_rng(0)
    pairs = [
        tuple(rng.integers(2, 99, size=size).astype(np.int32) for size in sizes)
        for sizes in rng.integers(1, 9, size=[40, 2])
    ]
    found = []
    for batch in packing.packed(pairs, length=16, rows=4):
        assert batch["source"].shape == batch["target"].shape == (4, 16)
        for row in range(4):
            for number in range(1, int(batch["source_segment"][row].max()) + 1):
                places = [
                    batch[f"{side}_segment"][row] == number for side in packing.SIDES
                ]
                source, target = (
                    batch[side][row, place]
                    for side, place in zip(packing.SIDES, places, strict=True)
                )
                before = batch["before"][row, places[1]]
                assert before.tolist() == [0, *target[:-1]]
                found.append((source.tolist(), target.tolist()))
    assert sorted(found) == sorted((s.tolist(), t.tolist()) for s, t in pairs)
