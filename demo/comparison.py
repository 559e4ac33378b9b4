"""Comparison of the database with the simulators' truth, row by row.

Here: the comparison of any dataset, for the demo and `wrdata sandbox verify`. Not here: the
truth (sandbox/simulators), or the loader.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.bars import WIRE_BARS
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import CoverageState, Span
from marketdata.datasets import DATASETS, UTC_ZONE, Dataset, RequestScope
from marketdata.local_days import local_days
from marketdata.recovery import errors
from resources.opening import Stores
from resources.settings import provider_of
from resources.storage.bar_reader import read_daily_bars
from sandbox.control import SimulatorControl
from usecases.instruments import UNIVERSE, every_symbol, listed_symbols

ANSWERED = (
    CoverageState.COMPLETE,
    CoverageState.PROVISIONAL,
    CoverageState.PROVIDER_EMPTY,
    CoverageState.NOT_LISTED,
)
"""States of sessions whose rows at the provider are known."""

OVER = (CoverageState.COMPLETE, CoverageState.PROVIDER_EMPTY)
"""States of days that were over when they were asked for."""

JSON_COLUMN = "answer"
"""Holds JSON as text; the database changes its blanks and order."""

Answered = Mapping[str, Sequence[Span]]
"""Days whose rows are claimed to be all known, by symbol."""


class Days(NamedTuple):
    """First and last day; None is unbounded."""

    start: date | None
    end: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The rows of the database that equal the simulators', and the others.

    Attributes:
        different: Rows with other values than the simulator serves.
        foreign: Stored rows that the simulator does not serve.
        absent: Rows of answered days that the simulator serves, but that are not stored.
        sample: Some unequal rows, such as ``AAPL 2026-08-04``.
    """

    equal: int
    different: int
    foreign: int
    absent: int
    sample: tuple[str, ...]

    @property
    def perfect(self) -> bool:
        """Whether nothing differs."""
        return not (self.different or self.foreign or self.absent)


def compare(stores: Stores, control: SimulatorControl) -> Comparison:
    """Compare every stored daily bar, and every session the ledger calls answered.

    The truth is the configured provider's, since each adjusts its prices in its own way.
    """
    provider = provider_of(DAILY_BARS_DATASET)
    end = calendar().last_closed(utc_now())
    members = stores.instruments.members(UNIVERSE)
    stored = read_daily_bars(stores.timescale, HISTORY_START, end)
    stored = stored.rename_columns(WIRE_BARS.names)
    tickers = {*(member.ticker for member in members), *pc.unique(stored["symbol"]).to_pylist()}
    truth = control.dataset_truth(
        DAILY_BARS_DATASET, sorted(tickers), start=HISTORY_START, end=end, provider=provider
    )
    ledger = stores.coverage.ledger(
        DAILY_BARS_DATASET, provider, [member.instrument_id for member in members]
    )
    answered = {member.ticker: _answered(ledger[member.instrument_id]) for member in members}
    return compare_rows(
        stored,
        truth,
        key=("session_date",),
        answered=answered,
    )


def verify(
    stores: Stores, control: SimulatorControl, name: str, provider: str | None = None
) -> Comparison:
    """Compare the stored rows of a dataset with those of its simulated provider (or another).

    Raises:
        ArgumentError: There is no such dataset, or the provider does not serve it.
    """
    if name == DAILY_BARS_DATASET:
        return compare(stores, control)
    if name not in DATASETS:
        message = f"there is no dataset {name!r}: name one of {', '.join(DATASETS)}"
        raise errors.ArgumentError(message)
    return compare_dataset(stores, control, DATASETS[name], provider or provider_of(name))


def compare_dataset(
    stores: Stores, control: SimulatorControl, dataset: Dataset, provider: str
) -> Comparison:
    """Compare every stored row, and every day the ledger calls answered, with the truth.

    In a snapshot dataset, a symbol that was asked for from inception, or that has a row, is
    claimed to have all its rows.
    """
    symbols = every_symbol(stores, dataset, provider)
    stored = stores.datasets.read(dataset, symbols, provider)
    if dataset.request_scope is RequestScope.SNAPSHOT:
        asked = _days_in(ANSWERED, stores, dataset, provider, symbols)
        # A symbol that was asked for from inception must have all its rows, even none.
        whole = {name for name, spans in asked.items() if min(spans)[0] <= dataset.begins}
        present = sorted({*whole, *pc.unique(stored["symbol"]).to_pylist()})
        answered, span = None, Days(None, None)
    else:
        asked = _days_in(ANSWERED, stores, dataset, provider, symbols)
        present, span = sorted(asked), _bounds(asked)
        # A day that was not over when it was asked for may have more rows by now.
        answered = _days_in(OVER, stores, dataset, provider, symbols)
    truth = stored.slice(0, 0)
    if present:
        truth = control.dataset_truth(
            dataset.name, present, start=span.start, end=span.end, provider=provider
        )
    if dataset.completed is not None:
        # Columns that no provider serves are derived from the rows, on both sides.
        stored, truth = (dataset.validate(rows).accepted for rows in (stored, truth))
    return compare_rows(stored, truth, key=dataset.key, zone=dataset.zone, answered=answered)


