"""wrdata demo: the main job on the local world, from provider to Parquet, through Dagster.

Here: the steps and their report. Not here: what a step does (pipelines/cli/loads.py, the assets),
or how database and simulator are compared (comparison.py).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from assets.archive import ArchiveRunConfig
from demo import comparison
from demo.comparison import Comparison
from demo.simulators import busiest_minute
from marketdata.archiving import ARCHIVED
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS, Dataset
from marketdata.planning import Wanted
from marketdata.recovery import errors
from marketdata.statements import StatementKind
from pipelines.cli import archive, console, environment, loads, status
from pipelines.cli.runs import RunReport
from resources import opening
from resources.opening import Stores
from resources.settings import Settings, provider_of, read_settings
from sandbox.control import SimulatorControl
from sandbox.simulators.journal import JournalEntry
from usecases.instruments import UNIVERSE
from usecases.load_plan import LoadPlan, LoadRequest, plan_load, plan_sessions, sessions_with_holes

TICKERS = 100
TRADING_DAYS = 5
_DAILY_BARS = DATASETS[DAILY_BARS_DATASET]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A small part of a dataset.

    Attributes:
        symbols: Pairs or series; empty means the first ``tickers`` members.
        days: Number of latest days, for a dataset that is asked for by days.
    """

    dataset: str
    provider: str
    symbols: tuple[str, ...] = ()
    tickers: int = 0
    days: int = 0


SLICES = (
    *(Slice(dataset=kind.value, provider="fmp", tickers=6) for kind in StatementKind),
    Slice(dataset="index_changes", provider="fmp", symbols=("SP500",)),
    Slice(dataset="companies", provider="polygon", tickers=20),
    Slice(dataset="splits", provider="fmp", tickers=10),
    Slice(dataset="dividends", provider="fmp", tickers=10),
    Slice(dataset="minute_bars", provider="polygon", tickers=5, days=7),
    Slice(dataset="minute_bars", provider="tiingo", tickers=3, days=4),
    Slice(
        dataset="macro_observations",
        provider="fred",
        symbols=("GDP", "CPIAUCSL", "UNRATE", "DGS10"),
    ),
    Slice(dataset="crypto_bars", provider="binance", symbols=("BTC-USDT", "ETH-USDT"), days=4),
    Slice(dataset="crypto_bars", provider="coinbase", symbols=("BTC-USD",), days=2),
    Slice(dataset="crypto_trades", provider="binance", symbols=("BTC-USDT",), days=2),
    Slice(dataset="crypto_trades", provider="coinbase", symbols=("BTC-USD",), days=1),
)
"""A small slice of every dataset and every provider."""


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
    them; weekly and monthly bars; a slice of every other dataset from every provider; Parquet
    of every closed month, read back. A second run asks only for what is missing.
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
        slices = [partial(_slice, part=part) for part in SLICES]
        work: list[Callable[[Stores], Step]] = [_universe, _histories, _days, *slices, _archive]
        for run in work:
            steps.append(run(stores))
            console.say(f"{steps[-1].step}: {steps[-1].result} ({steps[-1].seconds:.1f} s)")
        with SimulatorControl(around.world.simulators_origin()) as control:
            compared, step = _compared(stores, control)
            steps.append(step)
            arrivals = [entry.at for entry in control.requests(since) if _of_fmp(entry)]
    _report(steps, arrivals, settings, _since(began), json=json)
    for name, result in compared.items():
        if not result.perfect:
            console.fail(
                f"{name} differ from what is simulated, such as {', '.join(result.sample)}"
            )
    return 0 if all(result.perfect for result in compared.values()) else 1


def _compared(stores: Stores, control: SimulatorControl) -> tuple[dict[str, Comparison], Step]:
    """Compare everything that the demo has loaded with what the simulators serve."""
    began = time.monotonic()
    compared = {"daily bars by fmp": comparison.compare(stores, control)}
    for name, provider in dict.fromkeys((part.dataset, part.provider) for part in SLICES):
        compared[f"{name.replace('_', ' ')} by {provider}"] = comparison.compare_dataset(
            stores, control, DATASETS[name], provider
        )
    wrong = sum(result.different + result.foreign + result.absent for result in compared.values())
    return compared, Step(
        step="compare with the simulators",
        seconds=_since(began),
        requests=0,
        result=f"{sum(result.equal for result in compared.values()):,} rows equal, {wrong} not",
    )


