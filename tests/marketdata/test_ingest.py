"""Histories of many instruments: each stored, covered and logged on its own."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa
import pytest
import stamina

from marketdata.bars import DAILY_BARS, Adjustment
from marketdata.coverage import CoverageState
from marketdata.ingest import CONCURRENT_REQUESTS, Ingested, NotIngested, ingest
from marketdata.ports import Answer, Asked, Batch, FetchRequest, LoadResult
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import Work
from marketdata.recovery.policy import BUDGET
from marketdata.rows import unread
from tests.marketdata.fakes import (
    NOW,
    MemoryStore,
    ScriptedProvider,
    bars_of,
    context,
    feed_of,
    listed,
)

FIRST, SECOND, THIRD = date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)
AFTER = date(2024, 1, 5)


def _request(
    ticker: str, number: int = 1, *, from_inception: bool = False, has_data: bool = False
) -> FetchRequest:
    return FetchRequest(
        instrument=listed(ticker, number, symbol=f"{ticker}-X"),
        start=FIRST,
        end=THIRD,
        from_inception=from_inception,
        has_data=has_data,
    )


def _ingest(
    store: MemoryStore, provider: ScriptedProvider, *requests: FetchRequest
) -> list[Ingested | NotIngested]:
    async def every() -> list[Ingested | NotIngested]:
        return [outcome async for outcome in ingest(context(store), feed_of(provider), requests)]

    return asyncio.run(every())


def test_an_answer_is_stored_with_its_origin_and_its_coverage() -> None:
    """Ids stand for symbols, rows are sorted, every session asked for has a state."""
    store = MemoryStore()
    wire_rows = bars_of("A-X", THIRD, SECOND)
    provider = ScriptedProvider({"A-X": wire_rows})
    (outcome,) = _ingest(store, provider, _request("A", 7, from_inception=True))
    assert isinstance(outcome, Ingested)
    assert (outcome.ticker, outcome.load.inserted, outcome.requests) == ("A", 2, 2)
    assert outcome.sessions == {CoverageState.COMPLETE: 2, CoverageState.PROVIDER_EMPTY: 1}
    assert outcome.duration_s >= 0
    (batch,) = store.batches
    assert batch.rows.schema == DAILY_BARS
    assert batch.rows["instrument_id"].to_pylist() == [7, 7]
    assert batch.rows["session_date"].to_pylist() == [SECOND, THIRD]
    assert (batch.provider, batch.adjustment) == ("scripted", Adjustment.SPLITS)
    assert (batch.request, batch.content_sha256) == ("history A-X", "ab")
    assert (batch.run_id, batch.fetched_at, batch.letters) == ("run-1", NOW, ())
    assert batch.asked == Asked(instrument_ids=(7,), start=FIRST, end=THIRD, whole_sessions=False)
    assert {mark.state: mark.spans for mark in batch.coverage} == {
        CoverageState.COMPLETE: ((SECOND, AFTER),),
        CoverageState.PROVIDER_EMPTY: ((FIRST, SECOND),),
    }
    assert {mark.instrument_id for mark in batch.coverage} == {7}


def test_bad_bars_are_quarantined_and_the_rest_goes_on() -> None:
    """They are counted, named, and their sessions stay holes."""
    store = MemoryStore()
    wire_rows = pa.concat_tables([bars_of("A-X", FIRST), bars_of("A-X", SECOND, close=None)])
    (outcome,) = _ingest(store, ScriptedProvider({"A-X": wire_rows}), _request("A"))
    assert isinstance(outcome, Ingested)
    assert [row.day for row in outcome.rejected] == [SECOND]
    assert outcome.sessions == {
        CoverageState.COMPLETE: 1,
        CoverageState.QUARANTINED: 1,
        CoverageState.PROVIDER_EMPTY: 1,
    }
    (letter,) = store.batches[0].letters
    assert (letter.work, letter.subject, letter.instrument_id) == (Work.RECORD, f"A {SECOND}", 1)
    assert letter.parked, "no machine repeats a bad row"
    assert letter.message == f"A {SECOND}: close is missing or not a finite number"
    assert letter.details["received"] == [
        {"symbol": "A-X", "session_date": SECOND.isoformat(), "open": 10.0, "high": 11.0,
         "low": 9.0, "close": None, "volume": 5.0}
    ]  # fmt: skip


def test_an_empty_history_is_an_unknown_symbol() -> None:
    """An empty span is only empty, and so are days before a held bar."""
    store = MemoryStore()
    provider = ScriptedProvider({"A-X": bars_of("A-X")})
    (whole,) = _ingest(store, provider, _request("A", from_inception=True))
    assert isinstance(whole, NotIngested)
    assert whole.error_class == "UnknownSymbolError"
    assert store.batches == []
    (span,) = _ingest(store, provider, _request("A"))
    assert isinstance(span, Ingested)
    assert span.sessions == {CoverageState.PROVIDER_EMPTY: 3}
    (before,) = _ingest(store, provider, _request("A", from_inception=True, has_data=True))
    assert isinstance(before, Ingested)
    assert before.sessions == {CoverageState.PROVIDER_EMPTY: 3}


def test_one_failure_concerns_its_instrument_alone() -> None:
    """It is recorded with what was asked and why; the others are stored."""
    store, provider = MemoryStore(), ScriptedProvider()
    provider.answers = {
        "A-X": bars_of("A-X", FIRST),
        "B-X": provider.refuses(errors.ProviderUnavailableError, "is down"),
        "C-X": bars_of("C-X", FIRST),
    }
    outcomes = _ingest(store, provider, _request("A", 1), _request("B", 2), _request("C", 3))
    assert sorted(outcome.ticker for outcome in outcomes) == ["A", "B", "C"]
    (failed,) = (outcome for outcome in outcomes if isinstance(outcome, NotIngested))
    assert failed.error_class == "ProviderUnavailableError"
    assert failed.message == "scripted history X: is down"
    (failure,) = store.failures
    letter = failure.letter
    assert (letter.instrument_id, letter.request, letter.run_id) == (2, "history X", "run-1")
    assert (letter.work, letter.subject, letter.seen_at) == (Work.INSTRUMENT, "B", NOW)
    span = {"start": FIRST.isoformat(), "end": THIRD.isoformat()}
    assert letter.details == {**span, "asked": {"symbol": "B-X", **span}}
    assert not letter.parked, "a machine may try again"
    assert not letter.deferred, "the request was made"
    (mark,) = failure.coverage
    assert (mark.state, mark.spans) == (CoverageState.FAILED, ((FIRST, AFTER),))


def test_a_refused_key_ends_the_whole_run() -> None:
    """Every further request would fail too: those not yet made are not made."""
    store, provider = MemoryStore(), ScriptedProvider()
    requests = [_request(f"T{number}", number) for number in range(50)]
    refusal = provider.refuses(errors.KeyRefusedError)
    provider.answers = {request.instrument.symbol: refusal for request in requests}
    with pytest.raises(errors.KeyRefusedError):
        _ingest(store, provider, *requests)
    assert len(provider.asked) == CONCURRENT_REQUESTS
    assert sorted(failure.letter.instrument_id or 0 for failure in store.failures) == list(
        range(50)
    )
    assert all(failure.letter.parked for failure in store.failures), "a person has to act"
    assert all(not failure.coverage for failure in store.failures), (
        "nothing is known of their sessions"
    )
    sent = [failure for failure in store.failures if not failure.letter.deferred]
    assert len(sent) == CONCURRENT_REQUESTS, "those that were sent are failures of the log"


def test_an_open_breaker_puts_all_that_is_left_off_at_once() -> None:
    """It does not fail five hundred times: the rest waits in letters until the next trial."""
    store, provider = MemoryStore(), ScriptedProvider()
    requests = [_request(f"T{number}", number) for number in range(50)]
    is_open = errors.CircuitOpenError(
        "the breaker is open", provider="scripted", operation="history X", retry_after_s=23.0
    )
    provider.answers = {
        **{request.instrument.symbol: is_open for request in requests},
        "T0-X": bars_of("T0-X", FIRST),
    }
    outcomes = _ingest(store, provider, *requests)
    assert len(provider.asked) <= 2 * CONCURRENT_REQUESTS
    assert [type(outcome) for outcome in outcomes].count(Ingested) == 1
    put_off = [outcome for outcome in outcomes if isinstance(outcome, NotIngested)]
    assert len(put_off) == 49
    assert all(outcome.deferred for outcome in put_off)
    letters = [failure.letter for failure in store.failures]
    assert len(letters) == 49
    assert {letter.not_before for letter in letters} == {NOW + timedelta(seconds=23)}
    assert all(letter.deferred and not letter.parked for letter in letters)


def test_weekly_bars_are_not_taken_for_daily_ones() -> None:
    """No row says how long it is; days that lie a week apart do, and the days fail."""
    fridays = [date(2024, 1, 5) + timedelta(days=7 * week) for week in range(4)]
    store = MemoryStore()
    request = replace(_request("A"), start=FIRST, end=date(2024, 1, 31))
    (outcome,) = _ingest(store, ScriptedProvider({"A-X": bars_of("A-X", *fridays)}), request)
    assert isinstance(outcome, NotIngested)
    assert "bars of weeks or months came" in outcome.message
    store = MemoryStore()
    bars = bars_of("A-X", *fridays, date(2024, 1, 8))
    (outcome,) = _ingest(store, ScriptedProvider({"A-X": bars}), request)
    assert isinstance(outcome, Ingested)


def test_a_row_that_cannot_be_placed_waits_in_a_letter() -> None:
    """Its session is unknown; the row is kept as it came."""

    class WithARow(ScriptedProvider):
        async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
            answer = await super().daily_history(symbol, start, end)
            return replace(answer, left_out=(unread('{"date": null}'),), raw_answers=("raw/x",))

    store = MemoryStore()
    _ingest(store, WithARow({"A-X": bars_of("A-X", FIRST)}), _request("A"))
    (letter,) = store.batches[0].letters
    assert (letter.work, letter.parked, letter.raw_answers) == (Work.RECORD, True, ("raw/x",))
    assert letter.subject.startswith("A row ")
    assert letter.details["received"] == ['{"date": null}']


@pytest.mark.parametrize("seconds", [1e30, 31_536_000.0])
def test_a_providers_retry_after_is_believed_within_bounds(seconds: float) -> None:
    """A date a year ahead must not keep a ticker from being tried for a year, but a ban may."""
    store, provider = MemoryStore(), ScriptedProvider()
    provider.answers = {
        "A-X": errors.RateLimitedError(
            "429", provider="scripted", operation="history X", retry_after_s=seconds
        )
    }
    _ingest(store, provider, _request("A"))
    (failure,) = store.failures
    assert failure.letter.not_before == NOW + timedelta(seconds=BUDGET.longest_pause_s)


def test_a_database_that_restarts_is_waited_for() -> None:
    """A load is repeated before the run gives up."""
    store, failures = MemoryStore(), [errors.StorageUnavailableError("restarts")]

    class Restarting(MemoryStore):
        def load(self, batch: Batch) -> LoadResult:
            if failures:
                raise failures.pop()
            return super().load(batch)

    store = Restarting()
    with stamina.set_testing(True, attempts=2):
        (outcome,) = _ingest(store, ScriptedProvider({"A-X": bars_of("A-X", FIRST)}), _request("A"))
    assert isinstance(outcome, Ingested)
    assert len(store.batches) == 1


def test_what_was_stored_beside_a_refused_key_is_reported_first() -> None:
    """A stored but unreported instrument would be asked for again."""
    store, provider = MemoryStore(), ScriptedProvider()
    good = [_request(f"T{number}", number) for number in range(7)]
    provider.answers = {
        request.instrument.symbol: bars_of(request.instrument.symbol, FIRST) for request in good
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
        async for outcome in ingest(context(store), feed_of(last), [*good, _request("KEY", 9)]):
            reported.append(outcome.ticker)
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # nor do tasks that end
                await asyncio.sleep(0)

    with pytest.raises(errors.KeyRefusedError):
        asyncio.run(main())
    assert sorted(reported[:-1]) == [request.instrument.ticker for request in good]
    assert reported[-1] == "KEY", "what was not done is told as well"


def test_a_failing_database_ends_the_run() -> None:
    """No answer is at fault."""
    store = MemoryStore(broken=errors.StorageUnavailableError("gone"))
    with pytest.raises(errors.StorageUnavailableError), stamina.set_testing(True, attempts=1):
        _ingest(store, ScriptedProvider({"A-X": bars_of("A-X", FIRST)}), _request("A"))


def test_no_more_requests_are_under_way_than_allowed() -> None:
    """And it is always used in full while work waits."""
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
        {
            request.instrument.symbol: bars_of(request.instrument.symbol, FIRST)
            for request in requests
        }
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
        outcomes = ingest(context(MemoryStore()), feed_of(provider), requests)
        await anext(outcomes)
        under_way = len(asyncio.all_tasks()) - 1
        assert isinstance(outcomes, AsyncGenerator)
        await outcomes.aclose()
        return under_way, len(asyncio.all_tasks()) - 1

    assert asyncio.run(main()) == (CONCURRENT_REQUESTS - 1, 0)
