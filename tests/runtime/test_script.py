"""A script's inference functions: found unseen, refused where they contradict each other, given the context where they ask for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelyard.runtime import missing
from modelyard.runtime.script import CannotLoad, call, defined, functions, inference


def test_functions_are_found_without_running_the_script(tmp_path: Path) -> None:
    path = tmp_path / "s.py"
    path.write_text("from x import model_fn\npredict_fn = 3\nclass A:\n    def input_fn(self): pass\nraise SystemExit\n")
    assert defined(path) == {"model_fn", "predict_fn"}
    path.write_text("raise SystemExit('never imported')\n")
    assert functions(str(tmp_path), "s.py") == {}


def test_transform_fn_takes_the_place_of_the_three(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("def transform_fn(*a): pass\ndef output_fn(*a): pass\n")
    with pytest.raises(CannotLoad, match="transform_fn and output_fn"):
        inference(str(tmp_path), str(tmp_path), "s.py")


def test_the_models_own_inference_script_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "helper_of_inference.py").write_text("WORD = 'inside'\n")
    (tmp_path / "code" / "inference.py").write_text("from helper_of_inference import WORD\ndef model_fn(d): return WORD\n")
    (tmp_path / "train.py").write_text("print('no functions')\n")
    assert inference(str(tmp_path), str(tmp_path), "train.py")["model_fn"]("") == "inside"
    (tmp_path / "train.py").write_text("def model_fn(d): return 'own'\n")
    assert inference(str(tmp_path), str(tmp_path), "train.py")["model_fn"]("") == "own"


def test_the_script_that_is_named_may_come_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = tmp_path / "repository"
    for folder, names in ((tmp_path / "code", ("inference.py", "serving.py")), (code, ("train.py", "own.py"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(f"def model_fn(d): return '{name}'\n")

    def loads(entry_point: str, program: str | None = None) -> str:
        if program is not None:
            monkeypatch.setenv("SAGEMAKER_PROGRAM", program)
        return str(inference(str(tmp_path), str(code), entry_point)["model_fn"](""))

    assert loads("") == "inference.py"
    assert loads("serving.py") == "serving.py"
    assert loads("train.py") == "train.py"
    assert loads("train.py", "serving.py") == loads("", "serving") == "serving.py"
    assert loads("train.py", "own.py") == "own.py"
    with pytest.raises(CannotLoad, match=r"nowhere\.py is not in the code"):
        loads("train.py", "nowhere.py")


def test_a_script_in_a_folder_imports_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "neighbour_of_script.py").write_text("WORD = 'beside'\n")
    (tmp_path / "src" / "s.py").write_text("from neighbour_of_script import WORD\ndef model_fn(d): return WORD\n")
    assert functions(str(tmp_path), "src/s.py")["model_fn"]("") == "beside"


def test_a_parameter_more_is_the_context() -> None:
    assert call(lambda a, b: (a, b), 1, 2) == (1, 2)
    assert call(lambda a, context=None: context.system_properties["model_dir"], 1, model_dir="/m") == "/m"


def test_a_missing_module_is_named_by_its_package() -> None:
    log = ("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'sklearn.ensemble'", "the end")
    assert missing.in_log(log) == "there is no module `sklearn` in the model's environment: add scikit-learn to the requirements"
    assert missing.in_log(("all is well",)) is None
