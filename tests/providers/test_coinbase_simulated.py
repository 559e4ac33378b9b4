"""The Coinbase client against the simulator, whose truth is the crypto world's."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar, cast

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata import minute_bars
from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import validate
from resources.ask import main
from resources.providers.coinbase import CoinbaseClient, wire
from resources.providers.coinbase import client as coinbase_client
from resources.providers.http import HttpAnswer, HttpGetter
from sandbox.simulators import serving
from sandbox.simulators.coinbase import CoinbaseLimits, CoinbaseSimulator
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget

T = TypeVar("T")
NOW = datetime(2026, 8, 5, 12, 0, 30, tzinfo=UTC)
DAY, TODAY = date(2026, 8, 4), date(2026, 8, 5)
PAIR = "BTC-USD"
OF_COINBASE = ["--provider", "coinbase"]


@dataclass
class Kept:
    """Keeps bodies in memory, as the raw zone does."""

    bodies: dict[str, bytes] = field(default_factory=dict)

    def keep(self, provider: str, operation: str, body: bytes, sha256: str, media_type: str) -> str:
        assert (provider, media_type) == ("coinbase", "application/json; charset=utf-8")
        assert operation
        self.bodies[f"raw/{sha256}"] = body
        return f"raw/{sha256}"


@dataclass
class Replay:
    """A Getter that hands out kept bodies in the order in which they are asked for."""

    bodies: list[bytes]
    fetched_at: datetime

    async def get(
        self, path: str, parameters: object, *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        del path, parameters, operation, weight
        body = self.bodies.pop(0)
        await asyncio.sleep(0)
        return HttpAnswer(
            status=200, headers={}, body=body, sha256="", fetched_at=self.fetched_at, requests=0
        )


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and the world to compare with."""

    origin: str
    world: CryptoWorld

    def do(self, work: Callable[[CoinbaseClient], Awaitable[T]], keep: Kept | None = None) -> T:
        async def main() -> T:
            async with HttpGetter(
                provider="coinbase",
                base_url=f"{self.origin}/coinbase",
                key=None,
                budget=CountedBudget(),
                retry=AT_ONCE,
                classify=wire.classify_error,
                in_flight=coinbase_client.IN_FLIGHT,
                keep=keep,
            ) as getter:
                return await work(CoinbaseClient(getter))

        return asyncio.run(main())

    def bars(self, symbol: str = PAIR, start: date = DAY, end: date = DAY) -> Answer:
        return self.do(lambda client: client.minute_bars(symbol, start, end))

    def trades(self, symbol: str = PAIR, start: date = DAY, end: date = DAY) -> Answer:
        return self.do(lambda client: client.trades(symbol, start, end))

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """A simulator without limits, its clock standing still."""
    root: Path = tmp_path_factory.mktemp("coinbase")
    crypto = CryptoWorld()
    simulator = CoinbaseSimulator(
        now=lambda: NOW, crypto=crypto, limits=CoinbaseLimits(per_second=1.0, burst=10_000)
    )
    front = Front(
        [simulator],
        world=World(root),
        journal=Journal(root / "requests.jsonl"),
        now=lambda: NOW,
    )
    with serving.serve(front) as origin:
        yield Simulated(origin=origin, world=crypto)


@pytest.fixture
def simulated(served: Simulated) -> Simulated:
    """The simulator without the faults of earlier tests."""
    httpx.delete(f"{served.origin}/_sandbox/faults").raise_for_status()
    return served


def _sorted(table: pa.Table, by: str) -> list[dict[str, object]]:
    return table.sort_by(by).to_pylist()


@pytest.mark.parametrize("symbol", ["BTC-USD", "ETH-USDT"])
def test_days_of_minute_bars_equal_the_worlds_truth(simulated: Simulated, symbol: str) -> None:
    """Every bar once, to the last digit; three days are fifteen requests."""
    answer = simulated.bars(symbol, date(2026, 8, 2), DAY)
    truth = simulated.world.bar_truth("coinbase", [symbol], date(2026, 8, 2), DAY, NOW)
    assert _sorted(answer.rows, "opened_at") == _sorted(truth, "opened_at")
    assert answer.rows.num_rows > 4000
    assert answer.requests == 15


def test_days_of_trades_equal_the_worlds_truth(simulated: Simulated) -> None:
    """Under the venue's own numbers, the taker's side, exact."""
    answer = simulated.trades(PAIR, date(2026, 8, 3), DAY)
    truth = simulated.world.trade_truth("coinbase", [PAIR], date(2026, 8, 3), DAY, NOW)
    assert _sorted(answer.rows, "trade_id") == _sorted(truth, "trade_id")
    assert answer.rows.num_rows == 16_000
    assert answer.requests <= 16 + 8


