"""The Tiingo client over real HTTP: against the simulator, and against answers written down."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine.processes import NO_AUTHORITIES
from marketdata.bars import WIRE_BARS, validate
from marketdata.calendars import calendar
from marketdata.instruments import provider_spellings
from marketdata.minute_bars import WIRE_MINUTE_BARS
from marketdata.ports import DailyBarProvider, DailyMarketProvider, MinuteBarProvider
from marketdata.recovery import errors
from resources.ask import main
from resources.providers.http import HeaderKey, HttpAnswer, HttpGetter
from resources.providers.kept_answers import KeptGetter
from resources.providers.tiingo import TiingoClient, wire
from resources.providers.tiingo import client as tiingo_client
from resources.providers.tiingo.client import ROW_CAP, SESSIONS_A_REQUEST, windows
from sandbox.simulators import serving
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.tiingo import Plan, PlanLimits, TiingoSimulator, iex_minute_truth
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World
from tests.providers import scripted_server
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.providers.recordings import recorded
from tests.providers.scripted_server import Reply, Script, always, as_json, one_by_one

T = TypeVar("T")
KEY, POOR_KEY = "a" * 40, "b" * 40
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
START, END = date(2006, 1, 1), date(2026, 8, 4)
PLENTY = PlanLimits(per_hour=100_000, per_day=100_000)


class Keeper:
    """Keeps nothing and points to everything."""

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        del provider, body, sha256, media_type
        return f"kept {operation}"


def ask(origin: str, work: Callable[[TiingoClient], Awaitable[T]], key: str = KEY) -> T:
    """Do ``work`` with a client of what is served at ``origin``."""

    def classify(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
        return wire.classify_error(answer, operation, key=key)

    async def main() -> T:
        async with HttpGetter(
            provider="tiingo",
            base_url=origin,
            key=HeaderKey(scheme=tiingo_client.KEY_SCHEME, value=key),
            budget=CountedBudget(),
            retry=AT_ONCE,
            classify=classify,
            in_flight=tiingo_client.IN_FLIGHT,
            keep=Keeper(),
        ) as getter:
            return await work(TiingoClient(getter))

    return asyncio.run(main())


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and its world to compare with."""

    origin: str
    world: World

    def do(self, work: Callable[[TiingoClient], Awaitable[T]], key: str = KEY) -> T:
        return ask(f"{self.origin}/tiingo", work, key)

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()

    def asked(self) -> list[dict[str, object]]:
        return httpx.get(f"{self.origin}/_sandbox/requests", verify=NO_AUTHORITIES).json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A simulator on a free port, its clock standing still."""
    root: Path = tmp_path_factory.mktemp("tiingo")
    world = World(root)
    simulator = TiingoSimulator(
        world,
        keys={KEY: Plan.POWER, POOR_KEY: Plan.FREE},
        now=lambda: NOW,
        limits={
            Plan.POWER: PLENTY,
            Plan.FREE: PlanLimits(per_hour=100, per_day=100, symbols_per_month=2),
        },
    )
    journal = Journal(root / "requests.jsonl")
    front = Front([simulator], world=world, journal=journal, now=lambda: NOW)
    with serving.serve(front) as origin:
        yield Simulated(origin=origin, world=world)


@pytest.fixture
def simulated(served: Simulated) -> Simulated:
    """The simulator without the faults of earlier tests."""
    httpx.delete(f"{served.origin}/_sandbox/faults").raise_for_status()
    return served


def test_the_client_fulfils_its_protocols(simulated: Simulated) -> None:
    """Structurally: the checker proves the signatures, this the values."""

    async def protocols(client: TiingoClient) -> None:
        history: DailyBarProvider = client
        market: DailyMarketProvider = client
        minutes: MinuteBarProvider = client
        assert {history.name, market.name, minutes.name} == {"tiingo"}

    simulated.do(protocols)


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B"])
def test_a_whole_history_is_what_was_paid(simulated: Simulated, ticker: str) -> None:
    """Twenty years come in one answer, splits and dividends left in the prices."""
    symbol = provider_spellings("tiingo").get(ticker, ticker)
    answer = simulated.do(lambda client: client.daily_history(symbol, START, END))
    paid = Actions(simulated.world).as_traded(ticker, START, END, NOW)
    assert answer.rows.schema == WIRE_BARS
    assert answer.rows["session_date"].to_pylist() == paid.dates.tolist()
    assert answer.rows["open"].to_pylist() == paid.opens.tolist()
    assert answer.rows["high"].to_pylist() == paid.highs.tolist()
    assert answer.rows["low"].to_pylist() == paid.lows.tolist()
    assert answer.rows["close"].to_pylist() == paid.closes.tolist()
    assert answer.rows["volume"].to_pylist() == paid.volumes.tolist()
    assert set(answer.rows["symbol"].to_pylist()) == {symbol}
    assert answer.rows.num_rows > 5000
    assert answer.requests == 1
    assert validate(answer.rows).rejected == ()


def test_a_market_day_is_what_was_paid_for_every_constituent(
    simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    """In one request; rows of other days or shares are reported and left out."""
    caplog.set_level(logging.INFO, "wrdata")
    answer = simulated.do(lambda client: client.daily_market(END))
    rows = {row["symbol"]: row for row in answer.rows.to_pylist()}
    actions = Actions(simulated.world)
    for constituent in simulated.world.constituents():
        bar = rows.pop(provider_spellings("tiingo").get(constituent.ticker, constituent.ticker))
        paid = actions.as_traded(constituent.ticker, END, END, NOW)
        assert (bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"]) == (
            paid.opens[0],
            paid.highs[0],
            paid.lows[0],
            paid.closes[0],
            paid.volumes[0],
        )
        assert bar["session_date"] == END
    assert rows == {}
    assert answer.requests == 1
    assert "503 rows of 2026-08-04; 120 of other days left out" in caplog.text


def test_a_session_gone_by_is_to_be_asked_for_by_ticker(simulated: Simulated) -> None:
    """Repeating it cannot help; the answer that showed it is pointed to."""
    with pytest.raises(errors.RequestRejectedError, match="ask for 2026-08-03 by ticker") as raised:
        simulated.do(lambda client: client.daily_market(date(2026, 8, 3)))
    assert raised.value.raw_answers == ("kept tiingo/daily/prices session=2026-08-03",)


def test_a_session_not_served_yet_may_be_asked_for_again(simulated: Simulated) -> None:
    """Tiingo writes a day from half past five on."""
    simulated.fault(kind="quirk", quirk="day_before", path="/tiingo/tiingo/daily/prices")
    with pytest.raises(errors.ProviderUnavailableError, match="still 2026-08-03"):
        simulated.do(lambda client: client.daily_market(END))


@pytest.mark.parametrize(
    ("start", "end", "requests"),
    [
        (date(2026, 8, 4), date(2026, 8, 4), 1),
        (date(2026, 7, 1), date(2026, 8, 5), 9),
        # The clocks change on Sunday between, the day after Thanksgiving is a half day.
        (date(2026, 3, 5), date(2026, 3, 10), 2),
        (date(2025, 11, 26), date(2025, 12, 1), 1),
        (date(2026, 8, 1), date(2026, 8, 2), 1),
    ],
)
def test_minutes_equal_the_worlds_truth(
    simulated: Simulated, start: date, end: date, requests: int
) -> None:
    """Before, in and after the sessions; never one that is not over."""
    answer = simulated.do(lambda client: client.minute_bars("BRK-B", start, end))
    truth = iex_minute_truth(simulated.world, ["BRK.B"], start, end, NOW)
    assert answer.rows.schema == WIRE_MINUTE_BARS
    ours = truth.set_column(0, truth.schema.field(0), answer.rows["symbol"])
    assert answer.rows.equals(ours)
    assert set(answer.rows["symbol"].to_pylist()) <= {"BRK-B"}
    assert answer.requests == requests
    assert len(answer.raw_answers) == requests


def test_minutes_are_asked_for_in_windows_that_stay_below_the_cap(simulated: Simulated) -> None:
    """With volume by name, with the hours around the session, and without filled gaps."""
    before = len(simulated.asked())
    simulated.do(lambda client: client.minute_bars("AAPL", date(2026, 7, 20), date(2026, 7, 26)))
    queries = [request["query"] for request in simulated.asked()[before:]]
    assert queries == [
        {
            "startDate": first,
            "endDate": last,
            "resampleFreq": "1min",
            "afterHours": "true",
            "columns": "date,open,high,low,close,volume",
        }
        for first, last in [("2026-07-20", "2026-07-22"), ("2026-07-23", "2026-07-26")]
    ]


@given(st.dates(date(2006, 1, 1), date(2027, 6, 30)), st.integers(0, 400))
def test_windows_cover_every_day_once_and_few_sessions_each(start: date, days: int) -> None:
    """Days without a session are asked for too."""
    end = start + timedelta(days=days)
    cut = windows(start, end)
    covered = [
        first + timedelta(days=offset)
        for first, last in cut
        for offset in range((last - first).days + 1)
    ]
    assert covered == [start + timedelta(days=offset) for offset in range(days + 1)]
    counts = [len(calendar().sessions(first, last)) for first, last in cut]
    assert max(counts) <= SESSIONS_A_REQUEST
    assert all(count == SESSIONS_A_REQUEST for count in counts[:-1]), "as wide as allowed"


@pytest.mark.parametrize(
    ("symbol", "words"),
    [("NOBODY", "Ticker 'NOBODY' not found"), ("BRK.B", "Ticker 'BRK.B' not found")],
)
def test_an_unknown_ticker_is_named(simulated: Simulated, symbol: str, words: str) -> None:
    """Our own spelling of a share class is such a ticker to Tiingo."""
    with pytest.raises(errors.UnknownSymbolError, match=words):
        simulated.do(lambda client: client.daily_history(symbol, START, END))
    with pytest.raises(errors.UnknownSymbolError, match=r"Not found\."):
        simulated.do(lambda client: client.minute_bars(symbol, END, END))


def test_a_ticker_may_be_written_small(simulated: Simulated) -> None:
    """Rows carry the spelling that was asked for."""
    answer = simulated.do(lambda client: client.daily_history("brk-b", END, END))
    assert answer.rows["symbol"].to_pylist() == ["brk-b"]


@pytest.mark.parametrize("symbol", ["", " ", "A,B", "../x", "A/B", "A?x=1", "A" * 26, "-A", "Ä"])
def test_what_is_no_single_ticker_is_never_sent(simulated: Simulated, symbol: str) -> None:
    """It stands in the path, where it could ask for something else."""
    before = len(simulated.asked())
    for work in ("daily_history", "minute_bars"):
        with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
            simulated.do(lambda client, work=work: getattr(client, work)(symbol, END, END))
    assert len(simulated.asked()) == before


def test_a_reversed_range_is_the_programs_mistake(simulated: Simulated) -> None:
    """It is never sent either."""
    for work in ("daily_history", "minute_bars"):
        with pytest.raises(ValueError, match="reversed"):
            simulated.do(lambda client, work=work: getattr(client, work)("A", END, START))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
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
        simulated.do(lambda client: client.minute_bars("MSFT", END, END))


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        ({"kind": "malformed"}, errors.MalformedPayloadError, "not JSON"),
        ({"kind": "html", "status": 200}, errors.MalformedPayloadError, "not JSON"),
        ({"kind": "unknown"}, errors.UnknownSymbolError, "Not found"),
        ({"kind": "quirk", "quirk": "symbol_cap"}, errors.BudgetSpentError, r"-\d\d-01 00:00 E"),
        ({"kind": "quirk", "quirk": "symbol_cap_json"}, errors.BudgetSpentError, "500 symbol"),
        ({"kind": "quirk", "quirk": "daily_limit"}, errors.BudgetSpentError, "daily"),
        ({"kind": "quirk", "quirk": "bandwidth"}, errors.BudgetSpentError, "bandwidth"),
        ({"kind": "quirk", "quirk": "bad_key"}, errors.KeyRefusedError, "403: None"),
        ({"kind": "quirk", "quirk": "outside_plan"}, errors.NotEntitledError, "its plan"),
        ({"kind": "quirk", "quirk": "moved"}, errors.RequestRejectedError, "HTTP 301"),
    ],
)
def test_what_repeating_cannot_mend_is_asked_once(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError], words: str
) -> None:
    """Redirects are not followed: the key would go along."""
    simulated.fault(**rule, symbol="MSFT", count=1)
    before = len(simulated.asked())
    with pytest.raises(kind, match=words):
        simulated.do(lambda client: client.minute_bars("MSFT", END, END))
    assert len(simulated.asked()) == before + 1


def test_answers_that_cannot_be_used_point_to_where_they_are_kept(simulated: Simulated) -> None:
    """Volume that was not sent is one of them."""
    simulated.fault(kind="quirk", quirk="no_volume", symbol="MSFT")
    with pytest.raises(errors.MalformedPayloadError, match="field volume") as raised:
        simulated.do(lambda client: client.minute_bars("MSFT", END, END))
    assert raised.value.raw_answers == (
        "kept iex/MSFT/prices startDate=2026-08-04 endDate=2026-08-04 resampleFreq=1min",
    )


def test_spoilt_rows_are_left_to_validation(simulated: Simulated) -> None:
    """One without a close, one with low above high: two of five are refused there."""
    simulated.fault(kind="malformed_rows", symbol="MSFT", count=1)
    week = date(2026, 7, 29)
    answer = simulated.do(lambda client: client.daily_history("MSFT", week, END))
    validated = validate(answer.rows)
    assert (validated.accepted.num_rows, len(validated.rejected)) == (3, 2)
    simulated.fault(kind="duplicate_rows", symbol="MSFT", count=1)
    answer = simulated.do(lambda client: client.daily_history("MSFT", week, END))
    assert (answer.rows.num_rows, validate(answer.rows).accepted.num_rows) == (6, 5)


def test_the_order_of_rows_does_not_matter(simulated: Simulated) -> None:
    """Nothing promises it."""
    plain = simulated.do(lambda client: client.minute_bars("MSFT", END, END))
    simulated.fault(kind="quirk", quirk="newest_first", symbol="MSFT")
    turned = simulated.do(lambda client: client.minute_bars("MSFT", END, END))
    assert turned.rows != plain.rows
    assert turned.rows.sort_by("opened_at") == plain.rows


def test_a_months_cap_of_symbols_lets_known_ones_through(simulated: Simulated) -> None:
    """Two are allowed: the third is put off to the next month in one request."""
    for symbol in ("AAPL", "MSFT", "AAPL"):
        simulated.do(lambda client, symbol=symbol: client.daily_history(symbol, END, END), POOR_KEY)
    before = len(simulated.asked())
    with pytest.raises(errors.BudgetSpentError, match="over your 2 symbol look up"):
        simulated.do(lambda client: client.daily_history("XOM", END, END), POOR_KEY)
    assert len(simulated.asked()) == before + 1
    again = simulated.do(lambda client: client.minute_bars("AAPL", END, END), POOR_KEY)
    assert again.rows.num_rows


def test_a_wrong_key_ends_everything_and_is_never_shown(
    simulated: Simulated, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error nor in a log, and never in an address."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(errors.KeyRefusedError, match="check the key") as raised:
        simulated.do(lambda client: client.daily_history("AAPL", END, END), key="sesame" * 6)
    assert "sesame" not in str(raised.value) + caplog.text
    assert "sesame" not in json.dumps(simulated.asked())


def _scripted(script: Script, work: Callable[[TiingoClient], Awaitable[T]]) -> T:
    """Do ``work`` against answers that are written down."""

    async def main() -> T:
        async with scripted_server.serve(script) as server:
            return await asyncio.to_thread(ask, server.url, work)

    return asyncio.run(main())


def test_a_recorded_answer_becomes_bars_with_their_origin() -> None:
    """Digest, time and count are those of the request that was made."""
    body = recorded("tiingo_daily_prices_aapl_2023_01.json")
    answer = _scripted(
        always(Reply(body=body)),
        lambda client: client.daily_history("AAPL", date(2023, 1, 1), date(2023, 1, 10)),
    )
    assert answer.rows["close"].to_pylist() == [125.07, 126.36, 125.02, 129.62, 130.15, 130.73]
    assert answer.request == "tiingo/daily/AAPL/prices startDate=2023-01-01 endDate=2023-01-10"
    assert answer.content_sha256 == sha256(body).hexdigest()
    assert datetime.now(UTC) - answer.fetched_at < timedelta(minutes=1)
    assert (answer.requests, answer.left_out) == (1, ())
    assert answer.raw_answers == (f"kept {answer.request}",)


def test_an_error_over_a_later_window_points_to_the_windows_before() -> None:
    """Replayed by itself it would be read as the first window, and the days before be lost."""
    span = (date(2026, 7, 20), date(2026, 8, 4))
    assert len(windows(*span)) == 4
    first = _minutes(datetime(2026, 7, 20, 14, tzinfo=UTC), 2)
    with pytest.raises(errors.MalformedPayloadError, match="not JSON") as raised:
        _scripted(
            one_by_one(first, Reply(body=b"[")), lambda client: client.minute_bars("A", *span)
        )
    pointers = raised.value.raw_answers
    assert [pointer.split(" endDate")[0] for pointer in pointers] == [
        "kept iex/A/prices startDate=2026-07-20",
        "kept iex/A/prices startDate=2026-07-23",
    ]
    for last, message in ((b"[", "not JSON"), (b"[]", "not all of this answer was kept")):
        kept = dict(zip(pointers, (Body(first.body, NOW), Body(last, NOW)), strict=True))
        client = TiingoClient(KeptGetter("tiingo", kept.__getitem__, pointers))
        with pytest.raises(errors.MalformedPayloadError, match=message):
            asyncio.run(client.minute_bars("A", *span))


def test_days_nobody_asked_for_are_refused() -> None:
    """Rows carry no ticker: their days are the one sign that the answer is the request's."""
    body = recorded("tiingo_daily_prices_aapl_2023_01.json")
    with pytest.raises(errors.MalformedPayloadError, match="day 2023-01-03"):
        _scripted(
            always(Reply(body=body)),
            lambda client: client.daily_history("AAPL", date(2023, 1, 4), date(2023, 1, 10)),
        )


