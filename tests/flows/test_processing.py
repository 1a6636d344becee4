"""Processing steps and training in the order that follows from what they take, on the local target, with scripts of a few lines."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.build.envs import Env
from modelyard.config.spec import STAGES, Config
from modelyard.durable import Run
from modelyard.errors import BadInput, GateRefused, NotFound, StepFailed, YardError
from modelyard.events import StepDone
from modelyard.flows import processing, references, steps
from modelyard.flows.build import make
from modelyard.flows.site import SPLITS, Order, Site
from modelyard.home import Home
from modelyard.targets.local import LocalTarget
from modelyard.workshop import Workshop

TRAIN = """
import json, os
told = {n: sorted(os.listdir(os.environ["SM_CHANNEL_" + n.upper()])) for n in json.loads(os.environ["SM_CHANNELS"])}
json.dump(told, open(os.path.join(os.environ["SM_MODEL_DIR"], "told.json"), "w"))
open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "curve.txt"), "w").write("curve")
print("loss=0.5"); print("loss=0.25")
"""
LISTS = """
import json, os, pathlib, sys
base = pathlib.Path(os.environ["MODELYARD_PROCESSING_DIR"])
found = [p for p in sorted(base.glob("input/*/*")) if "code" not in p.parts]
told = {str(p.relative_to(base / "input")): p.read_text(errors="replace")[:20] for p in found}
told = {"files": told, "rows": 7, "a/b": [1, {"c": True}], "argv": sys.argv[1:], "env": os.environ.get("COLOUR")}
for out in (base / "output").iterdir():
    (out / "told.json").write_text(json.dumps(told))
"""
COPIES = """
import os, pathlib, shutil
base = pathlib.Path(os.environ["MODELYARD_PROCESSING_DIR"])
for name in ("train", "validation", "test"):
    shutil.copy(base / "input" / name / (name + ".parquet"), base / "output" / name)
"""


class Bench:
    """A repository of scripts, its config, and a run that can be gone through again as after a crash."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.repository = Home(home / "yard"), home / "repository"
        self.repository.mkdir()
        monkeypatch.setattr(processing.envs, "ensure", lambda lock, home: Env("0", Path(sys.executable), lock))
        monkeypatch.setattr(steps, "predict", lambda site, lock, code: (site.folder / "holdout.parquet").write_bytes(b"scored") and None)
        monkeypatch.setattr(steps, "compile", lambda site, lock, code: None)
        self.shop = Workshop(self.home, LocalTarget(self.home, lambda *failure: None))

    def script(self, name: str, text: str) -> None:
        (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
        (self.repository / name).write_text(text)

    def site(self, listed: dict[str, dict[str, Any]], **parts: Any) -> Site:
        self.script("train.py", TRAIN)
        asked = {
            "version": 1,
            "model": {"name": "demo", "problem_type": "regression"},
            "data": {"source": {"using": "csv", "location": "d.csv"}, "target_col": "y"},
            **parts,
            "train": {"framework": "sklearn", "entry_point": "train.py", **parts.get("train", {})},
            "steps": [{"name": n, "entry_point": "lists.py", "outputs": ["out"], **step} for n, step in listed.items()],
        }
        self.script("lists.py", LISTS)
        config = Config.model_validate(asked)
        order = Order({str(s): config.model_dump(mode="json", by_alias=True) for s in STAGES}, "0", str(self.repository), "alice", [])
        self.record = self.shop.runs.start("demo", "build", asdict(order), by="alice")
        return self.again()

    def again(self) -> Site:
        """The run's site, as a start of the platform finds it."""
        order = Order(**self.record.args)
        return Site(self.shop, Run(self.shop.runs, self.record, self.shop.runs.feed(self.record.id)), order, order.config)

    def settled(self, site: Site) -> tuple[dict[str, Any], dict[str, Any]]:
        """The receipts of packaging and of the data; splits and a lock are there."""
        code = steps.package(site).value
        ids = {"id": ["a", "b"]} if site.config.data.id_col == "id" else {}
        for name in SPLITS:
            site.raw(name).parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0], **ids}).write_parquet(site.raw(name))
        site.lock_file().write_text("")
        return code, {"digest": "abc", "rows": 6}

    def go(self, listed: dict[str, dict[str, Any]], **parts: Any) -> tuple[Site, processing.Line]:
        site = self.site(listed, **parts)
        code, data = self.settled(site)
        line = make(site, code, data)
        line.after()
        return site, line

    def told(self, site: Site, step: str) -> Any:
        return json.loads((site.folder / "steps" / step / "out" / "told.json").read_text())

    def done(self) -> dict[str, Any]:
        """The receipts of jobs and of what was left out, in order."""
        return {n: v for n, v in self.shop.runs.receipts(self.record.id).items() if isinstance(v, dict)}

    def ran(self) -> list[str]:
        """Names of the steps that ended, in order."""
        return [e.event.step for e in self.shop.journal.entries("demo") if isinstance(e.event, StepDone)]


