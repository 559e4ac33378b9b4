"""What is tried with workers: more of them, a killed one, Redis restarted, a cancelled backfill.

Here: each trial, and what is wrong with its outcome. Not here: the installation (place.py), or the
tables (__main__.py).
"""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from signal import SIGKILL

from machine.processes import wait_until
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.recovery import errors
from scale.place import PER_MINUTE, WRDATA, Place

ENDS_WITHIN_S = 900.0
NOTICED_WITHIN_S = 10.0
STAYS_CANCELLED_FOR_S = 20.0
TAKES_OVER_WITHIN_S = 15.0
WINDOW = timedelta(seconds=60)
HISTORY = "/stable/historical-price-eod/"
TOO_MANY = 429
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(slots=True, kw_only=True)
class Trial:
    """One trial and its figures.

    Attributes:
        took_s: From the launch of the backfill to its end.
        figures: What else was measured, by name.
        wrong: What is wrong, a sentence each; none if it passed.
    """

    title: str
    took_s: float = 0.0
    figures: dict[str, float] = field(default_factory=dict[str, float])
    wrong: list[str] = field(default_factory=list[str])


def split(place: Place, workers: int) -> Trial:
    """Load all tickers by one backfill with so many workers."""
    trial = Trial(title=f"{workers} worker" + ("s" if workers > 1 else ""))
    _start_workers(place, workers)
    began = datetime.now(UTC)
    backfill = place.backfill()
    _await_end(place, backfill, trial)
    trial.took_s = (datetime.now(UTC) - began).total_seconds()
    runs = place.runs(backfill)
    trial.figures["runs"] = len(runs)
    began_at = [run.began_at for run in runs if run.began_at]
    ended_at = [run.ended_at for run in runs if run.ended_at]
    if began_at and ended_at:
        # Dagster looks at a backfill every half a minute, and the daemon takes a while to begin it.
        trial.figures["first to last run, s"] = (max(ended_at) - min(began_at)).total_seconds()
    _judge(place, began, trial)
    return trial


def kill_a_worker(place: Place) -> Trial:
    """Kill one of two workers in the middle of its run; the other does its work."""
    trial = Trial(title="a worker is killed (-9)")
    first = _start_workers(place, 1)[0]
    began = datetime.now(UTC)
    backfill = place.backfill()
    _await(lambda: _is_at_work(place, backfill), "no run begins", trial)
    [at_work] = [run for run in place.runs(backfill) if run.status == "STARTED"]
    place.start_worker(2)
    time.sleep(3)  # So that it dies in the middle of its work.
    killed = time.monotonic()
    place.kill(first)
    _await(
        lambda: _status_of(place, backfill, at_work.run_id) == "FAILURE",
        "the run of the killed worker does not end",
        trial,
        within_s=60,
    )
    noticed_s = time.monotonic() - killed
    trial.figures["seen after, s"] = noticed_s
    if noticed_s > NOTICED_WITHIN_S:
        trial.wrong.append(f"it was seen after {noticed_s:.1f} s")
    _await_end(place, backfill, trial)
    trial.took_s = (datetime.now(UTC) - began).total_seconds()
    again = [
        run
        for run in place.runs(backfill)
        if run.tags.get("dagster/parent_run_id") == at_work.run_id
    ]
    if [run.status for run in again] != ["SUCCESS"]:
        trial.wrong.append(f"its work was not done by another: {[run.status for run in again]}")
    _judge(place, began, trial, repeated=int(len(place.tickers) / len(place.runs(backfill))) + 8)
    return trial


def restart_redis(place: Place) -> Trial:
    """Kill Redis while runs wait in it and one is at work, and start it again."""
    trial = Trial(title="Redis is killed and restarted")
    _start_workers(place, 1)
    began = datetime.now(UTC)
    backfill = place.backfill()
    _await(lambda: _is_at_work(place, backfill), "no run begins", trial)
    time.sleep(2)  # Its file is written every second.
    place.redis.stop(with_signal=SIGKILL)
    time.sleep(5)
    place.redis.start(lambda _: None)
    _await_end(place, backfill, trial)
    trial.took_s = (datetime.now(UTC) - began).total_seconds()
    # A run that is launched while Redis is away fails before it asks for anything, and is repeated.
    failed = [run for run in place.runs(backfill) if run.status != "SUCCESS"]
    trial.figures["runs repeated"] = len(failed)
    if any(run.began_at for run in failed):
        trial.wrong.append("a run failed that was at work")
    _judge(place, began, trial)
    return trial


def cancel(place: Place) -> Trial:
    """Cancel a backfill while runs are at work, wait in Redis, and wait in Dagster's queue."""
    trial = Trial(title="a backfill is cancelled")
    _start_workers(place, 1)
    began = datetime.now(UTC)
    backfill = place.backfill()
    _await(lambda: _is_at_work(place, backfill), "no run begins", trial)
    place.cancel(backfill)
    _await(
        lambda: place.status(backfill) == "CANCELED", "the backfill is not cancelled", trial,
        within_s=120,
    )  # fmt: skip
    trial.took_s = (datetime.now(UTC) - began).total_seconds()
    _await(
        lambda: all(run.status in ENDED for run in place.runs(backfill)),
        "its runs do not end", trial, within_s=60,
    )  # fmt: skip
    known = {run.run_id: run.status for run in place.runs(backfill)}
    asked = len(place.simulators.requests(began))
    time.sleep(STAYS_CANCELLED_FOR_S)
    trial.figures["runs"] = len(known)
    ended = Counter(known.values())
    trial.figures["cancelled"] = ended["CANCELED"]
    # One may have ended well before Dagster came to cancel it.
    if not ended["CANCELED"] or set(ended) - {"CANCELED", "SUCCESS"}:
        trial.wrong.append(f"its runs ended as {dict(ended)}")
    if {run.run_id: run.status for run in place.runs(backfill)} != known:
        trial.wrong.append("runs came or changed after it was cancelled")
    if len(place.simulators.requests(began)) != asked:
        trial.wrong.append("the provider was asked after it was cancelled")
    return trial


