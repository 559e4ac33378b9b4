"""The simulator's answers are those of Polygon's reference, library and recordings."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from machine.processes import NO_AUTHORITIES, wait_until
from sandbox.simulators import serving
from sandbox.simulators.front import Front, Request
from sandbox.simulators.journal import Journal
from sandbox.simulators.polygon import Plan, PolygonSimulator
from sandbox.simulators.worlds.shares.actions import Actions
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

KEYS = {plan: f"{plan:x<32}" for plan in Plan}
RECORDINGS = Path(__file__).parents[1] / "recordings"
AGGS = "/v2/aggs/ticker/AAPL/range/1"
GROUPED = "/v2/aggs/grouped/locale/us/market/stocks"


@pytest.fixture
def clock() -> Clock:
    """The simulator's clock: Wednesday before the opening."""
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The simulator's folder."""
    return tmp_path


@pytest.fixture
def world(root: Path) -> World:
    """The simulator's world."""
    return World(root)


@pytest.fixture
def polygon(clock: Clock, root: Path, world: World) -> Iterator[httpx.Client]:
    """A client with the key of the largest plan, below the simulator's prefix."""
    simulator = PolygonSimulator(world, {key: plan for plan, key in KEYS.items()}, now=clock)
    front = Front([simulator], world=world, journal=Journal(root / "requests.jsonl"), now=clock)
    with (
        serving.serve(front) as origin,
        httpx.Client(
            timeout=120,
            base_url=f"{origin}/polygon",
            headers={"authorization": f"Bearer {KEYS[Plan.ADVANCED]}"},
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield client


def _shape(value: object) -> object:
    """Return names and kinds of what JSON holds, of a list those of its first row."""
    if isinstance(value, dict):
        return {name: _shape(field) for name, field in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
    )


@pytest.mark.parametrize(
    ("path", "status", "place", "text"),
    [
        (f"{AGGS}/day/2026-01-01/x", 400, "error", "ERROR"),
        (f"{AGGS}/fortnight/2026-01-01/2026-02-01", 400, "error", "ERROR"),
        (f"{AGGS}/day/2026-01-01/2026-02-01?limit=50001", 400, "error", "ERROR"),
        (f"{AGGS}/day/2026-01-01/2026-02-01?limit=0", 400, "error", "ERROR"),
        (f"{AGGS}/day/2026-01-01/2026-02-01?cursor=%21", 400, "error", "ERROR"),
        (f"{GROUPED}/yesterday", 400, "error", "ERROR"),
        ("/stocks/v1/splits?limit=5001", 400, "error", "ERROR"),
        ("/v3/reference/tickers?limit=1001", 400, "error", "ERROR"),
        ("/v3/reference/tickers/NOBODY", 404, "message", "NOT_FOUND"),
        ("/v3/reference/tickers/brk.b", 404, "message", "NOT_FOUND"),
    ],
)
def test_an_error_tells_itself_where_polygon_tells_it(
    polygon: httpx.Client, path: str, status: int, place: str, text: str
) -> None:
    """Under ``error``, or under ``message`` for what is not found."""
    reply = polygon.get(path)
    content = reply.json()
    assert (reply.status_code, content["status"]) == (status, text)
    assert set(content) == {"status", "request_id", place}
    assert len(content["request_id"]) == 32


def test_an_unknown_path_is_plain_text(polygon: httpx.Client) -> None:
    """As web servers answer, not as the API does."""
    reply = polygon.get("/v9/nothing")
    assert (reply.status_code, reply.text) == (404, "404 page not found")


def test_a_key_travels_in_the_header_or_in_the_query(polygon: httpx.Client) -> None:
    """And without one nothing is answered."""
    path = f"{AGGS}/day/2026-08-03/2026-08-04"
    key = KEYS[Plan.ADVANCED]
    by_query = polygon.get(path, params={"apiKey": key}, headers={"authorization": ""})
    assert by_query.status_code == 200
    for headers in ({"authorization": ""}, {"authorization": f"Token {key}"},
                    {"authorization": "Bearer stranger"}):  # fmt: skip
        reply = polygon.get(path, headers=headers)
        assert (reply.status_code, reply.json()["error"]) == (401, "Unknown API Key")


def test_the_free_plan_has_five_requests_a_minute(polygon: httpx.Client, clock: Clock) -> None:
    """The sixth is refused without Retry-After; a minute later there are five again."""
    headers = {"authorization": f"Bearer {KEYS[Plan.FREE]}"}
    path = f"{AGGS}/day/2026-08-03/2026-08-04"
    replies = [polygon.get(path, headers=headers) for _ in range(6)]
    assert [reply.status_code for reply in replies] == [200] * 5 + [429]
    assert replies[5].json()["error"].startswith("You've exceeded the maximum requests per minute")
    assert "retry-after" not in replies[5].headers
    clock.advance(61)
    assert polygon.get(path, headers=headers).status_code == 200


def test_plans_reach_back_as_far_as_they_were_sold(polygon: httpx.Client) -> None:
    """Two years, five years, all of it; beyond that the text stands under ``message``."""
    for plan, day, status in [
        (Plan.FREE, "2024-09-03", 200), (Plan.FREE, "2023-09-05", 403),
        (Plan.STARTER, "2021-09-07", 200), (Plan.STARTER, "2020-09-08", 403),
        (Plan.ADVANCED, "2006-01-03", 200),
    ]:  # fmt: skip
        headers = {"authorization": f"Bearer {KEYS[plan]}"}
        for path in (f"{AGGS}/day/{day}/2026-08-04", f"{GROUPED}/{day}"):
            reply = polygon.get(path, headers=headers)
            assert reply.status_code == status, (plan, path)
            if status == 403:
                assert reply.json()["status"] == "NOT_AUTHORIZED"
                assert "message" in reply.json()


def test_bars_have_the_shape_of_the_recorded_ones(polygon: httpx.Client) -> None:
    """The same names in the same order, volumes from a million on with an exponent."""
    reply = polygon.get(f"{AGGS}/day/2026-07-28/2026-08-04", params={"adjusted": "true"})
    recorded = (RECORDINGS / "polygon_aggs_day_aapl.json").read_bytes()
    assert _shape(reply.json()) == _shape(json.loads(recorded))
    assert list(reply.json()) == list(json.loads(recorded))
    assert list(reply.json()["results"][0]) == list(json.loads(recorded)["results"][0])
    minutes = polygon.get(f"{AGGS}/minute/2026-08-04/2026-08-04").json()
    recorded = (RECORDINGS / "polygon_aggs_minute_aapl.json").read_bytes()
    assert _shape(minutes) == _shape(json.loads(recorded))
    market = polygon.get(f"{GROUPED}/2026-08-04")
    recorded = (RECORDINGS / "polygon_grouped_daily.json").read_bytes()
    assert _shape(market.json()) == _shape(json.loads(recorded))
    assert "e+0" in market.text
    largest = max(row["v"] for row in market.json()["results"])
    assert f'"v":{largest / 10 ** len(str(int(largest))) * 10:.15g}e+0' in market.text


def test_reference_rows_have_the_shape_of_the_recorded_ones(polygon: httpx.Client) -> None:
    """Two a page, and the cursor leads on."""
    page = polygon.get("/v3/reference/tickers", params={"limit": "2"}).json()
    recorded = json.loads((RECORDINGS / "polygon_tickers_page1.json").read_bytes())
    assert _shape(page) == _shape(recorded)
    assert list(page) == list(recorded)
    splits = polygon.get("/v3/reference/splits").json()
    recorded = json.loads((RECORDINGS / "polygon_splits.json").read_bytes())
    assert set(splits) - {"next_url"} == set(recorded)
    assert len(splits["results"]) == 10, "ten are the default"
    for row in splits["results"]:
        assert set(row) - {"id"} == set(recorded["results"][0])
    days = [row["execution_date"] for row in splits["results"]]
    assert days == sorted(days, reverse=True)


def test_the_next_page_is_named_by_the_vendors_host_without_the_key(polygon: httpx.Client) -> None:
    """Path and cursor are all that a client needs; the header has to come along."""
    query = {"limit": "100", "adjusted": "false", "apiKey": KEYS[Plan.ADVANCED]}
    page = polygon.get(f"{AGGS}/minute/2026-08-03/2026-08-04", params=query).json()
    following = httpx.URL(page["next_url"])
    assert following.host == "api.massive.com"
    assert list(following.params) == ["cursor"]
    assert KEYS[Plan.ADVANCED] not in page["next_url"]
    assert (page["queryCount"], page["resultsCount"], page["count"]) == (100, 100, 100)
    again = polygon.get(following.path, params=dict(following.params)).json()
    assert again["adjusted"] is False
    assert again["results"][0]["t"] > page["results"][-1]["t"]
    assert len(again["results"]) == 100
    refused = polygon.get(
        following.path, params=dict(following.params), headers={"authorization": ""}
    )
    assert refused.status_code == 401


def test_the_limit_counts_minutes_not_bars(polygon: httpx.Client) -> None:
    """5-minute bars of 300 minutes are about 60, and whole ones."""
    path = "/v2/aggs/ticker/AAPL/range/5/minute/2026-08-04/2026-08-04"
    page = polygon.get(path, params={"limit": "300"}).json()
    assert 290 < page["queryCount"] <= 300
    assert 55 < page["resultsCount"] < 90
    assert {row["t"] % 300_000 for row in page["results"]} == {0}
    whole = polygon.get(path, params={"limit": "50000"}).json()
    assert whole["results"][: len(page["results"])] == page["results"]


@pytest.mark.parametrize(
    ("day", "hour"),
    [("2026-03-06", 5), ("2026-03-09", 4), ("2025-10-31", 4), ("2025-11-03", 5)],
)
def test_a_day_begins_at_midnight_in_new_york_and_the_market_ends_at_its_close(
    polygon: httpx.Client, day: str, hour: int
) -> None:
    """04:00 or 05:00 UTC for one ticker, 20:00 or 21:00 for all."""
    (row,) = polygon.get(f"{AGGS}/day/{day}/{day}").json()["results"]
    assert (
        datetime.fromtimestamp(row["t"] / 1000, UTC).isoformat() == f"{day}T{hour:02}:00:00+00:00"
    )
    market = polygon.get(f"{GROUPED}/{day}").json()["results"]
    assert {datetime.fromtimestamp(bar["t"] / 1000, UTC).hour for bar in market} == {hour + 16}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/aggs/ticker/NOBODY/range/1/day/2026-01-01/2026-08-04",
        "/v2/aggs/ticker/aapl/range/1/day/2026-01-01/2026-08-04",
        f"{AGGS}/day/2026-08-01/2026-08-02",
        f"{AGGS}/day/2026-08-04/2026-08-03",
        f"{AGGS}/minute/2026-08-02/2026-08-02",
        f"{GROUPED}/2026-08-02",
        f"{GROUPED}/2026-08-05",
    ],
)
def test_nothing_found_has_no_results_at_all(polygon: httpx.Client, path: str) -> None:
    """Status 200, zero counts, and the key is absent."""
    content = polygon.get(path).json()
    assert "results" not in content
    assert (content["queryCount"], content["resultsCount"], content["count"]) == (0, 0, 0)
    assert content["status"] == "OK"


