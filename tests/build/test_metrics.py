from __future__ import annotations

import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelyard.build import metrics

LOSS = ("loss", r"loss=([-+0-9.eE]+|nan|inf)")


def test_each_line_is_read_by_each_definition() -> None:
    now = iter([10.0, 10.5, 12.0, 12.0])
    reader = metrics.Reader([LOSS, ("epoch", r"epoch (\d+)"), ("maybe", r"maybe(=\d)?")], lambda: next(now))
    assert reader.read("epoch 3: loss=0.5 loss=0.25 maybe") == [
        metrics.Reading("loss", 0.5, 0, 0.5),
        metrics.Reading("epoch", 3.0, 0, 2.0),
    ]
    assert reader.read("[algo-1] loss=1e-3") == [metrics.Reading("loss", 0.001, 1, 2.0)]
    assert reader.read("loss=1e") == reader.read("") == reader.read("modelyard: train.py exited with 1: loss=7") == []


def test_a_host_of_several_is_read_as_one_alone_would_be() -> None:
    reader = metrics.Reader([("loss", r"^loss=([0-9.]+)"), ("first", r"^\[algo-1\] loss=([0-9.]+)")])
    found = [reading for line in ("[algo-1] loss=2", "[algo-2] loss=3", "loss=4") for reading in reader.read(line)]
    assert [(r.name, r.value) for r in found] == [("loss", 2), ("first", 2), ("loss", 3), ("loss", 4)]


def test_of_lines_that_no_log_has_room_for_the_last_values_are_kept(tmp_path: Path) -> None:
    recorder = metrics.Recorder([LOSS, ("acc", r"acc=([0-9.]+)")], tmp_path / "metrics.json")
    recorder.hear("loss=0.9")
    for line in ("loss=0.5 acc=0.1", "loss=0.25"):
        recorder.glimpse(line)
    recorder.hear("acc=0.7 of another try")
    recorder.close()
    assert recorder.last == {"loss": 0.25, "acc": 0.7}
    assert [(r.name, r.value, r.step) for r in metrics.series(tmp_path / "metrics.json")] == [
        ("loss", 0.9, 0), ("acc", 0.7, 1), ("loss", 0.25, 2),
    ]  # fmt: skip


def test_values_are_kept_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("of an earlier run\n")
    recorder = metrics.Recorder([LOSS], path)
    assert metrics.series(path) == []
    for line in ("loss=0.5", "nothing", "loss=nan"):
        recorder.hear(line)
    assert math.isnan(recorder.last["loss"])
    assert [(r.name, r.step) for r in metrics.series(path)] == [("loss", 0), ("loss", 1)]
    with path.open("a") as file:
        file.write('{"name": "lo')
    assert len(metrics.series(path)) == 2, "a line that is being written"


@given(st.lists(st.floats(allow_nan=False)), st.text(max_size=5))
def test_what_python_prints_is_what_is_read(values: list[float], noise: str) -> None:
    reader = metrics.Reader([("loss", r"loss=(\S+)")])
    lines = [f"{noise} loss={value!r} " for value in values]
    found = [reading for line in lines for reading in reader.read(line)]
    assert [r.value for r in found] == values
    assert [r.step for r in found] == list(range(len(values)))
    json.dumps([r.value for r in found])
