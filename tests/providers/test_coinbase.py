"""The requests of one answer of Coinbase, and the use of their bodies."""

import asyncio
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketdata.ports import Answer
from marketdata.recovery import errors
from resources.ask import main
from resources.providers.coinbase import CoinbaseClient
from resources.providers.http import HttpAnswer
from resources.providers.kept_answers import KeptGetter

DAY = date(2026, 8, 4)
LATER = datetime(2026, 8, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERY = tuple(f"raw/{number}" for number in range(1, 100))


@dataclass(frozen=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime


@dataclass
class Bodies:
    """A Getter whose bodies a function makes; answers come late in reverse order of asking."""

    body: Callable[[str, Mapping[str, str]], object]
    fetched_at: datetime = LATER
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    kept: dict[str, Body] = field(default_factory=dict)
    step: timedelta = timedelta(0)
    pauses: Mapping[int, float] | None = None

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        assert weight == 1
        self.asked.append((path, dict(parameters)))
        self.operations.append(operation)
        number = len(self.asked)
        body = json.dumps(self.body(path, parameters)).encode()
        pause_s = 0.0005 * (20 - number) if number < 20 else 0
        await asyncio.sleep(pause_s if self.pauses is None else self.pauses.get(number, 0))
        fetched_at = self.fetched_at + number * self.step
        self.kept[f"raw/{number}"] = Body(body, fetched_at)
        return HttpAnswer(
            status=200,
            headers={},
            body=body,
            sha256=sha256(body).hexdigest(),
            fetched_at=fetched_at,
            requests=1,
            raw_answer=f"raw/{number}",
        )


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _candle(at: datetime, volume: float = 1.0) -> list[float]:
    return [int(at.timestamp()), 1.0, 2.0, 1.5, 1.75, volume]


def _of_window(parameters: Mapping[str, str]) -> list[list[float]]:
    """All minutes of the window, newest first."""
    start, end = (datetime.fromisoformat(parameters[name]) for name in ("start", "end"))
    return [_candle(start + offset * MINUTE) for offset in range((end - start) // MINUTE + 1)][::-1]


def _bars(bodies: Bodies, start: date = DAY, end: date = DAY) -> Answer:
    return asyncio.run(CoinbaseClient(bodies).minute_bars("BTC-USD", start, end))


def test_a_day_is_asked_for_in_five_windows_of_at_most_300_buckets() -> None:
    """Both edges count, so that 300 buckets are 299 minutes; start and end are always sent."""
    bodies = Bodies(lambda _, parameters: _of_window(parameters))
    answer = _bars(bodies)
    assert [path for path, _ in bodies.asked] == ["products/BTC-USD/candles"] * 5
    assert [(query["start"], query["end"], query["granularity"]) for _, query in bodies.asked] == [
        ("2026-08-04T00:00:00Z", "2026-08-04T04:59:00Z", "60"),
        ("2026-08-04T05:00:00Z", "2026-08-04T09:59:00Z", "60"),
        ("2026-08-04T10:00:00Z", "2026-08-04T14:59:00Z", "60"),
        ("2026-08-04T15:00:00Z", "2026-08-04T19:59:00Z", "60"),
        ("2026-08-04T20:00:00Z", "2026-08-04T23:59:00Z", "60"),
    ]
    assert answer.rows.num_rows == 1440
    assert sorted(set(answer.rows["opened_at"].to_pylist())) == [
        _at("2026-08-04") + offset * MINUTE for offset in range(1440)
    ]


def test_windows_run_on_through_midnight() -> None:
    """Five days are 24 requests, not 25."""
    bodies = Bodies(lambda _, parameters: _of_window(parameters))
    assert _bars(bodies, DAY, DAY + timedelta(days=4)).rows.num_rows == 5 * 1440
    assert len(bodies.asked) == 24


def test_an_answers_origin_is_in_the_order_of_the_windows() -> None:
    """However late each answer comes: kept answers are replayed in the order of asking."""
    bodies = Bodies(lambda _, parameters: _of_window(parameters))
    answer = _bars(bodies)
    assert answer.raw_answers == ("raw/1", "raw/2", "raw/3", "raw/4", "raw/5")
    assert answer.request == "candles symbol=BTC-USD granularity=60 from=2026-08-04 to=2026-08-04"
    whole = b"".join(json.dumps(_of_window(query)).encode() for _, query in bodies.asked)
    assert answer.content_sha256 == sha256(whole).hexdigest()
    assert (answer.requests, answer.fetched_at, answer.left_out) == (5, LATER, ())
    assert bodies.operations[1] == f"{answer.request} window=2026-08-04T05:00Z"


@pytest.mark.parametrize(
    ("fetched_at", "last"),
    [
        ("2026-08-04T10:01:00", "2026-08-04T10:00"),
        ("2026-08-04T10:01:59.999999", "2026-08-04T10:00"),
        ("2026-08-04T10:00:59.999999", "2026-08-04T09:59"),
    ],
)
def test_a_minute_that_is_not_over_is_left_out(fetched_at: str, last: str) -> None:
    """By the time of the answer, also of a kept one."""
    bodies = Bodies(lambda _, parameters: _of_window(parameters), fetched_at=_at(fetched_at))
    assert max(_bars(bodies).rows["opened_at"].to_pylist()) == _at(last)


def test_buckets_from_before_the_window_belong_to_another() -> None:
    """They are dropped: not asked for in the first window, part of their own window otherwise."""

    def body(_: str, parameters: Mapping[str, str]) -> object:
        start = datetime.fromisoformat(parameters["start"])
        return [*_of_window(parameters), _candle(start - MINUTE, volume=99.0)]

    rows = _bars(Bodies(body)).rows
    assert rows.num_rows == 1440
    assert 99.0 not in rows["volume"].to_pylist()


def test_windows_of_a_month_are_149_requests() -> None:
    """What a backfill costs: 300 minutes a request."""
    bodies = Bodies(lambda *_: [])
    client = CoinbaseClient(bodies)
    asyncio.run(client.minute_bars("BTC-USD", date(2026, 7, 1), date(2026, 7, 31)))
    assert len(bodies.asked) == 149


def test_one_bucket_before_a_window_without_trades_is_no_bar() -> None:
    """A quiet pair's last bucket."""
    bodies = Bodies(lambda *_: [_candle(_at("2026-08-03T23:59"))])
    assert _bars(bodies).rows.num_rows == 0


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([_candle(_at("2026-08-04T05:00"))], "a bucket after the window"),
        ([_candle(_at("2026-08-09T00:00"))], "a bucket after the window"),
        ([_candle(_at("2026-08-03T10:00")), _candle(_at("2026-08-03T09:59"))], "all 2 buckets"),
    ],
)
def test_the_answer_to_another_request_is_malformed(rows: Sequence[object], named: str) -> None:
    """Coinbase ignores a window that it cannot read, and caches keep what they like."""
    first = "2026-08-04T00:00:00Z"
    bodies = Bodies(lambda _, parameters: rows if parameters["start"] == first else [])
    with pytest.raises(errors.MalformedPayloadError, match=named) as caught:
        _bars(bodies)
    pointers = caught.value.raw_answers
    assert pointers == EVERY[: len(pointers)]
    assert pointers


@pytest.mark.parametrize(
    ("spoilt", "late", "known"),
    [(1, 0, 5), (4, 0, 5), (4, 3, 2), (5, 1, 0), (2, 5, 4), (1, 2, 1)],
)
def test_windows_that_an_error_points_to_never_pass_for_the_whole(
    spoilt: int, late: int, known: int
) -> None:
    """Answers come in any order: a window that has none yet ends what is pointed to.

    Else those behind it would be read as the windows before them.
    """
    start = f"2026-08-04T{5 * (spoilt - 1):02}:00:00Z"
    bodies = Bodies(
        lambda _, query: {} if query["start"] == start else _of_window(query),
        pauses={spoilt: 0.05, late: 5.0},
    )
    with pytest.raises(errors.MalformedPayloadError, match="a list was promised") as caught:
        _bars(bodies)
    pointers = caught.value.raw_answers
    assert pointers == EVERY[:known]
    getter = KeptGetter("coinbase", lambda key: bodies.kept[key], pointers)
    with pytest.raises(errors.MalformedPayloadError):
        asyncio.run(CoinbaseClient(getter).minute_bars("BTC-USD", DAY, DAY))


@pytest.mark.parametrize("ask", ["minute_bars", "trades"])
def test_an_answer_is_as_old_as_its_oldest_part(ask: str) -> None:
    """A load that runs over midnight holds no whole day."""
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])
    before_midnight = _at("2026-08-04T23:59")
    bodies = Bodies(
        history.page if ask == "trades" else lambda _, query: _of_window(query),
        fetched_at=before_midnight - timedelta(hours=1),
        step=timedelta(hours=1),
    )
    answer = asyncio.run(getattr(CoinbaseClient(bodies), ask)("BTC-USD", DAY, DAY))
    assert len(bodies.asked) > 1
    assert answer.fetched_at == before_midnight


