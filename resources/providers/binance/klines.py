"""Binance's minute bars of whole days: files, and by REST what no file has or has wrong.

Here: which requests make an answer with every minute in it. Not here: the client (client.py), or
what replies look like (wire.py, files.py, rows.py).

A running venue writes a kline for every minute, the quiet ones included. So a minute without one is
missing from the file, or the venue stood still; some files have lost rows that REST still has
(binance/binance-public-data, issues). REST is asked for exactly those minutes, and for those whose
row in the file cannot be used; what REST lacks as well is noted with the answer, by its minutes.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.coverage import SETTLE_AFTER
from marketdata.minute_bars import WIRE_MINUTE_BARS, validate
from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import INSTANT, RejectedRow
from resources.providers.binance import files as binance_files
from resources.providers.binance import rows as binance_rows
from resources.providers.binance import wire
from resources.providers.binance.answer_builder import (
    EPOCH,
    ONE_DAY,
    AnswerBuilder,
    midnight,
    milliseconds,
)
from resources.providers.binance.rows import Klines
from resources.providers.http import Getter

PAGE = 1000
WEIGHT = 2
SHOWN = 3
"""Runs of missing minutes that a note names."""
_PATH = "api/v3/klines"
_MINUTE = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE_US = 60_000_000

Minutes = npt.NDArray[np.int64]
"""Opening times in minutes since 1970, sorted, each once."""


async def minute_bars(rest: Getter, files: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the minute bars (WIRE_MINUTE_BARS) of the UTC days ``start`` to ``end``.

    Both days are included, as far as their minutes are over by Binance's own time, which is asked
    for first: ``fetched_at`` is the time of that reply. Minutes without a trade are absent.
    ``vwap`` is the quote volume over the volume. The answer's ``request`` says which days came
    from files. A file that there is not, or that cannot be used, is made up for by REST; so are
    minutes that a file lacks. ``notes`` name files that could not be used and minutes that
    Binance has nowhere.

    Raises:
        UnknownSymbolError: REST does not know ``symbol``, and there is no file of it.
        RequestRejectedError: ``symbol`` cannot be one; nothing was sent.
        MalformedPayloadError: A reply of REST cannot be read, or holds rows nobody asked for; or a
            file cannot be used and REST does not know the symbol. The error points to all replies
            so far.
        ProviderError: See ``wire.classify_error``.
        ValueError: ``start`` is after ``end``.
    """
    builder = AnswerBuilder(
        rest,
        files,
        operation=f"klines symbol={symbol} interval=1m",
        symbol=symbol,
        start=start,
        end=end,
    )
    now = await builder.server_time()
    for piece in pieces(symbol, start, min(end, now.date()), now.date()):
        await _add(builder, piece, now)
    return builder.answer(WIRE_MINUTE_BARS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Days that one file holds; without a path, days that only REST has."""

    way: str
    first: date
    last: date
    path: str | None

    @property
    def file_holds(self) -> tuple[datetime, datetime]:
        """First moment of the file, and the first one after it."""
        if self.way == "day":
            return midnight(self.first), midnight(self.last + ONE_DAY)
        first = self.first.replace(day=1)
        return midnight(first), midnight((first + timedelta(days=31)).replace(day=1))


def pieces(symbol: str, start: date, end: date, today: date) -> Iterator[Piece]:
    """Split days into the fewest files, oldest first; ``end`` is not after ``today``."""
    first = start
    while first <= end:
        month_ends = (first.replace(day=1) + timedelta(days=31)).replace(day=1) - ONE_DAY
        last = min(month_ends, end)
        # On the first Monday itself the file may be still to come.
        published = binance_files.month_published_on(first) < today
        if published and last > first:
            path = binance_files.month_of_klines(symbol, first)
            yield Piece(way="month", first=first, last=last, path=path)
        else:
            yield from _days(symbol, first, last, today)
        first = last + ONE_DAY


def _days(symbol: str, first: date, last: date, today: date) -> Iterator[Piece]:
    for day in (first + ONE_DAY * place for place in range((last - first).days + 1)):
        path = binance_files.day_of_klines(symbol, day) if day < today else None
        yield Piece(way="day", first=day, last=day, path=path)


async def _add(builder: AnswerBuilder, piece: Piece, now: datetime) -> None:
    """Add the days of ``piece``: from its file, else from files of days, else by REST."""
    unusable: errors.MalformedPayloadError | None = None
    try:
        klines = None if piece.path is None else await _of_file(builder, piece, piece.path)
    except errors.MalformedPayloadError as error:
        unusable, klines = error, None
        name = str(piece.path).rpartition("/")[2]
        builder.note(f"{name} is not used: {builder.unusable(error)}")
        if piece.way == "month":
            for day in _days(builder.symbol, piece.first, piece.last, now.date()):
                await _add(builder, day, now)
            return
    if klines is not None:
        await _add_completed(builder, piece, klines)
        builder.took(piece.way, piece.first, piece.last)
        return
    try:
        klines = await _by_rest(builder, midnight(piece.first), _ends(piece), now)
    except errors.UnknownSymbolError:
        if unusable is not None:
            raise unusable from None
        builder.nowhere(piece.first, piece.last)
        return
    builder.add(klines.bars, klines.left_out)
    _note_absent(builder, _lacking_by_rest(klines, piece, now), "REST has none")
    builder.took("rest", piece.first, piece.last)


def _ends(piece: Piece) -> datetime:
    return midnight(piece.last + ONE_DAY)


async def _of_file(builder: AnswerBuilder, piece: Piece, path: str) -> Klines | None:
    """Return the klines of ``piece`` in its file, or None if there is no file."""
    found = await builder.file(path)
    if found is None:
        return None
    reply, asked = found
    with builder.kept():
        rows = await asyncio.to_thread(binance_files.kline_rows, reply.body, path, operation=asked)
        klines = binance_rows.minute_bars(rows, builder.symbol, operation=asked)
        binance_rows.refuse_outside(klines.bars, "opened_at", *piece.file_holds, asked)
    builder.note(*klines.notes)
    return _between(klines, midnight(piece.first), _ends(piece))


async def _add_completed(builder: AnswerBuilder, piece: Piece, klines: Klines) -> None:
    """Add the klines of a file, and by REST those minutes that it lacks or has wrong."""
    expected = np.arange(_minute(midnight(piece.first)), _minute(_ends(piece)), dtype=np.int64)
    wanted = np.setdiff1d(expected, _usable(klines))
    rest = _joined([])
    why = "neither its file nor REST has one"
    unknown: list[RejectedRow] = []
    try:
        rest = await _of_minutes(builder, wanted)
    except errors.UnknownSymbolError:
        why = "its file has none, and REST does not know the symbol any more"
    except errors.MalformedPayloadError as error:
        # What the file holds is proven; of the rest REST may tell more tomorrow.
        why = f"its file has none, and REST's answer cannot be used: {builder.unusable(error)}"
        days = {_moment(minute).date() for minute in wanted}
        unknown = builder.untellable(days, f"REST cannot tell what the file lacks: {why}")
    table, left_out = _united(klines, rest, wanted)
    builder.add(table, [*left_out, *unknown])
    told = (_usable(klines), _usable(rest), _minutes_of(klines.bars), _odd(klines), _odd(rest))
    _note_absent(builder, np.setdiff1d(wanted, np.concatenate(told)), why)


def _united(
    file: Klines, rest: Klines, wanted: Minutes
) -> tuple[pa.Table, tuple[RejectedRow, ...]]:
    """Return a file's rows, and in the place of ``wanted`` ones those of REST that can be used.

    Of a minute that both have wrong the file's row is told.
    """
    better = np.intersect1d(wanted, _usable(rest))
    from_file = _without(file.bars, better)
    from_rest = _only(_without(rest.bars, _minutes_of(from_file)), wanted)
    left_out = [row for row in file.left_out if _minute_of(row) not in better]
    told = {row.what for row in left_out}
    left_out += [row for row in rest.left_out if row.what not in told]
    return pa.concat_tables([from_file, from_rest]), tuple(left_out)


async def _of_minutes(builder: AnswerBuilder, wanted: Minutes) -> Klines:
    """Ask REST for minutes: one page for all that lie within a thousand of each other."""
    pages: list[Klines] = []
    while wanted.size:
        fits = wanted < wanted[0] + PAGE
        first, last = _moment(wanted[0]), _moment(wanted[fits][-1])
        pages.append(await _page(builder, first, last))
        wanted = wanted[~fits]
    return _joined(pages)


async def _by_rest(
    builder: AnswerBuilder, opens: datetime, ends: datetime, now: datetime
) -> Klines:
    """Return the klines from ``opens`` on that are over by ``now``, page by page."""
    pages: list[Klines] = []
    while opens + _MINUTE <= min(ends, now):
        page = await _page(builder, opens, ends - _MINUTE)
        pages.append(page)
        if page.rows < PAGE or page.last_at is None:
            break
        opens = page.last_at + _MINUTE
    # The last row may be the minute that is still open.
    return _between(_joined(pages), EPOCH, now - _MINUTE + _MICROSECOND)


async def _page(builder: AnswerBuilder, first: datetime, last: datetime) -> Klines:
    """Return the page of klines that open from ``first`` to ``last``, both included."""
    parameters = {
        "symbol": builder.symbol,
        "interval": "1m",
        "startTime": milliseconds(first),
        "endTime": milliseconds(last),
        "limit": str(PAGE),
    }
    reply, asked = await builder.ask(_PATH, parameters, weight=WEIGHT)
    with builder.kept():
        rows = wire.kline_rows(reply.body, operation=asked)
        klines = binance_rows.minute_bars(rows, builder.symbol, operation=asked)
        binance_rows.refuse_outside(klines.bars, "opened_at", first, last + _MINUTE, asked)
        if klines.last_at is not None and klines.last_at < first:
            message = "the page ends before it begins"
            raise wire.malformed(message, asked)
    builder.note(*klines.notes)
    return klines


def _lacking_by_rest(klines: Klines, piece: Piece, now: datetime) -> Minutes:
    """Return minutes of which REST has no kline: of a day that is not over, up to its last one.

    A span without any kline is empty, which the ledger says.
    """
    if klines.last_at is None:
        return np.array([], np.int64)
    ends = _ends(piece)
    # A minute that ended while REST was asked was not over when the question was put.
    until = ends if now >= ends + SETTLE_AFTER else min(klines.last_at, now)
    expected = np.arange(_minute(midnight(piece.first)), _minute(until), dtype=np.int64)
    told = np.concatenate([_usable(klines), _minutes_of(klines.bars), _odd(klines)])
    return np.setdiff1d(expected, told)


def _note_absent(builder: AnswerBuilder, minutes: Minutes, why: str) -> None:
    """Name minutes that Binance has nowhere: it stood still, or did not trade the pair yet."""
    if not minutes.size:
        return
    breaks = np.flatnonzero(np.diff(minutes) > 1)
    firsts = minutes[np.concatenate([[0], breaks + 1])]
    lasts = minutes[np.concatenate([breaks, [-1]])]
    runs = [
        f"{_moment(first):%Y-%m-%d %H:%M} to {_moment(last):%Y-%m-%d %H:%M}"
        for first, last in zip(firsts[:SHOWN], lasts[:SHOWN], strict=True)
    ]
    more = f" and {len(firsts) - SHOWN} more runs" if len(firsts) > SHOWN else ""
    builder.note(f"no kline of {minutes.size} minutes, {', '.join(runs)}{more} (UTC): {why}")


def _usable(klines: Klines) -> Minutes:
    """Return the minutes with a kline that can be believed, the quiet ones included."""
    accepted = validate(klines.bars).accepted["opened_at"]
    times = pa.chunked_array([*accepted.chunks, *klines.quiet.chunks], INSTANT)
    return _as_minutes(times)


def _minutes_of(bars: pa.Table) -> Minutes:
    return _as_minutes(bars["opened_at"])


def _odd(klines: Klines) -> Minutes:
    """Return the minutes in which klines open that are no minute's."""
    found = {minute for row in klines.left_out if (minute := _minute_of(row)) is not None}
    return np.array(sorted(found), np.int64)


def _minute_of(row: RejectedRow) -> int | None:
    return None if row.day is None else _minute(datetime.fromisoformat(row.what))


def _minute(moment: datetime) -> int:
    return (moment - EPOCH) // _MINUTE


def _moment(minute: np.int64) -> datetime:
    return EPOCH + int(minute) * _MINUTE


def _as_minutes(times: pa.ChunkedArray) -> Minutes:
    return np.unique(times.cast(pa.int64()).to_numpy() // _MINUTE_US)


def _only(bars: pa.Table, minutes: Minutes) -> pa.Table:
    chosen = pa.array(minutes * _MINUTE_US, pa.int64()).cast(INSTANT)
    return bars.filter(pc.is_in(bars["opened_at"], value_set=chosen))


def _without(bars: pa.Table, minutes: Minutes) -> pa.Table:
    chosen = pa.array(minutes * _MINUTE_US, pa.int64()).cast(INSTANT)
    return bars.filter(pc.invert(pc.is_in(bars["opened_at"], value_set=chosen)))


def _between(klines: Klines, start: datetime, end: datetime) -> Klines:
    """Return what opens from ``start`` on and before ``end``; what tells no time is kept."""
    quiet = pa.table({"opened_at": klines.quiet})
    return replace(
        klines,
        bars=binance_rows.between(klines.bars, "opened_at", start, end),
        quiet=binance_rows.between(quiet, "opened_at", start, end)["opened_at"],
        left_out=tuple(
            row
            for row in klines.left_out
            if row.day is None or start <= datetime.fromisoformat(row.what) < end
        ),
    )


def _joined(pages: Iterable[Klines]) -> Klines:
    every = list(pages)
    return Klines(
        bars=pa.concat_tables([WIRE_MINUTE_BARS.empty_table(), *(page.bars for page in every)]),
        quiet=pa.chunked_array([part for page in every for part in page.quiet.chunks], INSTANT),
        left_out=tuple(row for page in every for row in page.left_out),
        notes=(),
        rows=sum(page.rows for page in every),
        last_at=max((page.last_at for page in every if page.last_at is not None), default=None),
    )
