"""wrdata up, down, doctor, env, migrate: the services that the pipelines run on.

Here: starting, stopping and checking them. Not here: the servers themselves (sandbox/), or what
runs on them (backfill.py, demo/main_job.py).
"""

import functools
import os
import shlex
import signal
from collections.abc import Sequence
from dataclasses import asdict
from types import FrameType
from typing import Annotated, NoReturn

import typer

from machine import processes
from machine.person import user_at_host
from marketdata.recovery import errors
from pipelines.cli import console, dagster_processes, diagnosis, environment, runs
from pipelines.cli.local_world import LocalWorld
from resources import opening
from resources.settings import layers, read_settings
from resources.storage import migrations
from resources.storage.audit import AuditLog
from resources.storage.migrations import MigrationStatus
from usecases.auditing import record_changes

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def up(
    port: Annotated[int, typer.Option(help="Port of Dagster's UI; if taken, a free one.")] = 3000,
) -> int:
    """Start the local world with Dagster's UI and daemon, and stay; Ctrl-C stops all of it."""
    surroundings = environment.surroundings()
    with (
        dagster_processes.only_up(surroundings.world.root),
        dagster_processes.signals_handled(_interrupt),
    ):
        try:
            if dagster_processes.stop_left_over(surroundings.world.root):
                console.say("ended what an earlier wrdata up had left running")
            environment.enter(surroundings, start=True, report=console.say)
            environment.require_schema(surroundings)
            with runs.open_instance() as instance:
                console.say("Dagster's storage is ready")
                look = functools.partial(runs.end_lost, instance)
                return dagster_processes.run_in_front(surroundings.world.root, port, look)
        finally:
            if surroundings.local:
                with processes.undisturbed():
                    _stop_unused(surroundings.world)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _stop_unused(world: LocalWorld) -> None:
    """Stop the local world, unless other commands still work in it."""
    if users := world.users():
        pids = ", ".join(str(user.pid) for user in users)
        console.say(
            f"the servers keep running for other commands (process {pids}); stop all: wrdata down"
        )
        return
    console.say(f"stopped: {', '.join(world.stop())}")


def down() -> None:
    """Stop everything that still runs: commands, Dagster's processes and the local world."""
    environment.warn_of_variables()
    world = environment.world_of(layers.variables())
    commands = processes.end_all(
        world.users, with_signal=signal.SIGTERM, within_s=dagster_processes.ENDS_WITHIN_S
    )
    stopped = [f"{commands} wrdata at work"] if commands else []
    stopped += dagster_processes.stop_left_over(world.root) + world.stop()
    console.say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def doctor(json: Json = False) -> int:
    """Show what is configured and reachable, and what to do about the rest."""
    findings = diagnosis.findings()
    if json:
        console.print_json([finding.as_row() for finding in findings])
    else:
        for finding in findings:
            console.print_finding(**finding.as_row())
    return 0 if all(finding.ok for finding in findings) else 1


def env() -> None:
    """Print the local world's variables as shell exports: eval "$(wrdata env)"."""
    before = dict(os.environ)
    environment.enter(environment.surroundings(writes=False), start=False)
    for name, value in sorted(os.environ.items()):
        if before.get(name) != value:
            console.out.print(f"export {name}={shlex.quote(value)}", markup=False)


def migrate(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; show what waits, and fail if anything does."),
    ] = False,
    contract: Annotated[
        bool,
        typer.Option(
            "--contract",
            help="Also take away what the release before uses: none of its processes may run.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> int:
    """Bring the database to this version: schema, aggregates, compression, privileges."""
    if check and contract:
        raise errors.ArgumentError("--check changes nothing: leave --contract out")
    if json and not check:
        raise errors.ArgumentError("--json goes with --check")
    environment.enter(environment.surroundings(writes=False), start=False)
    settings = read_settings()
    if check:
        return _show_waiting(migrations.status(settings.database_url.get_secret_value()), json=json)
    done = opening.prepare_database(settings, contract=contract)
    with opening.database(settings, pool_size=1) as timescale:
        record_changes(AuditLog(timescale), settings, who=user_at_host())
    _say_what_was_done(done)
    return 0


def _show_waiting(known: Sequence[MigrationStatus], *, json: bool) -> int:
    """Print the migrations that wait, or all for a script; return 1 if any does."""
    waiting = [migration for migration in known if migration.waits]
    newer = [migration.name for migration in known if migration.newer]
    if json:
        console.print_json([asdict(migration) for migration in known])
    elif waiting:
        for migration in waiting:
            console.out.print(
                f"{migration.name}  {'contracting' if migration.contracts else 'expanding'}",
                markup=False,
            )
    else:
        console.say(f"nothing waits: {len(known) - len(newer)} migrations are applied as shipped")
    if newer:
        _say_newer(newer)
    return 1 if waiting else 0


def _say_newer(names: Sequence[str]) -> None:
    console.say(f"a newer version has added {', '.join(names)}; this version works with it")


def _say_what_was_done(done: opening.PreparedDatabase) -> None:
    applied = ", ".join(done.migrations)
    console.say(f"applied: {applied}" if applied else "the schema is up to date")
    if done.waiting:
        console.say(
            f"waiting until no process of the release before runs: {', '.join(done.waiting)}; "
            "then run `wrdata migrate --contract`"
        )
    if done.newer:
        _say_newer(done.newer)
    console.say(f"aggregates are kept by {done.engine.value}")
    if done.compressed:
        console.say(f"compressed from now on: {', '.join(done.compressed)}")
    for role in sorted({change.role for change in done.privileges}):
        console.say(f"privileges brought up to date: {role.value}")
