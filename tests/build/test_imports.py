from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelyard.build.imports import imported, modules, verify
from modelyard.errors import BadInput


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_imports_at_the_top_are_found_through_the_files_beside(tmp_path: Path) -> None:
    code = write(
        tmp_path,
        train="import os\nimport numpy as np, helper\nfrom features.make import x\nfrom sagemaker_training import environment\n",
        helper="from . import other\nimport pandas.io\n",
        features__make="from .deep import y\n",
        features__deep="import lightgbm\n",
        other="import scipy\n",
        unused="import nothing\n",
    )
    assert {(i.module, i.file, i.line) for i in imported(code, "train.py")} == {
        ("numpy", "train.py", 2), ("pandas", "helper.py", 2), ("lightgbm", "features/deep.py", 1), ("scipy", "other.py", 1),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["import (", "x = " + "+".join(["1"] * 20_000), "x = " + "-" * 10_000 + "1"])
def test_what_cannot_be_read_is_left_to_fail_by_itself(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.py").write_text(text)
    assert imported(tmp_path, "train.py") == []


def test_what_may_be_optional_is_left_alone(tmp_path: Path) -> None:
    code = write(
        tmp_path,
        train="try:\n    import gone\nexcept ImportError:\n    gone = None\nif gone:\n    import more\ndef f():\n    import later\n",
    )
    assert imported(code, "train.py") == []
    assert imported(write(tmp_path, broken="import (\n"), "broken.py") == []
    assert imported(tmp_path, "missing.py") == imported(tmp_path, "train.sh") == []


def test_a_missing_requirement_is_named_with_its_line(tmp_path: Path) -> None:
    code = write(tmp_path, train="import json\nimport pytest\n\nimport yaml_that_is_not_there\n", serve="import sklearn_gone\n")
    with pytest.raises(BadInput, match=r"train\.py, line 4, imports `yaml_that_is_not_there`") as caught:
        verify([(code, "train.py")], Path(sys.executable), "train.requirements")
    assert "add `yaml_that_is_not_there` to the requirements" in caught.value.next
    verify([], Path(sys.executable), "train.requirements")
    assert not [i for i in imported(code, "train.py") if i.module == "json"]


def test_the_package_is_named_where_it_is_called_otherwise(tmp_path: Path) -> None:
    code = write(tmp_path, train="import cv2\n")
    with pytest.raises(BadInput) as caught:
        verify([(code, "train.py")], Path(sys.executable), "train.requirements")
    assert "`opencv-python-headless`" in caught.value.next


def test_the_dotted_names_are_those_to_be_imported_beforehand(tmp_path: Path) -> None:
    text = "from sklearn.linear_model import A\nimport sklearn.pipeline as p, os.path\nfrom helper import x\nimport pandas as pd\n"
    code = write(tmp_path, train=text, helper="import pandas\n", serve="import joblib\n")
    assert modules(code, ["train.py", "serve.py", "train.sh"]) == ["sklearn.linear_model", "sklearn.pipeline", "pandas", "joblib"]


def test_what_was_found_is_not_asked_for_again(tmp_path: Path) -> None:
    code, known = write(tmp_path / "code", train="import pytest, numpy\n"), tmp_path / "known"
    verify([(code, "train.py")], Path(sys.executable), "train.requirements", known)
    assert set(known.read_text().split()) == {"pytest", "numpy"}
    verify([(code, "train.py")], tmp_path / "no-such-python", "train.requirements", known)  # nothing is left to ask
    with pytest.raises(BadInput):
        verify([(write(code, more="import gone_too\n"), "more.py")], Path(sys.executable), "train.requirements", known)
    assert "gone_too" not in known.read_text()
