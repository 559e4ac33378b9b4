"""Datasets of the catalogue: the ledger after answers, and when they are asked again."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from marketdata.calendars import calendar
from marketdata.coverage import CoverageState, Span
from marketdata.dataset_ingest import DatasetFeed
from marketdata.datasets import DATASETS, Dataset
from marketdata.ingest import IngestContext, Ingested, NotIngested, ingest
from marketdata.market_ingest import load_market
from marketdata.planning import Wanted, asked_through, letter_request, plan_requests
from marketdata.ports import Answer, Days, FetchRequest
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import Work
from marketdata.rows import RejectedRow, unread
from tests.marketdata.fakes import MemoryStore, listed

BARS, CRYPTO, SPLITS, MACRO, COMPANIES = (
    DATASETS[name]
    for name in ("minute_bars", "crypto_bars", "splits", "macro_observations", "companies")
)
# A Thursday; the day before was a session.
NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAYS = Days(start=date(2026, 3, 3), end=date(2026, 4, 4))
AAPL, BRK = listed("AAPL", 1), listed("BRK.B", 2, "BRK-B")


class Client:
    """Answers with what it was given; an exception is raised."""

    def __init__(self, dataset: Dataset, rows: list[dict[str, Any]] | Exception) -> None:
        self._dataset, self._rows = dataset, rows
        self.name = next(iter(dataset.sources))
        self.asked: list[tuple[Any, ...]] = []
        self.fetched_at = NOW
        self.left_out: tuple[RejectedRow, ...] = ()
        self.untold: frozenset[date] = frozenset()

    def answer(self, *asked: Any) -> Answer:
        self.asked.append(asked)
        if isinstance(self._rows, Exception):
            raise self._rows
        return Answer(
            rows=pa.Table.from_pylist(self._rows, schema=self._dataset.wire_schema),
            request=f"{self._dataset.name} {asked}",
            content_sha256="ab",
            fetched_at=self.fetched_at,
            requests=1,
            raw_answers=("raw/1",),
            left_out=self.left_out,
            untold=self.untold,
        )

    async def minute_bars(self, symbol: str, start: date, end: date) -> Answer:
        return self.answer(symbol, start, end)

    async def splits(self, symbol: str) -> Answer:
        return self.answer(symbol)

    async def company(self, symbol: str) -> Answer:
        return self.answer(symbol)

    async def dividends(self, symbol: str) -> Answer:
        raise NotImplementedError

    async def dividends_between(self, start: date, end: date) -> Answer:
        raise NotImplementedError

    async def splits_between(self, start: date, end: date) -> Answer:
        return self.answer(start, end)


def _minute(at: datetime, symbol: str = "AAPL", low: float = 9.0) -> dict[str, Any]:
    return {
        "symbol": symbol, "opened_at": at, "open": 10.0, "high": 11.0, "low": low, "close": 10.0,
        "volume": 1.0,
    }  # fmt: skip


def _split(symbol: str, day: date, new: int = 4) -> dict[str, Any]:
    shares = {"new_shares": Decimal(new), "old_shares": Decimal(1)}
    return {"symbol": symbol, "ex_date": day, **shares, "kind": None}


def _context(store: MemoryStore) -> IngestContext:
    return IngestContext(store=store, calendar=calendar(), run_id="run", now=lambda: NOW)


def _ingest(
    client: Client, dataset: Dataset, request: FetchRequest, store: MemoryStore
) -> list[Ingested | NotIngested]:
    async def main() -> list[Ingested | NotIngested]:
        feed = DatasetFeed(dataset, client, calendar())
        return [outcome async for outcome in ingest(_context(store), feed, [request])]

    return asyncio.run(main())


def _marks(store: MemoryStore) -> dict[CoverageState, tuple[Span, ...]]:
    return {mark.state: mark.spans for mark in store.batches[0].coverage}


def test_days_are_complete_provisional_or_empty_by_the_exchanges_own_midnight() -> None:
    """Half past midnight UTC is still the evening before in New York."""
    store = MemoryStore()
    rows = [
        _minute(datetime(2026, 3, 3, 15, tzinfo=UTC)),
        _minute(datetime(2026, 3, 5, 0, 30, tzinfo=UTC)),
        _minute(datetime(2026, 3, 5, 11, tzinfo=UTC)),
    ]
    request = FetchRequest(instrument=AAPL, start=date(2026, 3, 2), end=date(2026, 3, 5))
    (outcome,) = _ingest(Client(BARS, rows), BARS, request, store)

    assert isinstance(outcome, Ingested)
    assert _marks(store) == {
        CoverageState.PROVIDER_EMPTY: ((date(2026, 3, 2), date(2026, 3, 3)),),
        CoverageState.COMPLETE: ((date(2026, 3, 3), date(2026, 3, 5)),),
        CoverageState.PROVISIONAL: ((date(2026, 3, 5), date(2026, 3, 6)),),
    }
    batch = store.batches[0]
    assert (batch.dataset, batch.provider) == ("minute_bars", "polygon")
    assert batch.rows.schema == BARS.table_schema


def test_a_crypto_day_ends_at_midnight_utc_and_weekends_count() -> None:
    """Every day of the week is asked for; a day without bars differs from no answer."""
    store = MemoryStore()
    rows = [_minute(datetime(2026, 2, 28, 23, 59, tzinfo=UTC), "BTC-USD")]
    pair = listed("BTC-USD", 3)
    request = FetchRequest(instrument=pair, start=date(2026, 2, 28), end=date(2026, 3, 1))
    _ingest(Client(CRYPTO, rows), CRYPTO, request, store)

    assert _marks(store) == {
        CoverageState.COMPLETE: ((date(2026, 2, 28), date(2026, 3, 1)),),
        CoverageState.PROVIDER_EMPTY: ((date(2026, 3, 1), date(2026, 3, 2)),),
    }


def test_a_refused_row_is_a_letter_and_its_day_is_in_quarantine() -> None:
    """The rest of the answer is stored; the letter knows what was asked, for a replay."""
    store = MemoryStore()
    rows = [
        _minute(datetime(2026, 3, 2, 15, tzinfo=UTC), low=10.5),
        _minute(datetime(2026, 3, 3, 15, tzinfo=UTC)),
    ]
    request = FetchRequest(instrument=AAPL, start=date(2026, 3, 2), end=date(2026, 3, 3))
    (outcome,) = _ingest(Client(BARS, rows), BARS, request, store)

    assert isinstance(outcome, Ingested)
    assert len(outcome.rejected) == 1
    (letter,) = store.batches[0].letters
    assert (letter.dataset, letter.provider, letter.work) == (
        "minute_bars",
        "polygon",
        Work.RECORD,
    )
    assert letter.details["asked"] == {"symbol": "AAPL", "start": "2026-03-02", "end": "2026-03-03"}
    assert letter.raw_answers == ("raw/1",)
    assert _marks(store)[CoverageState.QUARANTINED] == ((date(2026, 3, 2), date(2026, 3, 3)),)


def test_rows_refused_for_one_reason_are_one_letter_with_a_count_and_samples() -> None:
    """1,200 bad minutes of two days, by the client or by a rule; another reason is another."""
    store = MemoryStore()
    begins = datetime(2026, 3, 2, 15, tzinfo=UTC)
    bad = [_minute(begins + timedelta(minutes=number), low=10.5) for number in range(3)]
    client = Client(CRYPTO, [{**row, "symbol": "BTC-USD"} for row in bad])
    days = [date(2026, 3, 2)] * 600 + [date(2026, 3, 3)] * 600
    client.left_out = tuple(
        unread(f"row {number}", reason="the kline opens within a minute", day=day)
        for number, day in enumerate(days)
    )
    request = FetchRequest(
        instrument=listed("BTC-USD", 3), start=date(2026, 3, 1), end=date(2026, 3, 4)
    )
    (outcome,) = _ingest(client, CRYPTO, request, store)
    assert isinstance(outcome, Ingested)
    assert len(outcome.rejected) == 1203
    by_rule, by_client = store.batches[0].letters
    assert (by_rule.rows, by_client.rows) == (3, 1200)
    assert len(by_rule.details["received"]) == 3
    assert by_client.details["received"] == [f"row {number}" for number in range(5)]
    assert by_client.subject == (
        "BTC-USD 2026-03-02 to 2026-03-03: the kline opens within a minute"
    )
    assert by_client.message.startswith("BTC-USD: 1200 rows, the first row ")
    assert (by_client.details["start"], by_client.details["end"]) == ("2026-03-02", "2026-03-03")


def test_a_day_whose_rows_were_all_refused_is_not_empty_at_the_provider() -> None:
    """A row without a day may belong to any day that seems empty."""
    request = FetchRequest(
        instrument=listed("BTC-USD", 3), start=date(2026, 3, 1), end=date(2026, 3, 2)
    )
    first, second = ((date(2026, 3, day), date(2026, 3, day + 1)) for day in (1, 2))
    for day, marks in (
        (
            date(2026, 3, 1),
            {CoverageState.QUARANTINED: (first,), CoverageState.PROVIDER_EMPTY: (second,)},
        ),
        (None, {CoverageState.QUARANTINED: ((first[0], second[1]),)}),
    ):
        store = MemoryStore()
        client = Client(CRYPTO, [])
        client.left_out = (unread("odd", day=day),)
        _ingest(client, CRYPTO, request, store)
        assert _marks(store) == marks


def test_a_day_that_an_answer_does_not_tell_of_is_neither_empty_nor_complete() -> None:
    """Its state in the ledger stays; its rows may still change."""
    store = MemoryStore()
    client = Client(CRYPTO, [_minute(datetime(2026, 3, 2, 15, tzinfo=UTC), "BTC-USD")])
    client.untold = frozenset({date(2026, 3, 1), date(2026, 3, 2)})
    request = FetchRequest(
        instrument=listed("BTC-USD", 3), start=date(2026, 3, 1), end=date(2026, 3, 2)
    )
    _ingest(client, CRYPTO, request, store)
    assert _marks(store) == {
        CoverageState.PROVISIONAL: ((date(2026, 3, 2), date(2026, 3, 3)),),
    }


def test_a_row_that_was_refused_is_not_one_that_the_provider_withdrew() -> None:
    """The stored good split stays, although today's answer has it unreadable."""
    store = MemoryStore()
    client = Client(SPLITS, [_split("AAPL", date(2026, 3, 2))])
    client.left_out = (unread("{}", symbol="AAPL"),)
    request = FetchRequest(instrument=AAPL, start=SPLITS.begins, end=NOW.date())
    _ingest(client, SPLITS, request, store)
    assert not store.batches[0].full_snapshot


