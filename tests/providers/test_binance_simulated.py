"""The Binance client against the simulators: files, REST, and their faults."""

import asyncio
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from marketdata import minute_bars, trades
from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import INSTANT
from resources.ask import main
from resources.providers.binance import BinanceClient, klines
from resources.providers.binance.answer_builder import REST_UNREADABLE
from resources.providers.binance.rows import Klines
from resources.providers.binance.trades import MISSING
from resources.providers.kept_answers import KeptGetter
from tests.providers.binance_world import Kept, SimulatedBinance, serve

NOW = datetime(2026, 11, 21, 12, 34, 20, tzinfo=UTC)
TODAY, YESTERDAY, EARLIER = date(2026, 11, 21), date(2026, 11, 20), date(2026, 11, 19)
DAY_OF_BARS = "/binance-files/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-"
DAY_OF_TRADES = "/binance-files/data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedBinance]:
    """Both simulators."""
    with serve(tmp_path_factory.mktemp("binance"), NOW) as binance:
        yield binance


@pytest.fixture
def binance(served: SimulatedBinance) -> SimulatedBinance:
    """The simulators without the faults, the kept answers and the clock of earlier tests."""
    served.heal()
    served.kept = Kept()
    served.clock.moment = NOW
    return served


def _bars(binance: SimulatedBinance, start: date, end: date) -> Answer:
    return binance.do(lambda client: client.minute_bars("BTCUSDT", start, end))


def _trades(binance: SimulatedBinance, start: date, end: date) -> Answer:
    return binance.do(lambda client: client.trades("BTCUSDT", start, end))


def _truth(binance: SimulatedBinance, of: str, start: date, end: date) -> pa.Table:
    world = binance.crypto
    truth = world.bar_truth if of == "bars" else world.trade_truth
    return truth("binance", ["BTC-USDT"], start, end, binance.clock())


def _rows(table: pa.Table) -> list[tuple[object, ...]]:
    unnamed = table.drop_columns(["symbol"])
    return sorted(tuple(row.values()) for row in unnamed.to_pylist())


def test_bars_of_weeks_come_from_months_days_and_rest(binance: SimulatedBinance) -> None:
    """Every minute that is over, exactly; a file each for what is published, REST for today."""
    start = date(2026, 10, 30)
    answer = _bars(binance, start, TODAY)
    assert _rows(answer.rows) == _rows(_truth(binance, "bars", start, TODAY))
    assert pc.max(answer.rows["opened_at"]).as_py() == datetime(2026, 11, 21, 12, 33, tzinfo=UTC)
    assert answer.request == (
        "klines symbol=BTCUSDT interval=1m from=2026-10-30 to=2026-11-21 "
        "by=month:2026-10-30..2026-10-31,day:2026-11-01..2026-11-20,rest:2026-11-21..2026-11-21"
    )
    # The time; checksum and zip of one month and twenty days; one page of 754 minutes.
    assert answer.requests == 1 + 2 + 40 + 1
    assert len(answer.raw_answers) == answer.requests
    bodies = b"".join(binance.kept.bodies[pointer] for pointer in answer.raw_answers)
    assert answer.content_sha256 == hashlib.sha256(bodies).hexdigest()
    assert set(answer.rows["symbol"].to_pylist()) == {"BTCUSDT"}
    assert minute_bars.validate(answer.rows).rejected == ()


def test_a_month_is_asked_for_once_it_is_published(binance: SimulatedBinance) -> None:
    """October's file comes on Monday 2 November; before, its days are asked for one by one."""
    binance.clock.moment = datetime(2026, 11, 2, 12, tzinfo=UTC)
    start, end = date(2026, 10, 30), date(2026, 10, 31)
    assert "by=day:2026-10-30..2026-10-31" in _bars(binance, start, end).request
    binance.clock.moment = datetime(2026, 11, 3, 12, tzinfo=UTC)
    assert "by=month:2026-10-30..2026-10-31" in _bars(binance, start, end).request


@pytest.mark.parametrize("day", [date(2024, 12, 31), date(2025, 1, 1)])
def test_milliseconds_and_microseconds_are_told_apart(binance: SimulatedBinance, day: date) -> None:
    """Files before 2025 and since; bars and trades are the world's."""
    assert _rows(_bars(binance, day, day).rows) == _rows(_truth(binance, "bars", day, day))
    assert _rows(_trades(binance, day, day).rows) == _rows(_truth(binance, "trades", day, day))


