from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.config.load import Loaded, canonical, load, loads
from modelyard.config.spec import PLANNED, Secret
from modelyard.config.words import known_keys
from modelyard.errors import BadConfig, BadInput, NotFound, Problem
from tests.config.texts import FULL, SMALL

HERE = Path("config.yaml")


def good(text: str, **environ: str) -> Loaded:
    return loads(text, HERE, environ=environ)


def problems(text: str, **environ: str) -> list[Problem]:
    with pytest.raises(BadConfig) as caught:
        loads(text, HERE, environ=environ)
    return caught.value.problems


def told(text: str, **environ: str) -> list[tuple[int, int, str]]:
    return [(p.line, p.column, p.message) for p in problems(text, **environ)]


def at(text: str, words: str) -> tuple[int, int]:
    """Line and column of `words` in a text."""
    before = text[: text.index(words)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def test_a_small_config_gets_the_defaults() -> None:
    loaded = good(SMALL)
    assert loaded.config.model.name == "small"
    assert loaded.config == loaded.staging == loaded.for_stage("staging")
    assert loaded.config.environments.production.approval.required
    assert not loaded.config.environments.staging.approval.required
    assert loaded.path == Path.cwd() / "config.yaml"
    assert loaded.folder == Path.cwd()


def test_a_full_config_keeps_every_value() -> None:
    config = good(FULL).config
    assert config.train is not None
    assert config.train.hyperparameters == {"max_depth": 6, "C": 0.5, "names": ["a", "b"], "deep": {"x": 1}, "flag": True, "nothing": None}
    assert config.train.instances.max_runtime == timedelta(hours=1, minutes=30)
    assert config.alerts.to == (Secret(secret="slack_url"), "json://localhost/x")
    assert config.environments.staging.port == 8080
    assert config.data.source.location == "data/flights.parquet"
    assert config.data.expect.columns["late"].categories == (0, 1)


def test_canonical_json_gives_the_same_config_again() -> None:
    import json

    loaded = good(FULL)
    for stage, data in loaded.canonical().items():
        again = type(loaded.config).model_validate_json(json.dumps(data), strict=True)
        assert canonical(again) == canonical(loaded.for_stage(stage))


def test_the_digest_follows_the_meaning_and_not_the_writing() -> None:
    other = SMALL.replace("{name: small, problem_type: regression}", "\n  problem_type: 'regression'   # the same\n  name: small")
    assert good(other).digest == good(SMALL).digest
    assert good(SMALL + "timezone: UTC\n").digest == good(SMALL).digest
    assert good(SMALL.replace("small", "smaller")).digest != good(SMALL).digest
    assert good(SMALL + "deploy: {realtime: {timeout: {staging: 1s}}}\n").digest != good(SMALL).digest


def test_where_finds_a_value_again() -> None:
    assert good(SMALL).where("train", "entry_point") == "config.yaml:6:42"


# ---- stages


def test_values_differ_by_stage() -> None:
    loaded = good(SMALL + "deploy: {realtime: {timeout: {staging: 1s, production: 9m}}, capture: {staging: {mode: 'off'}}}\n")
    assert loaded.staging.deploy.realtime.timeout == timedelta(seconds=1)
    assert loaded.config.deploy.realtime.timeout == timedelta(minutes=9)
    assert (loaded.staging.deploy.capture.mode, loaded.config.deploy.capture.mode) == ("off", "buffered")


def test_a_stage_that_is_not_named_keeps_the_default() -> None:
    realtime = "realtime: {production: {min_workers: 3}, staging: {linger: 9s}}"
    loaded = good(SMALL + f"deploy: {{capture: {{sample: {{production: 0.5}}}}, {realtime}}}\n")
    assert (loaded.staging.deploy.capture.sample, loaded.config.deploy.capture.sample) == (1, 0.5)
    assert (loaded.staging.deploy.realtime.min_workers, loaded.config.deploy.realtime.min_workers) == (1, 3)
    assert (loaded.staging.deploy.realtime.linger, loaded.config.deploy.realtime.linger) == (timedelta(seconds=9), timedelta(seconds=2))


@pytest.mark.parametrize(
    ("extra", "words", "message"),
    [
        ("deploy: {realtime: {timeout: {staging: {staging: 1s}}}}", "{staging: 1s}", "already stands under a stage"),
        ("deploy: {realtime: {staging: {timeout: {production: 1s}}}}", "{production: 1s}", "already stands under a stage"),
        ("deploy: {realtime: {min_workers: 2, staging: 1}}", "staging: 1}", "`staging` stands beside other keys"),
        ("deploy: {realtime: {timeout: {staging: 1x}}}", "1x", "'1x' is not a duration"),
        ("deploy: {capture: {sample: {production: 2}}}", "2}", "`sample` must be at most 1, not 2"),
        ("deploy: {staging: {realtime: {timeout: 1s}}}", "staging: {", "`deploy` cannot differ by stage"),
        ("deploy: {strategy: {bake: {staging: 1s}}}", "{staging: 1s}", "`deploy.strategy.bake` cannot differ by stage"),
        ("deploy: {strategy: {staging: {bake: 1s}}}", "staging: {", "`deploy.strategy` cannot differ by stage"),
        ("deploy: {strategy: {type: canary, staging: 1}}", "staging: 1}", "`deploy.strategy` cannot differ by stage"),
        ("deploy: {strategy: {steps: {production: [5]}}}", "{production: [5]}", "`deploy.strategy.steps` cannot differ by stage"),
        ("deploy: {rollback: {error_rate: {staging: 1}}}", "{staging: 1}", "`deploy.rollback.error_rate` cannot differ by stage"),
        ("monitor: {window: {staging: 1d}}", "{staging: 1d}", "`monitor.window` cannot differ by stage"),
        ("monitor: {window: {staging: 1d, production: 1d}}", "{staging: 1d", "`monitor.window` cannot differ by stage"),
        ("monitor: {production: {window: 1d}}", "production: {", "`monitor` cannot differ by stage"),
        ("alerts: {to: [{production: 'json://a'}, 'json://b']}", "production: 'json", "`alerts.to[0]` cannot differ by stage"),
        ("alerts: {to: [{staging: {secret: a}}]}", "staging: {", "`alerts.to[0]` cannot differ by stage"),
        ("retrain: {staging: {on: [drift]}}", "staging: {", "`retrain` cannot differ by stage"),
        ("retrain: {on: {production: [drift]}}", "{production: [drift]}", "`retrain.on` cannot differ by stage"),
        ("retrain: {cooldown: {production: 1d}}", "{production: 1d}", "`retrain.cooldown` cannot differ by stage"),
        ("preprocess: {staging: {entry_point: a.py}}", "staging: {", "`preprocess` cannot differ by stage"),
        ("evaluate: {slices: {staging: [a]}}", "{staging: [a]}", "`evaluate.slices` cannot differ by stage"),
        ("timezone: {staging: UTC}", "{staging: UTC}", "`timezone` cannot differ by stage"),
        ("staging: 5", "staging: 5", "the whole file cannot differ by stage"),
    ],
)
def test_misplaced_stages_are_told(extra: str, words: str, message: str) -> None:
    text = SMALL + extra + "\n"
    found = told(text)
    assert len(found) == 1, found
    assert found[0][:2] == at(text, words)
    assert message in found[0][2]
    if "cannot differ" in message:
        assert found[0][2] == f"{message}; values under deploy.realtime and deploy.capture can"


def test_a_fault_of_both_stages_is_told_once() -> None:
    text = SMALL + "deploy: {realtime: {linger: {staging: 1d}, timeout: x}}\nalerts: {to: [5]}\nmonitor: {drift: {share: x}}\n"
    assert [m for _, _, m in told(text)] == [
        "'x' is not a duration; write 90s, 15m, 24h, 7d, 2w or 1h30m",
        "`to[0]` must be text, or {secret: NAME}, not 5",
        "`share` must be a number, not 'x'",
    ]


# ---- variables


def test_declared_variables_are_put_in() -> None:
    text = SMALL.replace("location: data.csv", 'location: "${FOLDER}/${NAME}.csv"') + "variables: {FOLDER: data, NAME: null}\n"
    assert good(text, NAME="x").config.data.source.location == "data/x.csv"
    assert good(text, NAME="x", FOLDER="other").config.data.source.location == "other/x.csv"
    assert good(text, NAME="x").config.variables == {"FOLDER": "data", "NAME": None}


def test_an_unquoted_variable_may_be_a_number_and_a_quoted_one_is_text() -> None:
    text = SMALL + 'variables: {MANY: "5"}\n'
    assert good(text + "deploy:\n  rollback:\n    min_requests: ${MANY}\n").config.deploy.rollback.min_requests == 5
    quoted = text + 'deploy: {rollback: {min_requests: "${MANY}"}}\n'
    assert "must be a whole number, not '5'" in told(quoted)[0][2]


def test_what_a_variable_holds_is_judged_like_any_value_and_is_never_structure() -> None:
    text = SMALL.replace("entry_point: train.py", 'entry_point: "${SCRIPT}"') + "variables: {SCRIPT: null}\n"
    assert "must be a path inside" in told(text, SCRIPT="../x.py")[0][2]
    assert "U+0007" in told(text, SCRIPT="a\x07")[0][2]
    assert "U+DC80" in told(text, SCRIPT="a\udc80")[0][2]
    text = SMALL.replace("target_col: y", "target_col: ${COLUMN}") + "variables: {COLUMN: null}\n"
    assert good(text, COLUMN="{a: 1}").config.data.target_col == "{a: 1}"


def test_a_dollar_can_be_written() -> None:
    assert good(SMALL.replace("target_col: y", 'target_col: "$${y} $5 $y"')).config.data.target_col == "${y} $5 $y"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${HOME}", "${HOME} is not declared under `variables`"),
        ("${FOLDR}", "did you mean ${FOLDER}?"),
        ("${folder}", "`${` begins a reference"),
        ("${FOLDER:-x}", "`${` begins a reference"),
        ("${", "`${` begins a reference"),
    ],
)
def test_other_references_are_told(value: str, message: str) -> None:
    text = SMALL.replace("target_col: y", f'target_col: "{value}"') + "variables: {FOLDER: x}\n"
    found = told(text, HOME="/root")
    assert len(found) == 1
    assert found[0][:2] == at(text, f'"{value}"')
    assert message in found[0][2]


