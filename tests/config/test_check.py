from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.config.check import check
from modelyard.config.load import load
from modelyard.errors import Problem
from tests.config.texts import SMALL

METRICS = {"r2": True, "rmse": False, "mae": False}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("print()\n")
    (tmp_path / "data.csv").write_text('x,"y",when\n1,2,2020-01-01\n')
    return tmp_path


def found(folder: Path, text: str = SMALL, metrics: dict[str, bool] | None = METRICS) -> list[Problem]:
    (folder / "config.yaml").write_text(text)
    return check(load(folder / "config.yaml"), metrics=metrics, greater_is_better=metrics)


def messages(folder: Path, text: str) -> list[str]:
    return [p.message for p in found(folder, text)]


def test_a_repository_that_is_whole_has_no_problem(repository: Path) -> None:
    assert found(repository) == []


def test_missing_files_are_told_with_the_nearest(repository: Path) -> None:
    text = SMALL.replace("train.py}", "trian.py, requirements: reqs.txt}").replace("data.csv", "dota.csv")
    problems = found(repository, text)
    assert [p.message for p in problems] == [
        "there is no file dota.csv; did you mean data.csv?",
        "there is no file trian.py; did you mean train.py?",
        "there is no file reqs.txt",
    ]
    assert [(p.line, p.column) for p in problems] == [(4, 34), (6, 42), (6, 66)]
    assert problems[1].source_line.startswith("train: {")


def test_an_entry_point_is_looked_for_in_source_dir_and_beside_the_config(repository: Path) -> None:
    (repository / "src").mkdir()
    (repository / "src" / "fit.py").write_text("")
    assert messages(repository, SMALL.replace("train.py}", "fit.py, source_dir: src}")) == []
    assert messages(repository, SMALL.replace("train.py}", "src/fit.py, source_dir: src}")) == []
    assert messages(repository, SMALL.replace("train.py}", "nope.py, source_dir: src}")) == ["there is no file nope.py"]
    assert messages(repository, SMALL.replace("train.py}", "train.py, source_dir: train.py}")) == ["train.py is a file, not a folder"]
    assert messages(repository, SMALL.replace("train.py}", "src}")) == ["src is a folder, not a file"]