def _minutes(first: datetime, count: int) -> Reply:
    prices = {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 1.0}
    times = (first + timedelta(minutes=offset) for offset in range(count))
    return as_json([{"date": f"{at:%Y-%m-%dT%H:%M:%S}.000Z", **prices} for at in times])


@pytest.mark.parametrize("hour", [3, 23])
def test_minutes_of_another_new_york_day_are_refused(hour: int) -> None:
    """Three in the morning UTC is the evening before there."""
    reply = _minutes(datetime(2026, 8, 4 if hour == 3 else 5, hour, tzinfo=UTC), 2)
    with pytest.raises(errors.MalformedPayloadError, match=r"day 2026-08-0[35]"):
        _scripted(always(reply), lambda client: client.minute_bars("A", END, END))


def test_an_answer_that_may_have_been_capped_is_refused() -> None:
    """The oldest rows would be missing silently; one row less is fine."""
    first = datetime(2026, 7, 20, 4, tzinfo=UTC)
    span = (date(2026, 7, 20), date(2026, 7, 22))
    fits = _minutes(first, ROW_CAP - 1)
    answer = _scripted(always(fits), lambda client: client.minute_bars("A", *span))
    assert answer.rows.num_rows == ROW_CAP - 1
    with pytest.raises(errors.MalformedPayloadError, match="2000 rows came"):
        _scripted(always(_minutes(first, ROW_CAP)), lambda client: client.minute_bars("A", *span))


