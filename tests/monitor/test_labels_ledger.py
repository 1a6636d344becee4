"""The ledger's files under any history: imports in any order and number, tidied at any time, killed at any step."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.errors import BadInput
from modelyard.monitor import labels
from modelyard.monitor.labels import segments
from modelyard.monitor.labels.values import instant

T0 = datetime(2013, 3, 1, tzinfo=UTC)


def day(n: float) -> datetime:
    return T0 + timedelta(days=n)


def frame(rows: dict[str, Any], at: datetime | None = None) -> pl.DataFrame:
    made = pl.DataFrame({"inference_id": list(rows), "label": list(rows.values())})
    return made if at is None else made.with_columns(pl.lit(at, instant()).alias("labelled_at"))


def held(folder: Path, until: datetime | None = None) -> dict[str, Any]:
    return dict(labels.latest(folder, until).select("inference_id", "label").iter_rows())


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.arrow"))


class Killed(BaseException):
    pass


@contextmanager
def dying(step: int, dead: Callable[[], BaseException] = Killed) -> Iterator[list[str]]:
    """The `step`th call that changes a file, or syncs one, is never made: as `kill -9`, nothing after it happens."""
    done: list[str] = []
    real = {"rename": Path.rename, "unlink": Path.unlink, "fsync": os.fsync}

    def counted(name: str) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            if len(done) >= step:  # whoever is dead cleans nothing up
                raise dead()
            done.append(name)
            return real[name](*args, **words)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", counted("rename"))
        patch.setattr(Path, "unlink", counted("unlink"))
        patch.setattr(os, "fsync", counted("fsync"))
        yield done


IDS = st.sampled_from([f"id{i}" for i in range(12)])
# a label's value follows from its id and time, so that no two imports contradict each other at one time
GIVEN = st.lists(st.tuples(IDS, st.integers(0, 5)), min_size=1, max_size=6, unique=True)


class Ledger(RuleBasedStateMachine):
    """Dated labels, in a ledger that is tidied after every few imports, and that dies again and again; the model is a dict."""

    @initialize(dtype=st.sampled_from([pl.Int64(), pl.String(), pl.Float64()]))
    def begin(self, dtype: pl.DataType) -> None:
        self.folder, self.dtype, self.now = Path(tempfile.mkdtemp()), dtype, 10.0
        self.said: dict[tuple[str, int], float] = {}  # (id, labelled on) -> received on
        self.past: list[tuple[datetime, dict[str, int]]] = []
        self._fan, segments.FAN = segments.FAN, 3
        self._small, segments.SMALL = segments.SMALL, 8

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)
            segments.FAN, segments.SMALL = self._fan, self._small

    def truth(self) -> dict[str, int]:
        newest: dict[str, int] = {}
        for id, on in self.said:
            newest[id] = max(newest.get(id, -1), on)
        return {id: on * 7 % 5 for id, on in newest.items()}

    def table(self, given: list[tuple[str, int]]) -> pl.DataFrame:
        rows = [(id, on * 7 % 5, day(on)) for id, on in given]
        schema = {"inference_id": pl.String, "label": pl.Int64, "labelled_at": instant()}
        return pl.DataFrame(rows, schema=schema, orient="row").cast({"label": self.dtype})

    def note(self, given: list[tuple[str, int]], at: float) -> None:
        for pair in given:
            self.said.setdefault(pair, at)

    @rule(given=GIVEN)
    def label(self, given: list[tuple[str, int]]) -> None:
        self.now += 1
        before = self.truth()
        added = labels.add(self.table(given), self.folder, day(self.now))
        self.note(given, self.now)
        after = self.truth()
        assert added.new == len(after.keys() - before.keys())
        assert added.corrected == sum(before[id] != after[id] for id in before)
        assert added.new + added.corrected + added.repeated == len(given)

    @rule(given=GIVEN, step=st.integers(0, 6))
    def label_and_die(self, given: list[tuple[str, int]], step: int) -> None:
        """Whether it was added before it died: both are right. Said again, it is there once."""
        self.now += 1
        try:
            with dying(step):
                labels.add(self.table(given), self.folder, day(self.now))
        except Killed:
            labels.add(self.table(given), self.folder, day(self.now))
        self.note(given, self.now)

    @rule()
    def tidy(self) -> None:
        segments.merge(self.folder)

    @rule(step=st.integers(0, 8))
    def tidy_and_die(self, step: int) -> None:
        before = labels.latest(self.folder)
        try:
            with dying(step):
                segments.merge(self.folder)
        except Killed:
            assert labels.latest(self.folder).equals(before)

    @rule()
    def remember(self) -> None:
        self.past.append((day(self.now), self.truth()))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        until, truth = data.draw(st.sampled_from(self.past))
        assert self.values(labels.latest(self.folder, until)) == truth, "what was known then can be read again"

    @rule(ids=st.lists(IDS, max_size=5))
    def look_up(self, ids: list[str]) -> None:
        wanted = pl.Series("inference_id", ids, pl.String)
        every = labels.latest(self.folder)
        assert labels.of(self.folder, wanted).equals(every.filter(pl.col("inference_id").is_in(wanted.implode())))

    @rule(low=IDS, high=IDS)
    def look_up_a_range(self, low: str, high: str) -> None:
        every = labels.latest(self.folder)
        found = labels.between(self.folder, pl.Series([low, "id1"]), pl.Series([high, "id1"]))
        inside = ((pl.col("inference_id") >= low) & (pl.col("inference_id") <= high)) | (pl.col("inference_id") == "id1")
        assert found.equals(every.filter(inside))

    @rule(back=st.integers(0, 4))
    def look_at_the_newest(self, back: int) -> None:
        since = day(self.now - back + 0.5)
        late = {id for (id, _), at in self.said.items() if day(at) > since}
        assert set(labels.received(self.folder, since)) >= late, "an import that died may have been received later, and never earlier"

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        if hasattr(self, "folder"):
            every = labels.latest(self.folder)
            assert self.values(every) == self.truth()
            assert every["inference_id"].n_unique() == every.height

    def values(self, found: pl.DataFrame) -> dict[str, int]:
        return {id: int(float(label)) for id, label in found.select("inference_id", "label").iter_rows()}


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_many_imports_become_few_files_and_all_stays(tmp_path: Path) -> None:
    for n in range(40):
        labels.add(frame({f"r{n}": n, "again": n % 2}), tmp_path, day(n))
    assert len(files(tmp_path)) < segments.FAN, "40 imports"
    assert held(tmp_path) == {**{f"r{n}": n for n in range(40)}, "again": 1}
    assert held(tmp_path, until=day(20)) == {**{f"r{n}": n for n in range(21)}, "again": 0}
    assert labels.add(frame({"r3": 3, "again": 1}), tmp_path, day(50)).repeated == 2, "an import is known after its file is gone"
    assert labels.received(tmp_path, day(38)).to_list() == ["again", "r39"]
    assert labels.held_since(tmp_path, day(38)).to_list() == ["again", "r39"]


def test_files_grow_in_steps_and_no_further_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SMALL", 4)
    monkeypatch.setattr(segments, "LARGEST", 100)
    for n in range(200):
        labels.add(frame({f"r{n:03}-{i}": i for i in range(3)}), tmp_path, day(n))
    sizes = sorted(segment.about.rows for segment in segments.listed(tmp_path))
    assert sum(sizes) == 600 and max(sizes) <= 100
    assert len(sizes) < 30, "a file an import would be 200"
    assert len(held(tmp_path)) == 600


def test_labels_of_another_type_stay_in_files_of_their_own(tmp_path: Path) -> None:
    huge = 2**60 + 1
    for n in range(20):
        labels.add(frame({f"whole{n}": huge}), tmp_path, day(n))
        labels.add(frame({f"text{n}": "yes"}), tmp_path, day(n))
    kinds = {segment.about.label for segment in segments.listed(tmp_path)}
    assert kinds == {"int64", "large_string"}
    assert held(tmp_path)["whole3"] == str(huge), "no number was rounded on its way"
    assert labels.of(tmp_path, pl.Series(["whole3"]))["label"].to_list() == [huge], "of the type of what was found"


def test_no_two_imports_are_received_at_once(tmp_path: Path) -> None:
    for n in range(3):
        labels.add(frame({f"r{n}": n}), tmp_path, day(1))
    assert labels.latest(tmp_path)["received_at"].to_list() == [day(1) + timedelta(microseconds=n) for n in range(3)]
    labels.add(frame({"r0": 5}), tmp_path, day(0))  # the clock went back
    assert held(tmp_path)["r0"] == 5, "what comes later, without a time, is a correction whatever the clock says"
    assert labels.newest(tmp_path) == day(1) + timedelta(microseconds=3)
    assert labels.received(tmp_path, day(1) + timedelta(microseconds=2)).to_list() == ["r0"]


def test_a_full_disk_while_files_are_merged_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(segments.FAN - 1):
        labels.add(frame({f"r{n}": n}), tmp_path, day(n))
    real, merging = segments.put, []

    def full(table: Any, folder: Path, imports: Any, replaces: Any = (), part_of: str = "") -> Path:
        if not replaces:
            return real(table, folder, imports)
        merging.append(len(replaces))
        with dying(0, lambda: OSError(errno.ENOSPC, "No space left on device")):
            return real(table, folder, imports, replaces)

    with monkeypatch.context() as patch:
        patch.setattr(segments, "put", full)
        assert labels.add(frame({"last": 1}), tmp_path, day(9)).new == 1
    assert merging == [segments.FAN] and len(files(tmp_path)) == segments.FAN
    assert len(held(tmp_path)) == segments.FAN
    labels.add(frame({"more": 1}), tmp_path, day(10))
    assert len(files(tmp_path)) == 1, "the next import tries again"


def test_what_a_killed_merge_left_goes_with_the_next_import(tmp_path: Path) -> None:
    for n in range(segments.FAN - 1):
        labels.add(frame({f"r{n}": n}), tmp_path, day(n))
    with dying(3), pytest.raises(Killed):  # two syncs and a rename are the import's own; then the merge syncs its file
        labels.add(frame({"last": 1}), tmp_path, day(9))
    assert [path.suffix for path in tmp_path.iterdir()].count(".partial") == 1
    labels.add(frame({"more": 1}), tmp_path, day(10))
    assert len(list(tmp_path.iterdir())) == 1 and len(held(tmp_path)) == segments.FAN + 1


def test_a_ledger_of_an_older_release_is_taken_over(tmp_path: Path) -> None:
    old = frame({"b": 1, "a": 0}, day(1)).with_columns(pl.lit(day(2), instant()).alias("received_at"))
    old.write_parquet(tmp_path / "x")
    batch = "1" * 32
    name = f"{batch}-{hashlib.sha256((tmp_path / 'x').read_bytes()).hexdigest()[:32]}.parquet"
    (tmp_path / "x").rename(tmp_path / name)
    for step in range(4):
        with dying(step), pytest.raises(Killed):
            labels.latest(tmp_path)
    assert held(tmp_path) == {"a": 0, "b": 1} and held(tmp_path, until=day(1)) == {}
    assert not list(tmp_path.glob("*.parquet"))
    assert labels.add(frame({"a": 1}), tmp_path, day(3)).corrected == 1
    (tmp_path / f"{batch}-{'0' * 32}.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match="digest mismatch"):
        labels.latest(tmp_path)


def test_a_lookup_opens_no_file_that_is_older_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels.add(frame({"a": 0}), tmp_path, day(1))
    labels.add(frame({"b": 0}), tmp_path, day(5))
    labels.newest(tmp_path)
    opened: list[Path] = []
    real = segments._table
    monkeypatch.setattr(segments, "_table", lambda path: (opened.append(path), real(path))[1])
    assert labels.received(tmp_path, day(1)).to_list() == ["b"]
    assert len(opened) == 1
    assert labels.received(tmp_path, day(5)).is_empty() and len(opened) == 1


def test_searches_and_passes_find_the_same(tmp_path: Path) -> None:
    """Few ids are searched for, many are joined in one pass."""
    names = [f"{i * 7919 % 10_007:05}" for i in range(5000)]
    labels.add(pl.DataFrame({"inference_id": names, "label": list(range(5000))}), tmp_path, day(1))
    wanted = pl.Series([*names[:50], "nobody", "", "zzz"])
    few = labels.of(tmp_path, wanted)
    assert len(wanted) * 32 < 5000 and few.height == 50
    many = labels.of(tmp_path, pl.Series(names[:4000]))
    assert many.height == 4000 and few.equals(many.filter(pl.col("inference_id").is_in(wanted.implode())))


def test_threads_that_import_at_once_lose_nothing(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for n in range(15):
                labels.add(frame({f"r{k}-{n}": n, f"shared{n}": n}), tmp_path, day(n))
                assert labels.of(tmp_path, pl.Series([f"r{k}-{n}"])).height == 1
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(held(tmp_path)) == 4 * 15 + 15


CHILD = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import polars as pl
from modelyard.monitor import labels
from modelyard.monitor.labels import segments
segments.FAN = 3
folder, first = Path(sys.argv[1]), int(sys.argv[2])
for n in range(first, first + 1000):
    rows = pl.DataFrame({"inference_id": [f"r{n}", f"r{n - 1}", "shared"], "label": [n, n - 1, n]})
    print("begun", n, flush=True)
    labels.add(rows, folder, datetime(2013, 3, 1, tzinfo=UTC) + timedelta(minutes=n))
    print("added", n, flush=True)
"""


