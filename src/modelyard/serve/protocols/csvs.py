"""CSV bodies: with a header, or without one in the signature's order."""

from __future__ import annotations

import csv
import io

from modelyard.errors import BadInput
from modelyard.serve.protocols.columns import Given, Wanted


def read(body: bytes, wanted: Wanted) -> Given:
    """The cells as text, a missing one empty. Raises BadInput, TooLarge."""
    try:
        text = body.decode("utf-8-sig")
        table = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except UnicodeDecodeError as exc:
        raise BadInput(f"the body is not UTF-8: byte {exc.start} is wrong") from None
    except csv.Error as exc:
        raise BadInput(f"the body is not CSV: {exc}") from None
    if not table:
        return {}, 0
    first, features = table[0], wanted.features
    if all(name in wanted.known for name in first):
        columns, count = wanted.by_name(first, table[1:])
    elif len(first) == len(features):
        columns, count = wanted.by_name(features, table)
    else:
        unknown = next(name for name in first if name not in wanted.known)
        raise wanted.unknown(unknown, None, f"; without a header a row has {len(features)} values")
    for name, values in columns.items():
        if values and values[0] is None:  # a nullable column that the header leaves out
            columns[name] = [""] * len(values)
    return columns, count
