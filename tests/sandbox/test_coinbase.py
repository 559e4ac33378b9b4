"""The simulator's answers are those of Coinbase's reference, measurements and recordings."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from machine.processes import NO_AUTHORITIES
from sandbox.simulators import serving
from sandbox.simulators.coinbase import CoinbaseLimits, CoinbaseSimulator, faults
from sandbox.simulators.coinbase.limits import TokenBucket
from sandbox.simulators.faults import Reply
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.providers.recordings import recorded
from tests.sandbox.clock import Clock

CANDLES = "/products/BTC-USD/candles"
TRADES = "/products/BTC-USD/trades"
ADVANCED = "/api/v3/brokerage"
START = 1785801600
"""2026-08-04 in seconds."""


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock: noon, and half a minute."""
    return Clock(moment=datetime(2026, 8, 5, 12, 0, 30, tzinfo=UTC))


def _client(tmp_path: Path, clock: Clock, limits: CoinbaseLimits) -> Iterator[httpx.Client]:
    front = Front(
        [CoinbaseSimulator(now=clock, crypto=CryptoWorld(), limits=limits)],
        world=World(tmp_path),
        journal=Journal(tmp_path / "requests.jsonl"),
        now=clock,
    )
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120, base_url=f"{origin}/coinbase", trust_env=False, verify=NO_AUTHORITIES
        ) as client,
    ):
        yield client


@pytest.fixture
def coinbase(tmp_path: Path, clock: Clock) -> Iterator[httpx.Client]:
    """A client of a simulator without limits."""
    yield from _client(tmp_path, clock, CoinbaseLimits(burst=10_000))


@pytest.fixture
def strict(tmp_path: Path, clock: Clock) -> Iterator[httpx.Client]:
    """A client of a simulator with Coinbase's published limits."""
    yield from _client(tmp_path, clock, CoinbaseLimits())


def _window(minutes: int, granularity: str = "60") -> dict[str, str]:
    return {"granularity": granularity, "start": str(START), "end": str(START + 60 * minutes)}


@pytest.mark.parametrize(
    ("path", "parameters", "status", "message"),
    [
        ("/products/NO-SUCH", {}, 404, "NotFound"),
        ("/products/NO-SUCH/candles", {"granularity": "60"}, 404, "NotFound"),
        ("/products/NO-SUCH/trades", {}, 404, "NotFound"),
        ("/products/BNB-USDT/trades", {}, 404, "NotFound"),
        ("/no-such-thing", {}, 404, "NotFound"),
        (CANDLES, {}, 400, "Unsupported granularity"),
        (CANDLES, {"granularity": "61"}, 400, "Unsupported granularity"),
        (CANDLES, {"granularity": "ONE_MINUTE"}, 400, "Unsupported granularity"),
        (CANDLES, {"granularity": "60", "start": "x", "end": "y"}, 400, "Invalid start or end"),
        (CANDLES, {"granularity": "60", "start": "200", "end": "100"}, 400, "start must be before"),
        (TRADES, {"after": "x"}, 400, "Invalid limit"),
    ],
)
def test_refusals(
    coinbase: httpx.Client, path: str, parameters: dict[str, str], status: int, message: str
) -> None:
    """An object with a message."""
    answer = coinbase.get(path, params=parameters)
    assert (answer.status_code, list(answer.json())) == (status, ["message"])
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize("granularity", [300, 900, 3600, 21600, 86400])
def test_300_intervals_give_301_rows_and_one_more_is_refused(
    coinbase: httpx.Client, granularity: int
) -> None:
    """Both edges count; the refusal is the recorded one to the byte."""
    end = 1785888000
    asked = {"granularity": str(granularity), "end": str(end)}
    most = coinbase.get(CANDLES, params=asked | {"start": str(end - 300 * granularity)}).json()
    assert len(most) == 301
    assert (most[0][0], most[-1][0]) == (end, end - 300 * granularity)
    refused = coinbase.get(CANDLES, params=asked | {"start": str(end - 301 * granularity)})
    assert refused.status_code == 400
    assert refused.content == recorded("coinbase_error_granularity_400.json")


def test_minutes_have_the_same_edge_and_quiet_ones_are_absent(coinbase: httpx.Client) -> None:
    """Of 301 asked for some have no trade."""
    assert 250 < len(coinbase.get(CANDLES, params=_window(300)).json()) < 301
    assert coinbase.get(CANDLES, params=_window(301)).status_code == 400


