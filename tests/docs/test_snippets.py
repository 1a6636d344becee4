"""Every command, config and program in the documentation is run or checked, and every link leads somewhere."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from modelyard.cli import cli
from modelyard.config.load import loads
from tests.docs.snippets import ROOT, Block, blocks, commands, folder_of, matches, pages

PAGES = pages()
BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [b for b in BLOCKS if b.language in ("console", "sh")]
LANGUAGES = {"console", "sh", "yaml", "python", "json", "text"}
OTHER_TOOLS = {"cd", "curl", "cut", "export", "git", "head", "printf", "sleep"}
BASE = ROOT / "examples" / "breast-cancer" / "config.yaml"


def named(block: Block) -> str:
    return str(block)


@pytest.mark.parametrize(
    ("expected", "output", "fits"),
    [
        ("a ... c\n", "a   b c\n", True),
        ("a ... c\n", "a b d\n", False),
        ("...\nlast\n", "one\ntwo\nlast\n", True),
        ("...\nlast\n", "one\nlast\ntwo\n", False),
        ("first\n...\n", "first\n", True),
        ("only\n", "only\nmore\n", False),
        ("1.5 (x)\n", "1.5 (x)\n", True),
        ("1.5\n", "1x5\n", False),
    ],
)
def test_shown_output_is_compared_as_it_says(expected: str, output: str, fits: bool) -> None:
    assert matches(expected, output) is fits


def test_pages_have_snippets_of_known_languages() -> None:
    assert len(SHELL) > 10
    assert {b.language for b in BLOCKS} <= LANGUAGES, [str(b) for b in BLOCKS if b.language not in LANGUAGES]


@pytest.mark.parametrize("block", SHELL, ids=named)
def test_commands_exist_and_take_these_arguments(block: Block) -> None:
    if block.directive.startswith("tested by "):
        assert (ROOT / block.directive.removeprefix("tested by ")).is_file(), "the test that is named does not exist"
    for command in commands(block):
        assert subprocess.run(["bash", "-n", "-c", command.line]).returncode == 0, f"{block}: {command.line}"
        for part in re.split(r" \|\|? ", command.line):
            words = shlex.split(part, comments=True)
            if words[0] == "modelyard":
                parse(words[1:])
            elif words[0] == "make":
                targets = [w for w in words[1:] if "=" not in w]
                assert all(re.search(rf"^{t}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for t in targets), command.line
            elif "/" in words[0]:
                assert (ROOT / words[0]).exists() or words[0] == ".venv/bin/python", f"{block}: there is no {words[0]}"
            else:
                assert words[0] in OTHER_TOOLS, f"{block}: nobody tests `{words[0]}`"


def parse(arguments: list[str]) -> None:
    """Hold `modelyard ARGUMENTS` against the command line's own definition, without running it."""
    command, rest, context = cli, arguments, click.Context(cli, info_name="modelyard")
    while isinstance(command, click.Group):
        assert rest, f"modelyard {shlex.join(arguments)}: a command is missing"
        if rest[0] in ("--help", "-h", "--version"):
            return
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    try:
        command.make_context(command.name, [a for a in rest if a not in (">", "<")], parent=context.parent)
    except click.BadParameter as exc:
        assert "does not exist" in exc.message, f"modelyard {shlex.join(arguments)}: {exc.message}"
    except click.exceptions.Exit:
        pass  # --help


def test_a_wrong_option_is_found() -> None:
    with pytest.raises(click.UsageError):
        parse(["up", "--no-such-option"])
    with pytest.raises(click.UsageError):
        parse(["no-such-command"])


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=named)
def test_configs_hold(block: Block) -> None:
    """A whole config as it is; a part of one, put into a config that holds."""
    yaml = YAML(typ="safe", pure=True)
    given: dict[str, Any] = yaml.load(block.text)
    if "version" not in given:
        whole = {**yaml.load(BASE.read_text()), **given}
        if "bring" in given:
            del whole["train"]
        stream = io.StringIO()
        yaml.dump(whole, stream)
        loads(stream.getvalue(), BASE)
    else:
        loads(block.text, BASE)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=named)
def test_programs_run(block: Block, tmp_path: Path) -> None:
    if block.directive.startswith("tested by "):
        assert (ROOT / block.directive.removeprefix("tested by ")).is_file(), "the test that is named does not exist"
        return
    done = subprocess.run([sys.executable, "-c", block.text], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for target in (a or b for a, b in targets):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.relative_to(ROOT)}: {target} leads nowhere"


def test_the_site_leads_to_every_page() -> None:
    def named(item: Any) -> list[str]:
        inner = item.values() if isinstance(item, dict) else item
        return [item] if isinstance(item, str) else [name for one in inner for name in named(one)]

    nav = named(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    assert sorted(nav) == sorted(p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md"))
    index = (ROOT / "docs" / "index.md").read_text()
    assert [p for p in nav if not p.startswith(("index", "decisions")) and f"({p})" not in index] == []


def test_the_generated_reference_is_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [p for p in PAGES if folder_of(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed(page: Path, tmp_path: Path, home: Path) -> None:
    """Its commands, one after the other, succeed and print what the page shows."""
    folder = tmp_path / "model"
    shutil.copytree(folder_of(page) or ROOT, folder)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MODELYARD_HOME": str(home), "PATH": path, "NO_COLOR": "1"}
    ran = 0
    try:
        for block in blocks(page):
            if block.language not in ("console", "sh") or block.directive:
                continue
            for command in commands(block):
                done = subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command.line], cwd=folder, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{block}: {command.line}\n{done.stdout}\n{done.stderr}"
                if command.output is not None:
                    assert matches(command.output, done.stdout), f"{block}: {command.line}\nprinted\n{done.stdout}\n{done.stderr}"
                ran += 1
    finally:
        subprocess.run(["modelyard", "down"], env=environment, capture_output=True, check=False)
    assert ran > 0