def test_a_link_out_of_the_repository_is_told(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.csv"
    outside.write_text("x,y\n")
    (repository / "data.csv").unlink()
    (repository / "data.csv").symlink_to(outside)
    assert "data.csv is a link that leads out of the model's repository" in messages(repository, SMALL)


def test_columns_are_looked_up_in_the_header(repository: Path) -> None:
    new = "target_col: yy\n  time_col: wen\n  entity_cols: [x, nothing]\n  expect: {columns: {X: {min: 0}}}"
    text = SMALL.replace("target_col: y", new)
    text += "evaluate: {slices: [x, gone]}\nmonitor: {drift: {columns: [x, xx]}}\n"
    problems = found(repository, text)
    assert [p.message for p in problems] == [
        "data.csv has no column `yy`; did you mean `y`?",
        "data.csv has no column `wen`; did you mean `when`?",
        "data.csv has no column `nothing`",
        "data.csv has no column `X`; did you mean `x`?",
        "data.csv has no column `gone`",
        "data.csv has no column `xx`; did you mean `x`?",
    ]
    assert problems[2].next == "its columns: x, y, when"
    assert (problems[2].line, problems[2].column) == (7, 20)


def test_the_preprocessing_script_is_looked_for_beside_the_config_alone(repository: Path) -> None:
    (repository / "src").mkdir()
    for name in ("fit.py", "prepare.py"):
        (repository / "src" / name).write_text("")
    text = SMALL.replace("train.py}", "fit.py, source_dir: src}")
    assert messages(repository, text + "preprocess: {entry_point: src/prepare.py}\n") == []
    assert messages(repository, text + "preprocess: {entry_point: prepare.py}\n") == ["there is no file prepare.py"]


def test_columns_after_preprocess_are_not_guessed(repository: Path) -> None:
    assert messages(repository, SMALL + "preprocess: {entry_point: train.py}\nevaluate: {slices: [made]}\n") == []


def test_a_parquet_header_is_read_too(repository: Path) -> None:
    import polars as pl

    pl.DataFrame({"x": [1], "target": [2]}).write_parquet(repository / "data.parquet")
    text = SMALL.replace("using: csv, location: data.csv", "using: parquet, location: data.parquet")
    assert messages(repository, text) == ["data.parquet has no column `y`"]
    (repository / "data.parquet").write_bytes(b"no parquet")
    assert messages(repository, text)[0].startswith("data.parquet cannot be read as parquet")


def test_patterns_and_folders_of_files(repository: Path) -> None:
    (repository / "data").mkdir()
    (repository / "data" / "1.csv").write_text("a,b\n")
    assert messages(repository, SMALL.replace("data.csv", "data/*.csv")) == ["data/*.csv has no column `y`"]
    assert messages(repository, SMALL.replace("data.csv", "data")) == ["data has no column `y`"]
    assert messages(repository, SMALL.replace("location: data.csv", 'location: "data/*.parquet"')) == ["no file matches data/*.parquet"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", b'"' * 1000, b"x" * 2_000_000])
def test_odd_files_give_a_problem_and_no_error(repository: Path, content: bytes) -> None:
    (repository / "data.csv").write_bytes(content)
    assert len(found(repository)) == 1


def test_what_is_needed_cannot_be_excluded(repository: Path) -> None:
    text = SMALL.replace("target_col: y", "target_col: y\n  schema: {exclude: [x, y]}")
    assert messages(repository, text) == ["`y` is needed here and dropped by `data.schema.exclude`"]
    (repository / "data.csv").unlink()
    text += "bias: {facets: [{column: x}], label_above: 1}\nmonitor: {drift: {columns: [x]}}\n"
    assert [p.line for p in found(repository, text)] == [4, 5, 8, 9], "whatever the data is"


def test_metrics_are_those_of_the_problem(repository: Path) -> None:
    text = SMALL + "evaluate: {validation_criteria: [{metric: rmsee, threshold: 1}]}\n"
    text += "monitor: {performance: {criteria: [{metric: roc_auc, max_drop: 1}]}}\n"
    assert messages(repository, text) == ["regression has no metric rmsee; did you mean rmse?", "regression has no metric roc_auc"]
    assert found(repository, text, metrics=None) == []


def test_a_metric_of_ones_own_may_be_watched(repository: Path) -> None:
    (repository / "mine.py").write_text("def profit(table): ...\n")
    own = "evaluate: {custom_metrics: [{name: profit, entry_point: mine.py, function: profit, greater_is_better: true}]}\n"
    watched = "monitor: {performance: {criteria: [{metric: %s, threshold: 1}]}}\n"
    assert messages(repository, SMALL + own + watched % "profit") == []
    assert messages(repository, SMALL + own + watched % "profits") == ["regression has no metric profits; did you mean profit?"]
    assert messages(repository, SMALL + own + watched % "latency_p50_ms") == ["regression has no metric latency_p50_ms"]


def test_a_gate_on_the_weakest_part_wants_it_looked_for(repository: Path) -> None:
    asked = "evaluate: {validation_criteria: [{metric: r2, threshold: 0, slice: worst}], worst_slice: {enabled: %s}}\n"
    assert messages(repository, SMALL + asked % "true") == []
    assert messages(repository, SMALL + asked % "false") == ["the weakest part is judged here and not looked for"]


def test_urls_and_secrets_are_left_alone(repository: Path) -> None:
    for location in ('"s3://bucket/x.csv"', "{secret: place}"):
        assert messages(repository, SMALL.replace("location: data.csv", f"location: {location}")) == []


def test_checking_imports_nothing_heavy(repository: Path) -> None:
    (repository / "config.yaml").write_text(SMALL)
    code = (
        "import sys, pathlib; from modelyard.config.check import check; from modelyard.config.load import load;"
        f"assert check(load(pathlib.Path({str(repository / 'config.yaml')!r}))) == [];"
        "print([m for m in ('polars', 'pyarrow', 'numpy', 'sqlalchemy', 'mlflow', 'matplotlib', 'croniter', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_steps_and_metrics_name_is_looked_for(repository: Path) -> None:
    text = (
        SMALL.replace("train.py}", "train.py, inputs: {more: ./lookup.csv}}")
        + "steps: [{name: a, entry_point: stpe.py, inputs: {x: steps.b.out}, output_paths: {ot: /opt/ml/processing/o}, outputs: [out]}]\n"
        + "evaluate: {custom_metrics: [{name: r2, entry_point: gone.py, function: f, greater_is_better: true}]}\n"
        + "inference: {pre: before.py}\n"
    )
    assert sorted(messages(repository, text)) == [
        "steps.b.out: there is no step `b`",
        "there is a metric r2 already",
        "there is no file before.py",
        "there is no file gone.py",
        "there is no file lookup.csv",
        "there is no file stpe.py",
        "there is no output `ot` here; did you mean `out`?",
    ]


def test_facets_and_slices_are_columns(repository: Path) -> None:
    text = SMALL + "bias: {facets: [{column: sexx}, {column: x}], intersections: [[x, when]], label_above: 1}\n"
    text += "evaluate: {validation_criteria: [{metric: r2, threshold: 0, slice: {column: xx, value: 1}}]}\n"
    assert messages(repository, text) == ["data.csv has no column `sexx`", "data.csv has no column `xx`; did you mean `x`?"]
    later = "preprocess: {entry_point: train.py}\nevaluate: {slices: [made]}\nbias: {facets: [{column: made}], label_above: 1}\n"
    assert messages(repository, SMALL + later) == ["data.csv has no column `made`"], "facets are the source's"


def test_nothing_is_sliced_by_what_says_which_row_it_is(repository: Path) -> None:
    """They are no features and do not come along with an answer: a build would only tell once the model is trained."""
    text = SMALL.replace("target_col: y\n", "target_col: y\n  time_col: when\n  id_col: x\n")
    gate = "{validation_criteria: [{metric: r2, threshold: 0, slice: y}], slices: [when, x]}"
    told = ["`y` is the target, by which nothing is sliced", "`when` is the time, by which", "`x` is the id, by which"]
    for more in ("", "preprocess: {entry_point: train.py}\n"):
        said = messages(repository, text + f"evaluate: {gate}\n" + more)
        assert len(said) == 3 and all(one.startswith(word) for one, word in zip(said, told, strict=True))
    kept = text.replace("  time_col", "  entity_cols: [x]\n  schema: {sensitive_not_served: [when]}\n  time_col")
    assert messages(repository, kept + "evaluate: {slices: [when, x]}\n") == []


CLASSES = """\
version: 1
model: {name: small, problem_type: %s}
data:
  source: {using: csv, location: data.csv}
  target_col: y
train: {framework: sklearn, entry_point: train.py}
"""


@pytest.mark.parametrize(
    ("kind", "asked", "place", "said"),
    [
        ("regression", "bias: {facets: [{column: x}]}", 7, "bias of regression needs to know which labels are the good outcome"),
        ("regression", "bias: {facets: [{column: x}], label_values: [1]}", 7, "`label_values` does not go with regression"),
        ("multiclass_classification", "bias: {facets: [{column: x}], label_above: 1}", 7, "`label_above` does not go with multiclass"),
        ("multiclass_classification", "bias: {facets: [{column: x}]}", 7, "bias of multiclass classification needs to know which"),
        ("multilabel_classification", "bias: {facets: [{column: x}]}", 7, "bias metrics are not defined for multilabel classification"),
        ("regression", "bias: {facets: [{column: y}], label_above: 1}", 7, "`y` is the target: it cannot be a facet as well"),
        ("regression", "bias: {intersections: [[x, y]], label_above: 1}", 7, "`y` is the target: it cannot be a facet as well"),
        (
            "regression",
            "bias: {facets: [{column: x}], label_above: 1, criteria: [{metric: DPPL, within: 1, facet: y}]}",
            7,
            "`y` is none of the facets",
        ),
        (
            "regression",
            "bias:\n  facets: [{column: x}]\n  label_above: 1\n  pre_training: [CI]\n  criteria: [{metric: DPL, within: 1}]",
            11,
            "DPL is judged here and left out above",
        ),
        (
            "regression",
            "bias: {facets: [{column: x}], label_above: 1, criteria: [{metric: CDDL, within: 1}]}",
            7,
            "a gate on CDDL needs the column to condition on",
        ),
        ("regression", "bias: {analysis_config: train.py}", 7, "train.py, line 1: Expecting value"),
        ("regression", "bias: {analysis_config: list.json}", 7, "list.json holds no JSON object"),
        ("regression", "explain: {class: 1}", 7, "`explain.class` is 1, but regression has no probability of a class"),
        ("multiclass_classification", "explain: {class: 3}", 7, None),
    ],
)
def test_what_no_build_could_compare_or_explain(repository: Path, kind: str, asked: str, place: int, said: str | None) -> None:
    (repository / "list.json").write_text("[1]")
    problems = found(repository, CLASSES % kind + asked + "\n")
    assert [(p.line, p.message.startswith(said or "")) for p in problems] == ([(place, True)] if said else [])


def test_a_class_that_the_target_may_not_have(repository: Path) -> None:
    text = CLASSES % "multiclass_classification" + "explain: {class: %s}\n"
    text = text.replace("target_col: y", "target_col: y\n  expect: {columns: {y: {categories: [0, 1, 2]}}}")
    assert messages(repository, text % "2") == []
    (problem,) = found(repository, text % "3")
    assert (problem.message, problem.next) == ("`explain.class` is 3, which is none of the target's categories", "one of 0, 1, 2")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("fit.py", "def f(:\n", "fit.py, line 1: "),
        ("fit.py", "print 'two'\n", "fit.py, line 1: Missing parentheses in call to 'print'"),
        ("fit.py", "x = 1\n\0", "fit.py, line 1: source code"),
        ("fit.py", "(" * 300, "fit.py, line 1: too many nested parentheses"),
        ("fit.ipynb", "{}", "fit.ipynb is a notebook, not a script"),
        ("fit", "#!/bin/sh\n", "fit is neither a .py, .sh or .R script nor executable"),
        ("fit.sh", "exit 0\n", None),
        ("fit.R", "quit()\n", None),
        ("fit.py", "", None),
    ],
)
def test_scripts_that_could_not_be_started(repository: Path, name: str, content: str, said: str | None) -> None:
    (repository / name).write_text(content)
    text = SMALL.replace("train.py}", f"{name}}}\nsteps: [{{name: again, entry_point: {name}}}]")
    told = messages(repository, text)
    assert [message.startswith(said or "") for message in told] == ([True] if said else []), "once, however often it is named"
    if name == "fit":
        (repository / name).chmod(0o755)
        assert messages(repository, text) == []


def test_a_newer_python_is_let_judge_for_itself(repository: Path) -> None:
    (repository / "fit.py").write_text("type New = of | tomorrow!\n")
    assert messages(repository, SMALL.replace("train.py}", "fit.py, python: '3.99'}")) == []
    assert len(messages(repository, SMALL.replace("train.py}", "fit.py, python: '3.8'}"))) == 1


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("def preprocess(inputs): ...", True),
        ("async def preprocess(inputs): ...", True),
        ("preprocess = print", True),
        ("a, preprocess = 1, print", True),
        ("from shared import work as preprocess", True),
        ("from shared import *", True),
        ("try:\n    import fast\nexcept ImportError:\n    def preprocess(inputs): ...", True),
        ("if True:\n    preprocess: object = print", True),
        ("def prepocess(inputs): ...", False),
        ("def outer():\n    def preprocess(inputs): ...", False),
        ("class Outer:\n    def preprocess(self): ...", False),
    ],
)
def test_functions_are_looked_for_where_the_platform_would(repository: Path, source: str, there: bool) -> None:
    (repository / "before.py").write_text(source)
    told = messages(repository, SMALL + "inference: {pre: before.py}\n")
    near = "; did you mean `prepocess`?" if "prepocess" in source else ""
    assert told == ([] if there else [f"before.py has no function `preprocess`{near}"])


