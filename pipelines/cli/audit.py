"""wrdata audit …: the audit log: list, verify, export, anchor it, and put lost rows back.

Here: the commands. Not here: what is audited (marketdata/audit.py), the log
(resources/storage/audit), or how it is verified (usecases/auditing.py).
"""

import io
import json as jsonlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from marketdata.audit import Action, AuditRow, exported, utc_text
from marketdata.calendars import utc_now
from marketdata.recovery import errors
from pipelines.cli import console, environment, result_files
from resources import opening
from resources.settings import read_settings
from resources.storage.audit import reinstatement
from usecases.auditing import NOT_ANCHORED, anchor_log, describe, verify_log

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
SHOWN = 80
"""Most characters of the details that a table shows."""


def list_rows(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="The first moment, in UTC."),
    ] = None,
    action: Annotated[
        list[Action] | None, typer.Option(help="Only this; may be given several times.")
    ] = None,
    who: Annotated[str, typer.Option(help="Part of the name of who did it.")] = "",
    limit: Annotated[int, typer.Option(help="Most rows, the latest ones.", min=1)] = 100,
    json: Json = False,
) -> None:
    """Show who did what, the latest first."""
    environment.enter(environment.surroundings(writes=False), start=False)
    with opening.stores(read_settings()) as stores:
        rows = stores.audit.find(
            since=since.replace(tzinfo=UTC) if since else None,
            actions=action or (),
            who=who,
            limit=limit,
        )
    if json:
        console.print_json([exported(row) for row in rows])
    elif rows:
        console.print_table("", [_as_row(row) for row in rows], by=("id",))
    else:
        console.say("no row of the audit log matches")


def verify(*, json: Json = False) -> int:
    """Verify that no row was altered, removed or cut off; status 1 if one was."""
    environment.enter(environment.surroundings(writes=False), start=False)
    settings = read_settings()
    with opening.stores(settings) as stores:
        verification = verify_log(stores.audit, opening.anchors(settings, stores.timescale))
    if json:
        console.print_json(
            {
                "valid": verification.valid,
                "rows": verification.rows,
                "last_row": verification.through_id,
                "last_hash": verification.through_hash.hex(),
                "anchors": verification.anchors,
                "unjournaled": verification.unjournaled,
                "findings": list(verification.findings),
                "further_findings": verification.further,
            }
        )
        return 0 if verification.valid else 1
    if verification.valid:
        console.say(describe(verification))
        return 0
    for finding in verification.findings:
        console.fail(finding)
    if verification.further:
        console.fail(f"and {verification.further} more findings")
    if verification.anchors is None:
        console.say(NOT_ANCHORED)
    console.say("what to do: docs/runbooks/audit.md")
    return 1


def export(
    output: Annotated[Path, typer.Option(help="File of JSON lines.", dir_okay=False)],
) -> None:
    """Write every row with text and hashes, so that anybody can verify it without the database."""
    environment.enter(environment.surroundings(writes=False), start=False)
    count, last_hash = 0, ""
    with (
        opening.stores(read_settings()) as stores,
        stores.audit.chain() as (_, rows),
        result_files.written(output) as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True) as text,
    ):
        for row in rows:
            line = exported(row)
            text.write(jsonlib.dumps(line, ensure_ascii=False) + "\n")
            count, last_hash = count + 1, line["hash"]
    console.say(f"{count} rows written to {output}; the last hash is {last_hash}")


def anchor(*, json: Json = False) -> None:
    """Anchor the last row in the locked bucket, once it has proved that it locks."""
    environment.enter(environment.surroundings(writes=False), start=False)
    settings = read_settings()
    with opening.stores(settings) as stores:
        anchored = anchor_log(stores.audit, opening.anchors(settings, stores.timescale), utc_now())
    if json:
        console.print_json(
            {
                "audit_id": anchored.audit_id,
                "hash": anchored.hash.hex(),
                "anchored_at": utc_text(anchored.anchored_at),
                "object_key": anchored.object_key,
            }
        )
        return
    days = f"{settings.audit_lock_mode}, {settings.audit_lock_days} days"
    console.say(f"row {anchored.audit_id} is anchored as {anchored.object_key} ({days})")


def reinstate(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the rows, and change nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Put back the rows that a restore of the database has lost, from the journal.

    As the owner of the tables, before anything else is written to the restored log.
    """
    environment.enter(environment.surroundings(writes=False), start=False)
    settings = read_settings()
    journal = opening.journal(settings)
    if journal is None:
        message = "WRDATA_AUDIT_BUCKET names no bucket with a journal: see docs/how-to/audit.md"
        raise errors.ConfigurationError(message)
    url = settings.database_url.get_secret_value()
    rows = reinstatement.lost_rows(url, journal)
    if not dry_run:
        reinstatement.reinstate(url, journal)
    if json:
        console.print_json([exported(row) for row in rows])
        return
    if rows:
        console.print_table("", [_as_row(row) for row in rows], by=("id",))
    outcome = "follow the end of the log" if dry_run else "were put back"
    console.say(f"{len(rows)} rows of the journal {outcome}")


def _as_row(row: AuditRow) -> dict[str, Any]:
    details = jsonlib.dumps(
        {name: value for name, value in row.details.items() if name != "fingerprints"},
        ensure_ascii=False,
    )
    return {
        "id": row.id,
        "at": f"{row.at:%Y-%m-%d %H:%M:%S}",
        "who": row.who,
        "from": row.origin,
        "action": row.action,
        "subject": row.subject,
        "details": details if len(details) <= SHOWN else f"{details[: SHOWN - 1]}…",
    }
