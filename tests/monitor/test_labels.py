from __future__ import annotations

import errno
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput, NoRoom
from modelyard.monitor import labels
from modelyard.monitor.labels import Added, add, check, fold, join, latest
from modelyard.signature import Column, Signature

T0 = datetime(2013, 3, 1, tzinfo=UTC)
INSTANT = pl.Datetime("us", "UTC")


def day(n: float) -> datetime:
    return T0 + timedelta(days=n)


def frame(label: object, ids: list[str], at: list[datetime | None] | None = None) -> pl.DataFrame:
    made = pl.DataFrame({"inference_id": ids, "label": label})
    return made if at is None else made.with_columns(pl.Series("labelled_at", at, INSTANT))


def held(folder: Path, until: datetime | None = None) -> dict[str, Any]:
    return dict(latest(folder, until).select("inference_id", "label").iter_rows())


def test_labels_are_kept_and_corrected(tmp_path: Path) -> None:
    assert add(frame([0, 1], ["a", "b"]), tmp_path, day(1)) == Added(new=2, corrected=0, repeated=0)
    assert add(frame([1, 1, 0], ["a", "b", "c"]), tmp_path, day(2)) == Added(new=1, corrected=1, repeated=1)
    assert held(tmp_path) == {"a": 1, "b": 1, "c": 0}
    assert held(tmp_path, until=day(1)) == {"a": 0, "b": 1}, "what was known then can be read again"
    assert latest(tmp_path)["labelled_at"].to_list() == [day(2), day(1), day(2)], "saying it again does not make it newer"
    assert held(tmp_path, until=day(0)) == {}


@pytest.mark.parametrize("at", [None, [day(0), day(0)]])
def test_a_repeated_import_is_a_no_op(at: list[datetime] | None, tmp_path: Path) -> None:
    """One of labels with times even after a correction."""
    first = frame([0, 1], ["a", "b"], at)
    add(first, tmp_path, day(1))
    if at is not None:
        add(frame([1], ["a"]), tmp_path, day(2))
    before, files = held(tmp_path), {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert add(first, tmp_path, day(3)) == Added(new=0, corrected=0, repeated=2)
    assert add(first.reverse(), tmp_path, day(4)) == Added(new=0, corrected=0, repeated=2), "the order of rows does not matter"
    assert held(tmp_path) == before
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == files


def test_a_correction_back_to_an_earlier_label_holds(tmp_path: Path) -> None:
    yes, no = frame(["ja"], ["q1"]), frame(["nein"], ["q1"])
    for n, (one, said) in enumerate([(yes, "ja"), (no, "nein"), (yes, "ja"), (no, "nein"), (no, "nein")]):
        assert add(one, tmp_path, day(n)) == (Added(1, 0, 0) if n == 0 else Added(0, 1, 0) if n < 4 else Added(0, 0, 1))
        assert held(tmp_path) == {"q1": said}
    assert [held(tmp_path, until=day(n))["q1"] for n in range(4)] == ["ja", "nein", "ja", "nein"], "what was known then can be read again"


def test_what_is_labelled_in_the_future_holds_and_repetitions_leave_nothing(tmp_path: Path) -> None:
    add(frame([0], ["a"]), tmp_path, day(1))
    add(frame([1], ["a"], [day(9)]), tmp_path, day(2))
    files = set(tmp_path.iterdir())
    assert add(frame([0], ["a"]), tmp_path, day(3)) == Added(0, 0, 1)
    assert held(tmp_path) == {"a": 1} and set(tmp_path.iterdir()) == files


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1), min_size=1), min_size=1, max_size=8))
def test_of_labels_without_a_time_what_was_said_last_holds(tmp_path_factory: pytest.TempPathFactory, imports: list[dict[str, int]]) -> None:
    folder, truth = tmp_path_factory.mktemp("ledger"), dict[str, int]()
    for number, said in enumerate(imports):
        given = frame(list(said.values()), list(said))
        new, corrected = len(said.keys() - truth.keys()), sum(truth.get(id, value) != value for id, value in said.items())
        assert add(given, folder, day(number)) == Added(new, corrected, len(said) - new - corrected)
        truth |= said
        assert held(folder) == truth
        before = set(folder.iterdir())
        assert add(given, folder, day(number + 0.5)) == Added(0, 0, len(said)) and set(folder.iterdir()) == before


def test_a_later_label_wins_whenever_it_comes(tmp_path: Path) -> None:
    add(frame([1], ["a"], [day(5)]), tmp_path, day(6))
    assert add(frame([0], ["a"], [day(4)]), tmp_path, day(7)) == Added(new=0, corrected=0, repeated=1)
    assert held(tmp_path) == {"a": 1}
    assert add(frame([0], ["a"], [day(5.5)]), tmp_path, day(8)) == Added(new=0, corrected=1, repeated=0)
    assert held(tmp_path) == {"a": 0}