def test_a_metric_of_ones_own_has_its_function(repository: Path) -> None:
    (repository / "own.py").write_text("def profit(rows): ...\n")
    (repository / "own.sh").write_text("")
    text = SMALL + "evaluate: {custom_metrics: [{name: profit, entry_point: %s, function: %s, greater_is_better: true}]}\n"
    assert messages(repository, text % ("own.py", "profit")) == []
    (problem,) = found(repository, text % ("own.py", "proft"))
    assert problem.message == "own.py has no function `proft`; did you mean `profit`?"
    assert problem.source_line[problem.column - 1 :].startswith("proft")
    assert messages(repository, text % ("own.sh", "profit")) == ["own.sh is no .py file"]


def test_a_search_that_no_trial_could_be_given(repository: Path) -> None:
    tuned = "train.py, hyperparameters: {%s}, tune: {objective: {metric: r2}, space: {%s}}}"

    def said(fixed: str, space: str) -> list[str]:
        return messages(repository, SMALL.replace("train.py}", tuned % (fixed, space)))

    many = [", ".join(f"{letter}{i}: {value}" for i in range(60)) for letter, value in (("a", "1"), ("b", "{int: [1, 2]}"))]
    assert said(*many) == ["120 hyperparameters with those of `train.hyperparameters`; 100 are the most"]
    assert said("", "a: {float: [-1.0e+308, 1.7e+308]}") == ["the range is wider than any number"]
    assert said("", "a: {choice: [b, %s]}" % ("c" * 2500)) == ["a choice is longer than 2,500 characters"]
    none = SMALL.replace("train.py}", tuned % ("", "a: {int: [1, 2]}")).replace("tune: {", "tune: {timeout: 0s, ")
    assert messages(repository, none) == ["no trial begins within no time at all"]
    assert said("", "a: {float: [-1.0e+307, 1.0e+308]}, b: {choice: [b, %s]}" % ("c" * 2400)) == []


