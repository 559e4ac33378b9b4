"""Scenarios of the archive: it is killed, refused and raced while it copies, drops and restores.

Here: months of minute bars, what is done to `wrdata archive run | drop | restore` over them, and
where. Not here: how a worker is held where it is struck (pause_points.py), faults of loads
(scenarios.py), or the verdict (archive_oracle.py).

A fault strikes a worker at a pause point: at a request to the bucket, or before a write to a
table. The seed draws the point, so it fixes how far the worker is. After each strike the oracle
looks before anything is repaired.
"""

import signal
from collections.abc import Sequence
from datetime import date, timedelta

import psycopg

from faults.archive_oracle import Archived
from faults.dataset_oracle import Slice
from faults.pause_points import Corruption, Hold, PausePoint
from faults.workers import Worker
from faults.world import STORES, Scene
from machine import processes
from marketdata.calendars import calendar, utc_now
from sandbox.simulators.object_store_front import INTERNAL_ERROR, SLOW_DOWN, S3Fault

DATABASE = STORES[:1]
DATASET = "minute_bars"
AGE = timedelta(days=1)
"""Age at which its rows may be dropped."""
NAMED = ("--dataset", DATASET)
DROP = ("archive", "drop", *NAMED)
HELD_WITHIN_S = 60.0
"""Seconds a command may take to reach its pause point."""
SILENT_WITHIN_S = 15.0
"""Seconds PostgreSQL may take to notice that a killed client is gone."""
TOLD = 400
"""Characters of a failed command's output that are shown."""
OTHER_SESSIONS = """
    select from pg_stat_activity
    where
        datname = current_database()
        and backend_type = 'client backend'
        and pid <> pg_backend_pid()
"""
LONG_AGO = timedelta(days=4)
"""Days that ended this long ago are settled at every provider."""


def _written(name: str) -> str:
    """Return the pattern of the request that completes an object, in one piece or in parts."""
    return rf"^(PUT \S+{name}\?(x-id=PutObject)?|POST \S+{name}\?\S*uploadId=\S+)$"


DATA, METADATA = r"/data/\S+\.parquet", r"/0*[1-9]\d*-[^/]+\.metadata\.json"
BEFORE_COMMIT = (
    PausePoint(name="before a file is sent", request=rf"^(PUT|POST) \S+{DATA}"),
    PausePoint(name="after a file was sent", request=rf"^PUT \S+{DATA}", done=True),
    PausePoint(name="while a file is read back", request=rf"^GET \S+{DATA}"),
    PausePoint(name="after the manifest", request=_written(r"-m0\.avro"), done=True),
    PausePoint(name="after the manifest list", request=_written(r"/snap-[^/]+\.avro"), done=True),
    PausePoint(name="before the metadata", request=rf"^(PUT|POST) \S+{METADATA}"),
    PausePoint(name="after the metadata", request=_written(METADATA), done=True),
)
"""Points before the commit of an archive run; the next run starts over."""
AT_COMMIT = PausePoint(name="before the metadata", request=rf"^(PUT|POST) \S+{METADATA}")
BEFORE_LOG = PausePoint(name="before the log of proofs", table="archive_log")
IN_TRANSACTION = (
    PausePoint(name="before the tombstone", table="archive_tombstone"),
    PausePoint(name="before the ledger", table="coverage"),
)
"""Points where rows are removed or restored, but not committed."""


def killed_archive(scene: Scene) -> Sequence[Archived]:
    """Kill archive runs before their commit (long form), and one between commit and log."""
    claim = _loaded(scene, 2)
    points = [] if scene.short else scene.random.sample(BEFORE_COMMIT, 2)
    for point in (*points, BEFORE_LOG):
        _kill_at(scene, point, *_archive(claim))
        _look(scene, claim, f"after kill -9 {point.name}")
    scene.fault_ends()
    _has_to_work(scene, *_archive(claim))
    return [claim]


def killed_retention(scene: Scene) -> Sequence[Archived]:
    """Kill retention while it archives, while it drops, and between two months."""
    claim = _loaded(scene, 2)
    months = _months(claim)
    # A file is fetched from its first byte, in parts of megabytes. The footers of all months
    # are smaller, and are read before the first month is dropped.
    whole = rf"^GET \S+/data/{months[-1]}/\S+\.parquet\? bytes=0-\d{{7,}}$"
    between = PausePoint(name="between two months", request=whole)
    archives, drops = scene.random.choice(BEFORE_COMMIT), scene.random.choice(IN_TRANSACTION)
    _kill_at(scene, archives, *DROP)
    _look(scene, claim, f"after kill -9 {archives.name}")
    _kill_at(scene, drops, *DROP)
    _look(scene, claim, f"after kill -9 {drops.name}")
    _has_dropped(scene, 0)
    _kill_at(scene, between, *DROP)
    _look(scene, claim, f"after kill -9 {between.name}")
    _has_dropped(scene, len(months) - 1)
    scene.fault_ends()
    _has_to_work(scene, *DROP)
    _has_dropped(scene, len(months))
    return [claim]


