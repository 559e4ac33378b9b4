"""FMP's splits and dividends: what can be read, what is refused, and which requests are made."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import httpx
import pyarrow as pa
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata.actions import (
    WIRE_DIVIDENDS,
    WIRE_SPLITS,
    validate_dividends,
    validate_splits,
)
from marketdata.bars import WIRE_BARS
from marketdata.instruments import provider_spellings
from marketdata.recovery import errors
from resources.ask import main
from resources.providers.fmp import FmpActions, actions_wire, wire
from resources.providers.fmp.actions import CALENDAR_ROWS, MOST_ACTIONS
from resources.providers.http import HttpAnswer, HttpGetter, QueryKey
from resources.providers.kept_answers import KeptGetter
from sandbox.simulators import serving
from sandbox.simulators.fmp import FmpLimits, Plan, create_front
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.providers.recordings import recorded
from tests.providers.scripted_server import Reply, Request, serve

T = TypeVar("T")
KEY = "a" * 32
NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
ASKED = "the operation"
SPLIT = {
    "symbol": "AAA",
    "date": "2026-08-03",
    "numerator": 4,
    "denominator": 1,
    "splitType": "stock-split",
}
DIVIDEND = {
    "symbol": "AAA",
    "date": "2026-08-03",
    "recordDate": "2026-08-04",
    "paymentDate": "",
    "declarationDate": "",
    "adjDividend": 0.25,
    "dividend": 1.0,
    "yield": 0.98,
    "frequency": "Quarterly",
}


def body(*rows: object) -> bytes:
    """Return rows as JSON."""
    return json.dumps(rows).encode()


def test_the_recorded_dividend_is_read_as_it_stands() -> None:
    """Apple's dividend of August 2025: 26 cents exactly, all four dates."""
    page = actions_wire.dividend_page(recorded("fmp_dividends_aapl.json"), operation=ASKED)
    assert page.table.schema.equals(WIRE_DIVIDENDS)
    assert page.table.to_pylist() == [
        {
            "symbol": "AAPL",
            "ex_date": date(2025, 8, 11),
            "kind": "regular",
            "amount": Decimal("0.26"),
            "currency": None,
            "declaration_date": date(2025, 7, 31),
            "record_date": date(2025, 8, 11),
            "payment_date": date(2025, 8, 14),
            "frequency": "Quarterly",
        }
    ]
    assert (page.rows, page.left_out) == (1, ())


def test_a_split_is_so_many_new_shares_for_old_ones() -> None:
    """The numerator counts the new ones."""
    page = actions_wire.split_page(body(SPLIT), operation=ASKED)
    assert page.table.schema.equals(WIRE_SPLITS)
    assert page.table.to_pylist() == [
        {
            "symbol": "AAA",
            "ex_date": date(2026, 8, 3),
            "new_shares": Decimal(4),
            "old_shares": Decimal(1),
            "kind": "stock-split",
        }
    ]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("spin-off", "spin-off"),
        ("None", None),
        (None, None),
        ("", None),
        (7, None),
        ("spin\x00off", None),
    ],
)
def test_a_split_type_that_says_nothing_is_null(sent: object, kind: str | None) -> None:
    """FMP sends the text None, null, or no field."""
    page = actions_wire.split_page(body({**SPLIT, "splitType": sent}), operation=ASKED)
    assert page.table["kind"].to_pylist() == [kind]
    without = {name: value for name, value in SPLIT.items() if name != "splitType"}
    assert actions_wire.split_page(body(without), operation=ASKED).table["kind"][0].as_py() is (
        None
    )


