"""A model repository that works from the start, or a config for one that is there.

What can be seen is not asked: the problem is read off the data, options off an adopted script. Nothing is ever overwritten.
"""

from __future__ import annotations

import json
import math
import random
import re
import tempfile
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from modelyard.config import infer
from modelyard.config.document import resolve
from modelyard.config.load import loads
from modelyard.config.schema import json_schema
from modelyard.errors import BadConfig, BadInput

_REQUIREMENTS = "joblib\npandas\npyarrow\nscikit-learn\n"
_REGRESSOR, _CLASSIFIER = "HistGradientBoostingRegressor", "HistGradientBoostingClassifier"
_ESTIMATORS = {
    "binary_classification": _CLASSIFIER,
    "multiclass_classification": _CLASSIFIER,
    "regression": _REGRESSOR,
    "forecasting": _REGRESSOR,
}
"""What the train.py that is written here can learn."""


def scaffold(
    folder: Path,
    *,
    name: str,
    problem_type: str | None = None,
    data: Path | None = None,
    target: str | None = None,
    script: Path | None = None,
) -> list[Path]:
    """Writes a model repository into `folder` and gives the paths written, config.yaml first.

    Without `data` an example table is made, so that there is something to run. A `script`, or a train.py that is there already,
    is adopted: then only config.yaml is written.

    Args:
        folder: made where it is missing.
        name: the model's name; made lower-case with dashes.
        problem_type: inferred from the target by default.
        data: a csv, parquet or JSON lines file; one outside `folder` is named by its file:// URL.
        target: the column to predict; by default one named target, label, y, class or outcome, else the last.
        script: a training script inside `folder`.

    Raises:
        BadInput: there is a config.yaml already, the data makes no such problem, or the script lies elsewhere.
    """
    config = folder / "config.yaml"
    if config.exists() or config.is_symlink():
        raise BadInput("there is a config already", where=str(config), next=f"modelyard check {config}")
    if script is None and (folder / "train.py").exists():
        script = folder / "train.py"
    entry_point = "train.py" if script is None else _inside(folder, script)
    if script is None and problem_type is not None and problem_type not in _ESTIMATORS:
        spoken = problem_type.replace("_", " ")
        raise BadInput(
            f"the train.py that is written here does not learn {spoken}", where="--problem-type", next="name yours with --script"
        )
    if script is not None and data is None:
        raise BadInput("to adopt a script, its data has to be named", where=str(script), next="modelyard init --data FILE")
    files: dict[str, str] = {}
    if data is None:
        made = _example(problem_type or "binary_classification", target or "target")
        files["data/example.csv"] = made
        facts = _facts_of(made, target or "target", problem_type)
        location = "data/example.csv"
    else:
        facts, location = infer.facts(data, target=target, problem_type=problem_type), _location(folder, data)
    text = _config(folder, _slug(name), facts, location, entry_point, script)
    try:
        loads(text, config, environ={})
    except BadConfig as exc:
        raise BadInput(f"no config can be made of this: {exc.problems[0].message}", where=str(data or folder)) from exc
    files = {"config.yaml": text, **files}
    if script is None:
        files |= {"train.py": _train(facts), "requirements.txt": _REQUIREMENTS}
        files["config.schema.json"] = json.dumps(json_schema(), indent=2) + "\n"
    return _write(folder, files)


def _write(folder: Path, files: dict[str, str]) -> list[Path]:
    written = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            continue  # what is there is the user's
        written.append(path)
    return written


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or "model"


def _inside(folder: Path, script: Path) -> str:
    if not script.resolve().is_relative_to(folder.resolve()):
        raise BadInput("the script must lie inside the model's repository", where=str(script), next=f"copy it into {folder}")
    return script.resolve().relative_to(folder.resolve()).as_posix()


def _location(folder: Path, data: Path) -> str:
    real = data.resolve()
    return real.relative_to(folder.resolve()).as_posix() if real.is_relative_to(folder.resolve()) else f"file://{real}"


def _facts_of(table: str, target: str, problem_type: str | None) -> infer.Facts:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "example.csv"
        path.write_text(table, encoding="utf-8")
        return infer.facts(path, target=target, problem_type=problem_type)


def _example(problem_type: str, target: str) -> str:
    """A small table with a signal in it, always the same."""
    source = random.Random(7)  # noqa: S311  (an example, no secret)
    doubled = target.replace('"', '""')
    dated = problem_type == "forecasting"
    lines = [f'id,{"day," if dated else ""}height,age,colour,"{doubled}"']
    for row in range(600):
        height, age, colour = source.gauss(170, 10), source.randint(18, 80), source.choice(["red", "green", "blue"])
        score = (height - 170) / 10 + (age - 49) / 18 + (colour == "red") + source.gauss(0, 0.5)
        if problem_type in ("regression", "forecasting"):
            answer = f"{score:.4f}"
        elif problem_type == "multiclass_classification":
            answer = "low" if score < -0.7 else "high" if score > 1.2 else "middle"
        else:
            answer = str(int(score > 0.3))
        day = f"{date(2024, 1, 1) + timedelta(days=row)}," if dated else ""
        lines.append(f"{row},{day}{height:.1f},{age},{colour},{answer}")
    return "\n".join(lines) + "\n"


