"""wrdata: the command line.

Here: the list of commands, and turning an error into one line and an exit status.
Not here: what the commands do (the modules beside this one, imported when they are called).
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import stamina.instrumentation
import typer

from marketdata.recovery import errors
from pipelines.cli import console, deferred
from pipelines.cli.interruption import RunInterruptedError
from resources.telemetry import context, logs, traces

COMMANDS = {
    "up": "world:up",
    "down": "world:down",
    "doctor": "world:doctor",
    "env": "world:env",
    "migrate": "world:migrate",
    "demo": "demo.main_job:demo",
    "universe": "universe:universe",
    "backfill": "backfill:backfill",
    "plan": "plan:plan",
    "cost": "cost:cost",
    "status": "status:status",
    "exporter": "exporter:exporter",
    "worker": "worker:worker",
    "daemon": "daemon:daemon",
    "prune": "prune:prune",
    "recover": "recover:recover",
    "query": "query:query",
}
AGGREGATES = {
    "refresh": "aggregates:refresh",
    "verify": "aggregates:verify",
    "status": "aggregates:status",
}
ARCHIVE = {
    "run": "archive:run",
    "list": "archive:list_periods",
    "verify": "archive:verify",
    "drop": "archive_restore:drop",
    "restore": "archive_restore:restore",
    "expire": "archive_upkeep:expire",
    "orphans": "archive_upkeep:orphans",
    "compact": "archive_upkeep:compact",
    "rebuild": "archive_upkeep:rebuild",
}
CONFIG = {"show": "config:show", "check": "config:check"}
BACKUP = {
    "run": "backup:run",
    "list": "backup:list_backups",
    "restore": "backup:restore",
    "portable": "backup:portable",
    "load": "backup:load",
}
DEAD_LETTERS = {
    "list": "dead_letters:list_letters",
    "show": "dead_letters:show",
    "retry": "dead_letters:retry",
    "discard": "dead_letters:discard",
    "export": "dead_letters:export",
    "replay": "dead_letters:replay",
}
AUDIT = {
    "list": "audit:list_rows",
    "verify": "audit:verify",
    "export": "audit:export",
    "anchor": "audit:anchor",
    "reinstate": "audit:reinstate",
}
LEDGER = {"verify": "ledger:verify"}
ROLES = {"list": "roles:listed", "create": "roles:create"}
SPLITS = {
    "list": "splits:listed",
    "confirm": "splits:confirm",
    "spin-off": "splits:spin_off",
}
MONITORING = {"export": "monitoring:export"}
DIVIDENDS = {"list": "dividends:listed", "confirm": "dividends:confirm"}
UI = {"proxy": "ui:proxy", "serve": "ui:serve"}
SANDBOX = {
    "requests": "demo.simulators:requests",
    "fail": "demo.simulators:fail",
    "heal": "demo.simulators:heal",
    "correct": "demo.simulators:correct",
    "split": "demo.simulators:split",
    "restate": "demo.simulators:restate",
    "revise": "demo.simulators:revise",
    "verify": "demo.simulators:verify",
}

WRONG_WORDS = 2
"""Exit status of a command with wrong arguments; 1 is for all other failures."""

app = typer.Typer(
    cls=deferred.group(COMMANDS),
    name="wrdata",
    help="Market-data pipelines: providers to TimescaleDB to Parquet on S3, under Dagster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _commands, _help in (
    ("aggregates", AGGREGATES, "Bars of five minutes to a year, made of minute and daily bars."),
    ("archive", ARCHIVE, "The Parquet archive on S3 or Spaces."),
    ("config", CONFIG, "The settings of this process, where each comes from, and what is wrong."),
    ("backup", BACKUP, "Backups of the database server, and restores to a moment."),
    ("dlq", DEAD_LETTERS, "Dead letters: failed work, kept until it is done or given up."),
    ("audit", AUDIT, "Who did what, when and from where: a log that is only added to."),
    ("ledger", LEDGER, "What was loaded, and whether the tables hold it."),
    ("roles", ROLES, "The database's roles: who may do what."),
    ("splits", SPLITS, "Splits that adjust nothing until a person decides, and spin-offs."),
    ("dividends", DIVIDENDS, "Dividends in other currencies, and those that adjust nothing."),
    ("ui", UI, "Dagster's UI behind a proxy: who may look, who may act, who did what."),
    ("monitoring", MONITORING, "What watches the pipeline: alert rules, routes and dashboards."),
    ("sandbox", SANDBOX, "The simulated providers of the local world."),
):
    app.add_typer(
        typer.Typer(cls=deferred.group(_commands), help=_help, no_args_is_help=True), name=_name
    )


def _print_version(requested: bool) -> None:
    if requested:
        console.out.print(f"wrdata {version('wrdata')}", markup=False)
        raise typer.Exit


@contextmanager
def _observed(command: str) -> Generator[None]:
    """Give all that a command does one id, and one span if traces are configured."""
    traces.begin()
    with (
        context.bound(correlation_id=context.given_correlation_id()),
        traces.span("command", command=command),
    ):
        yield
    traces.flush()


@app.callback()
def begin(
    command: typer.Context,
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Read the options that stand before a command, and begin it."""
    command.with_resource(_observed(command.invoked_subcommand or ""))


OF_LIBRARIES = {
    "Value error, ": "",
    "Input should be": "it should be",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    "does not match the formats '%Y-%m-%d'": "is not written as YYYY-MM-DD, or no such day",
}
"""Phrases of pydantic and Typer, and plain ones instead."""


def _plain(message: str) -> str:
    """Return a library's message about a wrong argument without its jargon."""
    for theirs, ours in OF_LIBRARIES.items():
        message = message.replace(theirs, ours)
    return message.removesuffix(".")


def run() -> None:
    """Run a command; our errors, and wrong arguments, become one line and an exit status."""
    # Until the environment is read. A retry that succeeds is no news to a person; one that fails is
    # reported at the end.
    logs.begin(logs.LogFormat.AUTO, logs.LogLevel.INFO, command=True)
    stamina.instrumentation.set_on_retry_hooks([logs.log_retry])
    try:
        status_code = app(standalone_mode=False)
    except errors.ArgumentError as error:
        console.fail(str(error))
        sys.exit(WRONG_WORDS)
    except errors.MarketDataError as error:
        console.fail(str(error))
        sys.exit(1)
    except typer.TyperException as error:
        text = _plain(error.format_message())
        if text:  # a group without a command has shown its help
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "wrdata"
            console.fail(f"{text} (see {command} --help)")
        sys.exit(WRONG_WORDS)
    except RunInterruptedError as error:
        console.fail(str(error))
        sys.exit(130)
    except typer.Abort:
        sys.exit(130)
    sys.exit(status_code if isinstance(status_code, int) else 0)
