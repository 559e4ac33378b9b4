"""wrdata: the command line.

Here: the list of commands, and the one place where an error becomes a line and an exit status.
Not here: what the commands do (the modules beside this one).
"""

import sys

import stamina.instrumentation
import typer

from marketdata.recovery import errors
from pipelines.cli import (
    aggregates,
    archive,
    backfill,
    console,
    dead_letters,
    demo,
    plan,
    query,
    runs,
    sandbox,
    splits,
    status,
    universe,
    world,
)

app = typer.Typer(
    name="wrdata",
    help="Market-data pipelines: providers to TimescaleDB to Parquet on S3, under Dagster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(world.up)
app.command("down")(world.down)
app.command("doctor")(world.doctor)
app.command("env")(world.env)
app.command("migrate")(world.migrate)
app.command("demo")(demo.demo)
app.command("universe")(universe.universe)
app.command("backfill")(backfill.backfill)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("query")(query.query)
app.add_typer(aggregates.app, name="aggregates")
app.add_typer(archive.app, name="archive")
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(splits.app, name="splits")
app.add_typer(sandbox.app, name="sandbox")


def run() -> None:
    """Run a command: errors of ours, and of the user's words, are one line and a status."""
    # What was repeated and went well is no news; what did not is told at the end.
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        status_code = app(standalone_mode=False)
    except errors.MarketDataError as error:
        console.fail(str(error))
        sys.exit(1)
    except typer.TyperException as error:
        console.fail(f"{error.format_message()} (see wrdata --help)")
        sys.exit(2)
    except runs.RunInterruptedError as error:
        console.fail(str(error))
        sys.exit(130)
    except typer.Abort:
        sys.exit(130)
    sys.exit(status_code if isinstance(status_code, int) else 0)
