"""Histories of many instruments: each stored, covered and logged on its own."""

import asyncio
from datetime import date

import pyarrow as pa
import pytest

from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.coverage import CoverageState
from marketdata.ingest import (
    CONCURRENT_REQUESTS,
    HistoryRequest,
    Ingested,
    NotIngested,
    ingest_histories,
)
from marketdata.ports import Answer
from marketdata.recovery import errors
from tests.marketdata.fakes import NOW, MemoryStore, ScriptedProvider, bars_of, context, listed

FIRST, SECOND, THIRD = date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)
AFTER = date(2024, 1, 5)


def _request(
    ticker: str, number: int = 1, *, from_listing: bool = False, holds_bars: bool = False
) -> HistoryRequest:
    return HistoryRequest(
        instrument=listed(ticker, number, symbol=f"{ticker}-X"),
        start=FIRST,
        end=THIRD,
        from_listing=from_listing,
        holds_bars=holds_bars,
    )


def _ingest(
    store: MemoryStore, provider: ScriptedProvider, *requests: HistoryRequest
) -> list[Ingested | NotIngested]:
    async def every() -> list[Ingested | NotIngested]:
        return [one async for one in ingest_histories(context(store), provider, requests)]

    return asyncio.run(every())


def test_an_answer_is_stored_with_its_origin_and_its_coverage() -> None:
    """Ids stand for symbols, rows are sorted, every session asked for has a state."""
    store = MemoryStore()
    quoted = bars_of("A-X", THIRD, SECOND)
    provider = ScriptedProvider({"A-X": quoted})
    (outcome,) = _ingest(store, provider, _request("A", 7, from_listing=True))
    assert isinstance(outcome, Ingested)
    assert (outcome.ticker, outcome.load.inserted, outcome.requests) == ("A", 2, 2)
    assert outcome.sessions == {CoverageState.COMPLETE: 2, CoverageState.NOT_LISTED: 1}
    assert outcome.duration_s >= 0
    (batch,) = store.batches
    assert batch.bars.schema == DAILY_BARS
    assert batch.bars["instrument_id"].to_pylist() == [7, 7]
    assert batch.bars["session_date"].to_pylist() == [SECOND, THIRD]
    assert (batch.provider, batch.adjustment) == ("scripted", Adjustment.SPLITS)
    assert (batch.request, batch.content_sha256) == ("history A-X", "ab")
    assert (batch.run_id, batch.fetched_at, batch.rejected) == ("run-1", NOW, 0)
    assert {mark.state: mark.spans for mark in batch.coverage} == {
        CoverageState.COMPLETE: ((SECOND, AFTER),),
        CoverageState.NOT_LISTED: ((FIRST, SECOND),),
    }
    assert {mark.instrument_id for mark in batch.coverage} == {7}


def test_bad_bars_are_quarantined_and_the_rest_goes_on() -> None:
    """They are counted, named, and their sessions stay holes."""
    store = MemoryStore()
    quoted = pa.concat_tables([bars_of("A-X", FIRST), bars_of("A-X", SECOND, close=None)])
    (outcome,) = _ingest(store, ScriptedProvider({"A-X": quoted}), _request("A"))
    assert isinstance(outcome, Ingested)
    assert [one.session_date for one in outcome.rejected] == [SECOND]
    assert outcome.sessions == {
        CoverageState.COMPLETE: 1,
        CoverageState.QUARANTINED: 1,
        CoverageState.PROVIDER_EMPTY: 1,
    }
    assert store.batches[0].rejected == 1


def test_an_empty_history_is_an_unknown_symbol() -> None:
    """An empty span is only empty, and days before a held bar are before the listing."""
    store = MemoryStore()
    provider = ScriptedProvider({"A-X": bars_of("A-X")})
    (whole,) = _ingest(store, provider, _request("A", from_listing=True))
    assert isinstance(whole, NotIngested)
    assert whole.error_class == "UnknownSymbolError"
    assert store.batches == []
    (span,) = _ingest(store, provider, _request("A"))
    assert isinstance(span, Ingested)
    assert span.sessions == {CoverageState.PROVIDER_EMPTY: 3}
    (before,) = _ingest(store, provider, _request("A", from_listing=True, holds_bars=True))
    assert isinstance(before, Ingested)
    assert before.sessions == {CoverageState.NOT_LISTED: 3}