def test_two_metrics_of_one_name(repository: Path) -> None:
    read = "train.py, metric_definitions: [{name: loss, regex: 'a=(.*)'}, {name: acc, regex: 'b=(.*)'}, {name: %s, regex: 'c=(.*)'}]}"
    assert messages(repository, SMALL.replace("train.py}", read % "loss")) == ["two metric definitions are named `loss`"]
    assert messages(repository, SMALL.replace("train.py}", read % "err")) == []


def test_an_objective_that_no_trial_reports(repository: Path) -> None:
    tuned = (
        "train.py, metric_definitions: [{name: loss, regex: 'loss=(.*)'}], tune: {objective: {metric: %s}, space: {a: {int: [1, 2]}}%s}}"
    )
    told = {
        words: messages(repository, SMALL.replace("train.py}", tuned % words))
        for words in (("los", ""), ("loss", ""), ("loss, direction: minimize", ""), ("r2", ""), ("r2", ", pruner: median"))
    }
    assert told["los", ""] == ["no trial will report los; did you mean loss?"]
    assert told["loss", ""] == ["which way loss is better is not known"]
    assert told["loss, direction: minimize", ""] == told["r2", ""] == []
    assert told["r2", ", pruner: median"] == ["`pruner: median` needs a metric that the script prints while it trains"]
    none = SMALL.replace("train.py}", tuned % ("r2", "")).replace("target_col: y", "target_col: y\n  split: {ratios: [0.8, 0, 0.2]}")
    assert messages(repository, none) == ["r2 is computed on the validation split, whose share is 0"]
    for metric, way, said in (
        ("r2", "minimize", ["r2 is to be maximized, not minimized"]),
        ("rmse", "maximize", ["rmse is to be minimized, not maximized"]),
        ("rmse", "minimize", []),
    ):
        assert messages(repository, SMALL.replace("train.py}", tuned % (f"{metric}, direction: {way}", ""))) == said


