"""Processing under SageMaker's contract: a script that reads inputs and writes outputs, wherever below /opt/ml/processing they lie."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.build import dialect
from modelyard.build.literals import ML
from modelyard.build.stage import PROCESSING, Command, Stage, first
from modelyard.build.step import StepJob, StepOutcome
from modelyard.errors import BadInput, StepFailed

CODE = "processing/input/code"
MADE = "outputs"
"""Folder of a step's base, beside what is /opt/ml: its outputs once it has ended well, by name."""


class Places(NamedTuple):
    """Where inputs and outputs lie, by name, as folders below /opt/ml."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def places(inputs: Sequence[str], outputs: Sequence[str], input_paths: Mapping[str, str], output_paths: Mapping[str, str]) -> Places:
    """The places that are asked for, and of the rest processing/input/<name> and processing/output/<name>.

    Raises BadInput for a place outside /opt/ml/processing, or an input among the code."""
    for name, path in (*input_paths.items(), *output_paths.items()):
        if not path.startswith(f"{ML}/processing/") or ".." in Path(path).parts:
            raise BadInput(f"{path} is no folder below {ML}/processing", where=name)
    found = Places(
        {name: _below(input_paths[name]) if name in input_paths else f"processing/input/{name}" for name in inputs},
        {name: _below(output_paths[name]) if name in output_paths else f"processing/output/{name}" for name in outputs},
    )
    for name, place in found.inputs.items():
        if f"{place}/".startswith(f"{CODE}/"):
            raise BadInput(f"the input `{name}` cannot lie at {ML}/{place}: the script lies there", where=name)
    return found


def _below(path: str) -> str:
    return path.removeprefix(f"{ML}/").rstrip("/")


def _over(one: str, other: str) -> bool:
    """Whether two places are one, or one lies in the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def process(
    job: StepJob,
    arguments: Sequence[str],
    inputs: Mapping[str, Path],
    outputs: Sequence[str],
    on_line: Callable[[str], None],
    *,
    input_paths: Mapping[str, str] | None = None,
    output_paths: Mapping[str, str] | None = None,
    cancel: threading.Event | None = None,
) -> StepOutcome:
    """Run a processing script: inputs at processing/input/<name>, outputs at processing/output/<name> (made before), or at the folders
    below /opt/ml/processing that `input_paths` and `output_paths` say; cwd `/`.

    An input that is a file lies in its folder under its own name. Inputs are read-only, but for one that lies in, or around, another
    input, an output or the code: that is a copy, which may be written to, as all of them are in SageMaker.

    The outcome's output_dir has a folder for each output. `.py` runs in the job's Python, `.sh` in sh, `.R` in Rscript; anything else
    is a command. What belongs to training (`job.channels`, `job.hyperparameters`, several instances, retries) is not used. Raises as
    `train` does; the first 1,024 characters of output/message become the reason of a failure.
    """
    if len(arguments) > 100 or any(len(a) > 256 or "\0" in a for a in arguments):
        raise BadInput("a processing step takes up to 100 arguments of up to 256 characters", where=f"{job.name}.arguments")
    if len(inputs) > 10 or "code" in inputs:
        raise BadInput("a processing step takes up to 10 inputs, none of them named `code`", where=job.name)
    dialect.check({}, [*inputs, *outputs])
    lie = places([*inputs], outputs, input_paths or {}, output_paths or {})
    stage = Stage(replace(job, instances=1))
    stage.prepare(CODE)
    _offer(stage, inputs, lie)
    for place in lie.outputs.values():
        (job.base / place).mkdir(parents=True, exist_ok=True)
    argv = [*_runs(job, f"{stage.root}/{CODE}/{job.entry_point}"), *arguments]
    facts = _configuration(job, stage.root, argv, lie, len(arguments))
    stage.write({"config/processingjobconfig.json": facts, "config/resourceconfig.json": dialect.resource_config()})
    variables = {PROCESSING: f"{stage.root}/processing", "PYTHONPATH": stage.shims}
    ended = stage.run({dialect.HOST: Command(argv, variables)}, "", job.timeout, on_line, cancel)
    stage.judge(ended, first(job.base / "output" / "message"), ended.code)
    _collect(job, lie.outputs)
    return StepOutcome(ended.seconds, stage.said, job.base / "step.log", job.base / "model", job.base / MADE)


