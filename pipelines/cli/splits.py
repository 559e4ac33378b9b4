"""wrdata splits …: splits that prices do not bear out, confirming one, and spin-offs.

Here: the commands. Not here: how a split is checked (marketdata/split_checks.py), or the factors
made from it (assets/adjusted.py).
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from machine.person import user_at_host
from marketdata.calendars import utc_now
from marketdata.datasets import DATASETS
from marketdata.distributions import PRICE_CURRENCY
from marketdata.instruments import ListedInstrument
from marketdata.recovery import errors
from pipelines.cli import console, environment, loads, runs
from pipelines.jobs import derived_job
from resources import opening
from resources.opening import Stores
from resources.settings import provider_of, read_settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def amount(text: str) -> Decimal:
    """Parse an amount of money.

    Raises:
        BadParameter: The text is no number, or below zero.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number < 0:
        raise typer.BadParameter(f"{text!r} is no amount: give a number such as 0.6512")
    return number


def listed(*, json: Json = False) -> None:
    """Show the splits that prices do not bear out, and why."""
    environment.enter(environment.surroundings(writes=False), start=False)
    with opening.stores(read_settings()) as stores:
        rows = _quarantined(stores)
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("splits that adjust nothing", rows)
    else:
        console.say("every split is borne out by prices, or cannot be refuted")


def confirm(
    ticker: str,
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Its ex-date.")],
    reason: Annotated[str, typer.Option(help="Why it is right; stored with it.")],
) -> int:
    """Confirm a split as the provider states it: prices are adjusted for it from now on."""
    surroundings = environment.surroundings(writes=False)
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    with opening.stores(read_settings()) as stores:
        listed = instrument_of(stores, ticker)
        stores.adjusted_bars.confirm(
            listed.instrument_id, day.date(), by=user_at_host(), reason=reason
        )
    return derive(f"{listed.ticker} {day.date()} is confirmed, and its prices are adjusted for it")


def spin_off(
    ticker: str,
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Its ex-date.")],
    of: Annotated[str, typer.Option(help="What was spun off: its ticker or name.")],
    value: Annotated[
        Decimal,
        typer.Option(
            parser=amount,
            help=f"Its worth for one share of that day, in {PRICE_CURRENCY}; 0 removes the "
            "spin-off.",
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why it is right; stored with it.")],
) -> int:
    """Record a spin-off: it adjusts prices like a dividend, also on the day of a split."""
    if not of.strip():
        raise typer.BadParameter("--of is empty: name what was spun off")
    surroundings = environment.surroundings()
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    with opening.stores(read_settings()) as stores:
        listed = instrument_of(stores, ticker)
        stores.adjusted_bars.record_spin_off(
            listed.instrument_id,
            day.date(),
            of.strip(),
            value,
            by=user_at_host(),
            reason=reason,
        )
    return derive(f"{listed.ticker} {day.date()}: {of} is worth {value:f} {PRICE_CURRENCY} a share")


def instrument_of(stores: Stores, ticker: str) -> ListedInstrument:
    """Return the instrument that carries a ticker today.

    Raises:
        ArgumentError: There is none.
    """
    name = ticker.upper()
    provider = provider_of(DATASETS["splits"].name)
    instruments, unknown = stores.instruments.resolve(provider, [name], utc_now().date())
    if unknown:
        raise errors.ArgumentError(f"no instrument carries {name}: is it spelt as in BRK.B?")
    return instruments[0]


def tickers_of(stores: Stores, instrument_ids: Sequence[int]) -> dict[int, str]:
    """Return today's tickers of instruments, by id."""
    provider = provider_of(DATASETS["splits"].name)
    listed = stores.instruments.listed(provider, list(instrument_ids), utc_now().date())
    return {instrument.instrument_id: instrument.ticker for instrument in listed}


def derive(done: str) -> int:
    """Derive factors again after a person's decision; return the exit status."""
    failed = loads.failures(runs.run_job(derived_job.name))
    for why in failed.values():
        console.fail(why)
    console.say(done)
    return 1 if failed else 0


def _quarantined(stores: Stores) -> list[dict[str, Any]]:
    doubtful = stores.adjusted_bars.quarantined()
    names = tickers_of(stores, [split.instrument_id for split in doubtful])
    return [
        {
            "ticker": names.get(split.instrument_id, f"instrument {split.instrument_id}"),
            "ex_date": split.finding.split.ex_date.isoformat(),
            "new_shares": f"{split.finding.split.new_shares:f}",
            "old_shares": f"{split.finding.split.old_shares:f}",
            "verdict": split.finding.verdict.value,
            "reason": split.finding.reason,
        }
        for split in doubtful
    ]
