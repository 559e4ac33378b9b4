"""The scenarios: what is done to the pipeline, one function each.

Here: faults, and what the pipeline loads meanwhile. Not here: the servers and workers
(world.py), the verdict (oracle.py), or the order and the recovery (play.py).

A scenario returns its claims once its fault is over and its workers have ended. Its random draws
come from the suite's seed. The moment of a fault is drawn too, in answered requests instead of
seconds where possible; no seed can fix how far a worker is then.
"""

import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from faults import archive_scenarios, provider_scenarios
from faults.archive_oracle import Archived
from faults.dataset_oracle import Slice
from faults.oracle import Claim
from faults.workers import Worker
from faults.world import STORES, Scene
from machine import processes
from marketdata.calendars import calendar, utc_now
from marketdata.instruments import provider_spellings
from sandbox.simulators.faults import FaultKind, FaultRule, mixed
from sandbox.simulators.object_store_front import (
    DISK_FULL,
    INTERNAL_ERROR,
    SLOW_DOWN,
    S3Fault,
)

DATABASE = STORES[:1]
HISTORIES = "/stable/historical-price-eod/full"
ENDS_WITHIN_S = 30.0
"""How long a worker may take after SIGTERM."""
KILLS = 3
DAEMON_WITHIN_S = 240.0
"""Letters wait up to 60 s, the sensor looks every 30 s, a run takes some seconds to start."""
REFUSED_FOR_S = 5.0
DONE_SO_FAR = re.compile(r"\(\d+ of \d+ .* done\)")
"""Text by which an interrupted load says where it stopped."""

