"""Whole sessions, by one request or by one for each ticker."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from marketdata.bars import Adjustment
from marketdata.calendars import HISTORY_START
from marketdata.coverage import CoverageState
from marketdata.dataset_ingest import DatasetFeed
from marketdata.ingest import IngestContext
from marketdata.instruments import ListedInstrument
from marketdata.ports import Answer, Batch, FetchRequest, LoadResult
from marketdata.recovery import errors
from marketdata.session_ingest import (
    SessionLoad,
    ingest_session_by_symbol,
    ingest_session_in_bulk,
)
from tests.marketdata.fakes import (
    NOW,
    MemoryStore,
    ScriptedProvider,
    bars_of,
    context,
    feed_of,
    listed,
)

Route = Callable[
    [IngestContext, DatasetFeed, Sequence[ListedInstrument], date],
    Coroutine[Any, Any, SessionLoad],
]
DAY = date(2024, 1, 3)
A, B, C = listed("A", 1), listed("BRK.B", 2, "BRK-B"), listed("C", 3)


def test_a_market_day_stores_the_listed_instruments_alone() -> None:
    """By the provider's spelling; each listed one gets its state, with a bar or without."""
    store = MemoryStore()
    market = pa.concat_tables(
        [
            bars_of("BTCUSD", DAY),
            bars_of("BRK-B", DAY),
            bars_of("A", DAY, close=None),
            bars_of("BRK.B", DAY, close=1e9),
        ]
    )
    day = asyncio.run(
        ingest_session_in_bulk(
            context(store), feed_of(ScriptedProvider(market=market)), [A, B, C], DAY
        )
    )
    assert (day.session, day.load.inserted, day.requests) == (DAY, 1, 2)
    assert [rejection.symbol for rejection in day.rejected] == ["A"]
    assert day.missing == ("A", "C")
    assert day.failed == {}
    (batch,) = store.batches
    assert batch.adjustment is Adjustment.SPLITS
    assert batch.rows["instrument_id"].to_pylist() == [2]
    assert {(mark.instrument_id, mark.state) for mark in batch.coverage} == {
        (1, CoverageState.QUARANTINED),
        (2, CoverageState.COMPLETE),
        (3, CoverageState.PROVIDER_EMPTY),
    }


def test_a_market_without_any_listed_instrument_is_no_answer() -> None:
    """A holiday's file holds crypto alone; marking 500 sessions empty for it would be wrong."""
    store = MemoryStore()
    provider = ScriptedProvider(market=bars_of("BTCUSD", DAY))
    with pytest.raises(errors.MalformedPayloadError, match="none of the 2"):
        asyncio.run(ingest_session_in_bulk(context(store), feed_of(provider), [A, B], DAY))
    assert store.batches == []


@pytest.mark.parametrize("route", [ingest_session_in_bulk, ingest_session_by_symbol])
def test_a_session_that_is_open_is_refused_before_any_request(route: Route) -> None:
    """Its bars could not be final."""
    provider = ScriptedProvider()
    before_close = datetime(2024, 1, 3, 20, 59, tzinfo=UTC)
    with pytest.raises(errors.RecordRejectedError, match="closes at 2024-01-03 21:00 UTC"):
        asyncio.run(route(context(MemoryStore(), before_close), feed_of(provider), [A], DAY))
    assert provider.asked == []


def test_a_day_by_ticker_tells_stored_missing_and_failed_apart() -> None:
    """Each ticker is asked for this one session."""
    store, provider = MemoryStore(), ScriptedProvider()
    provider.answers = {
        "A": bars_of("A", DAY),
        "BRK-B": bars_of("BRK-B"),
        "C": provider.refuses(errors.NotEntitledError, "not in the plan"),
    }
    day = asyncio.run(ingest_session_by_symbol(context(store), feed_of(provider), [A, B, C], DAY))
    assert sorted(provider.asked) == [f"{symbol} {DAY} {DAY}" for symbol in ("A", "BRK-B", "C")]
    assert (day.load.inserted, day.load.rows, day.requests) == (1, 1, 4)
    assert day.missing == ("BRK.B",)
    assert day.failed == {"C": "scripted history X: not in the plan"}


