"""Models of R: a script's functions and R's own, every type of column, and what stop() says; against R asked directly."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.runtime.loading import CannotLoad, Served, load
from tests.needs import needs_r

pytestmark = needs_r
KINDS = {"a": "float", "n": "int", "s": "str", "b": "bool", "t": "datetime"}
COLUMNS: dict[str, list[Any]] = {
    "a": [0.1, None, 2.5e-9], "n": [3_000_000_000, 2, None], "s": ["é, \"x\"", None, ""], "b": [True, False, None],
    "t": [1_767_225_600_000_000, None, 0],
}  # fmt: skip


def signature(kind: str, *classes: Any, columns: dict[str, str] = KINDS) -> dict[str, Any]:
    positive = classes[-1] if kind == "binary_classification" else None
    named = [{"name": n, "type": t} for n, t in columns.items()]
    return {"problem_type": kind, "classes": list(classes), "positive_class": positive, "decision_threshold": 0.5, "columns": named}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "model").mkdir()
    yield tmp_path


def at(folder: Path, signed: dict[str, Any], script: str = "") -> Served:
    if script:
        (folder / "score.R").write_text(script)
    return load(str(folder / "model"), str(folder), "score.R" if script else "", signed, "r")


def ended(served: Served) -> None:
    assert served.process is not None
    served.process.kill()
    served.process.wait()


def test_columns_arrive_in_rs_own_types(folder: Path) -> None:
    script = """
    model_fn <- function(model_dir) basename(model_dir)
    predict_fn <- function(input, model) {
      stopifnot(model == "model", is.data.frame(input), identical(names(input), c("a", "n", "s", "b", "t")))
      kinds <- unname(sapply(input, function(v) class(v)[1]))
      stopifnot(identical(kinds, c("numeric", "numeric", "character", "logical", "POSIXct")))
      stopifnot(identical(unname(is.na(as.matrix(input))), rbind(c(F, F, F, F, F), c(T, F, T, F, T), c(F, T, F, T, F))))
      stopifnot(input$a[3] == 2.5e-9, input$n[1] == 3e9, input$s[1] == "\\u00e9, \\"x\\"", format(input$t[1]) == "2026-01-01")
      cat("a script may print\\n")
      input$a / 3
    }
    """
    served = at(folder, signature("regression"), script)
    assert (served.model_fn, served.predict_fn, served.facts["r"][0]) == ("script", "script", "4")
    columns = {**COLUMNS, "a": [0.1, 7.0, 2.5e-9]}
    with pytest.raises(Exception, match=r"is\.na"):
        served.predict(columns, 3)
    script = script.replace("T, F, T, F, T)", "F, F, T, F, T)")
    ended(served)
    served = at(folder, signature("regression"), script)
    assert served.predict(columns, 3)["prediction"] == [0.1 / 3, 7.0 / 3, 2.5e-9 / 3], "to the last bit"
    ended(served)


def test_what_r_loads_and_predicts_by_itself(folder: Path) -> None:
    code = "d <- iris; d$v <- as.integer(d$Species == 'virginica'); m <- glm(v ~ Sepal.Length + Petal.Width, binomial(), d)\n"
    code += f"saveRDS(m, '{folder}/model/model.rds')\n"
    code += "cat(jsonlite::toJSON(list(x = d$Sepal.Length, y = d$Petal.Width, p = unname(fitted(m))), digits = NA))"
    truth = json.loads(subprocess.run(["Rscript", "-e", code], check=True, capture_output=True, text=True).stdout)
    signed = signature("binary_classification", 0, 1, columns={"Sepal.Length": "float", "Petal.Width": "float"})
    served = at(folder, signed)
    found = served.predict({"Sepal.Length": truth["x"], "Petal.Width": truth["y"]}, 150)
    np.testing.assert_allclose(found["probability_1"], truth["p"], rtol=1e-9)
    assert (served.model_fn, served.predict_fn) == ("framework", "framework")
    ended(served)


@pytest.mark.parametrize(
    "result",
    [
        "matrix(c(0.25, 0.75, 1, 0), 2, byrow = TRUE, dimnames = list(NULL, c('n', 'y')))",
        "matrix(c(0.25, 0.75, 1, 0), 2, byrow = TRUE)",
        "data.frame(probability_n = c(0.25, 1), probability_y = c(0.75, 0))",
        "list(y = c(0.75, 0), n = c(0.25, 1))",
        "c(0.75, 0)",
    ],
)
def test_every_shape_of_answer(folder: Path, result: str) -> None:
    signed = signature("binary_classification", "n", "y", columns={"a": "float"})
    served = at(folder, signed, f"model_fn <- function(d) 1\npredict_fn <- function(input, model) {result}\n")
    assert served.predict({"a": [1.0, 2.0]}, 2) == {"prediction": ["y", "n"], "probability_n": [0.25, 1.0], "probability_y": [0.75, 0.0]}
    ended(served)


def test_labels_and_errors(folder: Path) -> None:
    signed = signature("binary_classification", "n", "y", columns={"a": "float"})
    script = "model_fn <- function(d) 1\npredict_fn <- function(input, model) {\n  if (input$a[1] > 9) stop('too much')\n"
    script += "  factor(c('y', 'n'))\n}\n"
    served = at(folder, signed, script)
    assert served.predict({"a": [1.0, 2.0]}, 2)["probability_y"] == [1.0, 0.0]
    with pytest.raises(Exception, match="too much"):
        served.predict({"a": [10.0, 2.0]}, 2)
    assert served.predict({"a": [1.0, 2.0]}, 2)["prediction"] == ["y", "n"], "an error concerns its request only"
    ended(served)
    with pytest.raises(Exception, match="the R process ended"):
        served.predict({"a": [1.0, 2.0]}, 2)


def test_a_model_that_cannot_be_loaded_says_why(folder: Path) -> None:
    with pytest.raises(CannotLoad, match=r"R: the model folder holds 0 \.rds files"):
        at(folder, signature("regression"))
    with pytest.raises(CannotLoad, match="R: no such thing"):
        at(folder, signature("regression"), "model_fn <- function(d) stop('no such thing')\n")


def test_a_script_that_only_trains_is_not_run(folder: Path) -> None:
    code = f"saveRDS(lm(dist ~ speed, cars), '{folder}/model/model.rds')"
    subprocess.run(["Rscript", "-e", code], check=True)
    served = at(folder, signature("regression", columns={"speed": "float"}), "stop('this trains')\n")
    assert served.predict({"speed": [10.0]}, 1)["prediction"] == [pytest.approx(21.744992)]
    ended(served)
