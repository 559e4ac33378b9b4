"""FMP's answers once more, from what was kept of them: no request is made, ever.

Here: serving kept bodies to the client's own code (fmp.history, fmp.market_day), so that its
parser and its checks run again, for instance after they were mended. Not here: where bodies are
kept (the caller gives a function that reads one), or what becomes of the bars.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from http import HTTPStatus
from typing import Protocol

from marketdata.ports import Answer
from marketdata.recovery import errors
from resources.providers import fmp, fmp_wire
from resources.providers.http import HttpAnswer


class Kept(Protocol):
    """A body that was kept; ``fetched_at`` is aware and says when it came from the provider."""

    @property
    def body(self) -> bytes: ...
    @property
    def fetched_at(self) -> datetime: ...


class ReplayedFmp:
    """Gives the answer to ONE request again, as marketdata.ports' providers do.

    Ask for what was asked for then: ``fmp.asked_for`` reads it from the request's text. The
    answer carries the time at which it was kept, so that it restates nothing newer, and counts
    no requests.

    Args:
        read: Fetches what a pointer points to, such as RawZone.read; called in a thread.
        raw_answers: The pointers of that one answer, all pages in their order.
    """

    name = fmp_wire.PROVIDER
    history_adjustment = fmp.FmpClient.history_adjustment
    market_day_adjustment = fmp.FmpClient.market_day_adjustment

    def __init__(self, read: Callable[[str], Kept], raw_answers: Sequence[str]) -> None:
        self._getter = _KeptGetter(read, raw_answers)

    async def daily_history(self, symbol: str, start: date, end: date) -> Answer:
        """Return the bars of the kept history.

        Raises:
            MalformedPayloadError: It still cannot be parsed, is not of this request, or not all
                of it was kept.
            StorageError: What was kept cannot be read.
        """
        answer = await fmp.history(self._getter, symbol, start, end)
        self._getter.require_all_read(answer.request)
        return answer

    async def daily_market(self, session: date) -> Answer:
        """Return the bars of the kept market day; raises what ``daily_history`` raises."""
        answer = await fmp.market_day(self._getter, session)
        self._getter.require_all_read(answer.request)
        return answer


class _KeptGetter:
    """Hands out kept bodies one after the other, whatever is asked: the parsers will notice."""

    def __init__(self, read: Callable[[str], Kept], raw_answers: Sequence[str]) -> None:
        self._read = read
        self._waiting = list(raw_answers)

    async def get(self, path: str, parameters: Mapping[str, str], *, operation: str) -> HttpAnswer:
        del path, parameters
        if not self._waiting:
            raise _incomplete("not all of this answer was kept", operation)
        pointer = self._waiting.pop(0)
        kept = await asyncio.to_thread(self._read, pointer)
        return HttpAnswer(
            status=HTTPStatus.OK,
            headers={},
            body=kept.body,
            sha256=hashlib.sha256(kept.body).hexdigest(),
            fetched_at=kept.fetched_at,
            requests=0,
            raw_answer=pointer,
        )

    def require_all_read(self, operation: str) -> None:
        if self._waiting:
            raise _incomplete(f"{len(self._waiting)} kept pages were not asked for", operation)


def _incomplete(what: str, operation: str) -> errors.MalformedPayloadError:
    return errors.MalformedPayloadError(
        f"{what}; nothing was stored, ask the provider again: wrdata dlq retry",
        provider=fmp_wire.PROVIDER,
        operation=operation,
    )