def test_prices_are_adjusted_for_splits_unless_asked_otherwise(
    polygon: httpx.Client, world: World, clock: Clock
) -> None:
    """The default is adjusted; the day before a 4-for-1 split differs by four."""
    day = date(2020, 8, 28)
    path = f"{AGGS}/day/{day}/{day}"
    (usual,) = polygon.get(path).json()["results"]
    (traded,) = polygon.get(path, params={"adjusted": "false"}).json()["results"]
    assert usual["c"] == world.bars("AAPL", day, day, clock.moment).closes[0]
    assert traded["c"] == Actions(world).as_traded("AAPL", day, day, clock.moment).closes[0]
    assert traded["c"] / usual["c"] == pytest.approx(4, rel=0.001)


def test_a_session_under_way_has_minutes_and_no_day(polygon: httpx.Client, clock: Clock) -> None:
    """Delayed plans see it a quarter of an hour later and say DELAYED."""
    clock.moment = datetime(2026, 8, 5, 15, 0, 30, tzinfo=UTC)
    path = f"{AGGS}/minute/2026-08-05/2026-08-05"
    live = polygon.get(path).json()
    late = polygon.get(path, headers={"authorization": f"Bearer {KEYS[Plan.STARTER]}"}).json()
    last = [datetime.fromtimestamp(page["results"][-1]["t"] / 1000, UTC) for page in (live, late)]
    assert last[0].strftime("%H:%M") in {"14:59", "14:58", "14:57"}
    assert (last[0] - last[1]).total_seconds() >= 12 * 60
    assert (live["status"], late["status"]) == ("OK", "DELAYED")
    assert "results" not in polygon.get(f"{AGGS}/day/2026-08-05/2026-08-05").json()
    clock.moment = datetime(2026, 8, 5, 20, 0, tzinfo=UTC)
    after = polygon.get(path).json()["results"]
    assert after[: len(live["results"])] == live["results"], "what was told stays told"
    assert polygon.get(f"{AGGS}/day/2026-08-05/2026-08-05").json()["resultsCount"] == 1