@pytest.mark.parametrize(
    ("frequency", "kind"),
    [("Special", "special"), ("Irregular", "regular"), ("Weekly", "regular"), (None, "regular")],
)
def test_a_dividend_is_special_if_its_frequency_says_so(frequency: str | None, kind: str) -> None:
    """What is irregular may still be the usual dividend."""
    page = actions_wire.dividend_page(body({**DIVIDEND, "frequency": frequency}), operation=ASKED)
    assert page.table["kind"].to_pylist() == [kind]
    assert page.table["payment_date"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("sent", "amount"),
    [
        ("0.1", Decimal("0.1")),
        ("1e-05", Decimal("0.00001")),
        ("1.25E2", Decimal(125)),
        ("12", Decimal(12)),
        ("0.0000000000000000025", Decimal("0.000000000000000002")),
        ("0.0000000000000000035", Decimal("0.000000000000000004")),
        ("0.30000000000000004", Decimal("0.30000000000000004")),
        ("null", None),
        ('"0.25"', None),
        ("true", None),
        ("NaN", None),
        ("Infinity", None),
        ("[]", None),
    ],
)
def test_amounts_are_read_exactly_or_not_at_all(sent: str, amount: Decimal | None) -> None:
    """To 18 digits behind the point, half to even; a text is no number, and validation rejects."""
    text = json.dumps([DIVIDEND]).replace('"dividend": 1.0', f'"dividend": {sent}')
    page = actions_wire.dividend_page(text.encode(), operation=ASKED)
    assert page.table["amount"].to_pylist() == [amount]
    assert len(validate_dividends(page.table).rejected) == (amount is None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"date": ""},
        {"date": None},
        {"date": "20260803"},
        {"date": "2026-W32-1"},
        {"date": "2026-02-30"},
        {"date": 1785729600},
        {"symbol": None},
        {"symbol": ""},
        {"symbol": 5},
        {"symbol": "AA\x00A"},
        {"symbol": "\ud800"},
    ],
)
def test_a_row_that_cannot_be_placed_is_left_out_and_told(wrong: dict[str, object]) -> None:
    """Without a symbol or an ex-date it belongs nowhere."""
    page = actions_wire.dividend_page(body(DIVIDEND, {**DIVIDEND, **wrong}), operation=ASKED)
    assert (page.table.num_rows, page.rows) == (1, 2)
    [left_out] = page.left_out
    assert json.loads(str(left_out.received[0])).keys() == DIVIDEND.keys()
    with pytest.raises(errors.MalformedPayloadError, match="no row has a symbol and a date"):
        actions_wire.dividend_page(body({**DIVIDEND, **wrong}), operation=ASKED)


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        ({"recordDate": "soon"}, "record_date"),
        ({"paymentDate": "2026-13-01"}, "payment_date"),
        ({"declarationDate": 5}, "declaration_date"),
        ({"frequency": "Month\x00ly"}, "frequency"),
        ({"frequency": "Month\nly"}, "frequency"),
    ],
)
def test_what_only_adorns_a_dividend_does_not_cost_it(
    wrong: dict[str, object], column: str
) -> None:
    """It is null; the amount on its ex-date stands."""
    page = actions_wire.dividend_page(body({**DIVIDEND, **wrong}), operation=ASKED)
    [row] = page.table.to_pylist()
    assert (row[column], row["amount"], page.left_out) == (None, Decimal(1), ())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "not JSON"),
        (b'[{"symbol": "AAA", "da', "not JSON"),
        (b"<html>502</html>", "not JSON"),
        (b"Query Error: Invalid or missing query parameter - symbol", "not JSON"),
        (b'{"results": []}', "a list was promised, a dict came"),
        (b"null", "a list was promised, a NoneType came"),
        (b"[[1]]", "something else than objects"),
        (b"[" * 100_000, "not JSON"),
        (
            body(SPLIT, SPLIT).replace(b'"numerator"', b'"toFactor"'),
            "no row has a usable number in field new_shares",
        ),
    ],
)
def test_an_answer_of_another_shape_is_refused(bad: bytes, message: str) -> None:
    """None of it is stored, and the reason says what came."""
    with pytest.raises(errors.MalformedPayloadError, match=message.replace("+", r"\+")):
        actions_wire.split_page(bad, operation=ASKED)


def test_one_bad_figure_costs_one_row() -> None:
    """And rows in any order, or twice, cost nothing."""
    rows = [SPLIT, {**SPLIT, "date": "2020-01-06", "numerator": "4"}, SPLIT]
    page = actions_wire.split_page(body(*rows), operation=ASKED)
    judged = validate_splits(page.table)
    assert judged.accepted["ex_date"].to_pylist() == [date(2026, 8, 3)]
    assert [rejection.reason for rejection in judged.rejected] == [
        "new_shares is missing or no number"
    ]


