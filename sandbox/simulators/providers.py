"""All providers' simulators in one process, over one world.

Here: which simulators there are, the plans of their keys, and the process that serves them. Not
here: what any of them answers, the controls (controls.py, world_controls.py), or the service of the
local world (sandbox/simulated_providers.py).

By hand: ``python -m sandbox.simulators.providers --port 8400 --root .wrdata/providers``; the
folder holds ``keys.json``, with a key by the names of provider and plan, such as ``fmp/free``.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from machine import private_files
from marketdata.calendars import utc_now
from sandbox.simulators import fmp, polygon, serving, tiingo, world_controls
from sandbox.simulators.binance import BinanceFilesSimulator, BinanceSimulator
from sandbox.simulators.coinbase import CoinbaseSimulator
from sandbox.simulators.fmp import FmpLimits, FmpSimulator
from sandbox.simulators.fred import FredLimits, FredSimulator
from sandbox.simulators.front import Front, Provider
from sandbox.simulators.journal import Journal
from sandbox.simulators.polygon import PolygonSimulator
from sandbox.simulators.tiingo import TiingoSimulator
from sandbox.simulators.worlds.all_worlds import Worlds


def create_application(
    root: Path,
    *,
    keys: Mapping[str, str],
    fmp_limits: FmpLimits | None = None,
    fred_limits: FredLimits | None = None,
    now: Callable[[], datetime] = utc_now,
    seed: int = 0,
) -> Starlette:
    """Return the ASGI application of all simulators, whose world and journal lie in ``root``.

    Args:
        root: Also holds changes of the world.
        keys: Each key by provider and plan, as in ``keys.json``.
        fmp_limits: FMP's limits.
        fred_limits: FRED's limits.
        now: Clock that returns aware UTC times.
        seed: Decides which requests meet a fault with a probability.
    """
    worlds = Worlds(root)
    providers = simulators(
        worlds,
        keys=keys,
        fmp_limits=fmp_limits or FmpLimits(),
        fred_limits=fred_limits or FredLimits(),
        now=now,
    )
    journal = Journal(root / "requests.jsonl")
    front = Front(providers, world=worlds.shares, journal=journal, now=now, seed=seed)
    prefixes = [provider.prefix for provider in providers]
    return Starlette(
        routes=[*world_controls.routes(worlds, prefixes=prefixes, now=now), Mount("/", app=front)]
    )


def simulators(
    worlds: Worlds,
    *,
    keys: Mapping[str, str],
    fmp_limits: FmpLimits,
    fred_limits: FredLimits,
    now: Callable[[], datetime],
) -> list[Provider]:
    """Return every provider's simulator over ``worlds``."""
    return [
        FmpSimulator(
            worlds.shares,
            keys={key: fmp.Plan(plan) for plan, key in _of("fmp", keys).items()},
            limits=fmp_limits,
            now=now,
            fundamentals=worlds.fundamentals,
        ),
        PolygonSimulator(
            worlds.shares,
            {key: polygon.Plan(plan) for plan, key in _of("polygon", keys).items()},
            now=now,
        ),
        TiingoSimulator(
            worlds.shares,
            keys={key: tiingo.Plan(plan) for plan, key in _of("tiingo", keys).items()},
            now=now,
        ),
        FredSimulator(worlds.macro, keys=_of("fred", keys).values(), now=now, limits=fred_limits),
        BinanceSimulator(now=now, crypto=worlds.crypto),
        BinanceFilesSimulator(now=now, crypto=worlds.crypto),
        CoinbaseSimulator(now=now, crypto=worlds.crypto),
    ]


def _of(provider: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of ``provider`` by plan."""
    return {
        name.partition("/")[2]: key
        for name, key in keys.items()
        if name.partition("/")[0] == provider
    }


def main(arguments: list[str]) -> None:
    """Serve the simulators on loopback until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.simulators.providers")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--fmp-per-minute", type=int, default=120)
    parser.add_argument("--fmp-bulk-interval-s", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="which requests faults meet")
    asked = parser.parse_args(arguments)
    stored = private_files.read_json(asked.root / "keys.json")
    application = create_application(
        asked.root,
        keys={name: str(key) for name, key in stored.items()},
        fmp_limits=FmpLimits(
            per_minute=asked.fmp_per_minute, bulk_interval_s=asked.fmp_bulk_interval_s
        ),
        seed=asked.seed,
    )
    serving.run(application, asked.port)


if __name__ == "__main__":
    main(sys.argv[1:])
