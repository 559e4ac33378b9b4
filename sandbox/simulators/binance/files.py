"""A simulator of Binance's public files: zips of klines and aggregate trades, and their checksums.

Here: which files are published, and their bytes. Not here: the rows (wire.py, klines.py), REST
(simulator.py), or faults (../front.py). Facts: binance/binance-public-data.

A file is a pure function of its name: the same bytes today and tomorrow. Times are in
milliseconds before 2025 and in microseconds since. A day is published on the next one at three
o'clock UTC, a month on the next month's first Monday at the same hour; so the hour is invented.
"""

import csv
import functools
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus

from marketdata.crypto_pairs import pairs_at
from sandbox.simulators.binance import wire
from sandbox.simulators.binance.klines import VENUE, klines_of_day
from sandbox.simulators.faults import FaultKind, FaultRule, Reply
from sandbox.simulators.front import Request
from sandbox.simulators.worlds.crypto.trades import FIRST_DAY
from sandbox.simulators.worlds.crypto.world import CryptoWorld

ZIP = "application/zip"
MICROSECONDS_FROM = date(2025, 1, 1)
_PUBLISHED_AT = time(3, tzinfo=UTC)
_ONE_DAY = timedelta(days=1)
_PATH = re.compile(
    r"/data/spot/(?P<span>monthly|daily)/"
    r"(?:klines/(?P<pair>[A-Z0-9]+)/1m/(?P=pair)-1m-|aggTrades/(?P<of>[A-Z0-9]+)/(?P=of)-aggTrades-)"
    r"(?P<when>\d{4}-\d{2}(?:-\d{2})?)\.zip(?P<checksum>\.CHECKSUM)?"
)
_NAME = re.compile(r"(?P<symbol>[A-Z0-9]+)-(?P<kind>1m|aggTrades)-(?P<when>[\d-]+)\.zip")
_KLINE_HEADER = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count",
    "taker_buy_volume", "taker_buy_quote_volume", "ignore",
)  # fmt: skip
_TRADE_HEADER = (
    "agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time",
    "is_buyer_maker", "is_best_match",
)  # fmt: skip
_QUIRKS = ("header", "lost_rows", "replaced", "wrong_checksum")

Row = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One file: its symbol in Binance's spelling, and its first and last day."""

    symbol: str
    of_trades: bool
    first: date
    last: date

    @property
    def stem(self) -> str:
        kind = "aggTrades" if self.of_trades else "1m"
        when = f"{self.first}" if self.first == self.last else f"{self.first:%Y-%m}"
        return f"{self.symbol}-{kind}-{when}"

    @property
    def published_at(self) -> datetime:
        day = self.last + _ONE_DAY
        if self.first != self.last:
            day += timedelta(days=-day.weekday() % 7)
        return datetime.combine(day, _PUBLISHED_AT)


class BinanceFilesSimulator:
    """Serves files as data.binance.vision would.

    Args:
        now: Clock that returns aware UTC times; files not published by then are missing.
        crypto: The trades; those of the usual world by default.
    """

    prefix = "/binance-files"

    def __init__(self, *, now: Callable[[], datetime], crypto: CryptoWorld | None = None) -> None:
        self._now = now
        self._crypto = crypto or CryptoWorld()

    def key(self, query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str] | None:
        """No key is asked for."""
        del query, headers

    def subject(self, request: Request) -> str | None:
        """Return the symbol of the file."""
        match = _PATH.fullmatch(request.path)
        return None if match is None else match["pair"] or match["of"]

    def refusal(self, request: Request) -> Reply | None:
        """Return None: no limit is published."""
        del request

    def answer(self, request: Request) -> Reply:
        """Return a zip or its checksum, or a 404."""
        file = self._file(request)
        if file is None:
            return _missing(request.path)
        return _as_asked(request, file, _zipped(self._crypto, file))

    def error(self, status: int, text: str) -> Reply:
        """Return an error as an object store writes it."""
        code = {404: "NoSuchKey", 403: "AccessDenied", 503: "SlowDown"}.get(status, "InternalError")
        return _xml(status, code, text)

    def nothing(self) -> Reply:
        """Return the 404 of a file that does not exist."""
        return _missing("")

    def spoilt(self, rule: FaultRule, reply: Reply) -> Reply:
        """Return a zip with damaged rows; its checksum, asked for under the same rule, fits it."""

        def damaged(rows: list[Row]) -> None:
            _damage(rule, rows)

        if reply.content_type == ZIP:
            return replace(reply, body=_edited(reply.body, damaged))
        match = _NAME.search(reply.body.decode("utf-8", "replace"))
        if reply.status != HTTPStatus.OK or match is None:
            return reply
        file = _file_of(match["symbol"], match["when"], of_trades=match["kind"] == "aggTrades")
        return _checksum(file, _edited(_zipped(self._crypto, file), damaged))

    def quirk(self, name: str, request: Request) -> Reply:
        """Return the answer with one of the files' quirks.

        ``replaced`` is a later version of the file, its first row restated, with its checksum;
        ``wrong_checksum`` is that version's checksum beside the file as it was; ``header`` is
        a file with a header, as those of futures have; ``lost_rows`` is one which lacks rows in
        its middle and at its end, as all days of trades of 2021-12-14 do.

        Raises:
            ValueError: There is no such quirk.
        """
        if name not in _QUIRKS:
            message = f"Binance's files have no quirk {name!r}, but {', '.join(_QUIRKS)}"
            raise ValueError(message)
        file = self._file(request)
        if file is None:
            return _missing(request.path)
        original = _zipped(self._crypto, file)
        if name == "header":
            body = _edited(original, _add_header)
        elif name == "lost_rows":
            body = _edited(original, _lose)
        elif name == "wrong_checksum" and not request.path.endswith(".CHECKSUM"):
            body = original
        else:
            body = _edited(original, _restate)
        return _as_asked(request, file, body)

    def _file(self, request: Request) -> _File | None:
        """Return the requested file, if it is published."""
        asked = _PATH.fullmatch(request.path)
        if asked is None or (len(asked["when"]) == len("2026-01")) != (asked["span"] == "monthly"):
            return None
        try:
            file = _file_of(
                asked["pair"] or asked["of"], asked["when"], of_trades=asked["of"] is not None
            )
        except ValueError:
            return None
        listed = file.symbol in pairs_at(VENUE) and file.first >= FIRST_DAY
        return file if listed and file.published_at <= self._now() else None


