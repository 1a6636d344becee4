"""The ledger of labels: what was said to be true of which prediction, and when.

A folder of files that are only ever added to. Corrections are further rows, so that what was known at any time can be read again. Which
rows hold is a pure fold (`fold`): for each inference_id the row with the latest (labelled_at, received_at); the order of files, repeated
ones, and how they were put together since, change nothing. Labels may come before their prediction: the ledger asks for none.

`values`: the fold, types, and the join by id. `segments`: the files, and how many small ones become a large one. `ledger`: adding and
looking up. `taking`: adding more than can be held. `entities`: labels that name no prediction, but an entity and a time. `coverage`: how
much of a window is labelled.
"""

from __future__ import annotations

from modelyard.monitor.labelfiles import LABELLED_AT, read_file
from modelyard.monitor.labels.coverage import COMPLETE, coverage, usual, watermark
from modelyard.monitor.labels.ledger import Added, add, between, held_since, ids, latest, newest, of, received
from modelyard.monitor.labels.taking import Taking
from modelyard.monitor.labels.values import GIVEN_AT, check, convert, fold, join

__all__ = [
    "COMPLETE",
    "GIVEN_AT",
    "LABELLED_AT",
    "Added",
    "Taking",
    "add",
    "between",
    "check",
    "convert",
    "coverage",
    "fold",
    "held_since",
    "ids",
    "join",
    "latest",
    "newest",
    "of",
    "read_file",
    "received",
    "usual",
    "watermark",
]
