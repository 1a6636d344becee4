from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config import loosening
from modelyard.config import plan as planning
from modelyard.config.load import canonical, loads
from modelyard.config.plan import Change, plan, plan_stages
from tests.config.texts import FULL, SMALL

GREATER = {"roc_auc": True, "log_loss": False, "r2": True}
LOADED = loads(FULL, Path("config.yaml"), environ={})
BASE = LOADED.canonical()["production"]


def changed(text: str, *replacements: tuple[str, str]) -> dict[str, Any]:
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    return canonical(loads(text, Path("config.yaml"), environ={}).config)


def changes(*replacements: tuple[str, str]) -> list[Change]:
    return plan(BASE, changed(FULL, *replacements), greater_is_better=GREATER)


def test_nothing_changed_is_no_change() -> None:
    assert plan(BASE, copy.deepcopy(BASE), greater_is_better=GREATER) == []
    assert changes(("# yaml", "# another")) == []


def test_a_first_config_is_one_change() -> None:
    assert plan(None, BASE) == [
        Change("model.name", None, "flight-delay", "build", False, "flight-delay is new: it is built, judged and deployed")
    ]


def test_a_change_says_what_it_takes() -> None:
    found = changes(
        ("max_depth: 6", "max_depth: 7"),
        ("[10, 50]", "[5, 10, 50]"),
        ("numeric: {measure: psi, threshold: 0.2}", "numeric: {measure: psi, threshold: 0.1}"),
        ("gold", "tin"),
    )
    assert [(c.path, c.before, c.after, c.effect, c.loosens) for c in found] == [
        ("model.tags", {"tier": "gold"}, {"tier": "tin"}, "none", False),
        ("train.hyperparameters.max_depth", 6, 7, "build", False),
        ("deploy.strategy.steps", [10, 50], [5, 10, 50], "deploy", False),
        ("monitor.drift.numeric.threshold", 0.2, 0.1, "monitor", False),
    ]
    assert found[1].sentence == "train.hyperparameters.max_depth goes from 6 to 7"


def test_criteria_are_named_by_their_metric() -> None:
    (change,) = changes(("threshold: 0.70", "threshold: 0.65"))
    assert change == Change(
        "evaluate.validation_criteria[roc_auc].threshold", 0.7, 0.65, "build", True,
        "evaluate.validation_criteria[roc_auc].threshold goes from 0.7 to 0.65: the gate is easier to pass",
    )  # fmt: skip
    moved = copy.deepcopy(BASE)
    moved["evaluate"]["validation_criteria"].reverse()
    assert plan(BASE, moved, greater_is_better=GREATER) == []


