"""wrdata demo: the main job on the local world, from provider to Parquet, through Dagster.

Here: the steps and their report. Not here: what a step does (loads.py and the assets), or how
database and simulator are compared (comparison.py).
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any

import typer

from assets.partitions import MONTHS
from assets.universe import UNIVERSE
from marketdata.calendars import calendar, utc_now
from marketdata.recovery import errors
from pipelines.cli import archive, comparison, console, environment, loads, status, wishes
from pipelines.cli.runs import RunReport
from pipelines.cli.sandbox import busiest_minute
from resources import opening
from resources.opening import Stores
from resources.settings import Settings, read_settings
from sandbox.control import SimulatorControl

TICKERS = 100
TRADING_DAYS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the demo, for the report."""

    step: str
    seconds: float
    requests: int
    result: str

    def as_row(self) -> dict[str, str | int | float]:
        """Return the step for a table or for JSON."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "requests": self.requests,
            "result": self.result,
        }


def demo(
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Run the main job on the local world and say what it did.

    The universe; ten years of daily bars of 100 tickers; the last 5 trading days of all of
    them; weekly and monthly bars; Parquet of every closed month, read back. A second run asks
    only for what is missing, which is nothing until the next session has closed.
    """
    around = environment.surroundings()
    if not around.simulated:
        message = (
            "the demo works on simulated prices only; unset FMP_API_KEY, or load real ones with "
            "`wrdata universe` and `wrdata backfill`"
        )
        raise errors.ConfigurationError(message)
    began = time.monotonic()
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)
    settings, since = read_settings(), utc_now()
    steps = [Step(step="local world", seconds=_since(began), requests=0, result="runs")]
    with opening.stores(settings) as stores:
        for run in (_universe, _histories, _days, _archive):
            steps.append(run(stores))
            console.say(f"{steps[-1].step}: {steps[-1].result} ({steps[-1].seconds:.1f} s)")
        with SimulatorControl(around.world.fmp_origin()) as control:
            began_comparison = time.monotonic()
            compared = comparison.compare(stores, control)
            arrivals = [entry.at for entry in control.requests(since)]
    steps.append(
        Step(
            step="compare with the simulator",
            seconds=_since(began_comparison),
            requests=0,
            result=f"{compared.equal:,} bars equal, "
            f"{compared.different + compared.foreign + compared.absent} not",
        )
    )
    _tell(steps, arrivals, settings, _since(began), json=json)
    return 0 if compared.perfect else 1


def _universe(_stores: Stores) -> Step:
    report = _good(loads.load_universe())
    figures = report.last("universe")
    return Step(
        step="universe",
        seconds=report.duration_s,
        requests=1,
        result=f"{figures['dagster/row_count']} constituents, {figures['joined']} new",
    )


def _histories(stores: Stores) -> Step:
    members = [member.ticker for member in stores.instruments.members(UNIVERSE)]
    wish = wishes.tickers_wish(stores, read_settings(), members[:TICKERS])
    report = _good(
        loads.load_histories(stores, members[:TICKERS], expected=wish.requests, only_holes=True)
    )
    return _loaded(f"history of {TICKERS} tickers", report)


def _days(stores: Stores) -> Step:
    last = calendar().last_closed(utc_now())
    sessions = calendar().sessions(date(last.year - 1, 1, 1), last)[-TRADING_DAYS:]
    wanted = wishes.days_with_holes(stores, sessions)
    if not wanted:
        return Step(
            step=f"last {TRADING_DAYS} trading days",
            seconds=0.0,
            requests=0,
            result="complete already",
        )
    report = _good(loads.load_days(stores, calendar().sessions(wanted[0], wanted[-1])))
    return _loaded(f"last {TRADING_DAYS} trading days, all tickers", report)


def _archive(_stores: Stores) -> Step:
    months = [date.fromisoformat(key) for key in MONTHS.get_partition_keys()]
    report = _good(loads.archive_months(months[0], months[-1]))
    figures = archive.archived(report)
    return Step(
        step="archive of closed months",
        seconds=report.duration_s,
        requests=0,
        result=f"{figures['written']} objects written ({figures['bytes_written'] / 1e6:.1f} MB), "
        f"{figures['unchanged']} months unchanged",
    )


def _loaded(step: str, report: RunReport) -> Step:
    figures = loads.outcome(report)
    return Step(
        step=step,
        seconds=report.duration_s,
        requests=figures["requests"],
        result=f"{figures['rows_inserted']:,} bars new, {figures['rows_unchanged']:,} unchanged, "
        f"{figures['rows_restated']} restated",
    )


def _good(report: RunReport) -> RunReport:
    """Return ``report`` unless the run failed.

    Raises:
        StorageConflictError: It did; the text holds the reasons.
    """
    failed = loads.failures(report)
    if failed:
        raise errors.StorageConflictError("; ".join(failed.values()))
    return report


def _tell(
    steps: Sequence[Step], arrivals: list[str], settings: Settings, seconds: float, *, json: bool
) -> None:
    """Print the report: steps, what is stored, the budget, and how to go on."""
    budget = {
        "requests": len(arrivals),
        "most_in_60_seconds": busiest_minute(arrivals),
        "allowed_in_60_seconds": int(settings.fmp_requests_per_minute),
    }
    report: dict[str, Any] = status.report(settings)
    if json:
        console.print_json(
            {"steps": [asdict(one) for one in steps], "budget": budget, "seconds": seconds}
            | {"stored": report}
        )
        return
    console.print_table("what was done", [one.as_row() for one in steps])
    status.print_report(report)
    console.print_table("requests, by the simulator's own log", [budget])
    console.out.print(
        f"Done in {seconds:.0f} s. See it in Dagster's UI: make dev (or wrdata up), then "
        "http://127.0.0.1:3000. Stop the local world: make down."
    )


def _since(began: float) -> float:
    return time.monotonic() - began
