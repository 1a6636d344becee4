"""Label Studio's formats: rows to ask about as tasks, the labelling interface that goes with a model, and exports as labels.

Shapes as Label Studio 1.23 takes and gives them (https://labelstud.io/guide/tasks, /guide/export, /guide/predictions): a task has `data`
that the interface shows, `meta`, and `predictions`, the model's own answer as what is filled in already. An export is either whole (JSON:
tasks with their `annotations`) or short (JSON_MIN: a flat object an annotation).
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from modelyard import tables
from modelyard.errors import BadInput
from modelyard.monitor import requests
from modelyard.monitor.labelfiles import LABELLED_AT, numbers
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

LABEL, SHOWN, ID = "label", "row", tables.INFERENCE_ID
"""Names in the interface: of the control that is answered, of the table that is shown, of the text that both are about."""
_SHORT = {"annotation_id", "annotator"}


def tasks(rows: pl.DataFrame, signature: Signature, model: str, *, blind: bool = False) -> list[dict[str, Any]]:
    """Tasks of rows that `requests.choose` chose, JSON-ready, in their order. `blind`: without the model's own answer, and without
    why the row was chosen, which tells it.
    """
    shown = [n for n in rows.columns if n.startswith((tables.FEATURE, tables.EXTRA))]
    found = []
    for row in rows.iter_rows(named=True):
        about = {"model": model, "version": row[tables.VERSION], tables.EVENT_TIME: _json(row[tables.EVENT_TIME])}
        task: dict[str, Any] = {
            "data": {ID: row[tables.INFERENCE_ID], SHOWN: {n.partition(".")[2]: _json(row[n]) for n in shown}},
            "meta": about if blind else {**about, requests.REASON: row[requests.REASON]},
        }
        if not blind and row.get(tables.PREDICTION) is not None:
            task["predictions"] = [_prediction(row, signature, f"{model}:{row[tables.VERSION]}")]
        found.append(task)
    return found


def interface(signature: Signature) -> str:
    """The labelling interface, XML: a choice of one class, of any number of labels, or a number."""
    if signature.answer == "number":
        control = f'  <Number name="{LABEL}" toName="{ID}" required="true"/>'
    else:
        kind = "multiple" if signature.answer == "labels" else "single"
        choices = "".join(f"\n    <Choice value={quoteattr(written(c))}/>" for c in signature.classes)
        control = f'  <Choices name="{LABEL}" toName="{ID}" choice="{kind}" showInline="true">{choices}\n  </Choices>'
    title = f"<Header value={quoteattr(f'What is {signature.target_col}?')}/>"
    return f'<View>\n  {title}\n  <Table name="{SHOWN}" value="${SHOWN}"/>\n  <Text name="{ID}" value="${ID}"/>\n{control}\n</View>\n'


def written(value: Any) -> str:
    """A class as a choice: truth in lower case, as labels are read."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _prediction(row: dict[str, Any], signature: Signature, version: str) -> dict[str, Any]:
    answer = row[tables.PREDICTION]
    if signature.answer == "number":
        value: dict[str, Any] = {"number": answer}
    elif signature.answer == "labels":
        value = {"choices": [part for part in str(answer).split(_separator(signature)) if part]}
    else:
        value = {"choices": [written(answer)]}
    kind = next(iter(value))
    result = {"id": "answer", "from_name": LABEL, "to_name": ID, "type": kind, "value": value}
    scores = [row[n] for c in signature.classes if row.get(n := tables.output(f"probability_{c}")) is not None]
    return {"model_version": version, **({"score": max(scores)} if scores else {}), "result": [result]}


def _separator(signature: Signature) -> str:
    return signature.label_separator or "|"


def _json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


# -- exports -----------------------------------------------------------------------------------------------------------------


def is_export(path: Path) -> bool:
    """Whether a file holds Label Studio's tasks or annotations: a list in JSON, or CSV under its header."""
    if not path.is_file():
        return False
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                return set(next(csv.reader(file), [])) >= {ID, *_SHORT}
        return path.suffix.lower() == ".json" and _looks(_load(path))
    except (ValueError, RecursionError, csv.Error):
        return False


def _load(path: Path) -> Any:
    """What stands in a file; of CSV the annotations as JSON_MIN has them. Raises ValueError, RecursionError, csv.Error."""
    if path.suffix.lower() != ".csv":
        return json.loads(path.read_text(encoding="utf-8-sig"))
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        answer = row.get(LABEL) or None
        row[LABEL] = json.loads(answer) if answer and answer.startswith(('{"choices"', '[{"number"')) else answer
    return rows


