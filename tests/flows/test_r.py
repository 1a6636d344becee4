"""A model of R is made again where R's packages are others, and only then."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import rpackages
from modelyard.yard import Yard
from tests.build.test_rpackages import install
from tests.conftest import ROOT
from tests.needs import needs_r


@pytest.fixture
def yard(home: Path) -> Iterator[Yard]:
    made = Yard(home)
    yield made
    made.close()


def build(yard: Yard, repository: Path) -> tuple[str, dict[str, str]]:
    run = yard.build(str(repository / "config.yaml"), "ada")["run"]
    state, items = yard.wait(run), yard.shop.runs.feed(run).items()
    return state["reason"], {item["step"]: item["summary"] for item in items if item["kind"] == "step_done"}


@needs_r
@pytest.mark.slow
def test_other_packages_of_r_make_another_version(yard: Yard, tmp_path: Path) -> None:
    repository, library = tmp_path / "repository", tmp_path / "library"
    shutil.copytree(ROOT / "examples" / "tumours-r", repository)
    install(library, "glmnet", "4.1-8")
    config = repository / "config.yaml"
    config.write_text(
        config.read_text().replace("  entry_point: train.R\n", f"  entry_point: train.R\n  environment: {{R_LIBS: {library}}}\n")
    )
    said, steps = build(yard, repository)
    assert said == "built tumours-r:1" and re.search(r"; R \d\S+ with \d+ packages", steps["lock"])
    said, steps = build(yard, repository)
    assert steps["compare with what is there"] == "nothing has changed since tumours-r:1"
    install(library, "glmnet", "4.1-9")
    said, steps = build(yard, repository)
    assert said == "built tumours-r:2", "R's package is another one"
    assert not steps["train"].startswith("kept from run") and not steps["train"].startswith("done")
    assert steps["split"] and "glmnet" not in str(steps)
    install(library, "glmnet", "4.1-8")
    said, steps = build(yard, repository)
    assert steps["compare with what is there"] == "nothing has changed since tumours-r:1", "as it was before"


def test_where_no_script_is_rs_r_is_never_looked_for(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: Any) -> Any:
        pytest.fail("R was looked for")

    monkeypatch.setattr(rpackages, "found", found)
    shutil.copytree(ROOT / "tests" / "fixtures" / "tiny", tmp_path / "tiny")
    rows = "".join(f"{n % 2 + n / 1000},{n % 7},{n % 2}\n" for n in range(120))
    (tmp_path / "tiny" / "rows.csv").write_text("x,noise,label\n" + rows)
    assert build(yard, tmp_path / "tiny")[0] == "built tiny:1"