def test_a_variable_without_default_must_be_set() -> None:
    text = SMALL + "variables: {NEEDED: null}\n"
    assert told(text) == [(*at(text, "NEEDED"), "NEEDED must be set in the environment, for it has no default here")]


def test_a_default_names_no_other_variable() -> None:
    assert "cannot name another variable" in told(SMALL + 'variables: {A: x, B: "${A}"}\n')[0][2]


# ---- messages


def test_all_problems_come_at_once_in_the_files_order() -> None:
    text = """\
version: 2
model: {name: Bad Name, problem_type: binary_clasification}
repository: {url: .}
data:
  source: {using: parquett, location: x}
  target_cool: late
  split: {ratios: [0.5, 0.4, 0.2]}
train: {framework: sklearn, entry_point: ../t.py, instances: {cpus: "2"}}
"""
    assert told(text) == [
        (1, 10, "`version` must be 1, not 2"),
        (2, 9, "`name` must be lower-case letters, digits and dashes, such as flight-delay (63 characters at most)"),
        (
            2, 39, "`problem_type` must be binary_classification, multiclass_classification, multilabel_classification, regression, "
            "ranking, forecasting or anomaly_detection, not 'binary_clasification'; "
            "did you mean binary_classification?",
        ),
        (3, 1, "`repository` (watching a Git repository) is not honoured by this release"),
        (5, 19, "`using` must be csv, parquet, jsonl, delta, sql or script, not 'parquett'; did you mean parquet?"),
        (6, 3, "unknown key `data.target_cool`; did you mean `target_col`?"),
        (7, 11, "`ratios` sum to 1.1, not 1"),
        (8, 42, "'../t.py' must be a path inside the model's repository, relative to config.yaml"),
        (8, 69, "`cpus` must be a whole number, not '2'"),
    ]  # fmt: skip