def unopened(url: str, kept: list[str] | None = None) -> HttpGetter:
    """Return a getter that is yet to be opened, and keeps answers in ``kept``."""

    class Keeper:
        def keep(
            self, provider: str, operation: str, body: bytes, sha256: str, media_type: str
        ) -> str:
            del provider, body, sha256, media_type
            assert kept is not None
            kept.append(operation)
            return f"raw/{len(kept)}"

    def classify(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
        return wire.classify_error(answer, operation, key=KEY)

    return HttpGetter(
        provider="fmp",
        base_url=url,
        key=QueryKey(name="apikey", value=KEY),
        budget=CountedBudget(),
        retry=AT_ONCE,
        classify=classify,
        in_flight=2,
        keep=None if kept is None else Keeper(),
    )


async def asked_of(
    script: Callable[[Request], Reply],
    work: Callable[[FmpActions], Awaitable[T]],
    kept: list[str] | None = None,
) -> T:
    """Let a client work against a scripted server."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(script))
        getter = await stack.enter_async_context(unopened(server.url, kept))
        return await work(FmpActions(getter))


async def test_rows_of_another_symbol_are_refused_with_a_pointer_to_the_answer() -> None:
    """FMP ignores unknown parameters: a typo would store them as this symbol's."""
    with pytest.raises(errors.MalformedPayloadError, match="such as of AAA") as caught:
        await asked_of(
            lambda _: Reply(body=body(SPLIT)), lambda client: client.splits("BBB"), kept=[]
        )
    assert caught.value.raw_answers == ("raw/1",)


async def test_an_answer_that_cannot_be_read_points_to_where_it_is_kept() -> None:
    """So that a mended parser can be tried on it."""
    with pytest.raises(errors.MalformedPayloadError, match="not JSON") as caught:
        await asked_of(lambda _: Reply(body=b"["), lambda client: client.dividends("AAA"), kept=[])
    assert caught.value.raw_answers == ("raw/1",)


async def test_days_nobody_asked_for_are_refused() -> None:
    """An ignored range would look like a full one."""
    start = date(2026, 8, 4)
    with pytest.raises(errors.MalformedPayloadError, match="such as of 2026-08-03"):
        await asked_of(
            lambda _: Reply(body=body(DIVIDEND)),
            lambda client: client.dividends_between(start, start),
        )


async def test_a_full_answer_is_not_believed() -> None:
    """Rows may be missing behind it: a day of the calendar, and a symbol's actions."""
    day = date(2026, 8, 3)
    full = Reply(body=body(*[DIVIDEND] * CALENDAR_ROWS))
    with pytest.raises(errors.MalformedPayloadError, match="some may be missing"):
        await asked_of(lambda _: full, lambda client: client.dividends_between(day, day))
    with pytest.raises(errors.MalformedPayloadError, match="some may be missing"):
        await asked_of(
            lambda _: Reply(body=body(*[DIVIDEND] * MOST_ACTIONS)),
            lambda client: client.dividends("AAA"),
        )


@pytest.mark.parametrize("symbol", ["", " ", "AAA,BBB"])
async def test_an_odd_symbol_is_not_sent(symbol: str) -> None:
    """FMP would say nothing, as if the share had no actions."""
    asked: list[Request] = []

    def script(request: Request) -> Reply:
        asked.append(request)
        return Reply()

    for ask in (FmpActions.splits, FmpActions.dividends):
        with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
            await asked_of(script, lambda client, ask=ask: ask(client, symbol))
    assert asked == []


async def test_a_reversed_range_is_the_programs_mistake() -> None:
    """It is reported at once."""
    later, earlier = date(2026, 8, 4), date(2026, 8, 3)
    for ask in (FmpActions.splits_between, FmpActions.dividends_between):
        with pytest.raises(ValueError, match="reversed"):
            await asked_of(lambda _: Reply(), lambda client, ask=ask: ask(client, later, earlier))


async def test_a_calendar_hands_over_what_it_left_out() -> None:
    """Of every day: a dead letter waits for each of them."""
    first, last = date(2026, 8, 3), date(2026, 8, 4)
    unplaced = {**DIVIDEND, "symbol": None}

    def script(request: Request) -> Reply:
        return Reply(body=body({**DIVIDEND, "date": request.query["from"]}, unplaced))

    answer = await asked_of(script, lambda client: client.dividends_between(first, last))
    assert answer.rows["ex_date"].to_pylist() == [first, last]
    assert [json.loads(str(rejection.received[0]))["symbol"] for rejection in answer.left_out] == [
        None,
        None,
    ]


async def test_an_error_over_a_later_day_points_to_the_days_before() -> None:
    """Replayed by itself it would pass for the first day, and the days before be lost."""
    first, last = date(2026, 8, 3), date(2026, 8, 5)
    bodies = [body(DIVIDEND), b"["]
    kept: list[str] = []
    with pytest.raises(errors.MalformedPayloadError, match="not JSON") as caught:
        await asked_of(
            lambda _: Reply(body=bodies[len(kept)]),
            lambda client: client.dividends_between(first, last),
            kept=kept,
        )
    assert caught.value.raw_answers == ("raw/1", "raw/2")
    mended = {"raw/1": bodies[0], "raw/2": b"[]"}
    client = FmpActions(KeptGetter("fmp", lambda key: Body(mended[key]), caught.value.raw_answers))
    with pytest.raises(errors.MalformedPayloadError, match="not all of this answer was kept"):
        await client.dividends_between(first, last)


@dataclass(frozen=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime = NOW


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=401, body=b'{"Error Message": "Invalid API KEY."}'), errors.KeyRefusedError),
        (Reply(body=b'{"Error Message": "Limit Reach . x"}'), errors.RateLimitedError),
        (Reply(status=402, body=b"Premium Query Parameter: 'Special"), errors.NotEntitledError),
        (Reply(status=400, body=b"Query Error: Invalid"), errors.RequestRejectedError),
        (Reply(status=404, body=b"[]"), errors.RequestRejectedError),
        (Reply(status=503, body=b"<html>"), errors.ProviderUnavailableError),
    ],
)
async def test_errors_have_their_class(reply: Reply, kind: type[errors.ProviderError]) -> None:
    """As for FMP's other endpoints."""
    with pytest.raises(kind) as caught:
        await asked_of(lambda _: reply, lambda client: client.splits("AAA"))
    assert KEY not in str(caught.value)


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and its world's actions."""

    origin: str
    world: World
    actions: Actions

    def do(self, work: Callable[[FmpActions], Awaitable[T]], kept: list[str] | None = None) -> T:
        async def main() -> T:
            async with AsyncExitStack() as stack:
                getter = unopened(f"{self.origin}/stable", kept)
                return await work(FmpActions(await stack.enter_async_context(getter)))

        return asyncio.run(main())

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    """A simulator on a free port, its clock standing still."""
    front = create_front(
        tmp_path,
        keys={KEY: Plan.ULTIMATE},
        limits=FmpLimits(per_minute=10_000, bulk_interval_s=0),
        now=lambda: NOW,
    )
    with serving.serve(front) as origin:
        world = World(tmp_path)
        yield Simulated(origin=origin, world=world, actions=Actions(world))


