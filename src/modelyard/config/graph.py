"""The order of a build's user code, worked out from what each part takes of the others. Pure: a config in, an order or findings out.

The nodes are the configured steps by name, and `preprocess`, `train`, `postprocess` and `predict`, which the build has of itself.
Whatever needs neither training nor the scored hold-out runs before training; what `postprocess` takes runs between training and it;
the rest runs once the hold-out is scored. Within each of the three, what waits for nothing of each other runs at the same time: a
wave.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelyard.config.spec import Condition, Config, Postprocess, Preprocess, Processing, Step

Path = tuple[str | int, ...]
Finding = tuple[Path, str, str]
"""A path in the config, what is wrong there, and what to do next."""
Wave = tuple[str, ...]

_TAKEN: dict[str, tuple[str, ...]] = {
    "preprocess": ("train", "validation", "test", "code"),
    "postprocess": ("model", "train", "validation", "code"),
}
"""Names of inputs that a part has already."""
_MADE: dict[str, tuple[str, ...]] = {"preprocess": ("train", "validation", "test"), "postprocess": ("model",)}
"""Names of outputs that a part has."""
_CODE = "/opt/ml/processing/input/code"
_UNSEEN = ("data.test", "data.snapshot", "preprocess.test")


@dataclass(frozen=True)
class Order:
    """Waves of nodes: before training (`preprocess` among them), between training and `postprocess`, and after the hold-out is scored."""

    before: tuple[Wave, ...]
    between: tuple[Wave, ...]
    after: tuple[Wave, ...]


def order(config: Config) -> Order:
    """When each step of a config without findings runs. A cycle, which `findings` names, and what waits for it are left out."""
    needs, own = _needs(config), [*_own(config)]
    late = {name: _reach(needs, name) & {"train", "predict"} for name in own}
    between = _reach(needs, "postprocess") if config.postprocess is not None else set()
    return Order(
        _waves(needs, [n for n in own if not late[n]]),
        _waves(needs, [n for n in own if late[n] and n in between]),
        _waves(needs, [n for n in own if late[n] and n not in between]),
    )


def findings(config: Config) -> list[Finding]:
    """What is wrong with how steps take from each other: unknown steps and outputs (with the nearest known), a split of a preprocess
    or a `train.output` that is not there, cycles, the hold-out shown to training, and a part that takes from a step which may be
    skipped. Also conditions on metrics or hyperparameters that nobody defines, and paths of inputs and outputs that there are not."""
    return [*_names(config), *_places(config), *_references(config), *_conditions(config), *_cycles(config), *_skips(config)]


def needs(config: Config) -> dict[str, frozenset[str]]:
    """Every node and those that it takes from directly."""
    return {name: frozenset(taken) for name, taken in _needs(config).items()}


def source(reference: str) -> str | None:
    """The node that a reference (`steps.features.out`, `train.model`) is made by; None for data and the repository's own files."""
    first, _, rest = reference.partition(".")
    if first == "steps":
        return rest.partition(".")[0]
    return first if first in ("preprocess", "train", "predict") else None


def _needs(config: Config) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {"train": set(), "predict": {"train"}}
    for _, node, reference in _taken(config):
        graph.setdefault(node, set())
        if (made_by := source(reference)) is not None:
            graph[node].add(made_by)
    for node in _own(config):
        graph.setdefault(node, set())
    for step in config.steps:
        if step.when is not None and (made_by := _judged(step.when)) is not None:
            graph[step.name].add(made_by)
    if config.preprocess is not None:
        graph["train"].add("preprocess")
    if config.postprocess is not None:
        graph["postprocess"] = {*graph.get("postprocess", set()), "train"}
        graph["predict"].add("postprocess")
    known = set(graph)
    return {node: {n for n in taken if n in known} for node, taken in graph.items()}


def _own(config: Config) -> Iterator[str]:
    """The nodes that `order` places: preprocess and the steps, in the file's order."""
    if config.preprocess is not None:
        yield "preprocess"
    yield from (step.name for step in config.steps)


def _taken(config: Config) -> Iterator[tuple[Path, str, str]]:
    """Path in the config, node, reference: for every input."""
    for part in ("preprocess", "train", "postprocess"):
        section = getattr(config, part)
        for name, reference in section.inputs.items() if section is not None else ():
            yield (part, "inputs", name), part, reference
    for i, step in enumerate(config.steps):
        for name, reference in step.inputs.items():
            yield ("steps", i, "inputs", name), step.name, reference