def _of_fmp(entry: JournalEntry) -> bool:
    return entry.path.startswith("/stable/")


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
    return _load(stores, f"history of {TICKERS} tickers", _DAILY_BARS, members[:TICKERS])


def _days(stores: Stores) -> Step:
    last = calendar().last_closed(utc_now())
    sessions = calendar().sessions(date(last.year - 1, 1, 1), last)[-TRADING_DAYS:]
    step = f"last {TRADING_DAYS} trading days, all tickers"
    load = LoadRequest(dataset=_DAILY_BARS, provider=provider_of(_DAILY_BARS.name))
    missing = sessions_with_holes(stores, load, sessions)
    if not missing:
        return Step(step=step, seconds=0.0, requests=0, result="complete already")
    wanted = Wanted(start=missing[0], end=missing[-1])
    return _run(stores, step, plan_sessions(replace(load, wanted=wanted)))


def _archive(_stores: Stores) -> Step:
    report = _good(loads.archive(ArchiveRunConfig(datasets=list(ARCHIVED))))
    figures = archive.archived(report)
    return Step(
        step="archive of closed periods",
        seconds=report.duration_s,
        requests=0,
        result=f"{figures['written']} periods written ({figures['bytes_written'] / 1e6:.1f} MB), "
        f"{figures['unchanged']} unchanged",
    )


def _slice(stores: Stores, *, part: Slice) -> Step:
    """Load a slice."""
    members = [member.ticker for member in stores.instruments.members(UNIVERSE)]
    start = utc_now().date() - timedelta(days=part.days) if part.days else None
    return _load(
        stores,
        f"{part.dataset.replace('_', ' ')} by {part.provider}",
        DATASETS[part.dataset],
        list(part.symbols) or members[: part.tickers],
        provider=part.provider,
        start=start,
    )


def _load(
    stores: Stores,
    step: str,
    dataset: Dataset,
    names: Sequence[str],
    *,
    provider: str = "",
    start: date | None = None,
) -> Step:
    load = LoadRequest(
        dataset=dataset,
        provider=provider or provider_of(dataset.name),
        symbols=tuple(names),
        wanted=Wanted(start=start),
    )
    return _run(stores, step, plan_load(stores, load, register=False))


def _run(stores: Stores, step: str, plan: LoadPlan) -> Step:
    if not plan.requests and not plan.sessions:
        return Step(step=step, seconds=0.0, requests=0, result="complete already")
    report = _good(loads.load(stores, plan))
    figures = loads.outcome(plan, report)
    return Step(
        step=step,
        seconds=report.duration_s,
        requests=figures["requests"],
        result=f"{figures['rows_inserted']:,} rows new, {figures['rows_unchanged']:,} unchanged, "
        f"{figures['rows_restated']} restated, {figures['rows_rejected']} refused",
    )


def _good(report: RunReport) -> RunReport:
    """Return ``report`` of a successful run.

    Raises:
        StorageConflictError: The run failed; the text holds the reasons.
    """
    failed = loads.failures(report)
    if failed:
        raise errors.StorageConflictError("; ".join(failed.values()))
    return report


def _report(
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
            {"steps": [asdict(step) for step in steps], "budget": budget, "seconds": seconds}
            | {"stored": report}
        )
        return
    console.print_table("what was done", [step.as_row() for step in steps])
    status.print_report(report)
    console.print_table("requests to FMP, by the simulator's own log", [budget])
    console.out.print(
        f"Done in {seconds:.0f} s. See it in Dagster's UI: make dev (or wrdata up), then "
        "http://127.0.0.1:3000. Stop the local world: make down."
    )


def _since(began: float) -> float:
    return time.monotonic() - began
