"""A routing table in force: its compiled plans, its connections, its capture; and how a new table takes over from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from bisect import bisect
from itertools import accumulate
from pathlib import Path

from modelyard.errors import BadInput, YardError
from modelyard.serve import routes
from modelyard.serve.capture import Writer
from modelyard.serve.client import RunnerClient
from modelyard.serve.protocols import Plan
from modelyard.serve.refusals import NoRunner
from modelyard.serve.stats import RunnerStats, Stats, VariantStats
from modelyard.signature import Signature

log = logging.getLogger("modelyard.front")
POLL_SECONDS = 0.05
_CONNECT_SECONDS = 2.0


class LiveVariant:
    """A version that answers. `clients` are its runners."""

    def __init__(self, variant: routes.Variant, limits: routes.Limits, clients: list[RunnerClient], stats: VariantStats) -> None:
        self.version, self.weight = variant.version, variant.weight
        self.signature = Signature.from_dict(variant.signature)
        self.plan = Plan(self.signature, variant.extras, max_rows=limits.max_rows, max_event_age_days=limits.max_event_age_days)
        self.clients, self.stats = clients, stats

    @property
    def ready(self) -> bool:
        return any(c.connected for c in self.clients)

    def runner(self) -> RunnerClient:
        """The connected runner with the least to do. Raises NoRunner."""
        connected = [c for c in self.clients if c.connected]
        if not connected:
            raise NoRunner(f"no runner of version {self.version} answers")
        return min(connected, key=lambda c: c.load)


class Live:
    """One routing table in force. Requests keep the one they began with; it is never changed, only replaced."""

    def __init__(self, table: routes.RoutingTable, variants: list[LiveVariant]) -> None:
        self.table, self.variants = table, variants
        self._choices = [v for v in variants if v.weight > 0]
        self._steps = list(accumulate(v.weight for v in self._choices))

    @property
    def ready(self) -> bool:
        return any(v.ready for v in self._choices)

    def choose(self, target: str | None = None) -> LiveVariant:
        """A variant by weight, or the one that the caller names. Raises NoRunner, BadInput."""
        if target is not None:
            for variant in self.variants:
                if variant.version == target:
                    return variant
            raise BadInput(f"there is no variant `{target[:80]}`", where="header X-Amzn-SageMaker-Target-Variant")
        if not self._choices:
            raise NoRunner("no version is deployed here", next="Deploy a version first.")
        if len(self._choices) == 1:
            return self._choices[0]
        return self._choices[min(bisect(self._steps, random.random() * self._steps[-1]), len(self._choices) - 1)]  # noqa: S311


class Router:
    """Follows the routing table's file. `live` is the table in force, `writer` its capture (None when off)."""

    def __init__(self, path: Path, stats: Stats) -> None:
        self.path, self.stats = path, stats
        self.live: Live | None = None
        self.writer: Writer | None = None
        self._clients: dict[tuple[str, str], RunnerClient] = {}
        self._seen: tuple[int, int, int] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    async def follow(self) -> None:
        """Look at the file for ever, twenty times a second."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take up the file's table if it is new. One that does not hold is left aside: the old one stays in force."""
        try:
            state = os.stat(self.path)  # noqa: PTH116  (every 50 ms)
            seen = (state.st_mtime_ns, state.st_ino, state.st_size)
            if seen == self._seen:
                return
            self._seen = seen
            async with self._one_at_a_time:
                await self.take_up(routes.read(self.path))
        except (YardError, OSError) as exc:
            self.stats.bad_tables += 1
            log.error("the routing table is left aside: %s", exc)
        except Exception:  # this loop must outlive whatever a table holds, or no later table would be taken up
            self.stats.bad_tables += 1
            log.exception("the routing table is left aside")

    async def take_up(self, table: routes.RoutingTable) -> None:
        """Connect to what is new, then swap in one step, then let go of what is no longer named."""
        variants = []
        for variant in table.variants:
            outputs = Signature.from_dict(variant.signature).outputs
            clients = [self._client(variant.version, path, outputs) for path in variant.sockets]
            variants.append(LiveVariant(variant, table.limits, clients, self.stats.variants.setdefault(variant.version, VariantStats())))
        new = [c for v in variants for c in v.clients if not c.connected]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(c.ready.wait() for c in new)), _CONNECT_SECONDS)
        old, self.live = self.live, Live(table, variants)
        self._swap_capture(old, table)
        self.stats.generation = table.generation
        kept = {(v.version, path) for v in table.variants for path in v.sockets}
        for key in [k for k in self._clients if k not in kept]:
            task = asyncio.ensure_future(self._clients.pop(key).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        log.info("routing table %s: %s", table.generation, {v.version: v.weight for v in table.variants})

    def _client(self, version: str, path: str, outputs: tuple[str, ...]) -> RunnerClient:
        client = self._clients.get((version, path))
        if client is None or client.outputs != outputs:
            client = self._clients[(version, path)] = RunnerClient(path, outputs)
        return client

    def _swap_capture(self, old: Live | None, table: routes.RoutingTable) -> None:
        if old is not None and old.table.capture == table.capture:
            return
        if self.writer is not None:
            self.writer.close()
        capture = table.capture
        on = capture.mode != "off" and capture.sample > 0
        self.writer = Writer(Path(capture.dir), sample=capture.sample, stats=self.stats.capture) if on else None

    def refresh_stats(self) -> Stats:
        """The stats with what is only known now."""
        self.stats.ready = self.live is not None and self.live.ready
        self.stats.runners = {
            path: RunnerStats(version, c.connected, round(c.busy_seconds, 3), c.load) for (version, path), c in self._clients.items()
        }
        return self.stats

    async def close(self) -> None:
        """Let what is in flight finish, then end connections and capture."""
        for client in self._clients.values():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.close(), 5)
        if self.writer is not None:
            self.writer.close()