def test_actions_have_filters_orders_and_pages(polygon: httpx.Client, world: World) -> None:
    """By ticker, by several, and by a span of days."""
    rows = polygon.get("/stocks/v1/splits", params={"ticker": "AAPL"}).json()["results"]
    assert [(row["execution_date"], row["split_from"], row["split_to"]) for row in rows] == [
        ("2020-08-31", 1, 4), ("2014-06-09", 1, 7),
    ]  # fmt: skip
    assert [row["historical_adjustment_factor"] for row in rows] == [0.25, round(1 / 28, 10)]
    query = {"execution_date.gte": "2014-01-01", "execution_date.lt": "2015-01-01",
             "sort": "execution_date.asc", "limit": "1"}  # fmt: skip
    listed: list[str] = []
    path, asked = "/stocks/v1/splits", query
    while True:
        page = polygon.get(path, params=asked).json()
        listed += [f"{result['execution_date']} {result['ticker']}" for result in page["results"]]
        if "next_url" not in page:
            break
        following = httpx.URL(page["next_url"])
        path, asked = following.path, dict(following.params)
    assert [text[:10] for text in listed] == sorted(text[:10] for text in listed)
    assert set(listed) == {
        f"{split.ex_date} {listing.ticker}"
        for listing in world.listings()
        for split in world.splits(listing.ticker)
        if split.ex_date.year == 2014
    }
    any_of = polygon.get("/stocks/v1/dividends", params={"ticker.any_of": "AAPL,MSFT,ABT,KO"})
    assert {result["ticker"] for result in any_of.json()["results"]} <= {
        "AAPL",
        "MSFT",
        "ABT",
        "KO",
    }


