"""What a load would ask for: the wish behind a plan, a backfill and the demo.

Here: the words in which `wrdata plan` and `wrdata backfill` are told what to load, and the way
from tickers or days to requests, bars and rows. Not here: what these take (plan.py), or running
anything (loads.py).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from assets.dataset_work import every_subject, wished_work
from assets.universe import UNIVERSE, member_tickers
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import HISTORY_START, calendar, utc_now
from marketdata.coverage import SESSIONS_ASKED_AGAIN, CoverageState, holes
from marketdata.dataset_planning import days_between
from marketdata.datasets import DATASETS, Dataset, Subjects, past_symbols
from marketdata.forecast import Load, count_bars
from marketdata.planning import plan_histories
from marketdata.recovery import errors
from marketdata.recovery.dead_letters import UNSETTLED, Work
from marketdata.recovery.limits import RequestLimits
from pipelines.cli import name_lists
from resources import clients
from resources.opening import Stores
from resources.settings import DailyBarsRoute, Settings, provider_of
from resources.storage.dead_letters import LetterFilter

NAMED = 5
"""How many unknown tickers a message names."""


def known_dataset(name: str) -> str:
    """Return ``name`` if there is such a dataset.

    Raises:
        BadParameter: There is none; the text names those there are.
    """
    known = [DAILY_BARS_DATASET, *DATASETS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        message = f"there is no dataset {name!r}{meant}; there are {', '.join(known)}"
        raise typer.BadParameter(message)
    return name


DatasetName = Annotated[
    str, typer.Argument(help="What to load.", metavar="DATASET", callback=known_dataset)
]
Tickers = Annotated[
    str,
    typer.Option(
        "--tickers",
        "--subjects",
        help="Tickers, pairs or series separated by commas; gaps in the list cost nothing.",
    ),
]
File = Annotated[Path | None, typer.Option(help="A file with one of them a line.", dir_okay=False)]
Every = Annotated[
    bool, typer.Option("--all", help="Every member of the universe, every pair or series.")
]
Failed = Annotated[bool, typer.Option("--failed", help="Daily bars: tickers with failed sessions.")]
Start = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="The first day, where days are asked for."),
]
End = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="The last day; default the latest."),
]
Refetch = Annotated[
    bool, typer.Option("--refetch", help="Ask for what is complete or fresh as well.")
]
Provider = Annotated[str, typer.Option(help="Instead of the configured one; not for daily bars.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TickerWish:
    """Histories of tickers, and the load that they are.

    Attributes:
        tickers: Those that need a request.
        wished: All that were wished for: an answer may show that more of them lack something.
        again: So many of the latest sessions are asked for although they are settled.
    """

    tickers: tuple[str, ...]
    wished: tuple[str, ...]
    again: int
    load: Load
    charges: tuple[RequestLimits, ...]
    provider: str

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return self.load.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class DayWish:
    """Whole trading days, and the load that they are."""

    sessions: tuple[date, ...]
    load: Load
    charges: tuple[RequestLimits, ...]
    provider: str

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return self.load.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectWish:
    """Subjects of a dataset of the catalogue, and the load that they are.

    Attributes:
        again: The latest days are asked for although they are settled.
        loads: How many parts it is done in; more than subjects where many days are asked for.
    """

    dataset: Dataset
    provider: str
    subjects: tuple[str, ...]
    start: date | None
    end: date | None
    again: bool
    loads: int
    load: Load
    charges: tuple[RequestLimits, ...]

    @property
    def requests(self) -> int:
        """How many requests it takes, about."""
        return self.load.requests


Wish = TickerWish | DayWish | SubjectWish


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What was said on the command line.

    Raises:
        BadParameter: Not exactly one of the doors is named, or words that exclude each other.
    """

    dataset: str
    tickers: str
    file: Path | None
    every: bool
    failed: bool
    start: datetime | None
    end: datetime | None
    refetch: bool
    provider: str = ""

    def __post_init__(self) -> None:
        if self.dataset != DAILY_BARS_DATASET:
            self._check_words_of(DATASETS[self.dataset])
            return
        if self.provider:
            message = (
                "daily bars come from one provider: set WRDATA_DAILY_BARS_PROVIDER to change it"
            )
            raise typer.BadParameter(message)
        doors = {
            "--tickers": self.tickers,
            "--file": self.file,
            "--all": self.every,
            "--failed": self.failed,
        }
        _require_one(self.dataset, doors | {"--from": self.start})
        if (self.end and not self.start) or (self.refetch and self.start):
            message = (
                "--to goes with --from, and --refetch with tickers: days are always asked again"
            )
            raise typer.BadParameter(message)

    def _check_words_of(self, dataset: Dataset) -> None:
        doors = {"--tickers": self.tickers, "--file": self.file, "--all": self.every}
        _require_one(dataset.name, doors)
        if self.failed:
            message = f"--failed is for daily bars: `wrdata dlq retry --dataset {dataset.name}`"
            raise typer.BadParameter(message)
        if (self.start or self.end) and not dataset.by_day:
            message = f"{dataset.name} have no days to choose: leave --from and --to out"
            raise typer.BadParameter(message)
        if self.end and not self.start:
            message = "--to goes with --from"
            raise typer.BadParameter(message)
        if self.provider and self.provider not in dataset.sources:
            message = f"{self.provider} does not serve {dataset.name}; there are "
            raise typer.BadParameter(message + ", ".join(dataset.sources))

    def wish(self, stores: Stores, settings: Settings) -> Wish:
        """Return what is wished for; see the functions below for the errors."""
        if self.dataset != DAILY_BARS_DATASET:
            dataset = DATASETS[self.dataset]
            # Who names them, and no days, wants them as they are now.
            again = not (self.every or self.start)
            return subjects_wish(
                stores,
                settings,
                dataset,
                self.provider or provider_of(dataset.name),
                None if self.every else _named(self.tickers, self.file),
                start=self.start.date() if self.start else None,
                end=self.end.date() if self.end else None,
                refetch=self.refetch,
                again=again,
            )
        if self.start:
            end = self.end.date() if self.end else None
            return days_wish(stores, settings, self.start.date(), end)
        named = _named(self.tickers, self.file) if self.tickers or self.file else None
        return tickers_wish(
            stores,
            settings,
            named,
            failed=self.failed,
            refetch=self.refetch,
            again=SESSIONS_ASKED_AGAIN if named else 0,
        )


