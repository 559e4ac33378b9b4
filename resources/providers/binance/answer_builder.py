"""Builds one answer of Binance from several requests, by REST and for files.

Here: sending them one after the other, collecting replies, and the checks of every answer. Not
here: which requests those are (klines.py, trades.py), or what is in a reply (wire.py, files.py).
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.recovery import errors
from marketdata.rows import RejectedRow, unread
from resources.providers.binance import files as binance_files
from resources.providers.binance import wire
from resources.providers.http import Getter, HttpAnswer
from resources.providers.provenance import Replies

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9_.\-]{0,49}")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
REST_UNREADABLE = "REST's answer about what the file may lack cannot be read"
_NOWHERE = "Binance's REST does not know the symbol, and there is no file of the day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Days that came the same way: ``month`` and ``day`` are files, ``rest`` is REST."""

    way: str
    first: date
    last: date


class AnswerBuilder:
    """Sends the requests of one answer in order, and collects their replies.

    Args:
        rest: Getter of the REST interface.
        files: Getter of the file host.
        operation: What the answer is about, for errors and the log.

    Raises:
        RequestRejectedError: ``symbol`` cannot be one of Binance's; nothing is sent.
        ValueError: ``start`` is after ``end``.
    """

    def __init__(
        self, rest: Getter, files: Getter, *, operation: str, symbol: str, start: date, end: date
    ) -> None:
        if start > end:
            message = f"the range of {symbol} is reversed: {start} is after {end}"
            raise ValueError(message)
        self.operation = f"{operation} from={start} to={end}"
        self.symbol = symbol
        if _SYMBOL.fullmatch(symbol) is None:
            message = f"{symbol!r} is no symbol of Binance's (BTCUSDT); nothing was sent"
            raise errors.RequestRejectedError(
                message, provider=wire.PROVIDER, operation=self.operation
            )
        self._rest = rest
        self._files = files
        self._replies = Replies()
        self._tables: list[pa.Table] = []
        self._left_out: list[RejectedRow] = []
        self._notes: list[str] = []
        self._open_days: set[date] = set()
        self._unavailable_days: list[date] = []
        self._routes: list[Route] = []
        self._unknown_symbol: errors.UnknownSymbolError | None = None
        self._incomplete: errors.MalformedPayloadError | None = None

    async def ask(
        self, path: str, parameters: Mapping[str, str], *, weight: int
    ) -> tuple[HttpAnswer, str]:
        """Ask the REST interface; return the reply and its operation, for errors.

        Raises:
            UnknownSymbolError: REST does not know the symbol; it is not asked again.
            ProviderError: See ``wire.classify_error``.
        """
        if self._unknown_symbol is not None:
            raise self._unknown_symbol
        query = " ".join(f"{name}={value}" for name, value in parameters.items())
        operation = f"{self.operation} rest: {path} {query}".rstrip()
        try:
            reply = await self._get(self._rest, path, parameters, operation, weight)
        except errors.UnknownSymbolError as error:
            self._unknown_symbol = error
            raise
        return reply, operation

    async def server_time(self) -> datetime:
        """Return the time by Binance's clock."""
        reply, operation = await self.ask("api/v3/time", {}, weight=1)
        with self.kept():
            return wire.server_time(reply.body, operation=operation)

    async def file(self, path: str) -> tuple[HttpAnswer, str] | None:
        """Return a file, or None if there is none.

        If its checksum file is missing or unreadable, only the zip's own checksums are compared,
        and that is noted.

        Raises:
            MalformedPayloadError: File and checksum do not agree.
        """
        name = path.rpartition("/")[2]
        operation = f"{self.operation} file: {name}"
        checksum_reply = await self._get(
            self._files, f"{path}.CHECKSUM", {}, f"{operation}.CHECKSUM"
        )
        reply = await self._get(self._files, path, {}, operation)
        if binance_files.is_missing(reply):
            return None
        expected = binance_files.checksum(checksum_reply.body, path)
        if expected is None:
            self.note(f"{name} has no checksum beside it: only its own was compared")
        else:
            with self.kept():
                binance_files.verify(reply.body, expected, operation=operation)
        return reply, operation

    async def _get(
        self,
        getter: Getter,
        path: str,
        parameters: Mapping[str, str],
        operation: str,
        weight: int = 1,
    ) -> HttpAnswer:
        try:
            reply = await getter.get(path, parameters, operation=operation, weight=weight)
        except errors.MalformedPayloadError as error:
            # Kept answers end here: the pages so far must not count as the whole answer.
            self._incomplete = error
            with self.kept():
                raise
        self._replies.add(reply)
        return reply

    def unusable(self, error: errors.MalformedPayloadError) -> str:
        """Return what is wrong with a reply that the answer does not need.

        Raises:
            MalformedPayloadError: The kept answer lacks the reply: see ``KeptGetter``.
        """
        if error is self._incomplete:
            raise error
        return error.reason.partition("; the answer was not stored")[0]

    def add(self, table: pa.Table, left_out: Iterable[RejectedRow] = ()) -> None:
        """Add rows to the answer."""
        self._tables.append(table)
        self._left_out.extend(left_out)

    def note(self, *notes: str) -> None:
        """Add notes to the answer; nobody has to act on them."""
        self._notes.extend(notes)

    def leave_open(self, first: date, last: date) -> None:
        """Leave days open: the answer neither has their rows nor says that there are none."""
        self._open_days.update(first + ONE_DAY * place for place in range((last - first).days + 1))

    def leave_open_in_letter(self, days: Iterable[date], reason: str) -> list[RejectedRow]:
        """Leave days open whose file may lack rows, since REST's reply cannot be read.

        Returns:
            Rejected rows in place of the missing ones, so that the days get a letter.
        """
        open_days = sorted(set(days))
        self._open_days.update(open_days)
        return [
            unread(reason, reason=REST_UNREADABLE, symbol=self.symbol, day=day, what=str(day))
            for day in open_days
        ]

    def note_unavailable(self, first: date, last: date) -> None:
        """Note days without a file whose symbol REST does not know."""
        self._unavailable_days.extend(
            first + ONE_DAY * place for place in range((last - first).days + 1)
        )

    def note_route(self, way: str, first: date, last: date) -> None:
        """Note the way in which days came; neighbouring days of one way are joined."""
        before = self._routes[-1] if self._routes else None
        if before is not None and before.way == way and before.last + ONE_DAY == first:
            self._routes[-1] = Route(way=way, first=before.first, last=last)
        else:
            self._routes.append(Route(way=way, first=first, last=last))

    def answer(self, schema: pa.Schema) -> Answer:
        """Return everything that was added.

        ``fetched_at`` is when the first reply came, however long the others took. That reply holds
        Binance's clock, by which it was decided what is over.

        Raises:
            UnknownSymbolError: REST does not know the symbol, and there was no file either. If
                there were files, the days without one become rejected rows.
        """
        if self._unknown_symbol is not None and not self._routes:
            raise self._unknown_symbol
        ways = ",".join(f"{route.way}:{route.first}..{route.last}" for route in self._routes)
        lost = [
            unread(
                f"{self.symbol} {day}", reason=_NOWHERE, symbol=self.symbol, day=day, what=f"{day}"
            )
            for day in self._unavailable_days
        ]
        return self._replies.answer(
            f"{self.operation} by={ways or 'nothing'}",
            pa.concat_tables([schema.empty_table(), *self._tables]),
            [*self._left_out, *lost],
            notes=self._notes,
            untold=self._open_days,
        )

    def kept(self) -> AbstractContextManager[None]:
        """Attach pointers to all replies so far to errors raised in the block."""
        return self._replies.kept()


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def milliseconds(moment: datetime) -> str:
    """Return ``moment`` as a parameter in milliseconds."""
    return str((moment - EPOCH) // timedelta(milliseconds=1))
