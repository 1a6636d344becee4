from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import literals, processes, sandbox
from modelyard.build.contract import StepJob, kill_leftover, process, train
from modelyard.errors import BadInput, NotFound, StepFailed
from tests.build.test_processes import alive, until
from tests.needs import needs_bwrap, needs_namespaces

BOTH = pytest.mark.parametrize(
    "within", [pytest.param("bubblewrap", marks=needs_bwrap), pytest.param("namespace", marks=needs_namespaces), "plain"]
)
IN_SANDBOXES = pytest.mark.parametrize(
    "within", [pytest.param("bubblewrap", marks=needs_bwrap), pytest.param("namespace", marks=needs_namespaces)]
)


def job(folder: Path, script: str, *, name: str = "train.py", **parts: Any) -> StepJob:
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / name).write_text(textwrap.dedent(script))
    settings: dict[str, Any] = {"timeout": 120.0, **parts}
    return StepJob("run-1", "train", Path(sys.executable), name, code, folder / "ml", **settings)


def ignore(line: str) -> None:
    pass


LOOKS = """
    import json, os, sys
    channel = os.environ["SM_CHANNEL_TRAIN"]
    seen = {"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "files": os.listdir(channel),
            "rows": open(os.path.join(channel, "rows.csv")).read(),
            "config": {n: json.load(open(os.path.join(os.environ["SM_INPUT_CONFIG_DIR"], n)))
                       for n in os.listdir(os.environ["SM_INPUT_CONFIG_DIR"])}}
    import helper
    json.dump(seen, open(os.path.join(os.environ["SM_MODEL_DIR"], "seen.json"), "w"))
    print("trained", helper.word)
"""