def test_a_problem_prints_with_its_line_and_a_caret() -> None:
    text = SMALL.replace("target_col", "target_cool")
    assert str(problems(text)[0]) == (
        "config.yaml:5:3: unknown key `data.target_cool`; did you mean `target_col`?\n      target_cool: y\n      ^"
    )


@pytest.mark.parametrize(
    ("old", "new", "words", "message"),
    [
        ("version: 1\n", "version: true\n", "true", "this must be 1, not true"),
        ("version: 1\n", "version: 1.5\n", "1.5", "`version` must be 1, not 1.5"),
        ("regression}", "regression, tags: {a: 1}}", "1}}", "`a` must be text, not 1"),
        ("regression}", "regression, tags: [a]}", "[a]", "`tags` must be a mapping, not a list"),
        ("target_col: y", "target_col: 5", "5\n", "`target_col` must be text, not 5"),
        ("target_col: y", "target_col: ''", "''", "`target_col` must have at least 1 characters"),
        ("target_col: y", "target_col: y\n  schema_: {}", "schema_", "unknown key `data.schema_`; did you mean `schema`?"),
        ("target_col: y", "target_col: y\n  entity_cols: a", "a\n", "`entity_cols` must be a list, not 'a'"),
        ("target_col: y", "target_col: y\n  split: {ratios: [1, 0]}", "ratios", "`data.split.ratios` needs more values"),
        ("target_col: y", "target_col: y\n  split: {by: time}", "split", "`split: {by: time}` needs `time_col`"),
        ("target_col: y", "target_col: y\n  positive_class: [1]", "[1]", "must be one value: text, a number, or true or false, not a list"),
        (
            "target_col: y", "target_col: y\n  positive_class: 1", "positive_class",
            "goes with binary classification and anomaly detection, not regression",
        ),
        ("{using: csv, location: data.csv}", "[1]", "[1]", "`source` must be a mapping, not a list"),
        ("location: data.csv", "location: {secrte: x}", "secrte", "unknown key `data.source.location.secrte`; did you mean `secret`?"),
        ("location: data.csv", "location: {secret: a b}", "secret: a b", "`secret` must be letters, digits and underscores"),
        ("location: data.csv", "location: 5", "5}", "`location` must be text, or {secret: NAME}, not 5"),
        ("location: data.csv", "location: data.csv, query: select 1", "query", "`query` is needed with `using: sql`, and only there"),
        ("using: csv, location: data.csv", "using: sql, query: select 1, location: x.db", "location", "is a URL of sqlite"),
        ("location: data.csv", 'location: "postgresql://u:secretword@h/d"', '"postgresql', "a password stands in this URL"),
        ("train.py}", "train.py, instances: {cpus: 1.5}}", "1.5", "`cpus` must be a whole number, not 1.5"),
        ("train.py}", "train.py, instances: {cpus: 5000}}", "5000", "`cpus` must be at most 1024, not 5000"),
        ("train.py}", "train.py, instances: {count: true}}", "true", "`count` must be a whole number, not true"),
        ("train.py}", "train.py, instances: {count: 17}}", "17", "`count` must be at most 16, not 17"),
        ("train.py}", "train.py, inputs: {more: data.tset}}", "data.tset", "'data.tset' names no input; write data.train"),
        ("train.py}", "train.py, environment: {SM_HP_X: a}}", "{SM", "the variable `SM_HP_X` is set by the platform"),
        ("train.py}", "train.py, metric_definitions: [{name: a, regex: '('}]}", "'('", "is no regular expression"),
        ("train.py}", "train.py, metric_definitions: [{name: a, regex: 'a='}]}", "'a='", "must have one group, the number"),
        ("train.py}", "train.py, tune: {objective: {metric: r2}, space: {a: {int: [5, 2]}}}}", "{int", "the range [5, 2] must rise"),
        ("train.py}", "train.py, tune: {objective: {metric: r2}, space: {a: {}}}}", "{}}}}", "write one of `int: [least, greatest]`"),
        ("train.py}", "train.py, tune: {objective: {metric: r2}, space: {a: {choice: [1, 1]}}}}", "choice", "`choice` names a value twice"),
        ("train: ", "steps: [{name: a, entry_point: a.py}, {name: a, entry_point: b.py}]\ntrain: ", "version", "two steps are named `a`"),
        ("train: ", "steps: [{name: train, entry_point: a.py}]\ntrain: ", "{name: train", "a step cannot be named `train`"),
        ("train: ", "bias: {}\ntrain: ", "{}\n", "write either `facets` (or `intersections`), or `analysis_config`"),
        ("train: ", "bias: {facets: [{column: a, above: 1, privileged: [b]}]}\ntrain: ", "privileged: [b]", "write one of `privileged`"),
        ("train: ", "evaluate: {at: [3]}\ntrain: ", "at: [3]", "`evaluate.at` goes with ranking and anomaly detection, not regression"),
        (
            "train: ", "evaluate: {validation_criteria: [{metric: r2, threshold: 1, slice: 5}]}\ntrain: ", "5}]",
            "`slice` must be a column, `worst`, or {column: NAME, value: VALUE}, not 5",
        ),
        ("problem_type: regression", "problem_type: ranking", "version", "ranking needs `data.schema.group_col`"),
        ("problem_type: regression", "problem_type: forecasting", "version", "forecasting needs `data.split: {by: time}`"),
        ("train.py}", "train.py, instances: {max_runtime: 5}}", "5}", "5 is not a duration"),
        ("train.py}", "train.py, instances: {max_runtime: 999999999w}}", "999999999w", "longer than a hundred years"),
        ("train.py}", "train.py, instances: {gpus: 1}}", "gpus", "`gpus` (accelerators) is not honoured by this release"),
        ("train.py}", "train.py, network_isolation: yes}", "yes", "`network_isolation` must be true or false, not 'yes'"),
        ("train.py}", "train.py, hyperparameters: {a: .nan}}", ".nan", "'.nan' is not a finite number"),
        ("train.py}", "train.py, hyperparameters: {--x: 1}}", "--x", "`--x` is no hyperparameter's name"),
        ("train.py}", "train.py, hyperparameters: {a: " + "x" * 2501 + "}}", "a: xx", "longer than 2500 characters"),
        ("train: ", "monitor: {schedule_expression: '@daily'}\ntrain: ", "'@daily'", "is not a schedule"),
        ("train: ", "monitor: {schedule_expression: 0-99999999 * * * *}\ntrain: ", "0-99", "is not a schedule"),
        ("train: ", "timezone: Mars/Olympus\ntrain: ", "Mars", "'Mars/Olympus' is not a time zone"),
        ("train: ", "timezone: ../../etc/passwd\ntrain: ", "../..", "is not a time zone"),
        ("train: ", "deploy: {strategy: {steps: [50, 10]}}\ntrain: ", "steps", "`steps` must rise"),
        ("train: ", "evaluate: {validation_criteria: [{metric: r2}]}\ntrain: ", "{metric", "write either `threshold`"),
        ("train: ", "environments: {staging: {port: 80}, production: {port: 80}}\ntrain: ", "port: 80}, ", "each endpoint needs its own"),
        ("train: ", "bring: {artifact: m.onnx, framework: onnx}\ntrain: ", "train: ", "write either `train`"),
        ("train: ", "retrain: {window: {type: sliding, length: 3d}}\ntrain: ", "window", "type: sliding}` needs `data.time_col`"),
        ("train: ", "retrain: {window: {type: sliding}}\ntrain: ", "type: sl", "`length` is needed with `type: sliding`, and only there"),
        ("train: ", "alerts: {to: [somewhere]}\ntrain: ", "somewhere", "a channel is an Apprise URL"),
    ],
)  # fmt: skip
def test_one_fault_gives_one_message_at_its_place(old: str, new: str, words: str, message: str) -> None:
    assert old in SMALL
    text = SMALL.replace(old, new)
    found = told(text)
    assert len(found) == 1, found
    assert message in found[0][2]
    assert found[0][:2] == at(text, words)