def _looks(found: Any) -> bool:
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        return False
    return all("data" in one and "annotations" in one for one in found) or all(one.keys() >= _SHORT for one in found)


def read(path: Path, signature: Signature) -> pl.DataFrame:
    """The labels of an export: inference_id, label (null where nobody answered), labelled_at (UTC), as the ledger takes them.

    Of several annotations of a task the one that is marked as ground truth counts, else the answer that most gave, else the newest.
    Skipped ones say nothing. Raises BadInput for what is no export, and for a task that names no prediction.
    """
    import polars as pl

    try:
        found = _load(path)
    except (ValueError, RecursionError, csv.Error) as exc:
        raise BadInput(f"it cannot be read: {str(exc)[:200]}", where=path.name) from exc
    if not _looks(found):
        raise BadInput("no export of Label Studio", where=path.name, next="export the project as JSON, JSON_MIN or CSV")
    answers = _answers(found, signature, _separator(signature), path.name)
    chosen = {id: _agreed(given) for id, given in answers.items()}
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            tables.INFERENCE_ID: pl.Series(list(chosen), dtype=pl.String),
            tables.LABEL: numbers(pl.Series([answer and written(answer[0]) for answer in chosen.values()], dtype=pl.String)),
            LABELLED_AT: pl.Series([answer and answer[1] for answer in chosen.values()], dtype=instant),
        }
    )


Answer = tuple[Any, datetime, bool]
"""What was answered, when, and whether it is marked as the truth."""


def _answers(found: list[dict[str, Any]], signature: Signature, separator: str, name: str) -> dict[str, list[Answer]]:
    """By prediction; one that nobody answered has an empty list."""
    answers: dict[str, list[Answer]] = {}
    for place, one in enumerate(found):
        id = (one["data"] if "annotations" in one else one).get(ID)
        if not isinstance(id, str | int) or id == "":
            next_ = "export a project whose tasks `modelyard request-labels` wrote"
            raise BadInput(f"task {one.get('id', place)} has no `{ID}`", where=name, next=next_)
        try:
            given = list(_whole(one, signature, separator) if "annotations" in one else _short(one, signature, separator))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
            raise BadInput(f"task {one.get('id', place)} cannot be read: {type(exc).__name__} {exc}", where=name) from exc
        answers.setdefault(str(id), []).extend(given)
    return answers


def _whole(task: dict[str, Any], signature: Signature, separator: str) -> Iterator[Answer]:
    for annotation in task["annotations"]:
        values = [r["value"] for r in annotation["result"] if r.get("from_name") == LABEL]
        if annotation.get("was_cancelled") or not (values or signature.answer == "labels"):
            continue
        value = values[-1] if values else {"choices": []}  # that no label holds is an answer
        answer = _joined(value["choices"], signature, separator) if "choices" in value else value["number"]
        if answer is not None:
            yield answer, _at(annotation), bool(annotation.get("ground_truth"))


def _joined(choices: list[str], signature: Signature, separator: str) -> str | None:
    """A class, or the labels that hold in the order of the classes; no label at all is an answer too."""
    if signature.answer != "labels":
        return choices[0] if choices else None
    order = [written(c) for c in signature.classes]
    return separator.join(sorted(choices, key=lambda c: order.index(c) if c in order else len(order)))


def _short(annotation: dict[str, Any], signature: Signature, separator: str) -> Iterator[Answer]:
    """The answer as it is, `{"choices": [...]}` of several, or `[{"number": ...}]`; of CSV as text of JSON."""
    if annotation["annotation_id"] in (None, ""):  # a task that nobody answered
        return
    answer = annotation.get(LABEL)
    if signature.answer == "labels":
        several = answer["choices"] if isinstance(answer, dict) else [answer] if answer else []
        answer = _joined(several, signature, separator)
    elif isinstance(answer, list):
        answer = answer[-1]["number"]
    if answer is not None:
        yield answer, _at(annotation), False


def _at(annotation: dict[str, Any]) -> datetime:
    at = datetime.fromisoformat(str(annotation.get("updated_at") or annotation["created_at"]))
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _agreed(given: list[Answer]) -> Answer | None:
    if not given:
        return None
    sure = [answer for answer in given if answer[2]] or given
    votes = Counter(str(answer[0]) for answer in sure)
    return max(sure, key=lambda answer: (votes[str(answer[0])], answer[1]))
