"""wrdata sandbox …: commands that inspect the simulated providers and inject faults.

Here: the commands. Not here: what simulators do (sandbox/simulators), or starting them
(pipelines/cli/world.py).
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer

from demo import comparison
from marketdata.batches import DAILY_BARS_DATASET
from marketdata.calendars import NEW_YORK_ZONE, utc_now
from marketdata.recovery import errors
from pipelines.cli import console, environment
from resources import opening
from resources.settings import read_settings
from sandbox.control import SimulatorControl
from sandbox.simulators.faults import FaultKind

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def requests(
    minutes: Annotated[float, typer.Option(help="How far to look back.", min=0)] = 60,
    *,
    json: Json = False,
) -> None:
    """Show what arrived at the simulators, and when (their own log, without keys)."""
    with opened() as control:
        entries = control.requests(utc_now() - timedelta(minutes=minutes))
    if json:
        console.print_json([asdict(entry) for entry in entries])
        return
    counts = Counter((entry.path, entry.status, entry.fault or "") for entry in entries)
    console.print_table(
        f"requests of the last {minutes:g} minutes; most in any 60 seconds: "
        f"{busiest_minute([entry.at for entry in entries])}",
        [
            {"path": path, "status": status, "fault": fault, "requests": count}
            for (path, status, fault), count in sorted(counts.items())
        ],
    )


def fail(
    kind: Annotated[FaultKind, typer.Argument(help="What goes wrong.")],
    symbol: Annotated[
        str | None, typer.Option(help="Only for this symbol, as the provider spells it.")
    ] = None,
    path: Annotated[
        str, typer.Option(help="Only below this path, such as /stable or /polygon.")
    ] = "/",
    status: Annotated[
        int | None, typer.Option(help="For status and html.", min=200, max=599)
    ] = None,
    count: Annotated[int | None, typer.Option(help="How often; else until heal.", min=1)] = None,
    probability: Annotated[float, typer.Option(min=0, max=1)] = 1.0,
    seconds: Annotated[float | None, typer.Option(help="Delay or Retry-After.", min=0)] = None,
    quirk: Annotated[str | None, typer.Option(help="Which of the provider's quirks.")] = None,
) -> None:
    """Corrupt answers from now on, until `wrdata sandbox heal`."""
    if (kind is FaultKind.QUIRK) != (quirk is not None):
        message = "quirk and --quirk NAME belong together"
        raise typer.BadParameter(message)
    with opened() as control:
        control.add_fault(
            kind,
            path=path,
            symbol=symbol,
            status=status,
            count=count,
            probability=probability,
            seconds=seconds,
            quirk=quirk,
        )
    console.say(f"{kind.value} from now on; `wrdata sandbox heal` ends it")


def heal() -> None:
    """Let the simulators behave again."""
    with opened() as control:
        control.clear_faults()
    console.say("the simulators behave again")


def correct(
    ticker: str,
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"])],
    factor: Annotated[float, typer.Option(help="New prices divided by old ones.", min=0.01)] = 1.01,
) -> None:
    """Restate one bar at the provider, as late corrections do."""
    with opened() as control:
        control.correct(ticker.upper(), day.date(), factor)
    console.say(
        f"{ticker.upper()} {day.date()} is restated; `wrdata backfill daily_bars --tickers "
        f"{ticker.upper()} --refetch` fetches it"
    )


def split(
    ticker: str,
    ratio: Annotated[str, typer.Argument(help="New shares for old ones, such as 4:1.")],
    on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Ex-date; today if not given.")
    ] = None,
) -> None:
    """Split a share: FMP's whole history of it is on the new basis from the ex-date on."""
    new_shares, old_shares = _ratio(ratio)
    day = utc_now().astimezone(NEW_YORK_ZONE).date() if on is None else on.date()
    with opened() as control:
        control.split(ticker.upper(), day, new_shares=new_shares, old_shares=old_shares)
    console.say(f"{ticker.upper()} is split {new_shares}:{old_shares} on {day}")


def restate(
    ticker: str,
    fiscal_year: int,
    period: Annotated[str, typer.Argument(help="FY, Q1, Q2, Q3 or Q4.")],
    factor: Annotated[float, typer.Option(help="New amounts divided by old ones.", min=0.01)] = 1.1,
) -> None:
    """Restate a company's statements of one period, as a later filing does."""
    with opened() as control:
        control.restate(ticker.upper(), fiscal_year, period.upper(), factor)
    console.say(f"{ticker.upper()} {fiscal_year} {period.upper()} is restated from now on")


def revise(series: str) -> None:
    """Publish a revised vintage of a macroeconomic series, such as GDP, today."""
    with opened() as control:
        control.revise(series.upper())
    console.say(f"{series.upper()} has a revised vintage of today")


def verify(
    dataset: Annotated[
        str, typer.Option(help="Which one, such as minute_bars.")
    ] = DAILY_BARS_DATASET,
    provider: Annotated[
        str | None, typer.Option(help="Whose rows, where several stand side by side.")
    ] = None,
    *,
    json: Json = False,
) -> int:
    """Compare a dataset in the database with the simulators' truth, row by row."""
    with opened() as control, opening.stores(read_settings()) as stores:
        compared = comparison.verify(stores, control, dataset, provider)
    if json:
        console.print_json(asdict(compared))
    elif compared.perfect and not compared.equal:
        console.say(f"nothing of {dataset} is stored, so there is nothing to compare")
    elif compared.perfect:
        console.say(f"all {compared.equal:,} stored rows of {dataset} equal what is simulated")
    else:
        console.fail(
            f"{compared.different} rows of {dataset} differ, {compared.foreign} are not served, "
            f"{compared.absent} are served but absent, such as {', '.join(compared.sample)}; "
            f"{compared.equal:,} are equal"
        )
    return 0 if compared.perfect else 1


@contextmanager
def opened() -> Generator[SimulatorControl]:
    """Open the controls of the running simulators.

    Raises:
        ConfigurationError: No provider is simulated here, or the simulators do not run.
    """
    around = environment.surroundings()
    if not around.simulated:
        message = "FMP_API_KEY is set, so no provider is simulated: unset it to use the local world"
        raise errors.ConfigurationError(message)
    if not any(service.running for service in around.world.status() if service.name == "providers"):
        message = "no simulator runs here: start the local world with `wrdata up`, then repeat it"
        raise errors.ConfigurationError(message)
    environment.enter(around, start=False)
    with SimulatorControl(around.world.simulators_origin()) as control:
        yield control


def busiest_minute(arrivals: list[str]) -> int:
    """Return the most requests in any window of 60 seconds, both its edges included."""
    moments = sorted(datetime.fromisoformat(arrival) for arrival in arrivals)
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > timedelta(seconds=60):
            first += 1
        most = max(most, last - first + 1)
    return most


def _ratio(text: str) -> tuple[int, int]:
    """Read ``4:1`` as new and old shares.

    Raises:
        BadParameter: The text is no ratio of whole numbers.
    """
    new, separator, old = text.partition(":")
    if not separator or not (new.isdecimal() and old.isdecimal() and int(new) and int(old)):
        message = f"{text!r} is no ratio such as 4:1 (new shares for old ones)"
        raise typer.BadParameter(message)
    return int(new), int(old)
