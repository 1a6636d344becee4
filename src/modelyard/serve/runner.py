"""Runners, the owner's side: install the runtime, start a runner, wait for its model, ask it for a whole table."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from modelyard import zones
from modelyard.errors import BadInput, StepFailed, Unavailable
from modelyard.serve import left, wire
from modelyard.serve.coerce import json_coercer, reader
from modelyard.serve.processes import Child, environment, last_word, spawn
from modelyard.serve.refusals import ModelFailed
from modelyard.signature import Signature
from modelyard.tables import feature, output

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 5000
LOADED = "the model is loaded and predicts an example"
"""A runner's word before it does."""
# One thread a runner. OpenMP's threads wait for each other by spinning: on two idle cores two threads were about as fast as one
# here, but where other work shared the cores they were anything from no slower to tens of times slower, with p99 of 0.1 to 1.7 s
# (one thread: 0.1 s at worst). More throughput comes from more runners; `env` overrides this.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


SHIMS = "modelyard/runtime/shims"
"""Stand-ins for Python packages of SageMaker's, below the installed runtime; a real one that is installed goes before."""


def install_runtime(home: Path) -> Path:
    """Copy `modelyard.runtime` to <home>/runtime/<digest>, once per content; the folder is a PYTHONPATH for runners. Raises
    OSError."""
    source = Path(__file__).resolve().parent.parent / "runtime"
    files = {p.relative_to(source).as_posix(): p.read_bytes() for p in sorted(source.rglob("*")) if p.suffix in (".py", ".R")}
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + data + b"\0" for name, data in files.items())).hexdigest()[:32]
    target = home / "runtime" / digest
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    try:
        package = staging / "modelyard" / "runtime"
        package.mkdir(parents=True)
        (staging / "modelyard" / "__init__.py").write_bytes(b"")
        for name, data in files.items():
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            (package / name).write_bytes(data)
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not target.is_dir():  # else somebody else was faster, with the same content
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def spawn_runner(
    *,
    python: Path,
    runtime: Path,
    model_dir: Path,
    code_dir: Path,
    entry_point: str | None,
    signature: Path,
    framework: str,
    socket_path: Path,
    log: Path,
    options: Mapping[str, str] | None = None,
    wrap: Callable[[list[str]], list[str]] = list,
    env: Mapping[str, str] | None = None,
) -> Child:
    """Start a runner in the version's own environment. Then `wait_ready`. Raises StepFailed when nothing can be started.

    `wrap` puts a command line into a sandbox. That must show every path given here at the same place, the socket's
    folder writable, and pass the environment and standard input on. `signature` is a file that holds `Signature.to_dict()` as
    JSON. `options` are further arguments of the runner by name (content-type, accept, pre, post).
    """
    socket_path.parent.mkdir(parents=True, exist_ok=True)
    socket_path.unlink(missing_ok=True)
    argv = [str(python), "-m", "modelyard.runtime.runner", "--model-dir", str(model_dir), "--code-dir", str(code_dir)]
    argv += [
        "--entry-point",
        entry_point or "",
        "--signature",
        str(signature),
        "--framework",
        framework,
        "--socket",
        str(socket_path),
        *(word for name, value in (options or {}).items() for word in (f"--{name}", value)),
    ]
    # The runtime's own folder is the working folder: with `-m` it comes first on the path, and no user's json.py can stand in.
    variables = environment({**ONE_THREAD, "PYTHONPATH": f"{runtime}:{runtime}/{SHIMS}", **(env or {})})
    return spawn(wrap(argv), log=log, env=variables, cwd=runtime, alive=left.alive(socket_path))


