"""Options of `wrdata plan` and `wrdata backfill`: what to load, and the plan made of it.

Here: the options and the errors in them. Not here: what a plan is (usecases/load_plan.py), what it
would take (plan.py), or running it (loads.py).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from marketdata.calendars import calendar, utc_now
from marketdata.datasets import DATASETS, Dataset, InstrumentKind
from marketdata.planning import Wanted
from marketdata.recovery import errors
from pipelines.cli import name_lists
from resources import clients
from resources.opening import Stores
from resources.reading.request import NAMED
from resources.settings import Settings, provider_of
from usecases.instruments import every_symbol, member_tickers
from usecases.load_cost import limits_of
from usecases.load_plan import LoadPlan, LoadRequest, plan_load, plan_sessions


def known_dataset(name: str) -> str:
    """Return ``name`` if there is such a dataset.

    Raises:
        BadParameter: There is none; the text names the datasets.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        message = f"there is no dataset {name!r}{meant}; there are {', '.join(DATASETS)}"
        raise typer.BadParameter(message)
    return name


DatasetName = Annotated[
    str, typer.Argument(help="What to load.", metavar="DATASET", callback=known_dataset)
]
Symbols = Annotated[
    str,
    typer.Option(
        "--tickers",
        "--symbols",
        help="Tickers, pairs or series, separated by commas or blanks.",
    ),
]
File = Annotated[Path | None, typer.Option(help="File with one symbol a line.", dir_okay=False)]
Every = Annotated[
    bool, typer.Option("--all", help="Every member of the universe, every pair or series.")
]
Failed = Annotated[
    bool, typer.Option("--failed", help="Symbols with failed days, or with a letter that waits.")
]
Start = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        formats=["%Y-%m-%d"],
        help="First day, for datasets that have days. For daily bars without symbols: whole "
        "trading days of all tickers.",
    ),
]
End = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day; default the latest."),
]
Refetch = Annotated[bool, typer.Option("--refetch", help="Ask for complete or fresh data as well.")]
Provider = Annotated[str, typer.Option(help="Provider to ask instead of the configured one.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The options of one command line.

    Raises:
        BadParameter: Not exactly one choice of symbols, or options that exclude each other.
    """

    dataset: str
    symbols: str = ""
    file: Path | None = None
    every: bool = False
    failed: bool = False
    start: datetime | None = None
    end: datetime | None = None
    refetch: bool = False
    provider: str = ""

    def __post_init__(self) -> None:
        dataset = DATASETS[self.dataset]
        choices = {
            "--tickers": self.symbols,
            "--file": self.file,
            "--all": self.every,
            "--failed": self.failed,
        }
        if (self.start or self.end) and not dataset.by_day:
            message = f"{dataset.name} have no days to choose: leave --from and --to out"
            raise typer.BadParameter(message)
        if self.end and not self.start:
            message = "--to goes with --from"
            raise typer.BadParameter(message)
        if self.provider and self.provider not in dataset.sources:
            message = f"{self.provider} does not serve {dataset.name}; there are "
            raise typer.BadParameter(message + ", ".join(dataset.sources))
        if not self.is_by_session:
            _require_one(dataset, choices)
            return
        if self.refetch or self.provider:
            message = (
                "whole trading days are always asked again, of the configured provider: "
                "--refetch and --provider need tickers, or --all"
            )
            raise typer.BadParameter(message)

    @property
    def is_by_session(self) -> bool:
        """Whether the options ask for whole trading days of all members."""
        dataset, named = DATASETS[self.dataset], self.symbols or self.file
        return bool(
            self.start and dataset.has_sessions and not (named or self.every or self.failed)
        )

    def plan(self, stores: Stores, settings: Settings) -> LoadPlan:
        """Return the plan of the load; ask no provider, and load nothing.

        The key in use is noted: a new one may show other days than the ledger knows.

        Raises:
            ArgumentError: There is no such symbol, or the days are reversed or impossible.
            ConfigurationError: The universe is empty, or the provider's key is not set.
        """
        dataset = DATASETS[self.dataset]
        provider = self.provider or provider_of(dataset.name)
        start = self.start.date() if self.start else None
        end = self.end.date() if self.end else None
        wanted = Wanted(only_missing=not self.refetch, start=start, end=end)
        load = LoadRequest(dataset=dataset, provider=provider, failed=self.failed, wanted=wanted)
        limits_of(settings, provider)
        clients.note_key_plan(settings, stores, provider)
        if self.is_by_session:
            member_tickers(stores)  # An empty universe is a mistake, not a small load.
            return plan_sessions(load)
        if start is not None:
            _refuse_odd_days(dataset, start, end)
        if self.symbols or self.file:
            # Symbols without days: the latest sessions are asked again.
            wanted = replace(wanted, again=start is None)
            load = replace(load, symbols=tuple(_named(self.symbols, self.file)), wanted=wanted)
        plan = plan_load(stores, load, register=False)
        if plan.unknown:
            raise errors.ArgumentError(_unknown(stores, plan))
        return plan


def _require_one(dataset: Dataset, choices: Mapping[str, object]) -> None:
    """Refuse options that name no symbols, or name them in several ways.

    Raises:
        BadParameter: Names the options that were given, or those to choose from.
    """
    given = [name for name, value in choices.items() if value]
    if len(given) == 1:
        return
    if given:
        message = f"{dataset.name}: {' and '.join(given)} exclude each other, give one of them"
    else:
        whole_days = ", or whole trading days with --from" if dataset.has_sessions else ""
        message = f"{dataset.name}: say which, with one of {', '.join(choices)}{whole_days}"
    raise typer.BadParameter(message)


def _named(symbols: str, file: Path | None) -> list[str]:
    """Return the names on the command line or in the file, each once, in their order."""
    names = name_lists.names_in(symbols) if file is None else name_lists.names_of_file(file)
    if not names:
        message = (
            f"{file or '--tickers'} names no ticker; one or more are needed, such as AAPL,MSFT"
        )
        raise errors.ArgumentError(message)
    return names


def _refuse_odd_days(dataset: Dataset, start: date, end: date | None) -> None:
    """Refuse impossible days, which would look as if nothing were missing.

    Raises:
        ArgumentError: The days are reversed, in the future, or before the dataset begins.
    """
    days, now = dataset.day_calendar(calendar()), utc_now()
    last = days.last_over(now) if dataset.ends_at_close else now.astimezone(dataset.zone).date()
    if end is not None and start > end:
        raise errors.ArgumentError(f"the days are reversed: {start} is after {end}")
    if start > last or (end or last) > last or start < dataset.begins:
        message = f"days of {dataset.name} can be asked for from {dataset.begins} to {last}"
        raise errors.ArgumentError(message)
    if not days.between(start, end or last):
        message = f"there is no trading day from {start} to {end or last}"
        raise errors.ArgumentError(message)


def _unknown(stores: Stores, plan: LoadPlan) -> str:
    """Return the message that names unknown symbols, with similar known ones."""
    dataset, provider = plan.load.dataset, plan.load.provider
    offered = every_symbol(stores, dataset, provider)
    described = _described(stores, list(plan.unknown), offered)
    if dataset.instrument_kind is InstrumentKind.EQUITY:
        return (
            f"not in the universe: {described}. Nothing was asked for; correct the list, "
            "or run `wrdata universe` if the ticker is new"
        )
    return (
        f"{provider} does not offer {described}; it offers {', '.join(offered)}. Nothing was asked "
        "for; correct the list"
    )


def _described(stores: Stores, unknown: Sequence[str], offered: Sequence[str]) -> str:
    descriptions: list[str] = []
    renamed = stores.instruments.renamed_to(unknown)
    for name in unknown[:NAMED]:
        if name in renamed:
            descriptions.append(f"{name} (it is called {renamed[name]} now)")
            continue
        descriptions.append(name_lists.suggested(name, offered))
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    return f"{', '.join(descriptions)}{more}"
