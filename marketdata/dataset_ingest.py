"""What an answer about one symbol, or about a whole market, means for a dataset.

Here: from a provider's answer to the batch that one transaction stores. Not here: the catalogue
(datasets.py), which requests are made (planning.py), the steps that all loads share (ingest.py),
or whole sessions and markets (session_ingest.py, market_ingest.py).

A day is settled an hour after it has ended; an earlier answer is provisional. For a snapshot the
ledger holds the last day through which the provider was asked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from marketdata.batches import States, identified, letters_of_rows, marks_of
from marketdata.calendars import SessionCalendar
from marketdata.coverage import CoverageMark, CoverageState, assess
from marketdata.datasets import Dataset, RequestScope
from marketdata.day_calendars import ONE_DAY
from marketdata.instruments import ListedInstrument
from marketdata.local_days import local_days
from marketdata.ports import Answer, Asked, Batch, FetchRequest, Prepared, Provider
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import DeadLetter
from marketdata.renames import ask_by_symbol, rows_of
from marketdata.rows import RejectedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedMarket:
    """An answer about a whole market that is ready to be stored.

    Attributes:
        rejected: Rows of listed instruments that were refused.
        rows: Number of rows, by instrument id.
    """

    batch: Batch
    rejected: tuple[RejectedRow, ...]
    rows: Mapping[int, int]


class DatasetFeed:
    """Fulfils marketdata.ports.Feed for any dataset of the catalogue.

    Args:
        dataset: The dataset to ask for.
        client: The provider's client, with the methods of the dataset's protocol in
            marketdata.ports.
        calendar: The exchange's sessions.
    """

    def __init__(self, dataset: Dataset, client: Provider, calendar: SessionCalendar) -> None:
        self.entry = dataset
        self.client = client
        self.day_calendar = dataset.day_calendar(calendar)

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.entry.name

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.client.name

    @property
    def _label(self) -> str:
        return self.dataset.replace("_", " ")

    async def fetch(self, request: FetchRequest) -> Answer:
        """Ask for one instrument, under each symbol that the provider keeps it under.

        Raises:
            UnknownSymbolError: The whole history is empty.
            ProviderUnavailableError: The answer is empty where rows are stored, besides other
                reasons.
            MalformedPayloadError: The answer has rows of another symbol, besides other reasons.
            ProviderError: What the provider's client raises.
        """
        # A snapshot is asked for whole under each ticker; only the ticker's own days count.
        is_cut = self.entry.request_scope is RequestScope.SNAPSHOT and request.instrument.carried
        day = self.entry.dated_by if is_cut else None
        answer = await ask_by_symbol(request, self._ask, provider=self.provider, day=day)
        is_empty = not answer.rows.num_rows and not answer.left_out
        if not is_empty or self.entry.may_be_empty or not request.from_inception:
            # An empty span may be a halt.
            return answer
        if request.has_data:
            if self.entry.by_day:
                return answer
            # Stored rows do not vanish: an empty answer is a fault of the provider.
            raise errors.ProviderUnavailableError(
                f"the provider has no {self._label} any more where it had some",
                provider=self.provider,
                operation=answer.request,
            )
        raise errors.UnknownSymbolError(
            f"the provider has no {self._label} under this symbol",
            provider=self.provider,
            operation=answer.request,
        )

    async def fetch_session(self, session: date) -> Answer:
        """Ask for every symbol's rows of one session.

        Raises:
            ProviderError: What the provider's client raises.
            ConfigurationError: The provider has no request for a whole session.
        """
        question = self.entry.sources[self.provider].session
        if question is None:
            message = f"{self.provider} cannot be asked for a whole session of {self.dataset}"
            raise errors.ConfigurationError(message)
        return await question(self.client, session)

    async def _ask(self, request: FetchRequest) -> Answer:
        answer = await self.entry.ask(self.client, request)
        symbols: list[str] = pc.unique(answer.rows["symbol"]).to_pylist()
        # A provider may ignore a parameter that it does not understand.
        strange = [symbol for symbol in symbols if symbol != request.instrument.symbol]
        if strange:
            raise self.malformed(answer, f"rows of {strange[0]} came; the answer was not stored")
        return answer

    def prepare(self, request: FetchRequest, answer: Answer, run_id: str) -> Prepared:
        """Validate the rows, and derive the state of each requested day.

        Raises:
            MalformedPayloadError: The rows are not what was asked for, such as weekly bars.
        """
        reason = self.entry.refuse_answer(answer.rows) if self.entry.refuse_answer else ""
        if reason:
            raise self.malformed(answer, reason)
        instrument = request.instrument
        validated = self.entry.validate(answer.rows)
        refused = (*validated.rejected, *answer.left_out)
        asked = Asked(
            instrument_ids=(instrument.instrument_id,),
            start=request.start,
            end=request.end,
            whole_sessions=False,
            carried=request.carried,
        )
        if self.entry.by_day:
            states = assess(
                self.day_calendar,
                self._requested_days(request),
                received=self._days_of(validated.accepted),
                rejected={row.day for row in refused if row.day is not None},
                # A row without a day may be of any day that seems to be empty.
                is_any_unplaced=any(row.day is None for row in refused),
                untold=answer.untold,
                now=answer.fetched_at,
            )
            marks = marks_of(self.day_calendar, {instrument.instrument_id: states})
            counts = {state: len(days) for state, days in states.items()}
        else:
            # Not beyond the requested days: a letter's work may be days old.
            through = min(self.day_of(answer.fetched_at), request.end)
            marks = (_complete(instrument, request.start, through),)
            counts = {CoverageState.COMPLETE: (through - request.start).days + 1}
        letters = letters_of_rows(
            answer,
            validated.rejected,
            [instrument],
            asked,
            (self.dataset, self.provider),
            run_id,
            # A snapshot is asked for whole: a request for the row's day does not exist.
            by_day=self.entry.by_day,
        )
        batch = self._batch(answer, validated.accepted, [instrument], asked, run_id)
        return Prepared(
            batch=replace(
                batch,
                letters=tuple(letters),
                coverage=marks,
                # A refused row is not withdrawn by the provider.
                full_snapshot=self.entry.full_snapshot
                and request.start <= self.entry.begins
                and not refused,
                joins_history=self.entry.rebases and not self._is_whole(request, answer.fetched_at),
            ),
            rejected=refused,
            days_by_state=counts,
        )

    def prepare_market(
        self,
        listed: Sequence[ListedInstrument],
        start: date,
        end: date,
        answer: Answer,
        run_id: str,
    ) -> PreparedMarket:
        """Prepare the rows of ``listed`` instruments in an answer about the whole market.

        Args:
            listed: Instruments whose rows are kept; other rows are ignored.
            start: First requested day.
            end: Last requested day.
            answer: The answer, under the provider's symbols of each row's day.
            run_id: The run that asked.
        """
        validated = self.entry.validate(rows_of(answer.rows, listed, self.entry.dated_by))
        names = {instrument.symbol for instrument in listed}
        names |= {span.symbol for instrument in listed for span in instrument.carried}
        refused = (
            *validated.rejected,
            *(row for row in answer.left_out if row.symbol in names),
        )
        asked = Asked(
            instrument_ids=tuple(instrument.instrument_id for instrument in listed),
            start=start,
            end=end,
            whole_sessions=True,
        )
        letters: Iterable[DeadLetter] = letters_of_rows(
            answer, validated.rejected, listed, asked, (self.dataset, self.provider), run_id
        )
        if self.entry.by_day:
            states = self._market_states(listed, start, end, answer, validated.accepted, refused)
            marks = marks_of(self.day_calendar, states)
        else:
            through = min(end, self.day_of(answer.fetched_at))
            marks = tuple(
                _complete(instrument, start, through) for instrument in listed if start <= through
            )
        batch = self._batch(answer, validated.accepted, listed, asked, run_id)
        return PreparedMarket(
            batch=replace(
                batch,
                letters=tuple(letters),
                coverage=marks,
                joins_history=self.entry.rebases,
            ),
            rejected=refused,
            rows=Counter(batch.rows["instrument_id"].to_pylist()),
        )

    def failed(self, request: FetchRequest, now: datetime) -> tuple[CoverageMark, ...]:
        """Mark the days that had ended by ``now`` as failed; for a snapshot mark nothing."""
        if not self.entry.by_day:
            return ()
        ended = [
            day for day in self._requested_days(request) if self.day_calendar.ends_at(day) <= now
        ]
        failed: States = {CoverageState.FAILED: ended}
        return marks_of(self.day_calendar, {request.instrument.instrument_id: failed})

    def whole(self, request: FetchRequest, now: datetime) -> FetchRequest | None:
        """Return the request for the whole of a re-based history; None if ``request`` is whole."""
        if not self.entry.rebases or self._is_whole(request, now):
            return None
        end = max(request.end, self.day_calendar.last_over(now))
        return replace(request, start=self.entry.begins, end=end, from_inception=True)

    def day_of(self, moment: datetime) -> date:
        """Return the day, in the dataset's zone, through which an answer is complete."""
        return moment.astimezone(self.entry.zone).date()

    def malformed(self, answer: Answer, reason: str) -> errors.MalformedPayloadError:
        """Return the error for an unusable answer, with pointers to its kept pages."""
        error = errors.MalformedPayloadError(
            reason, provider=self.provider, operation=answer.request
        )
        error.raw_answers = answer.raw_answers
        return error

    def _is_whole(self, request: FetchRequest, now: datetime) -> bool:
        return request.start <= self.entry.begins and request.end >= self.day_calendar.last_over(
            now
        )

    def _batch(
        self,
        answer: Answer,
        accepted: pa.Table,
        listed: Sequence[ListedInstrument],
        asked: Asked,
        run_id: str,
    ) -> Batch:
        return Batch(
            dataset=self.dataset,
            provider=self.provider,
            adjustment=self.entry.sources[self.provider].adjustment,
            request=answer.request,
            content_sha256=answer.content_sha256,
            fetched_at=answer.fetched_at,
            run_id=run_id,
            raw_answers=answer.raw_answers,
            notes=answer.notes,
            asked=asked,
            rows=identified(accepted, listed, self.entry.key).cast(self.entry.table_schema),
            letters=(),
            coverage=(),
        )

    def _market_states(
        self,
        listed: Sequence[ListedInstrument],
        start: date,
        end: date,
        answer: Answer,
        accepted: pa.Table,
        refused: Sequence[RejectedRow],
    ) -> dict[int, States]:
        received: dict[str, set[date]] = {}
        days: list[date] = local_days(accepted[self.entry.dated_by], self.entry.zone).to_pylist()
        for symbol, day in zip(accepted["symbol"].to_pylist(), days, strict=True):
            received.setdefault(symbol, set()).add(day)
        requested = self.day_calendar.between(start, end)
        rejected = {
            # A row without a day may be of any requested day.
            (row.symbol, day)
            for row in refused
            for day in ([row.day] if row.day is not None else requested)
        }
        return {
            instrument.instrument_id: assess(
                self.day_calendar,
                requested,
                received=received.get(instrument.symbol, set()),
                rejected={day for symbol, day in rejected if symbol == instrument.symbol},
                now=answer.fetched_at,
            )
            for instrument in listed
        }

    def _days_of(self, rows: pa.Table) -> set[date]:
        """Return the days of ``rows`` in the dataset's zone."""
        days: list[date] = pc.unique(
            local_days(rows[self.entry.dated_by], self.entry.zone)
        ).to_pylist()
        return set(days)

    def _requested_days(self, request: FetchRequest) -> list[date]:
        """Return the requested days on which the instrument had a symbol."""
        return [
            day
            for span in request.symbols
            for day in self.day_calendar.between(span.start, span.end)
        ]


def _complete(instrument: ListedInstrument, start: date, through: date) -> CoverageMark:
    return CoverageMark(
        instrument_id=instrument.instrument_id,
        state=CoverageState.COMPLETE,
        spans=((start, through + ONE_DAY),),
    )