@BOTH
def test_a_script_finds_what_the_contract_says(home: Path, within: sandbox.Within, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    (home / "rows").mkdir()
    (home / "rows" / "rows.csv").write_text("x\n1\n")
    step = job(home, LOOKS, channels={"train": home / "rows"}, hyperparameters={"max_depth": 6, "x": "1"}, cpus=1, within=within)
    (home / "code" / "helper.py").write_text("word = 'well'")
    lines: list[str] = []
    outcome = train(step, lines.append)
    seen = json.loads((outcome.model_dir / "seen.json").read_text())
    root = "/opt/ml" if within != "plain" else str(home / "ml")
    assert outcome.sandbox == {"bubblewrap": sandbox.available(), "namespace": "namespaces of its own", "plain": None}[within]
    assert lines == ["trained well"]
    assert outcome.log.read_text() == "trained well\n"
    assert seen["argv"] == ["train.py", "--max_depth", "6", "-x", "1"]
    assert seen["cwd"] == seen["env"]["SM_MODULE_DIR"] == seen["env"]["PYTHONPATH"].split(":")[0] == f"{root}/code"
    assert seen["env"]["SM_CHANNEL_TRAIN"] == f"{root}/input/data/train"
    assert (seen["files"], seen["rows"]) == (["rows.csv"], "x\n1\n")
    assert seen["config"]["hyperparameters.json"] == {"max_depth": "6", "x": '"1"'}
    assert seen["env"]["OMP_NUM_THREADS"] == seen["env"]["SM_NUM_CPUS"] == "1"
    assert "hunter2" not in json.dumps(seen)
    others = {k for k in seen["env"] if not k.startswith(("SM_", "SAGEMAKER_", "TRAINING_JOB_")) and not k.endswith("_THREADS")}
    assert others == {
        "PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "CURRENT_HOST", "MODELYARD_STEP",
        "LOKY_MAX_CPU_COUNT", *({"PWD"} if within == "bubblewrap" else ()),
    }  # fmt: skip
    assert (outcome.output_dir / "success").exists()
    assert not (outcome.output_dir / "failure").exists()


@IN_SANDBOXES
def test_hard_coded_paths_work_and_the_rest_cannot_be_reached(home: Path, within: sandbox.Within) -> None:
    (home / "rows.csv").write_text("x\n1\n")
    (home / "secret").write_text("hunter2")
    script = f"""
        import os
        rows = open("/opt/ml/input/data/train/rows.csv").read()
        for attempt in (lambda: open("/opt/ml/input/data/train/rows.csv", "a"), lambda: open({str(home / "secret")!r})):
            try:
                attempt()
            except OSError as exc:
                print(type(exc).__name__)
        assert "process.json" not in os.listdir("/opt/ml")
        open("/opt/ml/model/m", "w").write(rows)
        open("/opt/ml/checkpoints/c", "w").write("c")
        os.symlink("/proc/self/environ", "/tmp/link")
    """
    lines: list[str] = []
    outcome = train(job(home, script, channels={"train": home / "rows.csv"}, within=within), lines.append)
    assert (outcome.model_dir / "m").read_text() == "x\n1\n"
    assert (home / "ml" / "checkpoints" / "c").exists()
    assert lines == ["OSError", "FileNotFoundError"]
    assert (home / "rows.csv").read_text() == "x\n1\n"
    assert not (home / "ml" / "tmp").exists()


@BOTH
def test_a_script_that_exits_7(home: Path, within: sandbox.Within) -> None:
    script = "import sys\nfor i in range(30): print('line', i)\nsys.exit(7)"
    with pytest.raises(StepFailed) as caught:
        train(job(home, script, within=within), ignore)
    assert caught.value.what == "train.py exited with 7"
    assert caught.value.log_tail == tuple(f"line {i}" for i in range(10, 30))
    assert (home / "ml" / "output" / "failure").read_text().startswith("ExecuteUserScriptError:\nExitCode 7\n")
    assert not (home / "ml" / "output" / "success").exists()


@BOTH
def test_a_failure_that_the_script_explains(home: Path, within: sandbox.Within) -> None:
    script = "import os\nopen(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('no rows' + '!' * 5000)\nraise SystemExit(1)"
    with pytest.raises(StepFailed) as caught:
        train(job(home, script, within=within), ignore)
    assert caught.value.what == "train.py exited with 1: no rows" + "!" * 1017


@IN_SANDBOXES
def test_a_link_in_place_of_a_result_writes_nothing_outside(home: Path, within: sandbox.Within) -> None:
    for name, end in (("failure", "raise SystemExit(1)"), ("success", "open('/opt/ml/model/m', 'w')")):
        trap = home / f"written-{name}"
        step = job(home, f"import os\nos.symlink({str(trap)!r}, '/opt/ml/output/{name}')\n{end}", within=within)
        try:
            train(step, ignore)
        except StepFailed as exc:
            assert "exited with 1" in exc.what
        assert not trap.exists()
        assert (home / "ml" / "output" / name).is_file()


@BOTH
def test_a_step_that_runs_too_long_and_one_that_is_cancelled(home: Path, within: sandbox.Within) -> None:
    script = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\ntime.sleep(600)"
    with pytest.raises(StepFailed, match="ran longer than 3 s and was stopped"):
        train(job(home, script, within=within, timeout=3.0), ignore)
    cancel = threading.Event()
    with pytest.raises(StepFailed, match="was cancelled"):
        train(job(home, script, within=within), lambda line: cancel.set(), cancel=cancel)
    assert not (home / "ml" / "process.json").exists()


@BOTH
def test_a_mild_fork_bomb_and_a_long_line_are_contained(home: Path, within: sandbox.Within) -> None:
    script = """
        import os, subprocess, sys
        found = [subprocess.Popen(["sleep", "86399"], start_new_session=True, stdout=subprocess.DEVNULL) for _ in range(20)]
        print("x" * 10_000_000)
        open(os.environ["SM_MODEL_DIR"] + "/m", "w").write("m")
    """
    lines: list[str] = []
    train(job(home, script, within=within), lines.append)
    assert len(lines) == 1
    assert len(lines[0]) < 10_000
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"86399" in _read(p)] == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_model_that_was_not_saved(home: Path) -> None:
    with pytest.raises(StepFailed, match="left no file in the model folder") as caught:
        train(job(home, "print('forgot')", within="plain"), ignore)
    assert "SM_MODEL_DIR" in caught.value.next


