"""Load plans: the requests of a load, for `wrdata plan`, `wrdata backfill` and the assets.

Here: from symbols, days or dead letters, and the ledger, to requests. Not here: the rules
(marketdata/planning.py), making the requests (loading.py), or what they cost (load_cost.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from marketdata.calendars import calendar, utc_now
from marketdata.coverage import CoverageState, holes
from marketdata.datasets import Dataset
from marketdata.planning import Wanted, letter_request, plan_requests
from marketdata.ports import FetchRequest
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import UNSETTLED, Work
from resources.opening import Stores
from resources.storage.letters import LetterFilter
from usecases.instruments import UNIVERSE, every_symbol, listed_by_id, listed_symbols


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """What a person, a schedule or a sensor asks to load.

    Attributes:
        symbols: Our symbols; empty means all.
        failed: Only symbols with failed days, or with a letter that waits.
        wanted: The days to ask for.
        letters: Ids of dead letters: exactly what they wait for is asked again; ``symbols``,
            ``failed`` and ``wanted`` are ignored.
    """

    dataset: Dataset
    provider: str
    symbols: tuple[str, ...] = ()
    failed: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    letters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The requests of a load.

    Attributes:
        sessions: Whole trading days to ask for; then there are no ``requests``.
        complete: Symbols that lack nothing.
        unknown: Reasons by symbol, for symbols that cannot be asked for.
        obsolete: Reasons by letter id, for letters whose work no longer exists.
    """

    load: LoadRequest
    requests: Sequence[FetchRequest] = ()
    sessions: Sequence[date] = ()
    complete: Sequence[str] = ()
    unknown: Mapping[str, str] = field(default_factory=dict[str, str])
    obsolete: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def requested(self) -> list[str]:
        """Symbols that need a request, each once."""
        return list(dict.fromkeys(request.instrument.ticker for request in self.requests))

    @property
    def symbols(self) -> list[str]:
        """All symbols of the load, each once."""
        return [*self.unknown, *self.complete, *self.requested]


def plan_load(stores: Stores, load: LoadRequest, *, register: bool = True) -> LoadPlan:
    """Plan the requests of a load.

    Args:
        stores: The database.
        load: The load request.
        register: Register instruments of pairs, series and indices that are new here; not for a
            plan that is only shown.

    Raises:
        ConfigurationError: All members are asked for, and the universe is empty.
    """
    if load.letters:
        return _plan_letters(stores, load)
    dataset, provider = load.dataset, load.provider
    names = load.symbols or every_symbol(stores, dataset, provider)
    listed, unknown = listed_symbols(stores, dataset, provider, names, register=register)
    ids = [instrument.instrument_id for instrument in listed]
    ledger = stores.coverage.ledger(dataset.name, provider, ids)
    wanted = load.wanted
    if load.failed:
        waiting = _waiting(stores, load)
        listed = [
            instrument
            for instrument in listed
            if instrument.instrument_id in waiting
            or ledger[instrument.instrument_id].get(CoverageState.FAILED)
        ]
        # Settled days whose repeated request failed are no holes: ask for them again.
        wanted = replace(wanted, again=True)
    requests = plan_requests(dataset, calendar(), listed, ledger, wanted, now=utc_now())
    requested = {request.instrument.ticker for request in requests}
    return LoadPlan(
        load=replace(load, wanted=wanted),
        requests=requests,
        complete=[instrument.ticker for instrument in listed if instrument.ticker not in requested],
        unknown=unknown,
    )


def plan_revealed(stores: Stores, done: LoadPlan) -> LoadPlan:
    """Plan the requests for days that only the answers to ``done`` have shown to be missing.

    An answer that reaches further back than earlier ones means that the key shows more now.
    """
    if not done.complete:
        return LoadPlan(load=done.load)
    wanted = Wanted(only_missing=True, probes=False)
    names = tuple(done.complete)
    return plan_load(stores, replace(done.load, symbols=names, failed=False, wanted=wanted))


def plan_sessions(load: LoadRequest) -> LoadPlan:
    """Plan whole trading days for the universe, from ``wanted.start`` on.

    Raises:
        ArgumentError: There is no such trading day, or one is not over yet.
    """
    days = load.dataset.day_calendar(calendar())
    last_over = days.last_over(utc_now())
    start, end = load.wanted.start or last_over, load.wanted.end or last_over
    if start > end:
        message = (
            f"the days are reversed: {start} is after {end}"
            if load.wanted.end
            else f"{start} is after {end}, the last trading day that has closed"
        )
        raise errors.ArgumentError(message)
    sessions = days.between(start, end)
    if not sessions:
        message = f"there is no trading day from {start} to {end}; days are given as YYYY-MM-DD"
        raise errors.ArgumentError(message)
    if sessions[0] < load.dataset.begins or sessions[-1] > last_over:
        message = (
            f"trading days can be loaded from {load.dataset.begins} to {last_over}, the last "
            "session that has closed"
        )
        raise errors.ArgumentError(message)
    return LoadPlan(load=load, sessions=sessions)


