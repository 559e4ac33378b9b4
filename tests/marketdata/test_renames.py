"""An instrument that was renamed is asked for under the ticker of each day, and is one answer."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from marketdata.actions import WIRE_DIVIDENDS
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar
from marketdata.coverage import CoverageState
from marketdata.dataset_ingest import DatasetFeed
from marketdata.datasets import DATASETS, past_symbols
from marketdata.ingest import ingest
from marketdata.instruments import ListedInstrument, PastSymbols, SymbolSpan
from marketdata.market_ingest import load_market
from marketdata.planning import Wanted, plan_requests
from marketdata.ports import Answer, Days, FetchRequest
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import asked_details, carried_then
from marketdata.session_ingest import ingest_session_by_symbol, ingest_session_in_bulk
from tests.marketdata.fakes import (
    NOW,
    MemoryStore,
    ScriptedProvider,
    bars_of,
    context,
    feed_of,
    listed,
)

RENAMED_ON = date(2022, 6, 9)
LAST_OF_FB = date(2022, 6, 8)
FB = SymbolSpan(symbol="FB", start=date.min, end=LAST_OF_FB)
META = SymbolSpan(symbol="META", start=RENAMED_ON, end=date.max)
SHARE = ListedInstrument(instrument_id=1, ticker="META", symbol="META", carried=(FB, META))
FUND_CLOSE = 12.0
BARS = DATASETS[DAILY_BARS_DATASET]


def _history(start: date, end: date) -> FetchRequest:
    return FetchRequest(instrument=SHARE, start=start, end=end)


def _ingest(provider: ScriptedProvider, request: FetchRequest) -> tuple[MemoryStore, list[Any]]:
    store = MemoryStore()

    async def run() -> list[Any]:
        return [outcome async for outcome in ingest(context(store), feed_of(provider), [request])]

    return store, asyncio.run(run())


def test_a_span_across_a_rename_is_asked_for_under_both_tickers_and_loaded_as_one() -> None:
    """The days of each ticker, and no day of the fund that carried META before."""
    provider = ScriptedProvider(
        answers={
            "FB": bars_of("FB", date(2022, 6, 7), LAST_OF_FB),
            "META": bars_of("META", RENAMED_ON),
        }
    )
    store, outcomes = _ingest(provider, _history(date(2022, 6, 7), RENAMED_ON))

    assert provider.asked == ["FB 2022-06-07 2022-06-08", "META 2022-06-09 2022-06-09"]
    (outcome,) = outcomes
    assert (outcome.ticker, outcome.requests) == ("META", 4)  # each scripted answer took two
    (batch,) = store.batches
    assert batch.rows["session_date"].to_pylist() == [date(2022, 6, 7), LAST_OF_FB, RENAMED_ON]
    assert set(batch.rows["instrument_id"].to_pylist()) == {1}
    assert [mark.state for mark in batch.coverage] == [CoverageState.COMPLETE]
    assert (batch.asked.start, batch.asked.end) == (date(2022, 6, 7), RENAMED_ON)
    assert batch.request == "history FB; history META"


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        (date(2022, 6, 6), LAST_OF_FB, ["FB 2022-06-06 2022-06-08"]),
        (RENAMED_ON, date(2022, 6, 10), ["META 2022-06-09 2022-06-10"]),
    ],
)
def test_a_span_on_one_side_of_a_rename_is_one_request(
    start: date, end: date, asked: list[str]
) -> None:
    """Under the ticker of then."""
    provider = ScriptedProvider(
        answers={"FB": bars_of("FB", start), "META": bars_of("META", start)}
    )
    _ingest(provider, _history(start, end))
    assert provider.asked == asked


def test_a_part_that_fails_leaves_one_letter_for_the_whole_span() -> None:
    """Nothing of it is stored, all of it is failed, and the letter knows both symbols."""
    provider = ScriptedProvider()
    provider.answers = {
        "FB": bars_of("FB", LAST_OF_FB),
        "META": provider.refuses(errors.ProviderUnavailableError),
    }
    store, outcomes = _ingest(provider, _history(LAST_OF_FB, RENAMED_ON))

    assert [outcome.error_class for outcome in outcomes] == ["ProviderUnavailableError"]
    assert store.batches == []
    (failure,) = store.failures
    assert failure.letter.subject == "META"
    assert failure.letter.details["start"] == "2022-06-08"
    assert failure.letter.details["end"] == "2022-06-09"
    assert [
        (span.symbol, span.start) for span in carried_then(failure.letter.details["asked"])
    ] == [
        ("FB", LAST_OF_FB),
        ("META", RENAMED_ON),
    ]
    assert [mark.state for mark in failure.coverage] == [CoverageState.FAILED]


def test_only_what_was_asked_for_under_the_symbols_of_then_is_written_into_a_letter() -> None:
    """All others, and those of before there were such, have one symbol."""
    plain = asked_details("AAPL", LAST_OF_FB, RENAMED_ON)
    assert plain == {"symbol": "AAPL", "start": "2022-06-08", "end": "2022-06-09"}
    assert carried_then(plain) == ()


def test_what_is_empty_is_told_of_all_tickers_together() -> None:
    """FB began in 2020 here: what META lacks before its day says nothing."""
    first = date(2020, 1, 2)
    provider = ScriptedProvider(
        answers={"FB": bars_of("FB", first), "META": bars_of("META", RENAMED_ON)}
    )
    request = FetchRequest(
        instrument=SHARE, start=HISTORY_START, end=RENAMED_ON, from_inception=True, has_data=False
    )
    store, _ = _ingest(provider, request)
    (batch,) = store.batches
    marks = {mark.state: mark.spans for mark in batch.coverage}
    assert marks == {
        CoverageState.PROVIDER_EMPTY: ((HISTORY_START, first), (date(2020, 1, 3), RENAMED_ON)),
        CoverageState.COMPLETE: ((first, date(2020, 1, 3)), (RENAMED_ON, date(2022, 6, 10))),
    }


def test_days_without_a_ticker_are_neither_asked_for_nor_explained() -> None:
    """The ticker's former holder is unknown: this is no listing day of the instrument."""
    late = ListedInstrument(instrument_id=1, ticker="META", symbol="META", carried=(META,))
    now = datetime(2022, 6, 10, 22, tzinfo=UTC)
    (request,) = plan_requests(BARS, calendar(), [late], {}, Wanted(), now=now)
    assert (request.start, request.end) == (RENAMED_ON, date(2022, 6, 10))
    assert not request.from_inception

    wide = FetchRequest(instrument=late, start=LAST_OF_FB, end=RENAMED_ON)
    provider = ScriptedProvider(answers={"META": bars_of("META", RENAMED_ON)})
    store, _ = _ingest(provider, wide)
    (mark,) = store.batches[0].coverage
    assert mark.spans == ((RENAMED_ON, date(2022, 6, 10)),)

    before = FetchRequest(instrument=late, start=LAST_OF_FB, end=LAST_OF_FB)
    _, (refused,) = _ingest(provider, before)
    assert refused.error_class == "UnknownSymbolError"