@BOTH
def test_other_kinds_of_entry_point(home: Path, within: sandbox.Within) -> None:
    save = 'echo "$@" > $SM_MODEL_DIR/args; cp $SM_INPUT_CONFIG_DIR/hyperparameters.json $SM_MODEL_DIR'
    text, given = "it's $(touch x); -q", {"b": True, "c": None}
    for name, script, words, file in (
        ("train.sh", f"#!/bin/sh\n{save}\n", f"train -a {text} -b True -c ", {"a": json.dumps(text), "b": "true", "c": "null"}),
        ("train", save, "train", {"a": text, "b": "True", "c": "None"}),  # no `#!` line and no ending: a container's of one's own
    ):
        parts: dict[str, Any] = {"hyperparameters": {"a": text, **given}, "arguments": ("train",), "within": within}
        left = train(job(home / name, script, name=name, **parts), ignore).model_dir
        assert (left / "args").read_text() == f"{words}\n"
        assert json.loads((left / "hyperparameters.json").read_text()) == file
        assert not (home / name / "ml" / "code" / "x").exists()
    (home / "package" / "code" / "pkg").mkdir(parents=True)
    (home / "package" / "code" / "setup.py").write_text("")
    save = "import os\nopen(os.environ['SM_MODEL_DIR'] + '/m', 'w').write(__package__)"
    step = job(home / "package", save, name="pkg/train.py")
    assert (train(replace(step, within=within), ignore).model_dir / "m").read_text() == "pkg"