def test_a_split_of_today_is_told_and_changes_adjusted_prices_only(
    polygon: httpx.Client, world: World
) -> None:
    """Traded prices never change."""
    path = f"{AGGS}/day/2026-07-01/2026-08-04"
    before = {kind: polygon.get(path, params={"adjusted": kind}).json()["results"]
              for kind in ("true", "false")}  # fmt: skip
    world.split("AAPL", date(2026, 8, 5), 2, 1)
    after = {kind: polygon.get(path, params={"adjusted": kind}).json()["results"]
             for kind in ("true", "false")}  # fmt: skip
    assert after["false"] == before["false"]
    assert after["true"][0]["c"] == pytest.approx(before["true"][0]["c"] / 2, abs=0.01)
    newest = polygon.get("/stocks/v1/splits", params={"ticker": "AAPL"}).json()["results"][0]
    assert (newest["execution_date"], newest["split_to"]) == ("2026-08-05", 2)


@pytest.mark.parametrize(
    ("rule", "status", "opening"),
    [
        ({"kind": "status", "status": 503}, 503, '{"status":"ERROR"'),
        ({"kind": "status", "status": 429}, 429, '{"status":"ERROR"'),
        ({"kind": "status", "status": 403}, 403, '{"status":"NOT_AUTHORIZED"'),
        ({"kind": "error_in_200"}, 200, '{"status":"ERROR"'),
        ({"kind": "html"}, 502, "<html>"),
        ({"kind": "unknown"}, 200, '{"queryCount":0'),
        ({"kind": "malformed"}, 200, '{"ticker":"AAPL"'),
        ({"kind": "malformed_rows"}, 200, '{"ticker": "AAPL"'),
        ({"kind": "duplicate_rows"}, 200, '{"ticker": "AAPL"'),
        ({"kind": "quirk", "quirk": "empty_429"}, 429, ""),
        ({"kind": "quirk", "quirk": "plain_text"}, 200, "Service"),
        ({"kind": "quirk", "quirk": "delayed"}, 200, '{"ticker": "AAPL"'),
        ({"kind": "quirk", "quirk": "reversed"}, 200, '{"ticker": "AAPL"'),
        ({"kind": "quirk", "quirk": "forbidden_error"}, 403, '{"status":"ERROR"'),
    ],
)
def test_a_fault_spoils_one_answer_and_the_next_is_right(
    polygon: httpx.Client, rule: dict[str, object], status: int, opening: str
) -> None:
    """All kinds of faults, and Polygon's own quirks."""
    path = f"{AGGS}/day/2026-07-28/2026-08-04"
    right = polygon.get(path).json()["results"]
    origin = str(polygon.base_url).removesuffix("/polygon/")
    httpx.post(
        f"{origin}/_sandbox/faults",
        json={**rule, "symbol": "AAPL", "count": 1},
        verify=NO_AUTHORITIES,
    )
    spoilt = polygon.get(path)
    assert (spoilt.status_code, spoilt.text[: len(opening)]) == (status, opening)
    assert polygon.get(path).json()["results"] == right


