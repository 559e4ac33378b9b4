"""Binance's trades of whole days: from files, and by REST what files lack.

Here: which requests make an answer with every trade in it. Not here: the client (client.py), or
what replies look like (wire.py, files.py).

Ids of aggregate trades are consecutive. Some files have lost trades that REST still has (all pairs
of 2021-12-14, binance/binance-public-data #354), others have lost trades for good (#111). So REST
is asked for gaps in the ids, and for trades before the first id of a file and after its last one.
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
"""Ids begin with 0 or 1: a larger first id had others before it."""
MISSING = "trades are missing at Binance"
_NUMBER = re.compile(r"[0-9]{1,18}")

Numbers = npt.NDArray[np.int64]


async def trades(rest: Getter, files: Getter, symbol: str, start: date, end: date) -> Answer:
    """Return the aggregate trades (WIRE_TRADES) of the UTC days ``start`` to ``end``.

    Both days are included, up to the time of Binance's clock, which is asked for first: of today
    come the trades so far. ``fetched_at`` is when that first reply came. Times are cut to whole
    milliseconds (see ``binance_rows.trades``). The answer's ``request`` says which days came from
    files. REST fills in for files that are missing or cannot be used, and for trades that a file
    lacks or has wrong.
    A run of ids that Binance itself lacks is in ``left_out``, so that an incomplete day is noticed.
    Trades before REST's first one are no such run: only files have them, and a day of that time
    without a file is ``untold``.

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
        rest, files, operation=f"aggTrades symbol={symbol}", symbol=symbol, start=start, end=end
    )
    days = _Days(builder, await builder.server_time())
    day = start
    while day <= min(end, days.today):
        await days.add(day)
        day += ONE_DAY
    await days.check_end_of_last_file()
    return builder.answer(WIRE_TRADES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Trades of one REST answer.

    Attributes:
        trades: WIRE_TRADES.
        numbers: All ids received, including those of rows that cannot be placed.
        full: Whether the page is full, counting rows that cannot be placed.
    """

    trades: pa.Table
    numbers: Numbers
    full: bool

    @property
    def first_id(self) -> int | None:
        """The smallest id, or None on an empty page."""
        return int(self.numbers.min()) if self.numbers.size else None


class _Days:
    """Adds day after day to ``builder``, and keeps the last trade id so far."""

    def __init__(self, builder: AnswerBuilder, now: datetime) -> None:
        self._builder = builder
        self._now = now
        self._last_id: int | None = None
        self._file_ends: datetime | None = None
        self._reported: set[str] = set()
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
            self._builder.note_unavailable(day, day)
        else:
            self._builder.note_route("rest", day, day)

    async def check_end_of_last_file(self) -> None:
        """Add trades that the last file has lost at its end."""
        if self._file_ends is None:
            return
        day = (self._file_ends - ONE_DAY).date()
        with self._optional(f"what the file of {day} may have lost at its end", day):
            await self._by_rest(day, self._file_ends)

    async def _from_file(self, day: date) -> bool:
        """Add a day's file and what it lacks; return whether there is one."""
        path = binance_files.day_of_trades(self._builder.symbol, day)
        file = await self._builder.file(path)
        if file is None:
            return False
        reply, operation = file
        begins, ends = midnight(day), midnight(day + ONE_DAY)
        with self._builder.kept():
            rows = await asyncio.to_thread(
                binance_files.trade_rows, reply.body, path, operation=operation
            )
            day_rows = binance_rows.trades(rows, self._builder.symbol, operation=operation)
            binance_rows.refuse_outside(day_rows.table, "traded_at", begins, ends, operation)
        self._builder.note(*day_rows.notes)
        usable = _ids(validate(day_rows.table).accepted)
        runs = _gaps(usable, self._last_id)
        replaced: set[int] = set()
        with self._optional(f"what the file of {day} lacks", day):
            if self._last_id is None and usable.size:
                runs = [*await self._missing_at_start(int(usable[0]), begins), *runs]
            for first, last in runs:
                replaced.update(await self._fill_gap(first, last, ends, known=_ids(day_rows.table)))
        is_replaced = pc.is_in(
            day_rows.table["trade_id"], value_set=pa.array(sorted(replaced), pa.int64())
        )
        self._builder.add(day_rows.table.filter(pc.invert(is_replaced)), day_rows.left_out)
        self._builder.note_route("day", day, day)
        self._advance(day_rows.table)
        self._file_ends = ends
        return True

    async def _missing_at_start(self, first_id: int, begins: datetime) -> list[tuple[int, int]]:
        """Return the ids that REST has of a file's day before the file's first one."""
        page = await self._page({"startTime": milliseconds(begins)})
        if page.first_id is None or page.first_id >= first_id:
            return []
        return [(page.first_id, first_id - 1)]

    async def _by_rest(self, day: date, ends: datetime) -> None:
        """Add the trades of ``day``, or those after the last known one, before ``ends``."""
        begins = midnight(day) if self._file_ends is None else self._file_ends - ONE_DAY
        until = min(ends, self._now)
        if self._last_id is None:
            page = await self._page({"startTime": milliseconds(begins)})
        else:
            page = await self._page({"fromId": str(self._last_id + 1)})
        is_cut = await self._is_start_of_rest(page, day)
        if is_cut and (self._file_ends is None or midnight(day) >= self._file_ends):
            self._builder.leave_open(day, day)
        while True:
            trades_of_day = binance_rows.between(page.trades, "traded_at", begins, until)
            self._builder.add(trades_of_day)
            before = self._last_id
            self._advance(trades_of_day)
            self._report_missing(
                # A gap after the day's last trade may be of later days.
                run
                for run in _gaps(page.numbers, None if is_cut else before)
                if run[0] <= (self._last_id or 0) + 1
            )
            if not page.full or trades_of_day.num_rows < page.trades.num_rows:
                break
            page, is_cut = await self._page({"fromId": str((self._last_id or 0) + 1)}), False
        self._file_ends = None

    async def _is_start_of_rest(self, page: _Page, day: date) -> bool:
        """Return whether REST begins with ``page`` although there were trades before.

        REST may not keep all trades for ever: trades before its first one are not lost, and days
        before it may have had trades.
        """
        first_id = page.first_id
        if first_id is None or first_id <= FIRST_ID:
            return False
        follows = self._last_id is not None and first_id == self._last_id + 1
        # A past day without a file is unusual: it is worth a request to find where REST begins.
        if follows or (self._last_id is None and day >= self.today):
            return False
        if self._oldest is None:
            self._oldest = await self._page({"fromId": "0"})
        if self._oldest.first_id != first_id:
            return False
        self._builder.note(
            f"Binance's REST begins with trade {first_id} of "
            f"{pc.min(self._oldest.trades['traded_at']).as_py()}: only files have the time "
            "before"
        )
        return True

    async def _fill_gap(
        self, first: int, last: int, before: datetime, *, known: Numbers
    ) -> list[int]:
        """Add the trades with ids from ``first`` to ``last``, as far as Binance still has them.

        Args:
            first: First id.
            last: Last id.
            before: End of the day.
            known: Ids in the file, including those of unusable trades.

        Returns:
            The added ids.
        """
        next_id, received = first, [known, np.array([last + 1], np.int64)]
        added: list[int] = []
        while next_id <= last:
            page = await self._page({"fromId": str(next_id)})
            trades_in_run = page.trades.filter(pc.less_equal(page.trades["trade_id"], last))
            # If both have a trade wrong, the file's row is reported.
            usable = validate(
                binance_rows.between(trades_in_run, "traded_at", EPOCH, before)
            ).accepted
            self._builder.add(usable)
            added += usable["trade_id"].to_pylist()
            received.append(page.numbers)
            if not page.full or trades_in_run.num_rows < page.trades.num_rows:
                break
            next_id = int(_ids(trades_in_run)[-1]) + 1
        numbers = np.concatenate(received)
        numbers = numbers[(numbers >= first) & (numbers <= last + 1)]
        self._report_missing(_gaps(numbers, first - 1))
        return added

    def _report_missing(self, runs: Iterable[tuple[int, int]]) -> None:
        """Reject ids that neither a file nor REST has, so that they get a letter."""
        # Two days may share a run.
        texts = [f"trades {first} to {last}" for first, last in runs]
        self._builder.add(
            WIRE_TRADES.empty_table(),
            [
                unread(text, reason=MISSING, symbol=self._builder.symbol, what=text)
                for text in texts
                if text not in self._reported
            ],
        )
        self._reported.update(texts)

    @contextmanager
    def _optional(self, loss: str, day: date) -> Generator[None]:
        """Tolerate a failed request to REST, since the file's rows are verified.

        If REST does not know the pair, it never will. If its reply cannot be read, it may be
        tomorrow: the day stays open and gets a letter.
        """
        try:
            yield
        except errors.UnknownSymbolError as error:
            self._builder.note(f"REST cannot tell {loss}: {error.reason}")
        except errors.MalformedPayloadError as error:
            reason = f"REST cannot tell {loss}: {self._builder.unusable(error)}"
            self._builder.add(
                WIRE_TRADES.empty_table(), self._builder.leave_open_in_letter([day], reason)
            )

    async def _page(self, cursor: dict[str, str]) -> _Page:
        """Return the page that begins at ``cursor``."""
        parameters = {"symbol": self._builder.symbol, **cursor, "limit": str(PAGE)}
        reply, operation = await self._builder.ask(_PATH, parameters, weight=WEIGHT)
        with self._builder.kept():
            rows = wire.trade_rows(reply.body, operation=operation)
            page_rows = binance_rows.trades(rows, self._builder.symbol, operation=operation)
            _refuse_earlier(page_rows.table, cursor, operation)
        self._builder.add(WIRE_TRADES.empty_table(), page_rows.left_out)
        self._builder.note(*page_rows.notes)
        numbers_received = (
            int(text) for text in rows.table["a"].to_pylist() if _NUMBER.fullmatch(text or "")
        )
        numbers = np.fromiter(numbers_received, np.int64)
        return _Page(trades=page_rows.table, numbers=numbers, full=rows.table.num_rows >= PAGE)

    def _advance(self, table: pa.Table) -> None:
        if table.num_rows:
            self._last_id = max(int(_ids(table)[-1]), self._last_id or 0)


def _refuse_earlier(page: pa.Table, cursor: dict[str, str], operation: str) -> None:
    """Refuse a page that begins before the request: paging would never end."""
    if not page.num_rows:
        return
    if "fromId" in cursor:
        earlier = pc.min(page["trade_id"]).as_py() < int(cursor["fromId"])
    else:
        at = pc.min(page["traded_at"]).as_py()
        earlier = int(milliseconds(at)) < int(cursor["startTime"])
    if earlier:
        message = "rows that were not requested came, from before the requested start"
        raise wire.malformed(message, operation)


def _gaps(received: Numbers, last_id: int | None) -> list[tuple[int, int]]:
    """Return first and last id of each gap between the received ids."""
    numbers = np.unique(received)
    if last_id is not None:
        numbers = np.append(last_id, numbers[numbers > last_id])
    before = np.flatnonzero(np.diff(numbers) > 1)
    return [(int(numbers[place]) + 1, int(numbers[place + 1]) - 1) for place in before]


def _ids(trades: pa.Table) -> Numbers:
    """Return the ids of trades, sorted and distinct."""
    return np.unique(trades["trade_id"].to_numpy())
