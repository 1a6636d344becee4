"""Durable runs on a journal of our own: SQLAlchemy Core, one connection, rollback journal, synchronous FULL.

Usage: own_run.py HOME run|send|noop [N]
"""

# os and open on purpose: imports are part of what is timed
# ruff: noqa: PTH118, PTH123, SIM115, I001

import json
import os
import sys
import time

import scenario as sc

# --- the engine (what the product would keep, as one module) ------------------------------------------------------------------
import fcntl
import threading
from contextlib import contextmanager

import sqlalchemy as sa

META = sa.MetaData()
RUNS = sa.Table(
    "runs",
    META,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("args", sa.Text, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("error", sa.Text),
)
STEPS = sa.Table(
    "steps",
    META,
    sa.Column("run_id", sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("result_json", sa.Text),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    sa.UniqueConstraint("run_id", "name"),
)
MESSAGES = sa.Table(
    "messages",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)
EVENTS = sa.Table(
    "events",
    META,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)


class Closed(BaseException):
    """The process is stopping: leave the run as it is, it goes on at the next start."""


class Engine:
    """All runs of one home. One process owns it (a lock file), and one connection does all its work, under one lock."""

    def __init__(self, path: str, kinds: dict) -> None:
        self.kinds, self._closed, self._threads = kinds, False, {}
        self._owner = open(path + ".lock", "w")
        fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: another process owns this home
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})

        @sa.event.listens_for(engine, "connect")
        def _(dbapi, _record):
            dbapi.isolation_level = None  # we say BEGIN ourselves
            for pragma in ("journal_mode=DELETE", "synchronous=FULL", "foreign_keys=ON"):
                dbapi.execute("PRAGMA " + pragma)

        sa.event.listen(engine, "begin", lambda conn: conn.exec_driver_sql("BEGIN IMMEDIATE"))
        self._conn, self._news = engine.connect(), threading.Condition(threading.RLock())
        with self.tx() as tx:
            META.create_all(tx, checkfirst=True)

    @contextmanager
    def tx(self):
        with self._news, self._conn.begin():
            yield self._conn

    def start(self, kind: str, run_id: str, args: dict) -> None:
        """Record the run, unless it is known, and carry it on, unless it is done or under way."""
        with self.tx() as tx:
            if not tx.execute(sa.select(RUNS.c.id).where(RUNS.c.id == run_id)).first():
                tx.execute(RUNS.insert().values(id=run_id, kind=kind, args=json.dumps(args), status="running"))
        self.resume(run_id)

    def resume(self, run_id: str | None = None) -> None:
        """Carry on what was running when the process ended: one run, or all."""
        with self.tx() as tx:
            for row in tx.execute(sa.select(RUNS).where(RUNS.c.status == "running", (RUNS.c.id == run_id) if run_id else sa.true())).all():
                if row.id not in self._threads:
                    self._threads[row.id] = threading.Thread(target=self._carry_on, args=(row,), daemon=True)
                    self._threads[row.id].start()

    def _carry_on(self, row) -> None:
        status, error = "done", None
        try:
            self.kinds[row.kind](Run(self, row.id), **json.loads(row.args))
        except Closed:
            return
        except Exception as e:  # the boundary of user-visible work: whatever went wrong is the run's error
            status, error = "failed", f"{type(e).__name__}: {e}"
        with self.tx() as tx:
            tx.execute(RUNS.update().where(RUNS.c.id == row.id).values(status=status, error=error))
            self._news.notify_all()

    def send(self, run_id: str, topic: str, payload) -> None:
        with self.tx() as tx:
            tx.execute(MESSAGES.insert().values(run_id=run_id, topic=topic, payload=json.dumps(payload)))
            self._news.notify_all()  # a waiter wakes when this block has committed and let go of the lock

    def result(self, run_id: str) -> tuple:
        self._threads[run_id].join() if run_id in self._threads else None
        with self.tx() as tx:
            return tuple(tx.execute(sa.select(RUNS.c.status, RUNS.c.error).where(RUNS.c.id == run_id)).one())

    def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
        for thread in self._threads.values():
            thread.join()
        self._conn.close()
        self._owner.close()


