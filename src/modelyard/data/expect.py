"""The data-quality gate: what `data.expect` asks of a snapshot, judged column by column, each result a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import ColumnExpectation, Expect, OnFail
from modelyard.data.columns import nearest

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Expectation:
    """One judged expectation. `column` is None for what is asked of the whole table; `check` is the config's key, or `exists`."""

    column: str | None
    check: str
    ok: bool
    on_fail: OnFail
    observed: Any
    allowed: Any
    sentence: str


def judge(frame: pl.DataFrame, expect: Expect) -> list[Expectation]:
    """Every expectation of `expect` against `frame`, in the config's order; all of them, whether they hold or not.

    A named column that is absent fails its one check `exists`, and so does a bound on a column that is neither a number nor a
    truth value. Bounds look at present values only (missing ones are `completeness`), and an empty column breaks no bound.
    """
    found = list(_table(frame.height, expect))
    for name, asked in expect.columns.items():
        if name in frame.columns:
            found += _column(frame[name], asked)
        else:
            sentence = f"{name}: there is no such column ({nearest(name, frame.columns)}): failed"
            found.append(Expectation(name, "exists", False, asked.on_fail, False, True, sentence))
    return found


def _table(rows: int, expect: Expect) -> Iterator[Expectation]:
    if expect.min_rows is not None:
        ok, bound = rows >= expect.min_rows, expect.min_rows
        yield Expectation(None, "min_rows", ok, "block", rows, bound, _say(f"{rows} rows, at least {bound} wanted", ok))
    if expect.max_rows is not None:
        ok, bound = rows <= expect.max_rows, expect.max_rows
        yield Expectation(None, "max_rows", ok, "block", rows, bound, _say(f"{rows} rows, at most {bound} allowed", ok))


def _column(series: pl.Series, asked: ColumnExpectation) -> Iterator[Expectation]:
    name, on_fail = series.name, asked.on_fail
    present = series.drop_nulls()
    if present.dtype.is_float():
        present = present.drop_nans()

    def result(check: str, ok: bool, observed: Any, allowed: Any, said: str) -> Expectation:
        return Expectation(name, check, ok, on_fail, observed, allowed, _say(f"{name}: {said}", ok))

    if asked.completeness is not None:
        share = len(present) / len(series) if len(series) else 0.0
        said = f"{_percent(share)} of rows have a value, at least {_percent(asked.completeness)} wanted"
        yield result("completeness", share >= asked.completeness, share, asked.completeness, said)
    for check in ("min", "max"):
        bound = getattr(asked, check)
        if bound is not None:
            yield result(check, *_bound(present, check, bound))
    if asked.categories is not None:
        strange = _strange(present, asked.categories)
        said = f"values {', '.join(map(repr, strange[:5]))} are not among those allowed" if strange else "only allowed values"
        yield result("categories", not strange, strange[:5], list(asked.categories), said)
    if asked.unique:
        repeated = len(present) - present.n_unique()
        yield result("unique", not repeated, repeated, 0, f"{repeated} values repeat" if repeated else "no value repeats")


def _bound(present: pl.Series, check: str, bound: float) -> tuple[bool, Any, float, str]:
    if not (present.dtype.is_numeric() or present.dtype.base_type().__name__ == "Boolean"):
        return False, str(present.dtype), bound, f"`{check}` needs numbers, and the column holds {present.dtype}"
    value = present.min() if check == "min" else present.max()
    if value is None:
        return True, None, bound, "no value to bound"
    number = float(value)  # type: ignore[arg-type]  # numeric or bool by the test above
    ok = number >= bound if check == "min" else number <= bound
    word = ("least", "at least", "wanted") if check == "min" else ("greatest", "at most", "allowed")
    return ok, number, bound, f"the {word[0]} value is {number:g}, {word[1]} {bound:g} {word[2]}"


def _strange(present: pl.Series, allowed: tuple[Any, ...]) -> list[Any]:
    """Values outside `allowed`, sorted; 1 and 1.0 are one value, 1 and True and "1" are three."""
    known = {(isinstance(a, bool), isinstance(a, str), a) for a in allowed}
    values = present.unique().to_list()
    return sorted((v for v in values if (isinstance(v, bool), isinstance(v, str), v) not in known), key=repr)


def _percent(share: float) -> str:
    text = f"{share:.2%}"
    # 99.999 % must not read as 100.00 % where 100 % is asked for
    return "under 100%" if text == "100.00%" and share < 1 else text.replace(".00%", "%")


def _say(said: str, ok: bool) -> str:
    return f"{said}: {'passed' if ok else 'failed'}"
