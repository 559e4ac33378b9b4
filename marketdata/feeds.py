"""Datasets of the catalogue: what an answer means for the ledger, and how it is stored.

Here: the feed of any dataset by subject, and its answers about the whole market. Not here: the
catalogue (datasets.py), which requests are made (dataset_planning.py), the steps that all feeds
share (ingest.py), or daily bars (histories.py).

A day counts as settled an hour after it has ended; what is asked sooner is provisional. For a
state the ledger says through which day the provider has been asked.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.batches import identified, letters_of_rows
from marketdata.calendars import SessionCalendar
from marketdata.coverage import SETTLE_AFTER, CoverageMark, CoverageState, Span
from marketdata.dataset_planning import ONE_DAY, days_between, ends_at
from marketdata.datasets import Dataset, Extent
from marketdata.ingest import IngestContext, letter_of, patiently
from marketdata.instruments import ListedInstrument
from marketdata.local_days import local_days
from marketdata.ports import (
    Answer,
    Asked,
    Batch,
    Changes,
    HistoryRequest,
    IngestFailure,
    LoadResult,
    Prepared,
)
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import Work
from marketdata.renames import ask_by_symbol, rows_of
from marketdata.rows import RejectedRow


class DatasetFeed:
    """Fulfils marketdata.ports.Feed for a dataset of the catalogue.

    Args:
        dataset: What is asked for.
        client: The provider's, with the methods of the dataset's protocol in marketdata.ports.
        calendar: The exchange's sessions.
    """

    def __init__(self, dataset: Dataset, client: Any, calendar: SessionCalendar) -> None:
        self._dataset = dataset
        self._client = client
        self._calendar = calendar

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self._dataset.name

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._client.name

    async def fetch(self, request: HistoryRequest) -> Answer:
        """Ask for one subject, under each symbol that it is kept under.

        Raises:
            UnknownSymbolError: All that there ever was of it is empty.
            ProviderUnavailableError: It is empty now and was not before, besides other reasons.
            MalformedPayloadError: The answer has rows of another symbol, besides other reasons.
            ProviderError: What the provider's client raises.
        """
        # A state is asked for as a whole under each ticker; of it the days of the ticker count.
        is_cut = self._dataset.extent is Extent.STATE and request.instrument.carried
        day = self._dataset.key[0] if is_cut else None
        answer = await ask_by_symbol(request, self._ask, provider=self.provider, day=day)
        some = answer.rows.num_rows or answer.left_out
        if some or self._dataset.may_be_empty or not request.from_listing:
            return answer
        if request.holds_bars:
            # What was there does not vanish: the provider answers with nothing when it is ill.
            raise errors.ProviderUnavailableError(
                f"the provider has no {self._dataset.name} any more where it had some",
                provider=self.provider,
                operation=answer.request,
            )
        raise errors.UnknownSymbolError(
            f"the provider has no {self._dataset.name} under this symbol",
            provider=self.provider,
            operation=answer.request,
        )

    async def _ask(self, request: HistoryRequest) -> Answer:
        answer = await self._dataset.ask(self._client, request)
        _refuse_strangers(answer, request.instrument.symbol, self.provider)
        return answer

    def prepare(self, request: HistoryRequest, answer: Answer, run_id: str) -> Prepared:
        """Validate the rows, and say what the answer tells of each day."""
        instrument = request.instrument
        validated = self._dataset.validate(answer.rows)
        refused = (*validated.rejected, *answer.left_out)
        states = self._states(request, answer, validated.accepted, refused)
        asked = Asked(
            instrument_ids=(instrument.instrument_id,),
            start=request.start,
            end=request.end,
            whole_sessions=False,
            carried=request.carried,
        )
        batch = self._batch(answer, validated.accepted, [instrument], asked, run_id)
        rejected = letters_of_rows(
            answer,
            validated.rejected,
            [instrument],
            asked,
            self._source,
            run_id,
            # A row of a state is not mended by asking for its day.
            by_day=self._dataset.by_day,
        )
        marks = tuple(
            CoverageMark(instrument_id=instrument.instrument_id, state=state, spans=spans)
            for state, spans in states.items()
            if spans
        )
        return Prepared(
            batch=Batch(
                **batch,
                rejected=tuple(rejected),
                coverage=marks,
                # A row that was refused is not one that the provider has withdrawn.
                is_all=self._dataset.is_all
                and request.start <= self._dataset.begins
                and not refused,
            ),
            rejected=refused,
            days={state: _length(spans) for state, spans in states.items()},
        )

    def failed(self, request: HistoryRequest, now: datetime) -> tuple[CoverageMark, ...]:
        """Mark the days that had ended by ``now`` as failed; of a state nothing is marked."""
        if self._dataset.extent is Extent.STATE:
            return ()
        ended = [day for day in self._days(request) if self._ends_at(day) <= now]
        if not ended:
            return ()
        identifier = request.instrument.instrument_id
        spans = self._spans(ended)
        return (CoverageMark(instrument_id=identifier, state=CoverageState.FAILED, spans=spans),)

    def whole(self, request: HistoryRequest, now: datetime) -> HistoryRequest | None:
        """Return None: no provider re-bases rows of these datasets."""
        del request, now

    async def load_market(
        self,
        context: IngestContext,
        listed: Sequence[ListedInstrument],
        start: date,
        end: date,
    ) -> "MarketLoad":
        """Ask for the whole market from ``start`` to ``end`` and store the rows of ``listed``.

        Raises:
            ProviderError: The answer could not be had or used; it waits in a dead letter.
            StorageError: The database failed; nothing was stored.
        """
        try:
            answer = await self.fetch_market(start, end)
        except errors.ProviderError as error:
            await self.post_market(context, start, end, error)
            raise
        return await self.store_market(context, listed, start, end, answer)

    async def fetch_market(self, start: date, end: date) -> Answer:
        """Ask for the whole market.

        Raises:
            ProviderError: What the provider's client raises.
            ValueError: The dataset cannot be asked so.
        """
        if self._dataset.market is None:
            message = f"{self._dataset.name} cannot be asked for the whole market"
            raise ValueError(message)
        return await self._dataset.market(self._client, start, end)

    async def store_market(
        self,
        context: IngestContext,
        listed: Sequence[ListedInstrument],
        start: date,
        end: date,
        answer: Answer,
    ) -> "MarketLoad":
        """Store the rows of ``listed`` of an answer about the whole market.

        Raises:
            StorageError: The database failed; nothing was stored.
        """
        began = time.monotonic()
        ours = rows_of(answer.rows, listed, self._dataset.key[0])
        validated = self._dataset.validate(ours)
        names = {one.symbol for one in listed}
        names |= {span.symbol for one in listed for span in one.carried}
        ours_left_out = [row for row in answer.left_out if row.symbol in names]
        asked = Asked(
            instrument_ids=tuple(one.instrument_id for one in listed),
            start=start,
            end=end,
            whole_sessions=True,
        )
        rejected = letters_of_rows(
            answer, validated.rejected, listed, asked, self._source, context.run_id
        )
        through = self._through(answer)
        marks = tuple(
            CoverageMark(
                instrument_id=one.instrument_id,
                state=CoverageState.COMPLETE,
                spans=((start, min(end, through) + ONE_DAY),),
            )
            for one in listed
            if start <= through
        )
        batch = self._batch(answer, validated.accepted, listed, asked, context.run_id)
        load = await patiently(
            lambda: context.store.load(Batch(**batch, rejected=tuple(rejected), coverage=marks))
        )
        return MarketLoad(
            load=load,
            touched=Counter(batch["rows"]["instrument_id"].to_pylist()),
            rejected=(*validated.rejected, *ours_left_out),
            requests=answer.requests,
            duration_s=time.monotonic() - began,
        )

    async def confirm(
        self,
        context: IngestContext,
        listed: Sequence[ListedInstrument],
        since: date,
        changes: Changes,
    ) -> None:
        """Note that nothing of ``listed`` has changed since a day that was asked for.

        Raises:
            StorageError: The database failed; nothing was noted.
        """
        ids = tuple(one.instrument_id for one in listed)
        through = changes.fetched_at.astimezone(self._dataset.zone).date()
        batch = Batch(
            dataset=self._dataset.name,
            provider=self.provider,
            adjustment=None,
            request=changes.request,
            content_sha256=changes.content_sha256,
            fetched_at=changes.fetched_at,
            run_id=context.run_id,
            raw_answers=changes.raw_answers,
            # Letters about single subjects wait for rows, and this answer has none.
            asked=Asked(instrument_ids=(), start=since, end=through, whole_sessions=True),
            rows=self._dataset.stored.empty_table(),
            rejected=(),
            coverage=tuple(
                CoverageMark(
                    instrument_id=one,
                    state=CoverageState.COMPLETE,
                    spans=((since, through + ONE_DAY),),
                )
                for one in ids
            ),
        )
        await patiently(lambda: context.store.load(batch))

    async def post_market(
        self, context: IngestContext, start: date, end: date, error: errors.ProviderError
    ) -> None:
        """Leave a question about all subjects, which came to nothing, in a dead letter.

        Raises:
            StorageError: The database failed; nothing was recorded.
        """
        letter = letter_of(
            context,
            error,
            source=self._source,
            work=Work.SESSION,
            # The same work on every day on which it fails: one letter.
            subject="all at once",
            instrument_id=None,
            span=(start, end),
            deferred=isinstance(error, errors.NotSentError),
        )
        await patiently(lambda: context.store.record_failures([IngestFailure(letter=letter)]))

    @property
    def _source(self) -> tuple[str, str]:
        return self._dataset.name, self.provider

    def _batch(
        self,
        answer: Answer,
        accepted: pa.Table,
        listed: Sequence[ListedInstrument],
        asked: Asked,
        run_id: str,
    ) -> dict[str, Any]:
        return {
            "dataset": self._dataset.name,
            "provider": self.provider,
            "adjustment": None,
            "request": answer.request,
            "content_sha256": answer.content_sha256,
            "fetched_at": answer.fetched_at,
            "run_id": run_id,
            "raw_answers": answer.raw_answers,
            "notes": answer.notes,
            "asked": asked,
            "rows": identified(accepted, listed, self._dataset.key).cast(self._dataset.stored),
        }

    def _states(
        self,
        request: HistoryRequest,
        answer: Answer,
        accepted: pa.Table,
        refused: Sequence[RejectedRow],
    ) -> dict[CoverageState, tuple[Span, ...]]:
        """Say what an answer tells of the days that were asked for."""
        if self._dataset.extent is Extent.STATE:
            # Not beyond what was asked for: a letter's work may be days old.
            through = min(self._through(answer), request.end)
            return {CoverageState.COMPLETE: ((request.start, through + ONE_DAY),)}
        received = _days_of(accepted, self._dataset)
        refused_days = {row.day for row in refused}
        # A row that tells no day may be of any that seems to be empty.
        is_any_unplaced = None in refused_days
        days: dict[CoverageState, list[date]] = {}
        for day in self._days(request):
            settled = answer.fetched_at >= self._ends_at(day) + SETTLE_AFTER
            if day in received:
                whole = settled and day not in answer.untold
                state = CoverageState.COMPLETE if whole else CoverageState.PROVISIONAL
            elif day in refused_days:
                state = CoverageState.QUARANTINED
            elif day in answer.untold:
                continue
            elif settled:
                state = (
                    CoverageState.QUARANTINED if is_any_unplaced else CoverageState.PROVIDER_EMPTY
                )
            else:
                continue
            days.setdefault(state, []).append(day)
        return {state: self._spans(found) for state, found in days.items()}

    def _through(self, answer: Answer) -> date:
        """Return the last day about which the answer says all that there was to say."""
        return answer.fetched_at.astimezone(self._dataset.zone).date()

    def _days(self, request: HistoryRequest) -> list[date]:
        return [
            day
            for span in request.symbols
            for day in days_between(self._dataset, self._calendar, span.start, span.end)
        ]

    def _ends_at(self, day: date) -> datetime:
        return ends_at(self._dataset, day)

    def _spans(self, days: Sequence[date]) -> tuple[Span, ...]:
        spans: list[Span] = []
        for day in days:
            after = (
                self._calendar.next_session(day)
                if self._dataset.extent is Extent.SESSIONS
                else day + ONE_DAY
            )
            if spans and spans[-1][1] == day:
                spans[-1] = (spans[-1][0], after)
            else:
                spans.append((day, after))
        return tuple(spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketLoad:
    """The whole market's answer has been stored.

    Attributes:
        touched: How many rows there were, by the id of their instrument.
    """

    load: LoadResult
    touched: Mapping[int, int]
    rejected: tuple[RejectedRow, ...]
    requests: int
    duration_s: float


def _days_of(rows: pa.Table, dataset: Dataset) -> set[date]:
    """Return the days, in the dataset's zone, that ``rows`` are of."""
    return set(pc.unique(local_days(rows[dataset.key[0]], dataset.zone)).to_pylist())


def _length(spans: Sequence[Span]) -> int:
    return sum((end - start).days for start, end in spans)


def _refuse_strangers(answer: Answer, symbol: str, provider: str) -> None:
    """Refuse rows of another symbol: providers ignore what they do not understand."""
    strange = [one for one in pc.unique(answer.rows["symbol"]).to_pylist() if one != symbol]
    if strange:
        error = errors.MalformedPayloadError(
            f"rows of {strange[0]} came; the answer was not stored",
            provider=provider,
            operation=answer.request,
        )
        error.raw_answers = answer.raw_answers
        raise error
