"""The simulated files are Binance's: names, days of publication, checksums, columns, times."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from machine.processes import NO_AUTHORITIES
from sandbox.simulators import serving
from sandbox.simulators.binance import BinanceFilesSimulator, BinanceSimulator
from sandbox.simulators.binance import files as binance_files
from sandbox.simulators.front import Front
from sandbox.simulators.journal import Journal
from sandbox.simulators.worlds.crypto.world import CryptoWorld
from sandbox.simulators.worlds.shares.world import World
from tests.sandbox.clock import Clock

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MONTH = "data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-"
DAY = "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-"
TRADES = "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-"


@pytest.fixture
def clock() -> Clock:
    """A Saturday's noon."""
    return Clock(NOW)


@pytest.fixture
def origin(clock: Clock, tmp_path: Path) -> Iterator[str]:
    """Both simulators."""
    crypto = CryptoWorld()
    front = Front(
        [
            BinanceSimulator(now=clock, crypto=crypto),
            BinanceFilesSimulator(now=clock, crypto=crypto),
        ],
        world=World(tmp_path),
        journal=Journal(tmp_path / "requests.jsonl"),
        now=clock,
    )
    with serving.serve(front) as origin:
        yield origin


@pytest.fixture
def files(origin: str) -> Iterator[httpx.Client]:
    """A client of the file host."""
    with httpx.Client(
        timeout=120, base_url=f"{origin}/binance-files", trust_env=False, verify=NO_AUTHORITIES
    ) as client:
        yield client


def _forget_files() -> None:
    """Let files be made anew: they are kept for all simulators of this process."""
    binance_files._zipped.cache_clear()  # pyright: ignore[reportPrivateUsage]


def _lines(files: httpx.Client, path: str) -> list[list[str]]:
    answer = files.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        (name,) = archive.namelist()
        assert name == path.rpartition("/")[2].replace(".zip", ".csv")
        return [line.split(",") for line in archive.read(name).decode().splitlines()]


def test_a_checksum_is_the_zips_and_both_stay_the_same(files: httpx.Client, clock: Clock) -> None:
    """Two blanks between digest and name, as sha256sum writes it."""
    path = f"{DAY}2026-11-20.zip"
    checksum = files.get(f"{path}.CHECKSUM").text
    zipped = files.get(path).content
    assert checksum == f"{hashlib.sha256(zipped).hexdigest()}  BTCUSDT-1m-2026-11-20.zip\n"
    clock.advance(90 * 86_400)
    _forget_files()
    assert files.get(path).content == zipped


def test_a_day_of_klines_is_what_rest_says(files: httpx.Client, origin: str) -> None:
    """Cell by cell, but for the unit of times: microseconds since 2025, milliseconds before."""
    for day, unit in (("2026-11-20", 1000), ("2024-12-31", 1)):
        start = round(datetime.fromisoformat(f"{day}T00:00:00Z").timestamp() * 1000)
        asked = {"symbol": "BTCUSDT", "interval": "1m", "limit": 1000, "startTime": start}
        rows = httpx.get(
            f"{origin}/binance/api/v3/klines", params=asked, verify=NO_AUTHORITIES
        ).json()
        lines = _lines(files, f"{DAY}{day}.zip")
        assert len(lines) == 1440
        for line, row in zip(lines, rows, strict=False):
            assert int(line[0]) == row[0] * unit
            assert int(line[6]) == (row[6] + 1) * unit - 1
            assert [*line[1:6], *line[7:]] == [str(cell) for cell in [*row[1:6], *row[7:]]]


def test_a_day_of_trades_is_what_rest_says(files: httpx.Client, origin: str) -> None:
    """Booleans are written the way of Python."""
    lines = _lines(files, f"{TRADES}2026-11-20.zip")
    assert len(lines) == 8000
    asked = {"symbol": "BTCUSDT", "fromId": lines[0][0], "limit": 1000}
    rows = httpx.get(
        f"{origin}/binance/api/v3/aggTrades", params=asked, verify=NO_AUTHORITIES
    ).json()
    for line, row in zip(lines, rows, strict=False):
        assert int(line[5]) // 1000 == row["T"]
        assert [*line[:5], *line[6:]] == [
            str(row[name]) for name in ("a", "p", "q", "f", "l", "m", "M")
        ]


def test_a_month_is_its_days(files: httpx.Client) -> None:
    """November 2025 has an hour without any kline."""
    lines = _lines(files, f"{MONTH}2025-11.zip")
    assert len(lines) == 30 * 1440 - 60
    assert lines[-1380:] == _lines(files, f"{DAY}2025-11-30.zip")