def test_rows_that_cannot_be_placed_are_handed_over() -> None:
    """From every window."""
    bodies = Bodies(lambda _, parameters: [*_of_window(parameters), [1, 2]])
    assert [row.received for row in _bars(bodies).left_out] == [("[1, 2]",)] * 5


def test_the_first_failure_ends_the_other_windows() -> None:
    """It is raised unchanged, and no request continues."""

    def body(_: str, parameters: Mapping[str, str]) -> object:
        if parameters["start"] == "2026-08-04T15:00:00Z":
            message = "down"
            raise errors.ProviderUnavailableError(message, provider="coinbase", operation="op")
        return _of_window(parameters)

    with pytest.raises(errors.ProviderUnavailableError, match="down"):
        _bars(Bodies(body))


@pytest.mark.parametrize("ask", ["minute_bars", "trades"])
def test_what_cannot_be_asked_is_not_sent(ask: str) -> None:
    """A reversed range is the program's mistake, an odd symbol concerns that symbol."""
    bodies = Bodies(lambda *_: [])
    client = CoinbaseClient(bodies)
    with pytest.raises(ValueError, match="reversed"):
        asyncio.run(getattr(client, ask)("BTC-USD", DAY, DAY - timedelta(days=1)))
    with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
        asyncio.run(getattr(client, ask)("BTC-USD/../x", DAY, DAY))
    assert bodies.asked == []


