"""One answer of Binance in the making: several requests, by REST and for files.

Here: sending them one after the other, keeping count of what came, and the checks that every answer
needs. Not here: which requests those are (client.py, trades.py), or what is in a reply (wire.py,
files.py).
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa

from marketdata.ports import Answer
from marketdata.recovery import errors
from resources.providers.binance import files as binance_files
from resources.providers.binance import wire
from resources.providers.http import Getter, HttpAnswer
from resources.providers.origins import Replies

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9_.\-]{0,49}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Days that came in one way: ``month`` and ``day`` are files, ``rest`` is REST."""

    way: str
    first: date
    last: date


class Enquiry:
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
        self._left_out: list[str] = []
        self._routes: list[Route] = []

    async def ask(
        self, path: str, parameters: Mapping[str, str], *, weight: int
    ) -> tuple[HttpAnswer, str]:
        """Ask the REST interface; return the reply and what was asked, for its errors."""
        given = " ".join(f"{name}={value}" for name, value in parameters.items())
        asked = f"{self.operation} rest: {path} {given}".rstrip()
        reply = await self._rest.get(path, parameters, operation=asked, weight=weight)
        self._replies.add(reply)
        return reply, asked

    async def server_time(self) -> datetime:
        """Return Binance's own time."""
        reply, asked = await self.ask("api/v3/time", {}, weight=1)
        with self.kept():
            return wire.server_time(reply.body, operation=asked)

    async def file(self, path: str) -> tuple[HttpAnswer, str] | None:
        """Return a file that agrees with its checksum, or None if there is none.

        Raises:
            MalformedPayloadError: The two do not agree, or the checksum cannot be read.
        """
        asked = f"{self.operation} file: {path.rpartition('/')[2]}"
        beside = await self._files.get(f"{path}.CHECKSUM", {}, operation=f"{asked}.CHECKSUM")
        self._replies.add(beside)
        if binance_files.is_missing(beside):
            return None
        with self.kept():
            expected = binance_files.checksum(beside.body, path, operation=asked)
        reply = await self._files.get(path, {}, operation=asked)
        self._replies.add(reply)
        if binance_files.is_missing(reply):
            return None
        with self.kept():
            binance_files.verify(reply.body, expected, operation=asked)
        return reply, asked

    def add(self, table: pa.Table, left_out: Sequence[str] = ()) -> None:
        """Take rows into the answer."""
        self._tables.append(table)
        self._left_out.extend(left_out)

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
        """
        ways = ",".join(f"{one.way}:{one.first}..{one.last}" for one in self._routes)
        return self._replies.answer(
            f"{self.operation} by={ways or 'nothing'}",
            pa.concat_tables([schema.empty_table(), *self._tables]),
            self._left_out,
        )

    def kept(self) -> AbstractContextManager[None]:
        """Let an error that is raised within point to all replies so far."""
        return self._replies.kept()


def midnight(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def milliseconds(moment: datetime) -> str:
    """Return ``moment`` as the parameters of times want it."""
    return str((moment - _EPOCH) // timedelta(milliseconds=1))
