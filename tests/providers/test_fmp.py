"""The FMP client over real HTTP: which requests make one answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import pytest

from marketdata.ports import DailyBarProvider, DailyMarketProvider
from marketdata.recovery import errors
from resources.ask import main
from resources.providers.fmp import FmpClient, connect
from resources.providers.fmp.client import ROW_CAP
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
from tests.providers.virtual_clock import run

T = TypeVar("T")
START = date(1980, 1, 1)
END = date(2023, 1, 10)


class Conversation:
    """A client, its budgets and the server it spoke with."""

    def __init__(self) -> None:
        self.budget = CountedBudget()
        self.bulk = CountedBudget()
        self.server: ScriptedServer | None = None

    def do(self, script: Script, work: Callable[[FmpClient], Awaitable[T]]) -> T:
        async def main() -> T:
            async with (
                serve(script) as self.server,
                connect(
                    api_key="sesame",
                    budget=self.budget,
                    bulk_budget=self.bulk,
                    retry=AT_ONCE,
                    base_url=self.server.url,
                ) as client,
            ):
                return await work(client)

        return run(main())

    @property
    def requests(self) -> list[Request]:
        assert self.server is not None
        return self.server.requests


def _bar(day: date, close: float = 10.0) -> dict[str, object]:
    prices = {"open": close, "high": close, "low": close, "close": close}
    return {"symbol": "A", "date": day.isoformat(), **prices, "volume": 1}


def _listed_since(first: date) -> Callable[[Request], list[dict[str, object]]]:
    """Answer as FMP does: a bar for every day, newest first, the oldest beyond the cap dropped."""

    def rows(request: Request) -> list[dict[str, object]]:
        since = max(first, date.fromisoformat(request.query["from"]))
        until = date.fromisoformat(request.query["to"])
        days = (until - timedelta(days=back) for back in range((until - since).days + 1))
        return [_bar(day) for day in days][:ROW_CAP]

    return rows


def _history(
    script: Script, start: date = START, end: date = END
) -> tuple[list[date], Conversation]:
    asked = Conversation()
    answer = asked.do(script, lambda client: client.daily_history("A", start, end))
    assert answer.requests == len(asked.requests) == asked.budget.taken
    return answer.rows["session_date"].to_pylist(), asked


def test_a_recorded_answer_becomes_bars_with_their_origin() -> None:
    """Path, parameters, digest, time and count are those of the request that was made."""
    body = recorded("fmp_historical_price_eod_full.json")
    asked = Conversation()
    answer = asked.do(
        always(Reply(body=body)),
        lambda client: client.daily_history("AAPL", date(2023, 1, 1), END),
    )
    (request,) = asked.requests
    assert request.path == "/stable/historical-price-eod/full"
    assert request.query == {
        "symbol": "AAPL",
        "from": "2023-01-01",
        "to": "2023-01-10",
        "apikey": "sesame",
    }
    assert answer.rows.num_rows == 6
    assert answer.request == ("historical-price-eod/full symbol=AAPL from=2023-01-01 to=2023-01-10")
    assert answer.content_sha256 == sha256(body).hexdigest()
    assert datetime.now(UTC) - answer.fetched_at < timedelta(minutes=1)
    assert answer.requests == 1
    assert asked.bulk.taken == 0


@pytest.mark.parametrize(
    ("first", "pages"),
    [
        (END, 1),
        (END - timedelta(days=ROW_CAP - 2), 1),
        (END - timedelta(days=ROW_CAP - 1), 2),
        (END - timedelta(days=ROW_CAP), 2),
        (END - timedelta(days=2 * ROW_CAP - 2), 3),
        (END - timedelta(days=2 * ROW_CAP - 3), 2),
        (date(1990, 1, 1), 3),
    ],
)
def test_rows_beyond_the_cap_are_fetched_too_and_none_comes_twice(first: date, pages: int) -> None:
    """Whatever the length of the history: every day once, from the start asked for."""
    rows = _listed_since(first)
    days, asked = _history(lambda request: as_json(rows(request)))
    since = max(first, START)
    assert sorted(days) == [since + timedelta(days=on) for on in range((END - since).days + 1)]
    assert len(asked.requests) == pages


def test_a_full_answer_that_reaches_the_start_needs_no_further_request() -> None:
    """5,000 rows from the start asked for are complete."""
    rows = _listed_since(START)
    days, asked = _history(
        lambda request: as_json(rows(request)), start=END - timedelta(days=ROW_CAP - 1)
    )
    assert (len(days), len(asked.requests)) == (ROW_CAP, 1)


def test_a_series_that_changes_between_two_pages_is_not_stored() -> None:
    """After a split all older prices are others: half of each would be a false jump."""
    rows = _listed_since(date(1990, 1, 1))

    def rebased(request: Request) -> Reply:
        page = rows(request)
        if request.query["to"] != END.isoformat():
            page = [_bar(date.fromisoformat(str(row["date"])), close=2.5) for row in page]
        return as_json(page)

    with pytest.raises(errors.ProviderUnavailableError, match="changed between"):
        _history(rebased)


def test_a_page_whose_rows_are_all_of_one_day_ends_the_walk() -> None:
    """Whatever the provider sends, the client comes to an end."""
    days, asked = _history(always(as_json([_bar(END)] * ROW_CAP)))
    assert (len(days), len(asked.requests)) == (ROW_CAP, 1)


def test_order_and_repeats_are_kept_for_validation_to_judge() -> None:
    """The client returns the rows it got."""
    bars = [_bar(START), _bar(END), _bar(END), _bar(START + timedelta(days=1))]
    days, _ = _history(always(as_json(bars)))
    assert days == [START, END, END, START + timedelta(days=1)]


def test_no_bars_are_an_empty_answer() -> None:
    """An unknown symbol looks alike: the ingest step knows which of the two it can be."""
    days, asked = _history(always(as_json([])))
    assert (days, len(asked.requests)) == ([], 1)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (_bar(END + timedelta(days=1)), "day 2023-01-11"),
        (_bar(START - timedelta(days=1)), "day 1979-12-31"),
        (_bar(END) | {"symbol": "B"}, "symbol B"),
    ],
)
def test_rows_nobody_asked_for_are_malformed(row: dict[str, object], named: str) -> None:
    """FMP ignores unknown parameters: a typo would look like an answer."""
    with pytest.raises(errors.MalformedPayloadError, match=named):
        _history(always(as_json([_bar(END), row])))


@pytest.mark.parametrize("symbol", ["A,B", "A,", "", " "])
def test_a_symbol_that_cannot_be_asked_for_is_refused_before(symbol: str) -> None:
    """FMP would answer with silence; the ingest step counts it as this symbol's failure."""
    asked = Conversation()
    with pytest.raises(errors.RequestRejectedError, match="one symbol a request") as caught:
        asked.do(always(Reply()), lambda client: client.daily_history(symbol, START, END))
    assert caught.value.operation.startswith(f"historical-price-eod/full symbol={symbol} from=")
    assert (asked.budget.taken, asked.requests) == (0, [])