def archive_without_bucket(scene: Scene) -> Sequence[Archived]:
    """Keep half of an object, cut answers, and refuse a part of the requests."""
    claim = _loaded(scene, 2)
    scene.front.corrupt(Corruption.HALF_KEPT, rf"^PUT \S+{DATA}", 1)
    if scene.run(*_archive(claim)) == 0:
        scene.wrong.append("an archive run succeeded though half of its file was lost")
    _look(scene, claim, "after half of an object was kept")
    how = scene.random.choice((Corruption.HALF_ANSWER, Corruption.DONE_BUT_500))
    method = "GET" if how is Corruption.HALF_ANSWER else "PUT"
    scene.front.corrupt(how, rf"^{method} iceberg/", scene.random.randint(2, 6))
    scene.front.fault = S3Fault(troubles=(INTERNAL_ERROR, SLOW_DOWN), share=0.35, prefix="iceberg/")
    scene.run(*DROP)
    scene.heal_object_store()
    scene.inject("request corrupted", scene.front.corrupted)
    _look(scene, claim, "after S3 failed")
    _has_to_work(scene, *DROP)
    _has_dropped(scene, len(_months(claim)))
    return [claim]


def archive_without_database(scene: Scene) -> Sequence[Archived]:
    """Restart PostgreSQL during an archive run (fast) and during retention (immediate)."""
    claim = _loaded(scene, 2)
    _restart_at(scene, scene.random.choice(BEFORE_COMMIT), signal.SIGINT, "fast", *_archive(claim))
    _look(scene, claim, "after a fast restart")
    drops = scene.random.choice(IN_TRANSACTION)
    _restart_at(scene, drops, signal.SIGQUIT, "immediate", *DROP)
    _look(scene, claim, "after an immediate restart")
    scene.fault_ends()
    _has_to_work(scene, *DROP)
    _has_dropped(scene, len(_months(claim)))
    return [claim]


def two_archives(scene: Scene) -> Sequence[Archived]:
    """Let an archive run lose a race to another, while a load restates what both copy."""
    claim = _loaded(scene, 2)
    _has_to_work(scene, *_archive(claim))
    former = scene.archive_oracle.truth(claim.slice)
    days = _middle(claim)
    ticker = claim.slice.symbols[0]
    scene.control.correct(ticker, days[0], 1.25)
    scene.load(claim.slice, refetch=True)
    with scene.held(AT_COMMIT) as hold:
        slower = scene.start(*_archive(claim))
        _await(scene, hold, slower)
        before = scene.archive_oracle.snapshots(DATASET)
        scene.control.correct(ticker, days[1], 0.75)
        others = [
            scene.start_load(claim.slice, refetch=True),
            scene.start(*_archive(claim)),
            scene.start("aggregates", "refresh"),
        ]
        _have_to_work(scene, others)
        if scene.archive_oracle.snapshots(DATASET) == before:
            scene.wrong.append("no run committed while the slower one was held: it showed nothing")
    scene.inject("commit that lost its race")
    scene.fault_ends()
    _have_to_work(scene, [slower])
    _look(scene, Archived(slice=claim.slice, former=former), "after the race")
    _has_to_work(scene, *_archive(claim))
    return [Archived(slice=claim.slice, former=former)]


def late_rows(scene: Scene) -> Sequence[Archived]:
    """Load rows of dropped months; kill the retention that archives them, and a restore."""
    first = _loaded(scene, 2)
    restated, kept = first.slice.symbols
    added = next(member for member in scene.members() if member not in first.slice.symbols)
    whole = Archived(
        slice=_slice((restated, kept, added)), former=scene.archive_oracle.truth(first.slice)
    )
    _has_to_work(scene, *DROP)
    scene.control.correct(restated, _middle(first)[0], 1.25)
    scene.load(_slice((restated, added)), refetch=True)
    _look(scene, whole, "after late rows")
    takes_in = scene.random.choice((*BEFORE_COMMIT, *IN_TRANSACTION))
    _kill_at(scene, takes_in, *DROP)
    _look(scene, whole, f"after kill -9 {takes_in.name}")
    _has_to_work(scene, *DROP)
    _has_dropped(scene, len(_months(whole)))
    restores = scene.random.choice((*IN_TRANSACTION, BEFORE_COMMIT[2]))
    bounds = [f"{whole.slice.start}", f"{whole.slice.end}"]
    restore = ("archive", "restore", *NAMED, "--start", bounds[0], "--end", bounds[1])
    _kill_at(scene, restores, *restore)
    _look(scene, whole, f"after kill -9 {restores.name}")
    scene.fault_ends()
    _has_to_work(scene, *restore)
    _has_dropped(scene, 0)
    return [whole]