def test_an_outage_leaves_no_bar_of_any_kind(binance: SimulatedBinance) -> None:
    """Neither in a file nor by REST; a quiet minute has none either."""
    day = date(2025, 11, 30)
    by_file = _bars(binance, day, day)
    binance.fault(kind="unknown", path="/binance-files")
    by_rest = _bars(binance, day, day)
    assert by_rest.request.endswith("by=rest:2025-11-30..2025-11-30")
    assert _rows(by_file.rows) == _rows(by_rest.rows) == _rows(_truth(binance, "bars", day, day))
    first, after = datetime(2025, 11, 30, 6, tzinfo=UTC), datetime(2025, 11, 30, 7, tzinfo=UTC)
    opened = by_file.rows["opened_at"].to_pylist()
    assert not [at for at in opened if first <= at < after]
    assert 1440 - 60 > len(opened) > 1300


def test_yesterdays_file_may_be_still_to_come(binance: SimulatedBinance) -> None:
    """Half past midnight REST serves both days; the answer says so."""
    binance.clock.moment = datetime(2026, 11, 21, 0, 30, 5, tzinfo=UTC)
    bars, traded = _bars(binance, EARLIER, TODAY), _trades(binance, EARLIER, TODAY)
    ways = "by=day:2026-11-19..2026-11-19,rest:2026-11-20..2026-11-21"
    assert bars.request.endswith(ways)
    assert traded.request.endswith(ways)
    assert _rows(bars.rows) == _rows(_truth(binance, "bars", EARLIER, TODAY))
    assert _rows(traded.rows) == _rows(_truth(binance, "trades", EARLIER, TODAY))


def test_a_missing_month_is_made_up_for_by_rest(binance: SimulatedBinance) -> None:
    """Three days of 4,320 minutes, a thousand a page."""
    binance.fault(kind="unknown", path="/binance-files")
    start, end = date(2026, 10, 29), date(2026, 10, 31)
    answer = _bars(binance, start, end)
    assert _rows(answer.rows) == _rows(_truth(binance, "bars", start, end))
    assert answer.request.endswith("by=rest:2026-10-29..2026-10-31")
    assert answer.requests == 1 + 2 + 5


def test_trades_of_days_come_from_files_and_todays_by_rest(binance: SimulatedBinance) -> None:
    """Every trade once; weights are charged: one for the time, four for each page.

    The first page tells whether the file has lost the day's first trades.
    """
    taken = binance.budget.taken
    answer = _trades(binance, YESTERDAY, TODAY)
    truth = _truth(binance, "trades", YESTERDAY, TODAY)
    assert _rows(answer.rows) == _rows(truth)
    assert trades.validate(answer.rows).rejected == ()
    pages = 1 + (truth.num_rows - 8000) // 1000 + 1
    assert answer.requests == 1 + 2 + pages
    assert binance.budget.taken - taken == 1 + 4 * pages


def test_trades_that_a_file_has_lost_come_by_rest(binance: SimulatedBinance) -> None:
    """Jumps within, and everything behind the last one: as in all files of 2021-12-14."""
    binance.fault(kind="quirk", quirk="lost_rows", path=f"{DAY_OF_TRADES}{YESTERDAY}")
    answer = _trades(binance, EARLIER, YESTERDAY)
    assert _rows(answer.rows) == _rows(_truth(binance, "trades", EARLIER, YESTERDAY))
    binance.heal()
    binance.fault(kind="quirk", quirk="lost_rows", path=f"{DAY_OF_TRADES}{EARLIER}")
    answer = _trades(binance, EARLIER, YESTERDAY)
    assert _rows(answer.rows) == _rows(_truth(binance, "trades", EARLIER, YESTERDAY))


@pytest.mark.parametrize("of", ["bars", "trades"])
def test_an_answer_can_be_replayed_from_what_was_kept(binance: SimulatedBinance, of: str) -> None:
    """Weeks later, when other files exist, and though one file was missing then."""
    ask = _bars if of == "bars" else _trades
    path = DAY_OF_BARS if of == "bars" else DAY_OF_TRADES
    binance.fault(kind="unknown", path=f"{path}{EARLIER}", count=2)
    answer = ask(binance, date(2026, 11, 18), TODAY)
    client = binance.kept.again(answer.raw_answers)
    again = binance.do(
        lambda _: (client.minute_bars if of == "bars" else client.trades)(
            "BTCUSDT", date(2026, 11, 18), TODAY
        )
    )
    assert binance.kept.pointers == []
    assert again.rows.equals(answer.rows)
    assert (again.request, again.content_sha256, again.raw_answers) == (
        answer.request,
        answer.content_sha256,
        answer.raw_answers,
    )
    assert "rest:2026-11-19" in answer.request


