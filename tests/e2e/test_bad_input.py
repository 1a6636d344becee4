"""The bad-input table: what a person gets wrong, or a machine does, and what they are told: what, where, what next; and nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard.config.spec import PLANNED
from tests.e2e import toy
from tests.e2e.person import Person, change, commit, discard, person

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def me(environments: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Somebody whose model `toy` is in production: what must be as it was after every mishap."""
    place = toy.toy(tmp_path_factory.mktemp("bad") / "toy")
    change(place / "config.yaml", "performance: {enabled: false}", "{performance: {enabled: false}, window: 1mo}")  # none ends meanwhile
    commit(place)
    with person(environments, place) as somebody:
        somebody.run("up", "--detach", "--yes", "--port", "0")
        yield somebody


def as_it_was(me: Person) -> None:
    """The state can be read, the model serves, and the journal is whole."""
    found = me.status("toy")
    assert [v["version"] for v in found["versions"]] == ["1"]
    assert found["champion"] == "1" and found["stages"]["production"]["live"]
    answer = me.json("predict", "toy", "-", given='{"wind": 1.0, "load": 0.5}')
    assert answer["predictions"][0]["prediction"] == 1


def spoiled(me: Person, into: Path, name: str, spoil: Spoil) -> Person:
    """The same person before another repository, of a model `name`, in which something is wrong."""
    place = into / name
    shutil.copytree(me.place, place, ignore=shutil.ignore_patterns(".git"))
    change(place / "config.yaml", "name: toy", f"name: {name}")
    spoil(place)
    return Person(me.home, place, me.env)


def in_config(old: str, new: str) -> Spoil:
    return lambda place: change(place / "config.yaml", old, new)


def added(text: str) -> Spoil:
    """More of a config."""
    return lambda place: (place / "config.yaml").write_text((place / "config.yaml").read_text() + text + "\n")


def script(*lines: str, name: str = "train.py") -> Spoil:
    """Another train.py, or one more script."""
    return lambda place: (place / name).write_text("\n".join(lines) + "\n")


def table(*lines: str) -> Spoil:
    return lambda place: (place / "rows.csv").write_text("\n".join(lines) + "\n")


def both(*spoils: Spoil) -> Spoil:
    return lambda place: [spoil(place) for spoil in spoils]


def one_class(place: Path) -> None:
    toy.write(place / "rows.csv", [(*row[:4], 1) for row in toy.rows(100)], ("id", "wind", "load", "late"))


def hold_out_of_one_class(place: Path) -> None:
    """Both classes in the table, and one alone on its last days: no AUC there."""
    both_classes = toy.rows(140)
    toy.write(place / "rows.csv", [row if i < 80 else (*row[:4], 1) for i, row in enumerate(both_classes)])
    change(place / "config.yaml", "by: random, ratios: [0.6, 0.1, 0.3], seed: 1", "by: time, ratios: [0.6, 0.1, 0.3]")
    change(place / "config.yaml", "  id_col: id", "  id_col: id\n  time_col: at")


def holes(place: Path) -> None:
    """A column with missing values, and a model that takes none."""
    lines = (place / "rows.csv").read_text().splitlines()
    gaps = [line.split(",") for line in lines[1:]]
    (place / "rows.csv").write_text(
        "\n".join([lines[0], *(f"{r[0]},,{r[2]},{r[3]}" if i % 3 else ",".join(r) for i, r in enumerate(gaps))])
    )
    change(place / "train.py", "    rows = list(csv.DictReader(file))", "    rows = [r for r in csv.DictReader(file) if r['wind']]")
    change(
        place / "train.py",
        "    return 1 / (1 + np.exp(-(weights[0]",
        "    if np.isnan(rows).any():\n        raise ValueError('Input X contains NaN')\n    return 1 / (1 + np.exp(-(weights[0]",
    )


@dataclass(frozen=True)
class Case:
    """What is spoiled, the exit code of `modelyard build`, and patterns that its words match."""

    name: str
    spoil: Spoil
    code: int
    said: tuple[str, ...]


GARBAGE = "import os, pathlib; pathlib.Path(os.environ['SM_MODEL_DIR'], 'model.joblib').write_bytes(b'no pickle at all')"
SECRET = "source: {using: sql, location: {secret: WAREHOUSE}, query: SELECT 1}"
CSV = "source: {using: csv, location: rows.csv}"
PARQUET = "source: {using: parquet, location: rows.csv}"

