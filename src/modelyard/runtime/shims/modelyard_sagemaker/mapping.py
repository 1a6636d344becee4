"""Command lines and variables of mappings, as the classic dialect has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def to_cmd_args(mapping: Mapping[str, Any]) -> list[str]:
    """Sorted by name; `-x` for a name of one letter; `a=1,b=2` for a mapping, "" for None."""
    words: list[str] = []
    for name in sorted(mapping):
        value = mapping[name]
        words.append(f"--{name}" if len(name) > 1 else f"-{name}")
        if hasattr(value, "items"):
            words.append(",".join(f"{key}={inner}" for key, inner in sorted(value.items())))
        else:
            words.append("" if value is None else str(value))
    return words


def to_env_vars(mapping: Mapping[str, Any]) -> dict[str, str]:
    """SM_ and the name in capitals; text raw, None empty, else compact JSON."""
    return {f"SM_{name.upper()}": _text(value) for name, value in mapping.items() if name}


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