class Run:
    """What the code of a run holds: steps that are done once, waits that outlive the process."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        self.engine, self.id, self._seen, self._events = engine, run_id, set(), []
        with engine.tx() as tx:
            self._receipts = {r.name: r.result_json for r in tx.execute(sa.select(STEPS).where(STEPS.c.run_id == run_id))}

    def step(self, name: str, work, *args):
        """The result of `work(*args)`, computed once in the life of the run. Its receipt and its events are one transaction."""
        if name in self._seen:
            raise ValueError(f"two steps named {name} in run {self.id}")
        self._seen.add(name)
        if name in self._receipts:
            return json.loads(self._receipts[name])
        if self.engine._closed:
            raise Closed
        self._events, started = [], time.time()
        result = work(*args)
        with self.engine.tx() as tx:
            self._receipt(tx, name, result, started)
        return json.loads(self._receipts[name])  # what a replay gives: a tuple is a list the first time too

    def emit(self, **fact) -> None:
        """An event of the step under way; it is written when, and only when, the step's receipt is."""
        self._events.append(fact)

    def wait(self, topic: str, timeout: float):
        """The next message on `topic`, or None at the deadline, which is set once and outlives restarts."""
        deadline = self.step(f"wait:{topic}", lambda: time.time() + timeout)
        name = f"got:{topic}"
        if name in self._receipts:
            return json.loads(self._receipts[name])
        with self.engine._news:
            while True:
                with self.engine.tx() as tx:
                    mine = (MESSAGES.c.run_id == self.id) & (MESSAGES.c.topic == topic)
                    row = tx.execute(sa.select(MESSAGES).where(mine).order_by(MESSAGES.c.id).limit(1)).first()
                    left = deadline - time.time()
                    if row or left <= 0:
                        payload = json.loads(row.payload) if row else None
                        tx.execute(MESSAGES.delete().where(MESSAGES.c.id == row.id)) if row else None
                        self._events = []
                        self._receipt(tx, name, payload, time.time())
                        return payload
                if self.engine._closed:
                    raise Closed
                self.engine._news.wait(min(left, 60.0))

    def _receipt(self, tx, name: str, result, started: float) -> None:
        text = json.dumps(result)
        tx.execute(
            STEPS.insert().values(run_id=self.id, name=name, seq=len(self._receipts), result_json=text, started=started, ended=time.time())
        )
        if self._events:
            tx.execute(EVENTS.insert(), [{"run_id": self.id, "body": json.dumps(e)} for e in self._events])
        self._receipts[name] = text


# --- the scenario -------------------------------------------------------------------------------------------------------------
IMPORTED = time.perf_counter()


def pipeline(run: Run) -> None:
    def one(name: str) -> dict:
        run.emit(type="step_done", name=name)
        return sc.work(name)

    for name in sc.NAMES[:6]:
        run.step(name, one, name)
        sc.kill_point("between:" + name)
    sc.log("waiting")
    sc.log("received:" + json.dumps(run.wait("approval", sc.WAIT_S)))
    sc.kill_point("between:approval")
    for name in sc.NAMES[6:]:
        run.step(name, one, name)
        sc.kill_point("between:" + name)


def noop(run: Run, n: int, events: bool) -> None:
    def one() -> int:
        if events:
            run.emit(type="step_done", name="noop")
        return 1

    for i in range(n):
        run.step(f"n{i}", one)


def main() -> None:
    engine = Engine(os.path.join(sc.HOME, "own.sqlite"), {"pipeline": pipeline, "noop": noop})
    launched = time.perf_counter()
    if sc.MODE == "send":
        engine.send(sc.RUN, "approval", {"by": "ann", "ok": True})
    elif sc.MODE == "run":
        sc.send_when_waiting(lambda: engine.send(sc.RUN, "approval", {"by": "ann", "ok": True}))
        engine.start("pipeline", sc.RUN, {})
        print(json.dumps({"status": engine.result(sc.RUN)[0]}))
    else:
        n, run_id = int(sys.argv[3]), f"noop-{time.time_ns()}"
        engine.start("noop", run_id, {"n": n, "events": bool(os.environ.get("EVENTS"))})
        assert engine.result(run_id) == ("done", None)
        ran, held = time.perf_counter(), sc.held("own.sqlite")
        with engine.tx() as tx:
            pragmas = [tx.exec_driver_sql("PRAGMA " + p).scalar() for p in ("journal_mode", "synchronous")]
        t = time.perf_counter()
        engine.close()
        print(
            json.dumps(
                {
                    "import_s": IMPORTED - sc.T0,
                    "launch_s": launched - IMPORTED,
                    "run_s": ran - launched,
                    "ms_a_step": (ran - launched) / n * 1e3,
                    "close_s": time.perf_counter() - t,
                    **held,
                    "pragmas": pragmas,
                }
            )
        )
        return
    engine.close()


if __name__ == "__main__":
    main()
