"""FRED and ALFRED: macroeconomic series with all their vintages.

Here: the client, and which requests make one answer. Not here: what answers look like (wire.py),
how lists are paged (pages.py) and windows of real time joined (vintages.py), or how a request is
sent (../http.py).
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.calendars import utc_now
from marketdata.macro import ST_LOUIS
from marketdata.ports import Answer, Changes
from marketdata.recovery import errors
from marketdata.rows import RejectedRow
from resources.providers.fred import vintages as fred_vintages
from resources.providers.fred import wire
from resources.providers.fred.pages import read
from resources.providers.fred.vintages import Window
from resources.providers.http import Getter, HttpAnswer, ResponseClassifier
from resources.providers.provenance import Replies

BASE_URL = "https://api.stlouisfed.org/fred"
KEY_PARAMETER = "api_key"
IN_FLIGHT = 2
OBSERVATIONS_A_PAGE = 100_000
VINTAGES_A_PAGE = 10_000
UPDATES_A_PAGE = 1_000
UPDATES_REACH_BACK = timedelta(days=14)
"""How far back ``series/updates`` reaches, however early its ``start_time`` is."""
DOUBTED_KEY_WAIT_S = 20.0

_ONE_DAY = timedelta(days=1)
_SECOND_DAY = date.min + _ONE_DAY
_SERIES = re.compile(r"[A-Za-z0-9_.\-]{1,64}", re.ASCII)


class FredClient:
    """Asks FRED; fulfils marketdata.ports.MacroProvider.

    Args:
        getter: Open, with ``classifier`` and the key as the query's ``api_key``.
        now: Clock that returns aware UTC times, only for ``changed_since``.
    """

    name = wire.PROVIDER

    def __init__(self, getter: Getter, *, now: Callable[[], datetime] = utc_now) -> None:
        self._getter = getter
        self._now = now

    async def observations(self, series: str, start: date, end: date) -> Answer:
        """Return every value of ``series`` that was the latest on a day from ``start`` to ``end``.

        Values that were replaced on ``start`` itself are included. Rows are WIRE_OBSERVATIONS with
        their true spans: FRED cuts spans to the requested period, so all real time is requested,
        whatever the days are. That is two requests up to 1,999 vintages, and one more for each
        further 1,999. Days are St. Louis's.

        Raises:
            UnknownSymbolError: FRED has no such series.
            RequestRejectedError: Vintages of the series are not kept (ALFRED does not have it), or
                ``series`` cannot be an id, and nothing was sent.
            ProviderUnavailableError: Besides the usual reasons, a list changed between two of its
                pages.
            MalformedPayloadError: An answer cannot be read, is short of rows, or is of another
                period; the error points to all bodies so far.
            ProviderError: See ``wire.classify_error``.
            ValueError: ``start`` is after ``end``.
        """
        operation = f"series/observations series_id={series} from={start} to={end}"
        _check_asked(series, start, end, operation)
        replies = Replies()
        vintages, left_out = await self._vintages(series, replies)
        windows: list[tuple[Window, pa.Table]] = []
        spans = fred_vintages.windows(vintages)
        for window in spans:
            pages = await self._window(series, window, replies, only_window=len(spans) == 1)
            windows.append((window, pa.concat_tables([page.rows for page in pages])))
            left_out += [row for page in pages for row in page.left_out]
        # Parts of an unreadable row in other windows would look like whole rows.
        unreadable_periods = {row.day for row in left_out if row.day is not None and len(spans) > 1}
        joined_rows = fred_vintages.without_periods(
            fred_vintages.joined(windows), unreadable_periods
        )
        rows, strange = fred_vintages.of_vintages(joined_rows, vintages)
        if joined_rows.num_rows and not rows.num_rows:
            first = strange[0].received[0]
            message = f"no row begins on a day of the series' vintages, such as {first}"
            with replies.kept():
                raise wire.malformed(message, operation)
        # A value published on the first day ended another the day before, which is restated too.
        current = fred_vintages.current_between(rows, max(start, _SECOND_DAY) - _ONE_DAY, end)
        return replies.answer(operation, current, (*left_out, *strange))

    async def changed_since(self, since: datetime) -> Changes:
        """Return which macroeconomic series changed at or after ``since`` (aware).

        One request for each thousand of them.

        Raises:
            RequestRejectedError: ``since`` is earlier than FRED's list reaches: each series has to
                be requested. Nothing was sent.
            ProviderError: As ``observations``.
        """
        # FRED does not document the zone of these times. St. Louis's for the start and UTC's for
        # the end cover both cases; rows carry their own offset.
        now = self._now().astimezone(UTC)
        parameters = {
            "filter_value": "macro",
            "start_time": f"{since.astimezone(ST_LOUIS):%Y%m%d%H%M}",
            "end_time": f"{now + timedelta(minutes=1):%Y%m%d%H%M}",
        }
        operation = f"series/updates since={since.astimezone(UTC).isoformat()}"
        if now - since > UPDATES_REACH_BACK:
            message = "FRED no longer lists changes so long ago: ask for each series"
            raise errors.RequestRejectedError(message, provider=self.name, operation=operation)
        replies = Replies()
        pages = await read(
            replies,
            self._getter,
            "series/updates",
            parameters,
            limit=UPDATES_A_PAGE,
            parse=lambda body, of: wire.update_page(body, operation=of),
        )
        updated_at = {name: at for page in pages for name, at in page.updated_at.items()}
        return Changes(
            symbols=frozenset(name for name, at in updated_at.items() if at >= since),
            request=operation,
            content_sha256=replies.content_sha256,
            fetched_at=replies.fetched_at,
            requests=replies.requests,
            raw_answers=replies.raw_answers,
        )

    async def _vintages(
        self, series: str, replies: Replies
    ) -> tuple[list[date], list[RejectedRow]]:
        """Return the days on which ``series`` was published or revised, oldest first.

        Also returns entries that are no date.
        """
        pages = await read(
            replies,
            self._getter,
            "series/vintagedates",
            {"series_id": series, "sort_order": "asc"},
            limit=VINTAGES_A_PAGE,
            parse=lambda body, of: wire.vintage_page(body, operation=of),
        )
        days = sorted({day for page in pages for day in page.days})
        return days, [row for page in pages for row in page.left_out]

    async def _window(
        self, series: str, window: Window, replies: Replies, *, only_window: bool
    ) -> list[wire.ObservationPage]:
        """Return the pages of one window; ``only_window`` if the series has no other."""

        def parse(body: bytes, operation: str) -> wire.ObservationPage:
            page = wire.observation_page(body, series, operation=operation)
            _check_window(page, window, operation)
            unplaced = [row for row in page.left_out if row.day is None]
            if unplaced and not only_window:
                # The period of its parts in other windows is unknown.
                first = unplaced[0].received[0]
                message = f"a row that may be of several windows cannot be read: {first}"
                raise wire.malformed(message, operation)
            return page

        parameters = {
            "series_id": series,
            "realtime_start": window.start.isoformat(),
            "realtime_end": window.end.isoformat(),
            "output_type": "1",
            "sort_order": "asc",
        }
        return await read(
            replies,
            self._getter,
            "series/observations",
            parameters,
            limit=OBSERVATIONS_A_PAGE,
            parse=parse,
        )


def classifier(key: str) -> ResponseClassifier:
    """Return the classifier of one getter; it remembers requests with a doubtful answer.

    Under load, FRED calls a good key "not registered". So such a request is repeated once, after a
    pause for all requests. The second answer counts.
    """
    doubted: set[str] = set()

    def classify(answer: HttpAnswer, operation: str) -> errors.ProviderError | None:
        error = wire.classify_error(answer, operation, key=key)
        if error is None or not wire.is_unregistered(error) or operation in doubted:
            doubted.discard(operation)
            return error
        doubted.add(operation)
        return errors.RateLimitedError(
            f"{error.reason}, unless FRED is overloaded, so it is asked once more",
            provider=wire.PROVIDER,
            operation=operation,
            retry_after_s=DOUBTED_KEY_WAIT_S,
        )

    return classify


def _check_asked(series: str, start: date, end: date, operation: str) -> None:
    # A reversed range is a bug; an odd id is data, and concerns that series alone.
    if start > end:
        message = f"the range of {series} is reversed: {start} is after {end}"
        raise ValueError(message)
    if _SERIES.fullmatch(series) is None:
        message = f"one series a request, not {series!r}; nothing was sent"
        raise errors.RequestRejectedError(message, provider=wire.PROVIDER, operation=operation)


def _check_window(page: wire.ObservationPage, window: Window, operation: str) -> None:
    """Refuse rows of another real-time period, whose spans would be cut elsewhere."""
    if page.realtime != (window.start, window.end):
        start, end = page.realtime
        message = (
            f"the answer is of the real-time period {start} to {end}, not of the one asked for"
        )
        raise wire.malformed(message, operation)
    starts, ends = page.rows["realtime_start"], page.rows["realtime_end"]
    outside = page.rows.filter(
        pc.or_(pc.greater(starts, pa.scalar(window.end)), pc.less(ends, pa.scalar(window.start)))
    )
    if outside.num_rows:
        start = outside["realtime_start"][0].as_py()
        message = f"rows that were not requested came, such as one of {start}"
        raise wire.malformed(message, operation)