def test_one_failure_concerns_its_instrument_alone() -> None:
    """It is recorded with what was asked and why; the others are stored."""
    store, provider = MemoryStore(), ScriptedProvider()
    provider.answers = {
        "A-X": bars_of("A-X", FIRST),
        "B-X": provider.refuses(errors.ProviderUnavailableError, "is down"),
        "C-X": bars_of("C-X", FIRST),
    }
    outcomes = _ingest(store, provider, _request("A", 1), _request("B", 2), _request("C", 3))
    assert sorted(one.ticker for one in outcomes) == ["A", "B", "C"]
    (failed,) = (one for one in outcomes if isinstance(one, NotIngested))
    assert failed.error_class == "ProviderUnavailableError"
    assert failed.message == "scripted history X: is down"
    (failure,) = store.failures
    assert (failure.instrument_id, failure.request, failure.run_id) == (2, "history X", "run-1")
    assert failure.failed_at == NOW
    (mark,) = failure.coverage
    assert (mark.state, mark.spans) == (CoverageState.FAILED, ((FIRST, AFTER),))


def test_a_refused_key_ends_the_whole_run() -> None:
    """Every further request would fail too: those not yet made are not made."""
    store, provider = MemoryStore(), ScriptedProvider()
    requests = [_request(f"T{number}", number) for number in range(50)]
    refusal = provider.refuses(errors.KeyRefusedError)
    provider.answers = {one.instrument.symbol: refusal for one in requests}
    with pytest.raises(errors.KeyRefusedError):
        _ingest(store, provider, *requests)
    assert len(provider.asked) == CONCURRENT_REQUESTS
    assert store.failures == []


def test_what_was_stored_beside_a_refused_key_is_reported_first() -> None:
    """A stored instrument that nobody hears of would be asked for again."""
    store, provider = MemoryStore(), ScriptedProvider()
    good = [_request(f"T{number}", number) for number in range(7)]
    provider.answers = {
        one.instrument.symbol: bars_of(one.instrument.symbol, FIRST) for one in good
    }

    class RefusedInTheEnd(ScriptedProvider):
        async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
            if symbol != "KEY-X":
                return await super().daily_history(symbol, start, end)
            while len(store.batches) < len(good):  # noqa: ASYNC110  # a plain list tells nobody
                await asyncio.sleep(0)
            raise self.refuses(errors.KeyRefusedError)

    reported = list[str]()

    async def main() -> None:
        last = RefusedInTheEnd(provider.answers)
        async for one in ingest_histories(context(store), last, [*good, _request("KEY", 9)]):
            reported.append(one.ticker)
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # nor do tasks that end
                await asyncio.sleep(0)

    with pytest.raises(errors.KeyRefusedError):
        asyncio.run(main())
    assert sorted(reported) == [one.instrument.ticker for one in good]


def test_a_failing_database_ends_the_run() -> None:
    """It is nobody's answer that is wrong."""
    store = MemoryStore(broken=errors.StorageUnavailableError("gone"))
    with pytest.raises(errors.StorageUnavailableError):
        _ingest(store, ScriptedProvider({"A-X": bars_of("A-X", FIRST)}), _request("A"))


def test_no_more_requests_are_under_way_than_allowed() -> None:
    """And the work never stops short of it while something waits."""
    running = most = 0

    class Counting(ScriptedProvider):
        async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return await super().daily_history(symbol, start, end)

    requests = [_request(f"T{number}", number) for number in range(30)]
    provider = Counting(
        {one.instrument.symbol: bars_of(one.instrument.symbol, FIRST) for one in requests}
    )
    outcomes = _ingest(MemoryStore(), provider, *requests)
    assert len(outcomes) == 30
    assert most == CONCURRENT_REQUESTS


def test_nothing_to_ask_for_is_nothing_done() -> None:
    """No request, no outcome."""
    assert _ingest(MemoryStore(), ScriptedProvider()) == []


def test_a_consumer_that_stops_leaves_no_work_behind() -> None:
    """A cancelled run cancels its requests."""

    class Slow(ScriptedProvider):
        async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
            if symbol != "T0-X":
                await asyncio.Event().wait()
            return await super().daily_history(symbol, start, end)

    requests = [_request(f"T{number}", number) for number in range(20)]

    async def main() -> tuple[int, int]:
        provider = Slow({"T0-X": bars_of("T0-X", FIRST)})
        outcomes = ingest_histories(context(MemoryStore()), provider, requests)
        await anext(outcomes)
        under_way = len(asyncio.all_tasks()) - 1
        await outcomes.aclose()  # type: ignore[attr-defined]  # it is a generator
        return under_way, len(asyncio.all_tasks()) - 1

    assert asyncio.run(main()) == (CONCURRENT_REQUESTS - 1, 0)
