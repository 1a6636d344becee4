"""Durable runs on DBOS, configured as DESIGN.md says: application version pinned, JSON, rollback journal with FULL, log level WARNING.

Usage: dbos_run.py HOME run|send|noop [N].  TUNED=1 shortens the notification poll from 1 s to 20 ms. EVENTS says how a step writes its
journal event: `own` in a transaction of its own, `datasource` in a DBOS datasource transaction (exactly once), unset not at all.
"""

# os and open on purpose: imports are part of what is timed
# ruff: noqa: PTH100

import json
import os
import sys
import time

import scenario as sc

# --- the engine (what the product would keep, as one module) ------------------------------------------------------------------
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, SetWorkflowID, SQLAlchemyDatasource

IMPORTED = time.perf_counter()


@sa.event.listens_for(sa.Engine, "connect")  # beside DBOS's own listener, which sets IMMEDIATE, busy_timeout and foreign_keys
def _(dbapi, _record):
    for pragma in ("journal_mode=DELETE", "synchronous=FULL"):
        dbapi.execute("PRAGMA " + pragma)


URL = f"sqlite:///{os.path.abspath(sc.HOME)}/dbos.sqlite"
CONFIG = {
    "name": "modelyard",
    "system_database_url": URL,
    "application_version": "1",
    "executor_id": "owner",
    "serializer": DBOSPortableJSONSerializer(),
    "log_level": "WARNING",
}
if os.environ.get("TUNED"):
    CONFIG |= {"notification_listener_polling_interval_sec": 0.02}


def start(workflow, run_id: str, *args):
    """A handle on the run; start it unless it is known (launch has recovered those that were under way)."""
    if DBOS.get_workflow_status(run_id):
        return DBOS.retrieve_workflow(run_id)
    with SetWorkflowID(run_id):
        return DBOS.start_workflow(workflow, *args)


# --- the scenario -------------------------------------------------------------------------------------------------------------
EVENTS = os.environ.get("EVENTS")
JOURNAL = sa.create_engine(f"sqlite:///{os.path.abspath(sc.HOME)}/journal.sqlite") if EVENTS else None
INSERT = sa.text("insert into events(body) values (:body)")


@DBOS.step()
def step(name: str) -> dict:
    if EVENTS == "own":
        with JOURNAL.begin() as tx:
            tx.execute(INSERT, {"body": json.dumps({"type": "step_done", "name": name})})
    return sc.work(name)


@DBOS.workflow()
def pipeline() -> None:
    for name in sc.NAMES[:6]:
        step(name)
        sc.kill_point("between:" + name)
    sc.log("waiting")
    sc.log("received:" + json.dumps(DBOS.recv("approval", sc.WAIT_S)))
    sc.kill_point("between:approval")
    for name in sc.NAMES[6:]:
        step(name)
        sc.kill_point("between:" + name)


@DBOS.step()
def noop_step() -> int:
    if EVENTS == "own":
        with JOURNAL.begin() as tx:
            tx.execute(INSERT, {"body": '{"type": "step_done", "name": "noop"}'})
    return 1


@DBOS.workflow()
def noop(n: int) -> None:
    for _ in range(n):
        if EVENTS == "datasource":
            DATASOURCE.run_tx_step(None, write_event)
        else:
            noop_step()


def write_event() -> int:
    DATASOURCE.sql_session().execute(INSERT, {"body": '{"type": "step_done", "name": "noop"}'})
    return 1


def main() -> None:
    global DATASOURCE
    if sc.MODE == "send":
        client = DBOSClient(system_database_url=URL, serializer=DBOSPortableJSONSerializer())
        client.send(sc.RUN, {"by": "ann", "ok": True}, "approval")
        return client.destroy()
    if EVENTS:
        with JOURNAL.begin() as tx:
            tx.execute(sa.text("create table if not exists events(id integer primary key, body text not null)"))
    dbos = DBOS(config=CONFIG)
    if EVENTS == "datasource":
        DATASOURCE = SQLAlchemyDatasource.create(str(JOURNAL.url), engine=JOURNAL, serializer=DBOSPortableJSONSerializer())
    DBOS.launch()
    launched = time.perf_counter()
    if sc.MODE == "run":
        sc.send_when_waiting(lambda: DBOS.send(sc.RUN, {"by": "ann", "ok": True}, "approval"))
        handle = start(pipeline, sc.RUN)
        handle.get_result()
        print(json.dumps({"status": handle.get_status().status}))
    else:
        n = int(sys.argv[3])
        start(noop, f"noop-{time.time_ns()}", n).get_result()
        ran, held = time.perf_counter(), sc.held("dbos.sqlite")
        with dbos._sys_db.engine.begin() as tx:
            pragmas = [tx.exec_driver_sql("PRAGMA " + p).scalar() for p in ("journal_mode", "synchronous")]
        t = time.perf_counter()
        DBOS.destroy()
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
    DBOS.destroy()


if __name__ == "__main__":
    main()
