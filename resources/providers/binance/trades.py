"""Binance's trades of whole days: files, and by REST what no file has.

Here: which requests make an answer with every trade in it. Not here: the client (client.py), or
what replies look like (wire.py, files.py).

Numbers of aggregate trades follow each other. Some files have lost trades that REST still has (all
pairs of 2021-12-14, binance/binance-public-data #354), others that are lost altogether (#111). So a
jump in the numbers is asked for by REST, and so is what follows the last number of a file.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from marketdata.ports import Answer
from marketdata.trades import QUOTED_TRADES
from resources.providers.binance import files as binance_files
from resources.providers.binance import rows as binance_rows
from resources.providers.binance import wire
from resources.providers.binance.enquiry import ONE_DAY, Enquiry, midnight, milliseconds
from resources.providers.http import Getter

PAGE = 1000
WEIGHT = 4
_PATH = "api/v3/aggTrades"
_NUMBER = re.compile(r"[0-9]{1,18}")
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


async def trades(rest: Getter, files: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the aggregate trades (QUOTED_TRADES) of the UTC days ``start`` to ``end``.

    Both days are included, as far as they are over by Binance's own time, which is asked for first:
    ``fetched_at`` is the time of that reply. Times are cut to whole
    milliseconds (see ``binance_rows.trades``). The answer's ``request`` says which days came from
    files; a file that there is not is made up for by REST, as are trades that one lacks. A run of
    numbers that Binance itself no longer has is told in ``left_out``, in words: a day that lacks
    trades is not taken for a whole one without a trace.

    Raises:
        UnknownSymbolError: REST was asked, and does not know ``symbol``.
        RequestRejectedError: ``symbol`` cannot be one; nothing was sent.
        MalformedPayloadError: A reply cannot be read, holds rows nobody asked for, or a file is
            not what its checksum says. The error points to all replies so far.
        ProviderError: See ``wire.refusal``.
        ValueError: ``start`` is after ``end``.
    """
    enquiry = Enquiry(
        rest, files, operation=f"aggTrades symbol={symbol}", symbol=symbol, start=start, end=end
    )
    days = _Days(enquiry, await enquiry.server_time())
    day = start
    while day <= min(end, days.today):
        if day == days.today or not await days.from_file(day):
            await days.by_rest(day, midnight(day + ONE_DAY))
            enquiry.took("rest", day, day)
        day += ONE_DAY
    await days.look_behind_the_last_file()
    return enquiry.answer(QUOTED_TRADES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Trades of one REST answer.

    Attributes:
        trades: QUOTED_TRADES.
        numbers: All that Binance told, those of rows that cannot be placed as well.
        full: Counts the rows that could not be placed as well.
    """

    trades: pa.Table
    numbers: npt.NDArray[np.int64]
    full: bool


class _Days:
    """Adds day after day to ``enquiry``, and knows the last trade of the days before."""

    def __init__(self, enquiry: Enquiry, now: datetime) -> None:
        self._enquiry = enquiry
        self._now = now
        self._last_id: int | None = None
        self._file_ends: datetime | None = None
        self._told: set[str] = set()
        self.today = now.date()

    async def from_file(self, day: date) -> bool:
        """Add a day's file and what it lacks; return whether there is one."""
        path = binance_files.day_of_trades(self._enquiry.symbol, day)
        found = await self._enquiry.file(path)
        if found is None:
            return False
        reply, asked = found
        begins, ends = midnight(day), midnight(day + ONE_DAY)
        with self._enquiry.kept():
            rows = await asyncio.to_thread(
                binance_files.trade_rows, reply.body, path, operation=asked
            )
            read = binance_rows.trades(rows, self._enquiry.symbol, operation=asked)
            binance_rows.refuse_outside(read.table, "traded_at", begins, ends, asked)
        self._enquiry.add(read.table, read.left_out)
        self._enquiry.took("day", day, day)
        for first, last in _jumps(read.table["trade_id"].to_numpy(), self._last_id):
            await self._fill(first, last, ends)
        self._reached(read.table)
        self._file_ends = ends
        return True

    async def by_rest(self, day: date, ends: datetime) -> None:
        """Add the trades of ``day``, or those that follow the last known one, before ``ends``."""
        begins = midnight(day) if self._file_ends is None else self._file_ends - ONE_DAY
        until = min(ends, self._now)
        if self._last_id is None:
            page = await self._page({"startTime": milliseconds(begins)})
        else:
            page = await self._page({"fromId": str(self._last_id + 1)})
        while True:
            wanted = binance_rows.between(page.trades, "traded_at", begins, until)
            self._enquiry.add(wanted)
            before = self._last_id
            self._reached(wanted)
            self._tell_missing(
                # A run that begins behind the last wanted trade may be of the days after it.
                run
                for run in _jumps(page.numbers, before)
                if run[0] <= (self._last_id or 0) + 1
            )
            if not page.full or wanted.num_rows < page.trades.num_rows:
                break
            page = await self._page({"fromId": str((self._last_id or 0) + 1)})
        self._file_ends = None

    async def look_behind_the_last_file(self) -> None:
        """Add what the last file has lost at its end."""
        if self._file_ends is not None:
            await self.by_rest((self._file_ends - ONE_DAY).date(), self._file_ends)

    async def _fill(self, first: int, last: int, before: datetime) -> None:
        """Add the trades numbered from ``first`` to ``last`` as far as Binance still has them."""
        asked, found = first, [np.array([last + 1], np.int64)]
        while asked <= last:
            page = await self._page({"fromId": str(asked)})
            wanted = page.trades.filter(pc.less_equal(page.trades["trade_id"], last))
            self._enquiry.add(binance_rows.between(wanted, "traded_at", _EVER, before))
            found.append(page.numbers[page.numbers <= last])
            if not page.full or wanted.num_rows < page.trades.num_rows:
                break
            asked = _last_id(wanted) + 1
        self._tell_missing(_jumps(np.concatenate(found), first - 1))

    def _tell_missing(self, runs: Iterable[tuple[int, int]]) -> None:
        """Leave word of numbers that neither a file nor REST has."""
        texts = [f"trades {first} to {last} are missing at Binance" for first, last in runs]
        # Two days may meet at one run.
        self._enquiry.add(
            QUOTED_TRADES.empty_table(), [one for one in texts if one not in self._told]
        )
        self._told.update(texts)

    async def _page(self, place: dict[str, str]) -> _Page:
        """Return the page that begins at ``place``."""
        parameters = {"symbol": self._enquiry.symbol, **place, "limit": str(PAGE)}
        reply, asked = await self._enquiry.ask(_PATH, parameters, weight=WEIGHT)
        with self._enquiry.kept():
            rows = wire.trade_rows(reply.body, operation=asked)
            read = binance_rows.trades(rows, self._enquiry.symbol, operation=asked)
            _refuse_earlier(read.table, place, asked)
        self._enquiry.add(QUOTED_TRADES.empty_table(), read.left_out)
        told = (int(one) for one in rows["a"].to_pylist() if _NUMBER.fullmatch(one or ""))
        numbers = np.fromiter(told, np.int64)
        return _Page(trades=read.table, numbers=numbers, full=rows.num_rows >= PAGE)

    def _reached(self, table: pa.Table) -> None:
        if table.num_rows:
            self._last_id = max(_last_id(table), self._last_id or 0)


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


def _jumps(came: npt.NDArray[np.int64], last_id: int | None) -> list[tuple[int, int]]:
    """Return first and last of each run that is missing between the numbers that came."""
    numbers = np.unique(came)
    if last_id is not None:
        numbers = np.append(last_id, numbers[numbers > last_id])
    before = np.flatnonzero(np.diff(numbers) > 1)
    return [(int(numbers[one]) + 1, int(numbers[one + 1]) - 1) for one in before]


def _last_id(table: pa.Table) -> int:
    return int(pc.max(table["trade_id"]).as_py())