def test_candles_have_the_recorded_form(coinbase: httpx.Client) -> None:
    """Six numbers, low and high before open and close, newest first, some minutes absent."""
    rows = coinbase.get(CANDLES, params=_window(299)).json()
    kept = json.loads(recorded("coinbase_candles_1h_btcusd.json"))
    assert {len(row) for row in rows} == {len(row) for row in kept} == {6}
    assert [type(cell) for cell in rows[0][:1]] == [type(cell) for cell in kept[0][:1]]
    times = [row[0] for row in rows]
    assert times == sorted(times, reverse=True)
    assert 250 < len(rows) < 300
    for _, low, high, opened, closed, volume in [*rows, *kept]:
        assert low <= min(opened, closed) <= max(opened, closed) <= high
        assert volume > 0
    prices = json.dumps(rows)
    assert ".0," not in prices


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-08-04T00:00:00Z", "2026-08-04T01:00:00Z"),
        ("2026-08-04T00:00:00", "2026-08-04T01:00:00.000Z"),
        ("2026-08-03T20:00:00-04:00", "2026-08-04T01:00:00+00:00"),
        (str(START), str(START + 3600)),
        ("2026-08-03T23:59:30Z", "2026-08-04T01:00:59Z"),
    ],
)
def test_windows_are_given_in_seconds_or_iso_8601(
    coinbase: httpx.Client, start: str, end: str
) -> None:
    """A bucket is in the window if it opens in it."""
    asked = {"granularity": "60", "start": start, "end": end}
    assert coinbase.get(CANDLES, params=asked).json() == (
        coinbase.get(CANDLES, params=_window(60)).json()
    )


def test_larger_buckets_add_up_the_minutes(coinbase: httpx.Client) -> None:
    """An hour's row is made of its minutes."""
    minutes = coinbase.get(CANDLES, params=_window(59)).json()[::-1]
    hour = coinbase.get(CANDLES, params=_window(59, "3600")).json()
    assert len(hour) == 1
    at, low, high, opened, closed, volume = hour[0]
    assert (at, opened, closed) == (START, minutes[0][3], minutes[-1][4])
    assert (low, high) == (min(row[1] for row in minutes), max(row[2] for row in minutes))
    assert volume == pytest.approx(sum(row[5] for row in minutes))


@pytest.mark.parametrize("extra", [{}, {"start": str(START)}, {"end": str(START)}])
def test_without_both_edges_come_the_newest_350_rows_of_a_copy(
    coinbase: httpx.Client, clock: Clock, extra: dict[str, str]
) -> None:
    """It is up to 300 seconds old, and one edge alone is ignored."""
    asked = {"granularity": "60"} | extra
    clock.moment = datetime(2026, 8, 5, 12, 4, 59, tzinfo=UTC)
    rows = coinbase.get(CANDLES, params=asked).json()
    assert len(rows) == 350
    assert rows[0][0] <= datetime(2026, 8, 5, 11, 59, tzinfo=UTC).timestamp()
    clock.advance(1)
    assert coinbase.get(CANDLES, params=asked).json()[0][0] > rows[0][0]


def test_the_newest_bucket_grows_and_the_others_stay(coinbase: httpx.Client, clock: Clock) -> None:
    """Over a minute: rows that were over are served again, unchanged."""
    asked = {"granularity": "60", "start": "2026-08-05T11:30:00Z", "end": "2026-08-05T12:10:00Z"}
    clock.moment = datetime(2026, 8, 5, 12, 1, 59, tzinfo=UTC)
    early = coinbase.get(CANDLES, params=asked).json()
    clock.moment = datetime(2026, 8, 5, 12, 2, 50, tzinfo=UTC)
    late = coinbase.get(CANDLES, params=asked).json()
    unchanged = [
        row for row in late if row[0] < datetime(2026, 8, 5, 12, 1, tzinfo=UTC).timestamp()
    ]
    assert unchanged == [row for row in early if row in unchanged]
    assert len(unchanged) >= 25
    assert sum(row[5] for row in late) > sum(row[5] for row in early)


def test_nothing_is_known_of_the_future_or_of_the_time_before_the_listing(
    coinbase: httpx.Client,
) -> None:
    """An empty list, not an error."""
    for start in ("2026-08-05T12:05:00Z", "2030-01-01T00:00:00Z", "2015-01-01T00:00:00Z"):
        asked = {"granularity": "60", "start": start, "end": start}
        answer = coinbase.get(CANDLES, params=asked)
        assert (answer.status_code, answer.json()) == (200, [])