def compare_rows(
    stored: pa.Table,
    truth: pa.Table,
    *,
    key: Sequence[str],
    zone: ZoneInfo | None = None,
    answered: Answered | None = None,
) -> Comparison:
    """Compare two tables of one schema, row by row; null equals null and nothing else.

    Args:
        stored: Rows of the database.
        truth: Rows that it should have.
        key: Key columns beside ``symbol``.
        zone: Zone of the days of ``answered``, where the first of ``key`` is a moment.
        answered: Days whose absent rows are a fault; None means all.
    """
    names = ["symbol", *key]
    values = [name for name in truth.column_names if name not in names]
    merged = _marked(stored, "stored").join(
        _marked(truth, "served"), keys=names, right_suffix="_true", join_type="full outer"
    )
    here, there = (_held(merged, name) for name in ("stored", "served"))
    same = here & there
    for name in values:
        same &= _equal(merged[name], merged[f"{name}_true"])
    different, foreign = here & there & ~same, here & ~there
    absent = ~here & there & _claimed(merged, key, zone, answered)
    wrong = merged.filter(pa.array(different | foreign | absent)).select(names)
    shown = wrong.sort_by([(name, "ascending") for name in names]).slice(0, 5).to_pylist()
    return Comparison(
        equal=int(same.sum()),
        different=int(different.sum()),
        foreign=int(foreign.sum()),
        absent=int(absent.sum()),
        sample=tuple(" ".join(str(value) for value in row.values()) for row in shown),
    )


Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


def _marked(rows: pa.Table, mark: str) -> pa.Table:
    """Prepare ``rows`` for a join; column ``mark`` tells a row of nulls from no row."""
    if JSON_COLUMN in rows.column_names:
        place = rows.column_names.index(JSON_COLUMN)
        documents = [_canonical(text) for text in rows[JSON_COLUMN].to_pylist()]
        rows = rows.set_column(place, JSON_COLUMN, pa.array(documents, pa.string()))
    return rows.append_column(mark, pa.array(np.ones(rows.num_rows, np.bool_)))


def _canonical(document: str | None) -> str | None:
    """Return a JSON document in canonical form; numbers keep their exact value."""
    if document is None:
        return None
    content = json.loads(document, parse_float=Decimal, parse_int=Decimal)
    return json.dumps(content, sort_keys=True, default=_number)


def _number(value: Decimal) -> dict[str, str]:
    """Return a number in canonical form, distinct from text: 1.50 as 1.5, at any length."""
    digits = f"{value:f}"
    return {"number": digits.rstrip("0").rstrip(".") if "." in digits else digits}


def _held(merged: pa.Table, mark: str) -> Mask:
    return pc.is_valid(merged[mark]).to_numpy()


def _equal(left: pa.ChunkedArray, other: pa.ChunkedArray) -> Mask:
    equal = pc.fill_null(pc.equal(left, other), False)
    return pc.or_(equal, pc.and_(pc.is_null(left), pc.is_null(other))).to_numpy()


def _claimed(
    merged: pa.Table, key: Sequence[str], zone: ZoneInfo | None, answered: Answered | None
) -> Mask:
    """Return for each row whether its day is an answered day of its symbol."""
    if answered is None:
        return np.ones(merged.num_rows, np.bool_)
    days = _days(merged[key[0]], zone)
    symbols = merged["symbol"].combine_chunks().dictionary_encode()
    codes = symbols.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    inside = np.zeros(merged.num_rows, np.bool_)
    for code, symbol in enumerate(symbols.dictionary.to_pylist()):
        first, last = np.searchsorted(codes, [code, code + 1], sorter=order)
        rows = order[first:last]
        of_symbol = days[rows]
        for start, end in answered.get(symbol, ()):
            within = (of_symbol >= np.datetime64(start)) & (of_symbol < np.datetime64(end))
            inside[rows[within]] = True
    return inside


def _days(
    column: pa.ChunkedArray, zone: ZoneInfo | None
) -> "np.ndarray[tuple[int], np.dtype[np.datetime64]]":
    if pa.types.is_timestamp(column.type):
        column = local_days(column, zone or UTC_ZONE)
    return pc.cast(column, pa.date32(), safe=False).to_numpy().astype("datetime64[D]")


def _days_in(
    states: Sequence[CoverageState],
    stores: Stores,
    dataset: Dataset,
    provider: str,
    symbols: Sequence[str],
) -> Answered:
    """Return the days in one of ``states``, by symbol; without symbols that have none."""
    listed, _ = listed_symbols(stores, dataset, provider, symbols)
    ids = [instrument.instrument_id for instrument in listed]
    ledger = stores.coverage.ledger(dataset.name, provider, ids)
    spans = {
        instrument.ticker: _answered(ledger[instrument.instrument_id], states)
        for instrument in listed
    }
    return {ticker: of_ticker for ticker, of_ticker in spans.items() if of_ticker}


def _bounds(answered: Answered) -> Days:
    """Return the first and the last answered day of all symbols."""
    spans = [span for of_symbol in answered.values() for span in of_symbol]
    if not spans:
        return Days(None, None)
    last = max(end for _, end in spans) - timedelta(days=1)
    return Days(min(start for start, _ in spans), last)


def _answered(
    ledger: Mapping[CoverageState, Sequence[Span]], states: Sequence[CoverageState] = ANSWERED
) -> list[Span]:
    return [span for state in states for span in ledger.get(state, ())]
