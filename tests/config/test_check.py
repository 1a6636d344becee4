from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.config.check import check
from modelyard.config.load import load
from modelyard.errors import Problem
from tests.config.texts import SMALL

METRICS = ("r2", "rmse", "mae")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text("print()\n")
    (tmp_path / "data.csv").write_text('x,"y",when\n1,2,2020-01-01\n')
    return tmp_path


def found(folder: Path, text: str = SMALL, metrics: tuple[str, ...] | None = METRICS) -> list[Problem]:
    (folder / "config.yaml").write_text(text)
    return check(load(folder / "config.yaml"), metrics=metrics)


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
    assert messages(repository, text) == ["`y` is the target_col, and cannot be excluded"]


def test_metrics_are_those_of_the_problem(repository: Path) -> None:
    text = SMALL + "evaluate: {validation_criteria: [{metric: rmsee, threshold: 1}]}\n"
    text += "monitor: {performance: {criteria: [{metric: roc_auc, max_drop: 1}]}}\n"
    assert messages(repository, text) == ["regression has no metric rmsee; did you mean rmse?", "regression has no metric roc_auc"]
    assert found(repository, text, metrics=None) == []


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
