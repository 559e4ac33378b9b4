"""wrdata sandbox …: looking into the FMP simulator, and making it misbehave.

Here: the commands. Not here: what simulators do (sandbox/simulators), or starting them
(world.py).
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from pipelines.cli import comparison, console, environment
from resources import opening
from resources.settings import read_settings
from sandbox.control import SimulatorControl
from sandbox.simulators.faults import FaultKind

app = typer.Typer(help="The FMP simulator of the local world.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command()
def requests(
    minutes: Annotated[float, typer.Option(help="How far to look back.", min=0)] = 60,
    *,
    json: Json = False,
) -> None:
    """Show what arrived at the simulator, and when (its own log, without keys)."""
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


@app.command()
def fail(
    kind: Annotated[FaultKind, typer.Argument(help="What goes wrong.")],
    symbol: Annotated[str | None, typer.Option(help="Only for this symbol.")] = None,
    path: Annotated[str, typer.Option(help="Only below this path.")] = "/",
    status: Annotated[int | None, typer.Option(help="For status and html.")] = None,
    count: Annotated[int | None, typer.Option(help="How often; else until heal.", min=1)] = None,
    probability: Annotated[float, typer.Option(min=0, max=1)] = 1.0,
    seconds: Annotated[float | None, typer.Option(help="Delay or Retry-After.", min=0)] = None,
) -> None:
    """Spoil requests from now on, until `wrdata sandbox heal`."""
    with opened() as control:
        control.add_fault(
            kind,
            path=path,
            symbol=symbol,
            status=status,
            count=count,
            probability=probability,
            seconds=seconds,
        )
    console.say(f"{kind.value} from now on; `wrdata sandbox heal` ends it")


@app.command()
def heal() -> None:
    """Let the simulator behave again."""
    with opened() as control:
        control.clear_faults()
    console.say("the simulator behaves again")


@app.command()
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


@app.command()
def verify(*, json: Json = False) -> int:
    """Compare the database with the simulator's truth, row by row."""
    with opened() as control, opening.stores(read_settings()) as stores:
        found = comparison.compare(stores, control)
    if json:
        console.print_json(asdict(found))
    elif found.perfect:
        console.say(f"all {found.equal:,} stored bars equal what the simulator serves")
    else:
        console.fail(
            f"{found.different} bars differ, {found.foreign} are not served, {found.absent} are "
            f"served but absent, such as {', '.join(found.sample)}; {found.equal:,} are equal"
        )
    return 0 if found.perfect else 1


@contextmanager
def opened() -> Generator[SimulatorControl]:
    """Open the controls of the running simulator.

    Raises:
        ConfigurationError: FMP is not simulated here, or the local world does not run.
    """
    around = environment.surroundings()
    if not around.simulated:
        message = "FMP_API_KEY is set, so FMP is not simulated: unset it to use the local world"
        raise errors.ConfigurationError(message)
    environment.enter(around, start=False)
    with SimulatorControl(around.world.fmp_origin()) as control:
        yield control


def busiest_minute(arrivals: list[str]) -> int:
    """Return the most requests in any window of 60 seconds, both its edges included."""
    moments = sorted(datetime.fromisoformat(one) for one in arrivals)
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > timedelta(seconds=60):
            first += 1
        most = max(most, last - first + 1)
    return most
