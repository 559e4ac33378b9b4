"""Finds loaded rows that are gone, by count, and makes their days holes again.

Here: the comparison of tables with the loaded counts, and the handling of a loss. Not here:
counting (loaded_days.py), when it runs (../archive, assets/checks.py), or loads that fill holes.

A dropped chunk, a truncate or a delete leaves the ledger as it was, so that those days would never
be requested again. Lost days therefore lose their state and get a dead letter, and the next
backfill, or the sensor, requests them.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any

from psycopg import sql as composed
from psycopg.types.multirange import DateMultirange
from psycopg.types.range import DateRange

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageMark, CoverageState, Span, spans_of
from marketdata.datasets import DATASETS, RequestScope
from marketdata.day_calendars import TradingDays
from marketdata.ports import IngestFailure
from marketdata.recovery.dead_letters import DeadLetter, Work
from marketdata.recovery.errors import RowsLostError
from resources.storage import sql
from resources.storage.batches import lock_instruments, record_failures
from resources.storage.ledger.loaded_days import is_counted
from resources.storage.timescale import Connection, Timescale

ONE_DAY = timedelta(days=1)
BY_DAY = tuple(dataset for dataset in ARCHIVED.values() if dataset.is_droppable)
"""The datasets with rows of days: daily bars, minutes and trades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostDay:
    """A day of an instrument that holds fewer rows than were loaded.

    Attributes:
        provider: Whose rows.
        day: In the dataset's zone.
    """

    dataset: str
    provider: str
    instrument_id: int
    day: date
    loaded: int
    held: int


class LostRows:
    """Finds rows that are gone.

    Args:
        timescale: An open Timescale whose database is migrated.
    """

    def __init__(self, timescale: Timescale) -> None:
        self._timescale = timescale

    def find(
        self,
        dataset: ArchivedDataset,
        start: date = HISTORY_START,
        end: date = date.max,
        *,
        sample: float = 1.0,
    ) -> list[LostDay]:
        """Return the days from ``start`` to before ``end`` that hold fewer rows than were loaded.

        Days in the archive only are left out.

        Args:
            dataset: One of BY_DAY.
            start: First day; by default the start of the kept history.
            end: The day after the last.
            sample: Compare this fraction of the instruments, chosen at random.
        """
        with self._timescale.connection() as connection:
            return list(_find_lost_days(connection, dataset, start, end, sample=sample))

    def make_holes(self, dataset: ArchivedDataset, lost: Sequence[LostDay], *, by: str) -> None:
        """Make lost days holes in the ledger, in one transaction.

        They lose their state, are marked as failed, and get dead letters; the ingest log records
        how many rows are gone. Days that were filled meanwhile are left alone.

        Args:
            dataset: Whose rows.
            lost: The result of ``find``.
            by: Who found the loss, for letters and log.
        """
        if not lost:
            return
        ids = sorted({loss.instrument_id for loss in lost})
        days = {loss.day for loss in lost}
        with self._timescale.connection() as connection:
            lock_instruments(connection, ids)
            losses_now = _find_lost_days(
                connection, dataset, min(days), max(days) + ONE_DAY, instrument_ids=ids
            )
            losses = sorted(
                (loss for loss in losses_now if loss.day in days),
                key=lambda loss: (loss.provider, loss.instrument_id, loss.day),
            )
            _lower_counts(connection, losses)
            tickers = dict[int, str](
                connection.execute(
                    sql.query("loaded_days", "tickers"), {"instrument_ids": ids}
                ).fetchall()
            )
            failures: list[IngestFailure] = []
            for (provider, instrument_id), group in groupby(
                losses, lambda loss: (loss.provider, loss.instrument_id)
            ):
                group_losses = list(group)
                spans = _spans(dataset, [loss.day for loss in group_losses])
                connection.execute(
                    sql.query("loaded_days", "take_back"),
                    {
                        "dataset": dataset.name,
                        "provider": provider,
                        "instrument_id": instrument_id,
                        "days": DateMultirange([DateRange(*span) for span in spans]),
                    },
                )
                ticker = tickers.get(instrument_id, f"#{instrument_id}")
                failures += _failures(dataset, group_losses, ticker, by)
            record_failures(connection, failures)


def describe_loss(dataset: ArchivedDataset, lost: Sequence[LostDay]) -> str:
    """Describe lost rows, and the command that loads them again."""
    loaded, held = sum(loss.loaded for loss in lost), sum(loss.held for loss in lost)
    first, last = min(loss.day for loss in lost), max(loss.day for loss in lost)
    more = f" and {len(lost) - 1} more days of instruments" if len(lost) > 1 else ""
    example = min(lost, key=lambda loss: (loss.day, loss.instrument_id))
    asking = f"--all --from {first} --to {last}" if is_counted(dataset.name) else "--all"
    return (
        f"the database lacks {loaded - held} of {loaded} rows of {dataset.name} that were loaded: "
        f"instrument {example.instrument_id} by {example.provider} on {example.day}{more}, the "
        f"last one on {last}. Cure: wrdata backfill {dataset.name} {asking} (their "
        "letters do the same), or wrdata archive restore if they were archived"
    )