def test_the_minute_under_way_is_not_in_the_answer() -> None:
    """It would be stored as if it were over."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    first = now - timedelta(minutes=3)
    days = (first - timedelta(days=1)).date(), (now + timedelta(days=1)).date()
    answer = _scripted(always(_minutes(first, 6)), lambda client: client.minute_bars("A", *days))
    opened = answer.rows["opened_at"].to_pylist()
    assert opened[:3] == [first + timedelta(minutes=offset) for offset in range(3)]
    assert all(at + timedelta(minutes=1) <= answer.fetched_at for at in opened)


@dataclass(frozen=True)
class Body:
    """A kept answer."""

    body: bytes
    fetched_at: datetime


def test_what_was_kept_is_read_again_without_a_request() -> None:
    """Window by window; what was not over then is not over now."""
    first = datetime(2026, 7, 20, 14, tzinfo=UTC)
    kept = {
        "one": Body(_minutes(first, 3).body, first + timedelta(minutes=2)),
        "two": Body(_minutes(first + timedelta(days=3), 3).body, first + timedelta(days=9)),
    }
    getter = KeptGetter("tiingo", kept.__getitem__, list(kept))
    client = TiingoClient(getter)
    answer = asyncio.run(client.minute_bars("A", date(2026, 7, 20), date(2026, 7, 24)))
    getter.require_all_read(answer.request)
    assert answer.rows.num_rows == 5
    assert (answer.requests, answer.raw_answers) == (0, ("one", "two"))
    assert answer.fetched_at == kept["one"].fetched_at, "all of it is at least as new"


def test_rows_that_cannot_be_placed_are_handed_on_as_text() -> None:
    """From every window; the digest is of all bodies in their order."""
    good = _minutes(datetime(2026, 7, 20, 14, tzinfo=UTC), 1)
    later = _minutes(datetime(2026, 7, 23, 14, tzinfo=UTC), 1)
    bodies = [
        json.dumps([*json.loads(reply.body), {"date": place}]).encode()
        for place, reply in enumerate((good, later))
    ]
    answer = _scripted(
        one_by_one(*(Reply(body=body) for body in bodies)),
        lambda client: client.minute_bars("A", date(2026, 7, 20), date(2026, 7, 24)),
    )
    assert answer.rows.num_rows == 2
    assert [row.received for row in answer.left_out] == [('{"date": 0}',), ('{"date": 1}',)]
    assert answer.content_sha256 == sha256(b"".join(bodies)).hexdigest()


def test_by_hand_it_shows_bars_and_its_errors(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days, minutes, and a sentence where there is no key or no such ticker."""
    monkeypatch.setenv("TIINGO_BASE_URL", f"{simulated.origin}/tiingo")
    monkeypatch.delenv("TIINGO_API_KEY", raising=False)
    tiingo = ["--provider", "tiingo"]
    assert main(["daily_bars", "AAPL", *tiingo]) == 1
    assert "TIINGO_API_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("TIINGO_API_KEY", KEY)
    span = [*tiingo, "--from", "2026-08-03", "--to", "2026-08-04"]
    assert main(["daily_bars", "AAPL", *span]) == 0
    assert "2 rows in 1 requests" in capsys.readouterr().out
    assert main(["minute_bars", "AAPL", *span]) == 0
    assert "opened_at" in capsys.readouterr().out
    assert main(["daily_bars", "NOBODY", *span]) == 1
    assert "not found" in capsys.readouterr().err