@pytest.fixture
def bench(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(home, monkeypatch)
    yield bench
    bench.shop.close()
    bench.shop.target.close()


def takes(**inputs: str) -> dict[str, Any]:
    return {"inputs": inputs}


def test_steps_take_what_others_made_wherever_they_stand_in_the_file(bench: Bench) -> None:
    bench.script("lookup/names.txt", "names")
    bench.script("copies.py", COPIES)
    site, _ = bench.go(
        {
            "report": takes(scored="predict.holdout", model="train.model", more="train.output", first="steps.first.out"),
            "second": takes(first="steps.first.out", raw="data.train", seen="preprocess.validation"),
            "first": {
                **takes(names="./lookup/names.txt", folder="./lookup"),
                "arguments": ["--rate", "0.5"], "environment": {"COLOUR": "red"},
            },
        },
        preprocess={"entry_point": "copies.py", **takes(first="steps.first.out")},
        train=takes(second="steps.second.out", validation="steps.first.out"),
    )  # fmt: skip
    assert list(bench.done()) == ["steps.first", "preprocess", "steps.second", "train", "steps.report"]
    first, report = bench.told(site, "first"), bench.told(site, "report")
    assert first["files"] == {"folder/names.txt": "names", "names/names.txt": "names"}
    assert (first["argv"], first["env"]) == (["--rate", "0.5"], "red")
    assert list(bench.told(site, "second")["files"]) == ["first/told.json", "raw/train.parquet", "seen/validation.parquet"]
    assert list(report["files"]) == [
        "first/told.json", "model/model.tar.gz", "model/told.json", "more/curve.txt", "scored/holdout.parquet",
    ]  # fmt: skip
    channels = json.loads((site.model / "told.json").read_text())
    assert channels == {"second": ["told.json"], "train": ["train.parquet"], "validation": ["told.json"]}
    assert {"steps.first", "preprocess", "train", "steps.report"} <= set(bench.ran())


def test_after_a_crash_only_what_has_no_receipt_is_run_again(bench: Bench) -> None:
    site = bench.site({"a": {}, "b": {"entry_point": "fails.py", **takes(a="steps.a.out")}})
    bench.script("fails.py", "raise SystemExit(3)")
    code, data = bench.settled(site)
    with pytest.raises(StepFailed, match=r"fails\.py exited with 3"):
        processing.Line(site, code, data).before()
    (site.folder / "steps" / "a" / "out" / "told.json").write_text("kept")
    again = bench.again()
    (again.folder / "step-code" / "b" / "fails.py").write_text(LISTS)
    processing.Line(again, code, data).before()
    assert bench.told(again, "b")["files"] == {"a/told.json": "kept"}
    assert bench.ran() == ["steps.a", "steps.b"]


def test_a_condition_leaves_out_a_step_and_all_that_needs_it(bench: Bench) -> None:
    when: Callable[..., dict[str, Any]] = lambda value, **comparison: {"when": {"value": value, **comparison}}  # noqa: E731
    site, _ = bench.go(
        {
            "count": {},
            "more": {**when("steps.count.out/told.json#/rows", above=7), **takes(count="steps.count.out")},
            "most": takes(more="steps.more.out"),
            "deep": when("steps.count.out/told.json#/a~1b/1/c", equals=True),
            "good": when("metrics.loss", below=0.3),
            "bad": when("metrics.loss", above=0.3),
            "deep_enough": when("hyperparameters.depth", at_least=3),
            "few": when("data.rows", at_most=5),
        },
        train={"hyperparameters": {"depth": 3}, "metric_definitions": [{"name": "loss", "regex": "loss=([0-9.]+)"}]},
    )
    left_out = {name: value["left_out"] for name, value in bench.done().items() if "left_out" in value}
    assert left_out == {
        "steps.more": "steps.count.out/told.json#/rows is 7, not above 7",
        "steps.most": "it needs steps.more, which was left out",
        "steps.bad": "metrics.loss is 0.25, not above 0.3",
        "steps.few": "data.rows is 6, not at most 5",
    }
    assert {n for n in ("count", "deep", "good", "deep_enough") if (site.folder / "steps" / n / "out").exists()} == {
        "count", "deep", "good", "deep_enough",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "comparison", "error", "said"),
    [
        ("data.rows", {"above": 6, "otherwise": "fail"}, GateRefused, "condition of steps.a does not hold: data.rows is 6, not above 6"),
        ("steps.b.out/other.json#/rows", {"above": 6}, StepFailed, "steps.b.out/other.json is not there"),
        ("steps.b.out/told.json#/rows/x", {"above": 6}, StepFailed, "there is no `x`"),
        ("steps.b.out/told.json#/files", {"above": 6}, StepFailed, "is no number"),
        ("metrics.loss", {"above": 6}, StepFailed, "there is no metrics.loss"),
    ],
)
def test_a_condition_that_fails_the_build(bench: Bench, value: str, comparison: dict[str, Any], error: type[YardError], said: str) -> None:
    listed = {"a": {"when": {"value": value, **comparison}}, "b": {}}
    metrics = [{"name": "loss", "regex": "never=([0-9]+)"}]
    with pytest.raises(error) as caught:
        bench.go(listed, train={"metric_definitions": metrics})
    assert said in caught.value.what