@pytest.mark.parametrize(
    ("using", "name", "content", "said"),
    [
        ("jsonl", "rows.jsonl", '{"x": 1, "yy": 2}\n', "rows.jsonl has no column `y`; did you mean `yy`?"),
        ("jsonl", "rows.jsonl", "[1]\n", "rows.jsonl cannot be read as jsonl: a line is no object"),
        ("jsonl", "rows.jsonl", "nothing\n", "rows.jsonl cannot be read as jsonl"),
    ],
)
def test_json_lines_have_a_header_too(repository: Path, using: str, name: str, content: str, said: str) -> None:
    (repository / name).write_text(content)
    (message,) = messages(repository, SMALL.replace("using: csv, location: data.csv", f"using: {using}, location: {name}"))
    assert message.startswith(said)


def test_a_delta_table_tells_its_columns_by_its_log(repository: Path) -> None:
    log = repository / "table" / "_delta_log"
    log.mkdir(parents=True)
    for number, names in enumerate((["x", "old"], ["x", "why"])):
        schema = json.dumps({"type": "struct", "fields": [{"name": n} for n in names]})
        lines = [{"commitInfo": {}}, {"metaData": {"schemaString": schema}}]
        (log / f"{number:020}.json").write_text("\n".join(json.dumps(line) for line in lines))
    text = SMALL.replace("using: csv, location: data.csv", "using: delta, location: table").replace("target_col: y", "target_col: old")
    assert messages(repository, text) == ["table has no column `old`"]
    assert messages(repository, text.replace("target_col: old", "target_col: why")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("target_col: y", "target_col: y\n  split: {by: provided, column: x}", None),
        ("target_col: y", "target_col: y\n  split: {by: provided, column: x, ratios: [0.5, 0.2, 0.3]}", "`ratios` have no say where `x`"),
        ("target_col: y", "target_col: y\n  leakage: {time_order: block}", "the order of time cannot be judged"),
        ("target_col: y", "target_col: y\n  leakage: {time_order: 'off', target: block}", None),
        ("target_col: y", "target_col: y\n  time_col: when\n  leakage: {time_order: block}", None),
        ("train: {framework: sklearn, entry_point: train.py}", "bring: {framework: sklearn, artifact: train.py}", None),
        (
            "target_col: y\ntrain: {framework: sklearn, entry_point: train.py}",
            "target_col: y\n  channel_format: csv\nbring: {framework: sklearn, artifact: train.py}",
            "`channel_format` is how training and steps find the splits",
        ),
        ("train.py}", "train.py}\ninference: {source_dir: serving}", "`inference.source_dir` needs a script in it"),
        ("train.py}", "train.py}\ninference: {source_dir: serving, entry_point: plain.py}", None),
        ("train.py}", "train.py}\ninference: {accept: text/csv}", None),  # a script inside the model may answer so
        (
            "train.py}",
            "train.py}\ninference: {source_dir: serving, entry_point: plain.py, accept: text/csv}",
            "`accept` has no say: plain.py has no input_fn, output_fn or transform_fn",
        ),
        ("train.py}", "train.py}\ninference: {source_dir: serving, entry_point: whole.py, accept: text/csv}", None),
        ("sklearn, entry_point: train.py}", "r, entry_point: t.R}\ninference: {content_type: text/csv}", "`content_type` has no say: R is"),
        ("sklearn, entry_point: train.py}", "custom, entry_point: t.R}\ninference: {content_type: text/csv}", None),
        ("train.py}", "train.py, environment: {SAGEMAKER_REGION: us-east-1}}", "`SAGEMAKER_REGION` is set by the contract"),
        ("train.py}", "train.py, contract: v3, environment: {SAGEMAKER_REGION: us-east-1}}", None),
        ("train.py}", "train.py, contract: v3, environment: {TRAINING_JOB_NAME: mine}}", "`TRAINING_JOB_NAME` is set by the contract"),
        ("train.py}", "train.py}\ninference: {environment: {SAGEMAKER_PROGRAM: serve.py}}", None),
        (
            "train.py}",
            "train.py}\ninference: {entry_point: train.py, environment: {SAGEMAKER_PROGRAM: serve.py}}",
            "SAGEMAKER_PROGRAM names another script than `inference.entry_point`, train.py",
        ),
        ("train.py}", "train.py}\ndeploy: {replay: {}}", None),
        ("train.py}", "train.py}\ndeploy: {replay: {}, capture: {mode: 'off'}}", "no request is captured, so that there is none to replay"),
        ("train.py}", "train.py}\ndeploy: {replay: {}, capture: {sample: 0}}", "no request is captured, so that there is none to replay"),
        ("train.py}", "train.py}\ndeploy: {replay: {last: 50}}", "`min_rows` is more than `last`, so that 100 rows are never replayed"),
        ("train.py}", "train.py}\ndeploy: {rollback: {drift: warning}}", None),
        ("train.py}", "train.py}\ndeploy: {rollback: {drift: warning}, capture: {mode: 'off'}}", "no request is captured, so that"),
        ("train.py}", "train.py}\ndeploy: {strategy: {type: ab, metric: r2}}", None),
        ("train.py}", "train.py}\ndeploy: {strategy: {type: ab, metric: r2}, capture: {mode: 'off'}}", "r2 cannot decide: no request is"),
        ("train.py}", "train.py}\ndeploy: {strategy: {type: ab, metric: f2}}", "regression has no metric f2"),
    ],
)
def test_what_nothing_would_heed_is_refused(repository: Path, old: str, new: str, said: str | None) -> None:
    (repository / "serving").mkdir()
    (repository / "serving" / "plain.py").write_text("def predict_fn(rows, model): ...\n")
    (repository / "serving" / "whole.py").write_text("def input_fn(body, kind): ...\n")
    (repository / "t.R").write_text("")
    told = messages(repository, SMALL.replace(old, new))
    assert [message.startswith(said or "") for message in told] == ([True] if said else []), told


