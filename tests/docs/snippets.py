"""The fenced blocks of the Markdown pages, and the directives that say how they are tested.

    <!-- snippets: run in examples/breast-cancer -->     once a page: its commands are run, in order, in a copy of that folder
    <!-- snippets: tested by .ci/run -->                 before a block: it starts something long-lived; that file tests it
    <!-- snippets: shell only -->                        before a block: only its syntax is checked

In a ```console block, `$ ` begins a command, and the lines below it, where there are any, are its whole output: `...` stands
for anything in a line, and alone in a line for any lines; runs of blanks count as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_DIRECTIVE = re.compile(r"<!-- snippets: (?P<words>.+?) -->")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and the directive right above it (empty where none is)."""

    page: Path
    line: int
    language: str
    text: str
    directive: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command line, and the output that the page shows for it (None where it shows none)."""

    line: str
    output: str | None


def pages() -> list[Path]:
    top = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return [*top, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]


def blocks(page: Path) -> list[Block]:
    text, found = page.read_text(), []
    for match in _FENCE.finditer(text):
        above = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        directive = _DIRECTIVE.fullmatch(above.strip())
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[2], match[3], directive["words"] if directive else ""))
    return found


def folder_of(page: Path) -> Path | None:
    """The folder in a copy of which the page's commands are run."""
    first = page.read_text().partition("\n")[0]
    directive = _DIRECTIVE.fullmatch(first)
    return ROOT / directive["words"].removeprefix("run in ") if directive and directive["words"].startswith("run in ") else None


def commands(block: Block) -> list[Command]:
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "sh":
        return [Command(line, None) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    found: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            found.append(Command(line[2:], None))
        elif not found:
            raise AssertionError(f"{block}: output before the first `$ ` command")
        else:
            found[-1] = Command(found[-1].line, (found[-1].output or "") + line + "\n")
    return found


def matches(expected: str, output: str) -> bool:
    """Whether the shown output, with its `...`, is the whole of what came."""

    def squeeze(text: str) -> list[str]:
        return [re.sub(r"\s+", " ", line).strip() for line in text.strip("\n").splitlines()]

    pattern = ""
    for line in squeeze(expected):
        pattern += r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(re.escape("..."), ".*") + r"\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in squeeze(output))) is not None