def test_several_dated_labels_of_one_id_in_one_import(tmp_path: Path) -> None:
    assert add(frame([0, 1, 0], ["a", "a", "a"], [day(1), day(3), day(2)]), tmp_path, day(9)) == Added(1, 0, 2)
    assert held(tmp_path) == {"a": 1}


def test_blank_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    assert add(frame([None, 1.5, float("nan")], ["a", "b", "c"]), tmp_path, day(1)) == Added(new=1, corrected=0, repeated=0, blank=2)
    assert add(frame([None], ["a"]), tmp_path, day(1)) == Added(0, 0, 0, blank=1)
    assert held(tmp_path) == {"b": 1.5}


def test_two_labels_and_nothing_that_says_which_is_later(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"prediction 'a' has two labels \(0 and 1\)"):
        add(frame([0, 1], ["a", "a"]), tmp_path, day(1))
    with pytest.raises(BadInput, match="row 2 has no inference_id"):
        add(frame([0, 1], ["a", ""]), tmp_path, day(1))
    with pytest.raises(BadInput, match="need a column 'label'"):
        add(pl.DataFrame({"inference_id": ["a"]}), tmp_path, day(1))
    assert list(tmp_path.iterdir()) == []
    assert add(frame([1, 1], ["a", "a"]), tmp_path, day(1)) == Added(1, 0, 0)


def test_labels_wait_for_their_prediction(tmp_path: Path) -> None:
    add(frame([1, 0], ["early", "other"]), tmp_path, day(1))
    predictions = pl.DataFrame({"inference_id": ["x"], "y.prediction": [0]})
    assert join(predictions, latest(tmp_path))["label"].to_list() == [None]
    predictions = pl.DataFrame({"inference_id": ["x", "early", "x2", "other"], "y.prediction": [0, 0, 1, 1], "label": [9, 9, 9, 9]})
    joined = join(predictions, latest(tmp_path))
    assert joined["label"].to_list() == [None, 1, None, 0]
    assert joined["inference_id"].to_list() == predictions["inference_id"].to_list(), "order and number of rows stay"


@pytest.mark.parametrize(
    ("given_labels", "answers", "expected"),
    [
        ([0.0, 1.0], [0, 1], [0, 1]),
        (["0", "1.0"], [0, 1], [0, 1]),
        ([True, False], [0, 1], [1, 0]),
        ([0, 1], ["0", "1"], ["0", "1"]),
        ([0.0, 1.0], ["0", "1"], ["0", "1"]),
        ([3, 4], [0.5, 0.6], [3.0, 4.0]),
        (["true", "False"], [True, False], [True, False]),
        ([1, 0], [True, False], [True, False]),
    ],
)
def test_labels_take_the_type_of_the_answers(given_labels: list[Any], answers: list[Any], expected: list[Any], tmp_path: Path) -> None:
    add(frame(given_labels, ["a", "b"]), tmp_path, day(1))
    joined = join(pl.DataFrame({"inference_id": ["a", "b"], "y.prediction": answers}), latest(tmp_path))
    assert joined["label"].to_list() == expected and joined.schema["label"] == joined.schema["y.prediction"]


@pytest.mark.parametrize(("label", "answers"), [("yes", [0]), (0.5, [0]), ("maybe", [True]), (2, [True]), ("high", [0.1])])
def test_a_label_of_another_kind_is_an_error_and_not_lost(label: Any, answers: list[Any], tmp_path: Path) -> None:
    add(frame([label], ["a"]), tmp_path, day(1))
    with pytest.raises(BadInput, match=f"label {label!r} of prediction 'a'"):
        join(pl.DataFrame({"inference_id": ["a"], "y.prediction": answers}), latest(tmp_path))


def test_ids_are_text_whatever_they_came_as(tmp_path: Path) -> None:
    add(pl.DataFrame({"inference_id": [7.0, 8.0], "label": [1, 0]}), tmp_path, day(1))
    add(pl.DataFrame({"inference_id": [7], "label": [0]}), tmp_path, day(2))
    assert held(tmp_path) == {"7": 0, "8": 0}


rows = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))


def ledger_frame(some: list[tuple[str, int, int, int]], dtype: pl.DataType) -> pl.DataFrame:
    schema = {"inference_id": pl.String, "label": pl.Int64, "labelled_at": INSTANT, "received_at": INSTANT}
    return pl.DataFrame([(i, x, day(a), day(b)) for i, x, a, b in some], schema=schema, orient="row").cast({"label": dtype})