def test_trades_have_the_fields_of_a_recorded_match(coinbase: httpx.Client) -> None:
    """The number is a number, price and size are text, the time has microseconds."""
    row = coinbase.get(TRADES, params={"limit": "1"}).json()[0]
    match = json.loads(recorded("coinbase_ws_matches_frames.json"))[0]
    assert list(row) == ["trade_id", "side", "size", "price", "time"]
    assert {name: type(row[name]) for name in row} == {name: type(match[name]) for name in row}
    assert len(row["time"]) == len(match["time"])


def test_trades_are_paged_back_by_the_oldest_number(coinbase: httpx.Client) -> None:
    """Newest first; the headers hold the edges; numbers are contiguous."""
    page = coinbase.get(TRADES)
    ids = [row["trade_id"] for row in page.json()]
    assert ids == list(range(ids[0], ids[0] - 1000, -1))
    assert (page.headers["cb-before"], page.headers["cb-after"]) == (str(ids[0]), str(ids[-1]))
    older = coinbase.get(TRADES, params={"after": page.headers["cb-after"], "limit": "5"}).json()
    assert [row["trade_id"] for row in older] == list(range(ids[-1] - 1, ids[-1] - 6, -1))
    times = [row["time"] for row in page.json()]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(("limit", "rows"), [("1", 1), ("1000", 1000), ("5000", 1000), ("", 1000)])
def test_a_larger_limit_gives_no_more(coinbase: httpx.Client, limit: str, rows: int) -> None:
    """It is cut to 1,000 silently."""
    assert len(coinbase.get(TRADES, params={"limit": limit}).json()) == rows


def test_before_gives_the_newest_trades_and_not_the_next(coinbase: httpx.Client) -> None:
    """As measured: not the page next to the number."""
    newest = coinbase.get(TRADES, params={"limit": "10"}).json()
    ids = [row["trade_id"] for row in newest]
    assert coinbase.get(TRADES, params={"limit": "10", "before": "5"}).json() == newest
    above = coinbase.get(TRADES, params={"limit": "10", "before": str(ids[3])}).json()
    assert [row["trade_id"] for row in above] == ids[:3]
    nothing = coinbase.get(TRADES, params={"before": str(ids[0])})
    assert nothing.json() == []
    assert "cb-after" not in nothing.headers


def test_history_goes_back_to_the_first_trade(coinbase: httpx.Client) -> None:
    """Below it there is nothing."""
    first = coinbase.get(TRADES, params={"after": "3"}).json()
    assert [row["trade_id"] for row in first] == [2, 1]
    assert first[-1]["time"].startswith("2019-01-01T00:0")
    assert coinbase.get(TRADES, params={"after": "1"}).json() == []


def test_the_side_is_the_makers(coinbase: httpx.Client) -> None:
    """The opposite of what the world's taker did."""
    newest = coinbase.get(TRADES, params={"limit": "100"}).json()
    for row in newest:
        taker = CryptoWorld().trade("BTC-USD", row["trade_id"]).taker_side[0]
        assert {row["side"], taker} == {"buy", "sell"}


def test_products_have_the_recorded_fields(coinbase: httpx.Client) -> None:
    """Traded ones and delisted ones; the fields and their order are those of 2026."""
    rows = coinbase.get("/products").json()
    assert list(rows[0]) == list(json.loads(recorded("coinbase_product_btcusd.json")))
    assert rows[0] == json.loads(recorded("coinbase_product_btcusd.json"))
    assert {row["id"]: row["status"] for row in rows if row["status"] != "online"} == {
        "BTC-USDC": "delisted",
        "ETH-USDC": "delisted",
    }
    for row in rows:
        assert coinbase.get(f"/products/{row['id']}").json() == row
    assert coinbase.get("/products/BTC-USDC/candles", params=_window(1)).json() == []