def test_a_reversed_range_is_a_mistake_of_the_program() -> None:
    """FMP would answer with silence, which reads like a symbol without bars."""
    asked = Conversation()
    with pytest.raises(ValueError, match="range of A is reversed"):
        asked.do(always(Reply()), lambda client: client.daily_history("A", END, START))
    assert (asked.budget.taken, asked.requests) == (0, [])


def test_a_full_page_with_an_undated_row_is_still_a_full_page() -> None:
    """The cap counts rows sent: taken for a short page, it would hide all older bars."""
    rows = _listed_since(END - timedelta(days=ROW_CAP + 100))

    def spoilt(request: Request) -> Reply:
        page = rows(request)
        if len(page) == ROW_CAP:
            page[7] |= {"date": "soon"}
        return as_json(page)

    days, asked = _history(spoilt)
    assert len(asked.requests) == 2
    assert (min(days), len(set(days))) == (END - timedelta(days=ROW_CAP + 100), ROW_CAP + 100)


def test_constituents_whose_symbols_are_no_tickers_are_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Five of them, quoted, so that none can forge a line; the others are returned."""
    bad = ["BAD,ONE", "O'X; drop", "x\nforged", "lower", "A" * 16, "SIXTH!"]
    rows = [{"symbol": symbol, "name": "N", "cik": "", "sector": ""} for symbol in ("GOOD", *bad)]
    listed = Conversation().do(always(as_json(rows)), lambda client: client.sp500_constituents())
    assert [constituent.ticker for constituent in listed] == ["GOOD"]
    (message,) = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert "6 rows left out" in message
    assert all(repr(symbol) in message for symbol in bad[:5])
    assert "SIXTH" not in message
    assert "\n" not in message


def test_an_error_inside_a_200_is_tried_again() -> None:
    """A limit inside a 200 counts like a 429, and the answer counts both requests."""
    limited = as_json({"Error Message": "Limit Reach . Please upgrade"})
    days, asked = _history(one_by_one(limited, as_json([_bar(END)])))
    assert (days, len(asked.requests)) == ([END], 2)


def test_a_bulk_day_takes_a_permit_of_the_bulk_budget_alone() -> None:
    """That budget is charged to the bulk throttle and to the key's own limit by itself."""
    asked = Conversation()
    header = "symbol,date,open,low,high,close,adjClose,volume\n"
    body = f"{header}A,{END},1,1,1,1,1,5\nBTCUSD,{END},1,1,1,1,1,0.5\n".encode()
    answer = asked.do(always(Reply(body=body)), lambda client: client.daily_market(END))
    assert (asked.budget.taken, asked.bulk.taken) == (0, 1)
    assert asked.requests[0].path == "/stable/eod-bulk"
    assert asked.requests[0].query == {"date": "2023-01-10", "apikey": "sesame"}
    assert answer.request == "eod-bulk date=2023-01-10"
    assert answer.content_sha256 == sha256(body).hexdigest()
    assert answer.rows["symbol"].to_pylist() == ["A", "BTCUSD"]