def sorted_rows(table: pa.Table) -> list[dict[str, object]]:
    """Return rows without order."""
    return sorted(table.to_pylist(), key=lambda row: (row["symbol"], row["ex_date"], row["kind"]))


@pytest.mark.parametrize("ticker", ["AAPL", "MSFT", "BRK.B", "DAL"])
def test_the_actions_of_a_symbol_equal_the_worlds_truth(simulated: Simulated, ticker: str) -> None:
    """To the last digit, in one request each."""
    symbol = provider_spellings("fmp").get(ticker, ticker)
    kept: list[str] = []
    answer = simulated.do(lambda client: client.dividends(symbol), kept)
    truth = simulated.actions.dividend_truth([ticker], NOW)
    expected = [{**row, "symbol": symbol} for row in truth.to_pylist()]
    assert sorted_rows(answer.rows) == expected
    assert validate_dividends(answer.rows).rejected == ()
    assert (answer.requests, answer.raw_answers) == (1, ("raw/1",))
    assert answer.request == f"dividends symbol={symbol} limit=1000"
    splits = simulated.do(lambda client: client.splits(symbol))
    truth = simulated.actions.split_truth([ticker], NOW)
    assert sorted_rows(splits.rows) == [{**row, "symbol": symbol} for row in truth.to_pylist()]


def test_an_unknown_symbol_has_no_actions(simulated: Simulated) -> None:
    """Which is what a share without any has too: the caller decides."""
    for ask in (FmpActions.splits, FmpActions.dividends):
        answer = simulated.do(lambda client, ask=ask: ask(client, "NOBODY"))
        assert answer.rows.num_rows == 0