def test_a_password_is_never_repeated_in_a_message() -> None:
    found = problems(SMALL.replace("location: data.csv", 'location: "postgresql://u:secretword@h/d"'))
    assert "secretword" not in found[0].message


def test_a_slip_in_a_needed_key_is_told_once() -> None:
    assert len(told(SMALL.replace("target_col", "targt_col"))) == 1


def test_rules_over_several_keys_are_judged_beside_other_faults() -> None:
    text = FULL.replace("  positive_class: 1\n", "").replace("window: 15m", "windw: 15m")
    assert [m for _, _, m in told(text)] == [
        "binary classification needs `data.positive_class`",
        "unknown key `monitor.windw`; did you mean `window`?",
    ]


def test_a_slip_in_a_key_that_a_rule_needs_does_not_bring_the_rule_up() -> None:
    assert len(told(FULL.replace("positive_class: 1", "postive_class: 1"))) == 1


def test_a_sliding_window_needs_a_time_column() -> None:
    sliding = SMALL + "retrain: {window: {type: sliding, length: 3d}}\n"
    assert [m for _, _, m in told(sliding)] == ["`retrain.window: {type: sliding}` needs `data.time_col`"]
    assert good(sliding.replace("target_col: y", "target_col: y\n  time_col: t")).config.retrain.window.length == timedelta(days=3)
    slip = sliding.replace("target_col: y", "target_col: y\n  time_cool: t")
    assert [m for _, _, m in told(slip)] == ["unknown key `data.time_cool`; did you mean `time_col`?"]


