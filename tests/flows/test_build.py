"""A build of the smallest model: what is done, what is not done a second time, and that it says so; then made again and compared.

The tests go on from each other's home, in their order, since a home costs seconds.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import BadInput
from modelyard.flows import caching, jobs
from modelyard.yard import Yard

TINY = Path(__file__).parent.parent / "fixtures" / "tiny"


class Bench:
    """A yard, and the repository of a model beside it."""

    def __init__(self, home: Path, repository: Path) -> None:
        self.yard, self.repository = Yard(home), repository
        shutil.copytree(TINY, repository, dirs_exist_ok=True)
        numbers = random.Random(0)
        rows = [f"{numbers.gauss(2 * (n % 2), 0.7):.4f},{numbers.random():.4f},{n % 2}" for n in range(120)]
        (repository / "rows.csv").write_text("\n".join(["x,noise,label", *rows]) + "\n")
        for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "tiny"]):
            subprocess.run(["git", "-C", str(repository), *words], check=True, capture_output=True)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.repository / name
        text = path.read_text()
        assert re.search(old, text)
        path.write_text(re.sub(old, new, text))

    def build(self, **how: bool) -> tuple[str, dict[str, str]]:
        """How it ended, and what each step said of itself."""
        return self._ended(self.yard.build(str(self.repository / "config.yaml"), "ada", **how)["run"])

    def reproduce(self, version: str) -> tuple[str, dict[str, str]]:
        return self._ended(self.yard.reproduce("tiny", version, "ada")["run"])

    def _ended(self, run: str) -> tuple[str, dict[str, str]]:
        state = self.yard.wait(run)
        items = self.yard.shop.runs.feed(run).items()
        return state["reason"], {item["step"]: item["summary"] for item in items if item["kind"] == "step_done"}

    def manifest(self, version: str) -> dict[str, Any]:
        folder = self.yard.shop.bundle(self.yard.shop.version("tiny", version))
        return dict(json.loads((folder / "manifest.json").read_text()))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    home, repository = Path(tempfile.mkdtemp(prefix="yard-")), Path(tempfile.mkdtemp(prefix="tiny-"))
    bench = Bench(home, repository)
    yield bench
    bench.yard.close()
    for folder in (home, repository):
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder)


def test_a_first_build_does_every_step(bench: Bench) -> None:
    said, steps = bench.build()
    assert said == "built tiny:1"
    order = [
        "package",
        "lock",
        "data",
        "compare with what is there",
        "expectations",
        "split",
        "environment",
        "train",
        "predict",
        "compile",
        "evaluate",
    ]
    assert [name for name in steps if name in order] == order
    assert not any("kept from" in summary for summary in steps.values())
    made = bench.manifest("1")
    assert [name for name, _ in made["outputs"]] == ["train"] and made["hyperparameters"] == {"seconds": 0.0}
    folder = bench.yard.shop.bundle(bench.yard.shop.version("tiny", "1"))
    lock = (folder / "env" / "requirements.lock").read_text()
    assert re.fullmatch(r"# Python 3\.\d+, \S+ \S+\nnumpy==[\d.]+\n", lock), "no index, no host, no path"
    profile, card = (json.loads((folder / name).read_text()) for name in ("profile.json", "report.json"))
    assert [column["name"] for column in profile["columns"]] == ["x", "noise", "label"] and profile["rows"] == 120
    assert sum(profile["splits"].values()) == 120 and card["profile"]["rows"] == 120


def test_an_unchanged_build_stops_where_it_sees_that(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "RACY", 0.0)
    bench.build()
    said, steps = bench.build()
    assert said == "built tiny:1"
    assert list(steps) == ["package", "lock", "data", "compare with what is there"]
    assert steps["compare with what is there"] == "nothing has changed since tiny:1"
    assert "as resolved on" in steps["lock"] and "the source is untouched" in steps["data"]


@pytest.mark.parametrize("anew", [False, True], ids=["a version that is there", "a new version"])
def test_a_measure_of_drift_that_does_not_fit_is_refused(bench: Bench, anew: bool) -> None:
    path = bench.repository / "config.yaml"
    usual = path.read_text()
    try:
        path.write_text(usual + "\nmonitor: {drift: {overrides: {noise: {measure: cramers_v}}}}\n")
        if anew:
            bench.edit("config.yaml", r"threshold: 0\.8", "threshold: 0.75")
        said, steps = bench.build()
        assert "'cramers_v' does not measure numbers" in said and "train" not in steps, said
    finally:
        path.write_text(usual)


def test_a_column_that_is_called_as_an_answer_is_refused_before_training(bench: Bench) -> None:
    """Of its classes only the rows tell."""
    path = bench.repository / "rows.csv"
    usual = path.read_text()
    try:
        path.write_text("\n".join([f"{usual.splitlines()[0]},y.probability_0", *(f"{row},1" for row in usual.splitlines()[1:])]) + "\n")
        said, steps = bench.build()
        assert "`y.probability_0` is called as an answer of the model is" in said and "train" not in steps, said
    finally:
        path.write_text(usual)


def test_where_a_gate_changes_only_what_comes_of_it_is_done(bench: Bench) -> None:
    bench.edit("config.yaml", r"threshold: 0\.8", "threshold: 0.7")
    said, steps = bench.build()
    assert said == "built tiny:2"
    assert re.match(r"kept from run build-\w+: in|kept from run build-\w+: without a sandbox", steps["train"])
    assert "kept from run build-" in steps["predict"] and "kept from" not in steps["evaluate"]
    one, two = (pl.read_parquet(bench.yard.shop.bundle(bench.yard.shop.version("tiny", n)) / "holdout.parquet") for n in ("1", "2"))
    assert one.equals(two)


def test_where_the_script_changes_it_trains_again(bench: Bench) -> None:
    bench.edit("train.py", "training ended", "training has ended")
    said, steps = bench.build()
    assert said == "built tiny:3" and "kept from" not in steps["train"]
    assert "kept from" not in steps["predict"], "its model_fn is the script's"


def test_without_the_cache_everything_is_done_again(bench: Bench) -> None:
    said, steps = bench.build(cache=False)
    assert said == "built tiny:4"
    assert not any("kept from" in summary for summary in steps.values())
    assert steps["compare with what is there"].startswith("not compared")


def test_requirements_stay_resolved_until_a_new_lock_is_asked_for(bench: Bench) -> None:
    (file,) = (bench.yard.home.path / "locks").glob("*.json")
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "made": 0.0}))
    assert bench.build()[1]["lock"] == "1 packages, as resolved on 1970-01-01"
    assert bench.build(refresh=True)[1]["lock"] == "1 packages"
    assert json.loads(file.read_text())["made"] > 0


def test_a_version_is_made_again_from_its_own_code_rows_and_lock(bench: Bench) -> None:
    said, steps = bench.reproduce("1")
    assert re.fullmatch(r"tiny:1 is reproduced: 36 predictions and \d+ metrics are equal", said)
    assert re.fullmatch(r"the bundle's code, which is that of commit \w{10}", steps["package"])
    assert not any("kept from" in summary for summary in steps.values()), "nothing is taken from the step cache"
    _, steps = bench.reproduce("3")
    assert steps["package"].endswith("it had uncommitted changes")


def test_where_it_comes_out_otherwise_it_says_where_they_part(bench: Bench) -> None:
    """Training draws from the system's entropy, after a preparing step that does not."""
    (bench.repository / "prepare.py").write_text(
        "import os, pathlib, shutil\nbase = pathlib.Path(os.environ['MODELYARD_PROCESSING_DIR'])\n"
        "for n in ('train', 'validation', 'test'):\n    shutil.copy(base / 'input' / n / f'{n}.parquet', base / 'output' / n)\n"
    )
    bench.edit("config.yaml", r"\ntrain:", "\npreprocess: {entry_point: prepare.py}\n\ntrain:")
    bench.edit("train.py", r"sum\(means\) / 2\}", "sum(means) / 2 + int.from_bytes(os.urandom(4), 'big') / 2**33}")
    assert bench.build()[0] == "built tiny:5"
    said, _ = bench.reproduce("5")
    assert said.startswith("tiny:5 is not reproduced: y.") and re.search(r"differs in 36 rows, first in row 0: [\d.]+ became [\d.]+", said)
    assert re.search(r"log_loss [\d.]+ became [\d.]+", said)
    assert said.endswith("the files that `train` made are the first to differ (`preprocess` made the same)")


