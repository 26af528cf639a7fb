import gzip
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error

import numpy as np
import pytest

from relational.datasets import (
    chorales,
    is_prepared,
    jsb_source,
    load,
    repeat_loss,
    repeat_probability,
)

_SPLITS = ("train", "validation", "test")
_SMALL = {
    "train": [[[60, 57, 52, 45]] * 20, [[62, -1, 53, 50], [64, 60, 55, 48]]],
    "valid": [[[65, 60, 57, 41]] * 17],
    "test": [[[67, 62, 59, 43]] * 3],
}


@pytest.fixture
def small_file(tmp_path, monkeypatch):
    """A file in the format of the JSB Chorales that passes for them."""
    content = json.dumps(_SMALL).encode()
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(jsb_source, "_SHA256", digest)
    path = tmp_path / "Jsb16thSeparated.json"
    path.write_bytes(content)
    return path


def test_a_source_is_read_back_as_it_was_written(small_file, tmp_path):
    loaded = {
        split: load("jsb", split, data_source=small_file, cache=tmp_path / "cache")
        for split in _SPLITS
    }
    for split, key in zip(_SPLITS, ("train", "valid", "test"), strict=True):
        assert len(loaded[split]) == len(_SMALL[key])
        for piece, steps in zip(loaded[split], _SMALL[key], strict=True):
            assert piece["pitch"].dtype == piece["beat"].dtype == np.int32
            assert piece["pitch"].tolist() == steps
            assert piece["beat"].tolist() == [step % 16 for step in range(len(steps))]
    indices = [piece["index"] for split in _SPLITS for piece in loaded[split]]
    assert indices == [0, 1, 2, 3]


@pytest.mark.parametrize("form", ["file", "folder", "gzip", "gzip folder", "variable"])
def test_a_local_source_comes_in_many_forms(small_file, tmp_path, monkeypatch, form):
    named = small_file.parent if "folder" in form else small_file
    if "gzip" in form:
        packed = small_file.with_suffix(".json.gz")
        packed.write_bytes(gzip.compress(small_file.read_bytes()))
        small_file.unlink()
        named = small_file.parent if "folder" in form else packed
    if form == "variable":
        monkeypatch.setenv("RELATIONAL_DATA_SOURCE", str(named))
        named = None
    assert len(load("jsb", "train", data_source=named, cache=tmp_path / "cache")) == 2


def test_what_is_prepared_needs_its_source_no_more(small_file, tmp_path, monkeypatch):
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path / "cache"))
    assert not is_prepared("jsb")
    load("jsb", "train", data_source=small_file)
    small_file.unlink()
    assert is_prepared("jsb")
    assert len(load("jsb", "test")) == 1


