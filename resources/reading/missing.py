"""State of the days that a read asks for: which are held, which are not, and why.

Here: from the ledger's spans to days by state, and the text for what is missing. Not here: SQL
(snapshot.py), the rules of a request (request.py), or the states (marketdata/coverage.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import HELD, CoverageState
from marketdata.datasets import InstrumentKind
from resources.reading.request import BEFORE_ALL, NAMED, BarsRequest
from resources.reading.snapshot import Named

BEFORE_HISTORY = "before_history"
NEVER_ASKED_FOR = "never_asked_for"
_HELD = "held"

_STRENGTH = (
    NEVER_ASKED_FOR,
    BEFORE_HISTORY,
    CoverageState.FAILED.value,
    CoverageState.PROVIDER_EMPTY.value,
    CoverageState.QUARANTINED.value,
    CoverageState.NOT_LISTED.value,
    _HELD,
)
"""States of a day for a reader, weakest first: where providers differ, the strongest counts."""

_CODES = {state: code for code, state in enumerate(_STRENGTH)} | {
    state.value: _STRENGTH.index(_HELD) for state in HELD
}
_WORDS = {
    NEVER_ASKED_FOR: "never asked for",
    BEFORE_HISTORY: f"before {HISTORY_START}, where the history kept here begins",
    CoverageState.FAILED.value: "the request failed",
    CoverageState.PROVIDER_EMPTY.value: "the provider had none",
    CoverageState.QUARANTINED.value: "refused as wrong",
}
_COMMAND = "wrdata backfill"

SCHEMA = pa.schema(
    [
        pa.field("ticker", pa.string()),
        pa.field("dataset", pa.string()),
        pa.field("first_day", pa.date32()),
        pa.field("last_day", pa.date32()),
        pa.field("days", pa.int32()),
        pa.field("state", pa.string()),
    ]
)
"""Columns of ``wrdata.coverage``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySpan:
    """Neighbouring days of a ticker in one state.

    Attributes:
        dataset: Its dataset: days are sessions for a share, UTC days for a pair.
        days: Number of sessions or days from ``first_day`` to ``last_day``, both included.
        state: ``held``, ``not_listed`` (before a listing that is known), ``provider_empty``,
            ``quarantined``, ``failed``, ``never_asked_for`` or ``before_history``.
    """

    ticker: str
    dataset: str
    first_day: date
    last_day: date
    days: int
    state: str

    @property
    def is_missing(self) -> bool:
        """Whether expected bars are missing."""
        return self.state in _WORDS


class MissingBarsWarning(UserWarning):
    """Some of the requested bars are missing; ``spans`` says which days, and why."""

    def __init__(self, spans: Sequence[DaySpan]) -> None:
        super().__init__(sentences(spans))
        self.spans = tuple(span for span in spans if span.is_missing)


def expected_days(request: BarsRequest, kind: InstrumentKind) -> list[date]:
    """Return the past days for which a request expects bars."""
    start, end = request.days()
    start = max(start, calendar().first)
    if kind is InstrumentKind.EQUITY:
        return calendar().sessions(start, min(end, calendar().last_closed(utc_now())))
    last = min(end, utc_now().date() - timedelta(days=1))
    start = max(start, HISTORY_START)
    return [start + timedelta(days=offset) for offset in range((last - start).days + 1)]


def day_spans(
    request: BarsRequest, dataset: str, named: Sequence[Named], known: Sequence[Mapping[str, Any]]
) -> list[DaySpan]:
    """Return the state of the requested days, for some instruments of one kind.

    A request without a start begins with the oldest bar: days before it are left out.

    Args:
        request: What is asked for.
        dataset: The dataset whose rows answer it.
        named: The instruments.
        known: Spans of the ledgers, as ``Snapshot.coverage`` returns them.
    """
    days = expected_days(request, named[0].kind) if named else []
    if not days:
        return []
    ordinals = np.array([day.toordinal() for day in days])
    codes = np.zeros((len(named), len(days)), np.int8)
    codes[:, ordinals < HISTORY_START.toordinal()] = _CODES[BEFORE_HISTORY]
    places = {instrument.instrument_id: place for place, instrument in enumerate(named)}
    for span in known:
        bounds = [span["starts_on"].toordinal(), span["ends_before"].toordinal()]
        first, end = np.searchsorted(ordinals, bounds)
        span_codes = codes[places[span["instrument_id"]], first:end]
        np.maximum(span_codes, _CODES[span["state"]], out=span_codes)
    spans: list[DaySpan] = []
    for instrument, row_codes in zip(named, codes, strict=True):
        first = 0
        if request.start == BEFORE_ALL:
            held = np.flatnonzero(row_codes == _CODES[_HELD])
            since = held[0] if held.size else np.searchsorted(ordinals, HISTORY_START.toordinal())
            first = int(since)
        edges = [
            first,
            *(np.flatnonzero(np.diff(row_codes[first:])) + first + 1).tolist(),
            len(days),
        ]
        spans += [
            DaySpan(
                ticker=instrument.ticker,
                dataset=dataset,
                first_day=days[begin],
                last_day=days[end - 1],
                days=end - begin,
                state=_STRENGTH[int(row_codes[begin])],
            )
            for begin, end in pairwise(edges)
            if begin < end
        ]
    return spans


def table(spans: Sequence[DaySpan]) -> pa.Table:
    """Return spans as a table in SCHEMA."""
    columns = [[getattr(span, name) for span in spans] for name in SCHEMA.names]
    return pa.table(columns, schema=SCHEMA)


def sentences(spans: Sequence[DaySpan]) -> str:
    """Describe what is missing by ticker, why, and which command loads it.

    Held spans count towards the number of days.
    """
    lacking = {(span.dataset, span.ticker) for span in spans if span.is_missing}
    spans_by_ticker = [
        (ticker, dataset, list(group))
        for (ticker, dataset), group in groupby(spans, lambda span: (span.ticker, span.dataset))
        if (dataset, ticker) in lacking
    ]
    parts = [
        _sentence(dataset, ticker, group) for ticker, dataset, group in spans_by_ticker[:NAMED]
    ]
    if len(spans_by_ticker) > NAMED:
        parts.append(f"and {len(spans_by_ticker) - NAMED} more tickers")
    return "; ".join([*parts, *_cures(lacking)])


def _sentence(dataset: str, ticker: str, spans: Sequence[DaySpan]) -> str:
    missing = [span for span in spans if span.is_missing]
    reasons = dict.fromkeys(_WORDS[span.state] for span in missing)
    lacks, expected = sum(span.days for span in missing), sum(span.days for span in spans)
    has_some = any(span.state == _HELD for span in spans)
    how_many = f"lacks {lacks:,} of {expected:,}" if has_some else f"has none of {lacks:,}"
    return (
        f"{ticker} {how_many} days of {dataset} from {missing[0].first_day} to "
        f"{missing[-1].last_day} ({', '.join(reasons)})"
    )


def _cures(lacking: set[tuple[str, str]]) -> list[str]:
    """Return one command per dataset that loads what is missing."""
    cures: list[str] = []
    for dataset, pairs in groupby(sorted(lacking), lambda pair: pair[0]):
        tickers = [ticker for _, ticker in pairs]
        named = ",".join(tickers) if len(tickers) <= NAMED else "…"
        cures.append(f"{_COMMAND} {dataset} --tickers {named} loads what there is")
    return cures
