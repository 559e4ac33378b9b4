"""Which requests a load makes: from names, days, the ledger and letters to requests.

Here: pure decisions, so that a dry run and a real run cannot differ. Not here: what an answer
means (dataset_ingest.py), making the requests (ingest.py), or budgets in time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from marketdata.calendars import SessionCalendar
from marketdata.coverage import HELD, PLAN_STEP, CoverageState, Span, holes
from marketdata.datasets import Dataset, RequestScope
from marketdata.day_calendars import ONE_DAY, DayCalendar
from marketdata.instruments import ListedInstrument
from marketdata.ports import FetchRequest

Known = Mapping[CoverageState, Sequence[Span]]
"""The ledger's entry of one instrument: spans of days by state."""

Ledger = Mapping[int, Known]
"""The ledger's entries, by instrument id."""

HEALS_BACK = timedelta(days=35)
"""How far back a load without dates looks for days that an outage left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The days that a load asks for, and which of them.

    Attributes:
        only_missing: Leave out settled days and fresh snapshots.
        start: First day; by default the usual number of days before ``end``.
        end: Last day; by default today, or for trading days the last one that is over.
        again: Ask for the latest days that are over although they are settled: as many as the
            dataset has ``asked_again``. Instruments that lack nothing else come last.
        probes: If the key has shown the beginning of no history, one more request finds out
            whether it does now.
    """

    only_missing: bool = True
    start: date | None = None
    end: date | None = None
    again: bool = False
    probes: bool = True


def plan_requests(
    dataset: Dataset,
    calendar: SessionCalendar,
    listed: Sequence[ListedInstrument],
    ledger: Ledger,
    wanted: Wanted,
    *,
    now: datetime,
) -> list[FetchRequest]:
    """Return the requests that a load takes, in the order of ``listed``.

    Args:
        dataset: The dataset to load.
        calendar: The exchange's sessions.
        listed: The instruments to load.
        ledger: Their coverage; an instrument without an entry lacks everything.
        wanted: The days to ask for.
        now: Aware time.
    """
    if dataset.request_scope is RequestScope.SNAPSHOT:
        return [
            request
            for instrument in listed
            for request in _snapshot_requests(
                dataset, instrument, ledger.get(instrument.instrument_id, {}), wanted, now
            )
        ]
    days, today = dataset.day_calendar(calendar), now.astimezone(dataset.zone).date()
    probe = _probe(dataset, days, listed, ledger, wanted, now)
    missing_first: list[FetchRequest] = []
    settled_last: list[FetchRequest] = []
    for instrument in listed:
        known = ledger.get(instrument.instrument_id, {})
        # Days on which it had no symbol cannot be asked for.
        requested = [
            day
            for day in requested_days(dataset, days, known, wanted, now)
            if instrument.has_symbol_on(day)
        ]
        chosen = holes(requested, known, today=today) if wanted.only_missing else requested
        if probe is not None and probe[0] == instrument:
            # From the beginning to the last day that it lacks.
            chosen = [dataset.begins, *(chosen or [probe[1]])]
        requests = missing_first if chosen else settled_last
        if wanted.again:
            over = [day for day in requested if days.ends_at(day) <= now]
            latest = over[-dataset.asked_again :] if dataset.asked_again else []
            chosen = sorted({*chosen, *latest})
        requests += _day_requests(dataset, instrument, known, chosen)
    return [*missing_first, *settled_last]


def letter_request(
    dataset: Dataset,
    instrument: ListedInstrument,
    known: Known,
    span: Span,
    now: datetime,
    part: str,
) -> FetchRequest:
    """Return the request that does the work of a dead letter again.

    Args:
        dataset: The letter's dataset.
        instrument: The letter's instrument.
        known: The instrument's coverage.
        span: First and last day that the letter waits for.
        now: Aware time.
        part: Name of the request among several of the instrument.
    """
    if dataset.by_day:
        return _days_request(dataset, instrument, known, span, part)
    # Also ask for the days since the letter was posted, without a gap between.
    request = snapshot_request(dataset, instrument, asked_through(dataset, known), now)
    start = min(request.start, span[0])
    return replace(request, start=start, from_inception=start <= dataset.begins)


def snapshot_request(
    dataset: Dataset,
    instrument: ListedInstrument,
    asked_before: date | None,
    now: datetime,
    *,
    whole: bool = False,
) -> FetchRequest:
    """Return the request for a snapshot of an instrument.

    Args:
        dataset: The dataset to ask for.
        instrument: The instrument.
        asked_before: The last day through which all of it was asked for, or None.
        now: Aware time.
        whole: Ask for all of it although a part would do.
    """
    start = dataset.begins
    if dataset.grows and not whole and asked_before is not None:
        # More may have come on that day after the answer.
        start = max(asked_before, dataset.begins)
    return FetchRequest(
        instrument=instrument,
        start=start,
        end=max(now.astimezone(dataset.zone).date(), start),
        from_inception=start == dataset.begins,
        has_data=asked_before is not None,
    )