def test_a_repeated_run_starts_afresh_and_leaves_the_code_alone(home: Path) -> None:
    script = """
        import os
        assert not os.path.exists("left")
        open("left", "w").write("x")
        open(os.environ["SM_MODEL_DIR"] + "/m", "w").write("m")
    """
    step = job(home, script, within="plain")
    for path in (step.code, step.code / "train.py"):
        path.chmod(0o555)
    train(step, ignore)
    train(step, ignore)
    assert [p.name for p in step.code.iterdir()] == ["train.py"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"hyperparameters": {f"h{i}": i for i in range(101)}}, "101 hyperparameters; 100 are the most"),
        ({"hyperparameters": {"a" * 257: 1}}, "a hyperparameter cannot be named"),
        ({"hyperparameters": {"a=b": 1}}, "a hyperparameter cannot be named 'a=b'"),
        ({"hyperparameters": {"a": "x" * 2500}}, "has 2502 characters"),
        ({"hyperparameters": {"a": {1, 2}}}, "hyperparameter `a` is no plain value"),
        ({"hyperparameters": {"a": "nul\0"}}, "NUL"),
        ({"channels": {"../up": Path("/")}}, "a channel cannot be named '../up'"),
        ({"channels": {f"c{i}": Path("/") for i in range(21)}}, "21 channels"),
        ({"hyperparameters": {f"h{i}": "x" * 2400 for i in range(100)}}, "too large together"),
    ],
)
def test_jobs_beyond_the_contract(home: Path, parts: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        train(job(home, "print()", within="plain", **parts), ignore)
    assert said in caught.value.what


def test_what_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = job(home, "print()", within="plain")
    with pytest.raises(NotFound, match=r"there is no other\.py in the code"):
        train(replace(step, entry_point="other.py"), ignore)
    with pytest.raises(NotFound, match="the input train is not there"):
        train(replace(step, channels={"train": home / "nothing"}), ignore)
    with pytest.raises(BadInput, match="a step without a network needs a sandbox"):
        train(replace(step, network=False), ignore)


@IN_SANDBOXES
def test_network_isolation(home: Path, within: sandbox.Within) -> None:
    script = """
        import os, socket
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=2)
        except OSError as exc:
            open(os.environ["SM_MODEL_DIR"] + "/m", "w").write(exc.strerror or "timed out")
    """
    assert (train(job(home, script, network=False, within=within), ignore).model_dir / "m").read_text() == "Network is unreachable"


PROCESSING = """
    import json, os, sys
    base = os.environ.get("MODELYARD_PROCESSING_DIR", "/opt/ml/processing")
    rows = open(os.path.join(base, "input/train/rows.csv")).read()
    for name in ("train", "test"):
        open(os.path.join(base, "output", name, "rows.csv"), "w").write(rows.upper())
    config = json.load(open(os.path.join(base, "../config/processingjobconfig.json")))
    import helper
    print(sys.argv[1:], os.getcwd(), config["ProcessingJobName"])
"""


@BOTH
def test_processing(home: Path, within: sandbox.Within) -> None:
    (home / "rows").mkdir()
    (home / "rows" / "rows.csv").write_text("x\na\n")
    step = job(home, PROCESSING, name="prepare.py", within=within)
    (home / "code" / "helper.py").touch()
    lines: list[str] = []
    outcome = process(step, ["--rate", "0.5; ls"], {"train": home / "rows"}, ["train", "test"], lines.append)
    assert lines == [f"['--rate', '0.5; ls'] {'/' if within != 'plain' else home / 'ml'} run-1"]
    assert sorted(path.name for path in outcome.output_dir.iterdir()) == ["test", "train"]
    assert (outcome.output_dir / "test" / "rows.csv").read_text() == "X\nA\n"


FIXED = """
    import json, os, sys
    base = os.environ["MODELYARD_PROCESSING_DIR"]
    seen = {}
    for folder, folders, files in os.walk(base):
        paths = [os.path.join(folder, name) for name in files if not name.endswith(".py")]
        seen.update({os.path.relpath(path, base): open(path).read() for path in paths if os.path.exists(path)})
        seen.update({os.path.relpath(folder, base) + "/": "" for _ in [0] if not folders + files})
    writable = []
    for name in ("input/a.csv", "input/whole/w", "input/whole/deep/d", "apart/w"):
        try:
            open(os.path.join(base, name), "a").close()
            writable.append(name)
        except OSError:
            pass
    for name in ("train", "input/whole", "model/best"):
        open(os.path.join(base, name, "out"), "w").write(name)
    config = json.load(open(os.path.join(base, "../config/processingjobconfig.json")))
    places = [i["S3Input"]["LocalPath"] for i in config["ProcessingInputs"]]
    places += [o["S3Output"]["LocalPath"] for o in config["ProcessingOutputConfig"]["Outputs"]]
    places = [os.path.relpath(place, os.path.dirname(base)) for place in places]
    json.dump([seen, writable, places], open(os.path.join(base, "model", "seen.json"), "w"))
"""


@BOTH
def test_processing_at_the_places_that_a_script_writes_down(home: Path, within: sandbox.Within) -> None:
    for name in ("a.csv", "whole/w", "whole/deep/d", "deep/e"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(name)
    (home / "whole" / "leads-out").symlink_to(home / "a.csv")
    base = "/opt/ml/processing"
    outcome = process(
        job(home, FIXED, name="prepare.py", within=within),
        [],
        {"file": home / "a.csv", "whole": home / "whole", "deep": home / "deep", "apart": home / "whole", "usual": home / "deep"},
        ["train", "model", "best", "marked"],
        ignore,
        input_paths={"file": f"{base}/input", "whole": f"{base}/input/whole", "deep": f"{base}/input/whole/deep", "apart": f"{base}/apart"},
        output_paths={"train": f"{base}/train", "model": f"{base}/model", "best": f"{base}/model/best", "marked": f"{base}/input/whole"},
    )  # fmt: skip
    seen, writable, places = json.loads((outcome.output_dir / "model" / "seen.json").read_text())
    # only without a sandbox is there anything at its end; os.walk does not follow the links to folders that are there instead of mounts
    linked = {"apart/w": "whole/w", "apart/deep/d": "whole/deep/d", "input/usual/e": "deep/e"} if within != "plain" else {}
    assert ("input/whole/leads-out" in seen) == (within == "plain")
    assert {name: text for name, text in seen.items() if name != "input/whole/leads-out"} == {
        "input/a.csv": "a.csv", "input/whole/w": "whole/w", "input/whole/deep/d": "whole/deep/d", "input/whole/deep/e": "deep/e",
        "train/": "", "model/best/": "", **linked,
    }  # fmt: skip
    if within != "plain":
        assert writable == ["input/whole/w", "input/whole/deep/d"], "what shares its place with an output, or another input, is a copy"
    assert (home / "whole" / "w").read_text() == "whole/w"
    places = [place.removeprefix("processing/") for place in places]
    assert places == ["input", "input/whole", "input/whole/deep", "apart", "input/usual", "input/code", "train", "model", "model/best",
                      "input/whole"]  # fmt: skip
    left = {str(path.relative_to(outcome.output_dir)) for path in outcome.output_dir.rglob("*") if path.is_file() and not path.is_symlink()}
    assert left == {
        "train/out", "model/seen.json", "model/best/out", "best/out", "marked/out", "marked/w", "marked/deep/d", "marked/deep/e",
    }  # fmt: skip


def test_an_input_at_the_parent_of_the_code(home: Path) -> None:
    (home / "rows").mkdir()
    (home / "rows" / "rows.csv").write_text("x")
    script = "import os, shutil\nb = os.environ['MODELYARD_PROCESSING_DIR']\nshutil.copy(b + '/input/rows.csv', b + '/output/out')"
    step = job(home, script, name="prepare.py")
    paths = {"input_paths": {"rows": "/opt/ml/processing/input"}}
    assert (process(step, [], {"rows": home / "rows"}, ["out"], ignore, **paths).output_dir / "out" / "rows.csv").read_text() == "x"  # type: ignore[arg-type]
    for path in ("/opt/ml/processing/input/code/x", "/opt/ml/model", "/opt/ml/processing/../x"):
        with pytest.raises(BadInput, match=r"the script lies there|no folder below"):
            process(step, [], {"rows": home / "rows"}, [], ignore, input_paths={"rows": path})


@BOTH
def test_an_output_cannot_lead_out_of_the_step(home: Path, within: sandbox.Within) -> None:
    (home / "secrets").mkdir()
    for place, moved in (("/opt/ml/processing/a/b", "a"), ("/opt/ml/processing/output/out", "output/out")):
        script = f"""
            import os, shutil
            place = os.path.join(os.environ["MODELYARD_PROCESSING_DIR"], {moved!r})
            shutil.rmtree(place)
            os.symlink({str(home / "secrets")!r}, place)
        """
        (home / "secrets" / "b").mkdir(exist_ok=True)
        with pytest.raises(StepFailed, match=r"left no folder at /opt/ml/processing/.*, where the output `out` is"):
            process(job(home, script, within=within), [], {}, ["out"], ignore, output_paths={"out": place})


@IN_SANDBOXES
def test_an_output_of_training_cannot_lead_out_either(home: Path, within: sandbox.Within) -> None:
    script = "import os\nopen('/opt/ml/model/m', 'w')\nos.rmdir('/opt/ml/output/data')\nos.symlink('/', '/opt/ml/output/data')"
    with pytest.raises(StepFailed, match="left a link at /opt/ml/output/data"):
        train(job(home, script, within=within), ignore)


@IN_SANDBOXES
def test_one_folder_may_be_shown_twice(home: Path, within: sandbox.Within) -> None:
    (home / "rows").mkdir()
    (home / "rows" / "x").touch()
    script = """
        import json, os
        told = {name: os.listdir(os.environ["SM_CHANNEL_" + name.upper()]) for name in ("train", "again")}
        json.dump(told, open(os.environ["SM_MODEL_DIR"] + "/told", "w"))
    """
    step = job(home, script, channels={"train": home / "rows", "again": home / "rows"}, within=within)
    assert json.loads((train(step, ignore).model_dir / "told").read_text()) == {"train": ["x"], "again": ["x"]}


@BOTH
def test_a_model_that_a_script_leaves_below_its_working_directory(home: Path, within: sandbox.Within) -> None:
    saves = (
        "import os\nos.makedirs('outputs/deep', exist_ok=True)\nopen('outputs/deep/m', 'w').write('made')\nopen('m.txt', 'w').write('made')"
    )
    for path, files in (("outputs", ["deep/m"]), ("m.txt", ["m.txt"])):
        left = train(job(home, saves, model_path=path, within=within), ignore).model_dir
        assert [str(p.relative_to(left)) for p in left.rglob("*") if p.is_file()] == files
    kept = "\nopen(os.environ['SM_MODEL_DIR'] + '/own', 'w').close()"
    assert [p.name for p in train(job(home, saves + kept, model_path="outputs", within=within), ignore).model_dir.iterdir()] == ["own"]
    (home / "code" / "outputs").mkdir()
    (home / "code" / "outputs" / "m").write_text("old")  # lay among the code
    links = f"import os\nos.symlink({str(home)!r}, 'out')"
    for script, path in (("", "outputs"), ("", "nothing"), (links, "out")):
        with pytest.raises(StepFailed, match=f"left no file in the model folder, and no new one at {path}"):
            train(job(home, script, model_path=path, within=within), ignore)


@IN_SANDBOXES
def test_processing_with_hard_coded_paths_and_a_message(home: Path, within: sandbox.Within) -> None:
    script = """
        import shutil, sys
        shutil.copy("/opt/ml/processing/input/train/rows.csv", "/opt/ml/processing/output/train/rows.csv")
        open("/opt/ml/output/message", "w").write("bad rows")
        sys.exit(int(sys.argv[1]))
    """
    (home / "rows.csv").write_text("x\n")
    step = job(home, script, name="prepare.py", within=within)
    outcome = process(step, ["0"], {"train": home / "rows.csv"}, ["train"], ignore)
    assert (outcome.output_dir / "train" / "rows.csv").read_text() == "x\n"
    with pytest.raises(StepFailed, match=r"prepare\.py exited with 3: bad rows"):
        process(step, ["3"], {"train": home / "rows.csv"}, ["train"], ignore)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("open('/opt/ml/model/m', 'w')", 1),
        ("import argparse\np = argparse.ArgumentParser()\np.add_argument('--m', default='/opt/ml/model', help='/opt/ml/model')", 3),
        ("path = f'/opt/ml/{name}'", 1),
        ("import os\npath = join('/opt/ml', os.environ['SM_CHANNEL_TRAIN'])", 2),
        ("import os\nm = os.environ.get('SM_MODEL_DIR', '/opt/ml/model')", 0),
        ("import os\nm = os.getenv('SM_MODEL_DIR', '/opt/ml/model')\nx = os.environ['SM_X'] if 'SM_X' in os.environ else '/opt/ml/x'", 0),
        ("'''Writes to /opt/ml/model.'''\n# and reads /opt/ml/input\n", 0),
        ("x = '/other/opt/ml/model'\ny = '/opt/mlx'", 0),
    ],
)
def test_code_that_needs_a_folder_which_cannot_be_made_is_refused_before_it_runs(home: Path, script: str, line: int) -> None:
    step = job(home, script, within="plain")
    if not line:
        assert literals.hard_coded(step.code) is None
        return
    with pytest.raises(BadInput, match="the code names /opt/ml, which cannot be made here without a sandbox") as caught:
        process(step, [], {}, [], ignore)
    assert caught.value.where == f"train.py:{line}"
    assert "SM_MODEL_DIR" in caught.value.next