REPLAY = FULL[FULL.index("  replay:") : FULL.index("  realtime:")]
LOOSENED = [
    ("min_rows: 100\n", "min_rows: 99\n"),
    ("    min_rows: 100\n", ""),
    ("max_rows: 1000000", "max_rows: 1000001"),
    ("    max_rows: 1000000\n", ""),
    ("completeness: 0.9", "completeness: 0.8"),
    ("completeness: 0.9, ", ""),
    ("categories: [0, 1]", "categories: [0, 1, 2]"),
    ("categories: [0, 1], ", ""),
    ("min: 0, max: 23", "min: -1, max: 23"),
    ("min: 0, max: 23", "min: 0, max: 24"),
    ("min: 0, max: 23", "min: 0"),
    ("      hour: {min: 0, max: 23, unique: false}\n", ""),
    ("by: time", "by: random"),
    ("  network_isolation: true", "  network_isolation: false"),
    ("10m, network_isolation: true", "10m, network_isolation: false"),
    ("threshold: 0.70", "threshold: 0.69"),
    ("{metric: log_loss, threshold: 0.6,", "{metric: log_loss, threshold: 0.61,"),
    ("min_absolute_change: -0.005", "min_absolute_change: -0.01"),
    ("on_fail: block", "on_fail: warn"),
    ("    - {metric: roc_auc, threshold: 0.70}\n", ""),
    ("    - {metric: log_loss, threshold: 0.6, on_fail: warn}\n", ""),
    ("    - {metric: roc_auc, versus: champion, min_absolute_change: -0.005, on_fail: block}\n", ""),
    ("    - {metric: roc_auc, threshold: 0.70}\n", "    - {metric: roc_auc, versus: champion, min_absolute_change: 0}\n"),
    ("required: true", "required: false"),
    ("allow_self: false", "allow_self: true"),
    ("retrained: required", "retrained: not_required"),
    ("expires: 7d", "expires: 8d"),
    ("type: canary, steps: [10, 50]", "type: all_at_once"),
    ("steps: [10, 50]", "steps: [50]"),
    ("steps: [10, 50]", "steps: [20, 50]"),
    ("steps: [10, 50]", "steps: [10, 20]"),
    ("bake: 5m", "bake: 4m"),
    ("error_rate: 0.01", "error_rate: 0.02"),
    ("latency_p99_ratio: 2", "latency_p99_ratio: 3"),
    ("min_requests: 20", "min_requests: 10"),
    ("disagreement: 0.1", "disagreement: 0.2"),
    ("drift: warning", "drift: violated"),
    ("last: 5000", "last: 4000"),
    ("min_rows: 200, max", "min_rows: 300, max"),
    ("max_disagreement: 0.05", "max_disagreement: 0.06"),
    ("max_error_rate: 0,", "max_error_rate: 0.01,"),
    ("min_metric_change: -0.01", "min_metric_change: -0.02"),
    (", min_metric_change: -0.01", ""),
    ("min_metric_change: -0.01, on_fail: block", "min_metric_change: -0.01, on_fail: warn"),
    (REPLAY, ""),
    ("scores: 1.0e-6", "scores: 1.0e-3"),
    ("compile: required", "compile: auto"),
    ("keys: true", "keys: false"),
    ("host: 127.0.0.1", "host: 0.0.0.0"),
    ("host: 127.0.0.1", "host: models.example.com"),
    ("sample: 0.5", "sample: 0.4"),
    ("sample: 0.5", "sample: {staging: 0.5, production: 0.4}"),
    ("mode: buffered", "mode: 'off'"),
    ("  drift:\n    enabled: true", "  drift:\n    enabled: false"),
    ("performance:\n    enabled: true\n", "performance:\n    enabled: false\n"),
    ("multivariate: {threshold: 0.12}", "multivariate: {threshold: 0.13}"),
    ("multivariate: {threshold: 0.12}", "multivariate: {enabled: false, threshold: 0.12}"),
    ("measure: psi, threshold: 0.2", "measure: psi, threshold: 0.3"),
    ("measure: l_infinity, threshold: 0.15", "measure: l_infinity, threshold: 0.16"),
    ("significance: 0.002", "significance: 0.001"),
    ("correction: holm", "correction: none"),
    ("  segments: [carrier]\n", ""),
    ("    significance: 0.002\n", "    significance: 0.002\n    season: {period: 7d, count: 4}\n"),
    ("suggest: true", "suggest: false"),
    ("tolerance: 0.02", "tolerance: 0.03"),
    ("extra_columns: violate", "extra_columns: ignore"),
    ("min_rows: 60", "min_rows: 61"),
    ("completeness: 0.95", "completeness: 0.94"),
    ("max: 22", "max: 23"),
    ("categories: [UA, AA]", "categories: [UA, AA, DL]"),
    ("estimate: true", "estimate: false"),
    ("confidence: 0.9", "confidence: 0.95"),
    ("metrics: [DPPL, DI]", "metrics: [DPPL]"),
    ("tolerance: 0.01", "tolerance: 0.02"),
    ("min_rows: 250", "min_rows: 251"),
    ("min_ndcg: 0.92", "min_ndcg: 0.91"),
    ("min_rows: 260", "min_rows: 261"),
    ("rows: 150, window: 1d", "rows: 150, window: 1w"),
    ("num_windows: 5, num_violation_windows: 2", "num_windows: 5, num_violation_windows: 1"),
    ("num_windows: 5, num_violation_windows: 2", "num_windows: 6, num_violation_windows: 2"),
    ('  freeze: [{schedule_expression: "0 0 20 12 *", length: 2w}]\n', ""),
    ("    share: 0.3", "    share: 0.4"),
    ("prediction: {threshold: 0.2}", "prediction: {threshold: 0.3}"),
    ("columns: [hour, carrier]", "columns: [hour]"),
    ("    min_rows: 200\n    multi", "    min_rows: 300\n    multi"),
    ("min_labels: 100", "min_labels: 101"),
    ("label_delay: 24h", "label_delay: 25h"),
    ("[{metric: roc_auc, threshold: 0.6}, ", "[{metric: roc_auc, threshold: 0.5}, "),
    ("[{metric: roc_auc, threshold: 0.6}, ", "["),
    ("max_drop: 0.1", "max_drop: 0.2"),
    (", {metric: log_loss, max_drop: 0.1}", ""),
    ('"*/15 * * * *"', '"0 * * * *"'),
    ("window: 15m", "window: 1h"),
    ("window: 15m", "window: 1mo"),
    ("num_violation_windows: 3", "num_violation_windows: 4"),
    ("num_windows: 4, num_violation_windows: 3", "num_windows: 3, num_violation_windows: 3"),
    ("to: [{secret: slack_url}, ", "to: ["),
    ("on: [gate_failed, ", "on: ["),
    ("cooldown: 24h", "cooldown: 23h"),
    ("min_new_labels: 500", "min_new_labels: 400"),
    ("per_month: 20", "per_month: 30"),
    ("challenge_champion: true", "challenge_champion: false"),
    ("leakage: {target: block", "leakage: {target: warn"),
    ("duplicates: warn", "duplicates: 'off'"),
    ("time_order: block", "time_order: 'off'"),
    ("max_duplicates: 0.02", "max_duplicates: 0.03"),
    ("outputs: [facts]\n    network_isolation: true", "outputs: [facts]\n    network_isolation: false"),
    ("pack.py, network_isolation: true", "pack.py, network_isolation: false"),
    ("slice: worst, threshold: 0.5", "slice: worst, threshold: 0.4"),
    ("    - {metric: roc_auc, slice: worst, threshold: 0.5}\n", ""),
    ("value: UA}, threshold: 0.55", "value: UA}, threshold: 0.5"),
    ("bound: lower, threshold: 1", "bound: lower, threshold: 0.5"),
    ("min_relative_change: 0.1", "min_relative_change: 0.05"),
    ("baseline: {on_fail: block", "baseline: {on_fail: warn"),
    ("baseline: {on_fail: block", "baseline: {on_fail: 'off'"),
    ("worst_slice: {min_rows: 40", "worst_slice: {enabled: false, min_rows: 40"),
    ("worst_slice: {min_rows: 40", "worst_slice: {min_rows: 50"),
    ("depth: 2}", "depth: 1}"),
    ("level: 0.9,", "level: 0.8,"),
    ("within: 0.2,", "within: 0.3,"),
    (", {metric: DI, within: 0.3}", ""),
    (", {column: crew_age, above: 40}", ""),
    ("intersections: [[carrier, hour]]", "intersections: []"),
    ("post_training: [DPPL, DI]", "post_training: [DPPL]"),
    (FULL[FULL.index("  - {name: notify") : FULL.index("preprocess:")], ""),
]