@dataclass(frozen=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime = NOW


def _replay(kept: Mapping[str, Body], pointers: Sequence[str]) -> BinanceClient:
    getter = KeptGetter("binance", lambda key: kept[key], pointers)
    return BinanceClient(getter, getter)


@pytest.mark.parametrize("of", ["minute_bars", "trades"])
def test_what_an_error_points_to_is_never_taken_for_a_whole_answer(
    binance: SimulatedBinance, of: str
) -> None:
    """Whichever reply is corrupted: the error also points to all before it, and a replay fails."""
    span = ("BTCUSDT", YESTERDAY, TODAY)
    whole = binance.do(lambda client: getattr(client, of)(*span))
    kept = {key: Body(body) for key, body in binance.kept.bodies.items()}
    assert len(whole.raw_answers) >= 4
    for count in range(1, len(whole.raw_answers) + 1):
        known = whole.raw_answers[:count]
        spoilt = {**kept, known[-1]: Body(b"[")}
        with pytest.raises(errors.MalformedPayloadError) as raised:
            asyncio.run(getattr(_replay(spoilt, known), of)(*span))
        assert raised.value.raw_answers == known
        with pytest.raises(errors.MalformedPayloadError, match="not all of this answer was kept"):
            asyncio.run(getattr(_replay(kept, known[:-1]), of)(*span))


@pytest.mark.parametrize("of", ["minute_bars", "trades"])
def test_an_answer_is_as_old_as_binances_clock_in_it(binance: SimulatedBinance, of: str) -> None:
    """A load that runs over midnight holds no whole day."""
    span = ("BTCUSDT", YESTERDAY, TODAY)
    whole = binance.do(lambda client: getattr(client, of)(*span))
    kept = {
        raw_answer: Body(binance.kept.bodies[raw_answer], NOW + place * timedelta(hours=6))
        for place, raw_answer in enumerate(whole.raw_answers)
    }
    answer = asyncio.run(getattr(_replay(kept, whole.raw_answers), of)(*span))
    assert answer.fetched_at == NOW
    assert answer.rows.equals(whole.rows)


def _trade(number: int, at: datetime) -> dict[str, object]:
    time = round(at.timestamp() * 1000)
    return {"a": number, "p": "1", "q": "1", "f": 1, "l": 1, "T": time, "m": True, "M": True}


def test_numbers_that_neither_file_nor_rest_has_are_reported() -> None:
    """One text a run, between two days too; a row that cannot be placed is not missing."""
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    name = "BTCUSDT-aggTrades-2026-11-20"
    lines = [_trade(number, noon).values() for number in (5, 6, 9, 14)]
    csv = "\n".join(",".join(str(cell) for cell in line) for line in lines)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{name}.csv", csv)
    zipped = packed.getvalue()
    after = datetime(2026, 11, 21, 0, 0, 1, tzinfo=UTC)
    bodies = [
        b'{"serverTime":%d}' % round(NOW.timestamp() * 1000),
        f"{hashlib.sha256(zipped).hexdigest()}  {name}.zip".encode(),
        zipped,
        json.dumps([_trade(4, noon), _trade(5, noon)]).encode(),
        json.dumps([_trade(4, noon), _trade(5, noon)]).encode(),
        json.dumps([_trade(9, noon), _trade(14, noon)]).encode(),
        json.dumps(
            [_trade(10, noon), {**_trade(11, noon), "T": "soon"}, _trade(13, noon)]
        ).encode(),
        json.dumps([_trade(17, after), _trade(18, after), _trade(20, after)]).encode(),
        json.dumps([_trade(0, noon)]).encode(),
    ]
    kept = {f"raw/{place}": Body(body) for place, body in enumerate(bodies)}
    answer = asyncio.run(_replay(kept, tuple(kept)).trades("BTCUSDT", YESTERDAY, TODAY))
    assert sorted(answer.rows["trade_id"].to_pylist()) == [4, 5, 6, 9, 10, 13, 14, 17, 18, 20]
    assert [row.what for row in answer.left_out if row.reason == MISSING] == [
        "trades 7 to 8",
        "trades 12 to 12",
        "trades 15 to 16",
        "trades 19 to 19",
    ]
    assert len(answer.left_out) == 5


def test_a_run_that_is_missing_between_two_days_is_told_once() -> None:
    """Both days are asked for by REST, since there are no files of them."""
    noons = [datetime(2026, 11, day, 12, tzinfo=UTC) for day in (19, 20)]
    missing = b"<Error><Code>NoSuchKey</Code></Error>"
    page = json.dumps([_trade(5, noons[0]), _trade(8, noons[1])]).encode()
    rest = json.dumps([_trade(8, noons[1])]).encode()
    clock = b'{"serverTime":%d}' % round(NOW.timestamp() * 1000)
    bodies = [clock, missing, missing, page, json.dumps([_trade(1, noons[0])]).encode()]
    bodies += [missing, missing, rest]
    kept = {f"raw/{place}": Body(body) for place, body in enumerate(bodies)}
    answer = asyncio.run(_replay(kept, tuple(kept)).trades("BTCUSDT", EARLIER, YESTERDAY))
    assert answer.rows["trade_id"].to_pylist() == [5, 8]
    assert [(row.what, row.reason) for row in answer.left_out] == [("trades 6 to 7", MISSING)]


def test_trades_after_the_answers_own_time_are_for_the_next_answer() -> None:
    """Those that happen while the pages come; so a repeated answer ends where the first did."""
    began = round(NOW.timestamp() * 1000)
    rows = [
        {
            "a": 7 + number,
            "p": "1",
            "q": "1",
            "f": 1,
            "l": 1,
            "T": began + number - 1,
            "m": number > 0,
        }
        for number in range(3)
    ]
    kept = Kept({"time": b'{"serverTime":%d}' % began, "page": json.dumps(rows).encode()})
    answer = asyncio.run(kept.again(["time", "page"]).trades("BTCUSDT", TODAY, TODAY))
    assert answer.rows["trade_id"].to_pylist() == [7]


def test_a_day_to_come_has_no_rows(binance: SimulatedBinance) -> None:
    """Only the time was asked for."""
    for answer in (
        _bars(binance, date(2026, 11, 22), date(2026, 11, 25)),
        _trades(binance, date(2026, 11, 22), date(2026, 11, 25)),
    ):
        assert (answer.rows.num_rows, answer.requests) == (0, 1)
        assert answer.request.endswith("from=2026-11-22 to=2026-11-25 by=nothing")


def test_an_unknown_symbol_is_named_by_rest(binance: SimulatedBinance) -> None:
    """There is no file of it, and REST says why."""
    for of in ("bars", "trades"):
        with pytest.raises(errors.UnknownSymbolError, match="Invalid symbol"):
            binance.do(
                lambda client, of=of: (client.minute_bars if of == "bars" else client.trades)(
                    "NOSUCHUSDT", YESTERDAY, YESTERDAY
                )
            )


@pytest.mark.parametrize("symbol", ["", "btcusdt", "BTC/USDT", "../BTCUSDT", "BTCUSDT,ETHUSDT"])
def test_what_cannot_be_a_symbol_is_not_sent(binance: SimulatedBinance, symbol: str) -> None:
    """It would become a part of a path."""
    before = len(binance.asked())
    with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
        binance.do(lambda client: client.minute_bars(symbol, YESTERDAY, YESTERDAY))
    assert len(binance.asked()) == before


def test_a_reversed_range_is_the_programs_mistake(binance: SimulatedBinance) -> None:
    """It would read like a span without bars."""
    with pytest.raises(ValueError, match="reversed"):
        _bars(binance, TODAY, YESTERDAY)


REST_KLINES, REST_TRADES = "/binance/api/v3/klines", "/binance/api/v3/aggTrades"


@pytest.mark.parametrize("path", ["/binance/api/v3/", REST_KLINES, DAY_OF_BARS])
@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "status", "status": 429, "seconds": 30}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
    ],
)
def test_a_passing_fault_is_survived_and_a_lasting_one_is_named(
    binance: SimulatedBinance, path: str, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Twice wrong, then right: the third attempt brings the bars."""
    binance.fault(**rule, path=path, count=2)
    answer = _bars(binance, YESTERDAY, TODAY)
    assert _rows(answer.rows) == _rows(_truth(binance, "bars", YESTERDAY, TODAY))
    assert answer.requests == 1 + 2 + 1 + 2
    binance.fault(**rule, path=path)
    with pytest.raises(kind):
        _bars(binance, YESTERDAY, TODAY)


@pytest.mark.parametrize(
    ("rule", "kind", "message"),
    [
        ({"kind": "malformed"}, errors.MalformedPayloadError, "not JSON"),
        ({"kind": "html", "status": 200}, errors.MalformedPayloadError, "not JSON"),
        ({"kind": "error_in_200"}, errors.RateLimitedError, "Too much request weight"),
        ({"kind": "unknown"}, errors.UnknownSymbolError, "Invalid symbol"),
        ({"kind": "quirk", "quirk": "banned"}, errors.RateLimitedError, "HTTP 418.*banned until"),
        ({"kind": "quirk", "quirk": "restricted"}, errors.KeyRefusedError, "HTTP 451.*every req"),
        (
            {"kind": "quirk", "quirk": "firewall"},
            errors.ProviderUnavailableError,
            "HTTP 403.*firewall",
        ),
        ({"kind": "status", "status": 400}, errors.RequestRejectedError, "HTTP 400: injected"),
    ],
)
@pytest.mark.parametrize("of", ["bars", "trades"])
def test_what_rest_does_wrong_is_named(
    binance: SimulatedBinance,
    of: str,
    rule: dict[str, object],
    kind: type[errors.ProviderError],
    message: str,
) -> None:
    """Each by the error class that says what to do."""
    binance.fault(**rule, path=REST_KLINES if of == "bars" else REST_TRADES)
    with pytest.raises(kind, match=message):
        (_bars if of == "bars" else _trades)(binance, TODAY, TODAY)


def test_a_ban_tells_how_long_it_lasts(binance: SimulatedBinance) -> None:
    """By its Retry-After."""
    binance.fault(kind="quirk", quirk="banned", path="/binance/")
    with pytest.raises(errors.RateLimitedError) as raised:
        _bars(binance, TODAY, TODAY)
    assert raised.value.retry_after_s == 120.0


@pytest.mark.parametrize("of", ["bars", "trades"])
def test_a_file_whose_checksum_stays_wrong_is_made_up_for_by_rest(
    binance: SimulatedBinance, of: str
) -> None:
    """REST has the day whole; the answer says why it was asked."""
    path = DAY_OF_BARS if of == "bars" else DAY_OF_TRADES
    binance.fault(kind="quirk", quirk="wrong_checksum", path=path)
    answer = (_bars if of == "bars" else _trades)(binance, YESTERDAY, YESTERDAY)
    assert _rows(answer.rows) == _rows(_truth(binance, of, YESTERDAY, YESTERDAY))
    assert answer.request.endswith("by=rest:2026-11-20..2026-11-20")
    assert answer.left_out == ()
    assert "is not used: the file's SHA-256 is" in answer.notes[0]


@pytest.mark.parametrize("of", ["bars", "trades"])
def test_a_file_without_a_checksum_is_read_all_the_same(binance: SimulatedBinance, of: str) -> None:
    """Every zip has one of its own; missing and illegible ones are noted."""
    path = DAY_OF_BARS if of == "bars" else DAY_OF_TRADES
    ask = _bars if of == "bars" else _trades
    truth = _rows(_truth(binance, of, YESTERDAY, YESTERDAY))
    for rule in ({"kind": "unknown"}, {"kind": "html", "status": 200}):
        binance.fault(**rule, path=path, count=1)
        answer = ask(binance, YESTERDAY, YESTERDAY)
        assert _rows(answer.rows) == truth
        assert answer.request.endswith("by=day:2026-11-20..2026-11-20")
        assert "has no checksum beside it" in answer.notes[0]


def test_a_month_whose_file_is_spoilt_comes_from_files_of_its_days(
    binance: SimulatedBinance,
) -> None:
    """REST would take five pages for the same."""
    binance.fault(kind="quirk", quirk="wrong_checksum", path="/binance-files/data/spot/monthly")
    start, end = date(2026, 10, 29), date(2026, 10, 31)
    answer = _bars(binance, start, end)
    assert _rows(answer.rows) == _rows(_truth(binance, "bars", start, end))
    assert answer.request.endswith("by=day:2026-10-29..2026-10-31")


@pytest.mark.parametrize("of", ["bars", "trades"])
def test_files_of_a_pair_that_the_venue_has_removed_are_kept(
    binance: SimulatedBinance, of: str
) -> None:
    """REST says -1121; a day without a file is named, and none is called empty."""
    binance.fault(kind="unknown", path=REST_KLINES if of == "bars" else REST_TRADES)
    path = DAY_OF_BARS if of == "bars" else DAY_OF_TRADES
    binance.fault(kind="unknown", path=f"{path}{EARLIER}")
    answer = (_bars if of == "bars" else _trades)(binance, EARLIER, YESTERDAY)
    assert _rows(answer.rows) == _rows(_truth(binance, of, YESTERDAY, YESTERDAY))
    assert [row.day for row in answer.left_out] == [EARLIER]
    assert "REST does not know the symbol" in answer.left_out[0].reason


def test_minutes_that_a_file_has_lost_come_by_rest(binance: SimulatedBinance) -> None:
    """A good checksum vouches for the file, not for the day: venues write quiet minutes too."""
    binance.fault(kind="quirk", quirk="lost_rows", path=f"{DAY_OF_BARS}{YESTERDAY}")
    answer = _bars(binance, YESTERDAY, YESTERDAY)
    assert _rows(answer.rows) == _rows(_truth(binance, "bars", YESTERDAY, YESTERDAY))
    assert (answer.left_out, answer.notes) == ((), ())


@pytest.mark.parametrize("of", ["bars", "trades"])
def test_a_day_whose_file_lost_rows_while_rest_cannot_be_read_stays_open(
    binance: SimulatedBinance, of: str
) -> None:
    """The file's rows are kept; the day waits in a letter, since REST may have more tomorrow."""
    path = DAY_OF_BARS if of == "bars" else DAY_OF_TRADES
    ask = _bars if of == "bars" else _trades
    binance.fault(kind="quirk", quirk="lost_rows", path=f"{path}{YESTERDAY}")
    binance.fault(kind="malformed", path=REST_KLINES if of == "bars" else REST_TRADES)
    answer = ask(binance, EARLIER, YESTERDAY)
    truth = _rows(_truth(binance, of, EARLIER, YESTERDAY))
    assert 0 < len(_rows(answer.rows)) < len(truth)
    assert set(_rows(answer.rows)) < set(truth)
    assert YESTERDAY in answer.untold
    assert {row.day for row in answer.left_out} >= {YESTERDAY}
    assert {row.reason for row in answer.left_out} == {REST_UNREADABLE}

    binance.heal()
    healed = ask(binance, EARLIER, YESTERDAY)
    assert (_rows(healed.rows), healed.left_out) == (truth, ())


def test_minutes_that_the_venue_has_nowhere_are_noted(binance: SimulatedBinance) -> None:
    """An outage from six to seven: a fact with its minutes, neither a hole nor silence."""
    day = date(2025, 11, 30)
    (by_file,) = _bars(binance, day, day).notes
    assert by_file == (
        "no kline of 60 minutes, 2025-11-30 06:00 to 2025-11-30 06:59 (UTC): "
        "neither its file nor REST has one"
    )
    binance.fault(kind="unknown", path="/binance-files")
    (by_rest,) = _bars(binance, day, day).notes
    assert by_rest == by_file.replace("neither its file nor REST has one", "REST has none")


def test_a_minute_that_ends_while_rest_is_asked_is_not_missing() -> None:
    """It was not over at the first request; the next one has opened by the last page."""
    day = date(2026, 11, 29)
    asked_at = datetime(2026, 11, 29, 0, 3, 40, tzinfo=UTC)
    minutes = [datetime(2026, 11, 29, 0, minute, tzinfo=UTC) for minute in range(3)]
    answer = Klines(
        bars=minute_bars.WIRE_MINUTE_BARS.empty_table(),
        quiet=pa.chunked_array([pa.array(minutes, INSTANT)]),
        left_out=(),
        notes=(),
        rows=5,
        last_at=datetime(2026, 11, 29, 0, 4, tzinfo=UTC),
    )
    piece = klines.Piece(way="rest", first=day, last=day, path=None)

    # No simulated answer comes so late.
    missing_in_rest = klines._missing_in_rest  # pyright: ignore[reportPrivateUsage]
    assert missing_in_rest(answer, piece, asked_at).tolist() == []
    later = asked_at.replace(minute=4, second=30)
    missing = missing_in_rest(answer, piece, later).tolist()
    assert [datetime.fromtimestamp(minute * 60, UTC).minute for minute in missing] == [3]


def _zip(name: str, rows: Sequence[Sequence[object]]) -> bytes:
    packed = io.BytesIO()
    csv = "\n".join(",".join(str(cell) for cell in row) for row in rows)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{name}.csv", csv)
    return packed.getvalue()


def _kline(opens: datetime, lasts_ms: int = 60_000) -> list[object]:
    at = round(opens.timestamp() * 1000)
    figures = ["7500.1", "7510.0", "7490.0", "7505.5", "12.5"]
    return [at, *figures, at + lasts_ms - 1, "93800.0", 40, "6.0", "45000.0", "0"]


def test_the_days_around_the_outage_of_february_2018_are_stored() -> None:
    """One kline of 14.8 seconds and 1,200 that open within a minute cost their own minutes alone.

    REST is asked for these minutes and has the same rows: one letter for all of them.
    """
    day = date(2018, 2, 9)
    begins, name = datetime(2018, 2, 9, tzinfo=UTC), f"BTCUSDT-1m-{day}"
    minute = timedelta(minutes=1)
    short = _kline(begins, 14_789)
    good = [_kline(begins + number * minute) for number in range(1, 240)]
    later = begins + 240 * minute + timedelta(seconds=14)
    odd = [_kline(later + number * minute) for number in range(1200)]
    zipped = _zip(name, [short, *good, *odd])
    bodies = [
        b'{"serverTime":%d}' % round(NOW.timestamp() * 1000),
        f"{hashlib.sha256(zipped).hexdigest()}  {name}.zip".encode(),
        zipped,
        json.dumps([[str(cell) for cell in row] for row in odd[:1000]]).encode(),
        json.dumps([[str(cell) for cell in row] for row in odd[1000:]]).encode(),
    ]
    kept = {f"raw/{place}": Body(body) for place, body in enumerate(bodies)}
    answer = asyncio.run(_replay(kept, tuple(kept)).minute_bars("BTCUSDT", day, day))
    assert answer.rows.num_rows == 240
    assert len(answer.left_out) == 1200
    assert {(row.day, row.reason) for row in answer.left_out} == {
        (day, "the kline opens within a minute")
    }
    assert answer.notes[0].startswith("1 klines end before their minute does")


@pytest.mark.parametrize(("first_id", "is_cut"), [(5000, True), (1, False)])
def test_a_day_before_rests_first_trade_is_neither_empty_nor_lost(
    first_id: int, *, is_cut: bool
) -> None:
    """Without a file nothing is known of it; a pair's own first trade has none before it."""
    missing = b"<Error><Code>NoSuchKey</Code></Error>"
    later = json.dumps([_trade(first_id, datetime(2026, 11, 20, 12, tzinfo=UTC))]).encode()
    bodies = [b'{"serverTime":%d}' % round(NOW.timestamp() * 1000), missing, missing, later]
    kept = {f"raw/{place}": Body(body) for place, body in enumerate([*bodies, later])}
    pointers = tuple(kept) if is_cut else tuple(kept)[:-1]
    answer = asyncio.run(_replay(kept, pointers).trades("BTCUSDT", EARLIER, EARLIER))
    assert (answer.rows.num_rows, answer.left_out) == (0, ())
    assert answer.untold == (frozenset({EARLIER}) if is_cut else frozenset())
    assert [note.startswith("Binance's REST begins with trade 5000") for note in answer.notes] == (
        [True] if is_cut else []
    )


def test_a_file_from_before_rests_first_trade_lacks_nothing() -> None:
    """Trades before REST's reach do not count as missing."""
    name = f"BTCUSDT-aggTrades-{EARLIER}"
    noon, after = datetime(2026, 11, 19, 12, tzinfo=UTC), datetime(2026, 11, 20, 12, tzinfo=UTC)
    zipped = _zip(name, [list(_trade(number, noon).values()) for number in (7, 8)])
    later = json.dumps([_trade(5000, after)]).encode()
    bodies = [
        b'{"serverTime":%d}' % round(NOW.timestamp() * 1000),
        f"{hashlib.sha256(zipped).hexdigest()}  {name}.zip".encode(),
        zipped, later, later, later,
    ]  # fmt: skip
    kept = {f"raw/{place}": Body(body) for place, body in enumerate(bodies)}
    answer = asyncio.run(_replay(kept, tuple(kept)).trades("BTCUSDT", EARLIER, EARLIER))
    assert answer.rows["trade_id"].to_pylist() == [7, 8]
    assert (answer.left_out, answer.untold) == ((), frozenset())
    assert answer.notes[0].startswith("Binance's REST begins with trade 5000")


@pytest.mark.parametrize(
    ("of", "path", "day"),
    [
        ("bars", DAY_OF_BARS, YESTERDAY),
        ("bars", REST_KLINES, TODAY),
        ("trades", DAY_OF_TRADES, YESTERDAY),
        ("trades", REST_TRADES, TODAY),
    ],
)
def test_spoilt_rows_are_left_to_validation(
    binance: SimulatedBinance, of: str, path: str, day: date
) -> None:
    """Two of them are refused there, with a reason; a repeated one counts once.

    Those of a file are made up for by REST.
    """
    ask, judge = (_bars, minute_bars) if of == "bars" else (_trades, trades)
    whole = ask(binance, day, day).rows.num_rows
    binance.fault(kind="malformed_rows", path=path, count=2 if day == YESTERDAY else 1)
    validated = judge.validate(ask(binance, day, day).rows)
    if day == YESTERDAY:
        assert (validated.accepted.num_rows, validated.rejected) == (whole, ())
        return
    assert (validated.accepted.num_rows, len(validated.rejected)) == (whole - 2, 2)
    reasons = {rejection.reason.split(" is ")[0] for rejection in validated.rejected}
    assert reasons == ({"close", "high"} if of == "bars" else {"price", "size"})
    binance.fault(kind="duplicate_rows", path=path, count=2 if day == YESTERDAY else 1)
    repeated = ask(binance, day, day).rows
    assert repeated.num_rows == whole + 1
    assert judge.validate(repeated).accepted.num_rows == whole


@pytest.mark.parametrize("quirk", ["numbers", "reversed"])
@pytest.mark.parametrize("of", ["bars", "trades"])
def test_other_forms_of_the_same_rows_are_read_alike(
    binance: SimulatedBinance, of: str, quirk: str
) -> None:
    """Figures without quotation marks, and the newest row first."""
    binance.fault(kind="quirk", quirk=quirk, path="/binance/api/v3/klines")
    binance.fault(kind="quirk", quirk=quirk, path="/binance/api/v3/aggTrades")
    answer = (_bars if of == "bars" else _trades)(binance, TODAY, TODAY)
    assert _rows(answer.rows) == _rows(_truth(binance, of, TODAY, TODAY))


@pytest.mark.parametrize("of", ["bars", "trades"])
def test_a_header_in_a_file_is_no_row(binance: SimulatedBinance, of: str) -> None:
    """Files of futures have one; spot's might get one."""
    binance.fault(kind="quirk", quirk="header", path="/binance-files/")
    answer = (_bars if of == "bars" else _trades)(binance, YESTERDAY, YESTERDAY)
    assert _rows(answer.rows) == _rows(_truth(binance, of, YESTERDAY, YESTERDAY))


def test_a_file_that_was_replaced_restates_its_row(binance: SimulatedBinance) -> None:
    """Its checksum fits it, so only the values show it."""
    before = _trades(binance, EARLIER, EARLIER).rows.sort_by("trade_id")
    binance.fault(kind="quirk", quirk="replaced", path=DAY_OF_TRADES)
    after = _trades(binance, EARLIER, EARLIER).rows.sort_by("trade_id")
    assert after["size"][0].as_py() - before["size"][0].as_py() == Decimal(1)
    assert after.slice(1).equals(before.slice(1))


def test_todays_bars_stay_the_same_tomorrow(binance: SimulatedBinance) -> None:
    """REST and file have the same rows of a day."""
    today = _rows(_bars(binance, TODAY, TODAY).rows)
    traded = _rows(_trades(binance, TODAY, TODAY).rows)
    binance.clock.moment = NOW + timedelta(days=1)
    tomorrow, by_file = _bars(binance, TODAY, TODAY), _trades(binance, TODAY, TODAY)
    assert _rows(tomorrow.rows)[: len(today)] == today
    assert _rows(by_file.rows)[: len(traded)] == traded
    assert "by=day" in tomorrow.request
    assert "by=day" in by_file.request


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("crypto_bars", "rows in 2 requests: klines symbol=ETHUSDT interval=1m from=2026-11-21"),
        ("crypto_trades", "rows in 6 requests: aggTrades symbol=ETHUSDT from=2026-11-21"),
    ],
)
def test_it_runs_by_hand(
    binance: SimulatedBinance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    of: str,
    message: str,
) -> None:
    """Addresses come from the environment; an error is one line."""
    monkeypatch.setenv("BINANCE_BASE_URL", f"{binance.origin}/binance")
    monkeypatch.setenv("BINANCE_FILES_URL", f"{binance.origin}/binance-files")
    span = ["--from", "2026-11-21", "--to", "2026-11-21", "--provider", "binance"]
    assert main([of, "ETHUSDT", *span]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22
    assert message in lines[-1]
    assert main([of, "NOSUCHUSDT", *span]) == 1
    assert capsys.readouterr().err.endswith("Invalid symbol.\n")
