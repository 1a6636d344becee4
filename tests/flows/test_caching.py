"""The step cache: the same is not done twice, nothing else is taken for the same, and nothing that is damaged is taken at all."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.durable import Outcome
from modelyard.errors import YardError
from modelyard.events import ApprovalWaived
from modelyard.flows import caching, jobs
from modelyard.home import Home
from modelyard.targets.base import Job


@dataclass
class Bench:
    """Runs of one home, each a site of its own, and a step that counts how often it was done."""

    home: Path
    done: int = 0

    def site(self, run: str, cache: bool = True) -> Any:
        folder = self.home / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        shop = SimpleNamespace(home=SimpleNamespace(path=self.home))
        return SimpleNamespace(shop=shop, run=SimpleNamespace(id=run, model="m"), order=SimpleNamespace(cache=cache), folder=folder)

    def step(self, run: str, key: dict[str, Any] | None = None, text: str = "made", cache: bool = True) -> Outcome[Any]:
        site = self.site(run, cache)

        def work() -> Outcome[Any]:
            self.done += 1
            (site.folder / "model" / "empty").mkdir(parents=True, exist_ok=True)
            (site.folder / "model" / "weights").write_text(text)
            (site.folder / "model" / "serve").write_text("#!/bin/sh\n")
            (site.folder / "model" / "serve").chmod(0o755)
            (site.folder / "table.json").write_text("{}")
            return Outcome({"rows": 1}, summary="well")

        return caching.cached(site, key or {"a": 1}, site.folder, ["model", "table.json", "not-there"], work)

    def model(self, run: str) -> Path:
        return self.home / "runs" / run / "model"

    @property
    def entries(self) -> list[Path]:
        return [path.parent for path in (self.home / "cache").glob("*/entry.json")]


@pytest.fixture
def bench(home: Path) -> Bench:
    return Bench(home)


def test_the_same_is_not_done_again_and_the_step_says_so(bench: Bench) -> None:
    first = bench.step("one")
    (bench.home / "runs" / "two").mkdir()
    (bench.home / "runs" / "two" / "not-there").write_text("left by a killed try")
    second = bench.step("two")
    assert bench.done == 1
    assert second.value == first.value and second.summary == "kept from run one: well"
    assert (bench.model("two") / "weights").read_text() == "made" and (bench.model("two") / "empty").is_dir()
    assert stat.S_IMODE((bench.model("two") / "serve").stat().st_mode) == 0o755
    assert not (bench.home / "runs" / "two" / "not-there").exists()
    assert sorted(path.name for path in (bench.home / "runs" / "two").iterdir()) == ["model", "table.json"]


def test_what_a_later_step_does_to_its_files_is_seen_by_no_other_run(bench: Bench) -> None:
    bench.step("one")
    bench.step("two")
    (bench.model("two") / "weights").write_text("changed in place")
    bench.step("three")
    assert bench.done == 1 and (bench.model("three") / "weights").read_text() == "made"
    (bench.model("one") / "weights").write_text("changed in place")  # its file is the cache's own
    assert bench.step("four").summary == "well" and bench.done == 2, "what was changed is not taken for what was made"
    assert (bench.model("four") / "weights").read_text() == "made"


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "no json", "other value", "no content"])
def test_a_damaged_entry_is_as_good_as_none(bench: Bench, damage: str) -> None:
    bench.step("one")
    (entry,) = bench.entries
    weights, mark = entry / "content" / "model" / "weights", entry / "entry.json"
    if damage == "bit":
        weights.write_bytes(b"nade")
    elif damage == "cut":
        os.truncate(weights, 2)
    elif damage == "gone":
        weights.unlink()
    elif damage == "no json":
        mark.write_text("{")
    elif damage == "other value":
        mark.write_text(json.dumps({"value": 1}))
    else:
        (entry / "content").rename(entry / "elsewhere")
    assert bench.step("two").summary == "well" and bench.done == 2
    assert (bench.model("two") / "weights").read_text() == "made"
    assert bench.step("three").summary.startswith("kept from run two") and bench.done == 2, "and the whole one takes its place"


def test_a_failed_step_is_never_kept(bench: Bench) -> None:
    site = bench.site("one")

    def fail() -> Outcome[Any]:
        (site.folder / "model").mkdir()
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        caching.cached(site, {"a": 1}, site.folder, ["model"], fail)
    assert not bench.entries and bench.step("two").summary == "well"


def test_without_the_cache_it_is_done_again_and_not_kept(bench: Bench) -> None:
    bench.step("one")
    assert bench.step("two", cache=False).summary == "well" and bench.done == 2
    assert json.loads((bench.entries[0] / "entry.json").read_text())["run"] == "one"


def test_facts_and_what_is_no_plain_file_are_not_kept(bench: Bench) -> None:
    site = bench.site("one")
    caching.cached(site, {"a": 1}, site.folder, [], lambda: Outcome(1, [ApprovalWaived("m", "1", "staging", "r")]))

    def link() -> Outcome[Any]:
        (site.folder / "model").mkdir()
        (site.folder / "model" / "passwd").symlink_to("/etc/passwd")
        return Outcome(1)

    caching.cached(site, {"a": 2}, site.folder, ["model"], link)
    assert not bench.entries and not list((bench.home / "cache").glob(".keeping-*"))


# -- what counts as the same --------------------------------------------------------------------------------------------------------


def test_files_count_by_name_bit_and_content_wherever_they_lie(bench: Bench) -> None:
    site, other = bench.site("one"), bench.site("two")

    def put(where: Any, name: str = "a.py", text: str = "x", mode: int = 0o644) -> str:
        folder = where.folder / "code"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
        return caching.digest_of(where, {"code": folder})

    same = put(site)
    assert put(other) == same
    found = [same, put(site, text="y"), put(site, name="b.py"), put(site, mode=0o755), put(site, text="")]
    assert len(set(found)) == len(found)
    with pytest.raises(YardError, match="has no digest"):
        caching.digest_of(site, {"code": object()})


def test_what_is_known_of_files_holds_until_they_change(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    site, hashed = bench.site("one"), []
    real = caching._hash
    monkeypatch.setattr(caching, "_hash", lambda file: hashed.append(file.name) or real(file))
    folder = site.folder / "data"
    folder.mkdir()
    (folder / "rows").write_text("1")
    before = caching.content(site, folder)
    assert caching.content(site, folder) == before and hashed == ["rows"], "read once"
    (folder / "rows").write_text("2")
    assert caching.content(site, folder) != before
    caching.know(site, folder, "known from what it was made of")
    assert caching.content(site, folder) == "known from what it was made of"
    os.utime(folder / "rows")
    assert caching.content(site, folder) != "known from what it was made of"


def test_everything_of_a_job_counts_but_where_and_under_what_name_it_runs(bench: Bench) -> None:
    """Whatever is added to Job counts too, unless somebody says otherwise here."""
    code, rows = bench.home / "code", bench.home / "rows"
    for folder in (code, rows):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    job = Job("run-1", "train", "train", Path("/usr/bin/python3"), "train.py", code, bench.home / "base", {"train": rows})
    site = bench.site("run-1")

    def digest(of: Job) -> str:
        return caching.digest_of(site, jobs._key(site, of))

    other: dict[type, Callable[[Any], Any]] = {
        str: lambda v: v + "x", int: lambda v: v + 1, float: lambda v: v + 1.0, bool: lambda v: not v, tuple: lambda v: (*v, ("x", "y")),
        dict: lambda v: {**v, "more": rows}, type(None): lambda v: 1,
    }  # fmt: skip
    for field in fields(Job):
        value = getattr(job, field.name)
        changed = Path("/usr/bin/python3.9") if field.name == "python" else rows if isinstance(value, Path) else other[type(value)](value)
        if field.name in ("run", "name", "base"):
            assert digest(replace(job, **{field.name: changed})) == digest(job), field.name
        else:
            assert digest(replace(job, **{field.name: changed})) != digest(job), field.name
    (rows / "file").write_text("edited")
    before = digest(job)
    (rows / "file").write_text("edited again")
    assert digest(job) != before


def test_another_modelyard_does_everything_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.step("one")
    monkeypatch.setattr(caching, "own_source", lambda: "another")
    bench.step("two")
    assert bench.done == 2


# -- at once, cut short, too much ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["link", "replace", "rename", "copy"])
def test_a_kill_leaves_no_half_entry(bench: Bench, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Whatever the last thing is that a process does: KeyboardInterrupt stands for its end, and what it would clean up is put back."""
    kept = bench.home / "kept-as-it-was"

    def die(*_: Any, **__: Any) -> None:
        left = next((bench.home / "cache").glob(".keeping-*"), None)
        if left is not None:
            os.rename(left, kept)  # noqa: PTH104  (the other one is what dies)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if at == "copy":
            bench.step("zero")
            patch.setattr(Path, "chmod", die)
        else:
            patch.setattr({"link": os, "replace": caching.files, "rename": Path}[at], at, die)
        with pytest.raises(KeyboardInterrupt):
            bench.step("one")
    if kept.exists():
        kept.rename(bench.home / "cache" / ".keeping-left")
    done = bench.done
    Home(bench.home).sweep()
    assert not list((bench.home / "cache").glob(".keeping-*"))
    found = bench.step("one")
    assert (bench.model("one") / "weights").read_text() == "made"
    assert (found.summary, bench.done) == (("kept from run zero: well", done) if at == "copy" else ("well", done + 1))
    assert bench.step("two").summary.startswith("kept from run")