def test_a_company_whose_row_was_refused_is_not_unknown() -> None:
    """Its letter says what is wrong with it."""
    store = MemoryStore()
    client = Client(COMPANIES, [])
    client.left_out = (unread("{}", symbol="AAPL", what=""),)
    request = FetchRequest(
        instrument=AAPL, start=COMPANIES.begins, end=NOW.date(), from_inception=True
    )
    (outcome,) = _ingest(client, COMPANIES, request, store)
    assert isinstance(outcome, Ingested)
    (letter,) = store.batches[0].letters
    assert letter.subject == "AAPL"


def test_texts_that_the_database_cannot_hold_are_escaped_in_a_letter() -> None:
    """Zero characters and half surrogate pairs are JSON, and no text to Postgres."""
    store = MemoryStore()
    client = Client(SPLITS, [])
    client.left_out = (unread("a\0b\ud800", symbol="AAPL"),)
    request = FetchRequest(instrument=AAPL, start=SPLITS.begins, end=NOW.date())
    _ingest(client, SPLITS, request, store)
    (letter,) = store.batches[0].letters
    assert letter.details["received"] == ["a\\u0000b\\ud800"]


def test_a_failure_marks_the_days_that_had_ended() -> None:
    """Today is not over, so it is not missing."""
    store = MemoryStore()
    error = errors.ProviderUnavailableError("down", provider="polygon", operation="aggs")
    request = FetchRequest(
        instrument=AAPL, start=date(2026, 3, 4), end=date(2026, 3, 5), part="from 2026-03-04"
    )
    (outcome,) = _ingest(Client(BARS, error), BARS, request, store)

    assert isinstance(outcome, NotIngested)
    (failure,) = store.failures
    assert (failure.letter.dataset, failure.letter.provider) == ("minute_bars", "polygon")
    assert [(mark.state, mark.spans) for mark in failure.coverage] == [
        (CoverageState.FAILED, ((date(2026, 3, 4), date(2026, 3, 5)),))
    ]
    assert failure.letter.subject == "AAPL from 2026-03-04"


