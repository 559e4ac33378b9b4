"""wrdata backfill: load a dataset for a list of symbols, or for a span of trading days.

Here: from options to one Dagster run, and its outcome. Not here: the options (load_options.py),
what a load would take (plan.py), how a run is executed (runs.py), or what an asset does.
"""

from typing import Annotated, Any

import typer

from pipelines.cli import console, environment, load_options, loads, plan
from pipelines.cli.runs import RunReport
from resources import opening
from resources.settings import read_settings
from usecases.load_cost import cost_of


def backfill(
    dataset: load_options.DatasetName,
    tickers: load_options.Symbols = "",
    file: load_options.File = None,
    every: load_options.Every = False,
    failed: load_options.Failed = False,
    start: load_options.Start = None,
    end: load_options.End = None,
    refetch: load_options.Refetch = False,
    provider: load_options.Provider = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would take, like wrdata plan, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Load DATASET, for tickers, pairs or series, or daily bars by trading day.

    Asks only for days that the coverage ledger lacks or that have expired, unless --refetch. For
    tickers and pairs named one by one it asks for the latest sessions again: they may have been
    corrected. Exits with 1 if anything could not be loaded; what was loaded is kept.
    """
    options = load_options.LoadOptions(
        dataset=dataset,
        symbols=tickers,
        file=file,
        every=every,
        failed=failed,
        start=start,
        end=end,
        refetch=refetch,
        provider=provider,
    )
    surroundings = environment.surroundings()
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    settings = read_settings()
    with opening.stores(settings) as stores:
        planned = options.plan(stores, settings)
        cost = cost_of(stores, settings, planned)
        if dry_run or not cost.load.requests:
            plan.print_forecast(plan.forecast_of(stores, settings, planned, cost), json=json)
            return 0
        report = loads.load(stores, planned)
    return _print_outcome(report, loads.outcome(planned, report), json=json)


def _print_outcome(report: RunReport, outcome: dict[str, Any], *, json: bool) -> int:
    """Print the outcome of a run; return 1 if any of it failed."""
    if json:
        console.print_json(outcome)
    else:
        figures = {name: value for name, value in outcome.items() if name != "failures"}
        # A run that loaded nothing and failed shows its reason only.
        if report.success or any(figures[name] for name in ("rows_inserted", "requests")):
            console.print_table("", [figures])
        failures = outcome["failures"]
        # The run's own message repeats the reasons of its symbols.
        by_symbol = {key: why for key, why in failures.items() if not key.startswith("run ")}
        for key, reason in (by_symbol or failures).items():
            console.fail(f"{key}: {reason}")
        if by_symbol:
            console.say("wrdata dlq list shows what waits, wrdata dlq retry --all retries it now")
    return 0 if report.success and not outcome["failures"] else 1