@dataclass
class History:
    """All trades of a product: between two knots they come evenly."""

    knots: list[tuple[int, datetime]]
    lost: frozenset[int] = frozenset()

    @property
    def newest(self) -> int:
        return self.knots[-1][0]

    def at(self, trade_id: int) -> datetime:
        place = min(bisect_right(self.knots, (trade_id, LATER)), len(self.knots) - 1)
        (low, low_at), (high, high_at) = self.knots[place - 1], self.knots[place]
        return low_at + (high_at - low_at) * ((trade_id - low) / (high - low))

    def row(self, trade_id: int) -> dict[str, object]:
        at = f"{self.at(trade_id):%Y-%m-%dT%H:%M:%S.%fZ}"
        return {"trade_id": trade_id, "side": "buy", "size": "1", "price": "2", "time": at}

    def page(self, _: str, parameters: Mapping[str, str]) -> list[dict[str, object]]:
        assert "before" not in parameters
        below = min(int(parameters.get("after", self.newest + 1)), self.newest + 1)
        first = max(below - min(int(parameters["limit"]), 1000), 1)
        ids = [number for number in range(below - 1, first - 1, -1) if number not in self.lost]
        return [self.row(number) for number in ids]

    def ids_of(self, start: date, end: date) -> tuple[int, int]:
        """First and last number of the days; the first is above the last if there is none."""
        since, until = _midnight(start), _midnight(end + timedelta(days=1))
        return self._first_at(since), self._first_at(until) - 1

    def _first_at(self, moment: datetime) -> int:
        low, high = 0, self.newest + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.at(middle) >= moment else (middle, high)
        return high


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _trades(bodies: Bodies, start: date = DAY, end: date = DAY) -> Answer:
    return asyncio.run(CoinbaseClient(bodies).trades("BTC-USD", start, end))


