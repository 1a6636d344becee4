"""Training on several hosts, which are processes of this machine: who they are, how they meet, what becomes of what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.build import merging, processes, sandbox
from modelyard.build.contract import kill_leftover, train
from modelyard.errors import BadInput, StepFailed
from tests.build.test_contract import IN_SANDBOXES, ignore, job
from tests.build.test_processes import alive, until

MEETS = """
    import json, os, socket, sys, time
    host, hosts = os.environ["SM_CURRENT_HOST"], json.loads(os.environ["SM_HOSTS"])
    address, port = os.environ.get("SM_MASTER_ADDR", hosts[0]), int(os.environ.get("SM_MASTER_PORT", "7777"))
    resource = json.load(open("/opt/ml/input/config/resourceconfig.json"))
    told = {"rank": hosts.index(host), "resource": resource["current_host"], "name": socket.gethostname(),
            "own": socket.gethostbyname(host), "interface": os.environ["SM_NETWORK_INTERFACE_NAME"],
            "links": [name for _, name in socket.if_nameindex()], "rows": open("/opt/ml/input/data/train/rows.csv").read()}
    if host == hosts[0]:
        server = socket.create_server((address, port))
        met = [told]
        for _ in hosts[1:]:
            with server.accept()[0] as peer:
                met.append(json.loads(peer.makefile().readline()))
        json.dump(met, open("/opt/ml/model/met.json", "w"))
    else:
        for _ in range(200):
            try:
                with socket.create_connection((address, port), 5) as peer:
                    peer.sendall(json.dumps(told).encode() + b"\\n")
                break
            except OSError:
                time.sleep(0.05)
    open(f"/opt/ml/model/weights-{host}", "w").write(host)
    open("/opt/ml/model/shared", "w").write("same")
    open("/opt/ml/output/data/who", "w").write(host)
    open(f"/opt/ml/checkpoints/{host}", "w").write(host)
    print("met as", host)
"""


@IN_SANDBOXES
@pytest.mark.parametrize(("contract", "network"), [("v3", False), ("classic", True)])
def test_hosts_meet_by_name_and_their_models_are_put_together(home: Path, within: sandbox.Within, contract: str, network: bool) -> None:
    (home / "rows.csv").write_text("x\n")
    lines: list[str] = []
    step = job(home, MEETS, channels={"train": home / "rows.csv"}, within=within, contract=contract, instances=3, network=network)
    outcome = train(step, lines.append)
    met = sorted(json.loads((outcome.model_dir / "met.json").read_text()), key=lambda told: told["rank"])
    assert [told["resource"] for told in met] == [told["name"] for told in met] == ["algo-1", "algo-2", "algo-3"]
    assert len({told["own"] for told in met}) == 3
    assert all(told["interface"] in told["links"] and told["rows"] == "x\n" for told in met)
    assert sorted(lines) == [f"[algo-{i}] met as algo-{i}" for i in (1, 2, 3)]
    assert {p.name for p in outcome.model_dir.iterdir()} == {"met.json", "shared", *(f"weights-algo-{i}" for i in (1, 2, 3))}
    assert (outcome.output_dir / "data" / "who").read_text() == "algo-1"
    assert outcome.notes == ("several hosts wrote who, who in /opt/ml/output/data, not the same: algo-1's was kept",)
    assert {p.name for p in (home / "ml" / "checkpoints").iterdir()} == {"algo-1", "algo-2", "algo-3"}


@IN_SANDBOXES
def test_one_host_that_fails_stops_the_others(home: Path, within: sandbox.Within) -> None:
    script = """
        import os, subprocess, sys, time
        subprocess.Popen(["sleep", "86397"], start_new_session=True)
        if os.environ["SM_CURRENT_HOST"] == "algo-2":
            open("/opt/ml/output/failure", "w").write("no rows here")
            sys.exit(7)
        time.sleep(600)
    """
    lines: list[str] = []
    with pytest.raises(StepFailed, match=r"train\.py exited with 7 on algo-2: no rows here"):
        train(job(home, script, within=within, instances=3), lines.append)
    assert lines == ["modelyard: algo-2 failed; the other hosts were stopped"]
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"86397" in _read(p)] == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_cancelling_ends_every_host(home: Path) -> None:
    cancel, up = threading.Event(), set()

    def hear(line: str) -> None:
        up.add(line)
        if len(up) == 2:
            cancel.set()

    script = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\ntime.sleep(600)"
    with pytest.raises(StepFailed, match="was cancelled"):
        train(job(home, script, instances=2), hear, cancel=cancel)
    assert up == {"[algo-1] up", "[algo-2] up"}


OWNER = """
import sys
from pathlib import Path
from modelyard.build.contract import StepJob, train
home = Path(sys.argv[1])
train(StepJob("r", "train", Path(sys.executable), "train.py", home / "code", home / "ml", instances=2, network=False), print)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_owner_leaves_no_host_behind(home: Path, stopped: bool) -> None:
    job(home, "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\nopen('/opt/ml/model/up', 'w')\ntime.sleep(600)")
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.DEVNULL) as owner:
        try:
            until(lambda: (home / "ml/model/up").exists() and (home / "ml/hosts/algo-2/model/up").exists())
            record = json.loads((home / "ml" / processes.RECORD).read_text())
            until(lambda: len(processes._marked(record["token"])) >= 6)  # keeper, crew, and of each host the script and its child
            before = processes._marked(record["token"])
            if stopped:
                os.kill(record["pid"], signal.SIGSTOP)  # the keeper cannot act on its owner's death
        finally:
            owner.kill()
    if stopped:
        kill_leftover(home / "ml")
    until(lambda: not any(alive(pid) for pid in before))


