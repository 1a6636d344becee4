"""The replay gate: captured requests through a new version and the champion, and what comes of each way in which they may differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.build.bundle import Bundle
from modelyard.errors import BadInput, GateRefused, NotFound, StepFailed
from modelyard.events import ApprovalRequested, Deployed, ReplayJudged
from modelyard.flows import asking, history, holdout, replaying
from modelyard.flows.asking import Asked, answers
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Column, Signature

from .live import GOOD, HANGS, OTHERWISE, Live, words
from .releases import config
from .watched import DAY, T0, Watched, settings

Answer = Callable[[float], float]


def replay(**more: Any) -> dict[str, Any]:
    return settings(deploy={**config()["deploy"], "replay": {"min_rows": 10, **more}})


class Asking:
    """Stands in for runners: what each version answers to x; one that raises fails that row, a StepFailed cannot be loaded."""

    def __init__(self, **versions: Answer | StepFailed) -> None:
        self.versions, self.asked = versions, list[tuple[str, int]]()

    @contextmanager
    def __call__(self, shop: Any, bundle: Bundle, *, by_plan: bool, log: Path, timeout: float) -> Iterator[Asked]:
        version = (bundle.path / "model" / "weights").read_text()
        answer = self.versions[f"v{version}"]
        if isinstance(answer, StepFailed):
            raise answer

        def ask(table: pl.DataFrame) -> pl.DataFrame:
            self.asked.append((version, table.height))
            return pl.DataFrame({"y.prediction": [answer(x) for x in table["f.x"]]})

        yield Asked(ask, lambda table: {"p50_ms": 1.5, "p99_ms": 2.5})


def double(x: float) -> float:
    return 2 * x


def fails_above(bound: float) -> Answer:
    def answer(x: float) -> float:
        if x > bound:
            raise ModelFailed("no such luck")
        return 2 * x

    return answer


@pytest.fixture
def make(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    def make(asked: dict[str, Any] | None = None, rows: int = 100, **versions: Answer | StepFailed) -> Watched:
        world = Watched(home, monkeypatch, asked or replay())
        world.register("2")
        monkeypatch.setattr(replaying, "asking", Asking(**{"v1": double, "v2": double, **versions}))
        world.capture([f"r{i}" for i in range(rows)], T0, [i / 10 for i in range(rows)])
        return world

    return make


def judged(world: Watched) -> ReplayJudged:
    return world.events(ReplayJudged)[-1]


def document(world: Watched, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.home.runs / run / "replay.json").read_text())
    return found


def test_two_versions_that_agree_pass_and_whoever_gives_the_word_has_seen_it(make: Callable[..., Watched]) -> None:
    world = make()
    world.accept({**replay(), "environments": {"production": {"approval": {"required": True}}}}, "config-2")
    waiting = world.waiting("2", "deploy-2")
    (asked,) = world.events(ApprovalRequested)
    said = "100 captured requests; 0.00% answered otherwise (0.00% to 3.70%); none failed by the new version alone"
    assert asked.replay == said and str(asked).endswith(f"; replay: {said}")
    assert waiting.still
    fact = judged(world)
    assert (fact.ok, fact.disagreement, fact.champion, fact.sentence) == (True, 0.0, "1", said)
    assert str(fact) == f"replay of demo:2: {said}"
    found = document(world, "deploy-2")
    assert (found["rows"], found["latency"]["new"]) == (100, {"p50_ms": 1.5, "p99_ms": 2.5})
    page = (world.home.runs / "deploy-2" / "replay.html").read_text()
    assert "demo:2 beside demo:1" in page and "<script" not in page and "http://" not in page and "https://" not in page
    assert world.shop.version("demo", "2").replay == fact
    assert replaying.of_version(world.shop, "demo", "2") == found
    world.shop.runs.stop()


def test_one_that_answers_otherwise_is_kept_out_before_anybody_is_asked(make: Callable[..., Watched]) -> None:
    world = make(v2=lambda x: 3 * x if x >= 9 else 2 * x)
    with pytest.raises(GateRefused, match=r"the replay of demo:2: 10\.00% of the rows are answered otherwise") as caught:
        world.release("2", ("production",))
    assert "and 5.00% may" in caught.value.what
    assert world.serves() == ({"1": 100}, "1") and world.events(ApprovalRequested) == []
    assert str(judged(world)).startswith("replay of demo:2: refused: 10.00% of the rows")
    assert judged(world).disagreement == 0.1
    world.shop.runs.stop()


def test_where_it_only_warns_the_roll_out_knows_what_to_expect(make: Callable[..., Watched]) -> None:
    world = make(replay(on_fail="warn"), v2=lambda x: 3 * x if x >= 9 else 2 * x)
    world.release("2", ("production",), id="deploy-2")
    assert str(judged(world)).startswith("replay of demo:2: warning: 10.00% of the rows")
    assert world.serves() == ({"2": 100}, "2")
    kept = json.loads((world.home.runs / "deploy-2" / "rollout.json").read_text())
    assert kept["predicted"] == 0.1
    largest = document(world, "deploy-2")["measured"]["largest"]
    assert [row["inference_id"] for row in largest][:2] == ["r99", "r98"] and len(largest) == 10
    assert largest[0]["change"] == pytest.approx(9.9)


def test_rows_that_fail_with_the_new_version_alone_are_its_fault(make: Callable[..., Watched]) -> None:
    world = make(v1=fails_above(9.7), v2=fails_above(9.4))
    with pytest.raises(GateRefused, match=r"3\.00% of the rows fail with the new version alone, and 0\.00% may, such as: no such luck"):
        world.release("2", ("production",))
    run = judged(world).run
    assert document(world, run)["errors"] == {"old": 2, "new": 5, "new_alone": 3, "said": ["no such luck"]}
    assert document(world, run)["measured"]["rows"] == 95


def test_the_metric_is_judged_where_labels_are_known(make: Callable[..., Watched]) -> None:
    world = make(replay(max_disagreement=1, min_metric_change=0), v2=lambda x: 2 * x + 1)
    world.label({f"r{i}": i / 5 for i in range(0, 100, 2)})
    with pytest.raises(GateRefused, match="and \\+0 at least is asked"):
        world.release("2", ("production",))
    metric = document(world, judged(world).run)["metric"]
    assert (metric["rows"], metric["gain"] < 0) == (50, True)


@pytest.mark.parametrize(
    ("asked", "versions", "said"),
    [
        (replay(min_rows=101), {}, "nothing was compared: 100 captured rows, 101 are needed"),
        (replay(), {"v1": StepFailed("it is gone")}, "nothing was compared: the champion cannot be asked: it is gone"),
    ],
)
def test_what_cannot_be_compared_passes_and_says_so(make: Any, asked: dict[str, Any], versions: dict[str, Any], said: str) -> None:
    world = make(asked, **versions)
    world.release("2", ("production",))
    assert (judged(world).ok, judged(world).sentence) == (None, said)
    assert world.serves() == ({"2": 100}, "2")


def test_a_new_version_that_cannot_be_loaded_fails_the_gate(make: Callable[..., Watched]) -> None:
    world = make(v2=StepFailed("the weights are not there"))
    with pytest.raises(GateRefused, match="the new version cannot be asked: the weights are not there"):
        world.release("2", ("production",))


def test_redacted_features_are_not_replayed(make: Callable[..., Watched]) -> None:
    settled = replay()
    settled["deploy"] |= {"capture": {"redact": [{"column": "x"}]}}
    world = make(settled, v2=lambda x: 3 * x)
    world.release("2", ("production",))
    assert judged(world).sentence.startswith("nothing was compared: Captured rows do not hold `x` (redacted)")


def hashed(world: Watched, ids: list[str], at: datetime) -> None:
    """Rows as they were captured while `x` was redacted."""
    world.capture(ids, at)
    where = history.folder(world.shop, "demo")
    (file,) = [part for part in where.glob("rows-*.parquet") if pl.read_parquet(part, glob=False)["inference_id"][0] == ids[0]]
    frame = pl.read_parquet(file, glob=False)
    frame.with_columns(pl.lit(hashlib.sha256(b"x").hexdigest()).alias("f.x")).write_parquet(file)


def test_rows_that_hold_hashes_from_when_a_feature_was_redacted_are_not_replayed(make: Callable[..., Watched]) -> None:
    redacting = {**settings(), "deploy": {**settings()["deploy"], "capture": {"redact": [{"column": "x", "how": "hash"}]}}}
    world = make(redacting, rows=30, v2=lambda x: 3 * x if x >= 2.5 else 2 * x)  # kept before the rule came
    hashed(world, ["h1", "h2", "h3"], T0 + DAY)
    world.accept(replay(min_rows=10), "config-2")
    with pytest.raises(GateRefused, match=r"the replay of demo:2: 16\.67% of the rows are answered otherwise"):
        world.release("2", ("production",))
    found = document(world, judged(world).run)
    assert (found["rows"], found["errors"]["old"]) == (30, 0)
    assert found["notes"] == ["3 rows have hashes of x, which was redacted then, and are left out."]


def test_only_the_newest_rows_are_asked_and_no_smoke_test(make: Callable[..., Watched]) -> None:
    world = make(replay(last=30, min_rows=1))
    world.capture([f"{holdout.SMOKE}-{i}" for i in range(5)], T0 + DAY)
    world.release("2", ("production",))
    found = document(world, judged(world).run)
    assert found["rows"] == 30, "the newest thirty that callers asked"


def test_a_gate_on_no_more_rows_than_it_needs_judges_beside_smoke_tests_and_ids_that_come_again(make: Callable[..., Watched]) -> None:
    world = make(replay(last=50, min_rows=50), v2=lambda x: 3 * x)
    world.capture(["r99", "r98"], T0 + DAY, [9.9, 9.8])
    world.capture([f"{holdout.SMOKE}-{i}" for i in range(20)], T0 + DAY)
    with pytest.raises(GateRefused, match="the replay of demo:2: 100"):
        world.release("2", ("production",))
    found = document(world, judged(world).run)
    assert (found["rows"], found["notes"]) == (50, ["2 rows came more than once and count once."])


def test_rows_that_a_version_without_a_column_answered_do_not_count_as_rows_without_a_value(make: Callable[..., Watched]) -> None:
    world = make()
    staging, signed = world._staging, Signature("regression", (Column("x", "float"), Column("z", "float")), target_col="y")

    def with_z(version: str) -> Path:
        folder = staging(version)
        (folder / "signature.json").write_text(json.dumps(signed.to_dict()))
        return folder

    world._staging = with_z  # type: ignore[method-assign]
    world.register("3", "4")
    world.capture([f"s{i}" for i in range(15)], T0 + DAY, version="3")
    where = history.folder(world.shop, "demo")
    (newest,) = [part for part in where.glob("rows-*.parquet") if pl.read_parquet(part, glob=False)["version"][0] == "3"]
    pl.read_parquet(newest, glob=False).with_columns(pl.lit(1.0).alias("f.z")).write_parquet(newest)
    replaying.asking.versions |= {"v3": double, "v4": double}  # type: ignore[attr-defined]
    found = replaying.side_by_side(world.shop, "demo", "4", "1", None)
    assert (found["rows"], found["errors"]["new_alone"], found["verdict"]["ok"]) == (15, 0, True)
    assert found["notes"] == ["100 rows are of versions without `z`, and are left out."]
    few = replaying.side_by_side(world.shop, "demo", "2", "1", None)
    assert (few["rows"], few["notes"]) == (115, [])


def test_where_no_row_is_answered_by_both_nothing_was_compared(make: Callable[..., Watched]) -> None:
    world = make(v1=fails_above(-1), v2=double)
    world.release("2", ("production",))
    assert (judged(world).ok, judged(world).sentence) == (None, "nothing was compared: no row was answered by both versions")


def test_the_champion_is_not_replayed_beside_itself(make: Callable[..., Watched]) -> None:
    world = make()
    world.release("1", ("production",))
    assert world.events(ReplayJudged) == [], "the champion itself"
    world.accept(settings(), "config-2")
    world.release("2", ("production",))
    with pytest.raises(NotFound, match="no replay judged demo:1"):
        replaying.of_version(world.shop, "demo", "1")


def test_without_a_gate_a_replay_only_measures(make: Callable[..., Watched]) -> None:
    world = make()
    world.accept(settings(), "config-2")
    world.release("2", ("production",))
    (told,) = world.events(ReplayJudged)
    assert told.ok is True and told.on_fail == "warn" and told.evidence["rows"] == 100


def test_a_run_that_was_cut_short_does_not_replay_again(make: Callable[..., Watched]) -> None:
    world = make()
    world.release("2", ("production",), id="deploy-2")
    (first,) = world.events(ReplayJudged)
    world.release("2", ("production",), id="deploy-2")
    assert world.events(ReplayJudged) == [first]
    assert len([e for e in world.events(Deployed) if e.weights == {"2": 100}]) == 2


# -- side by side -------------------------------------------------------------------------------------------------------------------


def test_a_person_compares_any_two_versions(make: Callable[..., Watched]) -> None:
    world = make(v2=lambda x: 3 * x)
    world.register("3")
    found = replaying.side_by_side(world.shop, "demo", "2", None, None)
    assert (found["version"], found["champion"], found["rows"]) == ("demo:2", "demo:1", 100)
    assert (found["verdict"]["ok"], found["verdict"]["on_fail"]) == (False, "warn")
    assert found["measured"]["share"] == 0.99, "0 is 0 with both"
    assert replaying.side_by_side(world.shop, "demo", "2", "1", 20)["rows"] == 20
    few = replaying.side_by_side(world.shop, "demo", "2", "1", 5)
    assert few["rows"] == 5 and few["measured"], "fewer than a gate needs: who asks for five gets five"
    with pytest.raises(BadInput, match="cannot be compared with itself"):
        replaying.side_by_side(world.shop, "demo", "1", None, None)
    with pytest.raises(NotFound, match="no version 9"):
        replaying.side_by_side(world.shop, "demo", "2", "9", None)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20))
def test_the_rows_that_fail_are_found_however_they_lie(failing: list[bool], chunk: int) -> None:
    table = pl.DataFrame({"f.x": [float(i) for i in range(len(failing))]}, schema={"f.x": pl.Float64})

    def ask(rows: pl.DataFrame) -> pl.DataFrame:
        if any(failing[int(x)] for x in rows["f.x"]):
            raise ModelFailed("one of them")
        return pl.DataFrame({"y.prediction": rows["f.x"] * 2})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "CHUNK_ROWS", chunk)
        outputs, reasons = answers(Asked(ask, lambda table: {}), table)
    assert [bool(reason) for reason in reasons] == failing
    assert outputs.height == len(failing)
    found = outputs["y.prediction"].to_list() if failing else []
    assert found == [None if bad else 2.0 * i for i, bad in enumerate(failing)]


def test_a_quick_version_is_asked_many_rows_at_a_time_and_a_slow_one_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one call takes stays well below what is waited for."""
    monkeypatch.setattr(asking, "CHUNK_ROWS", 100)
    for each, largest in ((0.0, 100), (0.01, 16)):
        now, heights = [0.0], list[int]()
        monkeypatch.setattr(asking.time, "monotonic", lambda now=now: now[0])

        def ask(rows: pl.DataFrame, each: float = each, now: list[float] = now, heights: list[int] = heights) -> pl.DataFrame:
            now[0] += each * rows.height
            heights.append(rows.height)
            return pl.DataFrame({"y.prediction": rows["f.x"]})

        table = pl.DataFrame({"f.x": [float(i) for i in range(500)]})
        outputs, reasons = answers(Asked(ask, lambda table: {}, patience=0.8), table)
        assert outputs["y.prediction"].to_list() == table["f.x"].to_list() and reasons == [""] * 500
        assert heights[0] == asking.FIRST_ROWS and max(heights) == largest