def test_preprocess_cannot_have_its_hold_out_stand_in_for_another_split(bench: Bench) -> None:
    link = "\n(base / 'output/train/train.parquet').unlink(); (base / 'output/train/train.parquet').symlink_to('../test/test.parquet')\n"
    bench.script("copies.py", COPIES + link)
    with pytest.raises(BadInput, match=r"left no train\.parquet"):
        bench.go({}, preprocess={"entry_point": "copies.py"})


PREPARES = """
import os, pathlib
import polars as pl
base = pathlib.Path(os.environ["MODELYARD_PROCESSING_DIR"])
for name in ("train", "validation", "test"):
    rows, file = pl.read_parquet(base / "input" / name / (name + ".parquet")), base / "output" / name / (name + ".parquet")
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("file.write_text('no table')", r"its train\.parquet cannot be read"),
        ("rows.drop('y').write_parquet(file)", "the rows lost `y` on the way to the model"),
        ("rows.drop('id').write_parquet(file)", "the rows lost `id` on the way to the model"),
        ("rows.drop('y' if name == 'test' else []).write_parquet(file)", r"`y` is in train\.parquet and not in test\.parquet"),
        ("rows.with_columns(z=pl.lit(1)).drop('z' if name == 'train' else []).write_parquet(file)", "`z` is in validation"),
        ("rows.cast({'x': pl.Int64 if name == 'test' else pl.Float64}).write_parquet(file)", "`x` is Float64 in train.* and Int64 in test"),
        (
            "rows.with_columns(n=None if name == 'test' else pl.lit(1.5)).write_parquet(file)",
            "and all missing, and without a type, in test",
        ),
        ("rows.select(rows.columns[::-1] if name == 'test' else rows.columns).write_parquet(file)", "stand in another order"),
        ("rows.head(0 if name == 'train' else 9).write_parquet(file)", r"train\.parquet has no rows"),
        ("rows.head(0 if name == 'test' else 9).write_parquet(file)", r"test\.parquet has no rows"),
        (
            "rows.with_columns(__index_level_0__=pl.lit(1)).drop('__index_level_0__' if name == 'train' else []).write_parquet(file)",
            "pandas' index is a column",
        ),
        ("rows.with_columns(y=pl.when(pl.lit(name != 'test')).then(pl.col('y'))).write_parquet(file)", "`y` is missing in 2 rows of test"),
        ("rows.with_columns(v=pl.concat_list('x', 'y')).write_parquet(file)", "`v` is List.*, which CSV cannot hold"),
    ],
)
def test_what_preprocess_left_is_looked_at_before_anything_learns_from_it(bench: Bench, line: str, said: str) -> None:
    bench.script("prepares.py", f"{PREPARES}    {line}\n")
    data = {"source": {"using": "csv", "location": "d.csv"}, "target_col": "y", "id_col": "id", "channel_format": "csv"}
    with pytest.raises(BadInput, match=said) as caught:
        bench.go({}, preprocess={"entry_point": "prepares.py"}, data=data)
    assert caught.value.next
    assert "train" not in bench.done()


def test_preprocess_may_leave_no_rows_to_validate(bench: Bench) -> None:
    bench.script("prepares.py", f"{PREPARES}    rows.head(0 if name == 'validation' else 9).write_parquet(file)\n")
    bench.go({}, preprocess={"entry_point": "prepares.py"})
    assert "train" in bench.done()


def test_postprocess_may_replace_the_model_and_a_second_try_finds_the_trained_one(bench: Bench) -> None:
    bench.script("halves.py", LISTS.replace('"told.json"', '"halved.json"'))
    site, line = bench.go(
        {
            "scale": takes(model="train.model"),
            "late": takes(model="train.model", scored="predict.holdout"),
        },
        postprocess={"entry_point": "halves.py", **takes(scale="steps.scale.out")},
    )
    assert list(bench.done()) == ["train", "steps.scale", "postprocess", "steps.late"]
    assert bench.done()["postprocess"]["replaced"]
    halved = json.loads((site.model / "halved.json").read_text())
    assert list(halved["files"]) == ["model/told.json", "scale/told.json", "train/train.parquet", "validation/validation.parquet"]
    assert [p.name for p in references.trained(site).iterdir()] == ["told.json"]
    assert list(bench.told(site, "late")["files"]) == ["model/model.tar.gz", "model/told.json", "scored/holdout.parquet"], "as trained"
    line._postprocess()
    assert [p.name for p in site.model.iterdir()] == ["halved.json"]
    assert "model/told.json" in json.loads((site.model / "halved.json").read_text())["files"]


def test_postprocess_that_writes_nothing_leaves_the_model(bench: Bench) -> None:
    bench.script("looks.py", "")
    site, _ = bench.go({}, postprocess={"entry_point": "looks.py"})
    assert not bench.done()["postprocess"]["replaced"]
    assert [p.name for p in site.model.iterdir()] == ["told.json"]


def test_metrics_are_read_off_the_log_of_training(bench: Bench) -> None:
    site, _ = bench.go({}, train={"metric_definitions": [{"name": "loss", "regex": "loss=([0-9.]+)"}]})
    assert bench.done()["train"]["metrics"] == {"loss": 0.25}
    rows = [json.loads(row) for row in (site.folder / "metrics.json").read_text().splitlines()]
    assert [(row["name"], row["value"], row["step"]) for row in rows] == [("loss", 0.5, 0), ("loss", 0.25, 1)]


def test_a_retry_is_said(bench: Bench) -> None:
    text = 'c = os.path.join(os.environ["SM_MODEL_DIR"], "../checkpoints/c")\n'
    text += 'if not os.path.exists(c):\n    open(c, "w")\n    raise SystemExit(5)\n'
    bench.script("flaky.py", TRAIN.replace("told =", f"{text}told ="))
    site, _ = bench.go({}, train={"entry_point": "flaky.py", "retries": 1})
    said = [e.event.summary for e in bench.shop.journal.entries("demo") if isinstance(e.event, StepDone) and e.event.step == "train"]
    assert said[0].endswith("; begun again after flaky.py exited with 5")
    lines = [item["text"] for item in site.run.feed.items() if item["kind"] == "line"]
    assert "modelyard: flaky.py exited with 5; begun again (retry 1 of 1), with 1 checkpoint files" in lines


def test_a_job_has_all_that_the_config_says(bench: Bench) -> None:
    train = {
        "contract": "v3", "arguments": ["fit"], "model_path": "outputs",
        "environment": {"A": "1"}, "retries": 2, "network_isolation": True, "hyperparameters": {"a": 1},
        "instances": {"count": 3, "cpus": 2, "max_runtime": "5m"}, "metric_definitions": [{"name": "m", "regex": "m=(.*)"}],
    }  # fmt: skip
    step = {
        "environment": {"B": "2"},
        "cpus": 4,
        "max_runtime": "2m",
        "network_isolation": True,
        "arguments": ["-x"],
        "input_paths": {"d": "/opt/ml/processing/d"},
        "output_paths": {"out": "/opt/ml/processing/o"},
        **takes(d="data.snapshot"),
    }
    site = bench.site({"a": step}, train=train)
    code, data = bench.settled(site)
    job = processing.training(site, "", code, data)
    assert (job.contract, job.environment, job.instances, job.retries, job.metrics) == ("v3", {"A": "1"}, 3, 2, (("m", "m=(.*)"),))
    assert (job.arguments, job.model_path) == (("fit",), "outputs")
    assert (job.cpus, job.timeout, job.network, job.hyperparameters) == (2, 300.0, False, {"a": 1})
    line = processing.Line(site, code, data)
    made = line._job("a", line._inputs(site.config.steps[0]), ("out",))
    assert (made.input_paths, made.output_paths) == ({"d": "/opt/ml/processing/d"}, {"out": "/opt/ml/processing/o"})
    assert (made.environment, made.cpus, made.timeout, made.network, made.arguments) == ({"B": "2"}, 4, 120.0, False, ("-x",))
    assert made.inputs == {"d": bench.home.path / "snapshots" / "abc"}
    assert (made.entry_point, (made.code / "lists.py").read_text()) == ("lists.py", LISTS)


@pytest.mark.parametrize(
    ("data", "file", "text"),
    [
        ({"channel_format": "csv"}, "train.csv", "x,y,z\n1.0,3.0,5.0\n2.0,4.0,6.0\n"),
        ({"channel_format": "csv_no_header"}, "train.csv", "3.0,1.0,5.0\n4.0,2.0,6.0\n"),
        ({"channel_format": "csv_no_header", "channel_target": "last"}, "train.csv", "1.0,5.0,3.0\n2.0,6.0,4.0\n"),
        ({"channel_format": "jsonl"}, "train.jsonl", '{"x":1.0,"y":3.0,"z":5.0}\n{"x":2.0,"y":4.0,"z":6.0}\n'),
    ],
)
def test_splits_in_the_format_that_scripts_read(bench: Bench, data: dict[str, Any], file: str, text: str) -> None:
    data = {"source": {"using": "csv", "location": "d.csv"}, "target_col": "y", **data}
    part = {"entry_point": "lists.py", **takes(more="data.train")}
    site = bench.site({"a": takes(rows="data.train"), "b": takes(rows="data.train")}, data=data, preprocess=part, postprocess=part)
    code, settled = bench.settled(site)
    pl.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0], "z": [5.0, 6.0]}).write_parquet(site.raw("train"))
    line = processing.Line(site, code, settled)
    assert site.config.preprocess is not None and site.config.postprocess is not None
    for part_ in (*site.config.steps, site.config.preprocess, site.config.postprocess):
        (folder,) = line._inputs(part_).values()
        assert [p.name for p in folder.iterdir()] == [file]
        assert (folder / file).read_text() == text
    raw = references.path_of(site, "data.train", "abc")
    assert [p.name for p in raw.iterdir()] == ["train.parquet"], "the fixed inputs of preprocess and postprocess"


def test_channels_are_those_that_are_named_where_a_split_is(bench: Bench) -> None:
    site = bench.site({"a": {}}, train=takes(more="steps.a.out"))
    assert list(processing.training(site, "", *bench.settled(site)).inputs) == ["train", "validation", "more"]
    site = bench.site({"a": {}}, train=takes(training="data.train", more="steps.a.out"))
    assert list(processing.training(site, "", *bench.settled(site)).inputs) == ["training", "more"]


def test_the_model_is_offered_as_sagemaker_does(bench: Bench) -> None:
    """evaluate.py of many an example opens model.tar.gz."""
    script = """