@given(
    st.lists(st.tuples(st.lists(rows, max_size=6), st.sampled_from([pl.Int64(), pl.Float64(), pl.String()])), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_any_order_and_any_repetition_fold_to_the_same(parts: list[tuple[list[Any], pl.DataType]], rng: random.Random) -> None:
    frames = [ledger_frame(some, dtype) for some, dtype in parts]
    shuffled = frames + rng.sample(frames, rng.randint(0, len(frames)))
    rng.shuffle(shuffled)
    shuffled = [f.sample(fraction=1, shuffle=True, seed=rng.randint(0, 99)) for f in shuffled]
    once = fold(frames)
    assert fold(shuffled).equals(once)
    assert fold([once, *shuffled]).equals(once), "what was folded may be folded again"
    best: dict[str, tuple[int, int, int]] = {}
    for name, label, labelled, received in (r for some, _ in parts for r in some):
        best[name] = max(best.get(name, (-1, -1, -1)), (labelled, received, label))
    got = {i: int(float(x)) for i, x in once.select("inference_id", "label").iter_rows()}
    assert got == {name: key[2] for name, key in best.items()}


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=5), max_size=4),
    st.randoms(),
)
def test_dated_imports_in_any_order_make_the_same_ledger(
    tmp_path_factory: pytest.TempPathFactory, imports: list[list[tuple[str, int, int]]], rng: random.Random
) -> None:
    imports = [list({(i, t): (i, x, t) for i, x, t in one}.values()) for one in imports]
    agreed: dict[tuple[str, int], int] = {}
    imports = [[(i, agreed.setdefault((i, t), x), t) for i, x, t in one] for one in imports]
    results = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("ledger")
        for number, one in enumerate(imports):
            ids, values, times = zip(*one, strict=True)
            add(frame(list(values), list(ids), [day(t) for t in times]), folder, day(20 + number))
        results.append(latest(folder).drop("received_at"))
        imports = imports + imports[:1]
        rng.shuffle(imports)
    assert results[0].equals(results[1])


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    add(frame([0, 1], ["a", "b"]), tmp_path, day(1))
    [path] = tmp_path.glob("*.arrow")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match="digest mismatch") as caught:
        latest(tmp_path)
    assert caught.value.where == path.name


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_an_import_that_breaks_off_leaves_nothing_and_can_be_repeated(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fired = []

    def full(*_: Any, **__: Any) -> None:
        fired.append(step)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if step == "fsync" else Path, step, full)
        with pytest.raises(NoRoom, match="the disk is full"):
            add(frame([0], ["a"]), tmp_path, day(1))
    assert fired == [step]
    assert list(tmp_path.iterdir()) == [] and held(tmp_path) == {}
    assert add(frame([0], ["a"]), tmp_path, day(2)) == Added(1, 0, 0)


def test_what_a_killed_import_left_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "fsync", kill)
        add(frame([0], ["a"]), tmp_path, day(1))
    assert len(list(tmp_path.iterdir())) == 1, "the fault left a partial file"
    assert held(tmp_path) == {}
    assert add(frame([0], ["a"]), tmp_path, day(1)) == Added(1, 0, 0)
    assert [p.suffix for p in tmp_path.iterdir()] == [".arrow"]


def test_the_seam_reads_files_too() -> None:
    from modelyard.monitor.labelfiles import read_file

    assert labels.read_file is read_file


# -- labels against what the model answers ----------------------------------------------------------------------------------------


def answers(problem_type: Any, *classes: Any) -> Signature:
    return Signature(problem_type, (Column("x", "float"),), classes=classes, positive_class=classes[-1] if len(classes) == 2 else None)


@pytest.mark.parametrize(
    ("signature", "good", "bad"),
    [
        (answers("binary_classification", 0, 1), [0, 1], 2),
        (answers("binary_classification", 0, 1), [0.0, 1.0, float("nan")], 0.5),
        (answers("binary_classification", 0, 1), ["0", "1.0"], "yes"),
        (answers("binary_classification", False, True), ["true", "0"], "maybe"),
        (answers("binary_classification", False, True), [0, 1], 2),
        (answers("binary_classification", "no", "yes"), ["no", "yes", None], "nay"),
        (answers("multiclass_classification", 1, 2, 3), [1, 2, 9], None),
        (answers("multiclass_classification", 1, 2, 3), ["1", "3"], "red"),
        (answers("multiclass_classification", "a", "b", "c"), ["a", "new"], None),
        (answers("regression"), [1.5, -2.0], float("inf")),
        (answers("regression"), [1, 2], None),
        (answers("regression"), ["1.5", "2"], "fast"),
    ],
)
def test_a_label_is_such_as_the_model_answers(signature: Signature, good: list[Any], bad: Any) -> None:
    ids = [f"id{i}" for i in range(len(good))]
    check(frame(good, ids), signature)
    if bad is not None:
        with pytest.raises(BadInput, match=f"label {bad!r} of prediction 'id{len(good)}' is not "):
            check(frame([*good, bad], [*ids, f"id{len(good)}"]), signature)


def test_what_is_no_import_at_all_is_left_to_add() -> None:
    check(pl.DataFrame({"x": [1]}), answers("regression"))
