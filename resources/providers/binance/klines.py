"""Binance's minute bars of whole days: from files, and by REST what files lack or have wrong.

Here: which requests make an answer with every minute in it. Not here: the client (client.py), or
what replies look like (wire.py, files.py, rows.py).

A running venue writes a kline for every minute, even without a trade. If a minute has none, the
file lacks it, or the venue was down. Some files have lost rows that REST still has
(binance/binance-public-data, issues). REST is asked for exactly those minutes, and for those whose
row in the file cannot be used. Minutes that REST lacks too are noted with the answer.
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
"""Most runs of missing minutes that a note names."""
_PATH = "api/v3/klines"
_MINUTE = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE_US = 60_000_000

Minutes = npt.NDArray[np.int64]
"""Opening times in minutes since 1970, sorted and distinct."""


async def minute_bars(rest: Getter, files: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the minute bars (WIRE_MINUTE_BARS) of the UTC days ``start`` to ``end``.

    Both days are included, up to the last minute that is over by Binance's clock, which is asked
    for first: ``fetched_at`` is the time of that reply. Minutes without a trade are absent.
    ``vwap`` is the quote volume over the volume. The answer's ``request`` says which days came
    from files. REST replaces files that are missing or cannot be used, and minutes that a file
    lacks. ``notes`` name files that could not be used and minutes that Binance does not have.

    Raises:
        UnknownSymbolError: REST does not know ``symbol``, and there is no file of it.
        RequestRejectedError: ``symbol`` cannot be one; nothing was sent.
        MalformedPayloadError: A reply of REST cannot be read, or holds rows that were not
            requested; or a file cannot be used and REST does not know the symbol. The error points
            to all replies so far.
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
    """Days of one file; without a path, days that only REST has."""

    way: str
    first: date
    last: date
    path: str | None

    @property
    def file_holds(self) -> tuple[datetime, datetime]:
        """First moment of the file, and the first one after its end."""
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
        # On the first Monday itself the file may not be published yet.
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
    """Add the days of ``piece``: from its file, else from daily files, else by REST."""
    unusable: errors.MalformedPayloadError | None = None
    try:
        klines = None if piece.path is None else await _file_klines(builder, piece, piece.path)
    except errors.MalformedPayloadError as error:
        unusable, klines = error, None
        name = str(piece.path).rpartition("/")[2]
        builder.note(f"{name} is not used: {builder.unusable(error)}")
        if piece.way == "month":
            for day in _days(builder.symbol, piece.first, piece.last, now.date()):
                await _add(builder, day, now)
            return
    if klines is not None:
        await _add_with_gaps_filled(builder, piece, klines)
        builder.note_route(piece.way, piece.first, piece.last)
        return
    try:
        klines = await _by_rest(builder, midnight(piece.first), _ends(piece), now)
    except errors.UnknownSymbolError:
        if unusable is not None:
            raise unusable from None
        builder.note_unavailable(piece.first, piece.last)
        return
    builder.add(klines.bars, klines.left_out)
    _note_absent(builder, _missing_in_rest(klines, piece, now), "REST has none")
    builder.note_route("rest", piece.first, piece.last)


def _ends(piece: Piece) -> datetime:
    return midnight(piece.last + ONE_DAY)


async def _file_klines(builder: AnswerBuilder, piece: Piece, path: str) -> Klines | None:
    """Return the klines of ``piece`` in its file, or None if there is no file."""
    file = await builder.file(path)
    if file is None:
        return None
    reply, operation = file
    with builder.kept():
        rows = await asyncio.to_thread(
            binance_files.kline_rows, reply.body, path, operation=operation
        )
        klines = binance_rows.minute_bars(rows, builder.symbol, operation=operation)
        binance_rows.refuse_outside(klines.bars, "opened_at", *piece.file_holds, operation)
    builder.note(*klines.notes)
    return _between(klines, midnight(piece.first), _ends(piece))


async def _add_with_gaps_filled(builder: AnswerBuilder, piece: Piece, klines: Klines) -> None:
    """Add the klines of a file, and by REST the minutes that it lacks or has wrong."""
    expected = np.arange(_minute(midnight(piece.first)), _minute(_ends(piece)), dtype=np.int64)
    missing = np.setdiff1d(expected, _usable(klines))
    rest = _joined([])
    why = "neither its file nor REST has one"
    rejected: list[RejectedRow] = []
    try:
        rest = await _ask_for_minutes(builder, missing)
    except errors.UnknownSymbolError:
        why = "its file has none, and REST does not know the symbol any more"
    except errors.MalformedPayloadError as error:
        # The file's rows are verified; REST may have the others tomorrow.
        why = f"its file has none, and REST's answer cannot be used: {builder.unusable(error)}"
        days = {_moment(minute).date() for minute in missing}
        rejected = builder.leave_open_in_letter(
            days, f"REST cannot tell what the file lacks: {why}"
        )
    table, left_out = _merged(klines, rest, missing)
    builder.add(table, [*left_out, *rejected])
    accounted = (
        _usable(klines),
        _usable(rest),
        _minutes_of(klines.bars),
        _odd_minutes(klines),
        _odd_minutes(rest),
    )
    _note_absent(builder, np.setdiff1d(missing, np.concatenate(accounted)), why)


def _merged(
    file: Klines, rest: Klines, missing: Minutes
) -> tuple[pa.Table, tuple[RejectedRow, ...]]:
    """Return a file's rows, with usable rows of REST for ``missing`` minutes.

    If both have a minute wrong, the file's row is reported.
    """
    replaced = np.intersect1d(missing, _usable(rest))
    from_file = _without(file.bars, replaced)
    from_rest = _only(_without(rest.bars, _minutes_of(from_file)), missing)
    left_out = [row for row in file.left_out if _minute_of(row) not in replaced]
    in_file = {row.what for row in left_out}
    left_out += [row for row in rest.left_out if row.what not in in_file]
    return pa.concat_tables([from_file, from_rest]), tuple(left_out)


async def _ask_for_minutes(builder: AnswerBuilder, minutes: Minutes) -> Klines:
    """Ask REST for minutes: one page for all within a span of a thousand."""
    pages: list[Klines] = []
    while minutes.size:
        fits = minutes < minutes[0] + PAGE
        first, last = _moment(minutes[0]), _moment(minutes[fits][-1])
        pages.append(await _page(builder, first, last))
        minutes = minutes[~fits]
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
    # The last row may be the minute that is not over.
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
    reply, operation = await builder.ask(_PATH, parameters, weight=WEIGHT)
    with builder.kept():
        rows = wire.kline_rows(reply.body, operation=operation)
        klines = binance_rows.minute_bars(rows, builder.symbol, operation=operation)
        binance_rows.refuse_outside(klines.bars, "opened_at", first, last + _MINUTE, operation)
        if klines.last_at is not None and klines.last_at < first:
            message = "the page ends before it begins"
            raise wire.malformed(message, operation)
    builder.note(*klines.notes)
    return klines


def _missing_in_rest(klines: Klines, piece: Piece, now: datetime) -> Minutes:
    """Return minutes without a kline in REST; on a day that is not over, up to its last kline.

    A span without any kline is empty, which the ledger records.
    """
    if klines.last_at is None:
        return np.array([], np.int64)
    ends = _ends(piece)
    # A minute that ended during the request was not over when it was sent.
    until = ends if now >= ends + SETTLE_AFTER else min(klines.last_at, now)
    expected = np.arange(_minute(midnight(piece.first)), _minute(until), dtype=np.int64)
    accounted = np.concatenate([_usable(klines), _minutes_of(klines.bars), _odd_minutes(klines)])
    return np.setdiff1d(expected, accounted)


def _note_absent(builder: AnswerBuilder, minutes: Minutes, why: str) -> None:
    """Note minutes that Binance does not have: it was down, or did not trade the pair yet."""
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
    """Return the minutes with a valid kline, including those without a trade."""
    accepted = validate(klines.bars).accepted["opened_at"]
    times = pa.chunked_array([*accepted.chunks, *klines.quiet.chunks], INSTANT)
    return _as_minutes(times)


def _minutes_of(bars: pa.Table) -> Minutes:
    return _as_minutes(bars["opened_at"])


def _odd_minutes(klines: Klines) -> Minutes:
    """Return the minutes in which klines open that are not of one minute."""
    minutes = {minute for row in klines.left_out if (minute := _minute_of(row)) is not None}
    return np.array(sorted(minutes), np.int64)


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
    """Return what opens from ``start`` on and before ``end``; rows without a time are kept."""
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
    all_pages = list(pages)
    return Klines(
        bars=pa.concat_tables([WIRE_MINUTE_BARS.empty_table(), *(page.bars for page in all_pages)]),
        quiet=pa.chunked_array([part for page in all_pages for part in page.quiet.chunks], INSTANT),
        left_out=tuple(row for page in all_pages for row in page.left_out),
        notes=(),
        rows=sum(page.rows for page in all_pages),
        last_at=max((page.last_at for page in all_pages if page.last_at is not None), default=None),
    )
