"""wrdata splits …: splits that prices do not bear out, and a person's word for one.

Here: the commands. Not here: how a split is checked (marketdata/split_checks.py), or what follows
from it (assets/adjusted.py).
"""

import getpass
from datetime import datetime
from typing import Annotated, Any

import typer

from marketdata.calendars import utc_now
from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from pipelines.cli import console, environment, loads, runs
from pipelines.jobs import derived_job
from resources import opening
from resources.opening import Stores
from resources.settings import provider_of, read_settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


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
    reason: Annotated[str, typer.Option(help="Why it is right; kept with it.")],
) -> int:
    """Vouch for a split as the provider tells it: prices are adjusted for it from now on."""
    around = environment.surroundings(writes=False)
    environment.enter(around, start=True, report=console.say)
    environment.require_schema(around)
    with opening.stores(read_settings()) as stores:
        name = ticker.upper()
        found, unknown = stores.instruments.resolve(
            provider_of(DATASETS["splits"].name), [name], utc_now().date()
        )
        if unknown:
            raise errors.ConfigurationError(f"no instrument carries {name}: wrdata splits list")
        stores.adjusted_bars.confirm(
            found[0].instrument_id, day.date(), by=getpass.getuser(), reason=reason
        )
    failed = loads.failures(runs.run_job(derived_job.name))
    for why in failed.values():
        console.fail(why)
    console.say(f"{name} {day.date()} is confirmed, and its prices are adjusted for it")
    return 1 if failed else 0


def _quarantined(stores: Stores) -> list[dict[str, Any]]:
    doubtful = stores.adjusted_bars.quarantined()
    names = {
        one.instrument_id: one.ticker
        for one in stores.instruments.listed(
            provider_of(DATASETS["splits"].name),
            [one.instrument_id for one in doubtful],
            utc_now().date(),
        )
    }
    return [
        {
            "ticker": names.get(one.instrument_id, f"instrument {one.instrument_id}"),
            "ex_date": one.finding.split.ex_date.isoformat(),
            "new_shares": f"{one.finding.split.new_shares:f}",
            "old_shares": f"{one.finding.split.old_shares:f}",
            "verdict": one.finding.verdict.value,
            "reason": one.finding.reason,
        }
        for one in doubtful
    ]