def test_rows_of_another_symbol_are_refused_as_a_whole() -> None:
    """Providers ignore unknown parameters, so a typo gives a plausible answer."""
    store = MemoryStore()
    rows = [_split("MSFT", date(2026, 3, 2))]
    request = FetchRequest(instrument=AAPL, start=SPLITS.begins, end=NOW.date())
    (outcome,) = _ingest(Client(SPLITS, rows), SPLITS, request, store)

    assert isinstance(outcome, NotIngested)
    assert (outcome.error_class, store.batches) == ("MalformedPayloadError", [])


@pytest.mark.parametrize(
    ("dataset", "holds", "error_class"),
    [
        (COMPANIES, False, "UnknownSymbolError"),
        (COMPANIES, True, "ProviderUnavailableError"),
        (SPLITS, False, None),
        (SPLITS, True, None),
    ],
)
def test_nothing_at_all_is_an_error_where_there_has_to_be_something(
    dataset: Dataset, *, holds: bool, error_class: str | None
) -> None:
    """A share may have no splits; a stored company does not vanish."""
    store = MemoryStore()
    request = FetchRequest(
        instrument=AAPL, start=dataset.begins, end=NOW.date(), from_inception=True, has_data=holds
    )
    (outcome,) = _ingest(Client(dataset, []), dataset, request, store)
    assert getattr(outcome, "error_class", None) == error_class