def wait_ready(socket_path: Path, timeout: float, child: Child | None = None) -> dict[str, Any]:
    """Wait for a runner's hello (protocol, python, load_seconds, model_fn, ...).

    Raises StepFailed with the log's tail when `child` ended or was not ready in time, Unavailable when no child was given.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            with wire.connect(socket_path, timeout=max(0.1, min(5.0, deadline - time.monotonic()))) as peer:
                peer.sendall(wire.HELLO)
                hello = wire.decode_hello(wire.receive(peer))
            if hello.get("protocol") != wire.PROTOCOL:
                raise StepFailed(f"the runner speaks protocol {hello.get('protocol')}, not {wire.PROTOCOL}", where=str(socket_path))
            return hello
        except (OSError, msgspec.DecodeError):
            pass
        if child is not None and not child.is_alive():
            tail = child.tail()
            what = last_word(tail, f"the runner ended with exit code {child.exit_code} before its model was loaded")
            what = "the runner ended when it was asked for a prediction" if what == LOADED else what
            raise StepFailed(what, where=str(child.log), log_tail=tail)
        if time.monotonic() > deadline:
            what = f"the model was not loaded within {timeout:g} s"
            raise (StepFailed(what, where=str(child.log), log_tail=child.tail()) if child else Unavailable(what, where=str(socket_path)))
        time.sleep(0.003)


def write_example(path: Path, example: Mapping[str, Any], signature: Signature) -> bool:
    """Write a record, as callers send it, as the columns that a runner predicts before anybody can ask it; False where it does not fit."""
    try:
        columns = {c.name: json_coercer(c)([example.get(c.name)]) for c in signature.columns}
    except BadInput:
        return False  # an example of an older signature
    path.write_bytes(msgspec.json.encode(columns))
    return True


def predict(socket_path: Path, table: pl.DataFrame, signature: Signature, *, timeout: float = 600.0) -> pl.DataFrame:
    """Answers for every row of `table`, in its order, by the runner at `socket_path`; 5000 rows a call.

    `table` has the signature's columns, by name or as `f.<name>`. Returns `y.<output>` columns (the prediction as the classes
    are typed, probabilities Float64). `timeout` in seconds is for each call. Raises BadInput (a column is missing or does not
    fit), ModelFailed, Unavailable (the runner does not answer).
    """
    columns = features(table, signature)
    found: dict[str, list[Any]] = {name: [] for name in signature.outputs}
    try:
        with wire.connect(socket_path, timeout=timeout) as peer:
            for number, start in enumerate(range(0, table.height, CHUNK_ROWS)):
                outputs = _ask(peer, number, {n: s.slice(start, CHUNK_ROWS).to_list() for n, s in columns.items()}, start, signature)
                for name, values in found.items():
                    values.extend(outputs[name])
    except OSError as exc:
        raise Unavailable(f"the runner does not answer: {exc}", where=str(socket_path)) from exc
    return as_outputs(found, signature)


def as_outputs(found: Mapping[str, Sequence[Any]], signature: Signature) -> pl.DataFrame:
    """Answers by output (`prediction` and scores) as y.* columns: the prediction as the classes are typed, scores Float64."""
    import polars as pl

    label: Any = {"number": pl.Float64, "labels": pl.String}.get(signature.answer)
    kinds = {type(c) for c in signature.classes}
    if label is None and len(kinds) > 1:
        label = pl.Float64 if kinds <= {int, float} else pl.String
    frame = {output("prediction"): pl.Series(list(found["prediction"]), dtype=label, strict=False)}
    scores = [name for name in signature.outputs if name != "prediction"]
    return pl.DataFrame(frame | {output(name): pl.Series(list(found[name]), dtype=pl.Float64) for name in scores})


def time_rows(socket_path: Path, table: pl.DataFrame, signature: Signature, warm_up: int, requests: int) -> list[float]:
    """Seconds that the runner takes for each of `requests` single rows of `table`, one after the other over one connection, after
    `warm_up` that are not timed. Rows are asked in turn. Raises as `predict` does."""
    columns = {name: series.to_list() for name, series in features(table, signature).items()}
    rows = [{name: [values[i]] for name, values in columns.items()} for i in range(table.height)]
    found = []
    try:
        with wire.connect(socket_path, timeout=60.0) as peer:
            for number in range(warm_up + requests):
                began = time.perf_counter()
                _ask(peer, number, rows[number % len(rows)], number % len(rows), signature)
                found.append(time.perf_counter() - began)
    except OSError as exc:
        raise Unavailable(f"the runner does not answer: {exc}", where=str(socket_path)) from exc
    return found[warm_up:]


def _ask(peer: socket.socket, number: int, columns: dict[str, list[Any]], start: int, signature: Signature) -> dict[str, list[Any]]:
    rows = len(next(iter(columns.values())))
    peer.sendall(wire.frame(wire.body(wire.Predict(number, rows, columns))))
    try:
        reply = wire.decode_reply(wire.receive(peer))
    except msgspec.DecodeError as exc:
        raise Unavailable(f"the runner does not speak the protocol: {exc}") from exc
    if reply.error is not None:
        where = f"row {start + reply.error.row}" if reply.error.row is not None else f"rows {start} to {start + rows - 1}"
        raise ModelFailed(reply.error.what, where=where)
    outputs = reply.outputs or {}
    if any(len(outputs.get(name, ())) != rows for name in signature.outputs):
        raise ModelFailed("the runner's answer does not have the signature's outputs", where=os.fspath(peer.getpeername() or ""))
    return outputs


def features(table: pl.DataFrame, signature: Signature) -> dict[str, pl.Series]:
    """The signature's columns as the wire and row plans want them: NaN as null, datetimes as microseconds in UTC. `table`: of the data, or
    a predictions table, which has columns of its own that a feature may be called as (`version`, `label`).

    Raises BadInput where a column is missing or does not fit."""
    import polars as pl

    predictions = all(feature(name) in table.columns for name in signature.names)

    kinds: dict[str, Any] = {"int": pl.Int64, "float": pl.Float64, "str": pl.String, "bool": pl.Boolean}
    result = {}
    for column in signature.columns:
        name = column.name if column.name in table.columns and not predictions else feature(column.name)
        if name not in table.columns:
            raise BadInput(f"the table has no column `{column.name}`", where=f"column `{column.name}`", next="The model needs it.")
        series = table[name]
        try:
            if column.type == "datetime":
                result[column.name] = _instants(series, column.timezone)
                continue
            if series.dtype.is_float():
                series = pl.select(pl.when(series.is_finite()).then(series)).to_series()
            result[column.name] = series.cast(kinds[column.type])
        except (pl.exceptions.PolarsError, ValueError) as exc:
            message = f"`{column.name}` does not fit its type, {column.type}: {str(exc).splitlines()[0]}"
            raise BadInput(message, where=f"column `{column.name}`") from exc
    return result


def _instants(times: pl.Series, timezone: str) -> pl.Series:
    """Times as microseconds; naive ones, and text as an endpoint takes it, are in a zone. Raises ValueError, PolarsError."""
    import polars as pl

    if times.dtype == pl.String:
        read = reader(timezone)
        return pl.Series(times.name, [None if text is None else read(text.strip()) for text in times], pl.Int64)
    if times.dtype in (pl.Date, pl.Datetime) and getattr(times.dtype, "time_zone", None) is None:
        times = zones.utc(times.cast(pl.Datetime("us")), timezone)
    return times.cast(pl.Datetime("us")).cast(pl.Int64)
