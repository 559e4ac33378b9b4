"""Kept answers read again, without a request: for letters whose parser has been mended.

Here: from a letter's pointers to the same ingest steps that a run takes. Not here: reading what
was kept (resources/storage/raw_zone.py), or runs (retries.py).

The loader settles the letters, and leaves what is still wrong in them, as for any other answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

from assets.universe import member_tickers
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import calendar, utc_now
from marketdata.ingest import IngestContext, NotIngested, ingest_histories
from marketdata.market_days import ingest_market_day
from marketdata.planning import history_request
from marketdata.recovery import errors
from resources.opening import Stores
from resources.providers.fmp import AskedHistory, asked_for
from resources.providers.kept_answers import Kept, ReplayedFmp
from resources.storage.dead_letters import StoredLetter


async def replay(
    stores: Stores,
    read: Callable[[str], Kept],
    letters: Sequence[StoredLetter],
    run_id: str,
) -> dict[int, str]:
    """Read the kept answers of ``letters`` again, each answer once.

    Args:
        stores: The database.
        read: Fetches what a pointer points to.
        letters: Unsettled ones; those about one answer are done together.
        run_id: Named in the ingest log in the place of a run.

    Returns:
        Why an answer could not be loaded, by the ids of its letters; the others are loaded,
        which settles each letter whose row is good now.

    Raises:
        StorageError: The database failed, or what was kept cannot be read.
    """
    failed: dict[int, str] = {}
    by_answer: dict[tuple[str, ...], list[StoredLetter]] = {}
    for letter in letters:
        if letter.raw_answers:
            by_answer.setdefault(letter.raw_answers, []).append(letter)
        else:
            failed[letter.letter_id] = (
                "no answer was kept: ask the provider again: wrdata dlq retry"
            )
    context = IngestContext(
        store=stores.daily_bars, calendar=calendar(), run_id=run_id, now=utc_now
    )
    for raw_answers, group in by_answer.items():
        again = ReplayedFmp(read, raw_answers)
        try:
            reason = await _load(stores, context, again, group[0])
        except errors.ProviderError as error:
            reason = str(error)
        if reason:
            failed |= {letter.letter_id: reason for letter in group}
    return failed


async def _load(
    stores: Stores, context: IngestContext, again: ReplayedFmp, letter: StoredLetter
) -> str:
    """Load one kept answer; return why not, or nothing."""
    asked = asked_for(letter.request)
    if isinstance(asked, AskedHistory) and letter.instrument_id is not None:
        return await _load_history(stores, context, again, letter.instrument_id, asked)
    if isinstance(asked, date):
        listed, _ = stores.instruments.resolve(again.name, member_tickers(stores), asked)
        await ingest_market_day(context, again, listed, asked)
        return ""
    return f"{letter.request!r} is no request whose answer can be read again: wrdata dlq retry"


async def _load_history(
    stores: Stores,
    context: IngestContext,
    again: ReplayedFmp,
    instrument_id: int,
    asked: AskedHistory,
) -> str:
    listed = stores.instruments.listed(again.name, [instrument_id], utc_now().date())
    if not listed:
        return "the instrument carries no ticker any more"
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, [instrument_id])
    # The answer is of the symbol that was asked for then, whatever it is called now.
    instrument = replace(listed[0], symbol=asked.symbol)
    request = history_request(instrument, ledger[instrument_id], asked.start, asked.end)
    reasons = [
        outcome.message
        async for outcome in ingest_histories(context, again, [request])
        if isinstance(outcome, NotIngested)
    ]
    return "; ".join(reasons)
