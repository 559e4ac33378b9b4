"""wrdata archive …: closed months to Parquet, and what is there.

Here: the commands. Not here: how a month is archived (resources/storage/archive.py).
"""

from datetime import date, datetime
from typing import Annotated, Any

import typer

from assets.partitions import MONTHS
from marketdata.recovery import errors
from pipelines.cli import console, environment, loads
from pipelines.cli.runs import RunReport
from resources import opening
from resources.settings import read_settings

app = typer.Typer(help="The Parquet archive: closed months on S3 or Spaces.", no_args_is_help=True)

Month = Annotated[datetime | None, typer.Option(formats=["%Y-%m"], help="As YYYY-MM.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command()
def run(start: Month = None, end: Month = None, *, json: Json = False) -> int:
    """Archive closed months, from --start to --end or all: what did not change is left alone."""
    around = environment.surroundings()
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)
    first, last = _closed_months(start, end)
    report = loads.archive_months(first, last)
    summary = archived(report)
    if json:
        console.print_json(summary)
    else:
        console.print_table("", [summary])
        for reason in loads.failures(report).values():
            console.fail(reason)
    return 0 if not loads.failures(report) else 1


@app.command("list")
def list_months(*, json: Json = False) -> None:
    """List what is archived, with the proof of each month."""
    environment.enter(environment.surroundings(), start=False)
    with opening.archive(read_settings()) as archive:
        months = archive.months()
    rows: list[dict[str, Any]] = [
        {
            "month": f"{month:%Y-%m}",
            "rows": logged.proof.rows,
            "bytes": logged.proof.bytes,
            "object": logged.proof.object_key,
            "content": logged.proof.content_digest[:12]
            if not json
            else logged.proof.content_digest,
            "snapshot": str(logged.snapshot_id),
        }
        for month, logged in sorted(months.items())
    ]
    if json:
        console.print_json(rows)
    else:
        console.print_table("", rows)


@app.command()
def verify(*, json: Json = False) -> int:
    """Read every archived month back from the bucket and compare it with the database."""
    environment.enter(environment.surroundings(), start=False)
    with opening.archive(read_settings()) as archive:
        verdicts = archive.verify(archive.months())
    different = [one for one in verdicts if not one.equal]
    if json:
        console.print_json(
            {"months": len(verdicts), "different": [f"{one.month:%Y-%m}" for one in different]}
        )
    for one in different:
        console.fail(
            f"{one.month:%Y-%m}: {one.archive_rows} rows archived, {one.database_rows} in the "
            f"database, different in {', '.join(one.differing)}; cure: wrdata archive run"
        )
    if not json and not different:
        console.say(f"{len(verdicts)} months read back, all equal to the database")
    return 1 if different else 0


def archived(report: RunReport) -> dict[str, Any]:
    """Return the figures of a run of the archive job."""
    months = [one.metadata for one in report.of("daily_bars")]
    written = [one for one in months if one["status"] in {"committed", "replaced"}]
    return {
        "months": len([one for one in months if one["status"] != "empty"]),
        "written": len(written),
        "unchanged": len([one for one in months if one["status"] == "unchanged"]),
        "rows": sum(one["dagster/partition_row_count"] for one in months),
        "bytes_written": sum(one["bytes"] for one in written),
        "duration_s": round(report.duration_s, 1),
    }


def _closed_months(start: datetime | None, end: datetime | None) -> tuple[date, date]:
    keys = [date.fromisoformat(key) for key in MONTHS.get_partition_keys()]
    first = start.date() if start else keys[0]
    last = end.date() if end else keys[-1]
    if first not in keys or last not in keys or first > last:
        message = (
            f"months from {first:%Y-%m} to {last:%Y-%m} cannot be archived: closed months are "
            f"{keys[0]:%Y-%m} to {keys[-1]:%Y-%m}"
        )
        raise errors.ConfigurationError(message)
    return first, last
