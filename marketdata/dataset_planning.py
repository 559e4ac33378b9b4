"""When datasets of the catalogue are asked again: from wishes, the ledger and letters to requests.

Here: pure decisions, so that a dry run and a real run cannot differ. Not here: what an answer
means (feeds.py), the requests themselves (ingest.py), or daily bars (planning.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock

from marketdata.calendars import SessionCalendar
from marketdata.coverage import ASK_AGAIN_FOR, SETTLED, CoverageState, Span
from marketdata.datasets import Dataset, Extent
from marketdata.instruments import ListedInstrument
from marketdata.planning import Ledger
from marketdata.ports import HistoryRequest

ONE_DAY = timedelta(days=1)
HEALS_BACK = timedelta(days=35)
"""So far back a wish without dates looks for days that an outage has left out."""


def days_between(dataset: Dataset, calendar: SessionCalendar, start: date, end: date) -> list[date]:
    """Return the days of a dataset from ``start`` to ``end``, both included."""
    if dataset.extent is Extent.SESSIONS:
        return calendar.sessions(start, end)
    return [start + timedelta(days=offset) for offset in range((end - start).days + 1)]


def ends_at(dataset: Dataset, day: date) -> datetime:
    """Return the moment (UTC) from which ``day`` of a dataset cannot grow any more."""
    return datetime.combine(day + ONE_DAY, clock(), dataset.zone).astimezone(UTC)


def plan_requests(
    dataset: Dataset,
    calendar: SessionCalendar,
    listed: Sequence[ListedInstrument],
    ledger: Ledger,
    *,
    now: datetime,
    only_missing: bool,
    start: date | None = None,
    end: date | None = None,
    again: bool = False,
) -> list[HistoryRequest]:
    """Return the requests that a wish takes, in the order of ``listed``.

    Args:
        dataset: What is wished for.
        calendar: The exchange's sessions.
        listed: Whose rows are wished for.
        ledger: What is known of them, by instrument id.
        now: Aware time.
        only_missing: Leave out days that are settled, and states that are fresh.
        start: First day; by default the usual number of days before ``end``.
        end: Last day; by default today, of trading days the last one that is over.
        again: The latest of these days that are over are asked for although they are settled, as
            many as the dataset's are corrected.
    """
    requests: list[HistoryRequest] = []
    for one in listed:
        known = ledger.get(one.instrument_id, {})
        if dataset.extent is Extent.STATE:
            requests += _state_requests(dataset, one, known, now, only_missing=only_missing)
        else:
            wished = _wished_days(dataset, calendar, known, now, start, end)
            wished = [day for day in wished if one.has_symbol_on(day)]
            if only_missing:
                missing = _missing(wished, known, now.astimezone(dataset.zone).date())
                over = [day for day in wished if ends_at(dataset, day) <= now]
                latest = over[-dataset.asked_again :] if again and dataset.asked_again else []
                wished = sorted({*missing, *latest})
            requests += _day_requests(dataset, one, wished)
    return requests


def waiting_request(
    dataset: Dataset,
    one: ListedInstrument,
    known: Mapping[CoverageState, Sequence[Span]],
    span: Span,
    now: datetime,
    part: str,
) -> HistoryRequest:
    """Return the request that does the work of a dead letter again.

    Args:
        dataset: Of the letter.
        one: Whose work it is.
        known: What the ledger knows of it.
        span: First and last day that the letter waits for.
        now: Aware time.
        part: Which of the instrument's requests it was.
    """
    if dataset.by_day:
        return HistoryRequest(instrument=one, start=span[0], end=span[1], part=part)
    # What came since the letter was written is asked for as well, and nothing is left between.
    request = state_request(dataset, one, asked_through(dataset, known), now)
    start = min(request.start, span[0])
    return replace(request, start=start, from_listing=start <= dataset.begins)


def _state_requests(
    dataset: Dataset,
    one: ListedInstrument,
    known: Mapping[CoverageState, Sequence[Span]],
    now: datetime,
    *,
    only_missing: bool,
) -> list[HistoryRequest]:
    asked_before = asked_through(dataset, known)
    age = (now.astimezone(dataset.zone).date() - (asked_before or date.min)).days
    if only_missing and age < max(dataset.fresh_for.days, 1):
        return []
    return [state_request(dataset, one, asked_before, now, whole=not only_missing)]


def state_request(
    dataset: Dataset,
    one: ListedInstrument,
    asked_before: date | None,
    now: datetime,
    *,
    whole: bool = False,
) -> HistoryRequest:
    """Return the request for a subject's state.

    Args:
        dataset: What is asked for.
        one: Whose.
        asked_before: The last day through which all of it was asked for, or None.
        now: Aware time.
        whole: Ask for all of it although a part would do.
    """
    start = dataset.begins
    if dataset.grows and not whole and asked_before is not None:
        # That day may have gone on after the answer.
        start = max(asked_before, dataset.begins)
    return HistoryRequest(
        instrument=one,
        start=start,
        end=max(now.astimezone(dataset.zone).date(), start),
        from_listing=start == dataset.begins,
        holds_bars=asked_before is not None,
    )


def asked_through(dataset: Dataset, known: Mapping[CoverageState, Sequence[Span]]) -> date | None:
    """Return the last day through which all of a state has been asked for, or None.

    An answer about the whole market says nothing of the time before it.
    """
    whole = [end for start, end in known.get(CoverageState.COMPLETE, ()) if start <= dataset.begins]
    return max(whole) - ONE_DAY if whole else None


def _wished_days(
    dataset: Dataset,
    calendar: SessionCalendar,
    known: Mapping[CoverageState, Sequence[Span]],
    now: datetime,
    start: date | None,
    end: date | None,
) -> list[date]:
    today = now.astimezone(dataset.zone).date()
    if dataset.extent is Extent.SESSIONS and end is None:
        # A plan without today's prices refuses a request that holds today.
        today -= ONE_DAY
    last = min(end or date.max, today)
    if start is not None:
        return days_between(dataset, calendar, start, last)
    some = days_between(dataset, calendar, last - HEALS_BACK, last)
    usual = some[-dataset.usual_days :]
    # An outage may have been longer than the usual days: begin where anything is known.
    covered = [span[0] for spans in known.values() for span in spans if span[1] > some[0]]
    first = min([*covered, *usual[:1]])
    return [day for day in some if day >= first]


def _day_requests(
    dataset: Dataset, one: ListedInstrument, missing: Sequence[date]
) -> list[HistoryRequest]:
    """Cut the missing days into loads that each fit into memory."""
    requests: list[HistoryRequest] = []
    first = 0
    while first < len(missing):
        last = first
        while (
            last + 1 < len(missing)
            and (missing[last + 1] - missing[first]).days < dataset.most_days
        ):
            last += 1
        start, end = missing[first], missing[last]
        requests.append(HistoryRequest(instrument=one, start=start, end=end, part=f"from {start}"))
        first = last + 1
    return requests


def _missing(
    days: Sequence[date], known: Mapping[CoverageState, Sequence[Span]], today: date
) -> list[date]:
    """Return the days worth another request; an empty one is asked again for a week."""
    settled = [span for state in SETTLED for span in known.get(state, ())]
    empty = known.get(CoverageState.PROVIDER_EMPTY, ())
    return [
        day
        for day in days
        if not _within(day, settled) and not (_within(day, empty) and today - day > ASK_AGAIN_FOR)
    ]


def _within(day: date, spans: Iterable[Span]) -> bool:
    return any(start <= day < end for start, end in spans)