def _judged(when: Condition) -> str | None:
    """The node that makes what a condition looks at."""
    return "train" if when.value.startswith("metrics.") else source(when.value.partition("/")[0])


def _reach(needs: Mapping[str, set[str]], node: str) -> set[str]:
    """All that a node needs, directly or not; itself only where it stands in a cycle."""
    found: set[str] = set()
    todo = list(needs.get(node, ()))
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += needs.get(name, ())
    return found


def _waves(needs: Mapping[str, set[str]], names: list[str]) -> tuple[Wave, ...]:
    waves: list[Wave] = []
    cyclic = {n for n in needs if n in _reach(needs, n)}
    left = [n for n in names if not ({n} | _reach(needs, n)) & cyclic]
    while left:
        wave = tuple(n for n in left if not needs[n] & set(left))
        if not wave:
            break
        waves.append(wave)
        left = [n for n in left if n not in wave]
    return tuple(waves)


def _names(config: Config) -> Iterator[Finding]:
    for path, node, _ in _taken(config):
        if path[-1] in _TAKEN.get(node, ("code",)):
            yield path, f"an input cannot be named `{path[-1]}` here: the contract has one of that name", "give it another name"


def _places(config: Config) -> Iterator[Finding]:
    """`input_paths` and `output_paths` that name no input or output of their step, or that clash."""
    parts: list[tuple[Path, tuple[str, ...], tuple[str, ...], Processing]] = [
        ((name,), tuple(n for n in _TAKEN[name] if n != "code"), _MADE[name], part)
        for name, part in (("preprocess", config.preprocess), ("postprocess", config.postprocess))
        if part is not None
    ]
    parts += [(("steps", i), (), step.outputs, step) for i, step in enumerate(config.steps)]
    for path, usual, made, part in parts:
        assert isinstance(part, Preprocess | Postprocess | Step)
        for key, places, names in (("input_paths", part.input_paths, (*usual, *part.inputs)), ("output_paths", part.output_paths, made)):
            kind = key.removesuffix("_paths")
            for name in (name for name in places if name not in names):
                hint = f"its {kind}s are {', '.join(names)}" if names else f"it has no {kind}s"
                yield (*path, key, name), f"there is no {kind} `{name}` here{_near(name, names)}", hint
        for name, place in part.input_paths.items():
            if f"{place}/".startswith(f"{_CODE}/"):
                yield (*path, "input_paths", name), f"the script itself lies at {_CODE}", "take another folder, such as its parent"
        yield from _clashes((*path, "output_paths"), {n: part.output_paths.get(n, f"/opt/ml/processing/output/{n}") for n in made})


def _clashes(path: Path, places: Mapping[str, str]) -> Iterator[Finding]:
    """Outputs at one and the same place, of which none could tell its files."""
    first: dict[str, str] = {}
    for name, place in places.items():
        if first.setdefault(place, name) != name:
            yield (*path, name), f"the outputs `{first[place]}` and `{name}` are both at {place}", "give each a folder of its own"


def _references(config: Config) -> Iterator[Finding]:
    fed = _fed(config)
    for path, node, reference in _taken(config):
        if node in fed and (reference in _UNSEEN or _is_source(config, reference)):
            by = "" if node in ("train", "postprocess") else f": `{fed[node]}` takes what this step makes of it"
            yield path, f"{reference} holds the hold-out, which training may not see{by}", "take data.train or data.validation"
        elif (wrong := _unknown(config, reference)) is not None:
            yield path, *wrong
    for i, step in enumerate(config.steps):
        if step.when is not None and step.when.value.startswith("steps."):
            wrong = _unknown(config, step.when.value.partition("/")[0])
            if wrong is not None:
                yield ("steps", i, "when", "value"), *wrong


def _fed(config: Config) -> dict[str, str]:
    """Training, `postprocess`, and each step whose outputs one of them takes, itself or through others, with the name of that one. What
    `preprocess` takes is not among it: it is shown the hold-out, to prepare it."""
    made: dict[str, set[str]] = {}
    for _, node, reference in _taken(config):
        if reference.startswith("steps.") and (made_by := source(reference)) is not None:
            made.setdefault(node, set()).add(made_by)
    return {name: part for part in ("postprocess", "train") for name in (part, *_reach(made, part))}


