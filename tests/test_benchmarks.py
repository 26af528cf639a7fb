"""The benchmarks themselves: every case still computes what its peers compute."""

import dataclasses
import functools
import json
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import cases, race, report
from benchmarks.cases import decoder_decoding, decoder_training
from benchmarks.decoders import batch_of
from benchmarks.race import Result
from relational import models
from relational.models.tasks import NextToken

ROOT = pathlib.Path(__file__).parent.parent
OURS = Result(
    peer="relational",
    forward=[0.004] * 5,
    both=[0.02] * 5,
    temporary=[5.0, 6.0],
    memory=[1.0, 2.0],
)
FAST = Result(peer="torch", forward=[0.002] * 3, memory=[3.0])
BROKEN = Result(peer="flex", failed="no compiler")


@pytest.mark.parametrize("name", cases.names())
def test_at_a_tiny_size_ours_computes_what_a_peer_computes(name):
    case = cases.load(name)
    ours, reference, *_ = case.peers
    if reference.startswith("Hugging Face"):
        pytest.importorskip("transformers")
    inputs = case.inputs(**case.tiny)
    with jax.numpy_rank_promotion("allow"):  # As the peers are written.
        found, wanted = (
            case.peers[peer](dict(inputs)).results() for peer in (ours, reference)
        )
    assert set(found) == set(wanted)
    assert "forward" in found
    is_one_way = name in ("choosing", "decoder_decoding")  # Nothing is differentiated.
    assert len(found) > 1 or is_one_way
    assert race.largest_error(found, wanted, case.tolerance) < 1e-3
    assert np.abs(wanted["forward"]).max() > 1e-2