def drifting(**types: str) -> str:
    written = ", ".join(f"{name}: {kind}" for name, kind in types.items())
    return SMALL.replace("target_col: y", f"target_col: y\n  schema: {{types: {{{written}}}}}")


def test_a_measure_of_drift_fits_the_type_of_its_column(repository: Path) -> None:
    watch = "monitor: {drift: {overrides: {x: {measure: ks}, when: {measure: cramers_v}}}}\n"
    problems = found(repository, drifting(x="str", when="datetime") + watch)
    assert [p.message for p in problems] == [
        "'ks' does not measure categories, and `x` is of type str",
        "'cramers_v' does not measure numbers, and `when` is of type datetime",
    ]
    assert problems[0].next == "take one of psi, jensen_shannon, hellinger, l_infinity, cramers_v"
    assert problems[0].source_line[problems[0].column - 1 :].startswith("ks")
    assert messages(repository, drifting(x="float", when="str") + watch) == []
    assert messages(repository, SMALL + watch) == [], "a CSV file has no types"
    assert messages(repository, drifting(x="str") + watch.replace("drift: {", "drift: {enabled: false, ")) == []
    assert messages(repository, drifting(x="str") + "preprocess: {entry_point: train.py}\n" + watch) == [], "which may change types"


def test_a_range_fits_the_type_of_its_column(repository: Path) -> None:
    watch = "monitor: {data_quality: {columns: {x: {min: 0}, when: {max: 5}}}}\n"
    problems = found(repository, drifting(x="str", when="float") + watch)
    assert [p.message for p in problems] == ["`min` is about numbers, and `x` is of type str"]
    assert problems[0].source_line[problems[0].column - 1 :].startswith("0")
    assert messages(repository, drifting(x="int") + watch) == messages(repository, SMALL + watch) == []
    assert messages(repository, drifting(x="str") + watch.replace("data_quality: {", "data_quality: {enabled: false, ")) == []