def test_a_late_answer_to_an_old_request_covers_no_day_that_was_not_asked_for() -> None:
    """What was published between the request's last day and today is still to be asked for."""
    store = MemoryStore()
    request = FetchRequest(instrument=AAPL, start=SPLITS.begins, end=date(2026, 3, 1))
    _ingest(Client(SPLITS, []), SPLITS, request, store)
    assert _marks(store) == {
        CoverageState.COMPLETE: ((SPLITS.begins, date(2026, 3, 2)),),
    }


def test_work_of_a_letter_is_asked_for_through_today() -> None:
    """From where the ledger ends or where the letter begins, whichever is earlier."""
    known = {CoverageState.COMPLETE: [(MACRO.begins, date(2026, 3, 1))]}

    def asked(span: Span) -> tuple[date, date]:
        request = letter_request(MACRO, AAPL, known, span, NOW, "")
        return request.start, request.end

    assert asked((date(2026, 2, 28), date(2026, 3, 2))) == (date(2026, 2, 28), NOW.date())
    assert asked((date(2026, 2, 1), date(2026, 2, 10))) == (date(2026, 2, 1), NOW.date())
    whole = letter_request(COMPANIES, AAPL, {}, (COMPANIES.begins, date(2026, 3, 1)), NOW, "")
    assert (whole.from_inception, whole.has_data) == (True, False)
    days = letter_request(BARS, AAPL, {}, (date(2026, 3, 2), date(2026, 3, 3)), NOW, "from x")
    assert (days.start, days.end, days.part) == (date(2026, 3, 2), date(2026, 3, 3), "from x")


def test_a_bad_row_of_a_state_waits_for_all_that_was_asked_for() -> None:
    """Its day is not a day of the request, so a day's answer cannot resolve it."""
    store = MemoryStore()
    rows = [_split("AAPL", date(2026, 3, 2), new=0)]
    request = FetchRequest(instrument=AAPL, start=SPLITS.begins, end=NOW.date())
    _ingest(Client(SPLITS, rows), SPLITS, request, store)
    (letter,) = store.batches[0].letters
    assert (letter.details["start"], letter.details["end"]) == (
        SPLITS.begins.isoformat(), NOW.date().isoformat(),
    )  # fmt: skip


def test_an_answer_for_all_of_a_share_withdraws_what_it_lacks_and_one_of_days_does_not() -> None:
    """Only an answer from the beginning on holds all there is."""
    for start, full_snapshot in ((SPLITS.begins, True), (date(2026, 1, 1), False)):
        store = MemoryStore()
        request = FetchRequest(instrument=AAPL, start=start, end=NOW.date())
        _ingest(Client(SPLITS, [_split("AAPL", date(2026, 3, 2))]), SPLITS, request, store)
        assert store.batches[0].full_snapshot is full_snapshot


