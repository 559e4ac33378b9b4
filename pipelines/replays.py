"""Replays: kept answers read again, without a request, after a parser was fixed.

Here: from a letter's raw pointers to the same ingest steps that a run takes. Not here: reading the
raw zone (resources/storage/raw_zone.py), or runs (retries.py).

The loader settles the letters; what is still wrong stays in them, as for any other answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from marketdata.audit import Action
from marketdata.calendars import SessionCalendar, calendar, utc_now
from marketdata.dataset_ingest import DatasetFeed
from marketdata.datasets import DATASETS, Dataset
from marketdata.ingest import IngestContext, NotIngested, ingest
from marketdata.instruments import ListedInstrument, PastSymbols
from marketdata.market_ingest import fetch_market, store_market
from marketdata.planning import letter_request
from marketdata.ports import Answer, Days, FetchRequest, Provider
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import carried_then
from marketdata.session_ingest import ingest_session_in_bulk
from pipelines.obsolete import why_obsolete
from resources.clients import api_over
from resources.opening import Stores
from resources.providers.kept_answers import KeptBody, KeptGetter
from resources.storage.audit import Deed
from resources.storage.letters import StoredLetter
from usecases.instruments import members_on


async def replay(
    stores: Stores,
    read: Callable[[str], KeptBody],
    letters: Sequence[StoredLetter],
    by: str,
) -> dict[int, str]:
    """Read the kept answers of ``letters`` again, each answer once.

    Letters whose work no longer exists end as obsolete.

    Args:
        stores: The database.
        read: Reads the kept answer of a pointer.
        letters: Unsettled letters; those of one answer are done together.
        by: Who replays; stands in the ingest log in place of a run's id.

    Returns:
        Why an answer could not be loaded, by letter id. The other answers are loaded, which
        settles each letter whose row is good now.

    Raises:
        StorageError: The database failed, or a kept answer cannot be read.
    """
    by_answer: dict[tuple[str, ...], list[StoredLetter]] = {}
    failed = {letter.letter_id: reason for letter in letters if (reason := why_obsolete(letter))}
    run_id = f"replay by {by}"
    stores.dead_letters.end_obsolete(failed, by=run_id)
    for letter in letters:
        if letter.letter_id in failed:
            continue
        if letter.raw_answers:
            by_answer.setdefault(letter.raw_answers, []).append(letter)
        else:
            failed[letter.letter_id] = (
                "no answer was kept: ask the provider again: wrdata dlq retry"
            )
    context = IngestContext(store=stores.batches, calendar=calendar(), run_id=run_id, now=utc_now)
    for raw_answers, group in by_answer.items():
        letter = group[0]
        getter = KeptGetter(letter.provider or "", read, raw_answers)
        try:
            reason = await _load(stores, context, getter, letter)
        except (
            errors.ProviderError,
            errors.ConfigurationError,
            errors.RecordRejectedError,
        ) as error:
            reason = str(error)
        if reason:
            failed |= {grouped.letter_id: reason for grouped in group}
    # Each answer was a transaction of its own, so the row about all of them follows.
    stores.audit.append(
        Deed(
            action=Action.LETTERS_REPLAYED,
            who=by,
            subject=f"{len(letters)} dead letters",
            details={
                "letter_ids": sorted(letter.letter_id for letter in letters),
                "not_resolved": sorted(failed),
            },
        )
    )
    return failed


async def _load(
    stores: Stores, context: IngestContext, getter: KeptGetter, letter: StoredLetter
) -> str:
    """Load one kept answer; return why it could not be loaded, or an empty text."""
    question = letter.details.get("asked")
    if not question:
        return "the letter does not say what was asked for: wrdata dlq retry"
    start, end = date.fromisoformat(question["start"]), date.fromisoformat(question["end"])
    api = api_over(letter.provider or "", letter.dataset, getter)
    if question["symbol"] is None:
        await _load_market(stores, context, api, letter, (start, end), getter)
        return ""
    instrument = _instrument_then(stores, letter, question)
    feed = _WholeAnswer(DATASETS[letter.dataset], api, calendar(), getter)
    ledger = stores.coverage.ledger(feed.dataset, feed.provider, [instrument.instrument_id])
    coverage = ledger[instrument.instrument_id]
    request = (
        letter_request(feed.entry, instrument, coverage, (start, end), utc_now(), "")
        if feed.entry.by_day
        else FetchRequest(instrument=instrument, start=start, end=end)
    )
    reasons = [
        outcome.message
        async for outcome in ingest(context, feed, [request])
        if isinstance(outcome, NotIngested)
    ]
    return "; ".join(reasons)


def _instrument_then(
    stores: Stores, letter: StoredLetter, question: Mapping[str, Any]
) -> ListedInstrument:
    """Return the letter's instrument under the symbols it carried when it was asked for.

    Raises:
        ConfigurationError: There is no such instrument.
    """
    listed = stores.instruments.listed(
        letter.provider or "",
        [letter.instrument_id or 0],
        utc_now().date(),
        PastSymbols.OF_THE_DAY,
    )
    if not listed:
        message = f"dead letter {letter.letter_id} is about an instrument that does not exist"
        raise errors.ConfigurationError(message)
    carried = carried_then(question)
    if carried:
        # A snapshot's rows about future days are of the last symbol too.
        carried = (*carried[:-1], replace(carried[-1], end=date.max))
    return replace(listed[0], symbol=question["symbol"], carried=carried)


async def _load_market(
    stores: Stores,
    context: IngestContext,
    api: Provider,
    letter: StoredLetter,
    span: tuple[date, date],
    getter: KeptGetter,
) -> None:
    # An answer names instruments by their symbols of the day on which it came.
    came_on = letter.last_seen_at.date()
    feed = _WholeAnswer(DATASETS[letter.dataset], api, calendar(), getter)
    if feed.entry.by_day:
        listed = members_on(stores, feed.entry, feed.provider, span[0], came_on)
        await ingest_session_in_bulk(context, feed, listed, span[0])
        return
    listed = members_on(stores, feed.entry, feed.provider, came_on, came_on)
    days = Days(start=span[0], end=span[1])
    answer = await fetch_market(feed, days)
    getter.require_all_read(answer.request)
    await store_market(context, feed, listed, days, answer)


class _WholeAnswer(DatasetFeed):
    """A feed that refuses an answer if some of its kept pages were not read."""

    def __init__(
        self, dataset: Dataset, api: Provider, calendar: SessionCalendar, getter: KeptGetter
    ) -> None:
        super().__init__(dataset, api, calendar)
        self._getter = getter
        self._is_session = False

    async def fetch(self, request: FetchRequest) -> Answer:
        """Read the answer again.

        Raises:
            ProviderUnavailableError: The kept answer is of a whole session: a history that was
                re-based since has to be asked for, which its letter will do.
            MalformedPayloadError: Kept pages are left over, or the client refuses them.
        """
        if self._is_session:
            raise errors.ProviderUnavailableError(
                "the history was re-based since this answer came",
                provider=self.provider,
                operation=f"{request.subject} from {request.start} to {request.end}",
            )
        answer = await super().fetch(request)
        self._getter.require_all_read(answer.request)
        return answer

    async def fetch_session(self, session: date) -> Answer:
        """Read the answer about a whole session again.

        Raises:
            MalformedPayloadError: Kept pages are left over, or the client refuses them.
        """
        self._is_session = True
        answer = await super().fetch_session(session)
        self._getter.require_all_read(answer.request)
        return answer

    def whole(self, request: FetchRequest, now: datetime) -> FetchRequest | None:
        """Return None: a kept answer holds no more than was asked for."""
        del request, now