def _ten_years(newest: int = 1_000_000_000) -> History:
    """As Bitcoin's: most trades in the latest years, a burst now and then."""
    shares = [(0.0, "2015-01-08"), (0.01, "2016-06-01"), (0.08, "2017-12-01"), (0.12, "2018-01-20"),
              (0.2, "2020-03-12"), (0.21, "2020-03-13"), (0.6, "2024-03-01"), (0.96, "2026-08-01"),
              (0.97, "2026-08-02"), (1.0, "2026-08-09T23:59:59")]  # fmt: skip
    return History([(int(share * newest), _at(day)) for share, day in shares])


@pytest.mark.parametrize(
    "day", ["2015-06-01", "2018-01-01", "2020-03-12", "2023-07-07", "2026-08-01", "2026-08-08"]
)
@pytest.mark.parametrize("newest", [20_000, 3_000_000])
def test_a_day_is_found_in_ten_years_of_trades(newest: int, day: str) -> None:
    """Every trade of the day and no other; where the rate jumps at midnight the search halves."""
    history = _ten_years(newest)
    asked = date.fromisoformat(day)
    answer = _trades(Bodies(history.page), asked, asked)
    first, last = history.ids_of(asked, asked)
    assert sorted(answer.rows["trade_id"].to_pylist()) == list(range(first, last + 1))
    assert _search(answer) <= 2 * log2(newest / 1000) + 3
    assert answer.raw_answers == tuple(f"raw/{number + 1}" for number in range(answer.requests))


def test_the_search_among_ten_million_trades_takes_about_eight_requests() -> None:
    """Halving alone would take fourteen."""
    history = _ten_years(10_000_000)
    days = [date(2015, 2, 1) + timedelta(days=311 * number) for number in range(13)]
    searches = [_search(_trades(Bodies(history.page), day, day)) for day in days]
    assert sum(searches) / len(searches) < 9.0


def _search(answer: Answer) -> int:
    """Requests beside those that full pages of the answer's trades take."""
    return answer.requests - answer.rows.num_rows // 1000


def test_requests_hold_the_largest_limit_and_the_oldest_number_of_the_page_before() -> None:
    """No header is needed: the next page begins below the oldest trade."""
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])
    bodies = Bodies(history.page)
    answer = _trades(bodies)
    assert [query for _, query in bodies.asked] == [
        {"limit": "1000"},
        {"limit": "1000", "after": "3001"},
        {"limit": "1000", "after": "2001"},
    ]
    assert answer.request == "trades symbol=BTC-USD from=2026-08-04 to=2026-08-04"
    assert bodies.operations[1:] == [f"{answer.request} after=3001", f"{answer.request} after=2001"]
    # The last trade is of the following midnight.
    assert sorted(answer.rows["trade_id"].to_pylist()) == list(range(2000, 4000))


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 12_000), st.floats(0.01, 400.0)), min_size=1, max_size=6
    ),
    day=st.integers(0, 1200),
    days=st.integers(1, 3),
)
def test_whatever_the_history_the_days_come_whole(
    steps: list[tuple[int, float]], day: int, days: int
) -> None:
    """Standstills, bursts, days before the first trade and after the last."""
    knots = [(0, _at("2023-04-01"))]
    for trades, length in steps:
        number, at = knots[-1]
        knots.append((number + trades, at + timedelta(days=length)))
    history = History(knots)
    start = date(2023, 4, 1) + timedelta(days=day)
    end = start + timedelta(days=days - 1)
    answer = _trades(Bodies(history.page), start, end)
    first, last = history.ids_of(start, end)
    assert sorted(answer.rows["trade_id"].to_pylist()) == list(range(first, last + 1))


