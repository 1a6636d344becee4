"""A warm interpreter: a process of a model's environment that has imported what its scripts import, and is forked for each of them.

A fresh interpreter spends one to two seconds on importing pandas and scikit-learn; a fork has them at once. It is no less apart from
the rest than a fresh one in its sandbox: the zygote lives in namespaces of its own (user, mounts, processes, names), and each fork
goes into further ones, with a root, a /proc and an /opt/ml of its own, and without any capability, before a line of the
script runs. Nothing of one script is there for the next: what was forked ends with it.

    python -I -S zygote.py launch PLAN      the platform's Python: makes the namespaces, then becomes the second
    python zygote.py serve PLAN             the environment's Python, inside

PLAN is JSON: `enter` (path of build/enter.py, whose functions make the namespaces), `mounts` (as there, and `proc`, a fresh /proc),
`python`, `environment`, `modules` (to be imported), `socket` (number of an open listening Unix socket). A client (build/ask.py)
connects, sends its request and its standard streams, and is told the exit code. When it goes away, what was forked for it is killed;
when the zygote goes away, the kernel ends everything in its namespace of processes.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import weakref
from typing import Any

NEWPID = 0x20000000
PR_SET_DUMPABLE = 4
CAP_SETFCAP = 31
REQUEST = struct.Struct("!I")
ANSWER = struct.Struct("!i")
_FIRST = {
    "__main__", "_collections_abc", "_sitebuiltins", "abc", "codecs", "encodings", "genericpath", "io", "os", "posixpath", "site", "stat",
}  # fmt: skip
"""Modules that an interpreter imports before it knows of any script (frozen ones, from 3.11 on)."""
TAKEN = b"+"
"""Said before a fork: a client that never hears it may have its command run elsewhere."""


def _functions(path: str) -> Any:
    """build/enter.py as a module; it lies outside any package here."""
    spec = importlib.util.spec_from_file_location("enter", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _no_capabilities() -> None:
    """A fork, unlike a new program, keeps the capabilities it has in its namespaces: give them up."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", 0x20080522, 0)  # version 3, this thread
    if libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _only_what_forks_need(enter: Any) -> None:
    """The zygote has no capability either, but for one where it is root: Linux (5.12) asks for CAP_SETFCAP of whoever makes a namespace
    of users in which root is root. It bears on files of its own namespaces only, and no fork keeps it."""
    for capability in range(64):
        if capability != CAP_SETFCAP or os.getuid() != 0:
            with contextlib.suppress(OSError):  # the kernel knows fewer
                enter._call("prctl", enter.PR_CAPBSET_DROP, capability, 0, 0, 0)
    enter._call("prctl", enter.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def launch(text: str) -> int:
    """Make the namespaces and the zygote in them; wait for its end, or end it when standard input does."""
    plan = json.loads(text)
    enter = _functions(plan["enter"])
    enter._unshare(enter.NEWNS | enter.NEWUTS | enter.NEWIPC | NEWPID)
    zygote = os.fork()
    if zygote == 0:
        try:
            enter._call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.setsid()
            enter._new_root(plan["mounts"])
            _only_what_forks_need(enter)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.set_inheritable(plan["socket"], True)
            # its own death signal was for the launcher's thread, and is kept through exec
            inside = {**plan, "enter": plan["inside"] + "/enter.py"}
            os.execve(plan["python"], [plan["python"], plan["inside"] + "/zygote.py", "serve", json.dumps(inside)], plan["environment"])  # noqa: S606
        except OSError as exc:
            sys.stderr.write(f"the warm interpreter cannot start: {exc}\n")
        os._exit(127)
    os.close(plan["socket"])
    child = os.pidfd_open(zygote)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(child, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if child in ready:
            return os.waitstatus_to_exitcode(os.waitpid(zygote, 0)[1]) & 0xFF
        if not os.read(0, 1024):
            os.kill(zygote, signal.SIGKILL)
            poll.unregister(0)


def serve(text: str) -> None:
    """Import, then fork for each client, for ever."""
    plan = json.loads(text)
    enter = _functions(plan["enter"])
    sys.path.pop(0)  # this file's own folder
    enter._call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in plan["modules"]:
        # what cannot be imported fails in the script, where the message has a line
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        os._exit(0)  # a thread that was started by an import is not in a fork, which would wait for it for ever: start afresh, each
    gc.freeze()  # no collection of a fork touches, and so copies, what is shared
    listener = socket.socket(fileno=plan["socket"])
    listener.setblocking(False)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    clients: dict[int, tuple[socket.socket, int]] = {}  # by the descriptor of the client's connection; the process forked for it
    while True:
        waiting: list[Any] = [listener, reader, *clients]
        ready, _, _ = select.select(waiting, [], [])
        if reader in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 1024)
            _reap(clients)
        for number in [n for n in ready if n in clients]:
            connection, pid = clients[number]
            with contextlib.suppress(OSError):
                if not connection.recv(1):  # nobody waits for it any more
                    os.kill(pid, signal.SIGKILL)
        if listener in ready:
            with contextlib.suppress(OSError, ValueError, KeyError):
                connection, _ = listener.accept()
                pid = _accept(enter, connection, listener, [reader, writer], clients)
                clients[connection.fileno()] = (connection, pid)


def _reap(clients: dict[int, tuple[socket.socket, int]]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            for number, (connection, own) in list(clients.items()):
                if own == pid:
                    with contextlib.suppress(OSError):
                        connection.sendall(ANSWER.pack(code if code >= 0 else 128 - code))
                    connection.close()
                    del clients[number]


def _accept(enter: Any, connection: socket.socket, listener: socket.socket, pipes: list[int], clients: dict[int, Any]) -> int:
    """Read a request and fork for it; the process that keeps what was forked."""
    connection.settimeout(10)
    data, streams, _, _ = socket.recv_fds(connection, REQUEST.size, 3)
    (length,) = REQUEST.unpack(data)
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        if not piece:
            raise OSError("the client went away")
        body += piece
    request = json.loads(body)
    connection.sendall(TAKEN)
    keeper = os.fork()
    if keeper == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = 127
        try:
            for other in (connection, listener, *(c for c, _ in clients.values())):
                other.close()
            for fd in pipes:
                os.close(fd)
            code = _keep(enter, request, list(streams))
        except Exception as exc:
            os.write(streams[2], f"the warm interpreter could not be forked: {exc}\n".encode())
        os._exit(code)
    for fd in streams:
        os.close(fd)
    return keeper


def _keep(enter: Any, request: dict[str, Any], streams: list[int]) -> int:
    """Namespaces of its own for one script, its first process in them, and its exit code."""
    enter._call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    network = 0 if request["network"] else enter.NEWNET
    enter._unshare(network | enter.NEWNS | enter.NEWUTS | enter.NEWIPC | NEWPID)
    if network:
        enter._loopback_up()
    enter._call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    first = os.fork()
    if first == 0:
        code = 127
        try:
            enter._call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if request["hostname"]:
                enter._call("sethostname", request["hostname"].encode(), len(request["hostname"]))
            enter._new_root(request["mounts"])
            os.chdir(request["cwd"])
            enter._drop()
            _no_capabilities()
            enter._call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            code = _first(request, streams)
        except Exception as exc:
            os.write(streams[2], f"the warm interpreter could not be forked: {exc}\n".encode())
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    return code if code >= 0 else 128 - code


def _first(request: dict[str, Any], streams: list[int]) -> int:
    """The first process of the namespace: forks the script, reaps whatever it leaves, and ends (and so ends all) with it."""
    script = os.fork()
    if script == 0:
        _become(request, streams)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == script:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """From here on this process is the script's: its streams, variables, arguments, and numbers of its own to draw. Raises _Begin."""
    os.setsid()
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
    os.closerange(3, 65536)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    os.environ.clear()
    os.environ.update(request["environment"], PWD=request["cwd"])
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8", errors="surrogateescape", write_through=True)  # noqa: SIM115
    sys.stdout, sys.stderr = _unbuffered(1, "surrogateescape"), _unbuffered(2, "backslashreplace")
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
    raise _Begin(request["argv"])


def _unbuffered(number: int, errors: str) -> io.TextIOWrapper:
    """A stream as PYTHONUNBUFFERED has it, which every step has: what was printed is out, however the process ends."""
    return io.TextIOWrapper(open(number, "wb", 0, closefd=False), encoding="utf-8", errors=errors, newline="\n", write_through=True)


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


class _Begin(BaseException):
    """Unwinds the stack of the zygote: the script starts at the bottom of it, as in an interpreter of its own."""

    def __init__(self, argv: list[str]) -> None:
        super().__init__()
        self.argv = argv


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


def _code(argv: list[str]) -> int:
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


def _end(code: int, ours: set[str]) -> None:
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


def main() -> None:
    if sys.argv[1] == "launch":
        sys.exit(launch(sys.argv[2]))
    try:
        serve(sys.argv[2])
    except _Begin as begun:
        argv = begun.argv
    ours, own = {*sys.modules} - {"__main__"}, sys.modules["__main__"]  # held: its names are needed to the end
    _end(_code(argv), ours)
    del own


if __name__ == "__main__":
    main()
