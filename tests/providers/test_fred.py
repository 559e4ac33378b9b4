"""The requests of one answer of FRED, with small pages."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

import pytest

from marketdata.ports import Answer
from marketdata.recovery import errors
from resources.providers.fred import FredClient
from resources.providers.fred import client as fred_client
from resources.providers.http import HttpAnswer
from resources.providers.kept_answers import KeptGetter
from tests.providers.recordings import recorded

NOW = datetime(2026, 8, 5, 12, tzinfo=UTC)
ALL_TIME = {"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"}


@dataclass(frozen=True)
class Body:
    """What was kept."""

    body: bytes
    fetched_at: datetime = NOW


class Told:
    """Returns one body after the other, without headers, as kept ones."""

    def __init__(self, *bodies: bytes | object) -> None:
        self.waiting = [
            body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies
        ]
        self.asked: list[tuple[str, Mapping[str, str], str]] = []

    async def get(
        self, path: str, parameters: Mapping[str, str], *, operation: str, weight: int = 1
    ) -> HttpAnswer:
        assert weight == 1
        self.asked.append((path, parameters, operation))
        body = self.waiting.pop(0)
        place = len(self.asked)
        return HttpAnswer(
            status=200,
            headers={},
            body=body,
            sha256=sha256(body).hexdigest(),
            fetched_at=NOW + timedelta(seconds=place),
            requests=place,
            raw_answer=f"raw/{place}",
        )


def _days(*days: str, count: int | None = None) -> object:
    return {"count": len(days) if count is None else count, "vintage_dates": list(days)}


def _row(observed_on: str, start: str, end: str, value: str) -> Mapping[str, str]:
    return {"realtime_start": start, "realtime_end": end, "date": observed_on, "value": value}


def _rows(*rows: Mapping[str, str], count: int | None = None, **said: str) -> object:
    counted = len(rows) if count is None else count
    return {**ALL_TIME, "output_type": 1, "count": counted, "observations": list(rows), **said}


def _observations(message: Told, start: date = date.min, end: date = date.max) -> Answer:
    return asyncio.run(FredClient(message).observations("X", start, end))


FIRST = _row("2026-01-01", "2026-04-29", "2026-05-27", "1.5")
SECOND = _row("2026-01-01", "2026-05-28", "9999-12-31", "1.6")
THIRD = _row("2026-04-01", "2026-07-30", "9999-12-31", ".")
VINTAGES = ("2026-04-29", "2026-05-28", "2026-07-30")


def test_pages_are_asked_for_until_the_count_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of vintages and of observations; the answer carries the facts of all of them."""
    monkeypatch.setattr(fred_client, "VINTAGES_A_PAGE", 2)
    monkeypatch.setattr(fred_client, "OBSERVATIONS_A_PAGE", 2)
    server = Told(
        _days(*VINTAGES[:2], count=3),
        _days(*VINTAGES[2:], count=3),
        _rows(FIRST, SECOND, count=3),
        _rows(THIRD, count=3),
    )
    bodies = b"".join(server.waiting)
    answer = _observations(server)
    assert answer.rows["value"].to_pylist() == [Decimal("1.5"), Decimal("1.6"), None]
    assert answer.raw_answers == ("raw/1", "raw/2", "raw/3", "raw/4")
    assert answer.requests == 1 + 2 + 3 + 4
    assert answer.fetched_at == NOW + timedelta(seconds=1), "all of it is at least as new"
    assert answer.content_sha256 == sha256(bodies).hexdigest()
    assert [(path, asked["offset"], asked["limit"]) for path, asked, _ in server.asked] == [
        ("series/vintagedates", "0", "2"),
        ("series/vintagedates", "2", "2"),
        ("series/observations", "0", "2"),
        ("series/observations", "2", "2"),
    ]
    assert all(asked["file_type"] == "json" for _, asked, _ in server.asked)
    assert {asked["realtime_end"] for _, asked, _ in server.asked[2:]} == {"9999-12-31"}
    assert len({operation for *_, operation in server.asked}) == 4


def test_a_series_without_any_vintage_is_an_empty_answer() -> None:
    """One request says so."""
    answer = _observations(server := Told(_days()))
    assert (answer.rows.num_rows, answer.requests, server.waiting) == (0, 1, [])


