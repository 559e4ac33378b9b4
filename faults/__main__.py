"""The fault suite from a shell: `make faults`, or `python -m faults --seed N --only NAME`.

Here: the choice of scenarios, the table, and the exit status: 1 if anything is wrong. Not here:
the scenarios (scenarios.py), or how one is played (play.py).
"""

import argparse
import logging
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from faults import world
from faults.play import Result, play
from faults.scenarios import SCENARIOS, Scenario
from pipelines.cli import console
from sandbox.local_world import LocalWorld

ROOT = Path(__file__).resolve().parents[1] / ".wrdata" / "faults"


def main(arguments: Sequence[str]) -> int:
    """Play the chosen scenarios and print their table; return the exit status."""
    asked = _parser().parse_args(arguments)
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1_000_000)
    chosen = [
        scenario for scenario in SCENARIOS if _is_chosen(scenario, asked.only, short=asked.short)
    ]
    logging.getLogger("httpx").setLevel(logging.WARNING)
    console.say(f"seed {seed}: SEED={seed} make faults plays the same again")
    began = time.monotonic()
    results = _play_all(asked.root, chosen, seed, short=asked.short)
    if asked.json:
        console.print_json([asdict(result) for result in results])
    else:
        _print(results, seed, time.monotonic() - began)
    return 1 if any(result.wrong for result in results) else 0


def _play_all(root: Path, chosen: Sequence[Scenario], seed: int, *, short: bool) -> list[Result]:
    local = LocalWorld(root)
    local.start(world.STORES, report=console.say)
    results: list[Result] = []
    try:
        with world.servers(local, root / "scenarios") as servers:
            for scenario in chosen:
                result = play(servers, scenario, seed, short=short)
                verdict = "passed" if not result.wrong else "WRONG: " + " | ".join(result.wrong)
                console.say(f"{scenario.title} ({result.took_s:.0f} s): {verdict}")
                results.append(result)
    finally:
        local.stop()
    return results


def _print(results: Sequence[Result], seed: int, took_s: float) -> None:
    console.print_table(
        f"faults with seed {seed}, {took_s / 60:.1f} minutes",
        [
            {
                "scenario": result.title,
                "faults injected": ", ".join(
                    f"{n} x {fault}" for fault, n in result.injected.items()
                ),
                "survived": (
                    f"{result.at_once} of {result.tickers} tickers, {result.recovered} recovered"
                ),
                "letters": result.letters,
                "recovered after s": result.recovered_after_s,
                "verdict": "passed" if not result.wrong else f"WRONG ({len(result.wrong)})",
            }
            for result in results
        ],
    )
    for result in results:
        for note in result.notes:
            console.say(f"{result.title}: {note}")
        for finding in result.wrong:
            console.fail(f"{result.title}: {finding}")


def _is_chosen(scenario: Scenario, only: Sequence[str] | None, *, short: bool) -> bool:
    return (not only or scenario.play.__name__ in only) and (scenario.short or not short)


def _parser() -> argparse.ArgumentParser:
    names = [scenario.play.__name__ for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    seed = os.environ.get("SEED")
    parser.add_argument(
        "--seed", type=int, default=int(seed) if seed else None, help="drawn if not given"
    )
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--short", action="store_true", help="the form that the tests play")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT, help="where its servers keep their data")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