import os, pathlib, tarfile
base = pathlib.Path(os.environ["MODELYARD_PROCESSING_DIR"])
tarfile.open(base / "model" / "model.tar.gz").extractall("/tmp")
(base / "evaluation" / "evaluation.json").write_text(open("/tmp/told.json").read())
"""
    bench.script("evaluate.py", script)
    paths = {
        "outputs": ["out"],
        "input_paths": {"model": "/opt/ml/processing/model"},
        "output_paths": {"out": "/opt/ml/processing/evaluation"},
    }
    site, _ = bench.go({"judge": {"entry_point": "evaluate.py", **paths, **takes(model="train.model")}})
    assert (site.folder / "steps/judge/out/evaluation.json").read_text() == (site.model / "told.json").read_text()
    place = references.path_of(site, "train.model", "abc")
    before = (place / "model.tar.gz").read_bytes()
    shutil.rmtree(place)
    os.utime(site.model / "told.json", (1, 1))
    assert (references.path_of(site, "train.model", "abc") / "model.tar.gz").read_bytes() == before
    assert [path.name for path in site.model.iterdir()] == ["told.json"], "the model itself stays as it is"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("open('data/rows.csv')", "data/ was left out of the copied code: it has over 10 MB; .*name it in train.inputs"),
        (
            "import os\nopen(os.path.dirname(os.path.abspath(__file__)) + '/d.csv')",
            "d.csv was left out of the copied code: the build reads",
        ),
        ("open('nothing.csv')", "the whole log is"),
    ],
)
def test_a_script_that_looks_for_what_was_left_out_is_told_so(bench: Bench, script: str, said: str) -> None:
    bench.script("d.csv", "x\n")
    bench.script("data/rows.csv", "x\n" * (6 * 2**20))
    site = bench.site({}, train={"entry_point": "looks.py"})
    bench.script("looks.py", script)
    code, data = bench.settled(site)
    with pytest.raises(StepFailed, match=r"looks\.py exited with 1") as caught:
        processing.train(site, "", code, data)
    assert re.search(said, caught.value.next)


def test_code_of_steps_and_files_of_the_repository_are_settled_and_digested(bench: Bench) -> None:
    bench.script("lookup.txt", "one")
    site = bench.site({"a": takes(lookup="./lookup.txt")})
    digests = [steps.package(site).value["digest"]]
    for name, text in (("lookup.txt", "two"), ("lists.py", "print()")):
        bench.script(name, text)
        digests.append(steps.package(site).value["digest"])
    assert len(set(digests)) == 3
    (bench.repository / "lookup.txt").unlink()
    with pytest.raises(NotFound, match=r"there is no \./lookup\.txt"):
        steps.package(site)


def test_a_folder_of_the_repository_is_whole_with_what_its_links_lead_to(bench: Bench, tmp_path: Path) -> None:
    for name in ("lookups/a.txt", "shared/b.txt"):
        bench.script(name, name)
    link = bench.repository / "lookups" / "more"
    link.symlink_to("../shared")
    site = bench.site({"a": takes(lookups="./lookups")})
    steps.package(site)
    copied = site.folder / references.FILES
    assert sorted(p.relative_to(copied).as_posix() for p in copied.rglob("*.txt")) == ["lookups/a.txt", "lookups/more/b.txt"]
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "c.txt").write_text("")
    for target, said in (
        ("../lookups", "leads back to where it lies"),
        ("..", "leads back to where it lies"),
        (tmp_path / "away", "leads out"),
    ):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(BadInput, match=said):
            steps.package(site)