def test_minutes_are_planned_without_days_on_which_there_was_no_ticker() -> None:
    """The same for datasets by day."""
    late = ListedInstrument(instrument_id=1, ticker="META", symbol="META", carried=(META,))
    requests = plan_requests(
        DATASETS["minute_bars"],
        calendar(),
        [late],
        {},
        Wanted(start=date(2022, 6, 6), end=date(2022, 6, 10)),
        now=NOW,
    )
    assert [(request.start, request.end) for request in requests] == [
        (RENAMED_ON, date(2022, 6, 10))
    ]


def test_a_market_day_goes_by_the_symbols_of_that_day() -> None:
    """On the day before the rename META is the fund: its bar belongs to no instrument here."""
    store = MemoryStore()
    fund = bars_of("META", LAST_OF_FB, close=FUND_CLOSE)
    market = pa.concat_tables([fund, bars_of("FB", LAST_OF_FB, close=10.5)])
    provider = ScriptedProvider(market=market)
    asyncio.run(ingest_session_in_bulk(context(store), feed_of(provider), [SHARE], LAST_OF_FB))
    (batch,) = store.batches
    assert batch.rows["close"].to_pylist() == [10.5]


def test_a_day_by_ticker_goes_by_the_symbols_of_that_day() -> None:
    """The other route to a day."""
    provider = ScriptedProvider(answers={"FB": bars_of("FB", LAST_OF_FB)})
    late = ListedInstrument(instrument_id=2, ticker="NEW", symbol="NEW", carried=(META,))
    day = asyncio.run(
        ingest_session_by_symbol(
            context(MemoryStore()), feed_of(provider), [SHARE, late], LAST_OF_FB
        )
    )
    assert provider.asked == ["FB 2022-06-08 2022-06-08"]
    assert (day.load.rows, day.failed) == (1, {})


