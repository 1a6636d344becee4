from __future__ import annotations

import pytest

from modelyard.config import kept
from modelyard.config.spec import Config

COLUMNS = {"entity_cols": ["carrier"], "id_col": "id", "time_col": "at", "schema": {"sensitive_not_served": ["age"], "weight_col": "w"}}


def messages(capture: dict[str, object], **parts: object) -> list[str]:
    words = {
        "version": 1,
        "model": {"name": "small", "problem_type": "regression"},
        "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "y", **COLUMNS},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
        "deploy": {"capture": capture, **parts.pop("deploy", {})},  # type: ignore[dict-item]
        **parts,
    }
    return [said for _, said, next in kept.findings(Config.model_validate(words)) if next]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("y", "`y` is the target, which no request has"),
        ("id", "`id` is each prediction's id, by which its label finds it"),
        ("at", "`at` is when a row happened, by which monitors and retraining go"),
        ("w", "performance is measured by `w`, and the capture does not keep it"),
    ],
)
def test_columns_that_everything_goes_by_stay(column: str, said: str) -> None:
    assert messages({"redact": [{"column": column}]}) == [said]


def test_what_monitors_retraining_and_the_replay_need_stays_or_they_go() -> None:
    redact = {"redact": [{"column": "mail", "how": "hash"}]}
    assert messages(redact) == []
    assert messages(redact, monitor={"drift": {"columns": ["mail"]}}) == ["drift of `mail` is watched, and the capture does not keep it"]
    assert messages(redact, monitor={"drift": {"columns": ["mail"], "enabled": False}}) == []
    own = {"overrides": {"mail": {"measure": "psi"}}}
    assert messages(redact, monitor={"drift": own}) == ["drift of `mail` is watched, and the capture does not keep it"]
    assert messages(redact, monitor={"drift": {**own, "columns": ["mail"]}}) == [
        "drift of `mail` is watched, and the capture does not keep it"
    ]
    assert messages(redact, monitor={"drift": {**own, "enabled": False}}) == []
    parts = {"segments": ["mail"]}
    assert messages(redact, monitor=parts) == ["windows are told apart by `mail`, and the capture does not keep it"]
    off = {"drift": {"enabled": False}, "performance": {"enabled": False}}
    assert messages(redact, monitor={**parts, **off}) == []
    written = {"columns": {"mail": {"completeness": 0.9}}}
    assert messages(redact, monitor={"data_quality": written}) == ["the quality of `mail` is watched, and the capture does not keep it"]
    assert messages(redact, monitor={"data_quality": {**written, "enabled": False}}) == []
    assert messages(redact, retrain={"on": ["drift"]}) == ["a retrained version would learn from captured rows without `mail`"]
    assert messages(redact, deploy={"replay": {}}) == ["the replay asks with captured rows, which lack `mail`"]
    known = {"redact": [{"column": "age"}]}
    assert messages(known, retrain={"on": ["drift"]}, deploy={"replay": {}}) == [], "it is kept beside the row, and nothing learns from it"
    assert messages({"mode": "off", **redact}, retrain={"on": ["drift"]}) == [], "what is switched off may keep its settings"


def test_a_column_is_redacted_in_one_way() -> None:
    assert messages({"redact": [{"column": "mail"}, {"column": "mail", "how": "hash"}]}) == ["`mail` is redacted twice"]


def test_rows_stay_until_who_needs_them_has_looked() -> None:
    assert messages({"retain": "30d"}) == []
    assert messages({"retain": "12h"}) == ["captured rows are let go after 12h, and the performance monitor needs those of 1d15m"]
    late = {"window": "1mo", "performance": {"enabled": False}}
    assert messages({"retain": "30d"}, monitor=late) == ["captured rows are let go after 4w2d, and the drift monitor needs those of 4w3d"]
    sliding = {"on": ["drift"], "window": {"type": "sliding", "length": "60d"}}
    assert messages({"retain": "30d"}, retrain=sliding) == [
        "captured rows are let go after 4w2d, and a retrained version needs those of 8w4d"
    ]
    early = {"performance": {"enabled": False}, "window": "1h"}
    assert messages({"retain": "12h"}, monitor=early) == []
    assert messages({"retain": "12h"}, monitor=early, explain={}) == [
        "captured rows are let go after 12h, and the attribution monitor needs those of 1d"
    ]
    assert messages({"retain": "12h"}, monitor={**early, "attribution": {"window": "1h"}}, explain={}) == []
    weekly = {**early, "drift": {"season": {"period": "7d", "count": 4}}}
    assert messages({"retain": "28d"}, monitor=weekly) == ["captured rows are let go after 4w, and the season of drift needs those of 4w1h"]
    assert messages({"retain": "29d"}, monitor=weekly) == []
    assert messages({"retain": "28d"}, monitor={**weekly, "drift": {**weekly["drift"], "enabled": False}}) == []  # type: ignore[dict-item]
    biased = {"facets": [{"column": "sex"}], "label_above": 0.5}
    assert messages({"retain": "12h"}, monitor=early, bias=biased) == [
        "captured rows are let go after 12h, and the bias monitor needs those of 1d1h"
    ]