SHADOW, BY_LABELS, PERSON = ("type: shadow, share: 0.5, steps: [10, 50]", "type: ab, steps: [50], metric: roc_auc", "type: ab, steps: [50]")
STRATEGIES = [
    (SHADOW, SHADOW.replace("0.5", "0.4")),
    (SHADOW, "type: canary, steps: [10, 50]"),
    (BY_LABELS, PERSON),
    (BY_LABELS, BY_LABELS.replace("roc_auc", "accuracy")),
    (BY_LABELS, "type: all_at_once"),
]
"""Ways to lead traffic over, each stricter than the one beside it."""


@pytest.mark.parametrize(("strict", "loose"), STRATEGIES)
def test_a_strategy_that_takes_less_care_is_flagged(strict: str, loose: str) -> None:
    assert any(c.loosens for c in of_strategies(strict, loose))
    assert any(c.loosens for c in of_strategies(loose, strict)) == (loose == BY_LABELS.replace("roc_auc", "accuracy"))


def of_strategies(one: str, other: str) -> list[Change]:
    before, after = (changed(FULL, ("type: canary, steps: [10, 50]", text)) for text in (one, other))
    return plan(before, after, greater_is_better=GREATER)


def test_a_stage_that_was_open_before_is_not_opened() -> None:
    before, after = (changed(FULL, ("host: 127.0.0.1", f"host: {host}")) for host in ("192.168.0.9", "10.0.0.1"))
    assert [c.loosens for c in plan(before, after)] == [False]