def test_a_damaged_bundle_is_not_reproduced(bench: Bench) -> None:
    folder = bench.yard.shop.bundle(bench.yard.shop.version("tiny", "2"))
    code = folder / "code" / "train.py"
    text = code.read_text()
    code.chmod(0o644)
    code.write_text(text + "# edited\n")
    said, _ = bench.reproduce("2")
    assert "digest mismatch" in said
    code.write_text(text)
    assert os.access(code, os.R_OK)
    with pytest.raises(BadInput):
        bench.yard.reproduce("tiny", "9", "ada")


def test_a_regex_that_takes_for_ever_is_told_of_with_its_place_and_the_build_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """`re` would take half a minute over the line, and nothing else could run meanwhile."""
    read, own = list[Path](), jobs.load
    monkeypatch.setattr(jobs, "load", lambda path: read.append(path) or own(path))
    regexes = '[{name: loss, regex: "loss=([0-9.]+)"},\n    {name: auc, regex: ".*\\\\[[0-9]+\\\\].*#011validation-auc:(.*)"}]'
    bench.edit(
        "config.yaml", r"  entry_point: train\.py\n", f"  entry_point: train.py\n  metric_definitions: {regexes}\n".replace("\\", r"\\")
    )
    bench.edit(
        "train.py",
        r"    time\.sleep\(options\.seconds\)",
        '    print("loss=0.5\\\\nmodelyard: train.metric_definitions[7].regex")\n    print("[1] " * 2000, flush=True)',
    )
    said, steps = bench.build()
    assert said == "built tiny:6"
    lines = (bench.repository / "config.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "auc, regex" in text)
    place = rf"\(train\.metric_definitions\[1\]\.regex, \S*config\.yaml:{line}:{lines[line - 1].index('regex: ') + 8}\)"
    told = re.search(
        rf"the metric `auc` is not read off line \d of the log: its regular expression {place} takes over 0.25 s", steps["train"]
    )
    assert told and steps["train"].endswith("loss 0.5"), steps["train"]
    run = bench.yard.shop.version("tiny", "6").run
    heard = [item["text"] for item in bench.yard.shop.runs.feed(run).items() if item["kind"] == "line"]
    assert [text for text in heard if text.startswith(f"modelyard: {told[0]}")], "it is in the log as it happens"
    assert len(read) == 1, "whatever a script prints, the config is not read again and again"