def _require_one(dataset: str, doors: Mapping[str, object]) -> None:
    """Refuse a wish that names none of the doors, or several.

    Raises:
        BadParameter: Says which were given, and what each of them is for.
    """
    given = [name for name, value in doors.items() if value]
    if len(given) == 1:
        return
    if not given:
        message = f"{dataset}: say which, with one of {', '.join(doors)}"
    else:
        message = f"{dataset}: {' and '.join(given)} exclude each other, give one of them"
        if "--from" in given:
            message += (
                "; histories of tickers are asked for whole, and --from is for trading days of "
                "all tickers"
            )
    raise typer.BadParameter(message)


def _named(tickers: str, file: Path | None) -> list[str]:
    """Return the tickers of the command line or of the file, each once, in their order."""
    names = name_lists.names_in(tickers) if file is None else name_lists.names_of_file(file)
    if not names:
        message = (
            f"{file or '--tickers'} names no ticker; one or more are needed, such as AAPL,MSFT"
        )
        raise errors.ConfigurationError(message)
    return names


def charges(settings: Settings, *, bulk: bool) -> tuple[RequestLimits, ...]:
    """Return the limits that a request for daily bars is charged to."""
    lines = clients.lines(settings, provider_of(DAILY_BARS_DATASET))
    return lines[-1 if bulk else 0].limits


def interval_s(charged: Sequence[RequestLimits]) -> float:
    """Return the seconds between two requests that are charged to all of ``charged``."""
    return max(limits.interval_s for limits in charged)


