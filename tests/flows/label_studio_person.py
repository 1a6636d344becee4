"""A person who labels in Label Studio, by its SDK; run by the interpreter that has it. Arguments: address, token, folder.

The folder holds tasks.json, tasks.xml and answers.json ({inference_id: a value of an annotation, or null to skip}); the exports are put
beside, export.json, export_min.json and export.csv.
"""

import json
import sys
from pathlib import Path

from label_studio_sdk import LabelStudio


def main(address, token, folder):
    studio, folder = LabelStudio(base_url=address, api_key=token), Path(folder)
    answers = json.loads((folder / "answers.json").read_text())
    project = studio.projects.create(title=folder.name, label_config=(folder / "tasks.xml").read_text())
    studio.projects.import_tasks(id=project.id, request=json.loads((folder / "tasks.json").read_text()))
    for task in studio.tasks.list(project=project.id, fields="all"):
        id = task.data["inference_id"]
        assert task.predictions, f"{id} came without the model's answer"
        assert set(task.data["row"]) and task.meta["reason"], task
        if id not in answers:
            continue
        value = answers[id]
        kind = next(iter(value)) if value else ""
        result = [{"from_name": "label", "to_name": "inference_id", "type": kind, "value": value}] if value else []
        studio.annotations.create(id=task.id, result=result, was_cancelled=value is None)
    for kind, name in (("JSON", "export.json"), ("JSON_MIN", "export_min.json"), ("CSV", "export.csv")):
        parts = studio.projects.exports.download_sync(id=project.id, export_type=kind, download_all_tasks=True)
        (folder / name).write_bytes(b"".join(parts))


if __name__ == "__main__":
    main(*sys.argv[1:])
