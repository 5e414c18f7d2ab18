"""A month of schedules: what Prefect's database, the logs and the store come to, kept for ever and as they are kept.

    python benchmarks/month.py                   17,280 looks, six months of other runs; some minutes

A real `headcanon up` makes one run of watch-inbox, one of janitor and one that fails at once. With the server ended,
each is multiplied in its database, with all that Prefect keeps of it (states, logs, events and their resources), at
the times at which a month would have had them. Then the server is started again, its own vacuum runs, and what the
janitor does is done until nothing is old. Sizes are of what is in use: SQLite keeps emptied pages for what comes next.

Exits with 1 when more than a day of looks, a week of events or 90 days of other runs are left.
"""

import os
import re
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

os.environ |= {
    "PREFECT_HOME": tempfile.mkdtemp(prefix="month-prefect-"),
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "20",
}
import flows.cli  # noqa: F401, I001  (Prefect's settings, before it is imported)
from cast import running
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from flows.janitor import forget_old_runs
from flows.provision import client_of
from flows.wanted import Wanted

os.environ["PREFECT_LOGGING_LEVEL"] = "INFO"  # its lines are kept too
DATABASE = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
LOOKS_A_DAY = 288
TABLES = ("flow_run", "flow_run_state", "log", "events", "event_resources")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDED = ("COMPLETED", "FAILED", "CRASHED")


def one_run(client: SyncPrefectClient, name: str, **parameters: str) -> str:
    """Run a deployment once; returns the run's id."""
    run = run_deployment(f"{name}/{name}", parameters=parameters, timeout=0, as_subflow=False)
    assert isinstance(run, FlowRun)
    while client.read_flow_run(run.id).state_type not in _ENDED:
        time.sleep(2)
    return str(run.id)


def multiply(database: sqlite3.Connection, run: str, every: timedelta, count: int) -> None:
    """Copy a run with everything that belongs to it, `count` times, each so much earlier than the one before."""
    events = "SELECT event_id FROM event_resources WHERE resource_id = ?"
    rows = {
        "flow_run": _rows(database, "SELECT * FROM flow_run WHERE id = ?", run),
        "flow_run_state": _rows(database, "SELECT * FROM flow_run_state WHERE flow_run_id = ?", run),
        "log": _rows(database, "SELECT * FROM log WHERE flow_run_id = ?", run),
        "events": _rows(database, f"SELECT * FROM events WHERE id IN ({events})", f"prefect.flow-run.{run}"),
        "event_resources": _rows(
            database, f"SELECT * FROM event_resources WHERE event_id IN ({events})", f"prefect.flow-run.{run}"
        ),
    }
    dates = {table: _dates(database, table) for table in TABLES}
    ids = [row["id"] for found in rows.values() for row in found]
    for number in range(1, count + 1):
        new = {old: str(uuid.uuid4()) for old in ids}
        for table, found in rows.items():
            copies = [_copy(row, new, dates[table], every * number) for row in found]
            marks = ", ".join("?" * len(found[0])) if found else ""
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", copies)
    database.commit()


def _rows(database: sqlite3.Connection, query: str, value: str) -> list[dict[str, object]]:
    cursor = database.execute(query, (value,))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _dates(database: sqlite3.Connection, table: str) -> set[str]:
    columns = database.execute(f"PRAGMA table_info({table})").fetchall()
    return {column[1] for column in columns if column[2].upper() in ("DATETIME", "TIMESTAMP")}


def _copy(row: dict[str, object], new: dict[object, str], dates: set[str], earlier: timedelta) -> list[object]:
    values: list[object] = []
    for name, value in row.items():
        if name in dates and isinstance(value, str):
            value = (datetime.fromisoformat(value) - earlier).isoformat(" ", "microseconds")
        elif name == "idempotency_key" and value is not None:
            value = str(uuid.uuid4())
        elif isinstance(value, str):
            value = _ID.sub(lambda found: new.get(found[0], found[0]), value)
        values.append(value)
    return values


def sizes(home: Path) -> Iterator[str]:
    """Lines about what is there."""
    with closing(sqlite3.connect(DATABASE)) as database:
        page, pages, free = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    yield f"  database: {(pages - free) * page / 1e6:,.1f} MB in use, file of {pages * page / 1e6:,.1f} MB"
    yield "  " + ", ".join(f"{count:,} {table}" for table, count in counts.items())
    for name in ("logs", ""):
        used = sum(path.stat().st_size for path in (home / ".headcanon" / name).rglob("*") if path.is_file())
        yield f"  {'logs' if name else 'store'}: {used / 1e6:,.2f} MB"


def left(database: sqlite3.Connection, now: datetime) -> dict[str, int]:
    """What is left of runs and events that should be gone: those older than what is kept and an hour more."""
    old = {name: (now - timedelta(days=days, hours=1)).isoformat(" ") for name, days in _KEPT.items()}
    looks = "FROM flow_run WHERE tags LIKE '%housekeeping%'"
    return {
        "looks": database.execute(f"SELECT count(*) {looks} AND end_time < ?", (old["looks"],)).fetchone()[0],
        "runs": database.execute("SELECT count(*) FROM flow_run WHERE end_time < ?", (old["runs"],)).fetchone()[0],
        "events": database.execute("SELECT count(*) FROM events WHERE occurred < ?", (old["events"],)).fetchone()[0],
        "logs": database.execute(
            "SELECT count(*) FROM log WHERE flow_run_id NOT IN (SELECT id FROM flow_run)"
        ).fetchone()[0],
    }


_KEPT = {"looks": 1, "runs": 90, "events": 7}


def main() -> int:
    """Simulate, and print sizes before and after."""
    home = Path(tempfile.mkdtemp(prefix="month-"))
    wanted = Wanted(home=home, port=int(sys.argv[1]) if len(sys.argv) > 1 else 4747)
    with running(wanted, 1), client_of(wanted), get_client(sync_client=True) as client:
        for name in ("watch-inbox", "janitor"):
            client.pause_deployment(client.read_deployment_by_name(f"{name}/{name}").id)
        looks = [one_run(client, name) for name in ("watch-inbox", "janitor")]
        other = one_run(client, "train-character", character="nobody")
        time.sleep(10)  # events arrive late
    print("after one run of each:", *sizes(home), sep="\n", flush=True)
    begun = time.monotonic()
    with closing(sqlite3.connect(DATABASE)) as database:
        database.execute("PRAGMA synchronous = OFF")
        for run in looks:
            multiply(database, run, timedelta(days=1) / LOOKS_A_DAY, 30 * LOOKS_A_DAY)
        multiply(database, other, timedelta(hours=4), 1080)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    print(f"a month kept for ever ({time.monotonic() - begun:.0f} s to make):", *sizes(home), sep="\n", flush=True)
    begun = time.monotonic()
    with running(wanted, 1), client_of(wanted), get_client(sync_client=True) as client:
        forgotten = 0
        while more := forget_old_runs(client, timedelta(days=1)):
            forgotten += more
        print(f"{forgotten} looks deleted in {time.monotonic() - begun:.0f} s", flush=True)
        while time.monotonic() - begun < 1200:
            with closing(sqlite3.connect(DATABASE, timeout=60)) as database:
                found = left(database, datetime.now(UTC).replace(tzinfo=None))
            if not any(found.values()):
                break
            time.sleep(10)
    print(f"as it is kept ({time.monotonic() - begun:.0f} s):", *sizes(home), sep="\n")
    print("left that should be gone:", found)
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
