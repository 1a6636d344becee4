from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from modelyard.quality import profile_plots

HOSTILE = "<script>\x1b[31m&\"'"
PROFILE: dict[str, Any] = {
    "rows": 10,
    "target": "late",
    "columns": [
        {
            "name": HOSTILE,
            "type": "str",
            "missing": 2,
            "distinct": 2,
            "min": None,
            "max": None,
            "mean": None,
            "std": None,
            "quantiles": {},
            "top": [[HOSTILE, 6], ["b", 2]],
            "by_target": [0.25, None],
        },
        {
            "name": "x",
            "type": "float",
            "missing": 0,
            "distinct": 9,
            "min": 0.0,
            "max": 3.0,
            "mean": 1.0,
            "std": 1.0,
            "quantiles": {"0.5": 1.0},
            "histogram": {"edges": [0.0, 1.0, 2.0, 3.0], "counts": [7, 0, 3]},
            "by_target": [0.5, None, 0.1],
        },
        {
            "name": "t",
            "type": "datetime",
            "missing": 0,
            "distinct": 1,
            "min": "2024-01-01T00:00:00+00:00",
            "max": "2024-01-01T00:00:00+00:00",
            "mean": "2024-01-01T00:00:00+00:00",
            "std": None,
            "quantiles": {},
            "by_target": [0.3],
            "histogram": {"edges": ["2024-01-01T00:00:00+00:00", "2024-01-01T00:00:00.000001+00:00"], "counts": [10]},
        },
        {
            "name": "none",
            "type": "float",
            "missing": 10,
            "distinct": 0,
            "min": None,
            "max": None,
            "mean": None,
            "std": None,
            "quantiles": {},
            "histogram": {"edges": [], "counts": []},
        },
    ],
}


def drawn(svg: str, tag: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(tag)  # noqa: S314 - our own markup


def test_each_picture_is_whole_and_shows_its_numbers() -> None:
    missing, values, numbers, times = profile_plots.plots(PROFILE)
    assert [bar.find("title").text for bar in drawn(missing.svg, "rect")] == ["none: 10 rows", "<script>�[31m&\"': 2 rows"]  # type: ignore[union-attr]
    widths = [float(bar.get("width", "")) for bar in drawn(values.svg, "rect")]
    assert widths == [150, 50] and len(drawn(values.svg, "circle")) == 1
    heights = [float(bar.get("height", "")) for bar in drawn(numbers.svg, "rect")]
    assert heights == [105, 0.5, 45] and len(drawn(numbers.svg, "circle")) == 2
    assert "from 0.1000 to 0.5000" in numbers.reading
    assert "2024-01-01 00:00" in times.svg
    assert profile_plots.plots(PROFILE) == [missing, values, numbers, times]


def test_the_page_is_self_contained_and_nothing_in_it_runs() -> None:
    page = profile_plots.page(PROFILE, f"Data of {HOSTILE}")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 4 and page.count("<tr>") == 5


def test_a_profile_without_a_target_or_gaps() -> None:
    column = {**PROFILE["columns"][1]}
    del column["by_target"]
    (picture,) = profile_plots.plots({"rows": 10, "target": None, "columns": [column]})
    assert "Dots" not in picture.reading and not drawn(picture.svg, "circle")
