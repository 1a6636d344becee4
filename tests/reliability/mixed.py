"""A steady load of good and refused requests of every kind, each answer of which is checked."""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .fronts import GOOD, RIGHT
from .fuzzer import response
from .shots import post

Check = Callable[[int, bytes], bool]
"""Whether an answer is right, by its status and body."""


def requests() -> dict[str, tuple[bytes, Check]]:
    """What is asked, by name."""
    rows = [dict(GOOD, y=None if i % 3 else 2.0) for i in range(20)]
    record, many = json.dumps(GOOD).encode(), json.dumps(rows).encode()
    split = json.dumps({"dataframe_split": {"columns": list(GOOD), "data": [list(GOOD.values())] * 5}}).encode()
    csv = "\n".join([",".join(GOOD), *([",".join(map(str, GOOD.values()))] * 10)]).encode()
    table = pa.table({name: [value] * 30 for name, value in GOOD.items()})
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    kinds = {"x": "FP64", "k": "INT64", "t": "BYTES", "b": "BOOL", "at": "BYTES", "y": "FP64"}
    inputs: list[dict[str, Any]] = [{"name": n, "shape": [2], "datatype": kinds[n], "data": [v, v]} for n, v in GOOD.items()]
    tensors = json.dumps({"id": "a", "inputs": inputs, "outputs": [{"name": "probability_Yes"}]}).encode()
    inputs[0] = {"name": "x", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": inputs}).encode()
    length = b"Inference-Header-Content-Length: %d" % len(head)
    sagemaker, infer = b"/endpoints/demo-production/invocations", b"/v2/models/demo/infer"
    return {
        "record": (post(b"/invocations", record), _records(1)),
        "record with an id": (post(sagemaker, record, b"X-Amzn-SageMaker-Inference-Id: i1"), _records(1)),
        "20 records": (post(b"/invocations", many), _records(20)),
        "mlflow": (post(b"/invocations", split), _records(5)),
        "csv": (post(b"/invocations", csv, kind=b"text/csv"), _records(10)),
        "parquet": (post(b"/invocations", parquet.getvalue(), kind=b"application/vnd.apache.parquet"), _records(30)),
        "arrow": (post(b"/invocations", arrow.getvalue(), kind=b"application/vnd.apache.arrow.stream"), _records(30)),
        "tensors": (post(infer, tensors), lambda status, body: status == 200 and json.loads(body)["id"] == "a"),
        "binary tensors": (post(infer, head + struct.pack("<2d", 0.5, 0.5), length), lambda status, body: status == 200),
        "not JSON": (post(b"/invocations", record[:-1]), lambda status, body: status == 400),
        "a wrong type": (post(sagemaker, record.replace(b"0.5", b'"much"')), lambda status, body: status == 400),
        "a category never seen": (post(b"/invocations", record.replace(b'"a"', b'"zzz"')), lambda status, body: status == 424),
        "another path": (post(b"/nowhere", record), lambda status, body: status == 404),
    }


def _records(count: int) -> Check:
    def check(status: int, body: bytes) -> bool:
        answers = json.loads(body)["predictions"]
        return status == 200 and len(answers) == count and abs(answers[0]["probabilities"]["Yes"] - RIGHT) < 1e-12

    return check


@dataclass
class Mixed:
    """So many requests a second, over connections that live for fifty requests each. `wrong` holds the answers that are not right."""

    port: int
    rate: float
    asked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def run(self, seconds: float, callers: int = 8) -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._caller(end, callers / self.rate, random.Random(i)) for i in range(callers)))

    async def _caller(self, end: float, every: float, rng: random.Random) -> None:
        kinds = list(requests().items())
        due = time.monotonic() + rng.random() * every
        while (due := max(due + every, time.monotonic() - 1)) < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
            for _ in range(50):
                await asyncio.sleep(due - time.monotonic())
                name, (request, check) = rng.choice(kinds)
                writer.write(request)
                answer = await response(reader)
                self.asked[name] += 1
                if answer is None or not check(answer[0], answer[2]):
                    self.wrong.append(f"{name}: {answer}"[:300])
                due += every
                if answer is None or due >= end:
                    break
            writer.close()
