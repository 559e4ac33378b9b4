"""The Polygon client: the requests of one answer, and the simulator's answers as truth."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine.processes import NO_AUTHORITIES
from marketdata import minute_bars
from marketdata.bars import validate
from marketdata.calendars import NEW_YORK_ZONE, calendar
from marketdata.ports import (
    ActionProvider,
    Answer,
    DailyBarProvider,
    DailyMarketProvider,
    MinuteBarProvider,
    ReferenceProvider,
)
from marketdata.recovery import errors
from resources.ask import main
from resources.providers.http import HeaderKey, HttpAnswer, HttpGetter
from resources.providers.kept_answers import KeptGetter
from resources.providers.polygon import PolygonClient, wire
from resources.providers.polygon.client import BASE_BARS, MINUTE_WINDOW
from sandbox.simulators import serving
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.polygon import Plan, PolygonSimulator, truths
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.intraday import minute_truth
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget

T = TypeVar("T")
KEY, LATE_KEY, POOR_KEY = "a" * 32, "b" * 32, "c" * 32
NOW = datetime(2026, 8, 5, 6, tzinfo=UTC)
START, END = date(2006, 1, 3), date(2026, 8, 4)
AFTER = datetime(2026, 8, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and its world to compare with."""

    origin: str
    world: World

    def do(self, work: Callable[[PolygonClient], Awaitable[T]], key: str = KEY) -> T:
        def classify(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
            return wire.classify_error(answer, operation, key=key)

        async def main() -> T:
            async with HttpGetter(
                provider="polygon",
                base_url=f"{self.origin}/polygon",
                key=HeaderKey(scheme="Bearer", value=key),
                budget=CountedBudget(),
                retry=AT_ONCE,
                classify=classify,
                in_flight=2,
            ) as getter:
                return await work(PolygonClient(getter))

        return asyncio.run(main())

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A simulator on a free port, whose clock moves a second whenever it is looked at."""
    root: Path = tmp_path_factory.mktemp("polygon")
    seconds = itertools.count()
    world = World(root)

    def now() -> datetime:
        return NOW + timedelta(seconds=next(seconds))

    keys = {KEY: Plan.ADVANCED, LATE_KEY: Plan.STARTER, POOR_KEY: Plan.FREE}
    simulator = PolygonSimulator(world, keys, now=now)
    journal = Journal(root / "requests.jsonl")
    with serving.serve(Front([simulator], world=world, journal=journal, now=now)) as origin:
        yield Simulated(origin=origin, world=world)


@pytest.fixture
def simulated(served: Simulated) -> Simulated:
    """The simulator without the faults of earlier tests."""
    httpx.delete(f"{served.origin}/_sandbox/faults").raise_for_status()
    return served


@dataclass(frozen=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime = AFTER


@dataclass
class Kept:
    """Hands out bodies one after the other, as the raw zone does: status 200, no headers."""

    bodies: list[bytes]
    fetched_at: datetime = AFTER
    asked: list[tuple[str, Mapping[str, str], str]] = field(default_factory=list)

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        del weight
        self.asked.append((path, parameters, operation))
        body = self.bodies[len(self.asked) - 1]
        return HttpAnswer(
            status=200,
            headers={},
            body=body,
            sha256=sha256(body).hexdigest(),
            fetched_at=self.fetched_at + timedelta(seconds=len(self.asked)),
            requests=2,
            raw_answer=f"raw/{len(self.asked)}",
        )


def _ms(day: date, hour: int = 0, minute: int = 0) -> int:
    at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK_ZONE)
    return round(at.timestamp() * 1000)


def _bar(at: int, close: float = 10.0) -> dict[str, object]:
    return {"o": close, "h": close, "l": close, "c": close, "v": 1, "t": at}


def _body(*rows: object, **envelope: object) -> bytes:
    return json.dumps({"status": "OK", "adjusted": False, "results": rows, **envelope}).encode()


EMPTY = b'{"status":"OK","resultsCount":0,"count":0,"adjusted":false}'


def test_it_is_every_provider_that_it_says_it_is() -> None:
    """The type checker looks at the same assignments."""
    client = PolygonClient(Kept([]))
    history: DailyBarProvider = client
    market: DailyMarketProvider = client
    minutes: MinuteBarProvider = client
    actions: ActionProvider = client
    reference: ReferenceProvider = client
    assert {provider.name for provider in (history, market, minutes, actions, reference)} == {
        "polygon"
    }


async def test_a_history_is_one_request_for_all_days() -> None:
    """Up to 50,000 of them, as traded; the answer has its provenance."""
    body = _body(_bar(_ms(END)), ticker="BRK.B")
    getter = Kept([body])
    answer = await PolygonClient(getter).daily_history("BRK.B", START, END)
    ((path, parameters, _),) = getter.asked
    assert path == "v2/aggs/ticker/BRK.B/range/1/day/2006-01-03/2026-08-04"
    assert parameters == {"adjusted": "false", "sort": "asc", "limit": "50000"}
    assert answer.request == ("aggs/day symbol=BRK.B from=2006-01-03 to=2026-08-04 adjusted=false")
    assert answer.content_sha256 == sha256(body).hexdigest()
    assert (answer.requests, answer.raw_answers) == (2, ("raw/1",))
    assert answer.rows["session_date"].to_pylist() == [END]


async def test_pages_are_followed_without_host_and_key_and_make_one_answer() -> None:
    """Digest, time, requests and pointers are those of all pages, in order."""
    next_url = "https://api.massive.com/v2/aggs/ticker/A/range/1/day/1/2026-08-04?cursor=abc"
    undated = {**_bar(0), "t": None}
    bodies = [
        _body(_bar(_ms(date(2026, 8, 3))), undated, ticker="A", next_url=next_url),
        _body(_bar(_ms(END)), ticker="A"),
    ]
    getter = Kept(bodies)
    answer = await PolygonClient(getter).daily_history("A", START, END)
    path, parameters, operation = getter.asked[1]
    assert path == "v2/aggs/ticker/A/range/1/day/1/2026-08-04"
    assert parameters == {"cursor": "abc"}
    assert operation.endswith(" page=2")
    assert answer.rows["session_date"].to_pylist() == [date(2026, 8, 3), END]
    assert answer.content_sha256 == sha256(b"".join(bodies)).hexdigest()
    assert answer.fetched_at == AFTER + timedelta(seconds=1), "all of it is at least as new"
    assert (answer.requests, answer.raw_answers) == (4, ("raw/1", "raw/2"))
    (refused,) = answer.left_out
    assert [json.loads(str(row)) for row in refused.received] == [undated]


async def test_pages_in_a_circle_end() -> None:
    """A page that was there before brings nothing new."""
    next_url = "https://api.massive.com/v2/aggs/ticker/A/range/1/day/1/2026-08-04?cursor=abc"
    getter = Kept([_body(next_url=next_url)] * 5)
    with pytest.raises(errors.MalformedPayloadError, match="in a circle") as raised:
        await PolygonClient(getter).daily_history("A", START, END)
    assert len(getter.asked) == 2
    assert raised.value.raw_answers == ("raw/1", "raw/2")


async def test_an_error_over_a_later_page_points_to_the_pages_before() -> None:
    """Replayed by itself that page would be stored as all minutes of the day."""
    next_url = "https://api.massive.com/v2/aggs/ticker/A/range/1/minute/1/2026-08-04?cursor="
    first = _body(_bar(_ms(END, 10)), ticker="A", next_url=f"{next_url}a")
    client = PolygonClient(Kept([first, b"["]))
    with pytest.raises(errors.MalformedPayloadError, match="not JSON") as raised:
        await client.minute_bars("A", END, END)
    assert raised.value.raw_answers == ("raw/1", "raw/2")
    second = _body(_bar(_ms(END, 11)), ticker="A", next_url=f"{next_url}b")
    for last, message in ((b"[", "not JSON"), (second, "not all of this answer was kept")):
        kept = {"raw/1": first, "raw/2": last}
        getter = KeptGetter(
            "polygon", lambda key, kept=kept: Body(kept[key]), raised.value.raw_answers
        )
        with pytest.raises(errors.MalformedPayloadError, match=message):
            await PolygonClient(getter).minute_bars("A", END, END)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (_body(_bar(_ms(END)), ticker="B"), "those of 'B'"),
        (_body(_bar(_ms(END)), ticker="a"), "those of 'a'"),
        (_body(_bar(_ms(END)), adjusted=True), "adjusted for splits, not as traded"),
        (_body(_bar(_ms(date(2026, 8, 5)))), "outside of what was asked"),
        (_body(_bar(_ms(date(2026, 7, 31)))), "outside of what was asked"),
        (_body(_bar(_ms(END)), next_url="https://example.com/v2/a"), "away from the vendor"),
        (b"Service is restarting", "not JSON"),
    ],
)
async def test_an_answer_to_another_question_is_refused_and_pointed_to(
    body: bytes, named: str
) -> None:
    """An ignored parameter gives plausible rows."""
    client = PolygonClient(Kept([body]))
    with pytest.raises(errors.MalformedPayloadError, match=named) as raised:
        await client.daily_history("A", date(2026, 8, 3), END)
    assert raised.value.raw_answers == ("raw/1",)


async def test_minutes_are_new_yorks_days_and_nothing_else() -> None:
    """From midnight to midnight there, which UTC calls another day."""
    good = [_bar(_ms(END, 0, 0)), _bar(_ms(END, 23, 59))]
    answer = await PolygonClient(Kept([_body(*good)])).minute_bars("A", END, END)
    assert answer.rows["opened_at"].to_pylist() == [
        datetime(2026, 8, 4, 4, 0, tzinfo=UTC),
        datetime(2026, 8, 5, 3, 59, tzinfo=UTC),
    ]
    for at in (_ms(END) - 60_000, _ms(date(2026, 8, 5))):
        client = PolygonClient(Kept([_body(_bar(at))]))
        with pytest.raises(errors.MalformedPayloadError, match="outside of what was asked"):
            await client.minute_bars("A", END, END)


async def test_a_minute_that_is_not_over_is_left_out() -> None:
    """Real-time plans send it with the trades so far."""
    rows = [_bar(_ms(END, 9, 30)), _bar(_ms(END, 9, 31))]
    getter = Kept([_body(*rows)], fetched_at=datetime(2026, 8, 4, 13, 31, 30, tzinfo=UTC))
    answer = await PolygonClient(getter).minute_bars("A", END, END)
    assert answer.rows["opened_at"].to_pylist() == [datetime(2026, 8, 4, 13, 30, tzinfo=UTC)]


async def test_a_long_span_of_minutes_is_asked_in_windows_that_one_page_holds() -> None:
    """72 days each; always the same windows, so that kept answers replay."""
    getter = Kept([EMPTY] * 6)
    await PolygonClient(getter).minute_bars("A", date(2025, 8, 5), END)
    spans = [path.rsplit("/", 2)[1:] for path, _, _ in getter.asked]
    assert spans[0] == ["2025-08-05", "2025-10-15"]
    assert spans[-1] == ["2026-07-31", "2026-08-04"]
    assert len(spans) == 6


@given(
    st.dates(min_value=date(2004, 1, 1), max_value=date(2030, 1, 1)),
    st.integers(min_value=0, max_value=4000),
)
def test_windows_hold_every_day_once_and_never_too_many(start: date, days: int) -> None:
    """52 weekdays of 16 hours of trading are fewer than 50,000 minutes."""
    end = start + timedelta(days=days)
    getter = Kept([EMPTY] * 60)
    asyncio.run(PolygonClient(getter).minute_bars("A", start, end))
    windows = [
        (date.fromisoformat(first), date.fromisoformat(last))
        for first, last in (path.rsplit("/", 2)[1:] for path, _, _ in getter.asked)
    ]
    covered = [
        first + timedelta(days=offset)
        for first, last in windows
        for offset in range((last - first).days + 1)
    ]
    assert covered == [start + timedelta(days=offset) for offset in range(days + 1)]
    for first, last in windows:
        dates = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
        assert len(dates) <= MINUTE_WINDOW.days
        assert sum(day.weekday() < 5 for day in dates) * 16 * 60 <= BASE_BARS


@pytest.mark.parametrize("symbol", ["", " ", "A B", "A,B", "A?b=c", "A#b", "A\n", "..", "Ä"])
async def test_what_cannot_be_a_symbol_is_never_sent(symbol: str) -> None:
    """It concerns that symbol alone."""
    getter = Kept([EMPTY])
    client = PolygonClient(getter)
    asks: list[Awaitable[Answer]] = [
        client.daily_history(symbol, START, END),
        client.minute_bars(symbol, END, END),
        client.company(symbol),
        client.splits(symbol),
        client.dividends(symbol),
    ]
    for ask in asks:
        with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
            await ask
    assert getter.asked == []


async def test_a_symbol_stays_one_part_of_the_path() -> None:
    """Pairs have a colon; a slash must not become another endpoint."""
    getter = Kept([EMPTY, EMPTY])
    client = PolygonClient(getter)
    await client.daily_history("X:BTCUSD", START, END)
    await client.daily_history("AGM/A", START, END)
    assert [path.split("/")[3] for path, _, _ in getter.asked] == ["X:BTCUSD", "AGM%2FA"]


async def test_a_reversed_range_is_the_programs_mistake() -> None:
    """Nothing is sent either."""
    client = PolygonClient(Kept([]))
    asks: list[Awaitable[Answer]] = [
        client.daily_history("A", END, START),
        client.minute_bars("A", END, START),
        client.splits_between(END, START),
        client.dividends_between(END, START),
    ]
    for ask in asks:
        with pytest.raises(ValueError, match="reversed"):
            await ask


async def test_actions_of_another_symbol_or_day_are_refused() -> None:
    """Polygon ignores unknown parameters."""
    row = {"ticker": "B", "execution_date": "2026-08-04", "split_from": 1, "split_to": 2}
    with pytest.raises(errors.MalformedPayloadError, match="rows of B came"):
        await PolygonClient(Kept([_body(row)])).splits("A")
    client = PolygonClient(Kept([_body(row)]))
    with pytest.raises(errors.MalformedPayloadError, match="outside of what was asked"):
        await client.splits_between(START, date(2026, 8, 3))


def _prices(table: pa.Table) -> list[tuple[object, ...]]:
    names = ("open", "high", "low", "close")
    return [
        (row["session_date"], *(row[name] for name in names), row["volume"])
        for row in table.sort_by("session_date").to_pylist()
    ]


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B"])
def test_a_whole_history_equals_the_world_as_traded(simulated: Simulated, ticker: str) -> None:
    """Twenty years in one request, both clock changes of every year among them."""
    answer = simulated.do(lambda client: client.daily_history(ticker, START, END))
    bars = Actions(simulated.world).as_traded(ticker, START, END, NOW)
    columns = (bars.dates, bars.opens, bars.highs, bars.lows, bars.closes, bars.volumes)
    assert _prices(answer.rows) == list(zip(*(column.tolist() for column in columns), strict=True))
    assert answer.rows.num_rows > 5000
    assert answer.requests == 1
    assert validate(answer.rows).rejected == ()


def test_a_market_day_equals_the_world_as_traded(simulated: Simulated) -> None:
    """On the session before a split, and among other stocks."""
    session = date(2020, 8, 28)
    answer = simulated.do(lambda client: client.daily_market(session))
    rows = {row["symbol"]: row for row in answer.rows.to_pylist()}
    actions = Actions(simulated.world)
    tickers = [constituent.ticker for constituent in simulated.world.constituents()]
    for ticker in tickers:
        bars = actions.as_traded(ticker, session, session, NOW)
        if len(bars.dates):
            bar = rows.pop(ticker)
            assert (bar["session_date"], bar["close"], bar["volume"]) == (
                session, bars.closes[0], bars.volumes[0],
            )  # fmt: skip
    assert rows, "others than the constituents are in it too"
    assert len(rows) < len(tickers)
    assert answer.requests == 1
    assert simulated.do(lambda client: client.daily_market(date(2026, 8, 2))).rows.num_rows == 0


@pytest.mark.parametrize("span", [(date(2020, 8, 28), date(2020, 8, 31)), (date(2026, 3, 2), END)])
def test_minutes_equal_the_worlds_truth(simulated: Simulated, span: tuple[date, date]) -> None:
    """Around a split and a clock change, and over three windows."""
    answer = simulated.do(lambda client: client.minute_bars("AAPL", *span))
    assert answer.rows.equals(minute_truth(simulated.world, ["AAPL"], *span, NOW))
    assert answer.requests == -(-((span[1] - span[0]).days + 1) // 72)
    assert minute_bars.validate(answer.rows).rejected == ()
    sessions = calendar().sessions(*span)
    assert answer.rows.num_rows > 300 * len(sessions)


def test_splits_equal_the_worlds(simulated: Simulated) -> None:
    """Of one symbol, and of the whole market by day."""
    tickers = [listing.ticker for listing in simulated.world.listings()]
    truth = truths.split_truth(Actions(simulated.world), tickers, NOW)
    answer = simulated.do(lambda client: client.splits_between(START, date(2026, 12, 31)))
    assert answer.rows.sort_by([("symbol", "ascending"), ("ex_date", "ascending")]).equals(truth)
    assert set(answer.rows["kind"].to_pylist()) == {
        "forward_split", "reverse_split", "stock_dividend",
    }  # fmt: skip
    apple = simulated.do(lambda client: client.splits("AAPL"))
    assert apple.rows.equals(truth.filter(pc.equal(truth["symbol"], "AAPL")))
    assert apple.rows["new_shares"].to_pylist() == [Decimal(7), Decimal(4)]
    assert simulated.do(lambda client: client.splits("NOBODY")).rows.num_rows == 0


@pytest.mark.servers
def test_dividends_equal_the_worlds(simulated: Simulated) -> None:
    """More than one page holds, to the last tenth of a cent."""
    tickers = [listing.ticker for listing in simulated.world.listings()]
    first, last = date(2021, 1, 1), END
    truth = truths.dividend_truth(Actions(simulated.world), tickers, NOW)
    inside = pc.and_(
        pc.greater_equal(truth["ex_date"], first), pc.less_equal(truth["ex_date"], last)
    )
    answer = simulated.do(lambda client: client.dividends_between(first, last))
    order = [(name, "ascending") for name in ("symbol", "ex_date", "kind")]
    assert answer.rows.sort_by(order).equals(truth.filter(inside))
    assert answer.requests > 1
    assert answer.rows.num_rows > 5000
    payer = truth["symbol"][0].as_py()
    paid = simulated.do(lambda client: client.dividends(payer))
    assert paid.rows.equals(truth.filter(pc.equal(truth["symbol"], payer)))


@pytest.mark.parametrize("ticker", ["BRK.B", "AAPL", "MMM", "XOM", "A", "ABT", "ADBE"])
def test_a_company_is_the_worlds(simulated: Simulated, ticker: str) -> None:
    """One row; what Polygon does not know is null."""
    answer = simulated.do(lambda client: client.company(ticker))
    assert answer.rows.equals(truths.company_truth(simulated.world, [ticker], NOW))
    assert answer.rows["listed_on"].to_pylist() == [simulated.world.listed_on(ticker)]


def test_an_unknown_symbol_is_an_error_where_polygon_says_so(simulated: Simulated) -> None:
    """The detail endpoint does; bars of it are none, as are those of another letter case."""
    with pytest.raises(errors.UnknownSymbolError, match="Ticker not found"):
        simulated.do(lambda client: client.company("BRK-B"))
    nothing = simulated.do(lambda client: client.daily_history("aapl", START, END))
    assert nothing.rows.num_rows == 0


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "quirk", "quirk": "empty_429"}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "error_in_200"}, errors.RateLimitedError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
    ],
)
def test_a_passing_fault_is_survived_and_a_lasting_one_is_named(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Twice wrong, then right: the third attempt brings the bars."""
    simulated.fault(**rule, symbol="MSFT", count=2)
    answer = simulated.do(lambda client: client.daily_history("MSFT", END, END))
    assert (answer.rows.num_rows, answer.requests) == (1, 3)
    simulated.fault(**rule, symbol="MSFT")
    with pytest.raises(kind):
        simulated.do(lambda client: client.daily_history("MSFT", END, END))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "malformed"}, errors.MalformedPayloadError),
        ({"kind": "html", "status": 200}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "plain_text"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "lost_results"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "numbers_as_text"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "adjusted"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "other_ticker"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "other_host"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "seconds"}, errors.MalformedPayloadError),
        ({"kind": "quirk", "quirk": "forbidden_error"}, errors.NotEntitledError),
        ({"kind": "quirk", "quirk": "not_entitled_in_200"}, errors.NotEntitledError),
        ({"kind": "status", "status": 404}, errors.UnknownSymbolError),
        ({"kind": "status", "status": 400}, errors.RequestRejectedError),
    ],
)
def test_an_answer_that_stays_wrong_is_asked_for_once(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Repeating it would bring the same."""
    simulated.fault(**rule, symbol="MSFT", count=1)
    with pytest.raises(kind):
        simulated.do(lambda client: client.daily_history("MSFT", date(2026, 7, 1), END))
    answer = simulated.do(lambda client: client.daily_history("MSFT", END, END))
    assert answer.rows.num_rows == 1


@pytest.mark.parametrize(
    ("quirk", "rows"),
    [("delayed", 24), ("exponents", 24), ("no_weighted_price", 24), ("reversed", 24),
     ("no_results", 0), ("null_results", 0)],
)  # fmt: skip
def test_an_odd_answer_that_is_right_is_read(simulated: Simulated, quirk: str, rows: int) -> None:
    """Days do not need what it lacks."""
    simulated.fault(kind="quirk", quirk=quirk, symbol="MSFT", count=1)
    answer = simulated.do(lambda client: client.daily_history("MSFT", date(2026, 7, 1), END))
    assert answer.rows.num_rows == rows
    assert validate(answer.rows).rejected == ()


def test_spoilt_rows_are_left_to_validation(simulated: Simulated) -> None:
    """One without a close, one with low above high; a repeated one counts once."""
    simulated.fault(kind="malformed_rows", symbol="MSFT", count=1)
    answer = simulated.do(lambda client: client.daily_history("MSFT", date(2026, 7, 29), END))
    validated = validate(answer.rows)
    assert (validated.accepted.num_rows, len(validated.rejected)) == (3, 2)
    simulated.fault(kind="duplicate_rows", symbol="MSFT", count=1)
    answer = simulated.do(lambda client: client.minute_bars("MSFT", END, END))
    judged = minute_bars.validate(answer.rows)
    assert judged.accepted.num_rows == answer.rows.num_rows - 1
    simulated.fault(kind="malformed_rows", path="/polygon/v2/aggs/grouped", symbol="MSFT", count=1)
    market = validate(simulated.do(lambda client: client.daily_market(END)).rows)
    assert [rejection.symbol for rejection in market.rejected] == ["MSFT"]


def test_keys_and_plans_are_told_apart(simulated: Simulated) -> None:
    """A wrong key stops everything; a plan's limits concern one request."""
    with pytest.raises(errors.KeyRefusedError, match="Unknown API Key"):
        simulated.do(lambda client: client.daily_history("AAPL", END, END), key="d" * 32)
    with pytest.raises(errors.NotEntitledError, match=r"403.*the plan"):
        simulated.do(lambda client: client.daily_history("XOM", START, END), key=POOR_KEY)
    answer = simulated.do(lambda client: client.daily_history("XOM", END, END), key=LATE_KEY)
    assert answer.rows.num_rows == 1


def test_by_hand_it_shows_bars_or_says_what_is_missing(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Key and address come from the environment; the key is shown nowhere."""
    monkeypatch.setenv("POLYGON_BASE_URL", f"{simulated.origin}/polygon")
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    polygon = ["--provider", "polygon"]
    asked = ["daily_bars", "AAPL", *polygon, "--from", "2026-07-29", "--to", "2026-08-04"]
    assert main(asked) == 1
    assert "POLYGON_API_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("POLYGON_API_KEY", KEY)
    assert main(asked) == 0
    shown = capsys.readouterr()
    assert "5 rows in 1 requests" in shown.out
    assert KEY not in shown.out + shown.err
    assert main(["minute_bars", *asked[1:]]) == 0
    assert "vwap" in capsys.readouterr().out
