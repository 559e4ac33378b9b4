"""wrdata universe: bring the constituents and the ticker partitions up to date.

Here: the command. Not here: how a change is found and applied (assets/universe.py).
"""

from typing import Annotated

import typer

from pipelines.cli import console, environment, loads
from resources import opening
from resources.settings import read_settings


def universe(
    *,
    events: Annotated[
        bool,
        typer.Option(
            "--events", help="Show renames, new issuers and reused tickers; load nothing."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Load the constituents: instruments, their tickers, and a partition for each ticker."""
    surroundings = environment.surroundings()
    if events:
        return _show_events(surroundings, json=json)
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    report = loads.load_universe()
    figures = dict(report.last("universe"))
    if json:
        console.print_json({"figures": figures, "failures": loads.failures(report)})
    elif figures:
        console.print_table("", [figures])
    for reason in loads.failures(report).values():
        console.fail(reason)
    return 0 if report.success else 1


def _show_events(surroundings: environment.Surroundings, *, json: bool) -> int:
    environment.enter(surroundings, start=False)
    with opening.stores(read_settings()) as stores:
        rows = [
            {
                "day": event.day.isoformat(),
                "ticker": event.ticker,
                "event": event.kind.value,
                "before": event.before,
                "after": event.after,
                "instrument": event.instrument_id,
            }
            for event in stores.instruments.events()
        ]
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows)
    else:
        console.say("no instrument was renamed, no issuer changed, and no ticker was reused")
    return 0
