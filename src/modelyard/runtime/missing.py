"""A module that is not there, as a person should hear of it: which package to add to the requirements."""

from __future__ import annotations

import re

_PACKAGES = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python-headless", "dateutil": "python-dateutil", "dotenv": "python-dotenv",
    "imblearn": "imbalanced-learn", "skimage": "scikit-image", "sklearn": "scikit-learn", "skopt": "scikit-optimize",
    "umap": "umap-learn", "xgboost": "xgboost", "yaml": "PyYAML",
}  # fmt: skip
_LINE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")


def package_of(module: str) -> str:
    """The package that brings a module, where its name is another."""
    top = module.split(".")[0]
    return _PACKAGES.get(top, top)


def sentence(module: str) -> str:
    """What to say of a module that could not be imported."""
    top = module.split(".")[0]
    return f"there is no module `{top}` in the model's environment: add {package_of(module)} to the requirements"


def in_log(lines: tuple[str, ...] | list[str]) -> str | None:
    """The sentence for the last ModuleNotFoundError in a log; None where there is none."""
    for line in reversed(lines):
        match = _LINE.search(line)
        if match:
            return sentence(match[1])
    return None
