"""wrdata dividends …: dividends that do not count as they stand, and how a person confirms one.

Here: the commands. Not here: how a dividend is judged (marketdata/distributions.py), or the
factors made from it (assets/adjusted.py).
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from machine.person import user_at_host
from marketdata.distributions import PRICE_CURRENCY
from marketdata.recovery import errors
from pipelines.cli import console, environment
from pipelines.cli.splits import amount, derive, instrument_of, tickers_of
from resources import opening
from resources.opening import Stores
from resources.settings import read_settings
from resources.storage.adjusted_bars import NotedDividend

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Day = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Its ex-date.")]
Reason = Annotated[str, typer.Option(help="Why it is right; stored with it.")]


Amount = Annotated[
    Decimal,
    typer.Option(parser=amount, help=f"What a share pays, in {PRICE_CURRENCY}; 0: nothing."),
]


def listed(*, json: Json = False) -> None:
    """Show the dividends that adjust nothing, and converted ones with their rate."""
    environment.enter(environment.surroundings(), start=False)
    with opening.stores(read_settings()) as stores:
        rows = _rows(stores)
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("dividends that do not count as they stand", rows)
    else:
        console.say("every dividend counts as it stands")


def confirm(
    ticker: str,
    day: Day,
    counts: Amount,
    reason: Reason,
    ordinal: Annotated[
        int, typer.Option(help="Its number on the day, as listed; needed where there are several.")
    ] = 0,
) -> int:
    """Set what a dividend pays in the currency of prices, as long as its terms stay the same."""
    surroundings = environment.surroundings()
    environment.enter(surroundings, start=True, report=console.say)
    environment.require_schema(surroundings)
    with opening.stores(read_settings()) as stores:
        listed = instrument_of(stores, ticker)
        noted = _dividend(stores, listed.instrument_id, day.date(), ordinal, listed.ticker)
        stores.adjusted_bars.confirm_dividend(
            listed.instrument_id,
            noted.finding.dividend,
            counts,
            by=user_at_host(),
            reason=reason,
        )
    return derive(f"the dividend of {listed.ticker} {day.date()} is {counts:f} {PRICE_CURRENCY}")


def _dividend(
    stores: Stores, instrument_id: int, day: date, ordinal: int, ticker: str
) -> NotedDividend:
    """Return the dividend of a day, by its ordinal where there are several.

    Raises:
        ArgumentError: There is none, or several.
    """
    of_day = [
        dividend
        for dividend in stores.adjusted_bars.dividends()
        if dividend.instrument_id == instrument_id and dividend.finding.dividend.ex_date == day
    ]
    chosen = [dividend for dividend in of_day if ordinal in {0, dividend.finding.dividend.ordinal}]
    if len(chosen) == 1:
        return chosen[0]
    problem = f"{len(chosen)} dividends of {ticker} on {day} do not count as they stand"
    cure = "name one with --ordinal" if chosen else "wrdata dividends list shows those that exist"
    raise errors.ArgumentError(f"{problem}: {cure}")


def _rows(stores: Stores) -> list[dict[str, Any]]:
    noted = stores.adjusted_bars.dividends()
    names = tickers_of(stores, [dividend.instrument_id for dividend in noted])
    return [_row(names, dividend) for dividend in noted]


def _row(names: dict[int, str], noted: NotedDividend) -> dict[str, Any]:
    finding, dividend = noted.finding, noted.finding.dividend
    rate = finding.rate
    return {
        "ticker": names.get(noted.instrument_id, f"instrument {noted.instrument_id}"),
        "ex_date": dividend.ex_date.isoformat(),
        "kind": dividend.kind,
        "ordinal": dividend.ordinal,
        "amount": f"{dividend.amount:f}",
        "currency": dividend.currency or "",
        "verdict": finding.verdict.value,
        "counts": "" if finding.counted is None else f"{finding.counted:.6f}",
        "series": finding.series or "",
        "observed_on": "" if rate is None else rate.observed_on.isoformat(),
        "rate": "" if rate is None else f"{rate.value:f}",
        "reason": finding.reason,
    }