def test_a_quirk_that_nobody_knows_is_named(world: World, clock: Clock) -> None:
    """The text names the known ones."""
    simulator = PolygonSimulator(world, {}, now=clock)
    request = Request(path="/v9", query={}, headers={}, key=None, at=clock.moment)
    with pytest.raises(ValueError, match="no quirk 'sideways', but empty_429"):
        simulator.quirk("sideways", request)


def test_no_key_is_written_down(polygon: httpx.Client, root: Path) -> None:
    """The journal has the last four letters."""
    polygon.get(f"{AGGS}/day/2026-08-03/2026-08-04", params={"apiKey": KEYS[Plan.ADVANCED]})
    journal = root / "requests.jsonl"
    assert wait_until(lambda: journal.exists() and journal.read_text() != "", within_s=5)
    assert KEYS[Plan.ADVANCED] not in journal.read_text()


@pytest.mark.parametrize(
    ("span", "starts"),
    [
        ("week", ["2026-05-24", "2026-05-31", "2026-06-07"]),
        ("month", ["2026-05-01", "2026-06-01"]),
        ("quarter", ["2026-04-01"]),
        ("year", ["2026-01-01"]),
    ],
)
def test_bars_of_weeks_and_more_are_whole_and_begin_where_polygons_do(
    polygon: httpx.Client, span: str, starts: list[str]
) -> None:
    """A week on Sunday; edges are stretched to whole bars."""
    path = f"{AGGS}/{span}/2026-05-28/2026-06-10"
    content = polygon.get(path).json()
    new_york = ZoneInfo("America/New_York")
    moments = [
        datetime.fromtimestamp(result["t"] / 1000, new_york) for result in content["results"]
    ]
    assert [f"{moment:%Y-%m-%d %H:%M}" for moment in moments] == [
        f"{start} 00:00" for start in starts
    ]
    ends = {"week": "2026-05-31", "month": "2026-06-01", "quarter": "2026-07-01"}
    days = polygon.get(f"{AGGS}/day/2025-12-01/2026-08-04").json()["results"]
    inside = [
        day
        for day in days
        if starts[0]
        <= f"{datetime.fromtimestamp(day['t'] / 1000, new_york):%Y-%m-%d}"
        < ends.get(span, "2027-01-01")
    ]
    bar = content["results"][0]
    assert (bar["o"], bar["c"]) == (inside[0]["o"], inside[-1]["c"])
    assert bar["h"] == max(minute["h"] for minute in inside)
    assert bar["v"] == sum(minute["v"] for minute in inside)