def sessions_with_holes(stores: Stores, load: LoadRequest, sessions: Sequence[date]) -> list[date]:
    """Return the ``sessions`` that are holes of at least one present member."""
    members = [member.instrument_id for member in stores.instruments.members(UNIVERSE)]
    ledger = stores.coverage.ledger(load.dataset.name, load.provider, members)
    today = utc_now().date()
    missing = {day for member in members for day in holes(sessions, ledger[member], today=today)}
    return sorted(missing)


def sessions_by_member(
    stores: Stores, dataset: Dataset, provider: str, sessions: Sequence[date]
) -> dict[int, list[date]]:
    """Return the ``sessions`` to load by instrument id, by the same rule as ``members_on``."""
    memberships = stores.instruments.memberships(UNIVERSE)
    ids = sorted({membership.instrument_id for membership in memberships})
    by_id = {
        instrument.instrument_id: instrument
        for instrument in listed_by_id(stores, dataset, provider, ids)
    }
    loaded: dict[int, set[date]] = {}
    for membership in memberships:
        instrument = by_id.get(membership.instrument_id)
        if instrument is not None:
            loaded.setdefault(membership.instrument_id, set()).update(
                day
                for day in sessions
                if membership.counts_on(day) and instrument.has_symbol_on(day)
            )
    return {member: sorted(days) for member, days in loaded.items()}


def _waiting(stores: Stores, load: LoadRequest) -> set[int | None]:
    """Return the instruments that a letter of the dataset waits for."""
    unsettled = LetterFilter(states=tuple(UNSETTLED), dataset=load.dataset.name)
    return {
        letter.instrument_id
        for letter in stores.dead_letters.find(unsettled)
        if letter.work is Work.INSTRUMENT and letter.provider == load.provider
    }


def _plan_letters(stores: Stores, load: LoadRequest) -> LoadPlan:
    """Plan the requests of dead letters, over exactly the days that were asked for before."""
    dataset, provider = load.dataset, load.provider
    letters = [
        letter
        for letter in stores.dead_letters.by_id(load.letters)
        # A letter that was settled meanwhile waits for nothing.
        if letter.instrument_id is not None
        and letter.span is not None
        and letter.state in UNSETTLED
    ]
    ids = sorted({letter.instrument_id for letter in letters if letter.instrument_id is not None})
    listed = {
        instrument.instrument_id: instrument
        for instrument in listed_by_id(stores, dataset, provider, ids)
    }
    ledger = stores.coverage.ledger(dataset.name, provider, ids)
    requests: list[FetchRequest] = []
    for letter in letters:
        instrument = listed.get(letter.instrument_id or 0)
        if instrument is None or letter.span is None:
            continue
        part = letter.subject.partition(" ")[2]
        known = ledger[instrument.instrument_id]
        request = letter_request(dataset, instrument, known, letter.span, utc_now(), part)
        # Two bad rows of one answer are one request.
        if request not in requests and request.symbols:
            requests.append(request)
    if dataset.most_days is None:
        requests = _one_for_each(requests)
    return LoadPlan(
        load=load,
        requests=requests,
        obsolete=_letters_without_request(stores, load, requests),
    )


def _one_for_each(requests: Sequence[FetchRequest]) -> list[FetchRequest]:
    """Join the requests of each instrument: one request holds any number of days."""
    by_instrument: dict[int, FetchRequest] = {}
    for request in requests:
        earlier = by_instrument.get(request.instrument.instrument_id, request)
        by_instrument[request.instrument.instrument_id] = replace(
            earlier,
            start=min(earlier.start, request.start),
            end=max(earlier.end, request.end),
            from_inception=earlier.from_inception or request.from_inception,
            part="",
        )
    return list(by_instrument.values())


def _letters_without_request(
    stores: Stores, load: LoadRequest, requests: Sequence[FetchRequest]
) -> dict[int, str]:
    """Return, by letter id, why no request does the letter's work any more."""
    requested = {request.instrument.instrument_id for request in requests}
    return {
        letter.letter_id: f"{letter.subject} has no symbol under which {load.provider} could be "
        "asked for these days: another carries its ticker now, or it is not offered any more"
        if letter.instrument_id is not None and letter.span is not None
        else "the letter names no instrument or no days"
        for letter in stores.dead_letters.by_id(load.letters)
        if letter.state in UNSETTLED and letter.instrument_id not in requested
    }