WATCHED = (
    SMALL
    + """
retrain: {on: [schedule, new_data], schedule_expression: "0 0 * * 0", new_data: 1000}
"""
)
EARLIER = [("0 0 * * 0", "0 0 * * *"), ("new_data: 1000", "new_data: 900")]


@pytest.mark.parametrize(("strict", "loose"), EARLIER)
def test_a_retraining_that_may_come_sooner_is_flagged(strict: str, loose: str) -> None:
    before, after = changed(WATCHED), changed(WATCHED, (strict, loose))
    assert [c.loosens for c in plan(before, after)] == [True]
    assert [c.loosens for c in plan(after, before)] == [False]


EITHER_WAY = [
    ("numeric: {measure: psi", "numeric: {measure: ks"),
    ("measure: psi, threshold: 0.2", "measure: psi"),
    ("{type: int, completeness: 0.95", "{type: any, completeness: 0.95"),
    ("greater_is_better: true", "greater_is_better: false"),
    ("privileged: [UA]", "privileged: [AA]"),
    ("above: 40", "above: 41"),
    ("group_col: hour\n  pre", "group_col: carrier\n  pre"),
    ("metric: accuracy}\n", "metric: f1}\n"),
    ("facts.json#/rows", "facts.json#/columns"),
    (", privileged: [UA]", ""),
    ("group_col: hour\n  pre", "group_col: hour\n  label_values: [0]\n  pre"),
    ("function: profit", "function: loss"),
    ("entry_point: profit.py", "entry_point: loss.py"),
    ("positive_class: 1", "positive_class: 0"),
    ("sensitive_not_served: [crew_age]}", "sensitive_not_served: [crew_age], weight_col: hour}"),
]
"""Changes that turn a gate into another one: flagged both ways, since either may be the easier."""


@pytest.mark.parametrize(("one", "other"), EITHER_WAY)
def test_a_gate_that_becomes_another_is_flagged_both_ways(one: str, other: str) -> None:
    after = changed(FULL, (one, other))
    assert [c.loosens for c in plan(BASE, after, greater_is_better=GREATER)] == [True]
    assert [c.loosens for c in plan(after, BASE, greater_is_better=GREATER)] == [True]


@pytest.mark.parametrize(("strict", "loose"), LOOSENED)
def test_every_loosened_gate_is_flagged_and_the_way_back_is_not(strict: str, loose: str) -> None:
    forth = changes((strict, loose))
    assert any(c.loosens for c in forth), forth
    assert all(": " in c.sentence for c in forth if c.loosens)
    after = changed(FULL, (strict, loose))
    back = plan(after, BASE, greater_is_better=GREATER)
    replaced = "versus: champion" in loose and "versus" not in strict  # one gate for another: each way one is lost
    assert back
    assert any(c.loosens for c in back) == replaced, back


@pytest.mark.parametrize("value", ["(18, 30]", "a]b", "two\nlines"])
def test_a_slice_by_any_name_does_not_hide_that_its_gate_loosens(value: str) -> None:
    written = json.dumps(value)
    before = changed(FULL, ("value: UA}, threshold: 0.55", f"value: {written}}}, threshold: 0.55"))
    after = changed(FULL, ("value: UA}, threshold: 0.55", f"value: {written}}}, threshold: 0.5"))
    (change,) = plan(before, after, greater_is_better=GREATER)
    assert change.loosens
    gone = copy.deepcopy(before)
    gone["evaluate"]["validation_criteria"] = [c for c in gone["evaluate"]["validation_criteria"] if not isinstance(c["slice"], dict)]
    assert any(c.loosens and c.after is None for c in plan(before, gone, greater_is_better=GREATER))


def test_a_new_chapter_of_bias_loosens_nothing() -> None:
    without = copy.deepcopy(BASE) | {"bias": None}
    assert [c.path for c in plan(without, BASE, greater_is_better=GREATER) if c.loosens] == []


