"""FMP's answers are kept before they are parsed, and can be replayed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import pytest

from marketdata.ports import Answer
from marketdata.recovery import errors
from resources.providers.fmp import FmpClient, connect
from resources.providers.fmp.client import ROW_CAP
from resources.providers.http import AnswerKeeper
from resources.providers.kept_answers import KeptGetter
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.providers.recordings import recorded
from tests.providers.scripted_server import (
    Reply,
    Request,
    Script,
    ScriptedServer,
    always,
    as_json,
    one_by_one,
    serve,
)

T = TypeVar("T")
START, END = date(2006, 1, 1), date(2026, 8, 4)
LONG_AGO = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime


class KeptInMemory:
    """A raw zone without a bucket."""

    def __init__(self, fetched_at: datetime = LONG_AGO) -> None:
        self.fetched_at = fetched_at
        self.bodies: dict[str, bytes] = {}
        self.operations: dict[str, str] = {}

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        assert (provider, media_type) == ("fmp", "application/json")
        self.operations[sha256] = operation
        return self.put(body)

    def put(self, body: bytes) -> str:
        pointer = sha256(body).hexdigest()
        self.bodies[pointer] = body
        return pointer

    def read(self, pointer: str) -> Body:
        if pointer not in self.bodies:
            message = f"{pointer} is gone"
            raise errors.StorageConflictError(message)
        return Body(body=self.bodies[pointer], fetched_at=self.fetched_at)


def _bar(day: date) -> dict[str, object]:
    return {
        "symbol": "A", "date": day.isoformat(), "open": 10, "high": 11, "low": 9, "close": 10.5,
        "volume": 5,
    }  # fmt: skip


def _listed_since(first: date) -> Script:
    """Answer with a bar for every day, newest first, the oldest beyond the cap dropped."""

    def reply(request: Request) -> Reply:
        until = date.fromisoformat(request.query["to"])
        since = max(first, date.fromisoformat(request.query["from"]))
        days = (until - timedelta(days=back) for back in range((until - since).days + 1))
        return as_json([_bar(day) for day in days][:ROW_CAP])

    return reply


def _do(
    script: Script, kept: AnswerKeeper | None, work: Callable[[FmpClient], Awaitable[T]]
) -> tuple[T, ScriptedServer]:
    """Work with a real client that keeps answers."""

    async def main() -> tuple[T, ScriptedServer]:
        async with (
            serve(script) as server,
            connect(
                api_key="sesame",
                budget=CountedBudget(),
                bulk_budget=CountedBudget(),
                retry=AT_ONCE,
                base_url=server.url,
                keep=kept,
            ) as client,
        ):
            return await work(client), server

    return asyncio.run(main())


def _asked(script: Script, kept: AnswerKeeper | None) -> Answer:
    return _do(script, kept, lambda client: client.daily_history("A", START, END))[0]


def _replayed(
    kept: KeptInMemory, raw_answers: Sequence[str], start: date = START, end: date = END
) -> Answer:
    getter = KeptGetter("fmp", kept.read, raw_answers)
    answer = asyncio.run(FmpClient(getter, getter).daily_history("A", start, end))
    getter.require_all_read(answer.request)
    return answer


def test_every_page_is_kept_and_the_answer_points_to_all_of_them() -> None:
    """In the order in which they came, each under what was asked for, without the key."""
    kept = KeptInMemory()
    answer = _asked(_listed_since(START), kept)
    whole = f"historical-price-eod/full symbol=A from={START} to={END}"

    assert answer.request == whole
    assert [kept.operations[raw_answer] for raw_answer in answer.raw_answers] == [
        whole,
        f"{whole} page=2",
    ]
    joined = b"".join(kept.bodies[raw_answer] for raw_answer in answer.raw_answers)
    assert answer.content_sha256 == sha256(joined).hexdigest()
    assert "sesame" not in str(kept.operations)


def test_without_a_keeper_an_answer_points_nowhere() -> None:
    """By hand nothing is kept."""
    assert _asked(_listed_since(END), None).raw_answers == ()


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (lambda client: client.daily_history("A", START, END), b"{}"),
        (lambda client: client.daily_history("A", END, END), as_json([_bar(START)]).body),
        (lambda client: client.daily_market(END), b"no csv"),
        (lambda client: client.sp500_constituents(), b"[]"),
        (lambda client: client.profile("A"), b"[]"),
    ],
)
def test_an_answer_that_cannot_be_used_is_kept_and_its_error_points_to_it(
    ask: Callable[[FmpClient], Awaitable[object]], body: bytes
) -> None:
    """For any request: the answer is there for a person to look at."""
    kept = KeptInMemory()

    with pytest.raises(errors.PermanentProviderError) as caught:
        _do(always(Reply(body=body)), kept, ask)
    assert [kept.bodies[raw_answer] for raw_answer in caught.value.raw_answers] == [body]


def test_a_later_page_that_cannot_be_used_is_named_as_one() -> None:
    """Its request is no whole answer: replayed by itself it would empty the newer days.

    So the error points to all pages, and what they lack is noticed, mended or not.
    """
    kept = KeptInMemory()
    full = as_json([_bar(END - timedelta(days=back)) for back in range(ROW_CAP)])

    with pytest.raises(errors.MalformedPayloadError) as caught:
        _asked(one_by_one(full, as_json({})), kept)
    pages = caught.value.raw_answers
    assert [kept.bodies[page] for page in pages] == [full.body, b"{}"]
    assert caught.value.operation.endswith(" page=2")
    with pytest.raises(errors.MalformedPayloadError, match="a list was promised"):
        _replayed(kept, pages)
    oldest = END - timedelta(days=ROW_CAP - 1)
    kept.bodies[pages[1]] = as_json(
        [_bar(oldest - timedelta(days=back // 50)) for back in range(ROW_CAP)]
    ).body
    with pytest.raises(errors.MalformedPayloadError, match="not all of this answer was kept"):
        _replayed(kept, pages)


def test_an_error_is_not_kept() -> None:
    """Only what is no error is an answer."""
    kept = KeptInMemory()

    with pytest.raises(errors.KeyRefusedError) as caught:
        _asked(always(Reply(status=401)), kept)
    assert kept.bodies == {}
    assert caught.value.raw_answers == ()


class _FullDisk:
    def __init__(self) -> None:
        self.tried = 0

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        del provider, operation, body, sha256, media_type
        self.tried += 1
        message = "the raw zone of fmp cannot be written"
        raise errors.StorageUnavailableError(message)


def test_an_answer_that_cannot_be_kept_is_not_used() -> None:
    """An answer that is not kept is not loaded, and not asked for again."""
    full = _FullDisk()

    with pytest.raises(errors.StorageUnavailableError, match="raw zone"):
        _asked(_listed_since(END), full)
    assert full.tried == 1


@pytest.mark.parametrize(
    ("first", "pages"), [(END, 1), (END - timedelta(days=ROW_CAP), 2), (START, 2)]
)
def test_a_history_comes_back_as_it_came_without_a_request(first: date, pages: int) -> None:
    """Bars, origin and pointers are equal; the time is the original one; the requests are none."""
    kept = KeptInMemory()
    original = _asked(_listed_since(first), kept)
    again = _replayed(kept, original.raw_answers)

    assert len(original.raw_answers) == pages
    assert again.rows.equals(original.rows)
    assert again.request == original.request
    assert again.content_sha256 == original.content_sha256
    assert again.raw_answers == original.raw_answers
    assert again.fetched_at == LONG_AGO
    assert again.requests == 0


def test_a_market_day_comes_back_too() -> None:
    """The CSV goes through the same parser."""
    kept = KeptInMemory()
    body = f"symbol,date,open,low,high,close,adjClose,volume\nA,{END},1,1,1,1,1,5\n".encode()
    pointer = kept.put(body)

    getter = KeptGetter("fmp", kept.read, [pointer])
    again = asyncio.run(FmpClient(getter, getter).daily_market(END))

    assert again.rows["symbol"].to_pylist() == ["A"]
    assert (again.requests, again.fetched_at, again.raw_answers) == (0, LONG_AGO, (pointer,))


def test_a_recorded_answer_of_fmp_can_be_replayed() -> None:
    """Not only what our own servers write."""
    kept = KeptInMemory()
    pointer = kept.put(recorded("fmp_historical_price_eod_full.json"))
    getter = KeptGetter("fmp", kept.read, [pointer])

    again = asyncio.run(
        FmpClient(getter, getter).daily_history("AAPL", date(2023, 1, 1), date(2023, 1, 10))
    )

    assert again.rows.num_rows == 6


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "a list was promised"),
        (b'[{"symbol": "B", "date": "2026-08-04", "close": 1}]', "symbol B"),
        (b'[{"symbol": "A", "date": "2026-08-05", "close": 1}]', "day 2026-08-05"),
    ],
)
def test_what_still_cannot_be_used_is_refused_and_points_to_itself(body: bytes, said: str) -> None:
    """The client's own checks run, so that an answer of another request is noticed."""
    kept = KeptInMemory()
    pointer = kept.put(body)

    with pytest.raises(errors.MalformedPayloadError, match=said) as caught:
        _replayed(kept, [pointer])
    assert caught.value.raw_answers == (pointer,)


def test_an_answer_of_which_not_all_was_kept_is_refused() -> None:
    """Without its last page the oldest days would pass for days before the listing."""
    kept = KeptInMemory()
    original = _asked(_listed_since(START), kept)

    for known in (original.raw_answers[:1], ()):
        with pytest.raises(errors.MalformedPayloadError, match=r"not all.*was kept.*dlq retry"):
            _replayed(kept, known)


def test_more_pages_than_the_answer_has_are_refused() -> None:
    """Pointers that do not belong together make no answer."""
    kept = KeptInMemory()
    pointer = kept.put(b"[]")

    with pytest.raises(errors.MalformedPayloadError, match="1 kept pages were not asked for"):
        _replayed(kept, [pointer, pointer])


def test_a_body_that_is_gone_is_the_stores_error() -> None:
    """It is not the provider's failure."""
    with pytest.raises(errors.StorageConflictError, match="gone"):
        _replayed(KeptInMemory(), ["nowhere"])
