"""wrdata universe: bring the constituents and the ticker partitions up to date.

Here: the command. Not here: how a change is found and applied (assets/universe.py).
"""

from typing import Annotated

import typer

from pipelines.cli import console, environment, loads


def universe(
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Load the constituents: instruments, their tickers, and a partition for each ticker."""
    around = environment.surroundings()
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)
    report = loads.load_universe()
    figures = dict(report.last("universe"))
    if json:
        console.print_json({"figures": figures, "failures": loads.failures(report)})
    elif figures:
        console.print_table("", [figures])
    for reason in loads.failures(report).values():
        console.fail(reason)
    return 0 if report.success else 1
