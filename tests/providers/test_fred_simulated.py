"""The FRED client against the simulator: its rows equal the world's truth."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import httpx
import pyarrow as pa
import pytest

from machine.processes import NO_AUTHORITIES
from marketdata import macro
from marketdata.ports import MacroProvider
from marketdata.recovery import errors
from marketdata.rows import UNPLACED
from resources.ask import main
from resources.providers.fred import FredClient
from resources.providers.fred import client as fred_client
from resources.providers.fred.vintages import EARLIEST, LATEST
from resources.providers.http import HttpGetter, QueryKey
from sandbox.simulators import serving
from sandbox.simulators.fred import FredLimits, FredSimulator
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.macro.world import MacroWorld
from sandbox.simulators.worlds.shares.world import World
from tests.providers.permits import AT_ONCE, CountedBudget
from tests.sandbox.clock import Clock

T = TypeVar("T")
KEY = "a1" * 16
NOW = datetime(2026, 8, 5, 17, tzinfo=UTC)
ORDER = [("observed_on", "ascending"), ("realtime_start", "ascending")]


@dataclass(frozen=True)
class Simulated:
    """A running simulator, its world to compare with, its journal and its clock.

    ``sent`` has the number of requests of each piece of work; the journal is a moment behind.
    """

    origin: str
    world: MacroWorld
    journal: Journal
    clock: Clock
    sent: list[int] = field(default_factory=list)

    def do(self, work: Callable[[FredClient], Awaitable[T]], key: str = KEY) -> T:
        async def main() -> T:
            getter = HttpGetter(
                provider="fred",
                base_url=f"{self.origin}/fred",
                key=QueryKey(name="api_key", value=key),
                budget=CountedBudget(),
                retry=AT_ONCE,
                classify=fred_client.classifier(key),
                in_flight=fred_client.IN_FLIGHT,
            )
            try:
                async with getter:
                    return await work(FredClient(getter, now=self.clock))
            finally:
                self.sent.append(getter.requests_sent)

        return asyncio.run(main())

    def fault(self, **rule: object) -> None:
        httpx.post(
            f"{self.origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES
        ).raise_for_status()

    def paths(self) -> list[str]:
        return [entry.path.removeprefix("/fred/") for entry in self.journal.since(None)]


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    """A simulator on a free port, its clock standing still."""
    world, journal, clock = MacroWorld(tmp_path / "macro"), Journal(tmp_path / "j"), Clock(NOW)
    limits = FredLimits(per_second=1e6, burst=1e6)
    simulator = FredSimulator(world, keys={KEY}, now=clock, limits=limits)
    front = Front([simulator], world=World(tmp_path), journal=journal, now=clock)
    with serving.serve(front) as origin:
        yield Simulated(origin=origin, world=world, journal=journal, clock=clock)


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by(ORDER).combine_chunks()


@pytest.mark.parametrize(
    ("series", "requests"),
    [("GDP", 2), ("UNRATE", 2), ("ICSA", 2), ("DEXUSEU", 2), ("T10YIE", 4), ("DGS10", 4)],
)
def test_all_vintages_equal_the_worlds_truth(
    simulated: Simulated, series: str, requests: int
) -> None:
    """Two requests for one window of vintages; 5,210 are joined of three without inventing one."""
    answer = simulated.do(lambda client: client.observations(series, EARLIEST, LATEST))
    truth = simulated.world.truth([series], NOW)
    assert _sorted(answer.rows).equals(_sorted(truth))
    assert answer.rows.num_rows > 400
    assert simulated.sent == [answer.requests] == [requests]
    assert answer.left_out == ()
    assert macro.validate(answer.rows).rejected == ()
    assert simulated.paths()[0] == "series/vintagedates"


@pytest.mark.parametrize("series", ["GDP", "DGS2"])
def test_a_span_of_real_time_gives_whole_rows_that_were_the_latest_in_it(
    simulated: Simulated, series: str
) -> None:
    """Neither the beginning nor the end of a value is moved to the days that are asked for."""
    start, end = date(2025, 9, 1), date(2025, 10, 15)
    answer = simulated.do(lambda client: client.observations(series, start, end))
    truth = simulated.world.truth([series], NOW).to_pylist()
    expected = [
        row for row in truth if row["realtime_start"] <= end and row["realtime_end"] >= start
    ]
    assert _sorted(answer.rows).to_pylist() == expected
    assert min(row["realtime_start"] for row in expected) < start
    assert max(row["realtime_end"] for row in expected) > end
    assert answer.request == (
        f"series/observations series_id={series} from=2025-09-01 to=2025-10-15"
    )


def test_holidays_are_rows_without_a_value(simulated: Simulated) -> None:
    """A missing value differs from an unpublished one."""
    answer = simulated.do(lambda client: client.observations("DGS10", NOW.date(), NOW.date()))
    values = {row["observed_on"]: row["value"] for row in answer.rows.to_pylist()}
    assert values[date(2026, 5, 25)] is None
    assert isinstance(values[date(2026, 5, 26)], Decimal)
    assert date(2026, 5, 24) not in values


def test_a_revision_between_two_runs_is_told_and_fetched(simulated: Simulated) -> None:
    """One request finds the series; the new vintage closes the old value."""
    before = simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))
    since = NOW + timedelta(minutes=5)
    quiet = simulated.do(lambda client: client.changed_since(since))
    assert (quiet.symbols, quiet.requests) == (frozenset(), 1)
    simulated.clock.advance(600)
    vintage = simulated.world.publish_revision("GDP", simulated.clock())
    changed = simulated.do(lambda client: client.changed_since(since))
    assert changed.symbols == {"GDP"}
    after = simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))
    truth = simulated.world.truth(["GDP"], simulated.clock())
    assert _sorted(after.rows).equals(_sorted(truth))
    new = [row for row in after.rows.to_pylist() if row["realtime_start"] == vintage]
    assert [row["observed_on"] for row in new] == [date(2026, 1, 1), date(2026, 4, 1)]
    closed = {
        (row["observed_on"], row["realtime_start"])
        for row in after.rows.to_pylist()
        if row["realtime_end"] == vintage - timedelta(days=1)
    }
    assert len(closed) == 2
    open_before = {
        (row["observed_on"], row["realtime_start"])
        for row in before.rows.to_pylist()
        if row["realtime_end"] == LATEST
    }
    assert closed <= open_before
    news = simulated.do(lambda client: client.observations("GDP", vintage, vintage))
    told_again = {(row["observed_on"], row["realtime_start"]) for row in news.rows.to_pylist()}
    assert closed <= told_again, "who asks from the revision on learns what it ended"


def test_updates_of_the_last_days_name_what_was_published_and_nothing_else(
    simulated: Simulated,
) -> None:
    """In either zone that FRED may read the time in."""
    since = NOW - timedelta(days=7)
    changed = simulated.do(lambda client: client.changed_since(since))
    expected = {name for name in macro.series() if simulated.world.last_updated(name, NOW) >= since}
    assert changed.symbols == expected
    assert {"DGS10", "FEDFUNDS"} <= changed.symbols
    assert not {"CPIAUCSL", "UNRATE"} & changed.symbols
    with pytest.raises(errors.RequestRejectedError, match="ask for each series"):
        simulated.do(lambda client: client.changed_since(NOW - timedelta(days=15)))


def test_a_series_that_nobody_knows_is_named_as_such(simulated: Simulated) -> None:
    """By its first request; an id that cannot be one is not sent at all."""
    with pytest.raises(errors.UnknownSymbolError, match="does not exist"):
        simulated.do(lambda client: client.observations("NOSUCH", EARLIEST, LATEST))
    for odd in ("GDP,UNRATE", "", "GDP&x=1", "a b"):
        with pytest.raises(errors.RequestRejectedError, match="nothing was sent"):
            simulated.do(lambda client, odd=odd: client.observations(odd, EARLIEST, LATEST))
    with pytest.raises(ValueError, match="reversed"):
        simulated.do(lambda client: client.observations("GDP", LATEST, EARLIEST))
    assert simulated.sent == [1, 0, 0, 0, 0, 0]


def test_a_series_without_vintages_is_not_taken_for_an_unknown_one(simulated: Simulated) -> None:
    """FRED has it, ALFRED keeps no history of it."""
    simulated.fault(kind="quirk", quirk="not_in_alfred", symbol="GDP")
    with pytest.raises(errors.RequestRejectedError, match="no vintages are kept"):
        simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"kind": "status", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "status", "status": 429}, errors.RateLimitedError),
        ({"kind": "status", "status": 429, "seconds": 30}, errors.RateLimitedError),
        ({"kind": "half_body"}, errors.ProviderUnavailableError),
        ({"kind": "error_in_200"}, errors.RateLimitedError),
        ({"kind": "html"}, errors.ProviderUnavailableError),
        ({"kind": "html", "status": 500}, errors.ProviderUnavailableError),
        ({"kind": "timeout", "seconds": 0.05}, errors.ProviderUnavailableError),
    ],
)
def test_a_passing_fault_is_survived_and_a_lasting_one_is_named(
    simulated: Simulated, rule: dict[str, object], kind: type[errors.ProviderError]
) -> None:
    """Twice wrong, then right: the third attempt brings the vintages."""
    simulated.fault(**rule, symbol="GDP", count=2)
    answer = simulated.do(lambda client: client.observations("GDP", LATEST, LATEST))
    assert (answer.rows.num_rows, answer.requests) == (146, 4)
    simulated.fault(**rule, symbol="GDP")
    with pytest.raises(kind):
        simulated.do(lambda client: client.observations("GDP", LATEST, LATEST))


@pytest.mark.parametrize("path", ["/fred/series/vintagedates", "/fred/series/observations"])
@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ({"kind": "malformed"}, "not JSON"),
        ({"kind": "html", "status": 200}, "XML or a web page"),
        ({"kind": "quirk", "quirk": "xml"}, "XML or a web page"),
        ({"kind": "quirk", "quirk": "truncated"}, "rows came where"),
    ],
)
def test_an_answer_that_cannot_be_used_is_asked_for_once(
    simulated: Simulated, path: str, rule: dict[str, object], shown: str
) -> None:
    """Repeating it would bring the same; a list cut short is noticed by its count."""
    simulated.fault(**rule, path=path, count=1)
    with pytest.raises(errors.MalformedPayloadError, match=shown):
        simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))


def test_an_unknown_answer_is_an_unknown_series(simulated: Simulated) -> None:
    """FRED says it with a 400."""
    simulated.fault(kind="unknown", symbol="GDP")
    with pytest.raises(errors.UnknownSymbolError):
        simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))


def test_spoilt_rows_of_one_window_cost_only_themselves(simulated: Simulated) -> None:
    """One without a value, and one whose ends changed places: it begins on no vintage's day."""
    simulated.fault(kind="malformed_rows", path="/fred/series/observations", count=1)
    answer = simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))
    whole = simulated.world.truth(["GDP"], NOW).num_rows
    assert len(answer.left_out) == 2
    assert '"date": "1990-01-01"' in str(answer.left_out[0].received[0])
    assert "realtime_start=1993-09-29 realtime_end=1992-09-24" in str(
        answer.left_out[1].received[0]
    )
    assert answer.rows.num_rows == whole - 2


