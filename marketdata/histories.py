"""Histories of daily bars: what a provider's answer for one instrument means, and their ingest.

Here: the feed of daily bars by instrument. Not here: the steps that all feeds share (ingest.py),
or whole sessions (market_days.py).
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, datetime

from marketdata import bars, coverage
from marketdata.batches import DAILY_BARS_DATASET, batch_of, marks_of, sessions_of
from marketdata.calendars import HISTORY_START, SessionCalendar
from marketdata.coverage import CoverageMark, CoverageState
from marketdata.ingest import IngestContext, Ingested, NotIngested, ingest
from marketdata.ports import Answer, Asked, HistoryProvider, HistoryRequest, Prepared
from marketdata.recovery import errors
from marketdata.renames import ask_by_symbol


def ingest_histories(
    context: IngestContext, provider: HistoryProvider, requests: Sequence[HistoryRequest]
) -> AsyncIterator[Ingested | NotIngested]:
    """Fetch and store the daily bars of many instruments (see ``ingest``)."""
    return ingest(context, DailyBarFeed(provider, context.calendar), requests)


class DailyBarFeed:
    """Fulfils marketdata.ports.Feed for the daily bars of one instrument."""

    dataset = DAILY_BARS_DATASET

    def __init__(self, provider: HistoryProvider, calendar: SessionCalendar) -> None:
        self._provider = provider
        self._calendar = calendar

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._provider.name

    async def fetch(self, request: HistoryRequest) -> Answer:
        """Ask for the bars, under each symbol that they are kept under.

        Raises:
            UnknownSymbolError: The whole history is empty.
            ProviderError: What the provider's client raises.
        """
        answer = await ask_by_symbol(request, self._ask, provider=self.provider)
        is_empty = not answer.rows.num_rows and not answer.left_out
        if request.from_listing and not request.holds_bars and is_empty:
            # An empty span may be a halt; an empty history is a symbol that nobody knows.
            raise errors.UnknownSymbolError(
                "the provider has no bars under this symbol",
                provider=self._provider.name,
                operation=answer.request,
            )
        return answer

    async def _ask(self, request: HistoryRequest) -> Answer:
        symbol = request.instrument.symbol
        return await self._provider.daily_history(symbol, request.start, request.end)

    def prepare(self, request: HistoryRequest, answer: Answer, run_id: str) -> Prepared:
        """Validate the bars, and say what the answer tells of each session.

        Raises:
            MalformedPayloadError: The bars are those of weeks or months.
        """
        self._refuse_longer_bars(answer)
        validated = bars.validate(answer.rows)
        refused = {one.session_date for one in validated.rejected}
        refused |= {row.day for row in answer.left_out if row.day is not None}
        states = coverage.assess(
            self._calendar,
            self._sessions(request),
            received=sessions_of(validated.accepted),
            rejected=refused,
            is_any_unplaced=any(row.day is None for row in answer.left_out),
            now=answer.fetched_at,
        )
        instrument = request.instrument
        batch = batch_of(
            answer,
            validated,
            {instrument.instrument_id: states},
            calendar=self._calendar,
            listed=[instrument],
            asked=Asked(
                instrument_ids=(instrument.instrument_id,),
                start=request.start,
                end=request.end,
                whole_sessions=False,
                carried=request.carried,
            ),
            provider=self._provider.name,
            adjustment=self._provider.history_adjustment,
            run_id=run_id,
            joins_history=not self._is_whole(request, answer.fetched_at),
        )
        return Prepared(
            batch=batch,
            rejected=(*validated.rejected, *answer.left_out),
            days={state: len(sessions) for state, sessions in states.items()},
        )

    def _refuse_longer_bars(self, answer: Answer) -> None:
        """Refuse bars that lie as far from each other as those of weeks: nobody asked for them."""
        if bars.are_longer_than_days(answer.rows):
            error = errors.MalformedPayloadError(
                "bars of weeks or months came where those of days were asked for",
                provider=self._provider.name,
                operation=answer.request,
            )
            error.raw_answers = answer.raw_answers
            raise error

    def failed(self, request: HistoryRequest, now: datetime) -> tuple[CoverageMark, ...]:
        """Mark the sessions that had closed by ``now`` as failed."""
        asked = self._sessions(request)
        closed = [session for session in asked if self._calendar.close_at(session) <= now]
        identifier = request.instrument.instrument_id
        return marks_of(self._calendar, {identifier: {CoverageState.FAILED: closed}})

    def whole(self, request: HistoryRequest, now: datetime) -> HistoryRequest | None:
        """Return the request for all sessions, unless ``request`` is for all of them."""
        if self._is_whole(request, now):
            return None
        end = max(request.end, self._calendar.last_closed(now))
        return replace(request, start=HISTORY_START, end=end, from_listing=True)

    def _is_whole(self, request: HistoryRequest, now: datetime) -> bool:
        return request.start <= HISTORY_START and request.end >= self._calendar.last_closed(now)

    def _sessions(self, request: HistoryRequest) -> list[date]:
        """Return the sessions that are asked for: those on which the instrument had a ticker."""
        return [
            session
            for span in request.symbols
            for session in self._calendar.sessions(span.start, span.end)
        ]