def asked_through(dataset: Dataset, known: Known) -> date | None:
    """Return the last day through which a whole snapshot has been asked for, or None.

    An answer about the whole market does not count: it says nothing of earlier days.
    """
    whole = [end for start, end in known.get(CoverageState.COMPLETE, ()) if start <= dataset.begins]
    return max(whole) - ONE_DAY if whole else None


def requested_days(
    dataset: Dataset, days: DayCalendar, known: Known, wanted: Wanted, now: datetime
) -> list[date]:
    """Return the days of one instrument that a load is about, settled or not."""
    last = days.last_over(now)
    if wanted.end is not None or dataset.request_scope is not RequestScope.SESSIONS:
        # Calendar days include today. Trading days do not unless a person names today: a key's
        # plan without today's prices refuses a request that includes it.
        today = last if dataset.ends_at_close else now.astimezone(dataset.zone).date()
        last = min(wanted.end or today, today)
    if wanted.start is not None:
        return days.between(wanted.start, last)
    if dataset.usual_days is None:
        return days.between(dataset.begins, last)
    recent = days.between(last - HEALS_BACK, last)
    usual = recent[-dataset.usual_days :]
    # An outage may last longer than the usual days: begin where coverage begins.
    covered = [span[0] for spans in known.values() for span in spans if span[1] > recent[0]]
    first = min([*covered, *usual[:1]])
    return [day for day in recent if day >= first]


def _snapshot_requests(
    dataset: Dataset, instrument: ListedInstrument, known: Known, wanted: Wanted, now: datetime
) -> list[FetchRequest]:
    asked_before = asked_through(dataset, known)
    age = (now.astimezone(dataset.zone).date() - (asked_before or date.min)).days
    if wanted.only_missing and age < max(dataset.fresh_for.days, 1):
        return []
    return [snapshot_request(dataset, instrument, asked_before, now, whole=not wanted.only_missing)]


def _day_requests(
    dataset: Dataset, instrument: ListedInstrument, known: Known, chosen: Sequence[date]
) -> list[FetchRequest]:
    """Cut the days into requests whose answers fit into memory."""
    if not chosen:
        return []
    if dataset.most_days is None:
        return [_days_request(dataset, instrument, known, (chosen[0], chosen[-1]), "")]
    requests: list[FetchRequest] = []
    first = 0
    while first < len(chosen):
        last = first
        while (
            last + 1 < len(chosen) and (chosen[last + 1] - chosen[first]).days < dataset.most_days
        ):
            last += 1
        span = (chosen[first], chosen[last])
        requests.append(_days_request(dataset, instrument, known, span, f"from {span[0]}"))
        first = last + 1
    return requests


def _days_request(
    dataset: Dataset, instrument: ListedInstrument, known: Known, span: Span, part: str
) -> FetchRequest:
    return FetchRequest(
        instrument=instrument,
        start=span[0],
        end=span[1],
        part=part,
        # Only if the whole history is asked for, an empty answer means an unknown symbol.
        from_inception=dataset.usual_days is None and span[0] <= dataset.begins,
        has_data=dataset.usual_days is not None or any(known.get(state) for state in HELD),
    )


def _probe(
    dataset: Dataset,
    days: DayCalendar,
    listed: Sequence[ListedInstrument],
    ledger: Ledger,
    wanted: Wanted,
    now: datetime,
) -> tuple[ListedInstrument, date] | None:
    """Return an instrument to probe whether the key shows more of the past now, and its last day.

    It is the one whose rows begin first. None if some history begins at the dataset's beginning:
    then the key shows all days, and absent days have another reason.
    """
    if not wanted.only_missing or not wanted.probes or wanted.start or dataset.usual_days:
        return None
    expected = days.between(dataset.begins, days.last_over(now))
    absences: list[tuple[date, ListedInstrument]] = []
    for instrument in listed:
        known = ledger.get(instrument.instrument_id, {})
        if any(
            start < expected[0] + PLAN_STEP for state in HELD for start, _ in known.get(state, ())
        ):
            return None
        absences += [
            (end, instrument)
            for start, end in known.get(CoverageState.PROVIDER_EMPTY, ())
            if start <= expected[0] and end - start > PLAN_STEP
        ]
    if not absences:
        return None
    end, instrument = min(absences, key=lambda absence: absence[0])
    return instrument, max(day for day in expected if day < end)