def _offer(stage: Stage, inputs: Mapping[str, Path], lie: Places) -> None:
    """Put every input at its place, those around others first."""
    exact = {name: f"{place}/{inputs[name].name}" if inputs[name].is_file() else place for name, place in lie.inputs.items()}
    for name, place in sorted(exact.items(), key=lambda entry: entry[1].count("/")):
        others = [other for one, other in exact.items() if one != name] + [*lie.outputs.values(), CODE]
        put = stage.copy if any(_over(place, other) for other in others) else stage.show
        put(inputs[name], lie.inputs[name])


def _collect(job: StepJob, outputs: Mapping[str, str]) -> None:
    """Put what lies at the places of the outputs into the folder MADE. Raises StepFailed for a link: it could lead out of the step."""
    (job.base / MADE).mkdir()
    ordered = sorted(outputs.items(), key=lambda entry: -entry[1].count("/"))
    for name, place in ordered:
        left = job.base / place
        if os.path.realpath(left) != f"{os.path.realpath(job.base)}/{place}" or not left.is_dir():
            raise StepFailed(f"{job.entry_point} left no folder at {ML}/{place}, where the output `{name}` is", where=job.name)
        if any(one != name and _over(place, other) for one, other in outputs.items()):
            shutil.copytree(left, job.base / MADE / name, symlinks=True)
        else:
            left.rename(job.base / MADE / name)


def _runs(job: StepJob, script: str) -> list[str]:
    if job.entry_point.endswith(".py"):
        return [str(job.python), script]
    if job.entry_point.endswith(".R"):
        return ["Rscript", script]
    return ["/bin/sh", script] if job.entry_point.endswith(".sh") else ["/bin/sh", "-c", '"$0" "$@"', script]


def _configuration(job: StepJob, root: str, argv: Sequence[str], lie: Places, arguments: int) -> dict[str, Any]:
    """processingjobconfig.json as SageMaker writes it, with file:// where it has s3://."""
    words = len(argv) - arguments
    given = {
        "S3DataDistributionType": "FullyReplicated",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
        "S3CompressionType": "None",
        "S3DownloadMode": "StartOfJob",
    }
    return {
        "ProcessingJobArn": f"arn:aws:sagemaker:local:000000000000:processing-job/{job.run_id}",
        "ProcessingJobName": job.run_id,
        "AppSpecification": {
            "ImageUri": "local",
            "ContainerEntrypoint": list(argv[:words]),
            "ContainerArguments": list(argv[words:]) or None,
        },
        "Environment": dict(job.environment),
        "ProcessingInputs": [
            {
                "InputName": name,
                "AppManaged": False,
                "S3Input": {"LocalPath": f"{root}/{place}", "S3Uri": f"file://{root}/{place}", **given},
                "DatasetDefinition": None,
            }
            for name, place in [*lie.inputs.items(), ("code", CODE)]
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": name,
                    "AppManaged": False,
                    "S3Output": {
                        "LocalPath": f"{root}/{place}",
                        "S3Uri": f"file://{root}/{place}",
                        "S3UploadMode": "EndOfJob",
                    },
                    "FeatureStoreOutput": None,
                }
                for name, place in lie.outputs.items()
            ],
            "KmsKeyId": None,
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": dialect.INSTANCE, "VolumeSizeInGB": 30, "VolumeKmsKeyId": None}
        },
        "NetworkConfig": {"EnableNetworkIsolation": not job.network, "EnableInterContainerTrafficEncryption": False, "VpcConfig": None},
        "RoleArn": "arn:aws:iam::000000000000:role/local",
        "StoppingCondition": {"MaxRuntimeInSeconds": max(1, int(job.timeout))},
    }