def two_daemons(place: Place) -> Trial:
    """Start a second daemon: it is refused. Another stands by, and takes over from a killed one."""
    trial = Trial(title="two daemons")
    second = place.start("second-daemon", *WRDATA, "daemon")
    _await(lambda: second.poll() is not None, "a second daemon is not refused", trial, within_s=60)
    if second.poll() != 1 or "another daemon works" not in place.log("second-daemon"):
        trial.wrong.append(f"a second daemon ended with {second.poll()}, without a reason")
    place.start("standby-daemon", *WRDATA, "daemon", "--standby")
    _await(
        lambda: "standing by" in place.log("standby-daemon"), "no daemon stands by", trial,
        within_s=60,
    )  # fmt: skip
    killed = time.monotonic()
    place.kill(place.daemon)
    _await(
        lambda: "the daemon works" in place.log("standby-daemon"), "nobody takes over", trial,
        within_s=60,
    )  # fmt: skip
    taken_s = time.monotonic() - killed
    trial.figures["taken over after, s"] = taken_s
    if taken_s > TAKES_OVER_WITHIN_S:
        trial.wrong.append(f"it took {taken_s:.1f} s to take over")
    # It does its work: a backfill gets its runs.
    _start_workers(place, 1)
    began = datetime.now(UTC)
    backfill = place.backfill()
    _await_end(place, backfill, trial)
    trial.took_s = (datetime.now(UTC) - began).total_seconds()
    _judge(place, began, trial)
    return trial


TRIALS: dict[str, Callable[[Place], Trial]] = {
    "1": lambda place: split(place, 1),
    "2": lambda place: split(place, 2),
    "4": lambda place: split(place, 4),
    "kill": kill_a_worker,
    "redis": restart_redis,
    "cancel": cancel,
    "daemons": two_daemons,
}
"""Each on an installation of its own, by a short name."""


def _start_workers(place: Place, count: int) -> list["subprocess.Popen[bytes]"]:
    workers = [place.start_worker(number) for number in range(1, count + 1)]
    for number in range(1, count + 1):
        if not wait_until(
            lambda log=f"worker-{number}": "it takes runs" in place.log(log),
            within_s=120,
            every_s=0.3,
        ):
            raise errors.ConfigurationError(f"worker {number} does not start")
    return workers


def _await(
    fulfilled: Callable[[], bool], instead: str, trial: Trial, within_s: float = ENDS_WITHIN_S
) -> None:
    if not wait_until(fulfilled, within_s=within_s, every_s=0.3):
        trial.wrong.append(instead)


def _await_end(place: Place, backfill: str, trial: Trial) -> None:
    _await(
        lambda: place.status(backfill).startswith(("COMPLETED", "FAILED", "CANCELED")),
        "the backfill does not end",
        trial,
    )
    status = place.status(backfill)
    if status not in {"COMPLETED", "COMPLETED_SUCCESS"}:
        trial.wrong.append(f"the backfill ended as {status}")


def _is_at_work(place: Place, backfill: str) -> bool:
    return any(run.status == "STARTED" for run in place.runs(backfill))


def _status_of(place: Place, backfill: str, run_id: str) -> str:
    return next(run.status for run in place.runs(backfill) if run.run_id == run_id)


def _judge(place: Place, began: datetime, trial: Trial, repeated: int = 0) -> None:
    """Look whether all was loaded, nothing twice, and within the budget.

    Args:
        place: The installation.
        began: Before the first request (aware).
        trial: Gets what is wrong.
        repeated: So many requests may have been made twice, since a worker died with them.
    """
    requests = [request for request in place.simulators.requests(began) if HISTORY in request.path]
    symbols = Counter(request.query.get("symbol", "") for request in requests)
    twice = sum(count - 1 for count in symbols.values())
    trial.figures["requests"] = len(requests)
    trial.figures["asked twice"] = twice
    if len(symbols) < len(place.tickers):
        trial.wrong.append(f"{len(place.tickers) - len(symbols)} tickers were not asked for")
    if twice > repeated:
        trial.wrong.append(f"{twice} requests were made twice")
    over = windows_over([datetime.fromisoformat(request.at) for request in requests], PER_MINUTE)
    trial.figures["windows over the budget"] = over
    if over:
        trial.wrong.append(f"{over} windows of a minute held more than {PER_MINUTE} requests")
    refused = sum(request.status == TOO_MANY for request in requests)
    if refused:
        trial.wrong.append(f"the provider refused {refused} requests")
    expected = place.simulators.dataset_truth(
        "daily_bars",
        place.tickers,
        start=HISTORY_START,
        end=calendar().last_closed(utc_now()),
        provider="fmp",
    ).num_rows
    [(rows, instruments)] = place.rows(
        "select count(*), count(distinct instrument_id) from daily_bar"
    )
    trial.figures["rows"] = rows
    if (rows, instruments) != (expected, len(place.tickers)):
        trial.wrong.append(
            f"{rows:,} rows of {instruments} tickers are stored, and the provider has {expected:,} "
            f"of {len(place.tickers)}"
        )


def windows_over(arrivals: Sequence[datetime], limit: int) -> int:
    """Return how many windows of a minute, each begun by a request, hold more than ``limit``."""
    ordered = sorted(arrivals)
    over, last = 0, 0
    for first, begins in enumerate(ordered):
        while last < len(ordered) and ordered[last] - begins < WINDOW:
            last += 1
        over += last - first > limit
    return over