def test_a_busy_midnight_loses_nothing() -> None:
    """Most of all trades within two minutes around the end of the day."""
    knots = [(0, "2026-08-01"), (1_000, "2026-08-04T23:59"), (50_000, "2026-08-05T00:01")]
    history = History([(trade_id, _at(at)) for trade_id, at in [*knots, (51_000, "2026-08-09")]])
    first, last = history.ids_of(DAY, DAY)
    assert last - first > 24_000
    trade_ids = _trades(Bodies(history.page)).rows["trade_id"].to_pylist()
    assert sorted(trade_ids) == list(range(first, last + 1))


def test_a_trade_told_a_moment_out_of_order_is_not_lost_at_the_edge_of_a_page() -> None:
    """The last of a page is of the day before, and the next after it of the day."""
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])

    def body(path: str, parameters: Mapping[str, str]) -> object:
        times: dict[object, str] = {
            3_001: "2026-08-03T23:59:59.900000Z",
            3_000: "2026-08-04T00:00:00.100000Z",
        }
        return [
            row | {"time": times.get(row["trade_id"], row["time"])}
            for row in history.page(path, parameters)
        ]

    trade_ids = set(_trades(Bodies(body)).rows["trade_id"].to_pylist())
    assert 3_000 in trade_ids
    assert 3_001 not in trade_ids


def test_a_product_without_trades_has_none() -> None:
    """One request says so."""
    answer = _trades(Bodies(lambda *_: []))
    assert (answer.rows.num_rows, answer.requests) == (0, 1)


@pytest.mark.parametrize("lost", [2_500, 3_000, 3_001, 2_999, 2_001])
def test_a_number_that_never_was_costs_no_other_trade(lost: int) -> None:
    """Within a page and at its edges: two answers lack it, so that it is not an answer's fault.

    It looks like one that Coinbase has lost, so it waits in a letter.
    """
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))], frozenset({lost}))
    bodies = Bodies(history.page)
    answer = _trades(bodies)
    first, last = history.ids_of(DAY, DAY)
    trade_ids = set(answer.rows["trade_id"].to_pylist())
    assert trade_ids == set(range(first, last + 1)) - {lost}
    (missing,) = answer.left_out
    assert (missing.what, missing.reason) == (
        f"1 trades from {lost} to {lost}",
        "trades are missing at Coinbase",
    )
    replay = KeptGetter("coinbase", lambda key: bodies.kept[key], answer.raw_answers)
    again = asyncio.run(CoinbaseClient(replay).trades("BTC-USD", DAY, DAY))
    assert (again.rows.equals(answer.rows), again.left_out) == (True, answer.left_out)


def test_a_number_that_one_answer_lacks_comes_with_the_next() -> None:
    """A stale cache never makes a gap look like a whole day."""
    whole = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])
    lacking = History(whole.knots, frozenset({2_500}))
    bodies = Bodies(
        lambda path, query: (lacking if query["limit"] == "1000" else whole).page(path, query)
    )
    answer = _trades(bodies)
    assert 2_500 in answer.rows["trade_id"].to_pylist()
    assert (answer.left_out, answer.notes) == ((), ())


def test_answers_that_lack_different_numbers_are_believed_neither() -> None:
    """The error points to both."""
    knots = [(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))]
    first, second = (History(knots, frozenset({lost})) for lost in (2_500, 2_600))
    bodies = Bodies(
        lambda path, query: (first if query["limit"] == "1000" else second).page(path, query)
    )
    with pytest.raises(errors.ProviderUnavailableError, match="1 ids are missing") as caught:
        _trades(bodies)
    assert caught.value.raw_answers == EVERY[: len(bodies.asked)]


