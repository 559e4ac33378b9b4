"""wrdata aggregates …: refresh, verify and count bars of coarser intervals.

Here: the commands. Not here: how aggregates are kept (resources/storage/aggregates), or runs
that refresh them after a load (pipelines/jobs.py).
"""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from marketdata.bars import DAY_INTERVALS, Interval
from marketdata.recovery import errors
from pipelines.cli import console, environment
from resources import opening
from resources.opening import Stores
from resources.settings import read_settings
from resources.storage.aggregates import Difference, SourceTable
from resources.storage.ledger.lost_rows import BY_DAY, describe_loss

Intervals = Annotated[
    list[Interval] | None, typer.Option("--interval", help="Only this one; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
SHOWN = 20


def refresh(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All bars of every interval, not only invalidated ones.")
    ] = False,
    json: Json = False,
) -> None:
    """Recompute the bars that loads invalidated, as each loading run does at its end."""
    rows: list[dict[str, Any]] = []
    with _stores() as stores:
        if everything:
            _require_all_rows(stores)
        for source in SourceTable:
            refreshed = stores.aggregates.refresh(source, everything=everything)
            rows.append(
                {
                    "source": source.value,
                    "invalidations": refreshed.invalidations,
                    "instruments": refreshed.instruments,
                    "buckets_computed": refreshed.buckets,
                    "bars_changed": sum(refreshed.changed.values()),
                }
            )
    _show(rows, json=json)


def verify(
    interval: Intervals = None,
    sample: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="Random part to compare, such as 0.1.")
    ] = None,
    *,
    json: Json = False,
) -> int:
    """Compare all bars with a recomputation from their source; status 1 if any differs."""
    rows: list[dict[str, Any]] = []
    with _stores() as stores:
        for bar_interval in interval or list(Interval):
            differences = _differences(stores, bar_interval, sample)
            rows.append(
                {
                    "interval": bar_interval.value,
                    "differences": f"{SHOWN} or more"
                    if len(differences) == SHOWN
                    else len(differences),
                    "first": ", ".join(
                        f"{difference.instrument_id} {difference.provider} "
                        f"{difference.bucket_start}: {difference.difference}"
                        for difference in differences[:1]
                    ),
                }
            )
    _show(rows, json=json)
    return 1 if any(row["first"] for row in rows) else 0


def status(*, json: Json = False) -> None:
    """Show the bars of each interval, their engine, and the invalidations that wait."""
    with _stores() as stores:
        waiting = {source: stores.aggregates.waiting(source) for source in SourceTable}
        rows: list[dict[str, Any]] = [
            {
                "view": f"bars_{interval}",
                "source": source.value,
                "engine": stores.aggregates.engine,
                "bars": stores.aggregates.rows(interval),
                "invalidations_waiting": waiting[source],
            }
            for source in SourceTable
            for interval in source.intervals
        ]
    _show(rows, json=json)


def _require_all_rows(stores: Stores) -> None:
    """Refuse to recompute bars where source rows are gone: the bars are all that is left of them.

    Raises:
        RowsLostError: Rows are gone; their days are holes in the ledger from now on.
    """
    sources = set(SourceTable)
    losses: list[str] = []
    for dataset in BY_DAY:
        if dataset.table in sources and (lost := stores.lost_rows.find(dataset)):
            stores.lost_rows.make_holes(dataset, lost, by="wrdata aggregates refresh --all")
            losses.append(describe_loss(dataset, lost))
    if losses:
        message = (
            "nothing was recomputed: bars made of lost rows would go too: "
            f"{'; '.join(losses)}; refresh once the rows are loaded again"
        )
        raise errors.RowsLostError(message)


def _differences(stores: Stores, interval: Interval, sample: float | None) -> list[Difference]:
    period = "years" if interval in DAY_INTERVALS else "months"
    meter = console.Meter(f"bars_{interval}, instruments' {period}", 0)
    began = time.monotonic()

    def show_progress(done: int, total: int) -> None:
        meter.expect(total)
        meter.update(done, note="", elapsed_s=time.monotonic() - began)

    with meter.shown():
        return stores.aggregates.differences(
            interval, limit=SHOWN, sample=sample, progress=show_progress
        )


@contextmanager
def _stores() -> Generator[Stores]:
    environment.enter(environment.surroundings(writes=False), start=False)
    with opening.stores(read_settings()) as stores:
        yield stores


def _show(rows: Sequence[dict[str, Any]], *, json: bool) -> None:
    if json:
        console.print_json(rows)
    else:
        console.print_table("", rows)