def test_what_the_database_refuses_concerns_its_subject_alone() -> None:
    """One odd answer must not end the work on five hundred others."""
    store = MemoryStore(broken=errors.StorageConflictError("a zero byte"))
    request = FetchRequest(instrument=AAPL, start=SPLITS.begins, end=NOW.date())
    (outcome,) = _ingest(Client(SPLITS, []), SPLITS, request, store)
    assert isinstance(outcome, NotIngested)
    (failure,) = store.failures
    assert failure.letter.parked
    assert failure.letter.raw_answers == ("raw/1",)
    assert "a zero byte" in failure.letter.message


def test_the_whole_market_is_stored_for_those_listed_and_marks_all_of_them() -> None:
    """A symbol without rows had no action in these days; later days are not known yet."""
    store = MemoryStore()
    client = Client(SPLITS, [_split("BRK-B", date(2026, 3, 4)), _split("OTHER", date(2026, 3, 4))])
    feed = DatasetFeed(SPLITS, client, calendar())
    load = asyncio.run(load_market(_context(store), feed, [AAPL, BRK], DAYS))

    assert client.asked == [(date(2026, 3, 3), date(2026, 4, 4))]
    assert load.stored == {2: 1}
    (batch,) = store.batches
    assert batch.asked.whole_sessions
    assert {mark.instrument_id: mark.spans for mark in batch.coverage} == {
        number: ((date(2026, 3, 3), date(2026, 3, 6)),) for number in (1, 2)
    }


def test_a_market_that_cannot_be_had_waits_in_a_letter_of_its_days() -> None:
    """So that the sensor asks for the same days again."""
    store = MemoryStore()
    error = errors.RateLimitedError("too much", provider="polygon", operation="calendar")
    feed = DatasetFeed(SPLITS, Client(SPLITS, error), calendar())
    with pytest.raises(errors.RateLimitedError):
        asyncio.run(load_market(_context(store), feed, [AAPL], DAYS))
    (failure,) = store.failures
    assert (failure.letter.work, failure.letter.subject) == (Work.SESSION, "all at once")
    assert failure.letter.details["start"] == "2026-03-03"


def _plan(
    dataset: Dataset, known: Mapping[CoverageState, list[Span]], **wanted: Any
) -> list[tuple[date, date]]:
    planned = plan_requests(dataset, calendar(), [AAPL], {1: known}, Wanted(**wanted), now=NOW)
    return [(piece.start, piece.end) for piece in planned]


def test_a_state_is_asked_again_when_it_is_no_longer_fresh() -> None:
    """Weekly ones after six days, so that a refresh a few hours early finds them old."""

    def asked(day: date) -> dict[CoverageState, list[Span]]:
        return {CoverageState.COMPLETE: [(COMPANIES.begins, day + timedelta(days=1))]}

    today = NOW.date()
    whole = [(COMPANIES.begins, today)]
    assert _plan(COMPANIES, {}) == whole
    assert _plan(COMPANIES, asked(today)) == []
    assert _plan(COMPANIES, asked(today - timedelta(days=5))) == []
    assert _plan(COMPANIES, asked(today - timedelta(days=6))) == whole
    assert _plan(COMPANIES, asked(today), only_missing=False) == whole
    assert _plan(SPLITS, asked(today - timedelta(days=1))) == [(SPLITS.begins, today)]


def test_what_grows_is_asked_for_from_the_last_answer_on() -> None:
    """That day again, since the answer may have come before the day's release."""
    known = {CoverageState.COMPLETE: [(MACRO.begins, date(2026, 3, 4))]}
    assert _plan(MACRO, known) == [(date(2026, 3, 3), NOW.date())]
    assert _plan(MACRO, {}) == [(MACRO.begins, NOW.date())]


def test_a_state_is_asked_through_a_day_of_the_publisher() -> None:
    """After midnight UTC it is still the day before in St. Louis, and publication continues."""
    evening = datetime(2026, 3, 6, 0, 30, tzinfo=UTC)
    answer_day = date(2026, 3, 5)
    request = FetchRequest(instrument=AAPL, start=MACRO.begins, end=date(2026, 3, 6))
    client = Client(MACRO, [])
    client.fetched_at = evening
    prepared = DatasetFeed(MACRO, client, calendar()).prepare(request, client.answer(), "run")
    (mark,) = prepared.batch.coverage
    assert mark.spans == ((MACRO.begins, date(2026, 3, 6)),)
    known = {CoverageState.COMPLETE: list(mark.spans)}
    (again,) = plan_requests(
        MACRO, calendar(), [AAPL], {1: known}, Wanted(), now=evening + timedelta(days=1)
    )
    assert (again.start, again.end) == (answer_day, date(2026, 3, 6))


