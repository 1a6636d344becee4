"""A warm interpreter: a process of a model's environment that has imported what its scripts import, and is forked for each of them.

A fresh interpreter spends one to two seconds on importing pandas and scikit-learn; a fork has them at once. It is no less apart from
the rest than a fresh one in its sandbox: the zygote lives in namespaces of its own (user, mounts, processes, names), and each fork
goes into further ones, with a root, a /proc and an /opt/ml of its own, and without any capability, before a line of the
script runs. Nothing of one script is there for the next: what was forked ends with it.

    python -I -S zygote.py launch ENTER     the platform's Python: makes the namespaces, then becomes the second
    python zygote.py serve PLAN             the environment's Python, inside

ENTER is the path of build/enter.py, whose functions make the namespaces. PLAN, which the first gets by its standard input, as a line, is
JSON: `inside` (the folder of our files there, enter.py and interpreter.py among them), `mounts` (as in build/enter.py), `python`,
`environment`, `modules` (to be imported), `log` (a file for all that is said), `socket` (number of an open listening Unix socket),
`program` (null, or a folder and a module in it, a program of the platform's own: what that imports is imported too, and out of every
script's sight), `up` (a file that is made inside once all namespaces are). A client (build/forked.py, build/ask.py) connects, sends its
request and its standard streams, and is told the exit code.
When it goes away, what was forked for it is killed; when the zygote goes away, the kernel ends everything in its namespace of processes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

CAP_SETFCAP = 31
REQUEST = struct.Struct("!I")
ANSWER = struct.Struct("!i")
TAKEN = b"+"
"""Said before a fork: a client that never hears it may have its command run elsewhere."""


class _Begin(BaseException):
    """Unwinds the stack of the zygote: the script starts at the bottom of it, as in an interpreter of its own."""

    def __init__(self, interpreter: Any, argv: list[str], own: dict[str, Any]) -> None:
        super().__init__()
        self.interpreter, self.argv, self.own = interpreter, argv, own


def _module(path: str) -> Any:
    """A file of ours as a module that no script can come across; it lies outside any package here."""
    spec = importlib.util.spec_from_file_location("ours", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(place: str) -> int:
    """Make the namespaces and the zygote in them; wait for its end, or end it when standard input does. Nothing at all without a plan."""
    enter = _module(place)
    text = sys.stdin.readline()
    if not text.endswith("\n"):
        return 0
    plan = json.loads(text)
    log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    enter.unshare(enter.NEWNS | enter.NEWUTS | enter.NEWIPC | enter.NEWPID)
    zygote = os.fork()
    if zygote == 0:
        try:
            enter.call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.setsid()
            enter.new_root(plan["mounts"])
            # Linux (5.12) asks for this one of whoever makes a namespace of users in which root is root. It bears on files of these
            # namespaces only, and no fork keeps it.
            enter.drop(kept=CAP_SETFCAP if os.getuid() == 0 else None)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.set_inheritable(plan["socket"], True)
            # its own death signal was for the launcher's thread, and is kept through exec
            os.execve(plan["python"], [plan["python"], plan["inside"] + "/zygote.py", "serve", text], plan["environment"])  # noqa: S606
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
    enter, interpreter = _module(plan["inside"] + "/enter.py"), _module(plan["inside"] + "/interpreter.py")
    sys.path.pop(0)  # this file's own folder
    enter.call("prctl", enter.PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.close(os.open(plan["up"], os.O_CREAT | os.O_WRONLY, 0o600))
    gc.disable()  # an import makes objects by the ten thousand, all of them to stay
    for name in plan["modules"]:
        # what cannot be imported fails in the script, where the message has a line
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        os._exit(0)  # a thread that was started by an import is not in a fork, which would wait for it for ever: start afresh, each
    gc.enable()
    gc.freeze()  # no collection of a fork touches, and so copies, what is shared
    listener = socket.socket(fileno=plan["socket"])
    listener.setblocking(False)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    asked, _, _ = select.select([listener], [], [], 0)
    own = None if asked or not plan["program"] else _own(*plan["program"])
    clients: dict[int, tuple[socket.socket, int]] = {}  # by the descriptor of the client's connection; the process forked for it
    ready: tuple[int, socket.socket] | None = None  # a keeper that waits for its request, and how it is told
    ahead = True
    while True:
        if ready is None and ahead and not select.select([listener], [], [], 0)[0]:
            ready = _keeper(enter, interpreter, own or {}, [listener.fileno(), reader, writer, *clients])
        waiting: list[Any] = [listener, reader, *clients]
        heard, _, _ = select.select(waiting, [], [])
        if reader in heard:
            with contextlib.suppress(BlockingIOError):
                os.read(reader, 1024)
            _reap(enter, clients, ended := set[int]())
            if ready is not None and ready[0] in ended:  # unasked: who knows why, so the next one only when it is asked for
                ready, ahead = None, False
        for number in [n for n in heard if n in clients]:
            connection, pid = clients[number]
            with contextlib.suppress(OSError):
                if not connection.recv(1):  # nobody waits for it any more
                    os.kill(pid, signal.SIGKILL)
        if listener in heard:
            with contextlib.suppress(OSError, ValueError, KeyError):
                connection, _ = listener.accept()
                held = [connection.fileno(), listener.fileno(), reader, writer, *clients]
                keeper, ready = ready or _keeper(enter, interpreter, own or {}, held), None
                clients[connection.fileno()] = (connection, _accept(connection, keeper))
            if own is None and plan["program"]:  # while the first script runs there is time
                own = _own(*plan["program"])


def _own(folder: str, module: str) -> dict[str, Any]:
    """The modules that a program of the platform's own imports from its folder, out of `sys.modules`: no script finds them there."""
    top = module.partition(".")[0]
    if top in sys.modules:
        return {}
    sys.path.insert(0, folder)
    gc.disable()
    with contextlib.suppress(BaseException):  # it fails where it is run
        importlib.import_module(module)
    gc.enable()
    gc.freeze()
    sys.path.remove(folder)
    found = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == top}
    found.pop(module, None)  # the program itself is run as `__main__`
    return found