@pytest.mark.parametrize("key", sorted(PLANNED))
def test_planned_keys_are_refused_by_name(key: str) -> None:
    *parents, last = key.split(".")
    assert last not in known_keys(tuple(parents)), "honoured by now: take it out of PLANNED"
    nested = "".join(f"{'  ' * i}{part}:\n" for i, part in enumerate(parents)) + f"{'  ' * len(parents)}{last}: 1\n"
    with pytest.raises(BadConfig) as caught:
        loads("version: 1\n" + nested, HERE)
    said = f"`{last}` ({PLANNED[key]}) is not honoured by this release"
    assert said in [p.message for p in caught.value.problems]


# ---- hostile text in fields that become paths, arguments and names

TRAIN = "train: {framework: sklearn, entry_point: train.py}"
PATH_FIELDS = {
    "train.entry_point": lambda v: SMALL.replace("entry_point: train.py", f"entry_point: {v}"),
    "train.source_dir": lambda v: SMALL.replace("train.py}", f"train.py, source_dir: {v}}}"),
    "train.requirements": lambda v: SMALL.replace("train.py}", f"train.py, requirements: {v}}}"),
    "preprocess.entry_point": lambda v: SMALL + f"preprocess: {{entry_point: {v}}}\n",
    "inference.entry_point": lambda v: SMALL + f"inference: {{entry_point: {v}}}\n",
    "bring.artifact": lambda v: SMALL.replace(TRAIN, f"bring: {{framework: onnx, artifact: {v}}}"),
    "bring.requirements": lambda v: SMALL.replace(TRAIN, f"bring: {{framework: onnx, artifact: a, requirements: {v}}}"),
    "data.source.location": lambda v: SMALL.replace("location: data.csv", f"location: {v}"),
}
TRAVERSALS = [
    "../x", "..", "a/../../x", "a/..", "./../x", "/etc/passwd", "//etc/passwd", "~", "~root/x", "~/x", "-rf", "--config=x", "..\\\\x",
    "a\\\\..\\\\x", "C:\\\\x", "", " ", "a\\nb", "a\\rb", "a\\0b", "a\\x1bb", "a\\x7fb", "\\n", "a/../b", "a/..\\n", "/", "\\ud800",
]  # fmt: skip