def test_constituents_and_profiles_are_asked_for_at_their_paths() -> None:
    """Both go through the key's budget and count as requests."""
    asked = Conversation()

    async def both(client: FmpClient) -> tuple[int, str]:
        listed = await client.sp500_constituents()
        profile = await client.profile("AAPL")
        return len(listed), profile.name

    replies = one_by_one(
        Reply(body=recorded("fmp_dowjones_constituent.json")),
        Reply(body=recorded("fmp_profile_aapl.json")),
    )
    assert asked.do(replies, both) == (30, "Apple Inc.")
    assert [request.path for request in asked.requests] == [
        "/stable/sp500-constituent",
        "/stable/profile",
    ]
    assert asked.requests[1].query["symbol"] == "AAPL"


def test_the_client_fulfils_the_ports() -> None:
    """Structurally: the checker proves the signatures, this the values."""
    unused = KeptGetter("fmp", lambda _: pytest.fail("nothing is read"), [])
    client = FmpClient(unused, unused)
    history: DailyBarProvider = client
    market: DailyMarketProvider = client
    assert (history.name, market.name) == ("fmp", "fmp")


@pytest.mark.parametrize(
    ("key", "reply", "said"),
    [
        ("", None, "FMP_API_KEY is not set"),
        ("sesame", Reply(status=401), "HTTP 401"),
        ("sesame", as_json({"a": 1}), "a list was promised"),
    ],
)
def test_by_hand_errors_are_one_clear_line(
    key: str,
    reply: Reply | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, exit status 1, no key."""
    monkeypatch.setenv("FMP_API_KEY", key)
    code = _by_hand(reply, monkeypatch, ["AAPL", "--provider", "fmp"])
    shown = capsys.readouterr()
    assert code == 1
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert "sesame" not in shown.err + shown.out


def test_by_hand_bars_are_shown_oldest_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in python -m resources.ask daily_bars AAPL --from 2023-01-01 --to 2023-01-10."""
    monkeypatch.setenv("FMP_API_KEY", "sesame")
    reply = Reply(body=recorded("fmp_historical_price_eod_full.json"))
    arguments = ["AAPL", "--from", "2023-01-01", "--to", "2023-01-10"]
    assert _by_hand(reply, monkeypatch, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["2023-01-03", "130.28"]
    assert lines[-1].startswith("6 rows in 1 requests: historical-price-eod/full symbol=AAPL")


def _by_hand(reply: Reply | None, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    """Ask FMP for daily bars in a thread beside the server, since it brings its own loop."""

    async def beside() -> int:
        async with serve(always(reply or Reply())) as server:
            monkeypatch.setenv("FMP_BASE_URL", server.url)
            return await asyncio.to_thread(main, ["daily_bars", *arguments])

    return asyncio.run(beside())
