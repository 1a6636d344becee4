from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import polars as pl
import pytest
from uv import find_uv_bin

from modelyard.config import infer
from modelyard.config.check import check
from modelyard.config.load import Loaded, load
from modelyard.config.scaffold import scaffold
from modelyard.config.schema import json_schema
from modelyard.errors import BadInput
from modelyard.quality.catalogue import GREATER_IS_BETTER, names_for

PROBLEMS = ["binary_classification", "multiclass_classification", "regression", "forecasting"]


def checked(folder: Path) -> Loaded:
    loaded = load(folder / "config.yaml")
    assert check(loaded, metrics=names_for(loaded.config.model.problem_type), greater_is_better=GREATER_IS_BETTER) == []
    return loaded


def table(path: Path, **columns: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(columns, strict=False)
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


@pytest.mark.parametrize("problem", PROBLEMS)
def test_without_data_an_example_is_made(tmp_path: Path, problem: str) -> None:
    written = scaffold(tmp_path / "new", name="My Model_1", problem_type=problem)
    assert [p.relative_to(tmp_path / "new").as_posix() for p in written] == [
        "config.yaml", "data/example.csv", "train.py", "requirements.txt", "config.schema.json",
    ]  # fmt: skip
    config = checked(tmp_path / "new").config
    assert (config.model.name, config.model.problem_type) == ("my-model-1", problem)
    assert config.data.id_col == "id"
    assert config.explain is not None and config.explain.method == "auto"
    assert config.data.split.by == ("time" if problem == "forecasting" else "random")
    bias = next(line.removeprefix("# ") for line in written[0].read_text().splitlines() if line.startswith("# bias: "))
    bias = bias.replace("NAME", "colour").replace("NUMBER", "0").replace("[CLASS]", "[high]")
    written[0].write_text(written[0].read_text().replace("explain:", f"{bias}\nexplain:"))
    assert checked(tmp_path / "new").config.bias is not None, "the line that is commented out holds"
    assert json.loads((tmp_path / "new" / "config.schema.json").read_text()) == json_schema()
    assert written[0].read_text().startswith("# yaml-language-server: $schema=./config.schema.json\n")


def test_the_problem_is_read_off_the_data(tmp_path: Path) -> None:
    rows = list(range(40))
    data = table(
        tmp_path / "data" / "x.csv",
        visit_id=rows, when=[f"2020-01-{1 + i % 28:02d}" for i in rows], left=[f"2021-01-{1 + i % 28:02d}" for i in rows],
        empty=[None] * 40, size=[i * 0.5 for i in rows], Label=["yes" if i % 4 == 0 else "no" for i in rows], kind=["a", "b"] * 20,
    )  # fmt: skip
    scaffold(tmp_path, name="x", data=data)
    config = checked(tmp_path).config
    assert config.model.problem_type == "binary_classification"
    assert (config.data.target_col, config.data.positive_class) == ("Label", "yes")
    assert (config.data.time_col, config.data.id_col, config.data.split.by) == ("when", "visit_id", "time")
    assert config.data.schema_.exclude == ("left", "empty")
    assert config.data.source.location == "data/x.csv"
    assert config.data.expect.min_rows == 20
    assert "TARGET = 'Label'\nNOT_FEATURES = ['visit_id', 'when']" in (tmp_path / "train.py").read_text()


@pytest.mark.parametrize(
    ("values", "problem", "positive"),
    [
        ([0, 1] * 30, "binary_classification", 1),
        ([0.0, 1.0] * 30, "binary_classification", 1),
        ([True, False] * 30, "binary_classification", True),
        (["b"] * 40 + ["a"] * 20, "binary_classification", "a"),
        ([0, 1, 2] * 20, "multiclass_classification", None),
        (["x", "y", "z"] * 20, "multiclass_classification", None),
        (list(range(60)), "regression", None),
        ([0.5, 1.5, 2.5] * 20, "regression", None),
    ],
)
def test_problem_types(tmp_path: Path, values: list[object], problem: str, positive: object) -> None:
    scaffold(tmp_path, name="x", data=table(tmp_path / "x.parquet", a=list(range(60)), t=values))
    config = checked(tmp_path).config
    assert config.model.problem_type == problem
    assert config.data.positive_class == positive
    assert type(config.data.positive_class) is type(positive)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"t": [1, 1]}, {}, "one value"),
        ({"t": []}, {}, "no rows"),
        ({"t": [f"v{i}" for i in range(60)]}, {}, "text of 60 values"),
        ({"t": [1, 2]}, {"target": "tt"}, "no column `tt`"),
        ({"t": [1, 2, 3]}, {"problem_type": "binary_classification"}, "two classes"),
        ({"t": ["a", "b"]}, {"problem_type": "regression"}, "numbers"),
        ({"t": [0.5, 1.5]}, {"problem_type": "multiclass_classification"}, "no set of classes"),
        ({"t": [1, 2]}, {"problem_type": "ranking"}, "does not learn ranking"),
        ({"t": [1, 2]}, {"problem_type": "forecasting"}, "a column of times"),
        ({"t": ["a", "b"]}, {"problem_type": "forecasting"}, "numbers"),
        ({"x" * 300: [1, 2]}, {}, "256"),
    ],
)
def test_data_that_makes_no_problem(tmp_path: Path, columns: dict[str, list[object]], options: dict[str, str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        scaffold(tmp_path / "new", name="x", data=table(tmp_path / "x.parquet", **columns), **options)
    assert not (tmp_path / "new" / "config.yaml").exists()


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    rows = [{"when": f"2024-05-{i + 1:02}", "seen": f"2024-05-01T00:00:{i:02}Z", "size": i, "tags": [i], "y": i % 2} for i in range(28)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scaffold(tmp_path, name="x", data=tmp_path / "rows.jsonl")
    data = checked(tmp_path).config.data
    assert (data.source.using, data.time_col, data.schema_.exclude, data.split.by) == ("jsonl", "when", ("seen", "tags"), "time")


@pytest.mark.parametrize(
    ("problem", "target", "words"),
    [
        ("anomaly_detection", [0, 0, 0, 1] * 10, "positive_class: 1"),
        ("multilabel_classification", [f"a{i}|b" for i in range(60)], "micro_f1"),
    ],
)
def test_other_problems_take_a_script_that_is_there(tmp_path: Path, problem: str, target: list[object], words: str) -> None:
    data = table(tmp_path / "x.parquet", a=list(range(len(target))), y=target)
    with pytest.raises(BadInput, match="does not learn"):
        scaffold(tmp_path / "new", name="x", data=data, problem_type=problem)
    (tmp_path / "train.py").write_text("print()\n")
    scaffold(tmp_path, name="x", data=data, problem_type=problem)
    assert checked(tmp_path).config.model.problem_type == problem
    assert words in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"PAR1"])
@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.jsonl"])
def test_unreadable_data(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput):
        scaffold(tmp_path / "new", name="x", data=tmp_path / name)


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("mine\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "example.csv").write_text("id,target\n")
    written = scaffold(tmp_path, name="x")
    assert tmp_path / "requirements.txt" not in written
    assert (tmp_path / "requirements.txt").read_text() == "mine\n"
    assert (tmp_path / "data" / "example.csv").read_text() == "id,target\n"
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(BadInput, match="already"):
        scaffold(tmp_path, name="y")
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_a_script_is_adopted_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "fit.py").write_text(
        "import argparse, pandas\np = argparse.ArgumentParser()\n"
        "p.add_argument('-d', '--max-depth', type=int, default=6)\np.add_argument('--name', default='a b')\np.add_argument('--none')\n"
        "p.add_argument('--flag', action='store_true', default=False)\np.add_argument('--many', nargs='*', default='x')\n"
        "p.add_argument('--model-dir', default=os.environ['SM_MODEL_DIR'])\np.add_argument('place', default='x')\npandas.read_csv\n"
    )
    (tmp_path / "src" / "requirements.txt").write_text("pandas\n")
    data = table(tmp_path / "x.csv", a=[1, 2, 3, 4], y=[0, 1, 0, 1])
    assert scaffold(tmp_path, name="x", data=data, script=tmp_path / "src" / "fit.py") == [tmp_path / "config.yaml"]
    config = checked(tmp_path).config
    assert config.train is not None
    assert (config.train.entry_point, config.train.requirements) == ("src/fit.py", "src/requirements.txt")
    assert config.train.hyperparameters == {"max-depth": 6, "name": "a b"}
    assert config.data.channel_format == "csv"


def test_a_train_py_that_is_there_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print()\n")
    data = table(tmp_path / "x.csv", a=[1, 2], y=[0, 1])
    assert scaffold(tmp_path, name="x", data=data) == [tmp_path / "config.yaml"]
    config = checked(tmp_path).config
    assert config.train is not None
    assert config.train.requirements is None


def test_scripts_that_cannot_be_adopted(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("print()\n")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "broken.py").write_text("def (")
    data = table(tmp_path / "x.csv", a=[1, 2], y=[0, 1])
    with pytest.raises(BadInput, match="inside the model's repository"):
        scaffold(tmp_path / "new", name="x", data=data, script=tmp_path / "elsewhere.py")
    with pytest.raises(BadInput, match="no Python"):
        scaffold(tmp_path / "new", name="x", data=data, script=tmp_path / "new" / "broken.py")
    with pytest.raises(BadInput, match="its data"):
        scaffold(tmp_path / "new", name="x", script=tmp_path / "new" / "broken.py")


def test_data_elsewhere_is_named_by_its_url(tmp_path: Path) -> None:
    data = table(tmp_path / "x.parquet", a=[1, 2], y=[0, 1])
    scaffold(tmp_path / "new", name="x", data=data)
    assert checked(tmp_path / "new").config.data.source.location == f"file://{data}"


@pytest.mark.parametrize(
    "name",
    ['a"b', "a: b", "on", "5", "null", "${X}", "#a", "- a", "ü", "a\\b", "'", "a\tb", "1e3", "@ESTIMATOR@", "@TARGET@", "count", "value"],
)
def test_odd_names_of_columns(tmp_path: Path, name: str) -> None:
    data = table(tmp_path / "x.parquet", a=[1, 2, 3], **{name: [0, 1, 0]})
    scaffold(tmp_path, name="x", data=data)
    assert checked(tmp_path).config.data.target_col == name
    tree = ast.parse((tmp_path / "train.py").read_text())
    names = [ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "TARGET"]
    assert names == [name]


def test_a_train_script_has_no_gap_left(tmp_path: Path) -> None:
    for problem in PROBLEMS:
        scaffold(tmp_path / problem, name="x", problem_type=problem)
        source = (tmp_path / problem / "train.py").read_text()
        ast.parse(source)
        assert "@" not in source


def test_hyperparameters_of_the_scaffold_are_options_of_its_script(tmp_path: Path) -> None:
    scaffold(tmp_path, name="x")
    train = checked(tmp_path).config.train
    assert train is not None
    assert train.hyperparameters.items() <= infer.hyperparameters(tmp_path / "train.py").items()


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_script_trains_a_model_that_predicts(tmp_path: Path, problem: str) -> None:
    """Under the classic contract, in an environment of its own requirements; gaps and unseen text at prediction time included."""
    scaffold(tmp_path, name="x", problem_type=problem)
    config = checked(tmp_path).config
    assert config.train is not None
    python = tmp_path / "env" / "bin" / "python"
    for command in (["venv", tmp_path / "env"], ["pip", "install", "-p", python, "-r", tmp_path / "requirements.txt"]):
        subprocess.run([find_uv_bin(), "-q", *map(str, command)], check=True)
    channel, model = tmp_path / "channel", tmp_path / "model"
    channel.mkdir()
    model.mkdir()
    rows = pl.read_csv(tmp_path / "data" / "example.csv").with_columns(
        pl.when(pl.col("id") % 7 == 0).then(None).otherwise(pl.col("height")).alias("height"),
        pl.when(pl.col("id") % 5 == 0).then(None).otherwise(pl.col("colour")).alias("colour"),
    )
    rows.head(500).write_parquet(channel / "train.parquet")
    unseen = pl.when(pl.col("age") > 60).then(pl.lit("violet")).otherwise("colour").alias("colour")
    rows.tail(100).drop("id", "target").with_columns(unseen).write_parquet(channel / "features.parquet")
    arguments = [a for k, v in sorted(config.train.hyperparameters.items()) for a in (f"--{k}", str(v))]
    done = subprocess.run(
        [str(python), str(tmp_path / "train.py"), *arguments],
        env={"SM_MODEL_DIR": str(model), "SM_CHANNEL_TRAIN": str(channel)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "trained on 500 rows and 3 features" in done.stdout
    code = (
        "import json, joblib, pandas as pd, sys; m = joblib.load(sys.argv[1]);"
        "print(json.dumps(m.predict(pd.read_parquet(sys.argv[2])).tolist()))"
    )
    command = [str(python), "-c", code, str(model / "model.joblib"), str(channel / "features.parquet")]
    answers = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    truth = rows.tail(100)["target"].to_list()
    if infer.is_number(problem):
        mean = sum(truth) / len(truth)
        assert sum((a - t) ** 2 for a, t in zip(answers, truth, strict=True)) < 0.6 * sum((mean - t) ** 2 for t in truth)
    else:
        assert sum(a == t for a, t in zip(answers, truth, strict=True)) > 65