def test_an_answer_about_the_whole_market_says_nothing_of_the_time_before() -> None:
    """A symbol never asked for by name has to be."""
    market_only = {CoverageState.COMPLETE: [(date(2026, 3, 1), date(2026, 3, 6))]}
    assert asked_through(SPLITS, market_only) is None
    assert _plan(SPLITS, market_only) == [(SPLITS.begins, NOW.date())]
    both = {CoverageState.COMPLETE: [(SPLITS.begins, date(2026, 3, 6))]}
    assert asked_through(SPLITS, both) == date(2026, 3, 5)


def test_days_are_asked_for_where_they_are_missing_and_cut_to_fit_into_memory() -> None:
    """A failed day is missing, an empty one is asked again for a week."""
    known = {
        CoverageState.COMPLETE: [(date(2026, 3, 3), date(2026, 3, 4))],
        CoverageState.FAILED: [(date(2026, 3, 4), date(2026, 3, 5))],
        CoverageState.PROVIDER_EMPTY: [(date(2026, 3, 2), date(2026, 3, 3))],
    }
    assert _plan(BARS, known) == [(date(2026, 2, 26), date(2026, 3, 4))]
    old = {CoverageState.PROVIDER_EMPTY: [(date(2026, 2, 17), date(2026, 2, 20))]}
    assert _plan(BARS, old)[0][0] == date(2026, 2, 20)
    cut = _plan(BARS, known, start=date(2026, 1, 2), end=date(2026, 3, 4))
    assert cut[0] == (date(2026, 1, 2), date(2026, 1, 30))
    most_days = BARS.most_days
    assert most_days is not None
    assert all((end - start).days < most_days for start, end in cut)
    assert cut[-1][1] == date(2026, 3, 4)
    trades = replace(CRYPTO, most_days=1)
    days = _plan(trades, {}, start=date(2026, 3, 1), end=date(2026, 3, 3))
    assert days == [(date(2026, 3, day), date(2026, 3, day)) for day in (1, 2, 3)]


def test_days_that_an_outage_left_out_are_asked_for_afterwards() -> None:
    """Longer than the usual days, as far as earlier days are known."""
    assert CRYPTO.usual_days == 2
    known = {
        CoverageState.COMPLETE: [(date(2026, 2, 20), date(2026, 2, 25))],
        CoverageState.PROVISIONAL: [(date(2026, 2, 25), date(2026, 2, 26))],
    }
    assert _plan(CRYPTO, known) == [(date(2026, 2, 25), date(2026, 3, 5))]
    assert _plan(CRYPTO, {}) == [(date(2026, 3, 4), date(2026, 3, 5))]


def test_the_latest_day_that_is_over_is_asked_once_more_where_bars_are_corrected() -> None:
    """Not today, which is asked for anyway; trades are never corrected."""
    settled = {CoverageState.COMPLETE: [(date(2026, 1, 1), date(2026, 3, 6))]}

    def asked(dataset: Dataset) -> list[tuple[date, date]]:
        requests = plan_requests(
            dataset, calendar(), [AAPL], {1: settled}, Wanted(again=True), now=NOW
        )
        return [(request.start, request.end) for request in requests]

    assert asked(BARS) == [(date(2026, 3, 4), date(2026, 3, 4))]
    assert asked(CRYPTO) == [(date(2026, 3, 4), date(2026, 3, 4))]
    assert asked(DATASETS["crypto_trades"]) == []


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_entry_of_the_catalogue_fits_its_own_schema(dataset: Dataset) -> None:
    """Key and schema agree, and what a provider serves has a source in words."""
    assert dataset.wire_schema.names[0] == "symbol"
    assert set(dataset.key) <= set(dataset.table_schema.names)
    assert dataset.sources
    assert dataset.validate(dataset.wire_schema.empty_table()).accepted.num_rows == 0
    assert all(dataset.requests(source, 1) >= 1 for source in dataset.sources)