OWN = "evaluate:\n  custom_metrics: [{name: cost, entry_point: own.py, function: cost, greater_is_better: false}]"
TUNED = """\
  metric_definitions: [{name: loss, regex: 'loss=(.*)'}]
  tune: {trials: 3, objective: {metric: loss, direction: minimize}, space: {steps: {int: [10, 200]}}}"""


def toy_with_carriers(place: Path) -> None:
    first, *lines = (place / "rows.csv").read_text().splitlines()
    (place / "rows.csv").write_text("\n".join([f"{first},carrier", *(f"{line},{'UA' if i % 2 else 'AA'}" for i, line in enumerate(lines))]))


CASES = [
    Case("no-data-file", lambda p: (p / "rows.csv").unlink(), 2, (r"config\.yaml:6:\d+: there is no file rows\.csv",)),
    Case("another-data-file", in_config("rows.csv", "row.csv"), 2, (r"there is no file row\.csv; did you mean rows\.csv\?",)),
    Case(
        "unknown-column",
        in_config("target_col: late", "target_col: latte"),
        2,
        (r"config\.yaml:7:\d+: .*no column `latte`; did you mean `late`\?",),
    ),
    Case("unknown-key", in_config("target_col: late", "target_column: late"), 2, (r"config\.yaml:7:3: .*`?target_column`?.*target_col",)),
    Case("unknown-metric", in_config("metric: roc_auc", "metric: roc_acu"), 2, (r"no metric roc_acu; did you mean roc_auc\?",)),
    Case("no-yaml", in_config("data:", "data: ]"), 2, (r"config\.yaml:5:\d+",)),
    Case("no-such-script", lambda p: (p / "train.py").unlink(), 2, (r"there is no file train\.py",)),
    Case("empty-file", lambda p: (p / "rows.csv").write_text(""), 2, (r"rows\.csv has no columns",)),
    Case("empty-table", table("id,wind,load,late"), 2, (r"data\.source: the source has no rows", "next: look at the file")),
    Case("one-class", one_class, 2, (r"data\.target_col|late", r"one class|only|single")),
    Case("no-parquet", in_config(CSV, PARQUET), 2, (r"rows\.csv cannot be read as parquet",)),
    Case("two-rows", table("id,wind,load,late", "a,1,2,0", "b,1,2,1"), 3, ("roc_auc was not measured: failed",)),
    Case("repeated-ids", table("id,wind,load,late", *[f"a,{i},2,{i % 2}" for i in range(50)]), 2, (r"data\.id_col", "repeat", "next: ")),
    Case(
        "script-exits-7",
        script("import sys", "print('about to give up')", "print('no luck', file=sys.stderr)", "sys.exit(7)"),
        1,
        (r"train: train\.py exited with 7", r"\| about to give up", r"\| no luck"),
    ),
    Case(
        "script-raises",
        script("raise RuntimeError('no such feature')"),
        1,
        (r"train: train\.py exited with 1", r"\| RuntimeError: no such feature"),
    ),
    Case("script-leaves-nothing", script("print('done')"), 1, (r"train: ", r"SM_MODEL_DIR")),
    Case(
        "script-never-ends",
        both(in_config("max_runtime: 5m", "max_runtime: 2s"), script("import time", "print('thinking', flush=True)", "time.sleep(600)")),
        1,
        (r"train: .*2 s", r"max_runtime", r"\| thinking"),
    ),
    Case("garbage-model", script(GARBAGE), 1, (r"model", r"cannot be loaded|could not be loaded|load", r"\| ")),
    Case(
        "model-of-nothing",
        script(GARBAGE.replace("model.joblib", "weights.bin")),
        1,
        (r"holds no model\.joblib or model\.pkl \(it holds weights\.bin\)",),
    ),
    Case("nan-metric", hold_out_of_one_class, 3, ("roc_auc was not measured: failed", "next: see the report")),
    Case("nan-features", holes, 1, (r"Input X contains NaN",)),
    Case("gate", in_config("threshold: 0.6}", "threshold: 0.999}"), 3, (r"roc_auc 0\.\d+ < 0\.999: failed", "next: see the report")),
    Case(
        "expectation",
        in_config("  channel_format: csv", "  channel_format: csv\n  expect: {columns: {wind: {min: 0}}}"),
        3,
        (r"wind: the least value is -\d\.\d+, at least 0 wanted: failed",),
    ),
    Case(
        "lock-conflict",
        lambda p: (p / "requirements.txt").write_text("numpy>=2\nnumpy<2\n"),
        1,
        (r"requirements\.txt cannot be resolved", r"\| .*numpy"),
    ),
    Case(
        "no-such-package",
        lambda p: (p / "requirements.txt").write_text("numpy==0.0.0.1\n"),
        1,
        (r"cannot be resolved", r"\| .*numpy==0\.0\.0\.1"),
    ),
    Case(
        "missing-requirement",
        script("import csv", "import lightgbm"),
        2,
        (r"train\.py, line 2, imports `lightgbm`, which the environment does not have", r"next: add `lightgbm` to the requirements"),
    ),
    Case(
        "no-such-python",
        in_config("framework: sklearn", "framework: sklearn\n  python: '3.99'"),
        2,
        (r"3\.99", r"train\.python", r"next: "),
    ),
    Case(
        "privileged-that-is-nobody",
        both(lambda p: toy_with_carriers(p), added("bias: {facets: [{column: carrier, privileged: [UAA]}]}")),
        2,
        (r"bias", r"UAA", r"did you mean `?'?UA'?`?", r"next: "),
    ),
    Case("class-that-is-none", added("explain: {class: 7}"), 2, (r"explain\.class.* is 7, which is none of the classes", r"one of 0, 1")),
    Case(
        "nan-of-ones-own",
        both(
            script("def cost(rows):", "    return float('nan')", name="own.py"),
            in_config("roc_auc, threshold: 0.6", "cost, threshold: 9"),
            in_config("evaluate:", OWN),
        ),
        3,
        (r"cost was not measured: failed", "next: see the report"),
    ),
    Case(
        "objective-never-printed",
        in_config("  hyperparameters: {steps: 200}", TUNED),
        1,
        (
            r"train\.tune: .*it never printed loss: no line of its log matches loss=\(\.\*\)",
            r"next: mend the regex",
            r"trained on 120 rows",
        ),
    ),
    Case(
        "objective-is-nan",
        both(
            in_config("  hyperparameters: {steps: 200}", TUNED),
            lambda p: change(p / "train.py", 'print(f"trained on', 'print(f"loss=nan of'),
        ),
        1,
        (r"loss", r"nan|no number"),
    ),
    Case("secret-missing", in_config(CSV, SECRET), 2, (r"the secret `WAREHOUSE` is not there", r"next: set MODELYARD_SECRET_WAREHOUSE")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_build_says_what_is_wrong_and_registers_nothing(me: Person, tmp_path: Path, case: Case) -> None:
    other = spoiled(me, tmp_path, case.name, case.spoil)
    said = other.run("build", code=case.code).all
    for pattern in case.said:
        assert re.search(pattern, said), f"{pattern!r} is not in:\n{said}"
    known = {m["model"]: m for m in me.json("status")}
    assert known.get(case.name, {"versions": []})["versions"] == []
    if case.name in known:  # a run came of it: it has ended, and says why
        (run,) = known[case.name]["runs"]
        assert run["status"] == ("refused" if case.code == 3 else "failed") and run["reason"]
    as_it_was(me)
    error = other.json("build", code=case.code)["error"]
    assert error["what"] and set(error) >= {"code", "what", "where", "next"}


def test_every_key_that_is_planned_is_refused_by_name(me: Person, tmp_path: Path) -> None:
    def all_of_them(place: Path) -> None:
        from ruamel.yaml import YAML

        yaml = YAML()
        config = yaml.load(place / "config.yaml")
        for key in PLANNED:
            *above, last = key.split(".")
            part = config
            for name in above:
                part = part.setdefault(name, {})
            part[last] = 1
        yaml.dump(config, place / "config.yaml")

    other = spoiled(me, tmp_path, "planned", all_of_them)
    problems = [p["message"] for p in other.json("check", code=2)["error"]["problems"]]
    for key in PLANNED:
        last = key.rpartition(".")[2]
        assert any(last in message and "not honoured" in message for message in problems), f"{key} is not refused by name: {problems}"


REGRESSION = both(
    in_config("problem_type: binary_classification", "problem_type: regression"),
    in_config("  positive_class: 1\n", ""),
    in_config("metric: roc_auc, threshold: 0.6", "metric: r2, threshold: 0.1"),
)
CYCLE = (
    "steps: ["
    + ", ".join(
        f"{{name: {name}, entry_point: train.py, inputs: {{x: steps.{other}.out}}, outputs: [out]}}" for name, other in ("ab", "ba")
    )
    + "]"
)
BIAS = "bias: {facets: [{column: wind, above: 0}], %s}"
SEEN: list[tuple[str, Spoil, tuple[str, ...]]] = [
    ("entry-point", in_config("train.py", "trian.py"), (r":14:16: there is no file trian\.py; did you mean train\.py\?",)),
    ("syntax", script("def main(:", "    pass"), (r":14:16: train\.py, line 1: ",)),
    ("no-program", both(script("exit 0", name="fit"), in_config("train.py", "fit")), (r":14:16: fit is neither", r"chmod \+x fit")),
    ("requirements", in_config("requirements.txt", "reqs.txt"), (r":15:17: there is no file reqs\.txt",)),
    ("slice", in_config("evaluate:", "evaluate:\n  slices: [wimd]"), (r":19:12: rows\.csv has no column `wimd`; did you mean `wind`\?",)),
    ("facet", added("bias: {facets: [{column: wimd}]}"), (r":28:26: rows\.csv has no column `wimd`; did you mean `wind`\?",)),
    (
        "facet-dropped",
        both(in_config("  id_col: id", "  id_col: id\n  schema: {exclude: [wind]}"), added(BIAS % "criteria: []")),
        (r":29:26: `wind` is needed here and dropped by `data\.schema\.exclude`",),
    ),
    (
        "facet-gated",
        added(BIAS % "criteria: [{metric: DI, within: 1, facet: wimd}]"),
        (r"`wimd` is none of the facets; did you mean `wind`\?",),
    ),
    ("condition", added(BIAS % "criteria: [{metric: CDDL, within: 1}]"), (r"CDDL needs the column to condition on", r"write `group_col`")),
    ("analysis-config", added("bias: {analysis_config: train.py}"), (r":28:25: train\.py, line 1: ",)),
    ("class", both(REGRESSION, added("explain: {class: 1}")), (r":27:18: `explain\.class` is 1, but regression has no probability",)),
    (
        "objective",
        both(in_config("  hyperparameters: {steps: 200}", TUNED), in_config("{metric: loss,", "{metric: los,")),
        (r"no trial will report los; did you mean loss\?",),
    ),
    (
        "direction",
        both(
            in_config("  hyperparameters: {steps: 200}", TUNED),
            in_config("{metric: loss, direction: minimize}", "{metric: roc_auc, direction: minimize}"),
        ),
        (r":17:61: roc_auc is to be maximized, not minimized", r"leave out `direction`"),
    ),
    (
        "no-time",
        in_config("  id_col: id", "  id_col: id\n  leakage: {time_order: block}"),
        (r":10:25: the order of time cannot be judged", r"name it: `data\.time_col`"),
    ),
    (
        "which-way",
        both(in_config("  hyperparameters: {steps: 200}", TUNED), in_config("{metric: loss, direction: minimize}", "{metric: loss}")),
        (r"which way loss is better is not known", r"write `direction: maximize` or `minimize`"),
    ),
    (
        "regex",
        both(in_config("  hyperparameters: {steps: 200}", TUNED), in_config("'loss=(.*)'", "'loss=.*'")),
        (r":16:44: 'loss=\.\*' must have one group, the number",),
    ),
    ("before", added("inference: {pre: before.py}"), (r":28:18: there is no file before\.py",)),
    ("after", added("inference: {post: train.py}"), (r":28:19: train\.py has no function `postprocess`",)),
    ("serving", added("inference: {source_dir: serving}"), (r":28:25: there is no folder serving",)),
    ("cycle", added(CYCLE), (r":28:54: a -> b -> a: each waits for the one before it",)),
    (
        "output",
        added("steps: [{name: a, entry_point: train.py, outputs: [out]}, {name: b, entry_point: train.py, inputs: {x: steps.a.uot}}]"),
        (r"has no output `uot`; did you mean `out`\?",),
    ),
    (
        "own-metric",
        in_config("evaluate:", OWN.replace("own.py", "train.py").replace("function: cost", "function: mian")),
        (r"train\.py has no function `mian`; did you mean `main`\?",),
    ),
]


@pytest.mark.parametrize("name,spoil,said", SEEN, ids=[name for name, _, _ in SEEN])
def test_check_says_it_with_its_place_and_a_build_does_not_begin(
    me: Person, tmp_path: Path, name: str, spoil: Spoil, said: tuple[str, ...]
) -> None:
    other = spoiled(me, tmp_path, name, spoil)
    for command in ("check", "build"):
        told = other.run(command, code=2).all
        for pattern in said:
            assert re.search(pattern, told), f"{pattern!r} is not in what {command} says:\n{told}"
    assert name not in [m["model"] for m in me.json("status")]


WORDS = [
    (("check", "nowhere.yaml"), "nowhere.yaml"),
    (("up", "nowhere.yaml", "--detach"), "nowhere.yaml"),
    (("predict", "toy", "nowhere.json"), "there is no file nowhere.json"),
    (("predict", "tooy", "row.json"), "did you mean `toy`?"),
    (("predict", "toy", "train.py"), "no ending that says its format"),
    (("predict", "toy", "binary.csv"), "not UTF-8"),
    (("predict", "toy", "row.json", "--content-type", "text/xml"), "text/xml"),
    (("predict", "toy", "broken.json"), "JSON"),
    (("predict", "toy", "stranger.json"), "Did you mean `wind`?"),
    (("predict", "toy", "lacking.json"), "load"),
    (("batch", "toy", "nowhere.csv", "out.csv"), "there is no file"),
    (("batch", "toy", "rows.csv", "out.xlsx"), ".csv, .parquet, .jsonl"),
    (("batch", "toy", "lacking.csv", "out.csv"), "load"),
    (("batch", "toy:9", "rows.csv", "out.csv"), "there is no version 9"),
    (("labels", "toy", "nowhere.csv"), "no file"),
    (("labels", "toy", "lacking.csv"), "late"),
    (("labels", "tooy", "rows.csv"), "did you mean `toy`?"),
    (("labels", "toy"), "give FILE"),
    (("labels", "toy", "rows.csv", "--coverage"), "give FILE"),
    (("labels", "toy", "rows.csv", "--format", "csv"), "with --format"),
    (("labels", "toy", "-", "--format", "xlsx"), "'csv', 'json', 'jsonl'"),
    (("labels", "toy", "-"), "standard input"),
    (("labels", "toy", "binary.csv"), "binary.csv"),
    (("labels", "toy", "strange.csv"), "'maybe' of prediction 'r00001' is not one of the model's classes"),
    (("labels", "toy", "--coverage", "--since", "yesterday"), "`yesterday` is no time"),
    (("labels", "toy", "--coverage", "--since", "2026-03-02", "--until", "2026-03-01"), "give an end that comes later"),
    (("labels", "toy", "rows.csv", "--since", "7d"), "--coverage (with --since"),
    (("monitor", "toy", "--since", "soon"), "`soon` is no time"),
    (("monitor", "toy", "--since", "2026-03-02", "--until", "2026-03-01"), "give an end that comes later"),
    (("monitor", "toy", "--monitor", "drft"), "did you mean 'drift'?"),
    (("monitor", "toy", "--last", "0"), "--last"),
    (("monitor", "toy", "--window", "2026-03-01", "--since", "7d"), "--window goes with"),
    (("monitor", "toy", "--report", "page.html", "--window", "noon"), "`noon` is no time"),
    (("monitor", "toy", "--report", "page.html", "--window", "2020-01-01"), "no window of `toy` was judged then"),
    (("monitor", "toy", "--report", "page.html"), "no window of `toy` has been judged yet"),
    (("monitor", "tooy", "--report", "page.html"), "did you mean `toy`?"),
    (("monitor", "toy", "--captured", "nowhere"), "there is no folder"),
    (("monitor", "toy", "--captured", "train.py"), "train.py"),
    (("constraints", "tooy"), "did you mean `toy`?"),
    (("constraints", "toy:7"), "there is no version 7"),
    (("constraints", "toy", "--window", "noon"), "`noon` is no time"),
    (("constraints", "toy", "--window", "2020-01-01"), "nobody asked `toy` in the window"),
    (("constraints", "toy", "--window", "2020-01-01", "--judge", "row.json"), "not both"),
    (("constraints", "toy", "--judge", "nowhere.json"), "there is no file nowhere.json"),
    (("constraints", "toy", "--judge", "broken.json"), "broken.json"),
    (("constraints", "toy", "--judge", "row.json"), "no statistics.json"),
    (("constraints", "toy", "--violations", "v.json"), "give --window START or --judge FILE"),
    (("constraints", "toy", "--judge", "row.json", "--statistics", "s.json"), "--judge has its statistics already"),
    (("constraints", "toy", "--judge", "row.json", "--against", "nowhere.json"), "there is no file nowhere.json"),
    (("constraints", "toy", "--judge", "row.json", "--against", "row.json"), "no constraint_violations.json"),
    (("constraints", "toy", "-o", "nowhere/c.json"), "nowhere/c.json"),
    (("request-labels", "toy"), "--output"),
    (("request-labels", "tooy", "-o", "page.html"), "did you mean `toy`?"),
    (("request-labels", "toy", "-o", "page.html", "--count", "0"), "--count"),
    (("request-labels", "toy", "-o", "page.html", "--by-chance", "2"), "--by-chance"),
    (("request-labels", "toy", "-o", "page.html", "--format", "xml"), "'label-studio', 'csv'"),
    (("request-labels", "toy", "-o", "page.html", "--since", "lately"), "`lately` is no time"),
    (("request-labels", "toy", "-o", "page.html", "--window", "noon"), "`noon` is no time"),
    (("request-labels", "toy", "-o", "page.html", "--window", "2020-01-01", "--since", "7d"), "not both"),
    (("request-labels", "toy", "-o", "page.html", "--window", "2020-01-01"), "no prediction lacks a label"),
    (("data", "diff", "rows.csv", "nowhere.csv"), "nowhere.csv"),
    (("data", "diff", "rows.csv", "train.py"), "train.py cannot be read as parquet"),
    (("status", "tooy"), "did you mean `toy`?"),
    (("logs", "tooy"), "tooy"),
    (("monitor", "tooy", "--now"), "did you mean `toy`?"),
    (("who-served",), "name a prediction"),
    (("who-served", "--prediction", "nobody"), "no captured prediction `nobody`"),
    (("who-served", "toy", "--at", "yesterday"), "'yesterday' is not a time"),
    (("approve", "toy"), "waits for approval"),
    (("reject", "toy:1"), "waits for approval"),
    (("rollback", "toy"), "no earlier version"),
    (("deploy", "toy:7"), "there is no version 7"),
    (("reproduce", "toy:7"), "there is no version 7"),
    (("retrain", "tooy"), "did you mean `toy`?"),
    (("deploy", ":1"), "is not MODEL or MODEL:VERSION"),
]


@pytest.fixture(scope="module")
def files(me: Person) -> None:
    for name, text in {
        "row.json": '{"wind": 1, "load": 2}',
        "broken.json": '{"wind": 1, "load":',
        "stranger.json": '{"wint": 1, "load": 2}',
        "lacking.json": '{"wind": 1}',
        "lacking.csv": "id,wind\na,1\n",
        "strange.csv": "id,late\nr00001,maybe\n",
    }.items():
        (me.place / name).write_text(text)
    (me.place / "binary.csv").write_bytes(b"wind,load\n\xff\xfe,1\n")


@pytest.mark.parametrize("words,said", WORDS, ids=[" ".join(words) for words, _ in WORDS])
def test_a_command_that_is_given_nonsense_exits_with_2(me: Person, files: None, words: tuple[str, ...], said: str) -> None:
    assert said in me.run(*words, code=2).err + me.run(*words, code=2).out
    error = me.json(*words, code=2)["error"]
    assert said in json.dumps(error, ensure_ascii=False).replace('\\"', '"')
    assert not (me.place / "out.csv").exists() and not (me.place / "page.html").exists() and not (me.place / "v.json").exists()


# -- at the endpoint ------------------------------------------------------------------------------------------------------------


def post(me: Person, body: bytes, content_type: str) -> tuple[int, dict[str, Any]]:
    address = me.status("toy")["stages"]["production"]["address"].removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/invocations", body, {"Content-Type": content_type})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize(
    "status,code,body,content_type",
    [
        (400, "bad_input", b'{"wind": 1, "load"', "application/json"),
        (400, "bad_input", b"[]", "application/json"),
        (400, "bad_input", b'{"wind": 1}', "application/json"),
        (400, "bad_input", b'{"wind": "much", "load": 1}', "application/json"),
        (400, "bad_input", b'{"wind": null, "load": 1}', "application/json"),
        (400, "bad_input", b'{"wind": NaN, "load": 1}', "application/json"),
        (400, "bad_input", b"", "application/json"),
        (400, "bad_input", b"wind,load\n1\n", "text/csv"),
        (413, "too_large", b" " * 7_000_000, "application/json"),
        (415, "unsupported_content_type", b"<row/>", "application/xml"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_the_endpoint_refuses_in_the_one_error_shape(me: Person, status: int, code: str, body: bytes, content_type: str) -> None:
    got, answer = post(me, body, content_type)
    assert (got, answer["error"]["code"]) == (status, code), answer
    assert set(answer) == {"error"} and answer["error"]["what"]
    as_it_was(me)


# -- the machine ----------------------------------------------------------------------------------------------------------------


def test_a_port_in_use(me: Person, tmp_path: Path) -> None:
    """The fixed port of an endpoint is taken: said with its number; the version stays, and the same command works once it is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = spoiled(
            me, tmp_path, "port", in_config("  production:\n    target: local", f"  production:\n    target: local\n    port: {port}")
        )
        said = other.run("up", "--detach", "--yes", code=2).all
        assert str(port) in said and "next: name another `port` under environments.production" in said
        found = me.status("port")
        assert found["champion"] is None and [v["version"] for v in found["versions"]] == ["1"]
        as_it_was(me)
    other.run("up", "--detach", "--yes")
    found = me.status("port")
    assert found["champion"] == "1" and found["stages"]["production"]["address"].endswith(f":{port}")
    assert len(found["versions"]) == 1, "nothing was built again"


def test_the_consoles_port_in_use(environments: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, person(environments, toy.toy(tmp_path / "toy")) as somebody:
        port = str(taken.getsockname()[1])
        assert f"port {port} of the console" in somebody.run("server", "--port", port, code=2).err
        said = somebody.run("up", "--detach", "--port", port, code=1).err
        assert f"port {port} of the console" in said, "the reason, and not just where a log lies"


HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write(str(os.getpid()))
file.flush()
print("held", flush=True)
time.sleep(120)
"""


@pytest.mark.slow
def test_a_home_locked_by_a_process_that_does_not_answer(environments: Path, tmp_path: Path) -> None:
    with person(environments, toy.toy(tmp_path / "toy")) as somebody:
        lock = somebody.home / "owner.lock"
        process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            said = somebody.json("status", code=1)["error"]
            assert said["code"] == "home_locked" and f"process {process.pid}" in said["what"] and str(somebody.home) in said["where"]
            assert "MODELYARD_HOME" in said["next"]
        finally:
            process.kill()
            process.wait()
        assert somebody.json("status") == []


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs can be mounted by root alone")
    folder = Path(tempfile.mkdtemp(prefix="yard-small-"))
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


def fill(disk: Path, leave: int) -> Path:
    """Leave just so many bytes free."""
    room = disk / "fill"
    with room.open("wb") as file:
        file.write(b"\0" * max(0, shutil.disk_usage(disk).free - leave))
    assert shutil.disk_usage(disk).free <= leave + 8192
    return room


@pytest.mark.slow
@pytest.mark.parametrize(
    "leave,detached", [(0, False), (90_000, False), (200_000, True), (600_000, True)], ids=["start", "train", "gates", "mlflow"]
)
def test_a_full_disk(environments: Path, small_disk: Path, tmp_path: Path, leave: int, detached: bool) -> None:
    """Wherever it fills up: it is said, with how to go on; after making room the same command works and nothing done is done again."""
    home = small_disk / "home"
    somebody = Person(home, toy.toy(tmp_path / "toy"))
    words = ("up", "--detach", "--yes", "--port", "0") if detached else ("build",)
    try:
        somebody.run("status")  # the home as it is when it is new
        (home / "envs").symlink_to(environments)
        filled = fill(small_disk, leave)
        said = somebody.run(*words, code=1).all
        assert re.search("no space left|disk is full|could not be written", said), said
        assert "next: make room" in said
        filled.unlink()
        assert somebody.json("status") is not None, "what was written can be read"
        answer = somebody.json(*words)
        assert [v["version"] for v in answer["versions"]] == ["1"] and answer["status"] == "done"
        assert len(somebody.json("status", "toy")[0]["runs"]) <= 2
    finally:
        somebody.run("down", code=None)
        discard(home)
