"""The simulator's answers are FRED's, by recordings, its clients and their users."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest

from machine.processes import NO_AUTHORITIES
from sandbox.simulators import serving
from sandbox.simulators.fred import FredSimulator
from sandbox.simulators.front import Front, Request
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.macro.world import MacroWorld
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

KEY = "a1" * 16
RECORDINGS = Path(__file__).parents[1] / "recordings"
OBSERVATIONS = "/series/observations"
SINCE_EVER = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"}
SHAPE = "a 32 character alpha-numeric lower-case string"
TOO_MANY = (
    "Bad Request.  There are 5210 vintage dates in the specified real-time period: 1776-07-04 to "
    "9999-12-31.  This exceeds the maximum number of vintage dates allowed (2000)."
)
NO_VINTAGES = (
    "Bad Request.  No vintage dates exist for the specified real-time period: 2026-08-05 to "
    "2026-08-05."
)
READ = "  Read https://fred.stlouisfed.org/docs/api/api_key.html for more information."
NOT_IN_ALFRED = "Bad Request.  The series does not exist in ALFRED but may exist in FRED.  Try"


@pytest.fixture
def clock() -> Clock:
    """Noon in St. Louis, on a Wednesday."""
    return Clock(datetime(2026, 8, 5, 17, tzinfo=UTC))


@pytest.fixture
def world(tmp_path: Path) -> MacroWorld:
    """The simulator's world."""
    return MacroWorld(tmp_path / "macro")


class Client:
    """Asks the simulator, a second after the other so that its limit is not met."""

    def __init__(self, http: httpx.Client, clock: Clock) -> None:
        self.http = http
        self.clock = clock

    def get(self, path: str, **parameters: str) -> httpx.Response:
        self.clock.advance(1)
        return self.http.get(f"/fred{path}", params=parameters)

    def data(self, path: str, **parameters: str) -> dict[str, object]:
        answer = self.get(path, file_type="json", **{"api_key": KEY, **parameters})
        assert answer.status_code == 200, answer.text
        content: dict[str, object] = answer.json()
        return content


@pytest.fixture
def fred(clock: Clock, world: MacroWorld, tmp_path: Path) -> Iterator[Client]:
    """A client of a simulator with FRED's limits."""
    simulator = FredSimulator(world, keys={KEY}, now=clock)
    journal = Journal(tmp_path / "requests.jsonl")
    front = Front([simulator], world=World(tmp_path), journal=journal, now=clock)
    with (
        serving.serve(front) as origin,
        httpx.Client(timeout=120, base_url=origin, trust_env=False, verify=NO_AUTHORITIES) as http,
    ):
        yield Client(http, clock)


def _parsed(answer: httpx.Response) -> ET.Element:
    return ET.fromstring(answer.content)  # noqa: S314 - the simulator is ours


def _names(name: str) -> list[str]:
    content = json.loads((RECORDINGS / name).read_bytes())
    return list(content)


@pytest.mark.parametrize(
    ("path", "parameters", "recording", "rows"),
    [
        (OBSERVATIONS, {}, "fred_series_observations_gdp.json", "observations"),
        (OBSERVATIONS, SINCE_EVER, "fred_series_observations_gdp_all_vintages.json",
         "observations"),
        (OBSERVATIONS, {"output_type": "4", "realtime_start": "1776-07-04"},
         "fred_series_observations_gdp_initial_release.json", "observations"),
        ("/series/vintagedates", {}, "fred_vintagedates_gdp.json", "vintage_dates"),
        ("/series", {}, "fred_series_gdp.json", "seriess"),
    ],
)  # fmt: skip
def test_answers_have_the_fields_types_and_order_of_the_recordings(
    fred: Client, path: str, parameters: dict[str, str], recording: str, rows: str
) -> None:
    """Down to the rows; only figures and days differ."""
    content = fred.data(path, series_id="GDP", **parameters)
    recorded = json.loads((RECORDINGS / recording).read_bytes())
    assert list(content) == _names(recording)
    assert {name: type(value) for name, value in content.items()} == {
        name: type(value) for name, value in recorded.items()
    }
    fixed = ("units", "output_type", "file_type", "order_by", "sort_order", "offset", "limit",
             "observation_start", "observation_end")  # fmt: skip
    assert {name: content.get(name) for name in fixed} == {
        name: recorded.get(name) for name in fixed
    }
    ours, theirs = content[rows], recorded[rows]
    assert isinstance(ours, list)
    assert type(ours[0]) is type(theirs[0])
    if isinstance(theirs[0], dict):
        assert list(ours[0]) == list(theirs[0])
        assert [type(value) for value in ours[0].values()] == [
            type(value) for value in theirs[0].values()
        ]