def test_a_row_that_cannot_be_read_in_one_of_several_windows_costs_its_period(
    simulated: Simulated,
) -> None:
    """Its pieces in the other windows would look as if they were the whole: none is kept."""
    whole = simulated.do(lambda client: client.observations("DGS10", EARLIEST, LATEST))
    simulated.fault(kind="malformed_rows", path="/fred/series/observations", count=1)
    answer = simulated.do(lambda client: client.observations("DGS10", EARLIEST, LATEST))
    odd = {row.day for row in answer.left_out if row.reason == UNPLACED}
    assert odd
    assert None not in odd
    assert not odd & set(answer.rows["observed_on"].to_pylist())
    assert answer.rows.num_rows < whole.rows.num_rows


@pytest.mark.parametrize("series", ["GDP", "DGS10"])
def test_a_row_that_comes_twice_is_one_row_after_validation(
    simulated: Simulated, series: str
) -> None:
    """Also where windows are joined."""
    simulated.fault(kind="duplicate_rows", path="/fred/series/observations", count=1)
    answer = simulated.do(lambda client: client.observations(series, EARLIEST, LATEST))
    validated = macro.validate(answer.rows)
    assert answer.rows.num_rows == validated.accepted.num_rows + 1
    truth = simulated.world.truth([series], NOW)
    assert _sorted(validated.accepted).equals(_sorted(truth))