def test_kill_9_loses_no_label_that_was_acknowledged(tmp_path: Path) -> None:
    """A process that adds and tidies without end is killed at any moment, again and again; the next one goes on."""
    begun = added = -1
    rng = random.Random(7)
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(added + 1)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            word, n = line.split()
            begun, added = (int(n), added) if word == "begun" else (begun, int(n))
            if word == "begun" and rng.random() < 0.03:
                time.sleep(rng.random() * 0.01)
                child.kill()
                break
        for line in child.stdout:  # what it still did
            word, n = line.split()
            begun, added = (int(n), added) if word == "begun" else (begun, int(n))
        child.wait()
        child.stdout.close()
        known = held(tmp_path)
        numbers = {int(id[1:]): label for id, label in known.items() if id != "shared"}
        assert set(range(-1, added + 1)) <= set(numbers) <= set(range(-1, begun + 1))
        assert all(n == label for n, label in numbers.items()) and known["shared"] in (added, begun)
    assert added > 3 * segments.FAN, "it was tidied many times"


def test_imports_that_say_nothing_new_are_merged_too(tmp_path: Path) -> None:
    ids = [f"id{i}" for i in range(segments.FAN + 2)]
    labels.add(frame(dict.fromkeys(ids, 1)), tmp_path, day(0))
    for n in range(1, segments.FAN + 2):
        assert labels.add(frame(dict.fromkeys(ids[:n], 1)), tmp_path, day(n)).repeated == n
    assert len(files(tmp_path)) < segments.FAN and held(tmp_path) == dict.fromkeys(ids, 1)
    seen = set[str]().union(*(segment.about.imports for segment in segments.listed(tmp_path)))
    assert len(seen) == segments.FAN + 2, "each is known still"


@pytest.mark.parametrize("range_", [16, 64, 4096])
def test_files_are_merged_a_range_of_ids_at_a_time(range_: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "RANGE", range_)
    rng, wanted = random.Random(range_), dict[str, int]()
    for n in range(segments.FAN):
        given = {f"id{rng.randrange(500):03}": rng.randrange(9) for _ in range(200)}
        wanted |= given
        labels.add(frame(given, day(n)), tmp_path, day(n))
    assert len(files(tmp_path)) == 1 and held(tmp_path) == wanted
    [segment] = segments.listed(tmp_path)
    rows = segment.frame()
    assert rows.equals(rows.sort(segments.ORDER)) and segment.about.rows == rows.height == rows.unique().height
