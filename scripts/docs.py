"""Write the reference pages that follow from the code: docs/reference/{cli.md, config.md, metrics.md, config.schema.json}.

`--check` writes nothing and exits with 1 where a page is not what the code says now (tests/docs run it).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter

from modelyard.cli import cli
from modelyard.config.schema import json_schema
from modelyard.config.spec import PLANNED, Config, format_duration
from modelyard.quality.metrics import METRICS

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
GENERATED = "<!-- Written by scripts/docs.py (`make docs-reference`): change the code, not this page. -->"
WIDTH = 110
ISO_DURATION = re.compile(r"P(\d+[WD])?(T(\d+[HMS])+)?")


def cli_page() -> str:
    lines = [GENERATED, "", "# Command line", ""]
    lines += ["Every command, as `--help` shows it. `--json` prints one JSON value on standard output, and nothing else there.", ""]
    lines += ["| exit code | meaning |", "|---|---|", "| 0 | done |", "| 1 | failed |", "| 2 | bad input or config |"]
    lines += ["| 3 | a gate said no |", "| 4 | waiting for approval |", ""]
    for names, command in commands(cli, ("modelyard",)):
        context = click.Context(command, info_name=" ".join(names), terminal_width=WIDTH, **cli.context_settings)
        lines += [f"{'#' * min(len(names), 3)}# {' '.join(names)}", "", "```text", command.get_help(context).strip(), "```", ""]
    return "\n".join(lines)


def commands(command: click.Command, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from commands(found, (*names, name))


def config_page() -> str:
    schema = Config.model_json_schema(by_alias=True)
    lines = [GENERATED, "", "# config.yaml", ""]
    lines += [
        "Every key that this release honours. Unknown keys are refused with the nearest known one. Paths are relative to the file.",
        "A value under `deploy.realtime` or `deploy.capture` may differ by stage: `{staging: ..., production: ...}`.",
        "Staging asks for nobody's approval unless its `approval` says so.",
        "`${NAME}` stands for an environment variable that `variables` declares. `modelyard schema` prints all this as JSON Schema,",
        "and [config.schema.json](config.schema.json) is that.",
        "",
    ]
    lines += part("", schema, schema["$defs"])
    lines += ["## Refused by name", "", "Keys of the design that this release does not honour yet: it says so rather than ignore them.", ""]
    lines += ["| key | what it will be |", "|---|---|"]
    lines += [f"| `{key}` | {what} |" for key, what in PLANNED.items()]
    return "\n".join([*lines, ""])


def part(path: str, schema: dict[str, Any], defs: dict[str, Any]) -> list[str]:
    """A table of the keys of one part, then the parts inside it."""
    lines = [f"## {path or 'Top level'}", ""]
    if schema.get("description"):
        lines += [schema["description"], ""]
    lines += ["| key | value | default | |", "|---|---|---|---|"]
    inner: list[tuple[str, dict[str, Any]]] = []
    for key, field in schema["properties"].items():
        required = key in schema.get("required", [])
        default = "required" if required else f"`{shown(field['default'])}`" if "default" in field and plain(field["default"]) else ""
        lines.append(f"| `{key}` | {kind(field, defs)} | {default} | {field.get('description', '').replace('|', chr(92) + '|')} |")
        inner += [(f"{path}.{key}".lstrip(".") + suffix, found) for suffix, found in parts_in(field, defs)]
    lines.append("")
    for below, found in inner:
        lines += part(below, found, defs)
    return lines


def parts_in(field: dict[str, Any], defs: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts that a key holds: itself, `[]` for each of a list, `.NAME` for each of a mapping. A secret is no part of its own."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        if "properties" in defs[name] and name != "Secret":
            yield "", defs[name]
    for option in field.get("anyOf", []):
        yield from parts_in(option, defs)
    for suffix, inside in (("[]", field.get("items")), (".NAME", values(field))):
        if isinstance(inside, dict):
            yield from ((suffix + deeper, found) for deeper, found in parts_in(inside, defs))


def values(field: dict[str, Any]) -> Any:
    """The schema of a mapping's values; its names may be held to a pattern."""
    return field.get("additionalProperties") or next(iter(field.get("patternProperties", {}).values()), None)


def kind(field: dict[str, Any], defs: dict[str, Any]) -> str:
    """A key's type in a few words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return "`{secret: NAME}`" if name == "Secret" else "part, below" if "properties" in defs[name] else kind(defs[name], defs)
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(kind(o, defs) for o in field["anyOf"] if o.get("type") != "null"))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {kind(field['items'], defs)}" if "items" in field else f"list of {len(field.get('prefixItems', []))} numbers"
    if field.get("type") == "object":
        below = values(field)
        return f"mapping of {kind(below, defs)}" if isinstance(below, dict) else "mapping"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}.get(field.get("type", ""), "any")
    if field.get("examples"):
        words += f", such as `{field['examples'][0]}`"
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum", field.get("exclusiveMaximum"))
    if low is not None and high is not None:
        words += f" from {low} to {high}"
    return words


def plain(default: Any) -> bool:
    return default is not None and not (isinstance(default, dict) and default) and default not in ([], {})


def shown(default: Any) -> str:
    if isinstance(default, str) and ISO_DURATION.fullmatch(default):
        return format_duration(TypeAdapter(timedelta).validate_python(default))
    return default if isinstance(default, str) else json.dumps(default)


def metrics_page() -> str:
    lines = [GENERATED, "", "# Metrics", "", "What `evaluate.validation_criteria` and `monitor.performance.criteria` may name.", ""]
    lines += ["| metric | better | problem types |", "|---|---|---|"]
    for name, metric in METRICS.items():
        better = "greater" if metric.greater_is_better else "smaller"
        lines.append(f"| `{name}` | {better} | {', '.join(f'`{p}`' for p in metric.problem_types)} |")
    return "\n".join([*lines, ""])


def pages() -> dict[Path, str]:
    return {
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "config.md": config_page(),
        REFERENCE / "metrics.md": metrics_page(),
        REFERENCE / "config.schema.json": json.dumps(json_schema(), indent=2) + "\n",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(REFERENCE.parent.parent)} is out of date; next: make docs-reference", file=sys.stderr)
        else:
            path.write_text(pages()[path])
            print(f"wrote {path.relative_to(REFERENCE.parent.parent)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