def tickers_wish(
    stores: Stores,
    settings: Settings,
    named: Sequence[str] | None,
    *,
    failed: bool = False,
    refetch: bool = False,
    again: int = 0,
) -> TickerWish:
    """Plan the histories of ``named`` tickers, or of every member of the universe.

    Args:
        stores: The database.
        settings: For the key's limits.
        named: Our tickers; None means all present members.
        failed: Only those with failed sessions in the ledger, or with a letter that waits.
        refetch: Ask for what is complete as well.
        again: So many of the latest sessions are asked for although they are settled.

    Raises:
        ConfigurationError: The universe is empty, or a ticker is not in it.
    """
    members = member_tickers(stores)
    wanted = list(named) if named is not None else members
    provider = provider_of(DAILY_BARS_DATASET)
    clients.note_plan(settings, stores, provider)
    past = past_symbols(DAILY_BARS_DATASET, provider)
    listed, unknown = stores.instruments.resolve(provider, wanted, utc_now().date(), past)
    if unknown:
        raise errors.ConfigurationError(_unknown(stores, unknown, members))
    ids = [one.instrument_id for one in listed]
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider, ids)
    if failed:
        unsettled = LetterFilter(states=tuple(UNSETTLED), dataset=DAILY_BARS_DATASET)
        waiting = {
            letter.instrument_id
            for letter in stores.dead_letters.find(unsettled)
            if letter.work is Work.INSTRUMENT
        }
        listed = [
            one
            for one in listed
            if one.instrument_id in waiting or ledger[one.instrument_id].get(CoverageState.FAILED)
        ]
        # Settled sessions that failed when they were asked for again are no holes.
        again = SESSIONS_ASKED_AGAIN
    planned = plan_histories(
        calendar(), listed, ledger, now=utc_now(), only_holes=not refetch, again=again
    )
    counted = [
        count_bars(calendar().sessions(one.start, one.end), ledger[one.instrument.instrument_id])
        for one in planned
    ]
    charged = charges(settings, bulk=False)
    return TickerWish(
        tickers=tuple(one.instrument.ticker for one in planned),
        wished=tuple(one.ticker for one in listed),
        again=again,
        load=Load(
            requests=sum(len(request.symbols) for request in planned),
            interval_s=interval_s(charged),
            bars=sum(bars for bars, _ in counted),
            rows=sum(rows for _, rows in counted),
        ),
        charges=charged,
        provider=provider,
    )


def subjects_wish(
    stores: Stores,
    settings: Settings,
    dataset: Dataset,
    provider: str,
    named: Sequence[str] | None,
    *,
    start: date | None = None,
    end: date | None = None,
    refetch: bool = False,
    again: bool = False,
) -> SubjectWish:
    """Plan a dataset of the catalogue for ``named`` subjects, or for all there are.

    Raises:
        ConfigurationError: There is no such subject, the days are reversed, or the provider's key
            is not set.
    """
    if start is not None:
        _refuse_odd_days(dataset, start, end)
    charged = clients.lines(settings, provider)[0].limits
    clients.note_plan(settings, stores, provider)
    names = list(named) if named is not None else every_subject(stores, dataset, provider)
    work = wished_work(
        stores,
        dataset,
        provider,
        names,
        only_missing=not refetch,
        start=start,
        end=end,
        # A plan changes nothing.
        register=False,
        again=again,
    )
    if work.unknown:
        known = every_subject(stores, dataset, provider)
        if dataset.subjects is Subjects.TICKERS:
            raise errors.ConfigurationError(_unknown(stores, list(work.unknown), known))
        reason = next(iter(work.unknown.values()))
        raise errors.ConfigurationError(f"{reason}. Nothing was asked for; correct the list")
    days = [
        len(days_between(dataset, calendar(), span.start, span.end)) if dataset.by_day else 1
        for request in work.requests
        for span in request.symbols
    ]
    return SubjectWish(
        dataset=dataset,
        provider=provider,
        subjects=tuple(dict.fromkeys(one.instrument.ticker for one in work.requests)),
        start=start,
        end=end,
        again=again,
        loads=len(work.requests),
        load=Load(
            requests=sum(dataset.requests(provider, count) for count in days),
            interval_s=interval_s(charged),
            bars=sum(days) * dataset.rows,
            rows=sum(days) * dataset.rows,
        ),
        charges=charged,
    )


def _refuse_odd_days(dataset: Dataset, start: date, end: date | None) -> None:
    """Refuse days that never were: nothing missing of them is not the same as nothing there.

    Raises:
        ConfigurationError: They are reversed, not yet there, or older than what is kept.
    """
    today = utc_now().astimezone(dataset.zone).date()
    if end is not None and start > end:
        raise errors.ConfigurationError(f"the days are reversed: {start} is after {end}")
    if start > today or (end or today) > today or start < dataset.begins:
        message = f"days of {dataset.name} can be asked for from {dataset.begins} to {today}"
        raise errors.ConfigurationError(message)
    if not days_between(dataset, calendar(), start, end or today):
        message = f"there is no trading day from {start} to {end or today}"
        raise errors.ConfigurationError(message)