def _is_source(config: Config, reference: str) -> bool:
    """Whether a path of the repository is the table that all rows come from, lies in it, or has it in it."""
    location = config.data.source.location
    if not reference.startswith("./") or not isinstance(location, str) or "://" in location or config.data.source.using == "script":
        return False
    path, table = PurePosixPath(reference), PurePosixPath(location)
    if any(mark in location for mark in "*?["):
        plain = next(parent for parent in table.parents if not any(mark in str(parent) for mark in "*?["))
        return plain.is_relative_to(path) or (path.is_relative_to(plain) and fnmatch.fnmatch(path.name, table.name))
    return path.is_relative_to(table) or table.is_relative_to(path)


def _unknown(config: Config, reference: str) -> tuple[str, str] | None:
    """Why a reference leads nowhere, and what to do."""
    if reference.startswith("preprocess.") and config.preprocess is None:
        return f"{reference}: this config has no `preprocess`", f"take data.{reference.partition('.')[2]}"
    if reference == "train.output" and config.train is None:
        return "train.output: this config has no `train`", "a model that was brought is train.model"
    if not reference.startswith("steps."):
        return None
    _, name, output = reference.split(".")
    steps = {step.name: step for step in config.steps}
    if name not in steps:
        return f"{reference}: there is no step `{name}`{_near(name, steps)}", ""
    if output not in steps[name].outputs:
        hint = f"name it under `outputs` of the step `{name}`"
        return f"{reference}: the step `{name}` has no output `{output}`{_near(output, steps[name].outputs)}", hint
    return None


def _near(name: str, known: Mapping[str, Step] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _conditions(config: Config) -> Iterator[Finding]:
    train = config.train
    metrics = tuple(m.name for m in train.metric_definitions) if train else ()
    space = tuple(train.tune.space) if train and train.tune else ()
    known = {"metrics": metrics, "hyperparameters": (*(train.hyperparameters if train else ()), *space)}
    for i, step in enumerate(config.steps):
        kind, _, name = step.when.value.partition(".") if step.when is not None else ("", "", "")
        if kind in known and name not in known[kind]:
            place = "train.metric_definitions" if kind == "metrics" else "train.hyperparameters"
            yield ("steps", i, "when", "value"), f"{place} has no `{name}`{_near(name, known[kind])}", ""


def _cycles(config: Config) -> Iterator[Finding]:
    """One finding a cycle, at the first of its inputs in the file."""
    graph, told = _needs(config), set[frozenset[str]]()
    edges = [(path, node, source(reference)) for path, node, reference in _taken(config)]
    edges += [(("steps", i, "when", "value"), s.name, _judged(s.when)) for i, s in enumerate(config.steps) if s.when is not None]
    for path, node, made_by in edges:
        if made_by not in graph or made_by is None:
            continue
        way = _way(graph, made_by, node)
        if way and frozenset(way) not in told:
            told.add(frozenset(way))
            yield path, f"{' -> '.join([*way, way[0]])}: each waits for the one before it, so none can run", "take the input from elsewhere"


def _way(graph: Mapping[str, set[str]], start: str, end: str) -> list[str]:
    """The nodes from `end` to `start` in the order in which they would run, where `start` needs `end`; else nothing."""
    back: dict[str, str | None] = {start: None}
    todo = [start]
    while todo:
        here = todo.pop(0)
        if here == end:
            break
        for name in sorted(graph[here]):
            if name not in back:
                back[name] = here
                todo.append(name)
    if end not in back:
        return []
    way: list[str] = []
    step: str | None = end
    while step is not None:
        way.append(step)
        step = back[step]
    return way


def _skips(config: Config) -> Iterator[Finding]:
    """Parts that every build needs may not wait for what a condition may leave out."""
    graph = _needs(config)
    optional = {s.name for s in config.steps if s.when is not None and s.when.otherwise == "skip"}
    for path, node, reference in _taken(config):
        made_by = source(reference)
        if node not in ("preprocess", "train", "postprocess") or made_by is None:
            continue
        for name in sorted(({made_by} | _reach(graph, made_by)) & optional):
            yield path, f"`{node}` takes from a step that may be left out: `{name}` has a condition", "write `otherwise: fail` there"