@pytest.mark.parametrize("field", PATH_FIELDS)
@pytest.mark.parametrize("value", TRAVERSALS)
def test_no_path_leads_out_or_can_be_taken_for_an_option(field: str, value: str) -> None:
    text = PATH_FIELDS[field](f'"{value}"')
    lines = text.splitlines()
    for problem in problems(text):
        assert f'"{value}"' in lines[problem.line - 1]


@pytest.mark.parametrize("field", PATH_FIELDS)
@pytest.mark.parametrize("value", ["a.py", "a/b.py", "./a.py", "a b.py", "..a", "a..b/c", "$(id).py", "a;b.py", "`id`.py", "ü.py"])
def test_odd_but_harmless_paths_pass(field: str, value: str) -> None:
    good(PATH_FIELDS[field](f'"{value}"'))


NAMES = {
    "model.name": lambda v: SMALL.replace("name: small", f"name: {v}"),
    "secret": lambda v: SMALL.replace("location: data.csv", f"location: {{secret: {v}}}"),
    "hyperparameter": lambda v: SMALL.replace("train.py}", f"train.py, hyperparameters: {{{v}: 1}}}}"),
    "metric": lambda v: SMALL + f"evaluate: {{validation_criteria: [{{metric: {v}, threshold: 1}}]}}\n",
    "variable": lambda v: SMALL + f"variables: {{{v}: x}}\n",
    "channel": lambda v: SMALL + f"alerts: {{to: [{v}]}}\n",
    "cron": lambda v: SMALL + f"monitor: {{schedule_expression: {v}}}\n",
    "timezone": lambda v: SMALL + f"timezone: {v}\n",
    "window": lambda v: SMALL + f"monitor: {{window: {v}}}\n",
    "duration": lambda v: SMALL + f"retrain: {{cooldown: {v}}}\n",
}