def test_a_step_of_the_decoder_has_the_loss_and_the_gradient_of_a_parallel_pass():
    case = cases.load("decoder_training")
    inputs = case.inputs(**case.tiny)
    found = case.peers["relational"](inputs).results()
    decoder, _ = decoder_training._decoder(inputs)
    batch, spec = batch_of(inputs["tokens"]), decoder.spec()
    task = NextToken(spec.model)

    def loss(params):
        outcome = task.outcome(params, jax.random.key(0), batch, is_training=False)
        return outcome.loss.sum()

    total, gradients = jax.jit(jax.value_and_grad(loss))(decoder.params())
    np.testing.assert_allclose(found["forward"], total / batch["token"].size, rtol=1e-5)
    table = gradients["model/embed_token"]["table"]
    np.testing.assert_allclose(found["d table"], table, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_decoder_says_the_likeliest_tokens_of_parallel_passes(beam):
    case = cases.load("decoder_decoding")
    inputs = case.inputs(**{**case.tiny, "beam": beam})
    found = case.peers["relational"](inputs).results()["forward"]
    decoder = decoder_decoding._decoder(inputs)
    model = models.build(decoder.spec().model)
    params = decoder.params(boldness=decoder_decoding._BOLDNESS)
    apply = jax.jit(functools.partial(model.apply, params, None, is_training=False))

    def log_p(tokens):  # [B, V], of the token after them.
        padded = np.pad(tokens, ((0, 0), (0, 8 - tokens.shape[1])))
        logits = apply({"token": {"token": padded}})[:, tokens.shape[1] - 1]
        return np.asarray(jax.nn.log_softmax(logits))

    for row, prime in enumerate(inputs["tokens"]):
        beginnings = [(0.0, prime)]
        for _ in range(found.shape[1]):
            following = [
                (score + odds[token], np.append(tokens, token))
                for score, tokens in beginnings
                for odds in log_p(tokens[None])
                for token in np.argsort(-odds)[:beam]
            ]
            beginnings = sorted(following, key=lambda each: -each[0])[:beam]
        assert found[row].tolist() == beginnings[0][1][len(prime) :].tolist()


@pytest.mark.parametrize("name", cases.names())
def test_sizes_of_a_case_are_those_of_its_inputs(name):
    case = cases.load(name)
    sweep = case.sweep.sizes if case.sweep else []
    assert {tuple(sizes) for sizes in (*case.sizes, *sweep)} == {tuple(case.tiny)}
    if case.sweep:
        assert set(case.sweep.peers) <= set(case.peers)
        over = [sizes[case.sweep.over] for sizes in sweep]
        assert over == sorted(set(over))


def test_a_peer_that_differs_is_told_by_name():
    one = {"forward": np.ones(3), "d key": np.ones(3)}
    assert race.largest_error(one, one, (1e-5, 1e-4)) == 0
    for name, value in (
        ("forward", np.array([1, 1, 1.1])),
        ("d key", np.array([1, 1, np.nan])),
        ("d key", np.ones(1)),
    ):
        with pytest.raises(race.Unequal, match=name):
            race.largest_error({**one, name: value}, one, (1e-5, 1e-4))


BROKEN_CASE = """
import os, sys
import numpy as np
from benchmarks.case import Case, Programs, check_memory

def peer(work):
    def programs(inputs):
        if work == "unable":
            check_memory(6 * 2**30, "its arrays")
        calls = []
        def forward():
            calls.append(work)
            if work == "raises":
                raise ZeroDivisionError("by nothing")
            if work == "dies":
                os.kill(os.getpid(), 9)
            if work == "dies late" and len(calls) > 3:
                os._exit(3)
            return inputs["values"] * 2
        return Programs(forward=forward, both=None, to_numpy=np.asarray)
    return programs

def inputs(count):
    return {"values": np.ones(count, np.float32)}

NAMES = "ours", "unable", "raises", "dies", "dies late", "other"
CASE = Case(title="Broken", sizes=[{"count": 3}], tiny={"count": 3}, inputs=inputs,
            peers={name: peer(name) for name in NAMES})
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Peers are processes, which find the case on their path."""
    (tmp_path / "its_cases").mkdir()
    (tmp_path / "its_cases" / "broken.py").write_text(BROKEN_CASE)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "its_cases.broken"


def test_a_broken_peer_is_reported_and_the_others_go_on(broken):
    peers = list(cases.load(broken).peers)
    found = race.race(broken, {"count": 3}, peers=peers, rounds=2)
    assert {each.peer: each.failed for each in found} == {
        "ours": None,
        "unable": "its arrays take 6 GiB, and a peer is given 5",
        "raises": "ZeroDivisionError: by nothing",
        "dies": "its process ended by SIGKILL",
        "dies late": "its process ended with code 3",
        "other": None,
    }
    times = {each.peer: len(each.forward) for each in found}
    assert times["ours"] == times["other"] == 2
    assert [each.error for each in found if each.peer in ("ours", "other")] == [0, 0]


def test_the_command_keeps_results_and_writes_the_page(broken, tmp_path):
    page, out = tmp_path / "page.md", tmp_path / "found"
    page.write_text(f"before\n<!-- results: {broken} -->old<!-- end -->\nafter\n")
    command = [sys.executable, "-m", "benchmarks", broken, "--rounds", "1"]
    command += ["--peer", "other", "--peer", "raises"]
    run = subprocess.run(
        [*command, "--out", str(out), "--page", str(page)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    text = page.read_text()
    assert "- raises did not run: ZeroDivisionError: by nothing." in text
    assert "old" not in text
    assert text.startswith("before\n<!--")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "| other |" in text
    assert "| other |" in run.stdout
    kept = json.loads((out / f"{broken}-0.json").read_text())
    assert kept["sizes"] == {"count": 3}
    assert [each["peer"] for each in kept["results"]] == ["ours", "other", "raises"]


def test_a_table_has_ratios_spreads_and_reasons():
    assert report.table([OURS, FAST, BROKEN]).splitlines() == [
        "| | forward, ms | x | forward and backward, ms | x | memory, MiB "
        "| XLA's temporary, MiB |".replace("| |", "|  |", 1),
        "|---|---|---|---|---|---|---|",
        "| relational | 4.00 ± 0.00 | 1.00 | 20.0 ± 0.0 | 1.00 | 1 / 2 | 5 / 6 |",
        "| torch | 2.00 | 0.50 |  |  | 3 |  |",
        "",
        "- flex did not run: no compiler.",
    ]
    alone = report.table([dataclasses.replace(BROKEN, peer="relational"), FAST])
    assert "| torch | 2.00 |  |  |  | 3 |  |" in alone


def test_a_sweep_is_drawn_and_the_same_results_draw_the_same_file(tmp_path):
    def record(length):
        sizes = {"length": length, "window": 256, "heads": 8, "width": 64}
        return report.Record(
            case="window_attention",
            machine="none",
            date="2026-01-01",
            sizes=sizes,
            results=[OURS, FAST, BROKEN],
        )

    for at, length in enumerate((64, 128)):
        record(length).save(tmp_path / f"window_attention-sweep-{at}.json")
    page = tmp_path / "page.md"
    page.write_text("<!-- results: window_attention -->\n\n<!-- end -->")
    drawn = []
    for _ in range(2):
        report.write(tmp_path, page, ["window_attention"])
        drawn.append((tmp_path / "images" / "bench_window_attention.svg").read_text())
    assert drawn[0] == drawn[1]
    assert "(images/bench_window_attention.svg)" in page.read_text()
    assert page.read_text().count("<sub>") == 1


def test_a_page_without_the_markers_of_a_case_is_refused(tmp_path):
    record = report.Record(
        case="choosing", machine="none", date="", sizes={}, results=[OURS]
    )
    record.save(tmp_path / "choosing-0.json")
    page = tmp_path / "page.md"
    page.write_text("<!-- results: other -->\n<!-- end -->\n")
    with pytest.raises(ValueError, match="`<!-- results: choosing -->`"):
        report.write(tmp_path, page, ["choosing"])


def test_the_page_has_markers_for_every_case():
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert sorted(re.findall("<!-- results: (.*) -->", text)) == cases.names()