def test_a_month_of_the_dividend_calendar_is_asked_for_day_by_day(simulated: Simulated) -> None:
    """And so loses nothing: every constituent's dividend comes once, among others'."""
    start, end = date(2026, 6, 1), date(2026, 6, 30)
    kept: list[str] = []
    answer = simulated.do(lambda client: client.dividends_between(start, end), kept)
    tickers = [constituent.ticker for constituent in simulated.world.constituents()]
    spelt = provider_spellings("fmp")
    truth = [
        {**row, "symbol": spelt.get(row["symbol"], row["symbol"])}
        for row in simulated.actions.dividend_truth(tickers, NOW).to_pylist()
        if start <= row["ex_date"] <= end
    ]
    ours = {row["symbol"] for row in truth}
    rows = [row for row in answer.rows.to_pylist() if row["symbol"] in ours]
    assert sorted(rows, key=lambda row: (row["symbol"], row["kind"])) == sorted(
        truth, key=lambda row: (row["symbol"], row["kind"])
    )
    assert answer.rows.num_rows > CALENDAR_ROWS
    assert (answer.requests, len(answer.raw_answers)) == (30, 30)
    assert kept[0] == "dividends-calendar from=2026-06-01 to=2026-06-01"
    assert answer.request == "dividends-calendar from=2026-06-01 to=2026-06-30"


def test_a_year_of_the_split_calendar_takes_twelve_requests(simulated: Simulated) -> None:
    """The calendar goes back 90 days only, so that a year at once would come back short."""
    start, end = date(2022, 1, 1), date(2022, 12, 31)
    answer = simulated.do(lambda client: client.splits_between(start, end))
    tickers = [constituent.ticker for constituent in simulated.world.constituents()]
    truth = simulated.actions.split_truth(tickers, NOW).to_pylist()
    expected = [row["ex_date"] for row in truth if start <= row["ex_date"] <= end]
    assert sorted(answer.rows["ex_date"].to_pylist()) == sorted(expected)
    assert len(expected) > 3
    assert answer.requests == 12


def test_prices_that_were_paid_can_be_asked_for_as_evidence(simulated: Simulated) -> None:
    """Ten days around Apple's split of 2020 show its jump."""
    start, end = date(2020, 8, 24), date(2020, 9, 4)
    answer = simulated.do(lambda client: client.as_traded("AAPL", start, end))
    assert answer.rows.schema.equals(WIRE_BARS)
    closes = {row["session_date"]: row["close"] for row in answer.rows.to_pylist()}
    paid = simulated.actions.as_traded("AAPL", start, end, NOW)
    assert closes == dict(zip(paid.dates.tolist(), paid.closes.tolist(), strict=True))
    assert closes[date(2020, 8, 28)] / closes[date(2020, 8, 31)] == pytest.approx(4, rel=0.1)
    with pytest.raises(ValueError, match="3650"):
        simulated.do(lambda client: client.as_traded("AAPL", end, start))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "error_in_200"}, errors.RateLimitedError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
        ({"kind": "malformed"}, errors.MalformedPayloadError),
        ({"kind": "html", "status": 200}, errors.MalformedPayloadError),
    ],
)
def test_every_fault_of_the_book_ends_in_its_error(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Temporary ones are retried until they end."""
    simulated.fault(**rule, symbol="AAPL")
    with pytest.raises(kind):
        simulated.do(lambda client: client.splits("AAPL"))


def test_spoilt_rows_cost_themselves_and_doubled_ones_nothing(simulated: Simulated) -> None:
    """One loses its amount, another its date."""
    whole = simulated.do(lambda client: client.dividends("AAPL")).rows.num_rows
    simulated.fault(kind="malformed_rows", symbol="AAPL", count=1)
    answer = simulated.do(lambda client: client.dividends("AAPL"))
    judged = validate_dividends(answer.rows)
    assert (judged.accepted.num_rows, len(judged.rejected)) == (whole - 2, 1)
    assert len(answer.left_out) == 1
    simulated.fault(kind="duplicate_rows", symbol="AAPL", count=1)
    doubled = simulated.do(lambda client: client.dividends("AAPL")).rows
    assert doubled.num_rows == whole + 1
    assert validate_dividends(doubled).accepted.num_rows == whole
    simulated.fault(kind="unknown", symbol="AAPL", count=1)
    assert simulated.do(lambda client: client.dividends("AAPL")).rows.num_rows == 0


def test_the_client_runs_by_hand(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows the kind of actions asked for; without a key it says what to do."""
    monkeypatch.setenv("FMP_BASE_URL", f"{simulated.origin}/stable")
    monkeypatch.setenv("FMP_API_KEY", KEY)
    assert main(["splits", "AAPL", "--provider", "fmp"]) == 0
    shown = capsys.readouterr().out
    assert "2020-08-31" in shown
    assert "2 rows in 1 requests: splits symbol=AAPL limit=1000" in shown
    monkeypatch.setenv("FMP_API_KEY", "")
    assert main(["splits", "AAPL", "--provider", "fmp"]) == 1
    assert "FMP_API_KEY is not set" in capsys.readouterr().err