def test_shell_and_r_that_name_the_folder(home: Path) -> None:
    for name, text, line in (
        ("train.sh", "#!/bin/sh\n# to /opt/ml/model\ncp x ${SM_MODEL_DIR:-/opt/ml/model}\n", 0),
        ("train.sh", "cp x /opt/ml/model\n", 1),
        ("train.R", 'x <- 1\nsaveRDS(x, "/opt/ml/model/m.rds")\n', 2),
        ("notes.md", "/opt/ml/model\n", 0),
    ):
        found = literals.hard_coded(job(home / f"{name}-{line}", text, name=name).code)
        assert found == ((name, line) if line else None)


def test_a_sandbox_that_is_asked_for_by_name_and_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: None)
    assert (sandbox.find() is None) == (not sandbox.namespaces())
    with pytest.raises(BadInput, match="cannot run in bubblewrap here"):
        sandbox.find("bubblewrap")
    monkeypatch.setattr(sandbox, "namespaces", lambda: False)
    assert sandbox.find() is None
    with pytest.raises(BadInput, match="cannot run in namespace here"):
        sandbox.find("namespace")


@BOTH
def test_processing_entry_points_of_other_kinds(home: Path, within: sandbox.Within) -> None:
    says = 'echo "$@" > ${MODELYARD_PROCESSING_DIR}/output/out/args'
    for name, text in (("prepare.sh", f"{says}\n"), ("prepare", f"#!/bin/sh\n{says}\n")):
        step = job(home / name, text, name=name, within=within)
        outcome = process(step, ["--a", "it's $(x)"], {}, ["out"], ignore)
        assert (outcome.output_dir / "out" / "args").read_text() == "--a it's $(x)\n"