def _train(facts: infer.Facts) -> str:
    template = resources.files("modelyard.config").joinpath("templates/train.py.txt").read_text(encoding="utf-8")
    beside = [n for n in (facts.id_col, facts.time_col) if n is not None]
    filled = {
        "@ESTIMATOR@": _ESTIMATORS[facts.problem_type],
        "@TARGET@": repr(facts.target),
        "@NOT_FEATURES@": repr(beside),
    }
    return re.sub("|".join(filled), lambda match: filled[match.group()], template)


def _scalar(value: Any) -> str:
    """A value as YAML, in quotes where it would mean something else without."""
    if isinstance(value, str):
        value = value.replace("${", "$${")
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*", value) and isinstance(resolve(value), str)
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _gates(facts: infer.Facts) -> list[str]:
    floor = math.floor(facts.commonest * 100) / 100
    first, metric, allowed = {
        "regression": ("{metric: r2, threshold: 0.0}      # better than always guessing the mean", "r2", -0.01),
        "forecasting": ("{metric: mase, threshold: 1.0}      # better than yesterday's value", "mase", -0.05),
        "binary_classification": ("{metric: roc_auc, threshold: 0.55}      # 0.5 is a coin", "roc_auc", -0.01),
        "anomaly_detection": ("{metric: roc_auc, threshold: 0.55}      # 0.5 is a coin", "roc_auc", -0.01),
        "multilabel_classification": ("{metric: micro_f1, threshold: 0.1}", "micro_f1", -0.01),
        "multiclass_classification": (
            f"{{metric: accuracy, threshold: {floor}}}      # the share of the most frequent class", "accuracy", -0.01,
        ),
    }.get(facts.problem_type, ("", "", 0.0))  # fmt: skip
    return [f"- {first}", f"- {{metric: {metric}, versus: champion, min_absolute_change: {allowed}}}"] if first else []


def _about(facts: infer.Facts) -> list[str]:
    """What explains the model, and how to ask whether it is fair."""
    good = ", label_above: NUMBER" if infer.is_number(facts.problem_type) else ""
    good = ", label_values: [CLASS]" if facts.problem_type == "multiclass_classification" else good
    lines = ["", "explain: {method: auto}      # which feature moves the predictions, and how far"]
    if facts.problem_type != "multilabel_classification":
        lines += [f"# bias: {{facets: [{{column: NAME}}]{good}}}      # are groups of people treated alike? SageMaker Clarify's metrics"]
    return lines


def _config(folder: Path, name: str, facts: infer.Facts, location: str, entry_point: str, script: Path | None) -> str:
    lines = [] if script else ["# yaml-language-server: $schema=./config.schema.json"]
    lines += ["version: 1", "", "model:", f"  name: {_scalar(name)}", f"  problem_type: {facts.problem_type}", ""]
    lines += ["data:", f"  source: {{using: {facts.using}, location: {_scalar(location)}}}"]
    lines += [f"  target_col: {_scalar(facts.target)}"]
    if facts.positive_class is not None:
        lines += [f"  positive_class: {_scalar(facts.positive_class)}      # the class whose probability is scored"]
    lines += [f"  time_col: {_scalar(facts.time_col)}"] if facts.time_col else []
    lines += [f"  id_col: {_scalar(facts.id_col)}"] if facts.id_col else []
    if facts.exclude:
        lines += [f"  schema: {{exclude: [{', '.join(_scalar(n) for n in facts.exclude)}]}}"]
    lines += [f"  split: {{by: {'time' if facts.time_col else 'random'}, ratios: [0.7, 0.15, 0.15]}}"]
    lines += ["  expect:", f"    min_rows: {max(1, facts.rows // 2)}"]
    if script is not None and infer.reads_csv(script):
        lines += ["  channel_format: csv"]
    lines += ["", "train:", "  framework: sklearn", f"  entry_point: {_scalar(entry_point)}"]
    beside = None if script is None else script.parent / "requirements.txt"
    if script is None or (beside is not None and beside.exists()):
        lines += [f"  requirements: {_scalar(_inside(folder, beside) if beside else 'requirements.txt')}"]
    options = {"max-iter": 100, "learning-rate": 0.1} if script is None else infer.hyperparameters(script)
    if options:
        lines += ["  hyperparameters:", *(f"    {_scalar(k)}: {_scalar(v)}" for k, v in options.items())]
    gates = _gates(facts)
    lines += ["", "evaluate:", "  validation_criteria:", *(f"    {gate}" for gate in gates)] if gates else []
    lines += _about(facts)
    lines += ["", "environments:", "  production:", "    approval: {required: true}      # a person's word before production"]
    return "\n".join(lines) + "\n"
