"""What makes a fork of a warm interpreter (zygote.py) one that a script cannot tell from a fresh one: how it begins, runs and ends."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import io
import os
import sys
import weakref
from typing import Any

PR_SET_DUMPABLE = 4
_FIRST = {
    "__main__", "_collections_abc", "_sitebuiltins", "abc", "codecs", "encodings", "genericpath", "io", "os", "posixpath", "site", "stat",
}  # fmt: skip
"""Modules that an interpreter imports before it knows of any script (frozen ones, from 3.11 on)."""


def become(request: dict[str, Any], streams: list[int]) -> None:
    """From here on this process is the script's: its streams, variables, arguments, and numbers of its own to draw."""
    os.setsid()
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
    os.closerange(3, 65536)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    os.environ.clear()
    os.environ.update(request["environment"], PWD=request["cwd"])
    reading = open(0, "rb", closefd=False)  # noqa: SIM115
    sys.stdin = io.TextIOWrapper(reading, encoding="utf-8", errors="surrogateescape", write_through=True)
    _name(sys.stdin, reading.raw, "<stdin>", "r")
    sys.stdout, sys.stderr = _unbuffered(1, "surrogateescape", "<stdout>"), _unbuffered(2, "backslashreplace", "<stderr>")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.orig_argv = [*request["argv"]]
    if not _threads_as_told() or _hidden(request["argv"]):
        os.execve(request["argv"][0], request["argv"], dict(os.environ))  # noqa: S606  (a fresh interpreter, as far from the rest)
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _unbuffered(number: int, errors: str, name: str) -> io.TextIOWrapper:
    """A stream as PYTHONUNBUFFERED has it, which every step has: what was printed is out, however the process ends."""
    raw = open(number, "wb", 0, closefd=False)  # noqa: SIM115
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors=errors, newline="\n", write_through=True)
    _name(stream, raw, name, "w")
    return stream


def _name(stream: Any, raw: Any, name: str, mode: str) -> None:
    """A standard stream has a name and a mode, which programs that put another in its place ask it for."""
    raw.name, stream.mode = name, mode


def _places(argv: list[str]) -> list[str]:
    """Folders that modules are looked for in before all others: the script's own, or that of `-m`, and PYTHONPATH."""
    first = os.getcwd() if argv[1] == "-m" else os.path.dirname(os.path.realpath(_script(argv)[0]))  # noqa: PTH109, PTH120
    return [first, *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]


def _script(argv: list[str]) -> list[str]:
    """The script and its arguments, of `python [--] FILE ...`."""
    return argv[2:] if argv[1] == "--" else argv[1:]


def _hidden(argv: list[str]) -> bool:
    """Whether a module that was imported beforehand hides one of the same name beside the script, which a fresh interpreter would find."""
    for place in _places(argv):
        with contextlib.suppress(OSError):
            for name in os.listdir(place):  # noqa: PTH208
                top, dot, _ = name.partition(".")
                known = sys.modules.get(top) if top not in _FIRST else None
                origin = getattr(getattr(known, "__spec__", None), "origin", None)
                if origin in (None, "built-in", "frozen") or origin.startswith(place + os.sep):
                    continue
                if (dot and name.endswith((".py", ".so"))) or os.path.exists(os.path.join(place, name, "__init__.py")):  # noqa: PTH110, PTH118
                    return True
    return False


def _threads_as_told() -> bool:
    """Libraries read how many threads to use when they are loaded, before this script's variables were there: tell them. False where
    nobody here knows how."""
    told = os.environ.get("OMP_NUM_THREADS")
    if told is None:
        return True
    try:
        importlib.import_module("threadpoolctl").threadpool_limits(int(told))
    except (ImportError, ValueError):
        return False
    return True


def _run(argv: list[str]) -> None:
    """`python [--] FILE ...` or `python -m MODULE ...` in this process."""
    sys.path[:0] = _places(argv)
    main = sys.modules["__main__"] = type(sys)("__main__")
    main.__dict__.update(__builtins__=__builtins__)
    if argv[1] == "-m":
        import runpy

        sys.argv = ["-m", *argv[3:]]
        runpy._run_module_as_main(argv[2])  # type: ignore[attr-defined]
        return
    sys.argv = _script(argv)
    place = os.path.abspath(sys.argv[0])  # noqa: PTH100  (as the interpreter has it since 3.9)
    loader = importlib.machinery.SourceFileLoader("__main__", place)
    main.__dict__.update(__file__=place, __spec__=None, __cached__=None, __loader__=loader)
    with open(place, "rb") as file:  # noqa: PTH123
        code = compile(file.read(), place, "exec", dont_inherit=True)
    exec(code, main.__dict__)  # noqa: S102  (the user's script, in its own process and sandbox)


def run(argv: list[str]) -> int:
    """Run to the end of the script; its exit code, with what an interpreter would say of an exception."""
    try:
        _run(argv)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as exc:
        frames = exc.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:  # without our own frames
            frames = frames.tb_next
        _tell(exc.with_traceback(frames))
        return 130 if isinstance(exc, KeyboardInterrupt) else 1
    return 0


def _tell(exc: BaseException) -> None:
    """As an interpreter does, by the script's own hook where it has set one."""
    try:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    except Exception as other:
        for said, one in (("Error in sys.excepthook:", other), ("\nOriginal exception was:", exc)):
            print(said, file=sys.stderr)
            sys.__excepthook__(type(one), one, one.__traceback__)


def end(code: int, ours: set[str]) -> None:
    """Leave as an interpreter does, but for one thing: what was imported before the fork is not taken apart, object by object, which takes
    a third of a second. Threads are waited for, exit functions run, and all that the script made is let go, so that files are closed."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()  # as an interpreter does: it puts a file after the text layer that writes to it, and so the one is let go before the other
    made = [weakref.ref(sys.modules.pop(name)) for name in [*sys.modules] if name not in ours and isinstance(sys.modules[name], type(sys))]
    gc.collect()
    if threading is None or threading.active_count() == 1:  # a daemon thread would meet what is taken from under it
        for module in filter(None, (ref() for ref in reversed(made))):
            _emptied(module.__dict__)
        gc.collect()
    for left in gc.get_objects():  # held by what is not taken apart
        if issubclass(type(left), io.IOBase):
            with contextlib.suppress(Exception):
                left.flush()
    os._exit(code)


def _emptied(names: dict[str, Any]) -> None:
    """The names of a module that something still holds become None, private ones first, as an interpreter has it at its end: whatever
    is called that late is written for that."""
    for private in (True, False):
        for name in [*names]:
            if name != "__builtins__" and (name.startswith("_") and not name.startswith("__")) == private:
                names[name] = None