def test_a_parquet_file_has_types(repository: Path) -> None:
    import polars as pl

    pl.DataFrame({"x": ["a"], "y": [1.0], "flag": [True], "n": [1], "at": ["2020-01-01"]}).write_parquet(repository / "data.parquet")
    text = drifting(at="datetime").replace("using: csv, location: data.csv", "using: parquet, location: data.parquet")
    named = ", ".join(f"{name}: {{measure: ks}}" for name in ("x", "flag", "n", "at"))
    assert messages(repository, text + f"monitor: {{drift: {{overrides: {{{named}}}}}}}\n") == [
        "'ks' does not measure categories, and `x` is of type str",
        "'ks' does not measure categories, and `flag` is of type bool",
    ]


def test_a_measure_of_drift_fits_the_score(repository: Path) -> None:
    watch = "monitor: {drift: {prediction: {measure: MEASURE}}}\n"
    assert messages(repository, SMALL + watch.replace("MEASURE", "cramers_v")) == [
        "'cramers_v' does not measure numbers, and the score of regression is one"
    ]
    assert messages(repository, SMALL + watch.replace("MEASURE", "ks")) == []


def test_columns_that_cannot_stand_beside_answers(repository: Path) -> None:
    (repository / "data.csv").write_text("x,y,y.prediction,y.score,,f.x\n1,2,3,4,5,6\n")
    problems = found(repository)
    assert [p.message for p in problems] == [
        "column 5 of 6 has no name",
        "the column `y.prediction` is called as an answer of the model is",
    ]
    assert all(p.next for p in problems)
    (repository / "data.csv").write_text("x,y,y.prediction,y.score,f.x\n1,2,3,4,6\n")
    assert found(repository, SMALL.replace("target_col: y", "target_col: y\n  schema: {exclude: [y.prediction]}")) == []
    (repository / "data.csv").write_text("x,y,y.probability_late,y.probability_early\n1,late,3,4\n")
    text = SMALL.replace("regression", "binary_classification").replace("target_col: y", "target_col: y\n  positive_class: late")
    said = [p.message for p in found(repository, text, None) if "called as an answer" in p.message]
    assert said == ["the column `y.probability_late` is called as an answer of the model is"], "of the other class the rows tell"