def test_many_at_once_find_whole_results_while_entries_come_and_go(bench: Bench) -> None:
    gate, wrong = threading.Barrier(6), []

    def go(thread: int) -> None:
        gate.wait()
        for n in range(25):
            key = {"n": n % 3}
            run = f"run-{thread}-{n}"
            bench.step(run, key, text=f"made {n % 3}")
            if (bench.model(run) / "weights").read_text() != f"made {n % 3}":
                wrong.append(run)
            if thread == 0:
                caching.sweep(bench.home / "cache", 0)

    threads = [threading.Thread(target=go, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and bench.done < 150
    assert not list((bench.home / "cache").glob(".keeping-*"))


def test_it_stays_within_its_limit_and_what_is_used_stays_longest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len("made") + len("#!/bin/sh\n") + len("{}")
    monkeypatch.setenv(caching.LIMIT, str(3.5 * size / 1e9))
    for n in range(3):
        bench.step(f"run-{n}", {"n": n})
        os.utime(next(e for e in bench.entries if json.loads((e / "entry.json").read_text())["run"] == f"run-{n}") / "entry.json", (n, n))
    assert bench.step("again", {"n": 0}).summary.startswith("kept from run run-0"), "which is its last use"
    bench.step("run-3", {"n": 3})
    assert sorted(json.loads((e / "entry.json").read_text())["run"] for e in bench.entries) == ["run-0", "run-2", "run-3"]
    monkeypatch.setenv(caching.LIMIT, "0")
    bench.step("run-4", {"n": 4})
    assert len(bench.entries) == 3, "0 keeps nothing"
    monkeypatch.setenv(caching.LIMIT, "much")
    with pytest.raises(YardError, match="no number of gigabytes"):
        bench.step("run-5", {"n": 5})


# -- sources ------------------------------------------------------------------------------------------------------------------------


def test_an_untouched_source_is_not_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, read = bench.home / "rows.csv", []
    rows.write_text("a\n1\n")

    def data(key: Any = "k", there: bool = True, cache: bool = True, path: Path | None = rows) -> str:
        def work() -> Outcome[Any]:
            read.append(1)
            return Outcome({"digest": rows.read_text()}, summary="1 row")

        return caching.remembered(bench.site("one", cache), key, path, work, holds=lambda value: there).summary

    assert [data(), data()] == ["1 row", "1 row"], "a file so new may be written again within its time"
    monkeypatch.setattr(caching, "RACY", 0.0)
    assert [data(), data()] == ["1 row", "1 row; the source is untouched"]
    assert [data(key="other"), data(), data(there=False), data(cache=False), data(path=None)] == ["1 row"] * 5
    assert data() == "1 row; the source is untouched" and len(read) == 8
    times = rows.stat()
    rows.write_text("a\n2\n")
    os.utime(rows, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert data() == "1 row", "its size and its time are the same, and that it was written is seen all the same"


def test_a_source_behind_a_link_is_read_again_once_it_was_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, link = bench.home / "rows.csv", bench.home / "current.csv"
    rows.write_text("a\n1\n")
    link.symlink_to("rows.csv")
    monkeypatch.setattr(caching, "RACY", 0.0)

    def data(path: Path) -> str:
        work = lambda: Outcome({"digest": rows.read_text()}, summary="read")  # noqa: E731
        return caching.remembered(bench.site("one"), "k", path, work, holds=lambda value: True).summary

    assert [data(link), data(link)] == ["read", "read; the source is untouched"]
    rows.write_text("a\n2\n")
    assert data(link) == "read"
    folder, parts = bench.home / "folder", bench.home / "parts"
    parts.mkdir()
    folder.mkdir()
    (folder / "linked").symlink_to("../parts")
    assert [data(folder), data(folder)] == ["read", "read"], "what lies behind it is not looked through"


def test_links_that_a_step_left_count_as_links_also_where_they_lead_nowhere(bench: Bench) -> None:
    site, found = bench.site("one"), []
    for target in ("/opt/ml/model/none", "/etc/shadow", "/etc"):
        folder = site.folder / f"model-{len(found)}"
        folder.mkdir()
        (folder / "latest").symlink_to(target)
        found.append(caching.content(site, folder))
    assert len(set(found)) == 3


def test_a_cache_with_room_is_not_gone_through_for_each_entry(tmp_path: Path) -> None:
    def entry(name: str, size: int) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / caching.ENTRY).write_text(json.dumps({"size": size}))

    entry("one", 100)
    entry("two", 100)
    caching.sweep(tmp_path, 1000)
    entry("two", 5000)  # behind its back
    caching.sweep(tmp_path, 1000, added=700)
    assert len(list(tmp_path.iterdir())) == 2, "there is known to be room"
    caching.sweep(tmp_path, 1000, added=200)
    assert list(tmp_path.iterdir()) == [], "where there is none, what there is counts"