def test_preparing_leaves_nothing_but_the_prepared_set(small_file, tmp_path, capfd):
    load("jsb", "train", data_source=small_file, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["chorales"]
    assert capfd.readouterr() == ("", "")


def test_another_file_is_refused_by_its_checksum(small_file, tmp_path):
    small_file.write_text(json.dumps({**_SMALL, "test": []}))
    with pytest.raises(ValueError, match=r"must be Jsb16thSep.* SHA-256 .*got .*again"):
        load("jsb", "train", data_source=small_file, cache=tmp_path / "cache")
    assert not is_prepared("jsb", cache=tmp_path / "cache")


def test_files_that_cannot_be_read_are_refused(small_file, tmp_path):
    (tmp_path / "empty").mkdir()
    torn = tmp_path / "torn.json.gz"
    torn.write_bytes(gzip.compress(small_file.read_bytes())[:-20])
    for named, words in (
        (tmp_path / "nowhere", "`data_source` must be the file.*does not exist"),
        (tmp_path / "empty", "holds no such file. Download it from https://raw.git"),
        (torn, "must name a file that can be read.*torn.json.gz"),
    ):
        with pytest.raises(ValueError, match=words):
            load("jsb", "train", data_source=named, cache=tmp_path / "cache")


def test_the_environment_variable_is_named_when_it_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("RELATIONAL_DATA_SOURCE", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="variable RELATIONAL_DATA_SOURCE must be the"):
        load("jsb", "train", cache=tmp_path)


def test_without_a_network_the_way_out_is_told(tmp_path, monkeypatch):
    def fail(address, timeout):
        assert address.startswith("https://raw.githubusercontent.com/czhuang/")
        raise urllib.error.URLError("no network")

    monkeypatch.delenv("RELATIONAL_DATA_SOURCE", raising=False)
    monkeypatch.setattr(jsb_source.urllib.request, "urlopen", fail)
    with pytest.raises(
        ValueError, match=r"could not be downloaded.*data_source=.*musi"
    ):
        load("jsb", "train", cache=tmp_path)


def test_wrong_choices_are_named_with_the_right_ones(tmp_path):
    with pytest.raises(ValueError, match="`source` must be one of 'music21', 'jsb'; g"):
        load("jbs", "train", cache=tmp_path)
    with pytest.raises(ValueError, match=r"`split` must be.*'validation'.*got 'valid'"):
        load("jsb", "valid", cache=tmp_path)
    with pytest.raises(
        ValueError, match=r"`data_source` must be absent for .*'music21'"
    ):
        load("music21", "train", data_source="x.json", cache=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`cache` must be a folder.*RELATIONAL_CACHE"):
        load("jsb", "train", cache=tmp_path / "file")


def test_without_music21_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'relational-nets\[music\]'"):
        load("music21", "train", cache=tmp_path)


def test_a_damaged_set_is_reported_and_not_believed(small_file, tmp_path):
    load("jsb", "train", data_source=small_file, cache=tmp_path / "cache")
    (records,) = (tmp_path / "cache").rglob("*train.array_record*")
    records.write_bytes(records.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot be read .*Delete that folder"):
        load("jsb", "train", cache=tmp_path / "cache")


_PREPARE = """
    import os, signal, sys, time
    from relational.datasets import chorales, jsb_source, preparing
    path, cache, digest, what = sys.argv[1:]
    jsb_source._SHA256 = digest
    publish = preparing.publish
    def killed(made, final):
        os.kill(os.getpid(), signal.SIGKILL)
    def late(made, final):  # Waits until both processes have come this far.
        (made.parent / "ready").touch()
        while len(list(final.parents[2].glob(".preparing-*/*/*/ready"))) < 2:
            if final.is_dir():  # The other one has published and cleaned up.
                break
            time.sleep(0.01)
        publish(made, final)
    preparing.publish = {"killed": killed, "late": late}[what]
    print(len(chorales.load("jsb", "train", data_source=path, cache=cache)))
"""


def _prepare_apart(path, cache, what):
    return subprocess.Popen(
        [
            *(sys.executable, "-c", textwrap.dedent(_PREPARE)),
            *(str(path), str(cache), jsb_source._SHA256, what),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_kill_while_preparing_leaves_nothing_that_is_believed(small_file, tmp_path):
    cache = tmp_path / "cache"
    with _prepare_apart(small_file, cache, "killed") as process:
        assert process.wait() == -signal.SIGKILL
    (left,) = cache.glob(".preparing-*")
    assert not is_prepared("jsb", cache=cache)
    a_week_ago = time.time() - 7 * 24 * 3600
    os.utime(left, (a_week_ago, a_week_ago))
    assert len(load("jsb", "train", data_source=small_file, cache=cache)) == 2
    assert not left.exists()


def test_two_processes_may_prepare_at_once(small_file, tmp_path):
    cache = tmp_path / "cache"
    with (
        _prepare_apart(small_file, cache, "late") as one,
        _prepare_apart(small_file, cache, "late") as other,
    ):
        assert one.communicate()[0].strip() == other.communicate()[0].strip() == "2"
    assert [path.name for path in cache.iterdir()] == ["chorales"]
    assert len(load("jsb", "train", cache=cache)) == 2


def test_the_jsb_chorales_have_their_known_sizes(jsb_folder, cache):
    splits = {
        split: load("jsb", split, data_source=jsb_folder, cache=cache)
        for split in _SPLITS
    }
    assert [len(splits[split]) for split in _SPLITS] == [229, 76, 77]
    num_steps = [sum(len(piece["beat"]) for piece in splits[s]) for s in _SPLITS]
    assert num_steps == [55228, 18408, 18900]
    pitch = np.concatenate([piece["pitch"] for s in _SPLITS for piece in splits[s]])
    assert (pitch[pitch >= 0].min(), pitch.max()) == (36, 81)


def test_repeating_the_last_chord_costs_what_was_measured_once(jsb_folder, cache):
    train = load("jsb", "train", data_source=jsb_folder, cache=cache)
    test = load("jsb", "test", data_source=jsb_folder, cache=cache)
    probability = repeat_probability(train)
    assert probability == pytest.approx(0.77976, abs=1e-5)
    assert repeat_loss(test, probability) == pytest.approx(1.42821, abs=1e-5)


def test_importing_the_package_imports_no_heavy_library():
    heavy = ["tensorflow_datasets", "tensorflow", "music21", "mido", "matplotlib"]
    code = f"import relational.datasets, sys; print(set({heavy}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
    assert chorales.load is load