def _file_of(symbol: str, when: str, *, of_trades: bool) -> _File:
    """Return the file of a day or a month.

    Raises:
        ValueError: There is no such day or month.
    """
    if len(when) == len("2026-01-01"):
        first = last = date.fromisoformat(when)
    else:
        first = date.fromisoformat(f"{when}-01")
        last = (first + timedelta(days=31)).replace(day=1) - _ONE_DAY
    return _File(symbol=symbol, of_trades=of_trades, first=first, last=last)


@functools.lru_cache(maxsize=16)
def _zipped(crypto: CryptoWorld, file: _File) -> bytes:
    days = [file.first + _ONE_DAY * offset for offset in range((file.last - file.first).days + 1)]
    pair = pairs_at(VENUE)[file.symbol].pair
    of_day = _trades_of_day if file.of_trades else _klines_of_day
    lines = [",".join(map(str, row)) for day in days for row in of_day(crypto, pair, day)]
    return _zip_of(f"{file.stem}.csv", "\n".join([*lines, ""]))


def _klines_of_day(crypto: CryptoWorld, pair: str, day: date) -> Iterable[tuple[object, ...]]:
    over = datetime.combine(day + _ONE_DAY, time(), UTC)
    klines = klines_of_day(crypto, pair, day, over)
    micro = day >= MICROSECONDS_FROM
    return wire.kline_rows(klines, minutes=1, microseconds=micro)


def _trades_of_day(crypto: CryptoWorld, pair: str, day: date) -> Iterable[tuple[object, ...]]:
    begins = datetime.combine(day, time(), UTC)
    trades = crypto.trades(pair, begins, begins + _ONE_DAY, venue=VENUE)
    return wire.trade_rows(trades, microseconds=day >= MICROSECONDS_FROM)


def _zip_of(name: str, text: str) -> bytes:
    """Return a zip of one file without timestamps: the same text gives the same bytes."""
    buffer = io.BytesIO()
    member = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, text, compresslevel=1)
    return buffer.getvalue()


def _edited(body: bytes, edit: Callable[[list[Row]], None]) -> bytes:
    """Return a zip with its CSV edited by ``edit``."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (name,) = archive.namelist()
        rows = list(csv.reader(io.StringIO(archive.read(name).decode())))
    edit(rows)
    return _zip_of(name, "".join(f"{','.join(row)}\n" for row in rows))


def _damage(rule: FaultRule, rows: list[Row]) -> None:
    """Repeat the first row, or take its price and make the second one impossible."""
    if rule.kind is FaultKind.DUPLICATE_ROWS:
        rows[:0] = [list(row) for row in rows[:1]]
        return
    of_trades = bool(rows) and len(rows[0]) == len(_TRADE_HEADER)
    for row in rows[:1]:
        row[1 if of_trades else 4] = ""
    for row in rows[1:2]:
        row[2] = f"-{row[2]}"


def _add_header(rows: list[Row]) -> None:
    rows.insert(0, list(_TRADE_HEADER if len(rows[0]) == len(_TRADE_HEADER) else _KLINE_HEADER))


def _lose(rows: list[Row]) -> None:
    middle = len(rows) // 2
    del rows[-len(rows) // 4 :], rows[middle : middle + 3]


def _restate(rows: list[Row]) -> None:
    """Add one to the first row's volume or size."""
    place = 2 if len(rows[0]) == len(_TRADE_HEADER) else 5
    rows[0][place] = f"{float(rows[0][place]) + 1:.8f}"


def _as_asked(request: Request, file: _File, body: bytes) -> Reply:
    if request.path.endswith(".CHECKSUM"):
        return _checksum(file, body)
    return Reply(status=HTTPStatus.OK, body=body, content_type=ZIP)


def _checksum(file: _File, body: bytes) -> Reply:
    line = f"{hashlib.sha256(body).hexdigest()}  {file.stem}.zip\n"
    return Reply(status=HTTPStatus.OK, body=line.encode(), content_type="binary/octet-stream")


def _missing(path: str) -> Reply:
    key = f"<Key>{path.removeprefix('/')}</Key>"
    return _xml(HTTPStatus.NOT_FOUND, "NoSuchKey", "The specified key does not exist.", key)


def _xml(status: int, code: str, text: str, more: str = "") -> Reply:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{text}</Message>{more}</Error>"
    )
    return Reply(status=status, body=body.encode(), content_type="application/xml")