def test_an_r_script_is_rscripts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def note(argv: list[str], **options: Any) -> processes.Ended:
        seen.append(argv)
        (home / "ml" / "model" / "m.rds").write_text("m")
        return processes.Ended(0, "", 0.1, ())

    monkeypatch.setattr(processes, "run", note)
    step = job(home, "", name="fit.R", hyperparameters={"a": 1}, arguments=("train",), within="plain")
    train(step, ignore)
    process(step, ["--b"], {}, [], ignore)
    assert seen == [["Rscript", "fit.R", "train"], ["Rscript", f"{home}/ml/processing/input/code/fit.R", "--b"]]


def test_the_processing_configuration_is_whole(home: Path) -> None:
    (home / "rows").mkdir()
    script = "import os, shutil\nshutil.copytree(os.environ['MODELYARD_PROCESSING_DIR'] + '/../config', os.environ['OUT'])"
    step = job(home, script, name="p.py", within="plain", environment={"OUT": str(home / "seen")}, timeout=90.0)
    process(step, ["--a"], {"rows": home / "rows"}, ["out"], ignore)
    found = json.loads((home / "seen" / "processingjobconfig.json").read_text())
    base = f"{home}/ml/processing"
    assert found["AppSpecification"] == {
        "ImageUri": "local", "ContainerEntrypoint": [sys.executable, f"{base}/input/code/p.py"], "ContainerArguments": ["--a"],
    }  # fmt: skip
    assert [(i["InputName"], i["S3Input"]["LocalPath"]) for i in found["ProcessingInputs"]] == [
        ("rows", f"{base}/input/rows"), ("code", f"{base}/input/code"),
    ]  # fmt: skip
    assert found["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["LocalPath"] == f"{base}/output/out"
    assert (found["Environment"], found["StoppingCondition"]) == ({"OUT": str(home / "seen")}, {"MaxRuntimeInSeconds": 90})
    assert found["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 1
    assert json.loads((home / "seen" / "resourceconfig.json").read_text())["current_host"] == "algo-1"
    assert set(found) == {
        "ProcessingJobArn", "ProcessingJobName", "AppSpecification", "Environment", "ProcessingInputs", "ProcessingOutputConfig",
        "ProcessingResources", "NetworkConfig", "RoleArn", "StoppingCondition",
    }  # fmt: skip


def test_processing_limits(home: Path) -> None:
    step = job(home, "print()", within="plain")
    for arguments, inputs, said in (
        (["a"] * 101, {}, "100 arguments"),
        (["a" * 257], {}, "256 characters"),
        ([], {f"i{i}": home for i in range(11)}, "10 inputs"),
        ([], {"code": home}, "none of them named `code`"),
        ([], {"../x": home}, "cannot be named"),
    ):
        with pytest.raises(BadInput, match=said):
            process(step, arguments, inputs, [], ignore)


OWNER = """
import sys
from pathlib import Path
from modelyard.build.contract import StepJob, train
home = Path(sys.argv[1])
train(StepJob("r", "train", Path(sys.executable), "train.py", home / "code", home / "ml", within=sys.argv[2]), print)
"""

SLEEPS = """
    import os, subprocess, time
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    print("up", flush=True)
    open(os.environ["SM_MODEL_DIR"] + "/up", "w").close()
    time.sleep(600)
"""


@BOTH
def test_a_killed_owner_leaves_no_process_of_the_step(home: Path, within: sandbox.Within) -> None:
    job(home, SLEEPS)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home), within], stdout=subprocess.DEVNULL) as owner:
        until((home / "ml" / "model" / "up").exists)
        token = json.loads((home / "ml" / processes.RECORD).read_text())["token"]
        before = processes._marked(token)
        assert len(before) >= 3, "the step was not running"  # the keeper, the script, its child (and bubblewrap)
        owner.kill()
    until(lambda: not any(alive(pid) for pid in before))
    assert processes._marked(token) == []