def test_several_hosts_need_a_sandbox(home: Path) -> None:
    with pytest.raises(BadInput, match="several hosts needs a sandbox"):
        train(job(home, "", within="plain", instances=2), ignore)


def test_merging_never_goes_through_a_link(tmp_path: Path) -> None:
    top, other, outside = tmp_path / "1", tmp_path / "2", tmp_path / "outside"
    for folder in (top, other / "sub" / "deep", outside):
        folder.mkdir(parents=True)
    (top / "sub").symlink_to(outside)
    (top / "link").symlink_to(outside / "file")
    for name in ("sub/deep/x", "link", "plain"):
        (other / name).write_text("theirs")
    (other / "way").symlink_to(outside)
    assert merging.merge(top, [other]) == ["link", "sub/deep/x"]
    assert list(outside.iterdir()) == []
    assert ((top / "plain").read_text(), (top / "way").is_symlink()) == ("theirs", True)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["a", "b", "d/a", "d/b", "d"]), st.sampled_from(["1", "2"]), max_size=4), min_size=1, max_size=3
    )
)
def test_merged_is_the_union_with_the_first_of_each(trees: list[dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        places, kept = [], []
        for i, tree in enumerate(trees):
            place = Path(folder) / str(i)
            place.mkdir()
            tree = {n: t for n, t in tree.items() if not (n == "d" and any(k.startswith("d/") for k in tree))}
            for name, text in tree.items():
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_text(text)
            places.append(place)
            kept.append(tree)
        clashes = merging.merge(places[0], places[1:])
        merged = {str(p.relative_to(places[0])): p.read_text() for p in places[0].rglob("*") if p.is_file()}
        wanted: dict[str, str] = {}
        for tree in kept:
            for name, text in sorted(tree.items()):
                blocked = any(k.startswith(f"{name}/") or name.startswith(f"{k}/") for k in wanted)
                if not blocked:
                    wanted.setdefault(name, text)
        assert merged == wanted
        assert (clashes == []) == all(merged.get(n) == t for tree in kept for n, t in tree.items())