def test_a_key_that_is_denied_once_is_believed_to_be_good(simulated: Simulated) -> None:
    """FRED denies good keys under load; a second denial is the last word."""
    simulated.fault(kind="quirk", quirk="key_not_registered", count=1)
    answer = simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))
    assert answer.requests == 3
    simulated.fault(kind="quirk", quirk="key_not_registered")
    with pytest.raises(errors.KeyRefusedError, match="not registered"):
        simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST))
    assert simulated.sent == [3, 2]


@pytest.mark.parametrize(("key", "requests"), [("b2" * 16, 2), ("B" * 32, 1), ("short", 1)])
def test_a_wrong_key_stops_everything_and_is_not_shown(
    simulated: Simulated, key: str, requests: int
) -> None:
    """One of the wrong shape needs no second look."""
    with pytest.raises(errors.KeyRefusedError, match="check the key") as raised:
        simulated.do(lambda client: client.observations("GDP", EARLIEST, LATEST), key=key)
    assert key not in str(raised.value)
    assert simulated.sent == [requests]


def test_the_client_is_a_macro_provider(simulated: Simulated) -> None:
    """By its shape; and its answers say what was asked."""

    async def through_the_port(provider: MacroProvider) -> str:
        answer = await provider.observations("UNRATE", date(2026, 7, 1), date(2026, 7, 31))
        return f"{provider.name} {answer.request}"

    said = simulated.do(through_the_port)
    assert said == "fred series/observations series_id=UNRATE from=2026-07-01 to=2026-07-31"


def test_by_hand_it_shows_a_series(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what is missing."""
    monkeypatch.delenv("FRED_API_KEY", raising=False)
    assert main(["macro_observations", "GDP"]) == 1
    assert "FRED_API_KEY is not set" in capsys.readouterr().err
    monkeypatch.setenv("FRED_API_KEY", KEY)
    monkeypatch.setenv("FRED_BASE_URL", f"{simulated.origin}/fred")
    assert main(["macro_observations", "DGS10", "--from", "2026-06-01", "--to", "2026-06-01"]) == 0
    shown = capsys.readouterr().out
    assert "rows in 4 requests" in shown
    assert "missing" in shown
    assert main(["macro_observations", "NOSUCH"]) == 1
    assert "does not exist" in capsys.readouterr().err