@pytest.mark.slow
def test_a_new_version_that_never_answers_fails_the_gate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was waited for as long as its first rows may take together."""
    monkeypatch.setattr(asking, "FIRST_ROWS", 1)
    world = Live(home, monkeypatch, {"1": GOOD, "2": HANGS})
    try:
        world.accept(words(replay={"min_rows": 5}))
        world.register("1", "2")
        world.release("1", ("production",))
        address = world.shop.model("demo").stage("production").address
        for x in range(100, 110):
            holdout.post(address, json.dumps({"x": float(x)}).encode())
        with pytest.raises(GateRefused, match="the new version cannot be asked: the runner does not answer: timed out"):
            world.release("2", ("production",))
    finally:
        world.close()


@pytest.mark.slow
def test_runners_answer_what_a_real_endpoint_captured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Live(home, monkeypatch, {"1": GOOD, "2": OTHERWISE, "3": GOOD})
    try:
        world.accept(words(replay={"min_rows": 20}))
        world.register("1", "2", "3")
        world.release("1", ("production",))
        address = world.shop.model("demo").stage("production").address
        for x in range(80, 120):
            holdout.post(address, json.dumps({"x": float(x)}).encode())
        with pytest.raises(GateRefused, match=r"50\.00% of the rows are answered otherwise"):
            world.release("2", ("production",), id="deploy-2")
        found = document(world, "deploy-2")  # type: ignore[arg-type]
        assert (found["rows"], found["errors"]["new_alone"]) == (40, 0)
        assert "by runners of their own" in found["about"]
        assert all(0 < found["latency"][who]["p50_ms"] < 1000 for who in ("old", "new"))
        assert replaying.side_by_side(world.shop, "demo", "3", None, None)["verdict"]["ok"] is True
    finally:
        world.close()