def _reap(enter: Any, clients: dict[int, tuple[socket.socket, int]], ended: set[int]) -> None:
    """Tell clients of the end of what was forked for them; `ended` is added to."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.add(pid)
            code = enter.exit_code(status)
            for number, (connection, own) in list(clients.items()):
                if own == pid:
                    with contextlib.suppress(OSError):
                        connection.sendall(ANSWER.pack(code))
                    connection.close()
                    del clients[number]


def _accept(connection: socket.socket, keeper: tuple[int, socket.socket]) -> int:
    """Read a request and hand it to the keeper; its process, which ends where there is none to be read. Raises OSError."""
    pid, telling = keeper
    connection.settimeout(10)
    with telling:
        try:
            data, streams, _, _ = socket.recv_fds(connection, REQUEST.size, 3)
            try:
                body = _body(connection, data)
                connection.sendall(TAKEN)
                socket.send_fds(telling, [REQUEST.pack(len(body))], streams)
                telling.sendall(body)
            finally:  # whoever reads the streams waits for their end
                for fd in streams:
                    os.close(fd)
        except BaseException:
            connection.close()
            raise
    return pid


def _body(connection: socket.socket, data: bytes) -> bytes:
    """The request that begins with `data`, all there is of its length. Raises OSError where whoever sends it goes away."""
    length, body = REQUEST.unpack(data)[0] if len(data) == REQUEST.size else 1, b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        if not piece:
            raise OSError("the client went away")
        body += piece
    return body


def _request(told: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a keeper is told to run, and its streams. Raises OSError where it is told nothing."""
    data, streams, _, _ = socket.recv_fds(told, REQUEST.size, 3)
    text, *variables = _body(told, data).split(b"\0")
    request: dict[str, Any] = json.loads(text)
    request["environment"] = dict(os.fsdecode(variable).split("=", 1) for variable in variables)
    return request, list(streams)


def _keeper(enter: Any, interpreter: Any, own: dict[str, Any], held: list[int]) -> tuple[int, socket.socket]:
    """A process that keeps one script, whose namespaces it makes before it is told which; and what it is told by. `held`: no fork's."""
    telling, told = socket.socketpair()
    keeper = os.fork()
    if keeper == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        code = 127
        try:
            telling.close()
            for fd in held:
                os.close(fd)
            code = _keep(enter, interpreter, own, told)
        except Exception as exc:
            _sorry(told, exc)
        os._exit(code)
    told.close()
    return keeper, telling


def _sorry(told: socket.socket, exc: Exception) -> None:
    """Say to whoever asks why nothing was run."""
    with contextlib.suppress(Exception):
        os.write(_request(told)[1][2], f"the warm interpreter could not be forked: {exc}\n".encode())


def _keep(enter: Any, interpreter: Any, own: dict[str, Any], told: socket.socket) -> int:
    """Namespaces of its own for one script, its first process in them, and its exit code."""
    enter.call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    enter.unshare(enter.NEWNS | enter.NEWUTS | enter.NEWIPC | enter.NEWPID)
    enter.call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    first = os.fork()
    if first == 0:
        code, streams = 127, [2, 2, 2]
        try:
            enter.call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            request, streams = _request(told)
            told.close()
            if not request["network"]:
                enter.call("unshare", enter.NEWNET)
                enter.loopback_up()
            enter.settle(request)
            enter.forgo()
            enter.call("prctl", enter.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if (script := os.fork()) == 0:
                interpreter.become(request, streams)
                # held by no name: frames that it holds and that hold it would go with some later collection, and close what the script has
                # opened by then
                raise _Begin(interpreter, request["argv"], own if request["program"] else {})
            code = enter.reap(script)  # the first process of a namespace reaps what is left to it, and all else there ends with it
        except Exception as exc:
            os.write(streams[2], f"the warm interpreter could not be forked: {exc}\n".encode())
        os._exit(code)
    told.close()
    return int(enter.exit_code(os.waitpid(first, 0)[1]))


def main() -> None:
    if sys.argv[1] == "launch":
        sys.exit(launch(sys.argv[2]))
    try:
        serve(sys.argv[2])
    except _Begin as begun:
        interpreter, argv = begun.interpreter, begun.argv
        sys.modules.update(begun.own)
    ours, own = {*sys.modules} - {"__main__"}, sys.modules["__main__"]  # held: its names are needed to the end
    interpreter.end(interpreter.run(argv), ours)
    del own


if __name__ == "__main__":
    main()
