"""The data-quality gate: what `data.expect` asks of a snapshot, judged column by column, each result a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import ColumnExpectation, Expect, OnFail
from modelyard.data.columns import nearest, repeats

if TYPE_CHECKING:
    import polars as pl

    from modelyard.data.parts import Parts


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


def judge(table: Parts, expect: Expect) -> list[Expectation]:
    """Every expectation of `expect` against `table`, in the config's order; all of them, whether they hold or not.

    A named column that is absent fails its one check `exists`, and so does a bound on a column that is neither a number nor a
    truth value. Bounds look at present values only (missing ones are `completeness`), and an empty column breaks no bound. Only the
    named columns are read, one after the other.
    """
    found = list(_table(table.rows, expect))
    for name, asked in expect.columns.items():
        if name in table.schema:
            found += _column(name, table, asked)
        else:
            sentence = f"{name}: there is no such column ({nearest(name, table.schema)}): failed"
            found.append(Expectation(name, "exists", False, asked.on_fail, False, True, sentence))
    return found


def _table(rows: int, expect: Expect) -> Iterator[Expectation]:
    if expect.min_rows is not None:
        ok, bound = rows >= expect.min_rows, expect.min_rows
        yield Expectation(None, "min_rows", ok, "block", rows, bound, _say(f"{rows} rows, at least {bound} wanted", ok))
    if expect.max_rows is not None:
        ok, bound = rows <= expect.max_rows, expect.max_rows
        yield Expectation(None, "max_rows", ok, "block", rows, bound, _say(f"{rows} rows, at most {bound} allowed", ok))


class _Seen:
    """What one reading of a column tells."""

    def __init__(self, name: str, table: Parts, values: bool) -> None:
        import polars as pl

        self.dtype, self.present = table.schema[name], 0
        self.min: Any = None
        self.max: Any = None
        self.values = pl.Series(name, [], dtype=self.dtype)
        for series in table.column(name):
            there = _present(series)
            self.present += len(there)
            if values:
                self.values = pl.concat([self.values, there.unique()]).unique()
            if len(there) and (self.dtype.is_numeric() or self.dtype == pl.Boolean):
                least, most = there.min(), there.max()
                self.min = least if self.min is None else min(self.min, least)
                self.max = most if self.max is None else max(self.max, most)


def _present(series: pl.Series) -> pl.Series:
    there = series.drop_nulls()
    return there.drop_nans() if there.dtype.is_float() else there


def _column(name: str, table: Parts, asked: ColumnExpectation) -> Iterator[Expectation]:
    seen = _Seen(name, table, values=asked.categories is not None)

    def result(check: str, ok: bool, observed: Any, allowed: Any, said: str) -> Expectation:
        return Expectation(name, check, ok, asked.on_fail, observed, allowed, _say(f"{name}: {said}", ok))

    if asked.completeness is not None:
        share = seen.present / table.rows if table.rows else 0.0
        said = f"{_percent(share)} of rows have a value, at least {_percent(asked.completeness)} wanted"
        yield result("completeness", share >= asked.completeness, share, asked.completeness, said)
    for check in ("min", "max"):
        bound = getattr(asked, check)
        if bound is not None:
            yield result(check, *_bound(seen, check, bound))
    if asked.categories is not None:
        strange = _strange(seen.values, asked.categories)
        said = f"values {', '.join(map(repr, strange[:5]))} are not among those allowed" if strange else "only allowed values"
        yield result("categories", not strange, strange[:5], list(asked.categories), said)
    if asked.unique:
        again = repeats(lambda: (_present(series) for series in table.column(name)))
        repeated = 0 if again is None else len(again) - again.n_unique()
        yield result("unique", not repeated, repeated, 0, f"{repeated} values repeat" if repeated else "no value repeats")


def _bound(seen: _Seen, check: str, bound: float) -> tuple[bool, Any, float, str]:
    if not (seen.dtype.is_numeric() or seen.dtype.base_type().__name__ == "Boolean"):
        return False, str(seen.dtype), bound, f"`{check}` needs numbers, and the column holds {seen.dtype}"
    value = seen.min if check == "min" else seen.max
    if value is None:
        return True, None, bound, "no value to bound"
    number = float(value)
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