class _Actions:
    """Serves all dividends of a ticker, of all its holders."""

    name = "polygon"

    def __init__(self, rows: dict[str, list[tuple[date, str]]]) -> None:
        self.rows = rows
        self.asked: list[str] = []

    async def dividends(self, symbol: str) -> Answer:
        self.asked.append(symbol)
        return self._answer([(symbol, *row) for row in self.rows.get(symbol, [])], symbol)

    async def splits(self, symbol: str) -> Answer:
        raise NotImplementedError

    async def splits_between(self, start: date, end: date) -> Answer:
        raise NotImplementedError

    async def dividends_between(self, start: date, end: date) -> Answer:
        rows = [(symbol, *row) for symbol, paid in self.rows.items() for row in paid]
        return self._answer([row for row in rows if start <= row[1] <= end], "market")

    def _answer(self, rows: list[tuple[str, date, str]], request: str) -> Answer:
        wire_rows = [
            {"symbol": symbol, "ex_date": day, "kind": "regular", "amount": Decimal(amount)}
            for symbol, day, amount in rows
        ]
        table = pa.Table.from_pylist(wire_rows, schema=WIRE_DIVIDENDS)
        return Answer(
            rows=table,
            request=request,
            content_sha256=request,
            fetched_at=NOW,
            requests=1,
            raw_answers=(f"raw/{request}",),
        )


_FUND_PAID, _SHARE_PAID, _PAYS_SOON = date(2021, 12, 1), date(2024, 2, 21), date(2024, 6, 14)
_DIVIDENDS = {
    "FB": [(date(2021, 3, 1), "0.1")],
    "META": [(_FUND_PAID, "12"), (_SHARE_PAID, "0.5"), (_PAYS_SOON, "0.5")],
}


def test_actions_are_asked_for_under_each_ticker_and_the_funds_are_left_out() -> None:
    """All there is of the share is one answer, so that nothing of the other ticker is withdrawn."""
    client = _Actions(_DIVIDENDS)
    feed = DatasetFeed(DATASETS["dividends"], client, calendar())
    request = FetchRequest(
        instrument=SHARE, start=HISTORY_START, end=NOW.date(), from_inception=True
    )
    answer = asyncio.run(feed.fetch(request))
    batch = feed.prepare(request, answer, "run").batch

    assert client.asked == ["FB", "META"]
    assert batch.rows["ex_date"].to_pylist() == [date(2021, 3, 1), _SHARE_PAID, _PAYS_SOON]
    assert batch.full_snapshot
    assert batch.raw_answers == ("raw/FB", "raw/META")


def test_actions_of_the_market_go_by_the_ticker_of_their_day() -> None:
    """The fund's dividend under META belongs to no instrument here."""
    feed = DatasetFeed(DATASETS["dividends"], _Actions(_DIVIDENDS), calendar())
    store = MemoryStore()
    other = listed("AAPL", 2)
    asyncio.run(
        load_market(
            context(store),
            feed,
            [SHARE, other],
            Days(start=date(2021, 1, 1), end=date(2024, 12, 31)),
        )
    )
    (batch,) = store.batches
    assert batch.rows["ex_date"].to_pylist() == [date(2021, 3, 1), _SHARE_PAID, _PAYS_SOON]


def test_an_error_in_the_second_ticker_points_to_the_first_ones_answer_too() -> None:
    """A part of the pages would be taken for the whole when it is replayed."""
    client = _Actions(_DIVIDENDS)
    refused = errors.MalformedPayloadError("no", provider="polygon", operation="META")
    refused.raw_answers = ("raw/META",)
    real = client.dividends

    async def dividends(symbol: str) -> Answer:
        if symbol == "META":
            raise refused
        return await real(symbol)

    client.dividends = dividends
    feed = DatasetFeed(DATASETS["dividends"], client, calendar())
    request = FetchRequest(instrument=SHARE, start=HISTORY_START, end=NOW.date())
    with pytest.raises(errors.MalformedPayloadError) as caught:
        asyncio.run(feed.fetch(request))
    assert caught.value.raw_answers == ("raw/FB", "raw/META")


def test_who_keeps_the_past_under_which_ticker_is_declared_once_for_each_source() -> None:
    """Polygon keeps each day under its ticker; the others move all to the new one."""
    of_the_day = {
        (name, provider)
        for name, dataset in DATASETS.items()
        for provider in dataset.sources
        if past_symbols(name, provider) is PastSymbols.OF_THE_DAY
    }
    assert of_the_day == {
        (name, "polygon") for name in (DAILY_BARS_DATASET, "minute_bars", "splits", "dividends")
    }


def test_an_instrument_with_one_ticker_is_asked_for_as_ever() -> None:
    """One symbol for all days, in one request."""
    provider = ScriptedProvider(answers={"BRK-B": bars_of("BRK-B", RENAMED_ON)})
    instrument = listed("BRK.B", 3, "BRK-B")
    feed = feed_of(provider)
    request = FetchRequest(instrument=instrument, start=LAST_OF_FB, end=RENAMED_ON)
    asyncio.run(feed.fetch(request))
    assert provider.asked == ["BRK-B 2022-06-08 2022-06-09"]