@pytest.mark.parametrize("day", [date(2019, 1, 1), date(2022, 12, 25)])
def test_a_day_of_years_ago_is_found(simulated: Simulated, day: date) -> None:
    """The first day of all too; without walking back to it."""
    answer = simulated.trades(PAIR, day, day)
    truth = simulated.world.trade_truth("coinbase", [PAIR], day, day, NOW)
    assert _sorted(answer.rows, "trade_id") == _sorted(truth, "trade_id")
    assert answer.requests <= 8 + 8


def test_trades_make_the_bars(simulated: Simulated) -> None:
    """Both datasets come from one market: a minute's volume is the sum of its trades."""
    bars = simulated.bars().rows.sort_by("opened_at")
    trades = simulated.trades().rows
    minutes = pc.floor_temporal(trades["traded_at"], unit="minute")
    sizes = pa.table({"minute": minutes, "size": trades["size"]})
    summed = sizes.group_by("minute").aggregate([("size", "sum")]).sort_by("minute")
    assert summed["minute"].to_pylist() == bars["opened_at"].to_pylist()
    assert [float(size) for size in summed["size_sum"].to_pylist()] == bars["volume"].to_pylist()


def test_of_a_day_that_is_not_over_comes_what_there_is(simulated: Simulated) -> None:
    """The simulator's clock is the past: its open minute is over by the time it is fetched."""
    last = simulated.trades(start=TODAY, end=TODAY).rows
    truth = simulated.world.trade_truth("coinbase", [PAIR], TODAY, TODAY, NOW)
    assert _sorted(last, "trade_id") == _sorted(truth, "trade_id")
    bars = simulated.bars(start=TODAY, end=TODAY)
    assert bars.requests == 5
    assert pc.max(bars.rows["opened_at"]).as_py() <= NOW


@pytest.mark.parametrize("day", [date(2018, 12, 31), date(2026, 8, 6), date(2014, 1, 1)])
def test_days_without_trades_have_none(simulated: Simulated, day: date) -> None:
    """Before the listing, and tomorrow."""
    assert simulated.bars(start=day, end=day).rows.num_rows == 0
    assert simulated.trades(start=day, end=day).rows.num_rows == 0


@pytest.mark.parametrize("symbol", ["BTC-EUR", "NO-SUCH", "BNB-USDT"])
def test_a_product_nobody_knows_is_an_unknown_symbol(simulated: Simulated, symbol: str) -> None:
    """404 NotFound, for either dataset."""
    for ask in (simulated.bars, simulated.trades):
        with pytest.raises(errors.UnknownSymbolError, match="check its spelling"):
            ask(symbol)


def test_kept_bodies_give_the_same_answer_without_headers(simulated: Simulated) -> None:
    """Handed out in the order of raw_answers; the search takes the same turns."""
    kept = Kept()
    for name in ("minute_bars", "trades"):
        answer = simulated.do(lambda client, name=name: getattr(client, name)(PAIR, DAY, DAY), kept)
        bodies = [kept.bodies[pointer] for pointer in answer.raw_answers]
        replay = Replay(list(bodies), answer.fetched_at)
        again = asyncio.run(getattr(CoinbaseClient(replay), name)(PAIR, DAY, DAY))
        assert replay.bodies == []
        assert again.rows.equals(answer.rows)
        assert again.content_sha256 == answer.content_sha256


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "status", "status": 429, "seconds": 30}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "error_in_200"}, errors.RateLimitedError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 403}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
    ],
)
@pytest.mark.parametrize("ask", [Simulated.bars, Simulated.trades])
def test_a_passing_fault_is_survived_and_a_lasting_one_is_named(
    simulated: Simulated,
    ask: Callable[..., Answer],
    rule: dict[str, object],
    kind: type[errors.ProviderError],
) -> None:
    """Twice wrong, then right: two requests more than without a fault."""
    undisturbed = ask(simulated, "SOL-USD")
    simulated.fault(**rule, symbol="SOL-USD", count=2)
    answer = ask(simulated, "SOL-USD")
    assert answer.rows.equals(undisturbed.rows)
    assert answer.requests == undisturbed.requests + 2
    simulated.fault(**rule, symbol="SOL-USD")
    with pytest.raises(kind):
        ask(simulated, "SOL-USD")


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "malformed"}, errors.MalformedPayloadError),
        ({"kind": "html", "status": 200}, errors.MalformedPayloadError),
        ({"kind": "unknown"}, errors.UnknownSymbolError),
        ({"kind": "status", "status": 401}, errors.KeyRefusedError),
        ({"kind": "status", "status": 400}, errors.RequestRejectedError),
    ],
)
@pytest.mark.parametrize("ask", [Simulated.bars, Simulated.trades])
def test_what_repeating_does_not_mend_is_not_repeated(
    simulated: Simulated,
    ask: Callable[..., Answer],
    rule: dict[str, object],
    kind: type[errors.ProviderError],
) -> None:
    """One spoilt answer is enough to end it."""
    simulated.fault(**rule, symbol=PAIR, count=1)
    with pytest.raises(kind):
        ask(simulated)