PROVIDER_FAULTS = (
    FaultRule(kind=FaultKind.STATUS, path=HISTORIES, status=500),
    FaultRule(kind=FaultKind.STATUS, path=HISTORIES, status=502),
    FaultRule(kind=FaultKind.STATUS, path=HISTORIES, status=503),
    FaultRule(kind=FaultKind.TIMEOUT, path=HISTORIES, seconds=3.0),
    FaultRule(kind=FaultKind.HALF_BODY, path=HISTORIES),
    FaultRule(kind=FaultKind.ERROR_IN_200, path=HISTORIES),
    FaultRule(kind=FaultKind.MALFORMED, path=HISTORIES),
    FaultRule(kind=FaultKind.HTML, path=HISTORIES),
    FaultRule(kind=FaultKind.MALFORMED_ROWS, path=HISTORIES),
    FaultRule(kind=FaultKind.DUPLICATE_ROWS, path=HISTORIES),
    FaultRule(kind=FaultKind.UNKNOWN, path=HISTORIES),
    FaultRule(kind=FaultKind.SLOW, path=HISTORIES, seconds=2.0),
    FaultRule(kind=FaultKind.DRIP, path=HISTORIES, seconds=2.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scenario.

    Attributes:
        play: The function that plays it; returns what was asked for.
        title: Its name in the table.
        per_minute: The provider's limit. Low where the load should reach it within a minute;
            otherwise above the key's 120, to be quick.
        short: Whether the short form plays it.
        same_command: Repeating the command recovers the load; otherwise its dead letters alone.
        sensor: Dagster's sensor retries due letters first, a person the rest.
        listed: Bars missing after the fault must have dead letters. A stopped command instead
            prints how to continue.
    """

    play: Callable[[Scene], Sequence[Claim | Slice | Archived]]
    title: str
    per_minute: int = 1200
    short: bool = False
    same_command: bool = False
    sensor: bool = False
    listed: bool = True


def killed_worker(scene: Scene) -> Sequence[Claim]:
    """Kill the worker at random points, while it starts and while it loads."""
    tickers = scene.draw_tickers(24)
    if not scene.short:
        worker = scene.backfill(tickers)
        time.sleep(scene.random.uniform(0.0, 4.0))
        _kill(scene, worker)
    for _ in range(1 if scene.short else KILLS - 1):
        worker = scene.backfill(tickers)
        scene.await_arrivals(scene.random.randint(1, 6), worker)
        time.sleep(scene.random.uniform(0.0, 0.3))
        _kill(scene, worker)
    scene.fault_ends()
    return [Claim(tickers=tuple(tickers))]


def killed_day_load(scene: Scene) -> Sequence[Claim]:
    """Kill the worker that loads whole trading days of the market."""
    last = calendar().last_closed(utc_now())
    days = calendar().sessions(last - timedelta(days=14), last)[-4:]
    command = ("backfill", "daily_bars", "--from", days[0].isoformat(), "--to", last.isoformat())
    for _ in range(2):
        worker = scene.start(*command)
        scene.await_arrivals(scene.random.randint(1, 2), worker)
        time.sleep(scene.random.uniform(0.0, 0.5))
        _kill(scene, worker)
    scene.fault_ends()
    return [Claim(tickers=tuple(scene.members()), start=days[0], end=last)]


def database_restarts(scene: Scene) -> Sequence[Claim]:
    """Restart PostgreSQL twice during a load: fast, and immediate as after a crash."""
    tickers = scene.draw_tickers(40)
    worker = scene.backfill(tickers)
    world = scene.servers.world
    for name, how in (("restart, fast", signal.SIGINT), ("restart, immediate", signal.SIGQUIT)):
        if scene.await_arrivals(scene.random.randint(4, 10), worker):
            world.stop(DATABASE, with_signal=how)
            world.start(DATABASE)
            scene.inject(name)
    scene.fault_ends()
    worker.ended()
    return [Claim(tickers=tuple(tickers))]


def database_refuses(scene: Scene) -> Sequence[Claim]:
    """Stop PostgreSQL for some seconds, so that connections are refused."""
    tickers = scene.draw_tickers(40)
    worker = scene.backfill(tickers)
    if scene.await_arrivals(scene.random.randint(4, 12), worker):
        scene.servers.world.stop(DATABASE)
        time.sleep(REFUSED_FOR_S)
        scene.servers.world.start(DATABASE)
        scene.inject(f"refused for {REFUSED_FOR_S:g} s")
    scene.fault_ends()
    worker.ended()
    return [Claim(tickers=tuple(tickers))]


def object_store_errors(scene: Scene) -> Sequence[Claim]:
    """Let S3 answer 500 and 503 to a part of the requests of a load and of an archive run."""
    tickers = scene.draw_tickers(30)
    scene.front.fault = S3Fault(troubles=(INTERNAL_ERROR, SLOW_DOWN), share=0.35)
    scene.backfill(tickers).ended()
    archive = ("archive", "run", "--start", "2026-01", "--end", "2026-03")
    scene.run(*archive)
    scene.heal_object_store()
    if scene.run(*archive) != 0 or scene.run("archive", "verify") != 0:
        scene.wrong.append("the archive is not equal to the database after S3 recovered")
    return [Claim(tickers=tuple(tickers))]


def provider_faults(scene: Scene) -> Sequence[Claim]:
    """Corrupt answers: each kind of fault once for sure, and a fifth of the other answers."""
    tickers = scene.draw_tickers(60)
    unlucky = scene.random.sample(tickers, len(PROVIDER_FAULTS))
    once = [
        replace(rule, symbol=_symbol(ticker), count=1)
        for rule, ticker in zip(PROVIDER_FAULTS, unlucky, strict=True)
    ]
    for rule in (*once, *mixed(PROVIDER_FAULTS, 0.2)):
        scene.control.add_rule(rule)
    scene.backfill(tickers).ended()
    scene.heal_provider()
    return [Claim(tickers=tuple(tickers))]


def rate_limit_storms(scene: Scene) -> Sequence[Claim]:
    """Answer 429 in bursts: without a Retry-After, with seconds, and with a date."""
    tickers = scene.draw_tickers(40)
    for seconds, as_date in ((None, False), (3.0, False), (3.0, True)):
        scene.control.add_fault(
            FaultKind.STATUS,
            path=HISTORIES,
            status=429,
            count=scene.random.randint(3, 5),
            seconds=seconds,
            as_date=as_date,
        )
    scene.backfill(tickers).ended()
    scene.heal_provider()
    return [Claim(tickers=tuple(tickers))]


def silent_provider(scene: Scene) -> Sequence[Claim]:
    """Accept every request and answer none, after a number of right answers."""
    tickers = scene.draw_tickers(30)
    worker = scene.backfill(tickers)
    scene.await_arrivals(scene.random.randint(2, 10), worker)
    scene.control.add_fault(FaultKind.TIMEOUT, path=HISTORIES)
    worker.ended()
    scene.heal_provider()
    return [Claim(tickers=tuple(tickers))]


def outage_and_daemon(scene: Scene) -> Sequence[Claim]:
    """Answer 503 to everything for a while; Dagster's daemon recovers."""
    tickers = scene.draw_tickers(30)
    worker = scene.backfill(tickers)
    scene.await_arrivals(scene.random.randint(2, 10), worker)
    scene.control.add_fault(FaultKind.STATUS, path=HISTORIES, status=503)
    worker.ended()
    scene.heal_provider()
    claims = [Claim(tickers=tuple(tickers))]
    waiting = len(scene.oracle.look(claims).letters)
    if not waiting:
        scene.wrong.append("an outage left no dead letter")
    daemon = scene.daemon()
    settled = processes.wait_until(
        lambda: not scene.oracle.unsettled(), within_s=DAEMON_WITHIN_S, every_s=1.0
    )
    took_s = time.monotonic() - scene.fault_ended_at
    # Letters are resolved with the rows; aggregates and checks of the runs follow.
    if not processes.wait_until(
        lambda: not scene.oracle.at_work(), within_s=DAEMON_WITHIN_S, every_s=1.0
    ):
        scene.wrong.append(f"the daemon left runs at work for {DAEMON_WITHIN_S:g} s")
    daemon.ask_to_end()
    daemon.ended()
    if settled:
        scene.notes.append(f"the daemon alone resolved {waiting} letters in {took_s:.0f} s")
    else:
        scene.wrong.append(f"the daemon left letters for {DAEMON_WITHIN_S:g} s")
    return claims


def slow_body(scene: Scene) -> Sequence[Claim]:
    """Send bodies slowly: most complete, one never."""
    tickers = scene.draw_tickers(30)
    endless = _symbol(scene.random.choice(tickers))
    scene.control.add_fault(FaultKind.DRIP, path=HISTORIES, symbol=endless)
    scene.control.add_fault(FaultKind.DRIP, path=HISTORIES, probability=0.3, seconds=8.0)
    scene.backfill(tickers).ended()
    scene.heal_provider()
    return [Claim(tickers=tuple(tickers))]


def two_backfills(scene: Scene) -> Sequence[Claim]:
    """Load the same tickers in two workers at once, one in reverse order."""
    tickers = scene.draw_tickers(40)
    workers = [scene.backfill(tickers), scene.backfill(tickers[::-1])]
    scene.inject("second worker")
    scene.fault_ends()
    for worker in workers:
        if worker.ended() != 0:
            scene.wrong.append(f"a worker beside another failed: {worker.stderr[-300:]}")
    return [Claim(tickers=tuple(tickers))]


def wrong_clock(scene: Scene) -> Sequence[Claim]:
    """Set one of two workers' clocks two minutes off, and let the provider ask for a pause."""
    tickers = scene.draw_tickers(60)
    shift_s = scene.random.choice((-120, 120))
    scene.inject(f"clock {shift_s:+d} s")
    scene.control.add_fault(
        FaultKind.STATUS, path=HISTORIES, status=429, count=4, seconds=2.0, as_date=True
    )
    workers = [
        scene.backfill(tickers[:35], **scene.clock_off_by(shift_s)),
        scene.backfill(tickers[25:]),
    ]
    for worker in workers:
        if worker.ended() != 0:
            scene.wrong.append(f"a worker failed: {worker.stderr[-300:]}")
    scene.heal_provider()
    return [Claim(tickers=tuple(tickers))]


def full_disk(scene: Scene) -> Sequence[Claim]:
    """Fill the raw zone's disk after some requests."""
    tickers = scene.draw_tickers(30)
    worker = scene.backfill(tickers)
    scene.await_arrivals(scene.random.randint(2, 10), worker)
    scene.front.fault = S3Fault(troubles=(DISK_FULL,), methods=frozenset({"PUT"}), prefix="raw/")
    if worker.ended() == 0:
        scene.wrong.append("a worker succeeded though its answers could not be kept")
    scene.heal_object_store()
    return [Claim(tickers=tuple(tickers))]


def asked_to_end(scene: Scene) -> Sequence[Claim]:
    """Send SIGTERM during a load: it must end in time, say where, and release everything."""
    tickers = scene.draw_tickers(30)
    worker = scene.backfill(tickers)
    scene.await_arrivals(scene.random.randint(3, 12), worker)
    worker.ask_to_end()
    scene.inject("SIGTERM")
    began = time.monotonic()
    status = worker.ended()
    took_s = time.monotonic() - began
    scene.fault_ends()
    scene.notes.append(f"ended {took_s:.1f} s after SIGTERM")
    if took_s > ENDS_WITHIN_S:
        scene.wrong.append(f"SIGTERM took {took_s:.1f} s, {ENDS_WITHIN_S:g} are allowed")
    if status == 0:
        scene.wrong.append("an interrupted load succeeded")
    if not DONE_SO_FAR.search(worker.stderr):
        scene.wrong.append("an interrupted load does not say where it stopped")
    scene.wrong += scene.oracle.held_by(worker.pid)
    return [Claim(tickers=tuple(tickers))]


def _symbol(ticker: str) -> str:
    """Return the provider's spelling."""
    return provider_spellings("fmp").get(ticker, ticker)


def _kill(scene: Scene, worker: Worker) -> None:
    if worker.kill():
        scene.inject("kill -9")


SCENARIOS = (
    Scenario(
        play=killed_worker, title="kill -9 of a load by ticker", per_minute=300, short=True,
        same_command=True,
    ),
    Scenario(
        play=killed_day_load, title="kill -9 of a load by day", same_command=True,
    ),
    Scenario(play=database_restarts, title="PostgreSQL restarts", per_minute=300),
    Scenario(play=database_refuses, title="PostgreSQL refuses", per_minute=300),
    Scenario(play=object_store_errors, title="S3 answers 500 and 503"),
    Scenario(play=provider_faults, title="20 % provider faults", per_minute=60, short=True),
    Scenario(play=rate_limit_storms, title="429 storms"),
    Scenario(play=silent_provider, title="provider never answers", per_minute=300),
    Scenario(play=outage_and_daemon, title="outage, daemon recovers", per_minute=300),
    Scenario(play=slow_body, title="slow bodies"),
    Scenario(play=two_backfills, title="two loads of the same", per_minute=60),
    Scenario(play=wrong_clock, title="clock 2 minutes off", per_minute=60),
    Scenario(play=full_disk, title="disk full for the raw zone", per_minute=300),
    Scenario(
        play=asked_to_end, title="SIGTERM", per_minute=300, same_command=True, listed=False,
    ),
    Scenario(play=provider_scenarios.polygon, title="Polygon's quirks", sensor=True),
    Scenario(play=provider_scenarios.tiingo, title="Tiingo's quirks", sensor=True),
    Scenario(play=provider_scenarios.fred, title="FRED's quirks", sensor=True),
    Scenario(play=provider_scenarios.binance, title="Binance's quirks", sensor=True),
    Scenario(
        play=provider_scenarios.coinbase, title="Coinbase's quirks", short=True, sensor=True,
    ),
    Scenario(play=provider_scenarios.fmp_records, title="FMP's records' quirks", sensor=True),
    Scenario(play=archive_scenarios.killed_archive, title="kill -9 of an archive run", short=True),
    Scenario(play=archive_scenarios.killed_retention, title="kill -9 of retention"),
    Scenario(play=archive_scenarios.archive_without_bucket, title="S3 fails under the archive"),
    Scenario(
        play=archive_scenarios.archive_without_database,
        title="PostgreSQL restarts under the archive",
    ),
    Scenario(play=archive_scenarios.two_archives, title="two archive runs and a load"),
    Scenario(play=archive_scenarios.late_rows, title="late rows, kill -9 of a restore"),
)  # fmt: skip
