"""Binance's trades of whole days: files, and by REST what no file has.

Here: which requests make an answer with every trade in it. Not here: the client (client.py), or
what replies look like (wire.py, files.py).

Numbers of aggregate trades follow each other. Some files have lost trades that REST still has (all
pairs of 2021-12-14, binance/binance-public-data #354), others that are lost altogether (#111). So a
jump in the numbers is asked for by REST, and so is what lies before the first number of a file and
what follows its last one.
"""

import asyncio
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import unread
from marketdata.trades import WIRE_TRADES, validate
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
from resources.providers.http import Getter

PAGE = 1000
WEIGHT = 4
_PATH = "api/v3/aggTrades"
FIRST_ID = 1
"""Numbers begin with 0 or 1: a first one that is larger had others before it."""
MISSING = "trades are missing at Binance"
_NUMBER = re.compile(r"[0-9]{1,18}")

Numbers = npt.NDArray[np.int64]


async def trades(rest: Getter, files: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the aggregate trades (WIRE_TRADES) of the UTC days ``start`` to ``end``.

    Both days are included, as far as they are over by Binance's own time, which is asked for first:
    ``fetched_at`` is the time of that reply. Times are cut to whole
    milliseconds (see ``binance_rows.trades``). The answer's ``request`` says which days came from
    files. A file that there is not, or that cannot be used, is made up for by REST, as are trades
    that one lacks or has wrong. A run of numbers that Binance itself no longer has is in
    ``left_out``: a day that lacks trades is not taken for a whole one without a trace. What lies
    before REST's first trade is no such run: files alone tell of it, and a day of that time
    without a file is ``untold``.

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
        rest, files, operation=f"aggTrades symbol={symbol}", symbol=symbol, start=start, end=end
    )
    days = _Days(builder, await builder.server_time())
    day = start
    while day <= min(end, days.today):
        await days.add(day)
        day += ONE_DAY
    await days.look_behind_the_last_file()
    return builder.answer(WIRE_TRADES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Trades of one REST answer.

    Attributes:
        trades: WIRE_TRADES.
        numbers: All that Binance told, those of rows that cannot be placed as well.
        full: Counts the rows that could not be placed as well.
    """

    trades: pa.Table
    numbers: Numbers
    full: bool

    @property
    def first_id(self) -> int | None:
        """The smallest number, or None on an empty page."""
        return int(self.numbers.min()) if self.numbers.size else None


class _Days:
    """Adds day after day to ``builder``, and knows the last trade of the days before."""

    def __init__(self, builder: AnswerBuilder, now: datetime) -> None:
        self._builder = builder
        self._now = now
        self._last_id: int | None = None
        self._file_ends: datetime | None = None
        self._told: set[str] = set()
        self._oldest: _Page | None = None
        self.today = now.date()

    async def add(self, day: date) -> None:
        """Add a day: from its file, else by REST."""
        unusable: errors.MalformedPayloadError | None = None
        if day < self.today:
            try:
                if await self._from_file(day):
                    return
            except errors.MalformedPayloadError as error:
                unusable = error
                why = self._builder.unusable(error)
                self._builder.note(f"the file of {day} is not used: {why}")
        try:
            await self._by_rest(day, midnight(day + ONE_DAY))
        except errors.UnknownSymbolError:
            if unusable is not None:
                raise unusable from None
            self._builder.nowhere(day, day)
        else:
            self._builder.took("rest", day, day)

    async def look_behind_the_last_file(self) -> None:
        """Add what the last file has lost at its end."""
        if self._file_ends is None:
            return
        day = (self._file_ends - ONE_DAY).date()
        with self._optional(f"what the file of {day} may have lost at its end", day):
            await self._by_rest(day, self._file_ends)

    async def _from_file(self, day: date) -> bool:
        """Add a day's file and what it lacks; return whether there is one."""
        path = binance_files.day_of_trades(self._builder.symbol, day)
        found = await self._builder.file(path)
        if found is None:
            return False
        reply, asked = found
        begins, ends = midnight(day), midnight(day + ONE_DAY)
        with self._builder.kept():
            rows = await asyncio.to_thread(
                binance_files.trade_rows, reply.body, path, operation=asked
            )
            read = binance_rows.trades(rows, self._builder.symbol, operation=asked)
            binance_rows.refuse_outside(read.table, "traded_at", begins, ends, asked)
        self._builder.note(*read.notes)
        usable = _ids(validate(read.table).accepted)
        runs = _jumps(usable, self._last_id)
        better: set[int] = set()
        with self._optional(f"what the file of {day} lacks", day):
            if self._last_id is None and usable.size:
                runs = [*await self._lost_before(int(usable[0]), begins), *runs]
            for first, last in runs:
                better.update(await self._fill(first, last, ends, known=_ids(read.table)))
        worse = pc.is_in(read.table["trade_id"], value_set=pa.array(sorted(better), pa.int64()))
        self._builder.add(read.table.filter(pc.invert(worse)), read.left_out)
        self._builder.took("day", day, day)
        self._reached(read.table)
        self._file_ends = ends
        return True

    async def _lost_before(self, first_id: int, begins: datetime) -> list[tuple[int, int]]:
        """Return the trades that REST has of a file's day before the file's first one."""
        page = await self._page({"startTime": milliseconds(begins)})
        if page.first_id is None or page.first_id >= first_id:
            return []
        return [(page.first_id, first_id - 1)]

    async def _by_rest(self, day: date, ends: datetime) -> None:
        """Add the trades of ``day``, or those that follow the last known one, before ``ends``."""
        begins = midnight(day) if self._file_ends is None else self._file_ends - ONE_DAY
        until = min(ends, self._now)
        if self._last_id is None:
            page = await self._page({"startTime": milliseconds(begins)})
        else:
            page = await self._page({"fromId": str(self._last_id + 1)})
        is_cut = await self._begins_with(page, day)
        if is_cut and (self._file_ends is None or midnight(day) >= self._file_ends):
            self._builder.leave_open(day, day)
        while True:
            wanted = binance_rows.between(page.trades, "traded_at", begins, until)
            self._builder.add(wanted)
            before = self._last_id
            self._reached(wanted)
            self._tell_missing(
                # A run that begins behind the last wanted trade may be of the days after it.
                run
                for run in _jumps(page.numbers, None if is_cut else before)
                if run[0] <= (self._last_id or 0) + 1
            )
            if not page.full or wanted.num_rows < page.trades.num_rows:
                break
            page, is_cut = await self._page({"fromId": str((self._last_id or 0) + 1)}), False
        self._file_ends = None

    async def _begins_with(self, page: _Page, day: date) -> bool:
        """Tell whether ``page`` is where REST begins although there were trades before.

        REST need not keep all trades for ever: then what it lacks before its first one is neither
        lost nor was it never there.
        """
        first_id = page.first_id
        if first_id is None or first_id <= FIRST_ID:
            return False
        follows = self._last_id is not None and first_id == self._last_id + 1
        # A day without a file is none of the usual ones: where REST begins is worth a request.
        if follows or (self._last_id is None and day >= self.today):
            return False
        if self._oldest is None:
            self._oldest = await self._page({"fromId": "0"})
        if self._oldest.first_id != first_id:
            return False
        self._builder.note(
            f"Binance's REST begins with trade {first_id} of "
            f"{pc.min(self._oldest.trades['traded_at']).as_py()}: files alone tell of the time "
            "before"
        )
        return True

    async def _fill(self, first: int, last: int, before: datetime, *, known: Numbers) -> list[int]:
        """Add the trades numbered from ``first`` to ``last`` as far as Binance still has them.

        Args:
            first: Number of the first one.
            last: Number of the last one.
            before: End of the day.
            known: Numbers in the file, those of trades that cannot be used as well.

        Returns:
            The numbers that were added.
        """
        asked, came = first, [known, np.array([last + 1], np.int64)]
        better: list[int] = []
        while asked <= last:
            page = await self._page({"fromId": str(asked)})
            wanted = page.trades.filter(pc.less_equal(page.trades["trade_id"], last))
            # Of a trade that both have wrong the file's row is told.
            usable = validate(binance_rows.between(wanted, "traded_at", EPOCH, before)).accepted
            self._builder.add(usable)
            better += usable["trade_id"].to_pylist()
            came.append(page.numbers)
            if not page.full or wanted.num_rows < page.trades.num_rows:
                break
            asked = int(_ids(wanted)[-1]) + 1
        numbers = np.concatenate(came)
        numbers = numbers[(numbers >= first) & (numbers <= last + 1)]
        self._tell_missing(_jumps(numbers, first - 1))
        return better

    def _tell_missing(self, runs: Iterable[tuple[int, int]]) -> None:
        """Leave word of numbers that neither a file nor REST has."""
        # Two days may meet at one run.
        texts = [f"trades {first} to {last}" for first, last in runs]
        self._builder.add(
            WIRE_TRADES.empty_table(),
            [
                unread(text, reason=MISSING, symbol=self._builder.symbol, what=text)
                for text in texts
                if text not in self._told
            ],
        )
        self._told.update(texts)

    @contextmanager
    def _optional(self, what: str, day: date) -> Generator[None]:
        """Let a question to REST come to nothing: what files hold is proven.

        REST that does not know the pair never will. REST whose reply cannot be read may know more
        tomorrow: the day stays open, and waits in a letter.
        """
        try:
            yield
        except errors.UnknownSymbolError as error:
            self._builder.note(f"REST cannot tell {what}: {error.reason}")
        except errors.MalformedPayloadError as error:
            why = f"REST cannot tell {what}: {self._builder.unusable(error)}"
            self._builder.add(WIRE_TRADES.empty_table(), self._builder.untellable([day], why))

    async def _page(self, place: dict[str, str]) -> _Page:
        """Return the page that begins at ``place``."""
        parameters = {"symbol": self._builder.symbol, **place, "limit": str(PAGE)}
        reply, asked = await self._builder.ask(_PATH, parameters, weight=WEIGHT)
        with self._builder.kept():
            rows = wire.trade_rows(reply.body, operation=asked)
            read = binance_rows.trades(rows, self._builder.symbol, operation=asked)
            _refuse_earlier(read.table, place, asked)
        self._builder.add(WIRE_TRADES.empty_table(), read.left_out)
        self._builder.note(*read.notes)
        told = (int(one) for one in rows.table["a"].to_pylist() if _NUMBER.fullmatch(one or ""))
        numbers = np.fromiter(told, np.int64)
        return _Page(trades=read.table, numbers=numbers, full=rows.table.num_rows >= PAGE)

    def _reached(self, table: pa.Table) -> None:
        if table.num_rows:
            self._last_id = max(int(_ids(table)[-1]), self._last_id or 0)


def _refuse_earlier(page: pa.Table, place: dict[str, str], asked: str) -> None:
    """Refuse a page that begins before what was asked for: paging on would never end."""
    if not page.num_rows:
        return
    if "fromId" in place:
        earlier = pc.min(page["trade_id"]).as_py() < int(place["fromId"])
    else:
        at = pc.min(page["traded_at"]).as_py()
        earlier = int(milliseconds(at)) < int(place["startTime"])
    if earlier:
        message = "rows nobody asked for came, from before the place that was asked for"
        raise wire.malformed(message, asked)


def _jumps(came: Numbers, last_id: int | None) -> list[tuple[int, int]]:
    """Return first and last of each run that is missing between the numbers that came."""
    numbers = np.unique(came)
    if last_id is not None:
        numbers = np.append(last_id, numbers[numbers > last_id])
    before = np.flatnonzero(np.diff(numbers) > 1)
    return [(int(numbers[one]) + 1, int(numbers[one + 1]) - 1) for one in before]


def _ids(trades: pa.Table) -> Numbers:
    """Return the numbers of trades, sorted, each once."""
    return np.unique(trades["trade_id"].to_numpy())