def days_with_holes(stores: Stores, sessions: Sequence[date]) -> list[date]:
    """Return those of ``sessions`` that some present member lacks."""
    members = [member.instrument_id for member in stores.instruments.members(UNIVERSE)]
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider_of(DAILY_BARS_DATASET), members)
    today = utc_now().date()
    wanted = {day for one in members for day in holes(sessions, ledger[one], today=today)}
    return sorted(wanted)


def days_wish(stores: Stores, settings: Settings, start: date, end: date | None) -> DayWish:
    """Plan the trading days from ``start`` to ``end``, or to the last session that has closed.

    Raises:
        ConfigurationError: There is no such trading day, or one has not closed yet.
    """
    member_tickers(stores)  # An empty universe is a mistake, not a small load.
    last = end or calendar().last_closed(utc_now())
    if start > last:
        message = (
            f"the days are reversed: {start} is after {last}"
            if end
            else f"{start} is after {last}, the last trading day that has closed"
        )
        raise errors.ConfigurationError(message)
    sessions = calendar().sessions(start, last)
    if not sessions:
        message = f"there is no trading day from {start} to {last}; days are given as YYYY-MM-DD"
        raise errors.ConfigurationError(message)
    if sessions[0] < HISTORY_START or sessions[-1] > calendar().last_closed(utc_now()):
        message = (
            f"trading days can be loaded from {HISTORY_START} to "
            f"{calendar().last_closed(utc_now())}, the last session that has closed"
        )
        raise errors.ConfigurationError(message)
    bulk = settings.daily_bars_route is DailyBarsRoute.BULK
    charged = charges(settings, bulk=bulk)
    provider = provider_of(DAILY_BARS_DATASET)
    by_member = _sessions_by_member(stores, provider, sessions)
    ledger = stores.coverage.ledger(DAILY_BARS_DATASET, provider, list(by_member))
    counted = [count_bars(days, ledger[member]) for member, days in by_member.items()]
    return DayWish(
        sessions=tuple(sessions),
        load=Load(
            requests=len(sessions) if bulk else sum(map(len, by_member.values())),
            interval_s=interval_s(charged),
            bars=sum(bars for bars, _ in counted),
            rows=sum(rows for _, rows in counted),
            market_days=len(sessions) if bulk else 0,
        ),
        charges=charged,
        provider=provider,
    )


def _sessions_by_member(
    stores: Stores, provider: str, sessions: Sequence[date]
) -> dict[int, list[date]]:
    """Return which of ``sessions`` are loaded for whom, as ``listed_for`` says of each."""
    memberships = stores.instruments.memberships(UNIVERSE)
    listed = stores.instruments.listed(
        provider,
        sorted({one.instrument_id for one in memberships}),
        utc_now().date(),
        past_symbols(DAILY_BARS_DATASET, provider),
    )
    by_id = {one.instrument_id: one for one in listed}
    loaded: dict[int, set[date]] = {}
    for one in memberships:
        instrument = by_id.get(one.instrument_id)
        if instrument is not None:
            loaded.setdefault(one.instrument_id, set()).update(
                day for day in sessions if one.counts_on(day) and instrument.has_symbol_on(day)
            )
    return {member: sorted(days) for member, days in loaded.items()}


def _unknown(stores: Stores, unknown: Sequence[str], members: Sequence[str]) -> str:
    """Say which tickers are unknown, with what was perhaps meant."""
    told: list[str] = []
    renamed = stores.instruments.renamed_to(unknown)
    for ticker in unknown[:NAMED]:
        if ticker in renamed:
            told.append(f"{ticker} (it is called {renamed[ticker]} now)")
            continue
        near, name = name_lists.near(ticker, members), name_lists.shown(ticker)
        told.append(f"{name} (did you mean {', '.join(near)}?)" if near else name)
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return (
        f"not in the universe: {', '.join(told)}{more}. Nothing was asked for; correct the list, "
        "or run `wrdata universe` if the ticker is new"
    )