@BOTH
def test_kill_leftover_ends_what_a_killed_owner_left(home: Path, within: sandbox.Within) -> None:
    job(home, SLEEPS)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home), within], stdout=subprocess.DEVNULL) as owner:
        until((home / "ml" / "model" / "up").exists)
        record = json.loads((home / "ml" / processes.RECORD).read_text())
        os.kill(record["pid"], signal.SIGSTOP)  # the keeper cannot act on its owner's death
        before = processes._marked(record["token"])
        owner.kill()
    assert [pid for pid in before if alive(pid)] == before
    assert kill_leftover(home / "ml") >= 3
    assert [pid for pid in before if alive(pid)] == []
    assert kill_leftover(home / "ml") == 0


@IN_SANDBOXES
@pytest.mark.slow
def test_many_kills_in_the_sandbox_leave_no_orphan(home: Path, within: sandbox.Within) -> None:
    job(home, SLEEPS)
    tokens, running = [], 0
    for i in range(30):
        with subprocess.Popen([sys.executable, "-c", OWNER, str(home), within], stdout=subprocess.DEVNULL) as owner:
            if i % 2:
                until((home / "ml" / "model" / "up").exists)
                running += 1
            else:
                until((home / "ml" / processes.RECORD).exists)
                threading.Event().wait(i * 0.003)
            tokens.append(json.loads((home / "ml" / processes.RECORD).read_text())["token"])
            owner.kill()
        (home / "ml" / "model" / "up").unlink(missing_ok=True)
        (home / "ml" / processes.RECORD).unlink()
    assert running == 15
    threading.Event().wait(1)
    until(lambda: not any(processes._marked(token) for token in tokens))