def test_ticker_and_stats_agree_with_trades_and_candles(coinbase: httpx.Client) -> None:
    """One market behind all of them."""
    last = coinbase.get(TRADES, params={"limit": "1"}).json()[0]
    ticker = coinbase.get("/products/BTC-USD/ticker").json()
    assert ticker["trade_id"] == last["trade_id"]
    assert float(ticker["price"]) == float(last["price"])
    assert float(ticker["bid"]) < float(ticker["ask"])
    all_stats = coinbase.get("/products/stats").json()
    stats = coinbase.get("/products/BTC-USD/stats").json()
    assert set(all_stats) == {row["id"] for row in coinbase.get("/products").json()} - {
        "BTC-USDC",
        "ETH-USDC",
    }
    assert all_stats["BTC-USD"]["stats_24hour"] == {
        name: stats[name] for name in ("open", "high", "low", "last", "volume")
    }
    assert all_stats["BTC-USD"]["stats_30day"] == {"volume": stats["volume_30day"]}
    assert float(stats["low"]) <= float(ticker["price"]) <= float(stats["high"])
    assert float(stats["volume"]) < float(stats["volume_30day"])


def test_the_clock_is_told_by_both_apis(coinbase: httpx.Client) -> None:
    """With milliseconds by one, in text by the other."""
    assert coinbase.get("/time").json() == {"iso": "2026-08-05T12:00:30.000Z", "epoch": 1785931230}
    assert coinbase.get(f"{ADVANCED}/time").json() == {
        "iso": "2026-08-05T12:00:30Z",
        "epochSeconds": "1785931230",
        "epochMillis": "1785931230000",
    }


def test_fifteen_requests_at_once_and_ten_a_second(strict: httpx.Client, clock: Clock) -> None:
    """Then 429 without Retry-After; each API has its own bucket."""
    first = [strict.get("/time").status_code for _ in range(17)]
    assert first == [200] * 15 + [429] * 2
    refused = strict.get("/time")
    assert refused.json() == {"message": "Public rate limit exceeded"}
    assert not {name for name in refused.headers if "limit" in name or "retry" in name}
    clock.advance(1)
    assert [strict.get("/time").status_code for _ in range(11)] == [200] * 10 + [429]
    other = [strict.get(f"{ADVANCED}/time").status_code for _ in range(16)]
    assert other == [200] * 15 + [429]


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    """However long no request comes."""
    at = datetime(2026, 8, 5, tzinfo=UTC)
    bucket = TokenBucket(per_second=10, burst=15)
    assert bucket.admits(at)
    later = at + timedelta(hours=1)
    assert [bucket.admits(later) for _ in range(16)] == [True] * 15 + [False]


def _advanced_candles(buckets: int, **changed: str) -> dict[str, str]:
    asked = {
        "start": str(START),
        "end": str(START + 60 * (buckets - 1)),
        "granularity": "ONE_MINUTE",
    }
    return asked | changed


@pytest.mark.parametrize(
    ("path", "parameters", "status", "error"),
    [
        ("/market/products/NO-SUCH", {}, 404, "NOT_FOUND"),
        ("/market/products/NO-SUCH/candles", _advanced_candles(5), 404, "NOT_FOUND"),
        ("/market/products/BTC-USD/candles", {}, 400, "INVALID_ARGUMENT"),
        ("/market/products/BTC-USD/candles", _advanced_candles(351), 400, "INVALID_ARGUMENT"),
        ("/market/products/BTC-USD/candles", _advanced_candles(5, granularity="60"), 400,
         "INVALID_ARGUMENT"),
        ("/market/products/BTC-USD/candles", _advanced_candles(5, end="1"), 400,
         "INVALID_ARGUMENT"),
        ("/market/products/BTC-USD/ticker", {"limit": "1001"}, 500, "INTERNAL"),
    ],
)  # fmt: skip
def test_advanced_trade_tells_errors_in_three_fields(
    coinbase: httpx.Client, path: str, parameters: dict[str, str], status: int, error: str
) -> None:
    """351 candles are one too many."""
    answer = coinbase.get(f"{ADVANCED}{path}", params=parameters)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert list(answer.json()) == ["error", "error_details", "message"]


def test_advanced_trade_wants_a_token_beside_its_public_paths(coinbase: httpx.Client) -> None:
    """The same endpoint without /market."""
    assert coinbase.get(f"{ADVANCED}/products").status_code == 401


