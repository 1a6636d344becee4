"""How the version answers: by a row plan that was proven equal to the model, or by the model itself, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.quality import page


def answering(found: Mapping[str, Any]) -> dict[str, Any] | None:
    made = found.get("compile")
    if made is None:
        return None
    if made["status"] != "compiled":
        why = {
            "off": "A runner, which holds the model, answers: row plans are switched off.",
            "declined": f"A runner, which holds the model, answers. There is no row plan: {page.text(made['reason'])}.",
            "unequal": f"A runner, which holds the model, answers. The row plan did not answer as the model does, and is refused: "
            f"{page.text(made['reason'])}.",
        }
        return {"lead": why[made["status"]], "tiles": [], "apart": ""}
    tiles = [
        ("A row takes", f"{page.number(made['microseconds'])} µs"),
        ("Rows proven equal", page.number(made["rows_proven"] + made["edge_rows"])),
        ("Rows refused by both", page.number(made["refused_alike"])),
        ("Largest difference", page.number(made["largest_difference"])),
        ("Size of the plan", page.size(made["bytes"])),
    ]
    edges = f"{page.number(made['edge_rows'])} rows at the edges of its thresholds and categories"
    held = f"{page.number(made['rows_proven'])} rows of the hold-out and {edges}"
    lead = (
        f"A row plan of {page.text(made['source'])} answers, in the front itself. Held against the model on {held}, it gave the same "
        "predictions, and refused what the model refuses."
    )
    apart = f"Scores may lie {made['tolerance']:g} apart" + (f": {page.text(made['tolerance_reason'])}" if made["tolerance_reason"] else "")
    return {"lead": lead, "tiles": tiles, "apart": f"{apart}."}