@pytest.mark.parametrize(
    ("part", "key", "one", "other", "back"),
    [
        ("split", "by", "group", "random", False),
        ("split", "by", "group", "provided", False),
        ("split", "by", "time", "group", True),
        ("split", "by", "provided", "random", False),
        (None, "season", 7, 1, True),
    ],
)
def test_another_hold_out_or_yardstick_may_be_the_easier(part: str | None, key: str, one: Any, other: Any, back: bool) -> None:
    def having(value: Any) -> dict[str, Any]:
        config = copy.deepcopy(BASE)
        (config["data"][part] if part else config["evaluate"])[key] = value
        return config

    assert [c.loosens for c in plan(having(one), having(other), greater_is_better=GREATER)] == [True]
    assert [c.loosens for c in plan(having(other), having(one), greater_is_better=GREATER)] == [back]


def test_every_rule_is_reached_by_a_case() -> None:
    """No rule about a gate is dead, which a slip in its pattern would make it."""
    flagged = {c.path for strict, loose in LOOSENED for c in changes((strict, loose)) if c.loosens}
    patterns = [pattern for pattern, _, _ in loosening.GATES] + [loosening.THRESHOLD]
    tight = changed(FULL, ("unique: false", "unique: true"))
    flagged |= {c.path for c in plan(tight, BASE) if c.loosens}
    flagged |= {c.path for pair in EITHER_WAY for c in changes(pair) if c.loosens}
    clarify = changed(FULL, (FULL[FULL.index("  facets:") : FULL.index("explain:")], "  analysis_config: a.json\n"))
    flagged |= {c.path for c in plan(clarify, BASE) if c.loosens}
    weekly = BASE | {"evaluate": BASE["evaluate"] | {"season": 7}}
    flagged |= {c.path for c in plan(weekly, BASE) if c.loosens}
    failing = changed(FULL, ("above: 10}", "above: 10, otherwise: fail}"))
    flagged |= {c.path for c in plan(failing, BASE) if c.loosens}
    flagged |= {c.path for pair in STRATEGIES for c in of_strategies(*pair) if c.loosens}
    flagged |= {c.path for pair in EARLIER for c in plan(changed(WATCHED), changed(WATCHED, pair)) if c.loosens}
    assert [p for p in patterns if not any(re.fullmatch(p, path) for path in flagged)] == []


def test_a_first_narrowing_of_the_watched_columns_is_flagged() -> None:
    every = changed(FULL, ("    columns: [hour, carrier]\n", ""))
    assert [c.loosens for c in plan(every, BASE)] == [True]
    assert [c.loosens for c in plan(BASE, every)] == [False]


def test_a_metric_of_unknown_direction_counts_as_loosened_either_way() -> None:
    other = changed(FULL, ("threshold: 0.70", "threshold: 0.75"))
    assert [c.loosens for c in plan(BASE, other)] == [True]
    assert [c.loosens for c in plan(other, BASE)] == [True]
    assert "may be" in plan(other, BASE)[0].sentence


def test_true_is_not_one() -> None:
    one = changed(SMALL, ("train.py}", "train.py, hyperparameters: {a: 1}}"))
    true = changed(SMALL, ("train.py}", "train.py, hyperparameters: {a: true}}"))
    assert [c.path for c in plan(one, true)] == ["train.hyperparameters.a"]
    assert plan(one, changed(SMALL, ("train.py}", "train.py, hyperparameters: {a: 1.0}}"))) == []


