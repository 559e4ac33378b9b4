"""One answer of Binance in the making: several requests, by REST and for files.

Here: sending them one after the other, keeping count of what came, and the checks that every answer
needs. Not here: which requests those are (client.py, trades.py), or what is in a reply (wire.py,
files.py).
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
UNTOLD = "REST's answer about what the file may lack cannot be read"
_NOWHERE = "Binance's REST does not know the symbol, and there is no file of the day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Days that came in one way: ``month`` and ``day`` are files, ``rest`` is REST."""

    way: str
    first: date
    last: date


class AnswerBuilder:
    """Asks what one answer takes, in order, and remembers all of it.

    Args:
        rest: Asks the REST interface.
        files: Asks the file host.
        operation: What the answer is about, for errors and the log.

    Raises:
        RequestRejectedError: ``symbol`` is none that Binance could have; nothing is sent.
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
        self._untold: set[date] = set()
        self._nowhere: list[date] = []
        self._routes: list[Route] = []
        self._gone: errors.UnknownSymbolError | None = None
        self._broken_off: errors.MalformedPayloadError | None = None

    async def ask(
        self, path: str, parameters: Mapping[str, str], *, weight: int
    ) -> tuple[HttpAnswer, str]:
        """Ask the REST interface; return the reply and what was asked, for its errors.

        Raises:
            UnknownSymbolError: REST does not know the symbol; it is not asked a second time.
            ProviderError: See ``wire.classify_error``.
        """
        if self._gone is not None:
            raise self._gone
        given = " ".join(f"{name}={value}" for name, value in parameters.items())
        asked = f"{self.operation} rest: {path} {given}".rstrip()
        try:
            reply = await self._get(self._rest, path, parameters, asked, weight)
        except errors.UnknownSymbolError as error:
            self._gone = error
            raise
        return reply, asked

    async def server_time(self) -> datetime:
        """Return Binance's own time."""
        reply, asked = await self.ask("api/v3/time", {}, weight=1)
        with self.kept():
            return wire.server_time(reply.body, operation=asked)

    async def file(self, path: str) -> tuple[HttpAnswer, str] | None:
        """Return a file, or None if there is none.

        Its checksum may be missing or be none: then the file's own one, which every zip has, has
        to do, and that is noted.

        Raises:
            MalformedPayloadError: File and checksum do not agree.
        """
        name = path.rpartition("/")[2]
        asked = f"{self.operation} file: {name}"
        beside = await self._get(self._files, f"{path}.CHECKSUM", {}, f"{asked}.CHECKSUM")
        reply = await self._get(self._files, path, {}, asked)
        if binance_files.is_missing(reply):
            return None
        expected = binance_files.checksum(beside.body, path)
        if expected is None:
            self.note(f"{name} has no checksum beside it: only its own was compared")
        else:
            with self.kept():
                binance_files.verify(reply.body, expected, operation=asked)
        return reply, asked

    async def _get(
        self,
        getter: Getter,
        path: str,
        parameters: Mapping[str, str],
        asked: str,
        weight: int = 1,
    ) -> HttpAnswer:
        try:
            reply = await getter.get(path, parameters, operation=asked, weight=weight)
        except errors.MalformedPayloadError as error:
            # What was kept of an answer ends here: it must not pass for the whole.
            self._broken_off = error
            with self.kept():
                raise
        self._replies.add(reply)
        return reply

    def unusable(self, error: errors.MalformedPayloadError) -> str:
        """Return what is wrong with a reply that the answer can do without.

        Raises:
            MalformedPayloadError: The reply is not there: see ``KeptGetter``.
        """
        if error is self._broken_off:
            raise error
        return error.reason.partition("; the answer was not stored")[0]

    def add(self, table: pa.Table, left_out: Iterable[RejectedRow] = ()) -> None:
        """Take rows into the answer."""
        self._tables.append(table)
        self._left_out.extend(left_out)

    def note(self, *notes: str) -> None:
        """Take facts into the answer on which nobody has to act."""
        self._notes.extend(notes)

    def leave_open(self, first: date, last: date) -> None:
        """Say nothing about some days, neither that they have rows nor that they have none."""
        self._untold.update(first + ONE_DAY * place for place in range((last - first).days + 1))

    def untellable(self, days: Iterable[date], why: str) -> list[RejectedRow]:
        """Leave open days whose file may lack rows that REST could not be understood about.

        Returns:
            What stands for the rows, so that the days wait in a letter.
        """
        open_days = sorted(set(days))
        self._untold.update(open_days)
        return [
            unread(why, reason=UNTOLD, symbol=self.symbol, day=day, what=str(day))
            for day in open_days
        ]

    def nowhere(self, first: date, last: date) -> None:
        """Note days of which there is no file, and that REST does not know the symbol of."""
        self._nowhere.extend(first + ONE_DAY * place for place in range((last - first).days + 1))

    def took(self, way: str, first: date, last: date) -> None:
        """Note in which way some days came; neighbours that came alike are joined."""
        before = self._routes[-1] if self._routes else None
        if before is not None and before.way == way and before.last + ONE_DAY == first:
            self._routes[-1] = Route(way=way, first=before.first, last=last)
        else:
            self._routes.append(Route(way=way, first=first, last=last))

    def answer(self, schema: pa.Schema) -> Answer:
        """Return everything that was added.

        ``fetched_at`` is the time of the first reply, Binance's clock: by it was judged what is
        over, however long the other replies took.

        Raises:
            UnknownSymbolError: REST does not know the symbol, and there was no file either. With
                files the days without one are rows that cannot be had.
        """
        if self._gone is not None and not self._routes:
            raise self._gone
        ways = ",".join(f"{route.way}:{route.first}..{route.last}" for route in self._routes)
        lost = [
            unread(
                f"{self.symbol} {day}", reason=_NOWHERE, symbol=self.symbol, day=day, what=f"{day}"
            )
            for day in self._nowhere
        ]
        return self._replies.answer(
            f"{self.operation} by={ways or 'nothing'}",
            pa.concat_tables([schema.empty_table(), *self._tables]),
            [*self._left_out, *lost],
            notes=self._notes,
            untold=self._untold,
        )

    def kept(self) -> AbstractContextManager[None]:
        """Let an error that is raised within point to all replies so far."""
        return self._replies.kept()


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def milliseconds(moment: datetime) -> str:
    """Return ``moment`` as the parameters of times want it."""
    return str((moment - EPOCH) // timedelta(milliseconds=1))