def test_the_real_time_period_is_today_or_lasts_from_a_given_start(fred: Client) -> None:
    """As recorded: a start alone lasts for ever; spans are cut to the period."""
    today = fred.data(OBSERVATIONS, series_id="GDP")
    assert (today["realtime_start"], today["realtime_end"]) == ("2026-08-05", "2026-08-05")
    rows = today["observations"]
    assert isinstance(rows, list)
    assert {(row["realtime_start"], row["realtime_end"]) for row in rows} == {
        ("2026-08-05", "2026-08-05")
    }
    since = fred.data(OBSERVATIONS, series_id="GDP", realtime_start="2026-07-01")
    assert since["realtime_end"] == "9999-12-31"
    rows = since["observations"]
    assert isinstance(rows, list)
    assert {row["realtime_start"] for row in rows} == {"2026-07-01", "2026-07-30"}


def test_the_limit_is_two_a_second_and_refused_as_recorded(fred: Client, clock: Clock) -> None:
    """A burst is refused although the minute is not used up; half a second buys a request."""
    clock.advance(10)
    parameters = {"api_key": KEY, "file_type": "json", "series_id": "GDP"}
    statuses = [fred.http.get("/fred/series", params=parameters).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = fred.http.get("/fred/series", params=parameters)
    assert refused.content == (RECORDINGS / "fred_error_rate_limit_429.json").read_bytes()
    assert "retry-after" not in refused.headers
    clock.advance(0.5)
    assert fred.http.get("/fred/series", params=parameters).status_code == 200
    assert fred.http.get("/fred/series", params=parameters).status_code == 429
    for _ in range(120):
        clock.advance(0.5)
        assert fred.http.get("/fred/series", params=parameters).status_code == 200


@pytest.mark.parametrize(
    ("path", "parameters", "status", "opening"),
    [
        ("/series", {"api_key": ""}, 400, f"Bad Request.  Variable api_key is not set.{READ}"),
        ("/series", {"api_key": "A" * 32}, 400,
         f"Bad Request.  The value for variable api_key is not {SHAPE}.{READ}"),
        ("/series", {"api_key": "z" * 32}, 400,
         f"Bad Request.  The value for variable api_key is not registered.{READ}"),
        ("/series", {}, 400, "Bad Request.  Variable series_id is not set."),
        ("/series", {"series_id": "NOSUCH"}, 400, "Bad Request.  The series does not exist."),
        (OBSERVATIONS, {"series_id": "NOSUCH"}, 400, "Bad Request.  The series does not exist."),
        (OBSERVATIONS, {"series_id": "GDP,DFF"}, 400, "Bad Request.  The series does not exist."),
        ("/series/vintagedates", {"series_id": "NO"}, 400,
         "Bad Request.  The series does not exist."),
        (OBSERVATIONS, {"series_id": "NOSUCH", **SINCE_EVER}, 400, NOT_IN_ALFRED),
        (OBSERVATIONS, {"series_id": "GDP", "realtime_start": "1980-01-01",
                        "realtime_end": "1985-01-01"}, 400, NOT_IN_ALFRED),
        (OBSERVATIONS, {"series_id": "DGS10", **SINCE_EVER}, 400, TOO_MANY),
        (OBSERVATIONS, {"series_id": "GDP", "output_type": "4"}, 400, NO_VINTAGES),
        (OBSERVATIONS, {"series_id": "GDP", "units": "pch"}, 400, "Bad Request.  The value for"),
        (OBSERVATIONS, {"series_id": "GDP", "output_type": "3"}, 400, "Bad Request.  The value"),
        (OBSERVATIONS, {"series_id": "GDP", "frequency": "a"}, 400, "Bad Request.  The variable"),
        (OBSERVATIONS, {"series_id": "GDP", "limit": "100001"}, 400,
         "Bad Request.  The value for variable limit is not between 1 and 100000."),
        (OBSERVATIONS, {"series_id": "GDP", "offset": "-1"}, 400, "Bad Request.  The value for"),
        (OBSERVATIONS, {"series_id": "GDP", "sort_order": "up"}, 400, "Bad Request.  The value"),
        (OBSERVATIONS, {"series_id": "GDP", "realtime_start": "soon"}, 400, "Bad Request.  The"),
        (OBSERVATIONS, {"series_id": "GDP", "realtime_start": "2026-01-02",
                        "realtime_end": "2026-01-01"}, 400, "Bad Request.  The real-time period"),
        ("/series/updates", {"start_time": "202608010000"}, 400, "Bad Request.  Variables"),
        ("/series/updates", {"start_time": "x", "end_time": "y"}, 400, "Bad Request.  The value"),
        ("/release/series", {"release_id": "999999"}, 400,
         "Bad Request.  The release does not exist."),
        ("/no/such/thing", {}, 404, "Not Found.  "),
    ],
)  # fmt: skip
def test_errors_come_in_json_and_in_xml(
    fred: Client, path: str, parameters: dict[str, str], status: int, opening: str
) -> None:
    """XML is the default, of errors too."""
    asked = {"api_key": KEY, **parameters}
    answer = fred.get(path, file_type="json", **asked)
    assert answer.status_code == status
    content = answer.json()
    assert list(content) == ["error_code", "error_message"]
    assert content["error_code"] == status
    assert content["error_message"].startswith(opening)
    answer = fred.get(path, **asked)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/xml")
    element = _parsed(answer)
    assert (element.tag, element.get("code")) == ("error", str(status))
    assert element.get("message") == content["error_message"]


def test_the_journal_shows_no_key(fred: Client, tmp_path: Path) -> None:
    """Only its last four characters."""
    fred.data("/series", series_id="GDP")
    assert KEY not in (tmp_path / "requests.jsonl").read_text()


def test_wide_rows_have_a_field_for_each_vintage_that_had_the_period(fred: Client) -> None:
    """Output type 2."""
    wide = fred.data(
        OBSERVATIONS, series_id="GDP", output_type="2", realtime_start="2026-04-01",
        realtime_end="2026-06-30", observation_start="2025-10-01",
    )  # fmt: skip
    rows = wide["observations"]
    assert isinstance(rows, list)
    assert [list(row) for row in rows] == [
        ["date", "GDP_20260402", "GDP_20260430", "GDP_20260528", "GDP_20260625"],
        ["date", "GDP_20260430", "GDP_20260528", "GDP_20260625"],
    ]
    assert rows[0]["date"] == "2025-10-01"
    assert rows[1]["GDP_20260430"] != rows[1]["GDP_20260528"]


def test_first_releases_leave_out_what_the_first_vintage_knew(fred: Client) -> None:
    """As in the recording, whose first vintage is of 1991-12-04 as well."""
    first = fred.data(OBSERVATIONS, series_id="GDP", output_type="4", realtime_start="1776-07-04")
    rows = first["observations"]
    assert isinstance(rows, list)
    assert rows[0]["date"] == "1991-10-01"
    assert len({row["date"] for row in rows}) == len(rows) == first["count"] == 139


def test_limit_offset_and_order_cut_a_list_without_a_word(fred: Client) -> None:
    """Only the count shows it."""
    whole = fred.data(OBSERVATIONS, series_id="GDP", **SINCE_EVER)["observations"]
    part = fred.data(OBSERVATIONS, series_id="GDP", limit="10", offset="5", **SINCE_EVER)
    assert isinstance(whole, list)
    assert part["observations"] == whole[5:15]
    assert part["count"] == len(whole)
    newest = fred.data(OBSERVATIONS, series_id="GDP", limit="1", sort_order="desc", **SINCE_EVER)
    assert newest["observations"] == whole[-1:]


def test_the_description_of_a_series_has_its_offset_in_two_digits(fred: Client) -> None:
    """St. Louis's, by the season."""
    rows = fred.data("/series", series_id="GDP")["seriess"]
    assert isinstance(rows, list)
    (row,) = rows
    assert row["last_updated"] == "2026-07-30 08:00:00-05"
    assert (row["observation_start"], row["observation_end"]) == ("1990-01-01", "2026-04-01")


def test_updates_come_newest_first_of_two_weeks_at_most(fred: Client) -> None:
    """Their own order; regional ones there are none."""
    rows = fred.data("/series/updates")["seriess"]
    assert isinstance(rows, list)
    times = [row["last_updated"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert min(times) >= "2026-07-22"
    assert "PCEPI" in {row["id"] for row in rows}
    assert fred.data("/series/updates", filter_value="regional")["seriess"] == []
    window = {"start_time": "202608050000", "end_time": "202608051300"}
    today = fred.data("/series/updates", filter_value="macro", **window)["seriess"]
    assert isinstance(today, list)
    assert {row["id"] for row in today} == {"DFF", "DGS10", "DGS2", "T10Y2Y", "T10YIE", "VIXCLS"}


def test_releases_come_with_their_days_and_series(fred: Client) -> None:
    """By FRED's numbers."""
    releases = fred.data("/series/release", series_id="GDPC1")["releases"]
    assert isinstance(releases, list)
    (release,) = releases
    assert (release["id"], release["name"]) == (53, "Gross Domestic Product")
    listed = fred.data("/release/series", release_id="53")["seriess"]
    assert isinstance(listed, list)
    assert [row["id"] for row in listed] == ["GDP", "GDPC1"]
    days = fred.data("/release/dates", release_id="53")["release_dates"]
    assert isinstance(days, list)
    assert days[-1] == {"release_id": 53, "date": "2026-07-30"}
    releases = fred.data("/releases")["releases"]
    assert isinstance(releases, list)
    assert len(releases) == 14


def test_a_search_wants_all_words(fred: Client) -> None:
    """In id or title."""
    rows = fred.data("/series/search", search_text="real gross", limit="1000")["seriess"]
    assert isinstance(rows, list)
    assert [row["id"] for row in rows] == ["GDPC1"]


def test_xml_carries_rows_as_attributes_and_bare_dates_as_text(fred: Client) -> None:
    """What fredapi reads."""
    tree = _parsed(fred.get(OBSERVATIONS, series_id="GDP", api_key=KEY))
    assert (tree.tag, tree.get("file_type")) == ("observations", "xml")
    assert list(tree[0].attrib) == ["realtime_start", "realtime_end", "date", "value"]
    days = _parsed(fred.get("/series/vintagedates", series_id="GDP", api_key=KEY))
    assert (days.tag, days[0].tag, days[0].text) == ("vintage_dates", "vintage_date", "1991-12-04")
    dates = _parsed(fred.get("/release/dates", release_id="53", api_key=KEY))
    assert (dates[0].get("release_id"), dates[0].text) == ("53", "1991-12-04")


@pytest.mark.parametrize("cursor_name", ["next_cursor", "cursor"])
def test_version_2_splits_a_series_across_pages(fred: Client, cursor_name: str) -> None:
    """The key is the bearer's; merged by id, the pages are the latest values of the release."""
    headers = {"authorization": f"Bearer {KEY}"}
    asked = {"release_id": "53", "format": "json", "limit": "100"}
    pages = []
    cursor: dict[str, str] = {}
    while not pages or pages[-1]["has_more"]:
        answer = fred.http.get(
            "/fred/v2/release/observations", params={**asked, **cursor}, headers=headers
        )
        if answer.status_code == 429:
            fred.clock.advance(1)
            continue
        pages.append(answer.json())
        cursor = {cursor_name: pages[-1].get("next_cursor", "")}
    assert [len(page["series"]) for page in pages] == [1, 2, 1]
    assert "next_cursor" not in pages[-1]
    merged: dict[str, list[dict[str, str]]] = {}
    for page in pages:
        assert page["release"]["release_id"] == 53
        for block in page["series"]:
            merged.setdefault(block["series_id"], []).extend(block["observations"])
    latest = fred.data(OBSERVATIONS, series_id="GDPC1")["observations"]
    assert isinstance(latest, list)
    assert merged["GDPC1"] == [{"date": row["date"], "value": row["value"]} for row in latest]


def test_version_2_wants_the_bearers_key_and_the_others_the_querys(fred: Client) -> None:
    """Neither accepts the other's."""
    bulk, series = "/fred/v2/release/observations", "/fred/series"
    bearer = {"authorization": f"Bearer {KEY}"}
    refused = fred.http.get(bulk, params={"release_id": "53", "api_key": KEY})
    assert refused.status_code == 401
    refused = fred.http.get(series, params={"series_id": "GDP"}, headers=bearer)
    assert "Variable api_key is not set" in refused.text


def test_an_unknown_quirk_names_those_there_are(fred: Client) -> None:
    """A typo in a test must not look like an answer of FRED."""
    simulator = FredSimulator(MacroWorld(Path("unused")), keys={KEY}, now=fred.clock)
    request = Request(path="/series", query={}, headers={}, key=KEY, at=fred.clock())
    with pytest.raises(ValueError, match="key_not_registered, not_in_alfred, truncated, xml"):
        simulator.quirk("nope", request)
