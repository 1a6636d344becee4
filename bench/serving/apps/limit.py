"""The front on a real routing table, which parses the body as ever and answers a constant: what no model behind it could beat.

python limit.py ROUTES PORT
"""

import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from modelyard.serve import server, sockets, stats
from modelyard.serve.app import Front
from modelyard.serve.live import Router
from modelyard.serve.plane import Plane
from modelyard.serve.quick import Quick

ANSWER = b'{"predictions":[{"inference_id":"00000000000000000000000000000000","prediction":"No","probabilities":{"No":0.5,"Yes":0.5}}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)


async def main(table: Path, port: int) -> None:
    router = Router(table, stats.Stats(pid=0, started_at=time.time()))
    await router.look()
    plane, hosts = Plane(router), frozenset({"127.0.0.1"})
    short = Quick(plane, hosts)
    short._take_up(router.live)
    desk = next(iter(short._desks.values()))

    def constant(url: bytes, steady: Any, varying: Any, body: bytes) -> bytes:
        (desk._decode if body[:1] == b"{" else desk._decode_list)(body)
        return HEAD + ANSWER

    await server.run(Front(plane, hosts), constant, sockets.listen("127.0.0.1", port))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