def test_tickers_are_searched_and_filtered_by_exchange(polygon: httpx.Client) -> None:
    """By ticker or name in any case, and by the code of the primary exchange."""

    def search(**query: str) -> list[dict[str, str]]:
        path = "/v3/reference/tickers"
        return polygon.get(path, params={"limit": "1000", **query}).json().get("results", [])

    all_tickers = search()
    apple = search(search="apple inc")
    assert [row["ticker"] for row in apple] == ["AAPL"]
    assert "AAPL" in {row["ticker"] for row in search(search="aap")}
    assert search(search="nothing is called so") == []
    by_exchange = {code: search(exchange=code) for code in ("XNAS", "XNYS")}
    assert all(
        {row["primary_exchange"] for row in rows} == {code} for code, rows in by_exchange.items()
    )
    assert sum(len(rows) for rows in by_exchange.values()) == len(all_tickers)


def test_splits_are_filtered_by_their_direction(polygon: httpx.Client) -> None:
    """``reverse_split`` is that there are fewer shares than before."""
    path = "/v3/reference/splits"
    rows = {
        asked: polygon.get(path, params={"limit": "1000", **query}).json()["results"]
        for asked, query in {
            "all": {},
            "reverse": {"reverse_split": "true"},
            "forward": {"reverse_split": "false"},
        }.items()
    }
    assert all(split["split_from"] > split["split_to"] for split in rows["reverse"])
    assert all(split["split_from"] < split["split_to"] for split in rows["forward"])
    assert 0 < len(rows["reverse"]) < len(rows["forward"])
    assert len(rows["all"]) == len(rows["reverse"]) + len(rows["forward"])


def test_dividends_tell_what_they_and_later_ones_leave_of_prices(
    polygon: httpx.Client, world: World, clock: Clock
) -> None:
    """A price before the ex-date times the factor is the one adjusted for dividends."""
    path = "/stocks/v1/dividends"
    rows = polygon.get(path, params={"ticker": "AAPL", "limit": "500"}).json()["results"]
    today = clock.moment.date().isoformat()
    assert all(
        ("historical_adjustment_factor" in row) is (row["ex_dividend_date"] <= today)
        for row in rows
    )
    past = [row for row in rows if row["ex_dividend_date"] <= today]
    assert len(past) > 50
    start, end = date(2006, 1, 1), date(2026, 8, 4)
    split = world.bars("AAPL", start, end, clock.moment)
    total = Actions(world).total_return("AAPL", start, end, clock.moment)
    days = split.dates.astype("datetime64[D]").astype(str).tolist()
    for dividend in past:
        place = sum(day < dividend["ex_dividend_date"] for day in days) - 1
        if place < 0:
            continue
        expected = total.closes[place] / split.closes[place]
        assert dividend["historical_adjustment_factor"] == pytest.approx(expected, rel=0.003)