@pytest.mark.parametrize(
    ("bodies", "kind", "shown", "kept"),
    [
        ([_days("2026-04-29", count=2)], errors.MalformedPayloadError,
         "1 rows came where 2 were left of 2", "raw/1"),
        ([_days("2026-04-29", "2026-05-28", count=1)], errors.MalformedPayloadError,
         "2 rows came where 1", "raw/1"),
        ([_days(*VINTAGES), _rows(FIRST, count=3)], errors.MalformedPayloadError,
         "1 rows came where 3", "raw/2"),
        ([_days(*VINTAGES), _rows(FIRST, realtime_start="2026-08-05")],
         errors.MalformedPayloadError, "period 2026-08-05 to 9999-12-31", "raw/2"),
        ([_days(*VINTAGES), recorded("fred_series_observations_gdp_all_vintages.json")],
         errors.MalformedPayloadError, "51 rows came where 3201", "raw/2"),
        ([_days(*VINTAGES), recorded("fred_series_observations_gdp.json")],
         errors.MalformedPayloadError, "period 2024-12-19 to 2024-12-19", "raw/2"),
        ([_days("2026-01-05", "2026-08-01"), _rows(FIRST, SECOND)], errors.MalformedPayloadError,
         "no row begins on a day of the series' vintages", "raw/2"),
        ([_days(*VINTAGES), _rows(_row("1700-01-01", "1700-02-01", "1700-12-31", "1"))],
         errors.MalformedPayloadError, "rows that were not requested .*1700-02-01", "raw/2"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_whole_or_not_as_asked_is_never_used(
    bodies: Sequence[object], kind: type[errors.ProviderError], shown: str, kept: str
) -> None:
    """The error points to the bodies up to the one that shows it."""
    with pytest.raises(kind, match=shown) as raised:
        _observations(Told(*bodies))
    assert raised.value.raw_answers == ("raw/1", "raw/2")[: int(kept[-1])]
    assert raised.value.raw_answers[-1] == kept


def test_a_list_that_grew_between_two_pages_is_asked_for_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows may have moved from one page to the other."""
    monkeypatch.setattr(fred_client, "VINTAGES_A_PAGE", 2)
    server = Told(_days(*VINTAGES[:2], count=3), _days(*VINTAGES[1:], count=4))
    with pytest.raises(errors.ProviderUnavailableError, match="grew from 3 to 4"):
        _observations(server)


def test_what_an_error_points_to_is_never_taken_for_a_whole_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replayed, it fails as before; were its last page mended, the next one would be missing."""
    monkeypatch.setattr(fred_client, "OBSERVATIONS_A_PAGE", 1)
    bodies = [_days(*VINTAGES), _rows(FIRST, count=3), b"["]
    with pytest.raises(errors.MalformedPayloadError, match="not JSON") as raised:
        _observations(Told(*bodies))
    assert raised.value.raw_answers == ("raw/1", "raw/2", "raw/3")
    for last, message in ((b"[", "not JSON"), (_rows(SECOND, count=3), "not all of this answer")):
        again = Told(*bodies[:2], last).waiting
        kept = dict(zip(raised.value.raw_answers, again, strict=True))
        getter = KeptGetter("fred", lambda key, kept=kept: Body(kept[key]), tuple(kept))
        with pytest.raises(errors.MalformedPayloadError, match=message):
            asyncio.run(FredClient(getter).observations("X", date.min, date.max))


def test_rows_in_reversed_order_are_the_same_rows() -> None:
    """Vintages too."""
    answer = _observations(Told(_days(*reversed(VINTAGES)), _rows(THIRD, SECOND, FIRST)))
    assert answer.rows.num_rows == 3


def test_a_vintage_that_appeared_meanwhile_is_kept() -> None:
    """It is newer than the list of vintages that came before it."""
    answer = _observations(Told(_days(*VINTAGES[:2]), _rows(FIRST, SECOND, THIRD)))
    assert (answer.rows.num_rows, answer.left_out) == (3, ())


def _changed(*rows: tuple[str, str], count: int | None = None) -> object:
    listed = [{"id": name, "last_updated": at} for name, at in rows]
    return {"count": len(rows) if count is None else count, "seriess": listed}


def test_updates_are_paged_and_the_next_look_begins_where_the_first_page_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changes between two pages are served again; series not asked for are left out."""
    monkeypatch.setattr(fred_client, "UPDATES_A_PAGE", 2)
    server = Told(
        _changed(("GDP", "2026-08-05 06:30:00-05"), ("DFF", "2026-08-04 08:00:00-05"), count=3),
        _changed(("OLD", "2026-08-04 06:59:59-05"), count=3),
    )
    since = datetime(2026, 8, 4, 12, tzinfo=UTC)
    client = FredClient(server, now=lambda: NOW)
    updates = asyncio.run(client.changed_since(since))
    assert updates.symbols == {"GDP", "DFF"}
    assert updates.raw_answers == ("raw/1", "raw/2")
    _, asked, _ = server.asked[0]
    assert asked["start_time"] == "202608040700", "St. Louis's wall time is five hours behind"
    assert asked["end_time"] == "202608051201"
    assert updates.request == "series/updates since=2026-08-04T12:00:00+00:00"


def test_a_good_key_that_was_denied_may_be_denied_again_later() -> None:
    """Each request has its own second chance, and a new one after each answer."""
    denied = HttpAnswer(
        status=400,
        headers={},
        body=b'{"error_code":400,"error_message":"The value for variable api_key is not '
        b'registered."}',
        sha256="",
        fetched_at=NOW,
        requests=1,
    )
    judged = fred_client.classifier("k")
    first = judged(denied, "a")
    assert isinstance(first, errors.RateLimitedError)
    assert first.retry_after_s == fred_client.DOUBTED_KEY_WAIT_S
    assert isinstance(judged(denied, "b"), errors.RateLimitedError)
    assert isinstance(judged(denied, "a"), errors.KeyRefusedError)
    good = HttpAnswer(status=200, headers={}, body=b"{}", sha256="", fetched_at=NOW, requests=1)
    assert judged(good, "b") is None
    assert isinstance(judged(denied, "b"), errors.RateLimitedError)