INFERENCE = ("entry_point", "source_dir", "content_type", "accept", "batch_strategy", "pre", "post", "environment")
NOT_GATES = {
    "version", "model", "variables", "timezone", "bring", "environments.*.target", "environments.*.port",
    *(f"environments.*.{key}" for key in ("names", "tls")),
    *(f"inference.{key}" for key in INFERENCE), "deploy.batch",
    *(f"deploy.capture.{key}" for key in ("retain", "max_size", "redact", "sagemaker")),
    "data.source", "data.target_col", "data.time_col", "data.id_col", "data.entity_cols",
    *(f"data.schema.{key}" for key in ("exclude", "types", "sensitive_not_served", "group_col")),
    "preprocess.entry_point", "preprocess.arguments", "preprocess.max_runtime",
    "data.sample", "data.label_separator", "data.channel_target", "train.arguments", "train.model_path",
    "labels", "alerts.runbook", "monitor.attribution.rows", "monitor.data_quality.constraints", "monitor.drift.season",
    "explain", "train.inputs", "train.environment", "train.metric_definitions", "train.retries",
    "train.python", "train.tune", "evaluate.at", "evaluate.confidence.resamples", "evaluate.confidence.seed",
    "preprocess.source_dir", "preprocess.requirements", "preprocess.environment", "preprocess.cpus", "preprocess.inputs",
    "postprocess.entry_point", "postprocess.arguments", "postprocess.max_runtime", "postprocess.source_dir", "postprocess.requirements",
    "postprocess.environment", "postprocess.cpus", "postprocess.inputs",
    "data.split.ratios", "data.split.seed", "data.split.column", "data.channel_format", "train.framework", "train.entry_point",
    "train.source_dir", "train.contract", "train.requirements", "train.hyperparameters", "train.instances",
    "steps[].entry_point", "steps[].arguments", "steps[].max_runtime", "steps[].source_dir", "steps[].requirements", "steps[].environment",
    "steps[].cpus", "steps[].inputs", "steps[].outputs",
    *(f"steps[].when.{how}" for how in ("equals", "not_equals", "above", "at_least", "below", "at_most", "one_of")),
    "evaluate.decision_threshold", "evaluate.slices", "deploy.realtime", "retrain.on", "retrain.window",
}  # fmt: skip
"""What cannot let a worse version pass or keep a fault from being noticed. A new key of the config is to be put here or in GATES."""


def test_every_key_of_the_config_is_a_gate_or_known_not_to_be() -> None:
    unjudged = []
    for path, value in planning._leaves(BASE, ""):
        if value == "present" and path.startswith("evaluate.custom_metrics["):
            continue  # a criterion on a metric that is gone is found by check
        plain = re.sub(r"^environments\.[a-z]+", "environments.*", path)
        plain = re.sub(r"^(steps|evaluate\.custom_metrics)\[[^]]*\]", r"\1[]", plain)
        known = any(plain == n or plain.startswith(n + ".") for n in NOT_GATES)
        gate = any(re.fullmatch(p, path) for p in (loosening.THRESHOLD, *(pattern for pattern, _, _ in loosening.GATES)))
        if known == gate:
            unjudged.append(path)
    assert unjudged == [], "\n".join(unjudged)


def test_both_stages_are_compared() -> None:
    text = FULL.replace("staging: 1s", "staging: 2s").replace("sample: 0.5", "sample: {staging: 0.5, production: 0.1}")
    text = text.replace("max_depth: 6", "max_depth: 7")
    after = loads(text, Path("config.yaml"), environ={}).canonical()
    found = plan_stages(LOADED.canonical(), after)
    assert [(c.path, c.before, c.after, c.loosens) for c in found] == [
        ("train.hyperparameters.max_depth", 6, 7, False),
        ("deploy.realtime.timeout", "1s", "2s", False),
        ("deploy.capture.sample", 0.5, 0.1, True),
    ]
    assert [c.sentence.endswith(f"({s} only)") for c, s in zip(found[1:], ("staging", "production"), strict=True)] == [True, True]
    assert len(plan_stages(None, after)) == 1


LEAVES = [p for p, v in planning._leaves(BASE, "") if isinstance(v, int | float) and not isinstance(v, bool) and "[" not in p]


@given(st.sampled_from(LEAVES), st.integers(0, 1000) | st.floats(0, 10, allow_nan=False))
def test_a_changed_number_is_one_change_that_can_be_kept_as_json(path: str, value: float) -> None:
    after = copy.deepcopy(BASE)
    parent: Any = after
    *parents, last = path.split(".")
    for part in parents:
        parent = parent[part]
    before, parent[last] = parent[last], value
    found = plan(BASE, after, greater_is_better=GREATER)
    assert [(c.path, c.before, c.after) for c in found] == ([] if before == value else [(path, before, value)])
    json.dumps([vars(c) for c in found])
