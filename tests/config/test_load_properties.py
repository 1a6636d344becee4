"""Whatever is done to a config, it is either accepted or refused by BadConfig with places inside the file."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from modelyard.config.load import load, loads
from modelyard.errors import BadConfig
from tests.config.texts import FULL, SMALL

TREE = YAML(typ="safe", pure=True).load(FULL)


def judge(text: str) -> bool:
    """Whether a text holds; anything but BadConfig with places inside it is a failure of the test."""
    try:
        loads(text, Path("config.yaml"), environ={})
    except BadConfig as exc:
        lines = re.split(r"\r\n|\r|\n", text)
        assert exc.problems
        assert [(p.line, p.column) for p in exc.problems] == sorted((p.line, p.column) for p in exc.problems)
        assert len({str(p) for p in exc.problems}) == len(exc.problems)
        for problem in exc.problems:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
            assert problem.message
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", problem.source_line)
            str(problem).encode()
        return False
    return True


def paths(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value of a tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path] * bool(path) + [p for key, value in inner for p in paths(value, (*path, key))]


def put(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    tree = copy.deepcopy(tree)
    parent = tree
    for segment in path[:-1]:
        parent = parent[segment]
    parent[path[-1]] = value
    return tree


def get(tree: Any, path: tuple[str | int, ...]) -> Any:
    for segment in path:
        tree = tree[segment]
    return tree


def dump(tree: Any) -> str:
    """A tree as JSON, which is YAML, over several lines."""
    return json.dumps(tree, indent=1)


WHERE = st.sampled_from(paths(TREE))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**30, 10**60), st.floats(), st.text(max_size=30),
    st.sampled_from(["", "-x", "../x", "a\nb", "$(id)", "${X}", "${", "$${", "staging", "\x00", "5", "1e999", "0x", "~", "9" * 400]),
    st.sampled_from(["é", "\u2028", "\ud800", "\U0001f600"]),
)  # fmt: skip
KEYS = st.text(max_size=10) | st.just("staging")
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)


@given(WHERE, VALUES)
def test_any_value_replaced(path: tuple[str | int, ...], value: Any) -> None:
    judge(dump(put(TREE, path, value)))


@given(st.sampled_from([p for p in paths(TREE) if isinstance(get(TREE, p), dict)]), st.text(min_size=1, max_size=40), VALUES)
def test_any_key_added(path: tuple[str | int, ...], key: str, value: Any) -> None:
    judge(dump(put(TREE, (*path, key), value)))


@given(WHERE)
def test_any_value_taken_away(path: tuple[str | int, ...]) -> None:
    tree = copy.deepcopy(TREE)
    parent = get(tree, path[:-1])
    del parent[path[-1]]
    judge(dump(tree))


@given(st.sampled_from([p for p in paths(TREE) if isinstance(p[-1], str)]), st.data())
def test_a_slip_in_any_fixed_key_is_told_at_that_key(path: tuple[str | int, ...], data: st.DataObject) -> None:
    key = str(path[-1])
    free = ("tags", "variables", "types", "columns", "hyperparameters", "deep", "inputs", "overrides")
    if any(p in free for p in path[:-1]) or {"staging", "production"} & set(path):
        return
    index = data.draw(st.integers(0, len(key)))
    wrong = key[:index] + data.draw(st.sampled_from("qzxj")) + key[index:]
    tree = copy.deepcopy(TREE)
    parent = get(tree, path[:-1])
    value = parent.pop(key)
    parent[wrong] = value
    text = dump(tree)
    assert not judge(text)
    try:
        loads(text, Path("config.yaml"), environ={})
    except BadConfig as exc:
        told = [p for p in exc.problems if p.message.startswith("unknown key")]
        assert len(told) == 1
        assert f'"{wrong}": ' in text.splitlines()[told[0].line - 1]
        if len(key) > 3:
            assert "did you mean" in told[0].message


PIECES = st.text(max_size=20) | st.sampled_from(["*x", "&x ", "!!str ", "\t", "- ", "{", "]", "#", '"', "\x85", "%"])


@given(st.integers(0, len(FULL)), st.integers(0, 20), PIECES)
def test_any_piece_of_the_text_replaced(start: int, length: int, piece: str) -> None:
    judge(FULL[:start] + piece + FULL[start + length :])


@given(st.text(alphabet=st.characters() | st.sampled_from("{}[]:,-?&*!|>'\"%@`#\n\t \\~"), max_size=200))
def test_any_text(text: str) -> None:
    assert not judge(text)


def spliced(piece: bytes, at: int) -> bytes:
    return SMALL.encode()[:at] + piece + SMALL.encode()[at:]


@given(st.binary(max_size=200) | st.builds(spliced, st.binary(max_size=5), st.integers(0, len(SMALL))))
def test_any_bytes(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(raw)
        try:
            load(path)
        except BadConfig as exc:
            lines = re.split(r"\r\n|\r|\n", raw.decode("utf-8", "replace"))
            for problem in exc.problems:
                assert 1 <= problem.line <= len(lines)
                assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


@given(st.integers(1, 200), st.sampled_from(["[{}]", "{{a: {}}}", "- {}"]), WHERE)
def test_any_depth(depth: int, shape: str, path: tuple[str | int, ...]) -> None:
    value: Any = "x"
    for _ in range(depth):
        value = [value] if shape != "{{a: {}}}" else {"a": value}
    held = judge(dump(put(TREE, path, value)))
    assert not held or depth < 32


FITTED = "train:\n  framework: sklearn\n  entry_point: train.py\n  hyperparameters:\n    a0: &a0 x\n"


@given(st.integers(1, 40), st.integers(1, 9))
def test_any_alias_tree(levels: int, width: int) -> None:
    names = "".join(f"    a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))
    held = judge(SMALL.replace("train: {framework: sklearn, entry_point: train.py}", FITTED + names))
    sizes = [1]
    for _ in range(1, levels):
        sizes.append(1 + width * sizes[-1])
    assert not held or sum(width * size for size in sizes[:-1]) <= 1000
