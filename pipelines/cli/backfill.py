"""wrdata backfill: load a dataset for a list of subjects, or for a span of trading days.

Here: from a wish to one Dagster run, and a verdict after it. Not here: the words of a wish
(wishes.py), what it would take (plan.py), how a run is executed (runs.py), or what an asset does.
"""

from typing import Annotated, Any

import typer

from pipelines.cli import console, environment, loads, plan, wishes
from pipelines.cli.runs import RunReport
from resources import opening
from resources.settings import read_settings


def backfill(
    dataset: wishes.DatasetName,
    tickers: wishes.Tickers = "",
    file: wishes.File = None,
    every: wishes.Every = False,
    failed: wishes.Failed = False,
    start: wishes.Start = None,
    end: wishes.End = None,
    refetch: wishes.Refetch = False,
    provider: wishes.Provider = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, as wrdata plan, and stop.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Load DATASET, for tickers, pairs or series, or daily bars by trading day.

    Asks only for what the coverage ledger does not know or knows no longer, unless --refetch; of
    tickers and pairs that are named for the latest sessions as well, which may have been corrected.
    Exits with 1 if anything could not be loaded; what could is kept.
    """
    words = wishes.Words(
        dataset=dataset,
        tickers=tickers,
        file=file,
        every=every,
        failed=failed,
        start=start,
        end=end,
        refetch=refetch,
        provider=provider,
    )
    around = environment.surroundings()
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)
    settings = read_settings()
    with opening.stores(settings) as stores:
        wish = words.wish(stores, settings)
        if dry_run or not wish.requests:
            plan.tell(plan.made(stores, settings, wish), json=json)
            return 0
        if isinstance(wish, wishes.SubjectWish):
            report = loads.load_subjects(stores, wish, only_missing=not refetch)
            return _tell_outcome(report, loads.subjects_outcome(wish.dataset, report), json=json)
        if isinstance(wish, wishes.DayWish):
            report = loads.load_days(stores, wish.sessions)
        else:
            report = loads.load_histories(
                stores,
                wish.wished,
                expected=wish.requests,
                only_holes=not refetch,
                again=wish.again,
            )
    return _tell_outcome(report, loads.outcome(report), json=json)


def _tell_outcome(report: RunReport, outcome: dict[str, Any], *, json: bool) -> int:
    """Print what a run came to; return 1 if any of it failed."""
    if json:
        console.print_json(outcome)
    else:
        figures = {name: value for name, value in outcome.items() if name != "failures"}
        # Of a run that came to nothing the reason is all there is to say.
        if report.success or any(figures[name] for name in ("rows_inserted", "requests")):
            console.print_table("", [figures])
        failures = outcome["failures"]
        # The run's own word repeats what is told of its tickers.
        by_subject = {key: why for key, why in failures.items() if not key.startswith("run ")}
        for key, reason in (by_subject or failures).items():
            console.fail(f"{key}: {reason}")
        if by_subject:
            console.say("wrdata dlq list shows what waits, wrdata dlq retry --all does it now")
    return 0 if report.success and not outcome["failures"] else 1
