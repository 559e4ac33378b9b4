"""The Binance simulator's REST answers are those of Binance's documents and recordings."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from machine.processes import NO_AUTHORITIES
from sandbox.simulators import serving
from sandbox.simulators.binance import BinanceLimits, BinanceSimulator
from sandbox.simulators.binance.weight import WeightMeter
from sandbox.simulators.front import Front, Request
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

NOW = datetime(2026, 11, 21, 12, 34, 20, 500000, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
RECORDINGS = Path(__file__).parents[1] / "recordings"
KLINES, TRADES = "/api/v3/klines", "/api/v3/aggTrades"
BTC = {"symbol": "BTCUSDT"}
BARS = {**BTC, "interval": "1m"}


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock: twenty seconds into a minute."""
    return Clock(NOW)


@pytest.fixture
def binance(clock: Clock, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a simulator with Binance's own limits."""
    front = Front(
        [BinanceSimulator(now=clock, crypto=CryptoWorld())],
        world=World(tmp_path),
        journal=Journal(tmp_path / "requests.jsonl"),
        now=clock,
    )
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120, base_url=f"{origin}/binance", trust_env=False, verify=NO_AUTHORITIES
        ) as client,
    ):
        yield client


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _recorded(name: str) -> object:
    return json.loads((RECORDINGS / name).read_text())