def _find_lost_days(
    connection: Connection,
    dataset: ArchivedDataset,
    start: date,
    end: date,
    *,
    sample: float = 1.0,
    instrument_ids: Sequence[int] | None = None,
) -> Iterator[LostDay]:
    parameters: dict[str, object] = {
        "dataset": dataset.name,
        "start": start,
        "end": end,
        "instrument_ids": None if instrument_ids is None else list(instrument_ids),
        "part": sample,
        "seed": random.getrandbits(31),  # No secret: just another sample each time.
    }
    if not is_counted(dataset.name):
        last = min(end - ONE_DAY, calendar().last_closed(utc_now()))
        sessions = calendar().sessions(start, last) if start <= last else []
        query = sql.query("loaded_days", "lost_sessions")
        for row in connection.execute(query, {**parameters, "sessions": sessions}):
            yield _lost_day(dataset, row)
        return
    query = composed.SQL(sql.query("loaded_days", "lost_days")).format(
        table=composed.Identifier(dataset.table), dated_by=composed.Identifier(dataset.dated_by)
    )
    months = connection.execute(sql.query("loaded_days", "months_loaded"), parameters).fetchall()
    for (month,) in months:
        following = (month + timedelta(days=31)).replace(day=1)
        month_parameters = {
            **parameters,
            "seed": random.getrandbits(31),
            "zone": str(DATASETS[dataset.name].zone),
            "start": max(start, month),
            "end": min(end, following),
            # A day of any zone is within these bounds.
            "begins_at": datetime.combine(month - ONE_DAY, time(), UTC),
            "ends_at": datetime.combine(following + ONE_DAY, time(), UTC),
        }
        for row in connection.execute(query, month_parameters):
            yield _lost_day(dataset, row)


def _lost_day(dataset: ArchivedDataset, row: Sequence[Any]) -> LostDay:
    provider, instrument_id, day, loaded, held = row
    return LostDay(
        dataset=dataset.name,
        provider=provider,
        instrument_id=instrument_id,
        day=day,
        loaded=loaded,
        held=held,
    )


def _lower_counts(connection: Connection, lost: Sequence[LostDay]) -> None:
    if lost and is_counted(lost[0].dataset):
        connection.execute(
            sql.query("loaded_days", "lower_counts"),
            {
                "dataset": lost[0].dataset,
                "providers": [loss.provider for loss in lost],
                "instrument_ids": [loss.instrument_id for loss in lost],
                "days": [loss.day for loss in lost],
                "held": [loss.held for loss in lost],
            },
        )


def _failures(
    dataset: ArchivedDataset, lost: Sequence[LostDay], ticker: str, by: str
) -> list[IngestFailure]:
    """Return the letters for an instrument's lost days, each for one request."""
    return [
        _failure(dataset, [loss for loss in lost if start <= loss.day <= end], ticker, by)
        for start, end in _requests(dataset, [loss.day for loss in lost])
    ]


def _failure(
    dataset: ArchivedDataset, lost: Sequence[LostDay], ticker: str, by: str
) -> IngestFailure:
    first, last = lost[0].day, lost[-1].day
    loaded, held = sum(loss.loaded for loss in lost), sum(loss.held for loss in lost)
    part = "" if DATASETS[dataset.name].most_days is None else f" from {first}"
    letter = DeadLetter(
        dataset=dataset.name,
        provider=lost[0].provider,
        work=Work.INSTRUMENT,
        subject=f"{ticker}{part}",
        instrument_id=lost[0].instrument_id,
        error_class=RowsLostError.__name__,
        message=(
            f"{loaded - held} of {loaded} rows that were loaded of {first} to {last} are gone from "
            "the database"
        ),
        request=f"rows of {ticker} from {first} to {last} compared with what was loaded",
        run_id=by,
        raw_answers=(),
        details={"start": first.isoformat(), "end": last.isoformat()},
        seen_at=utc_now(),
        parked=False,
    )
    mark = CoverageMark(
        instrument_id=lost[0].instrument_id,
        state=CoverageState.FAILED,
        spans=_spans(dataset, [loss.day for loss in lost]),
    )
    return IngestFailure(letter=letter, coverage=(mark,))


def _requests(dataset: ArchivedDataset, days: Sequence[date]) -> list[Span]:
    """Split days into requests (first and last day) whose answers each fit into memory."""
    most_days = DATASETS[dataset.name].most_days
    if most_days is None:
        return [(days[0], days[-1])]
    most = timedelta(days=most_days - 1)
    spans: list[Span] = []
    for day in days:
        if spans and day - spans[-1][0] <= most:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans


def _spans(dataset: ArchivedDataset, days: Sequence[date]) -> tuple[Span, ...]:
    """Return the days as spans of the ledger: a session owns the days up to the next one."""
    by_session = DATASETS[dataset.name].request_scope is RequestScope.SESSIONS
    sessions = set(calendar().sessions(min(days), max(days))) if by_session else set[date]()
    # Minutes may be of a day that is no session, for which the ledger has no span of its own.
    other_spans = tuple((day, day + ONE_DAY) for day in days if day not in sessions)
    return (*spans_of(TradingDays(calendar()), sessions & set(days)), *other_spans)
