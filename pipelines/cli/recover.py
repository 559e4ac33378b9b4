"""wrdata recover: what agrees after a restore, and the release of its hold.

Here: the command. Not here: what is compared (usecases/recovery.py, pipelines/recovery.py), or
restoring (backup.py).
"""

from datetime import datetime
from typing import Annotated, Any

import typer

from machine.person import user_at_host
from marketdata.recovery import errors
from pipelines import recovery
from pipelines.cli import console, environment, runs
from pipelines.cli.moments import utc_moment
from resources import opening
from resources.settings import Settings, read_settings
from resources.storage.audit import reinstatement
from resources.storage.recovery import hold
from resources.storage.recovery.leftovers import Leftovers
from usecases.auditing import complete_journal
from usecases.recovery import Finding, examine, expire_leases


def recover(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look, and neither end nor release anything.")
    ] = False,
    restored_to: Annotated[
        datetime | None,
        typer.Option(
            parser=utc_moment,
            metavar="TIME",
            help="Hold the database first: others restored it to this moment (UTC).",
        ),
    ] = None,
    accept: Annotated[
        str, typer.Option(help="Release it though the stores do not agree: why, for the record.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> int:
    """Say whether database, bucket, catalogue and Dagster agree; if they do, release the hold.

    Runs that the restored Dagster takes for alive are ended, and request permits expire. Status 1
    if something does not agree: each finding has its cure.
    """
    if restored_to and dry_run:
        message = "--restored-to holds the database, and --dry-run changes nothing: choose one"
        raise errors.ArgumentError(message)
    environment.enter(environment.surroundings(writes=False), start=False)
    settings = read_settings()
    url = settings.database_url.get_secret_value()
    if restored_to:
        journal = opening.journal(settings)
        if journal is not None:
            reinstatement.reinstate(url, journal)
        hold.hold(url, reason="restored by other means", target=restored_to)
    current = hold.current(url)
    ended, expired = (0, 0) if dry_run else _end_leftovers(settings, current)
    findings = [*examine(settings), _dagster(settings, current)]
    wrong = [finding for finding in findings if not finding.agrees]
    released = current is not None and not dry_run and (not wrong or bool(accept))
    if released:
        _release(settings, accept if wrong else None)
    state = _state(current, released=released)
    if json:
        console.print_json(
            {
                "agrees": not wrong,
                "hold": state,
                "runs_ended": ended,
                "leases_expired": expired,
                "findings": [_row(finding) for finding in findings],
            }
        )
    else:
        console.print_table("", [_row(finding) for finding in findings], by=("store", "compared"))
        console.say(f"{ended} runs ended, {expired} request permits expired")
        console.say(state)
    return 1 if wrong and not accept else 0


def _release(settings: Settings, accepted: str | None) -> None:
    """Release the hold; its own row, which a copy does not journal, is journaled before."""
    with opening.stores(settings) as stores:
        complete_journal(stores.audit)
    hold.release(
        settings.database_url.get_secret_value(),
        by=user_at_host(),
        accepted=accepted,
        journal=opening.journal(settings),
    )


def _end_leftovers(settings: Settings, current: hold.Hold | None) -> tuple[int, int]:
    """End what the restored databases take for alive; return how many runs and permits."""
    if current is None:
        return 0, 0
    with runs.open_instance() as instance:
        ended = recovery.end_runs_of_before(instance, current)
    return len(ended), expire_leases(settings, current.held_at)


def _dagster(settings: Settings, current: hold.Hold | None) -> Finding:
    with opening.stores(settings) as stores:
        loading_runs = Leftovers(stores.timescale).latest_runs()
    with runs.open_instance() as instance:
        return recovery.examine(instance, loading_runs, current)


def _state(current: hold.Hold | None, *, released: bool) -> str:
    if current is None:
        return "the database is not on hold: nothing was restored, or it was released before"
    what = f"{current.reason}, as of {current.target:%Y-%m-%d %H:%M:%S} UTC"
    if released:
        return f"the hold is released ({what}): schedules and sensors start again"
    return f"the database is on hold ({what}): schedules and sensors start nothing"


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "store": finding.store.value,
        "compared": finding.about,
        "agrees": "yes" if finding.agrees else "no",
        "detail": finding.detail,
        "cure": finding.cure,
    }
