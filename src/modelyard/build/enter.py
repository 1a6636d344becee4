"""Enters namespaces of its own and becomes a command there: what a step runs in where bubblewrap is absent but user namespaces are not.

Run as `python -I -S enter.py PLAN COMMAND...`, by path, with the standard library only; PLAN is JSON, made by build/sandbox.py:
`network` (false: a network of its own with nothing but loopback), and `mounts`, null to leave the file system as it is, else a list
of [kind, source, place] in the order to be made in a new root: `bind`, `read-only`, `link`, `fresh` (an empty tmpfs), `proc` (a /proc
of its own). With mounts there are also `cwd`, `hostname` and `processes` (true: process ids of its own, of which /proc then tells; the
command is a child of their first process, and all of them end with it). The user is the same inside; what it may do there ends with
the last mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_NOATIME, MS_NODIRATIME = 1, 2, 4, 8, 32, 1024, 2048
MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21
MNT_DETACH, MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 2, 442, -100, 0x8000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: Any) -> None:
    if getattr(_libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, place: str, kind: str | None, flags: int) -> None:
    call("mount", source.encode(), place.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), None)


def unshare(flags: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    call("unshare", flags | NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  (pathlib costs 10 ms of a start)
            file.write(text)


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(probe, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def _read_only(place: str) -> None:
    """With all that is mounted below it, where the kernel (5.12) can; else the mount itself, whose other flags must be kept."""
    wanted = (ctypes.c_uint64 * 4)(MS_RDONLY, 0, 0, 0)
    if _libc.syscall(MOUNT_SETATTR, AT_FDCWD, place.encode(), AT_RECURSIVE, ctypes.byref(wanted), ctypes.sizeof(wanted)) == 0:
        return
    has = os.statvfs(place).f_flag
    kept = has & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME) | (MS_RELATIME if has & 4096 else 0)
    _mount("none", place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def new_root(mounts: list[list[str]]) -> None:
    """A root of its own, with the mounts in it and nothing else."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    # sources are opened before the new root covers a folder of the old one
    sources = [os.open(source, os.O_PATH) if kind in ("bind", "read-only") else -1 for kind, source, _ in mounts]
    root = "/tmp" if os.path.isdir("/tmp") else "/usr"  # noqa: S108, PTH112  (covered, not used)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV)
    os.chdir(root)
    for (kind, source, place), fd in zip(mounts, sources):  # noqa: B905  (plain, for whatever Python runs this)
        inside = f"{root}{place}"
        os.makedirs(os.path.dirname(inside), exist_ok=True)  # noqa: PTH103, PTH120
        if kind == "link":
            os.symlink(source, inside)  # noqa: PTH211
        elif kind == "fresh":
            os.makedirs(inside, exist_ok=True)  # noqa: PTH103
            _mount("tmpfs", inside, "tmpfs", MS_NOSUID | MS_NODEV)
        elif kind == "proc":
            os.makedirs(inside, exist_ok=True)  # noqa: PTH103
            _mount("proc", inside, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        else:
            origin = f"/proc/self/fd/{fd}"
            if os.path.isdir(origin):  # noqa: PTH112
                os.makedirs(inside, exist_ok=True)  # noqa: PTH103
            elif not os.path.exists(inside):  # noqa: PTH110
                os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))
            _mount(origin, inside, None, MS_BIND | MS_REC)
            if kind == "read-only":
                _read_only(inside)
            os.close(fd)
    call("pivot_root", b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def drop(kept: int | None = None) -> None:
    """No capability but `kept` for a program that is started from here, and no way to gain one: root inside is root of nothing."""
    for capability in range(64):
        if capability != kept:
            with contextlib.suppress(OSError):  # the kernel knows fewer
                call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def settle(plan: dict[str, Any]) -> None:
    """The names and files of the plan, and nothing more that may be done to either."""
    if plan["hostname"]:
        call("sethostname", plan["hostname"].encode(), len(plan["hostname"]))
    new_root(plan["mounts"])
    os.chdir(plan["cwd"])
    drop()


def forgo() -> None:
    """Give up what this process itself holds: unlike a new program it keeps the capabilities that it has in its namespaces."""
    if _libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)) != 0:  # version 3, this thread
        raise OSError(ctypes.get_errno(), "capset")


def _alone(plan: dict[str, Any], command: list[str]) -> int:
    """Become the parent of a new namespace's first process, which settles in it and starts the command; the command's exit code."""
    alive, here = os.pipe()  # the writing end is ours alone: it closes when we end, however that comes about
    if (first := os.fork()) == 0:
        os.close(here)
        code = 127
        try:
            settle(plan)
            code = _first(alive, command)
        except OSError as exc:
            sys.stderr.write(f"{command[0]} cannot be started in namespaces of its own: {exc.strerror or exc}\n")
            sys.stderr.flush()
        os._exit(code)
    os.close(alive)
    return exit_code(os.waitpid(first, 0)[1])


def _first(alive: int, command: list[str]) -> int:
    """The first process of a namespace: it starts the command, reaps what is left to it, and ends with the command; all else there is
    ended by the kernel with it. A command would not do as the first: the kernel keeps signals from that which it has no handler for."""
    forgo()  # no command is run here
    call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)  # the command is of the same user, and may not look into it
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.set_blocking(alive, False)
    with contextlib.suppress(BlockingIOError):
        os.read(alive, 1)
        return 127  # the parent had ended before the line above
    os.close(alive)
    if (own := os.fork()) == 0:
        os.execvp(command[0], command)  # noqa: S606  (an argument list, no shell)
    return reap(own)


def reap(own: int) -> int:
    """The exit code of the process `own`, once it ends; whatever else is left to this process is reaped meanwhile."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == own:
            return exit_code(status)


def exit_code(status: int) -> int:
    """As a shell gives it: 128 + N for signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(plan: dict[str, Any], command: list[str]) -> int:
    """Give the exit code of the command, unless this process becomes it."""
    parent, mounts = os.getppid(), plan["mounts"]
    network, alone = 0 if plan["network"] else NEWNET, mounts is not None and plan["processes"]
    unshare(network | (NEWNS | NEWUTS | NEWIPC if mounts is not None else 0) | (NEWPID if alone else 0))
    if network:
        loopback_up()
    if mounts is not None and not alone:
        settle(plan)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # whatever came of it while the user changed
    if os.getppid() != parent:
        return 127
    if alone:
        return _alone(plan, command)
    os.execvp(command[0], command)  # noqa: S606  (an argument list, no shell)


if __name__ == "__main__":
    try:
        ended = main(json.loads(sys.argv[1]), sys.argv[2:])
    except OSError as exc:
        sys.stderr.write(f"{sys.argv[2]} cannot be started in namespaces of its own: {exc.strerror or exc}\n")
        ended = 127
    sys.exit(ended)