def test_spoilt_bars_are_left_to_validation(simulated: Simulated) -> None:
    """One without a close, one with low above high, one twice: all rows come."""
    rule = {"path": "/coinbase/products", "symbol": PAIR, "count": 1}
    whole = simulated.bars().rows
    simulated.fault(kind="malformed_rows", **rule)
    spoilt = simulated.bars().rows
    assert spoilt.num_rows == whole.num_rows
    assert pc.sum(pc.is_null(spoilt["close"])).as_py() == 1
    assert pc.sum(pc.greater(spoilt["low"], spoilt["high"])).as_py() == 1
    simulated.fault(kind="duplicate_rows", **rule)
    repeated = simulated.bars().rows
    assert repeated.num_rows == whole.num_rows + 1
    validated = validate(
        repeated,
        key=minute_bars.KEY,
        rules=[],
        day=lambda row: cast("datetime", row["opened_at"]).date(),
    )
    assert validated.accepted.num_rows == whole.num_rows


def test_spoilt_trades_are_left_to_validation(simulated: Simulated) -> None:
    """One without a price, the next with a size below zero."""
    whole = simulated.trades(start=TODAY, end=TODAY).rows
    simulated.fault(kind="malformed_rows", symbol=PAIR, count=1)
    spoilt = simulated.trades(start=TODAY, end=TODAY).rows
    assert spoilt.num_rows == whole.num_rows
    assert pc.sum(pc.is_null(spoilt["price"])).as_py() == 1
    assert len([size for size in spoilt["size"].to_pylist() if size < 0]) == 1
    simulated.fault(kind="duplicate_rows", symbol=PAIR, count=1)
    assert simulated.trades(start=TODAY, end=TODAY).rows.num_rows == whole.num_rows + 1


@pytest.mark.parametrize("quirk", ["rows_before_start", "reversed"])
def test_harmless_quirks_of_candles_change_nothing(simulated: Simulated, quirk: str) -> None:
    """Buckets from before each window, and rows in the other order."""
    whole = simulated.bars()
    simulated.fault(kind="quirk", quirk=quirk, symbol=PAIR)
    answer = simulated.bars()
    assert _sorted(answer.rows, "opened_at") == _sorted(whole.rows, "opened_at")


@pytest.mark.parametrize(
    ("quirk", "named"),
    [("stale_copy", "a bucket after the window"), ("texts", "no candle can be placed")],
)
def test_candles_of_another_request_or_form_are_malformed(
    simulated: Simulated, quirk: str, named: str
) -> None:
    """The copy that a cache keeps of the newest rows, and figures as text."""
    simulated.fault(kind="quirk", quirk=quirk, symbol=PAIR)
    with pytest.raises(errors.MalformedPayloadError, match=named):
        simulated.bars()


def test_a_page_that_lacks_a_trade_is_asked_for_again(simulated: Simulated) -> None:
    """And in reverse order it is read too."""
    simulated.fault(kind="quirk", quirk="reversed", symbol=PAIR)
    assert simulated.trades().rows.num_rows == 8_000
    httpx.delete(f"{simulated.origin}/_sandbox/faults").raise_for_status()
    simulated.fault(kind="quirk", quirk="missing_row", symbol=PAIR, count=1)
    assert simulated.trades().rows.num_rows == 8_000


def test_the_client_stays_within_the_limit_it_is_paced_to(tmp_path: Path) -> None:
    """Called by hand, at ten a second, against the limits of the real one: nothing is refused."""
    front = Front(
        [CoinbaseSimulator()],
        world=World(tmp_path),
        journal=Journal(tmp_path / "requests.jsonl"),
        now=lambda: datetime.now(UTC),
    )
    with serving.serve(front) as origin, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COINBASE_BASE_URL", f"{origin}/coinbase")
        span = ["--from", "2026-08-01", "--to", "2026-08-04"]
        assert main(["crypto_bars", PAIR, *OF_COINBASE, *span]) == 0
    statuses = [entry.split('"status":')[1][:5] for entry in _lines(tmp_path)]
    assert len(statuses) == 20
    assert {status.strip(" ,")[:3] for status in statuses} == {"200"}


def test_by_hand_the_last_rows_are_shown(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bars or trades, and their number of requests."""
    monkeypatch.setenv("COINBASE_BASE_URL", f"{simulated.origin}/coinbase")
    span = [*OF_COINBASE, "--from", "2026-08-05", "--to", "2026-08-05"]
    assert main(["crypto_bars", PAIR, *span]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 22
    assert "rows in 5 requests" in shown[-1]
    assert main(["crypto_trades", PAIR, *span]) == 0
    assert "taker_side" in capsys.readouterr().out.splitlines()[0]
    assert main(["crypto_bars", "NO-SUCH", *span]) == 1
    assert "check its spelling" in capsys.readouterr().err


def _lines(root: Path) -> list[str]:
    return (root / "requests.jsonl").read_text().splitlines()