def test_advanced_candles_are_the_same_market_in_text(coinbase: httpx.Client) -> None:
    """The recorded fields, newest first; up to 350."""
    path = f"{ADVANCED}/market/products/BTC-USD/candles"
    answer = coinbase.get(path, params=_advanced_candles(350))
    kept = json.loads(recorded("coinbase_advanced_candles_btcusd.json"))["candles"]
    rows = answer.json()["candles"]
    assert list(answer.json()) == ["candles"]
    assert list(rows[0]) == list(kept[0])
    assert {type(value) for row in rows for value in row.values()} == {str}
    exchange = coinbase.get(CANDLES, params=_window(299)).json()
    newest = [
        [int(row["start"]), *(float(row[name]) for name in ("low", "high", "open", "close"))]
        for row in rows
        if int(row["start"]) <= START + 299 * 60
    ]
    assert newest == [row[:5] for row in exchange]


def test_advanced_trades_are_the_same_with_numbers_in_text(coinbase: httpx.Client) -> None:
    """At most 100 of them; bids and asks are empty; the recorded fields."""
    path = f"{ADVANCED}/market/products/BTC-USD/ticker"
    answer = coinbase.get(path, params={"limit": "1000"}).json()
    kept = json.loads(recorded("coinbase_advanced_market_trades_btcusd.json"))
    assert list(answer) == list(kept)
    assert list(answer["trades"][0]) == list(kept["trades"][0])
    assert {type(value) for row in answer["trades"] for value in row.values()} == {str}
    exchange = coinbase.get(TRADES, params={"limit": "100"}).json()
    assert [(row["trade_id"], row["side"]) for row in answer["trades"]] == [
        (str(row["trade_id"]), row["side"].upper()) for row in exchange
    ]
    hour = {"limit": "100", "start": str(START), "end": str(START + 60)}
    within = coinbase.get(path, params=hour).json()["trades"]
    assert within
    assert {row["time"][:16] for row in within} == {"2026-08-04T00:00"}


def test_advanced_products_have_other_names_for_one_book(coinbase: httpx.Client) -> None:
    """BTC-USDC is an alias of BTC-USD: same price, same candles; the list shows no quotes."""
    listed = coinbase.get(f"{ADVANCED}/market/products").json()
    by_name = {row["product_id"]: row for row in listed["products"]}
    assert listed["num_products"] == len(by_name)
    assert (by_name["BTC-USDC"]["alias"], by_name["BTC-USD"]["alias_to"]) == (
        "BTC-USD",
        ["BTC-USDC"],
    )
    assert by_name["BTC-USDC"]["price"] == by_name["BTC-USD"]["price"]
    assert {row["best_bid_price"] for row in by_name.values()} == {""}
    product = coinbase.get(f"{ADVANCED}/market/products/BTC-USD").json()
    assert product["best_bid_price"] == product["price"]
    candles = [
        coinbase.get(f"{ADVANCED}/market/products/{name}/candles", params=_advanced_candles(5))
        for name in ("BTC-USD", "BTC-USDC")
    ]
    assert candles[0].json() == candles[1].json()


@pytest.mark.parametrize("path", ["/time", "/market/products", "/market/products/NO-SUCH"])
def test_advanced_answers_claim_to_be_fresh_for_four_hours(
    coinbase: httpx.Client, path: str
) -> None:
    """A cache that obeys it serves old prices."""
    answer = coinbase.get(f"{ADVANCED}{path}")
    assert answer.headers["cache-control"] == "public, max-age=14400"


def test_tomorrows_simulator_serves_yesterdays_rows(coinbase: httpx.Client, clock: Clock) -> None:
    """What has happened stays as it was."""
    asked = [(CANDLES, _window(299)), (TRADES, {"after": "22000000"})]
    before = [coinbase.get(path, params=parameters).content for path, parameters in asked]
    clock.advance(86_400 * 400)
    assert before == [coinbase.get(path, params=parameters).content for path, parameters in asked]


def test_an_unknown_quirk_names_those_there_are() -> None:
    """Of Coinbase."""
    with pytest.raises(ValueError, match="stale_copy"):
        faults.odd("nonsense", Reply(status=200, body=b"[]"))


def test_the_truth_is_the_worlds(coinbase: httpx.Client) -> None:
    """The truth equals the candles."""
    day = date(2026, 8, 4)
    now = datetime(2026, 8, 6, tzinfo=UTC)
    truth = CryptoWorld().bar_truth("coinbase", ["BTC-USD"], day, day, now).to_pylist()[:100]
    rows = coinbase.get(CANDLES, params=_window(299)).json()[::-1][:100]
    names = ("low", "high", "open", "close", "volume")
    assert [[row[name] for name in names] for row in truth] == [row[1:] for row in rows]
