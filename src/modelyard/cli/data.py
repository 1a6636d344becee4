"""Commands on data: which versions of it there are, what one holds, and what differs between two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import plain, table

BLOCKS = "▁▂▃▄▅▆▇█"
LARGE = 0.2
"""A PSI from which a column is said to have moved, by the custom of the field; half of that is worth a look."""


@click.group()
def data() -> None:
    """Look at data and its versions."""


@data.command("list")
@click.argument("model", required=False)
@JSON
def list_(model: str | None, as_json: bool) -> None:
    """The snapshots of this home, or those that MODEL's versions were built on, the newest first, and who uses them."""
    with asking() as caller:
        answer = caller.call("data-list", model=model)
    if show(answer, as_json):
        return
    if not answer:
        click.echo("there are no snapshots yet; a build takes one")
        return
    click.echo(table([_snapshot(row) for row in answer], ["SNAPSHOT", "TAKEN", "ROWS", "NEW", "COLUMNS", "SIZE", "USED BY"]))


def _snapshot(row: dict[str, Any]) -> list[str]:
    new = f"{row['lineage']['rows']:,}" if row["lineage"] else ""
    users = [*row["used_by"], *(f"{version} (its source)" for version in row["source_of"])]
    when = row["taken_at"][:16].replace("T", " ")
    return [row["digest"][:12], when, f"{row['rows']:,}", new, str(row["columns"]), _size(row["bytes"]), ", ".join(users) or "-"]


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@data.command()
@click.argument("what")
@click.option("--html", "page", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page with pictures.")
@JSON
def profile(what: str, page: Path | None, as_json: bool) -> None:
    """What a table holds, column by column.

    WHAT is a file (csv, jsonl, parquet), a snapshot's digest or how it begins, or MODEL:VERSION for the data that a version was built on.
    """
    with asking() as caller:
        answer = caller.call("data-profile", what=_word(what))
    if page is not None:
        from modelyard.quality import profile_plots

        page.write_text(profile_plots.page(answer, f"Data of {what}"), encoding="utf-8")
    if show(answer, as_json):
        return
    click.echo(f"rows  {answer['rows']:,}")
    rows = [_described(column, answer["rows"]) for column in answer["columns"]]
    click.echo(table(rows, ["COLUMN", "TYPE", "MISSING", "DIFFERENT", "FROM, MEDIAN, TO, OR COMMONEST", "SPREAD"]))
    if page is not None:
        click.echo(f"{click.style('✓', fg='green')} {page}")


def _described(column: dict[str, Any], rows: int) -> list[str]:
    if column.get("top") is not None:
        values = ", ".join(plain(str(value))[:16] for value, _ in column["top"][:3])
        counts = [count for _, count in column["top"]]
    else:
        middle = column["quantiles"].get("0.5")
        values = "  ".join(_number(value) for value in (column["min"], middle, column["max"]))
        counts = column["histogram"]["counts"]
    missing = f"{column['missing'] / rows:.1%}" if rows else "-"
    return [plain(column["name"]), column["type"], missing, f"{column['distinct']:,}", values, bars(counts)]


@data.command()
@click.argument("a")
@click.argument("b")
@JSON
def diff(a: str, b: str, as_json: bool) -> None:
    """Two tables side by side: schema, rows, and how each column's distribution moved.

    A and B are files (csv, jsonl, parquet), snapshots' digests or how they begin, or MODEL:VERSION for the data that a version was
    built on. PSI from 0.1 is worth a look, from 0.2 the column has moved. APART is the Kolmogorov-Smirnov distance of numbers, and
    Cramer's V of everything else: 0 where nothing differs, 1 where nothing is shared.
    """
    with asking() as caller:
        answer = caller.call("data-diff", a=_word(a), b=_word(b))
    if show(answer, as_json):
        return
    click.echo(f"rows  {answer['rows'][0]:,} -> {answer['rows'][1]:,}")
    for word in ("added", "removed"):
        if answer[word]:
            click.echo(f"{word}  {', '.join(map(plain, answer[word]))}")
    for column in answer["retyped"]:
        click.echo(f"retyped  {plain(column['column'])}: {column['before']} -> {column['after']}")
    head = ["COLUMN", "TYPE", "MISSING", "MEAN OR DIFFERENT", "BEFORE", "AFTER", "PSI", "APART"]
    click.echo(table([_compared(column) for column in answer["columns"]], head))
    for column in answer["columns"]:
        for word in ("new", "gone"):
            if (found := column.get(word)) and found["count"]:
                click.echo(f"{word} in {plain(column['column'])}  {_named(found)}")


def _word(what: str) -> str:
    return str(Path(what).resolve()) if Path(what).exists() else what


def _named(found: dict[str, Any]) -> str:
    values = ", ".join(plain(str(value))[:24] for value in found["values"])
    more = "" if len(found["values"]) == found["count"] else f"{', ... ' if values else ''}{found['count']:,} values"
    return f"{values}{more} ({found['rows']:,} rows)"


def _compared(column: dict[str, Any]) -> list[str]:
    missing = " -> ".join(f"{share:.1%}" for share in column["missing"])
    pair = column.get("mean") or column.get("distinct") or []
    moved = " -> ".join(_number(value) for value in pair)
    before, after = _counts(column)
    psi, apart = column["psi"], column.get("ks", column.get("cramers_v"))
    said = "-" if psi is None else f"{psi:.3f}"
    if psi is not None and psi >= LARGE / 2:
        said = click.style(said, fg="red" if psi >= LARGE else "yellow")
    return [
        plain(column["column"]),
        column["type"],
        missing,
        moved,
        bars(before),
        bars(after),
        said,
        "-" if apart is None else f"{apart:.3f}",
    ]


def _counts(column: dict[str, Any]) -> tuple[Sequence[int], Sequence[int]]:
    if "histogram" in column:
        before, after = column["histogram"]["counts"]
        return before, after
    top = column.get("top") or []
    return [row[1] for row in top], [row[2] for row in top]


def bars(counts: Sequence[int], width: int = 20) -> str:
    """Counts as a line of blocks, the greatest the highest; a blank where nothing is."""
    most = max(counts, default=0)
    return "".join(BLOCKS[-(-count * len(BLOCKS) // most) - 1] if count else " " for count in counts[:width])


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, int | float) else str(value)[:16].replace("T", " ")


@data.command()
@MODEL
@JSON
def reread(model: str, as_json: bool) -> None:
    """Have MODEL's next build read its incremental source whole.

    It then sees rows that came late, below what was read before, and those that were changed or removed.
    """
    with asking() as caller:
        answer = caller.call("data-reread", model=model)
    if not show(answer, as_json):
        said = (
            "is read whole by the next build"
            if answer["forgotten"]
            else "would be read whole anyway: it is not incremental, or was not read yet"
        )
        click.echo(f"the source of {answer['model']} {said}")