@pytest.mark.parametrize("day", ["2026-08-02", "2026-08-03", "2026-08-04"])
def test_a_history_may_begin_above_the_number_one(day: str) -> None:
    """The days before, the first day, and one after it; the empty answer is asked for twice."""
    history = History([(0, _at("2026-07-01")), (40_000, _at("2026-08-05"))])
    first_day = _at("2026-08-03")
    begins, _ = history.ids_of(first_day.date(), first_day.date())

    def body(path: str, parameters: Mapping[str, str]) -> object:
        rows = history.page(path, parameters)
        return [row for row in rows if int(str(row["trade_id"])) >= begins]

    wanted = date.fromisoformat(day)
    answer = _trades(Bodies(body), wanted, wanted)
    first, last = history.ids_of(wanted, wanted)
    expected = set(range(max(first, begins), last + 1))
    assert set(answer.rows["trade_id"].to_pylist()) == expected
    if day == "2026-08-03":
        assert answer.notes == (f"Coinbase has no trade below {begins}",)


def test_trades_that_were_not_asked_for_are_malformed() -> None:
    """A page that does not lie below the number: as if ``after`` were ignored."""
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])
    bodies = Bodies(lambda path, query: history.page(path, {"limit": query["limit"]}))
    with pytest.raises(errors.MalformedPayloadError, match=r"trade 4000.*not below 3001") as caught:
        _trades(bodies)
    assert caught.value.raw_answers == ("raw/1", "raw/2")


def test_a_trade_that_cannot_be_placed_is_told_and_is_no_gap() -> None:
    """One row without a readable time: the others are stored, it is returned."""
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])

    def body(path: str, parameters: Mapping[str, str]) -> object:
        rows = history.page(path, parameters)
        return [row | ({"time": None} if row["trade_id"] == 2_500 else {}) for row in rows]

    answer = _trades(Bodies(body))
    assert answer.rows.num_rows == 1999
    assert [json.loads(str(row.received[0]))["trade_id"] for row in answer.left_out] == [2_500]


@pytest.mark.parametrize("edge", range(1, 5))
def test_the_search_ends_among_trades_that_cannot_be_placed(edge: int) -> None:
    """Rows without a time around the end of the day do not make it turn in circles."""
    history = History([(0, _at("2026-07-01")), (50_000, _at("2026-08-09"))])
    _, last = history.ids_of(DAY, DAY)
    hidden = {last + offset for offset in range(-edge, edge)}

    def body(path: str, parameters: Mapping[str, str]) -> object:
        rows = history.page(path, parameters)
        return [row | ({"time": None} if row["trade_id"] in hidden else {}) for row in rows]

    bodies = Bodies(body)
    first, _ = history.ids_of(DAY, DAY)
    trade_ids = set(_trades(bodies).rows["trade_id"].to_pylist())
    assert trade_ids == set(range(first, last + 1)) - hidden


def test_a_trade_repeated_or_out_of_order_is_left_to_validation() -> None:
    """Pages oldest first with one row twice are read all the same."""
    history = History([(0, _at("2026-08-03")), (4_000, _at("2026-08-05"))])

    def body(path: str, parameters: Mapping[str, str]) -> object:
        rows = history.page(path, parameters)
        return [rows[0], *rows][::-1]

    answer = _trades(Bodies(body))
    assert set(answer.rows["trade_id"].to_pylist()) == set(range(2000, 4000))


def test_by_hand_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that can be no product's, a reversed range: nothing is sent."""
    coinbase = ["--provider", "coinbase"]
    reversed_days = ["--from", "2026-08-05", "--to", "2026-08-04"]
    assert main(["crypto_bars", "BTCUSD", *coinbase]) == 1
    assert main(["crypto_bars", "BTC-USD", *coinbase, *reversed_days]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in shown] == [True, True]