@pytest.mark.parametrize(
    ("path", "parameters", "code", "opening"),
    [
        (KLINES, {"interval": "1m"}, -1102, "Mandatory parameter 'symbol'"),
        (KLINES, BTC, -1102, "Mandatory parameter 'interval'"),
        (KLINES, {**BARS, "symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        (KLINES, {**BARS, "symbol": "btcusdt"}, -1100, "Illegal characters found in parameter 's"),
        (KLINES, {**BARS, "interval": "1M1"}, -1120, "Invalid interval."),
        (KLINES, {**BARS, "interval": "1H"}, -1120, "Invalid interval."),
        (KLINES, {**BARS, "limit": "x"}, -1100, "Illegal characters found in parameter 'limit'"),
        (KLINES, {**BARS, "limit": "0"}, -1130, "Data sent for parameter 'limit'"),
        (KLINES, {**BARS, "startTime": "9" * 20}, -1130, "Data sent for parameter 'startTime'"),
        (KLINES, {**BARS, "from": "1"}, -1104, "Not all sent parameters were read; read '2'"),
        (TRADES, {**BTC, "fromId": "1", "startTime": "1"}, -1128, "Combination of optional"),
        (TRADES, {"symbol": "BTCUSD"}, -1121, "Invalid symbol."),
        ("/api/v3/exchangeInfo", {"symbols": '["BTCUSDT","NOSUCH"]'}, -1121, "Invalid symbol."),
        ("/api/v3/exchangeInfo", {"symbols": "BTCUSDT"}, -1100, "Illegal characters"),
    ],
)
def test_errors_have_code_and_text(
    binance: httpx.Client, path: str, parameters: dict[str, str], code: int, opening: str
) -> None:
    """Status 400, and an object of just these two."""
    answer = binance.get(path, params=parameters)
    assert answer.status_code == 400
    assert list(answer.json()) == ["code", "msg"]
    assert answer.json()["code"] == code
    assert answer.json()["msg"].startswith(opening)


def test_an_unknown_path_is_an_error_object_too(binance: httpx.Client) -> None:
    """A client that reads JSON reads it."""
    answer = binance.get("/api/v3/nosuch")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"code": -5000, "msg": "Path /api/v3/nosuch, Method GET is invalid"}


def test_errors_are_those_of_the_recordings(binance: httpx.Client) -> None:
    """Byte for byte for the symbol; word for word for the country, on demand."""
    recorded = (RECORDINGS / "binance_error_invalid_symbol_400.json").read_bytes()
    assert binance.get(KLINES, params={**BARS, "symbol": "NOSUCH"}).content == recorded
    rule = {"kind": "quirk", "quirk": "restricted"}
    origin = str(binance.base_url).removesuffix("/binance/")
    httpx.post(f"{origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES).raise_for_status()
    answer = binance.get(KLINES, params=BARS)
    assert answer.status_code == 451
    assert answer.json() == _recorded("binance_error_restricted_location_451.json")


def test_klines_have_the_recorded_form(binance: httpx.Client) -> None:
    """Twelve cells of the recorded types, eight digits, oldest first."""
    recorded = _recorded("binance_klines_1m_btcusdt.json")
    rows = binance.get(KLINES, params={**BARS, "limit": 10}).json()
    assert isinstance(recorded, list)
    assert len(rows) == len(recorded) == 10
    for row, real in zip(rows, recorded, strict=True):
        assert [type(cell) for cell in row] == [type(cell) for cell in real]
        assert row[6] - row[0] == real[6] - real[0] == 59_999
        low, high = Decimal(row[3]), Decimal(row[2])
        assert low <= min(Decimal(row[1]), Decimal(row[4]))
        assert high >= max(Decimal(row[1]), Decimal(row[4]))
        assert len(row[1].split(".")[1]) == len(row[5].split(".")[1]) == len(row[7].split(".")[1])
        assert Decimal(row[9]) <= Decimal(row[5])
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_the_last_kline_is_still_open_and_grows(binance: httpx.Client, clock: Clock) -> None:
    """Its closing time is to come; half a minute later it has more trades or as many."""
    open_now = binance.get(KLINES, params={**BARS, "limit": 1}).json()[0]
    assert open_now[6] > _ms(NOW) > open_now[0] == _ms(NOW.replace(second=0, microsecond=0))
    clock.advance(39)
    later = binance.get(KLINES, params={**BARS, "limit": 1}).json()[0]
    assert later[:2] == open_now[:2]
    assert later[8] >= open_now[8]
    clock.advance(3600)
    span = {"startTime": open_now[0], "limit": 1}
    closed = binance.get(KLINES, params={**BARS, **span}).json()[0]
    assert closed[8] >= later[8]


def test_times_bound_klines_as_documented(binance: httpx.Client) -> None:
    """None: the newest. A start: the oldest from there. An end: the newest up to it. Both."""
    start, end = _ms(MIDNIGHT), _ms(MIDNIGHT + timedelta(minutes=9))

    def opened(**more: int) -> list[int]:
        rows = binance.get(KLINES, params={**BARS, **more}).json()
        return [(row[0] - start) // 60_000 for row in rows]

    assert opened(startTime=start, limit=3) == [0, 1, 2]
    assert opened(endTime=end, limit=3) == [7, 8, 9]
    assert opened(startTime=start + 1, endTime=end) == list(range(1, 10))
    assert opened(startTime=start * 1000, endTime=end * 1000) == list(range(10))
    assert opened(startTime=start, endTime=end, limit=2) == [0, 1]
    assert len(opened()) == 500
    assert len(opened(limit=5000)) == 1000
    assert opened(limit=1000)[0] == 12 * 60 + 34 - 999
    assert opened(startTime=_ms(NOW) + 60_000) == []
    assert opened(endTime=_ms(datetime(2018, 12, 31, tzinfo=UTC))) == []
    assert len(opened(startTime=0, limit=5)) == 5


def test_a_quiet_minute_has_a_kline_without_volume_and_an_outage_none(
    binance: httpx.Client,
) -> None:
    """At the last price; sixty minutes are missing on the day of the outage."""
    span = {"startTime": _ms(MIDNIGHT - timedelta(days=1)), "limit": 1000}
    rows = binance.get(KLINES, params={**BARS, **span}).json()
    quiet = [place for place, row in enumerate(rows) if row[8] == 0]
    assert 10 < len(quiet) < 60
    for place in quiet[1:]:
        assert rows[place][1:6] == [rows[place - 1][4]] * 4 + ["0.00000000"]
    outage = _ms(datetime(2025, 11, 30, 6, tzinfo=UTC))
    around = {"startTime": outage - 60_000, "limit": 2}
    rows = binance.get(KLINES, params={**BARS, **around}).json()
    assert [(row[0] - outage) // 60_000 for row in rows] == [-1, 60]


@pytest.mark.parametrize(("interval", "minutes"), [("5m", 5), ("1h", 60), ("1d", 1440)])
def test_longer_klines_add_up_the_minutes(
    binance: httpx.Client, interval: str, minutes: int
) -> None:
    """Of the day before."""
    start = _ms(MIDNIGHT - timedelta(days=1))
    span = {"startTime": start, "endTime": start + 86_399_999, "limit": 1000}
    rows = binance.get(KLINES, params={**BARS, **span, "interval": interval}).json()
    first = binance.get(KLINES, params={**BARS, **span}).json()[:minutes]
    if minutes <= 1000:
        assert rows[0][1] == first[0][1]
        assert rows[0][4] == first[-1][4]
        assert Decimal(rows[0][5]) == sum(Decimal(row[5]) for row in first)
        assert rows[0][8] == sum(row[8] for row in first)
    assert len(rows) == 1440 // minutes
    assert rows[0][6] - rows[0][0] == minutes * 60_000 - 1


def test_trades_have_the_recorded_form_and_page_by_number(binance: httpx.Client) -> None:
    """Pages that begin behind the last one's number have every trade once."""
    recorded = _recorded("binance_agg_trades_btcusdt.json")
    assert isinstance(recorded, list)
    page = binance.get(TRADES, params={**BTC, "startTime": _ms(MIDNIGHT), "limit": 700}).json()
    assert list(page[0]) == list(recorded[0])
    assert [type(cell) for cell in page[0].values()] == [
        type(value) for value in recorded[0].values()
    ]
    following = binance.get(TRADES, params={**BTC, "fromId": page[-1]["a"] + 1}).json()
    numbers = [row["a"] for row in [*page, *following]]
    assert numbers == list(range(numbers[0], numbers[0] + 1200))
    assert page[0]["T"] >= _ms(MIDNIGHT)
    newest = binance.get(TRADES, params={**BTC, "limit": 1}).json()
    assert _ms(NOW) - 120_000 < newest[0]["T"] <= _ms(NOW)
    assert binance.get(TRADES, params={**BTC, "fromId": newest[0]["a"] + 1}).json() == []


def test_trades_bounded_by_times_include_both(binance: httpx.Client) -> None:
    """The milliseconds of the first and of the last one."""
    page = binance.get(TRADES, params={**BTC, "startTime": _ms(MIDNIGHT), "limit": 50}).json()
    span = {"startTime": page[3]["T"], "endTime": page[9]["T"]}
    assert binance.get(TRADES, params={**BTC, **span}).json() == page[3:10]
    until = {"endTime": page[9]["T"], "limit": 4}
    assert binance.get(TRADES, params={**BTC, **until}).json() == page[6:10]


def test_klines_and_trades_agree(binance: httpx.Client) -> None:
    """The sizes of a minute's trades are its volume."""
    span = {"startTime": _ms(MIDNIGHT), "endTime": _ms(MIDNIGHT) + 59_999}
    (bar,) = binance.get(KLINES, params={**BARS, **span}).json()
    rows = binance.get(TRADES, params={**BTC, **span}).json()
    assert Decimal(bar[5]) == sum(Decimal(row["q"]) for row in rows)
    assert Decimal(bar[9]) == sum(Decimal(row["q"]) for row in rows if not row["m"])
    paid = sum(Decimal(row["q"]) * Decimal(row["p"]) for row in rows)
    assert (Decimal(bar[7]), bar[8]) == (paid, len(rows))


def test_microseconds_are_for_those_who_ask(binance: httpx.Client) -> None:
    """By a header; the same trades, finer times."""
    asked = {**BTC, "startTime": _ms(MIDNIGHT), "limit": 20}
    plain = binance.get(TRADES, params=asked).json()
    fine = binance.get(TRADES, params=asked, headers={"X-MBX-TIME-UNIT": "MICROSECOND"}).json()
    assert [row["T"] // 1000 for row in fine] == [row["T"] for row in plain]
    assert any(row["T"] % 1000 for row in fine)
    headers = {"X-MBX-TIME-UNIT": "microsecond"}
    (bar,) = binance.get(KLINES, params={**BARS, "limit": 1}, headers=headers).json()
    assert bar[6] - bar[0] == 59_999_999
    assert binance.get("/api/v3/time").json() == {"serverTime": _ms(NOW)}


def test_exchange_info_has_the_recorded_keys(binance: httpx.Client) -> None:
    """Those of the recording of 2026, and the limits as they are here."""
    recorded = _recorded("binance_exchange_info_binanceus_btcusd.json")
    assert isinstance(recorded, dict)
    content = binance.get(
        "/api/v3/exchangeInfo", params={"symbols": '["BTCUSDT","SOLUSDT"]'}
    ).json()
    assert list(content) == list(recorded)
    assert list(content["symbols"][0]) == list(recorded["symbols"][0])
    assert [symbol["symbol"] for symbol in content["symbols"]] == ["BTCUSDT", "SOLUSDT"]
    limits = {rateLimit["rateLimitType"]: rateLimit["limit"] for rateLimit in content["rateLimits"]}
    assert (limits["REQUEST_WEIGHT"], limits["RAW_REQUESTS"]) == (6000, 61000)


def test_every_answer_tells_the_weight_used_in_this_minute(
    binance: httpx.Client, clock: Clock
) -> None:
    """In two headers, errors included; a new minute begins with nothing."""
    used = []
    for path, parameters in (
        ("/api/v3/ping", {}),
        (KLINES, BARS),
        (KLINES, BTC),
        (TRADES, BTC),
        ("/api/v3/trades", BTC),
        ("/api/v3/exchangeInfo", {}),
    ):
        answer = binance.get(path, params=parameters)
        assert answer.headers["x-mbx-used-weight"] == answer.headers["x-mbx-used-weight-1m"]
        used.append(int(answer.headers["x-mbx-used-weight-1m"]))
    assert used == [1, 3, 5, 9, 34, 54]
    clock.advance(40)
    assert binance.get("/api/v3/ping").headers["x-mbx-used-weight-1m"] == "1"


def test_beyond_the_limit_is_429_and_then_a_ban(binance: httpx.Client, clock: Clock) -> None:
    """Retry-After ends with the minute; further requests are banned for two minutes."""
    for _ in range(239):
        assert binance.get("/api/v3/trades", params={**BTC, "limit": 1}).status_code == 200
    assert binance.get("/api/v3/exchangeInfo").status_code == 200
    refused = binance.get("/api/v3/exchangeInfo")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert refused.json()["code"] == -1003
    assert refused.json()["msg"].startswith("Too much request weight used; current limit is 6000")
    assert refused.headers["x-mbx-used-weight-1m"] == "5995"
    for _ in range(9):
        assert binance.get("/api/v3/exchangeInfo").status_code == 429
    banned = binance.get("/api/v3/exchangeInfo")
    assert (banned.status_code, banned.headers["retry-after"]) == (418, "120")
    until = _ms(NOW) + 120_000
    assert f"IP banned until {until}. " in banned.json()["msg"]
    clock.advance(119)
    still = binance.get("/api/v3/ping")
    assert (still.status_code, still.headers["retry-after"]) == (418, "1")
    clock.advance(1)
    assert binance.get("/api/v3/ping").status_code == 200


def test_a_second_ban_is_longer_and_raw_requests_count_too() -> None:
    """Twice as long; five minutes' requests have a limit of their own."""
    meter = WeightMeter(
        BinanceLimits(weight_per_minute=100, requests_per_five_minutes=3, refused_before_ban=0)
    )
    at = datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC)
    assert [meter.refusal(1, at) for _ in range(3)] == [None] * 3
    first = meter.refusal(1, at)
    assert first is not None
    assert (first.status, first.retry_after) == (418, "120")
    second = meter.refusal(1, at + timedelta(seconds=120))
    assert second is not None
    assert (second.status, second.retry_after) == (418, "240")
    assert meter.refusal(1, at + timedelta(seconds=360)) is None


def test_an_unknown_quirk_is_an_error_that_names_those_there_are() -> None:
    """Otherwise a test would believe that a fault was in force."""
    simulator = BinanceSimulator(now=lambda: NOW, crypto=CryptoWorld())
    with pytest.raises(ValueError, match="banned, firewall, numbers"):
        simulator.quirk("nonsense", Request(path="/", query={}, headers={}, key="", at=NOW))
