"""Which files a batch reads, and where their answers go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import BadInput, NotFound
from modelyard.serve.batch import reading
from modelyard.serve.batch.order import ENDINGS, FORMATS, Order


@dataclass(frozen=True)
class File:
    """An input, by its name below the source, and its output."""

    source: Path
    name: str
    target: Path
    kind: str


def files(order: Order) -> tuple[list[File], list[str]]:
    """What is to be done, and the names of files whose endings say no format. Raises NotFound, BadInput."""
    source, target = Path(order.source), Path(order.target)
    if source.is_file():
        return [_single(source, target, order)], []
    if not source.is_dir():
        raise NotFound(f"there is no file or folder {source}")
    if target.resolve() == source.resolve():
        raise BadInput("the output is the input's own folder", where=str(target), next="name another folder")
    if target.suffix.lower() in FORMATS or target.is_file():
        raise BadInput(f"{source.name} is a folder, so the output is one too", where=str(target), next="name a folder")
    found, others, below = list[File](), list[str](), target.resolve().is_relative_to(source.resolve())
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if any(part.startswith((".", "_")) for part in name.parts) or not path.is_file():
            continue
        if any("\udc80" <= sign <= "\udcff" for sign in str(name)):
            raise BadInput(f"the name of a file is not UTF-8: {str(name)!a}", where=str(source), next="rename it")
        if below and path.resolve().is_relative_to(target.resolve()):
            continue  # an answer of an earlier batch
        kind = reading.format_of(path)
        if kind is None:
            others.append(str(name))
            continue
        written = order.shape.format or kind
        place = name if written == kind else name.with_suffix(f".{written}")
        found.append(File(path, str(name), target / place.with_name(place.name + order.suffix), written))
    if not found and not order.may_be_empty:
        raise BadInput(f"{source} holds no file that ends with {ENDINGS}", where=str(source))
    places = [file.target for file in found]
    places += set(map(errors_of, places)).intersection(places)
    if len(set(places)) != len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise BadInput(f"two inputs would be written to {twice.name}", where=str(twice), next="leave out the format")
    _see_that_no_input_is_lost(found)
    return found, others


def _single(source: Path, target: Path, order: Order) -> File:
    if reading.format_of(source) is None:
        raise BadInput(f"{source.name} has no ending that says its format", next=f"end it with one of {ENDINGS}")
    place = target / (source.name + order.suffix) if target.is_dir() else target
    kind = order.shape.format or reading.format_of(place) or (reading.format_of(source) if order.suffix or target.is_dir() else None)
    if kind is None:
        raise BadInput(f"the output {target.name} has no ending that says its format", next=f"end it with one of {ENDINGS}")
    found = File(source, source.name, place, kind)
    _see_that_no_input_is_lost([found])
    return found


def _see_that_no_input_is_lost(found: list[File]) -> None:
    """Raises BadInput where an answer, or the list of what was refused, would take the place of an input."""
    folders: dict[Path, Path] = {}

    def place(path: Path) -> Path:
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        return folders[path.parent] / path.name

    sources = {place(file.source) for file in found} | {file.source.resolve() for file in found if file.source.is_symlink()}
    for file in found:
        if place(file.target) in sources:
            raise BadInput("the output would take the place of an input", where=str(file.target), next="name another output")
        if place(beside := errors_of(file.target)) in sources:
            said = "the list of refused rows would take the place of an input"
            raise BadInput(said, where=str(beside), next="name another output")


def errors_of(path: Path) -> Path:
    """Where the refused rows of a file of answers are listed."""
    return path.with_name(f"{path.name}.errors.jsonl")


def make(folder: Path, mode: int | None) -> None:
    """The folder, if it is missing, and those above it; as open as a file of this mode (None: as the umask says)."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if mode is not None:
        for one in missing:
            one.chmod(mode | (mode & 0o444) >> 2)  # whoever reads files may go through folders