@pytest.mark.parametrize("field", NAMES)
@pytest.mark.parametrize(
    "value", ["-x", "--x", "a\\n", "a\\nb", "$(id)", "a;b", "a b", "`id`", "../x", "a|b", "x\\0", "'", "\\u202e", "*" * 300]
)
def test_names_hold_nothing_that_a_shell_or_a_path_could_take(field: str, value: str) -> None:
    problems(NAMES[field](f'"{value}"'))


def test_arguments_are_the_users_own_but_hold_no_nul() -> None:
    text = SMALL + 'preprocess: {entry_point: p.py, arguments: ["--x", "$(id)", "a;b", "-", "two\\nlines"]}\n'
    config = good(text).config
    assert config.preprocess is not None
    assert config.preprocess.arguments == ("--x", "$(id)", "a;b", "-", "two\nlines")
    assert "U+0000" in told(text.replace("$(id)", "\\0"))[0][2]


# ---- files


def test_load_reads_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(path).digest == good(SMALL).digest
    monkeypatch.chdir(tmp_path)
    assert load(Path("config.yaml")).folder == tmp_path


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path / "config.yaml")
    with pytest.raises(BadInput, match="folder"):
        load(tmp_path)
    with pytest.raises(BadInput):
        load(tmp_path / "a\0b")


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"version: 1\nmodel: \xff", (2, 8)),
        (b"\xff\xfev\0e\0", (1, 1)),
        (b"a: \xed\xa0\x80", (1, 4)),
        (b"\xef\xbb\xbfa: \xff", (1, 4)),
        (b"x" * 1_000_001, (1, 1)),
        (b"", (1, 1)),
        (b"# nothing\n", (1, 1)),
        (b"[1]", (1, 1)),
        (b"x", (1, 1)),
    ],
)
def test_bytes_that_are_no_config(tmp_path: Path, raw: bytes, place: tuple[int, int]) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    with pytest.raises(BadConfig) as caught:
        load(path)
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == place