def test_a_month_is_made_within_a_second(files: httpx.Client) -> None:
    """Of the processor's time; it takes 0.4 s on a machine of its own."""
    _forget_files()
    began = time.process_time()
    assert files.get(f"{MONTH}2026-10.zip").status_code == 200
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("moment", "path", "status"),
    [
        ("2026-11-21T02:59:59Z", f"{DAY}2026-11-20.zip", 404),
        ("2026-11-21T03:00:00Z", f"{DAY}2026-11-20.zip", 200),
        ("2026-11-21T12:00:00Z", f"{DAY}2026-11-21.zip", 404),
        ("2026-11-02T02:59:59Z", f"{MONTH}2026-10.zip", 404),
        ("2026-11-02T03:00:00Z", f"{MONTH}2026-10.zip", 200),
        ("2026-11-02T03:00:00Z", f"{MONTH}2026-10.zip.CHECKSUM", 200),
        ("2026-11-21T12:00:00Z", f"{MONTH}2018-12.zip", 404),
        ("2026-11-21T12:00:00Z", f"{MONTH}2026-13.zip", 404),
        ("2026-11-21T12:00:00Z", f"{MONTH}2026-10-01.zip", 404),
        ("2026-11-21T12:00:00Z", f"{DAY}2026-10.zip", 404),
        ("2026-11-21T12:00:00Z", f"{DAY}2026-11-20.csv", 404),
        ("2026-11-21T12:00:00Z", f"{DAY}2026-11-20.zip".replace("BTC", "NOSUCH"), 404),
        ("2026-11-21T12:00:00Z", "data/spot/daily/klines/BTCUSDT/1m/ETHUSDT-1m-2026-11-20.zip",
         404),
    ],
)  # fmt: skip
def test_files_appear_when_they_are_published(
    files: httpx.Client, clock: Clock, moment: str, path: str, status: int
) -> None:
    """A day on the next one, a month on a Monday; all else is an object store's 404."""
    clock.moment = datetime.fromisoformat(moment)
    answer = files.get(path)
    assert answer.status_code == status
    if status == 404:
        assert "<Code>NoSuchKey</Code>" in answer.text
        assert answer.headers["content-type"] == "application/xml"


def test_quirks_on_demand(files: httpx.Client, origin: str) -> None:
    """A later version with its checksum, a checksum that is not the file's, a header, lost rows."""
    path = f"{TRADES}2026-11-20.zip"
    plain = _lines(files, path)
    seen: dict[str, tuple[list[list[str]], bool]] = {}
    for quirk in ("replaced", "wrong_checksum", "header", "lost_rows"):
        rule = {"kind": "quirk", "quirk": quirk, "path": "/binance-files/"}
        httpx.post(f"{origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES).raise_for_status()
        checksum = files.get(f"{path}.CHECKSUM").text.split()[0]
        agrees = hashlib.sha256(files.get(path).content).hexdigest() == checksum
        seen[quirk] = (_lines(files, path), agrees)
        httpx.delete(f"{origin}/_sandbox/faults").raise_for_status()
    assert seen["replaced"][0][1:] == plain[1:]
    assert float(seen["replaced"][0][0][2]) == pytest.approx(float(plain[0][2]) + 1)
    assert seen["wrong_checksum"][0] == plain
    assert seen["header"][0][0][0] == "agg_trade_id"
    assert seen["header"][0][1:] == plain
    assert len(seen["lost_rows"][0]) == 6000 - 3
    assert {quirk: agrees for quirk, (_, agrees) in seen.items()} == {
        "replaced": True, "wrong_checksum": False, "header": True, "lost_rows": True,
    }  # fmt: skip


def test_the_journal_has_whole_paths_and_rules_meet_only_their_host(
    files: httpx.Client, origin: str
) -> None:
    """A fault below /binance/ is none below /binance-files/."""
    rule = {"kind": "status", "status": 500, "path": "/binance/"}
    httpx.post(f"{origin}/_sandbox/faults", json=rule, verify=NO_AUTHORITIES).raise_for_status()
    assert files.get(f"{DAY}2026-11-20.zip").status_code == 200
    assert httpx.get(f"{origin}/binance/api/v3/ping", verify=NO_AUTHORITIES).status_code == 500
    paths = [
        load["path"]
        for load in json.loads(httpx.get(f"{origin}/_sandbox/requests", verify=NO_AUTHORITIES).text)
    ]
    assert paths == [f"/binance-files/{DAY}2026-11-20.zip", "/binance/api/v3/ping"]