def _loaded(scene: Scene, tickers: int) -> Archived:
    """Load minutes of the last two closed months and the days around; make them droppable."""
    scene.environment = {**scene.environment, "WRDATA_RETENTION": f"{DATASET}={AGE.days}d"}
    part = _slice(tuple(sorted(scene.random.sample(scene.members(), tickers))))
    scene.load(part)
    return Archived(slice=part)


def _slice(symbols: tuple[str, ...]) -> Slice:
    """Return minutes of a whole month and some days before and after it.

    Both borders of the month lie in seven-day chunks that also hold rows of its neighbours.
    """
    border = (utc_now() - LONG_AGO).date().replace(day=1)
    month_before = (border - timedelta(days=1)).replace(day=1)
    return Slice(
        dataset=DATASET,
        provider="polygon",
        symbols=symbols,
        start=month_before - timedelta(days=4),
        end=border + timedelta(days=2),
    )


def _months(claim: Archived) -> list[str]:
    """Return the labels of the months of the claim that are old enough to be dropped."""
    over = (utc_now().date() - AGE).replace(day=1)
    return sorted({f"{day:%Y-%m}" for day in _sessions(claim) if day < over})


def _archive(claim: Archived) -> tuple[str, ...]:
    """Return the command that archives the claim's months, and no month before them."""
    return ("archive", "run", *NAMED, "--start", f"{claim.slice.start:%Y-%m}")


def _middle(claim: Archived) -> list[date]:
    """Return two sessions in the middle of the slice."""
    sessions = _sessions(claim)
    return [sessions[len(sessions) // 2], sessions[len(sessions) // 2 + 1]]


def _sessions(claim: Archived) -> list[date]:
    start, end = claim.slice.start, claim.slice.end
    return calendar().sessions(start, end) if start and end else []


def _kill_at(scene: Scene, point: PausePoint, *command: str) -> None:
    """Start a command, and kill it at the pause point."""
    with scene.held(point) as hold:
        worker = scene.start(*command)
        _await(scene, hold, worker)
        if worker.kill():
            scene.inject(f"kill -9 {point.name}")
        hold.abandoned = True
    _await_silence(scene)


def _restart_at(
    scene: Scene, point: PausePoint, how: signal.Signals, name: str, *command: str
) -> None:
    """Start a command, restart PostgreSQL at the pause point, and let the command end."""
    with scene.held(point) as hold:
        worker = scene.start(*command)
        _await(scene, hold, worker)
        scene.servers.world.stop(DATABASE, with_signal=how)
        scene.servers.world.start(DATABASE)
        scene.inject(f"restart, {name}, {point.name}")
    worker.ended()
    _await_silence(scene)


def _await(scene: Scene, hold: Hold, worker: Worker) -> None:
    """Wait until the worker is held; the scenario fails if it never is."""
    processes.wait_until(
        lambda: hold.is_reached() or not worker.runs, within_s=HELD_WITHIN_S, every_s=0.05
    )
    if not hold.is_reached():
        scene.wrong.append(f"`{worker.name}` never came to {hold.point.name}: it showed nothing")


def _await_silence(scene: Scene) -> None:
    """Wait until the database has no session of a worker left."""
    with psycopg.connect(scene.environment["WRDATA_DATABASE_URL"], autocommit=True) as connection:
        processes.wait_until(
            lambda: not connection.execute(OTHER_SESSIONS).fetchone(), within_s=SILENT_WITHIN_S
        )


def _look(scene: Scene, claim: Archived, when: str) -> None:
    """Let the oracle look before anything is repaired."""
    wrong = scene.archive_oracle.look([claim], settled=False).wrong
    scene.wrong += [f"{when}: {finding}" for finding in wrong]


def _has_to_work(scene: Scene, *command: str) -> None:
    _have_to_work(scene, [scene.start(*command)])


def _have_to_work(scene: Scene, workers: Sequence[Worker]) -> None:
    for worker in workers:
        if worker.ended() != 0:
            output = f"{worker.stdout}{worker.stderr}".strip()[-TOLD:]
            scene.wrong.append(f"`{worker.name}` failed: {output}")


def _has_dropped(scene: Scene, months: int) -> None:
    """Check the number of dropped months: rows alone do not show that retention worked."""
    dropped = len(scene.archive_oracle.dropped(DATASET))
    if dropped != months:
        scene.wrong.append(f"{dropped} months are dropped, not {months}")