def test_a_day_on_which_every_ticker_fails_is_an_outage() -> None:
    """A failure, not a day with gaps."""
    store, provider = MemoryStore(), ScriptedProvider()
    refusal = provider.refuses(errors.ProviderUnavailableError, "is down")
    provider.answers = dict.fromkeys(("A", "BRK-B"), refusal)
    with pytest.raises(errors.ProviderUnavailableError, match=r"all 2 tickers failed.*is down"):
        asyncio.run(ingest_session_by_symbol(context(store), feed_of(provider), [A, B], DAY))
    assert len(store.failures) == 2


def test_a_day_of_nothing_listed_is_an_empty_day() -> None:
    """Without tickers there is no outage."""
    day = asyncio.run(
        ingest_session_by_symbol(context(MemoryStore()), feed_of(ScriptedProvider()), [], DAY)
    )
    assert (day.load.rows, day.missing, day.failed) == (0, (), {})


class RebasedStore(MemoryStore):
    """Refuses a part of the history of instrument 1."""

    def load(self, batch: Batch) -> LoadResult:
        if batch.joins_history and 1 in batch.rows["instrument_id"].to_pylist():
            raise errors.HistoryRebasedError("re-based", instrument_ids=(1,))
        return super().load(batch)


@pytest.mark.parametrize("answers", [True, False])
def test_a_history_that_was_re_based_is_asked_for_whole_and_the_others_are_stored(
    answers: bool,
) -> None:
    """Or its new bar waits in a letter, when the whole history cannot be had."""
    store = RebasedStore()
    whole = bars_of("A", date(2024, 1, 2), DAY)
    provider = ScriptedProvider(market=pa.concat_tables([bars_of("A", DAY), bars_of("C", DAY)]))

    async def history(symbol: str, start: date, end: date) -> Answer:
        provider.asked.append(f"{symbol} {start} {end}")
        if start == DAY or answers:
            rows = whole if start < DAY else bars_of("A", DAY)
            return Answer(rows=rows, request="r", content_sha256="ab", fetched_at=NOW, requests=1)
        raise provider.refuses(errors.ProviderUnavailableError)

    provider.daily_history = history
    day = asyncio.run(ingest_session_in_bulk(context(store), feed_of(provider), [A, B, C], DAY))

    assert provider.asked == [f"market {DAY}", f"A {DAY} {DAY}", "A 2016-01-04 2024-05-31"]
    stored = [batch.rows["instrument_id"].to_pylist() for batch in store.batches]
    assert stored == ([[3], [1, 1]] if answers else [[3]])
    assert sorted(day.failed) == ([] if answers else ["A"])
    letters = [failure.letter for failure in store.failures]
    assert [(letter.subject, letter.parked) for letter in letters] == (
        [] if answers else [("A", False)]
    )
    assert day.requests == (4 if answers else 2)


def test_what_begins_at_the_listing_and_ends_early_is_a_part_of_a_history() -> None:
    """Such as a question whether the key shows more of the past now."""
    feed = feed_of(ScriptedProvider())
    early = FetchRequest(
        instrument=A, start=HISTORY_START, end=date(2020, 6, 1), from_inception=True
    )
    whole = feed.whole(early, NOW)
    assert whole == replace(early, end=date(2024, 5, 31))
    assert whole is not None
    assert feed.whole(whole, NOW) is None
    answer = Answer(
        rows=bars_of("A", DAY), request="r", content_sha256="ab", fetched_at=NOW, requests=1
    )
    batches = {request: feed.prepare(request, answer, "run").batch for request in (early, whole)}
    assert [batch.joins_history for batch in batches.values()] == [True, False]
