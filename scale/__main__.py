"""Scale-out from a shell: `make scale`, or `python -m scale --only kill`.

Here: the choice of trials, the table, and the exit status: 1 if anything is wrong. Not here: the
trials (trials.py), or the installation (place.py).
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from marketdata.recovery import errors
from pipelines.cli import console
from scale.place import installed, servers
from scale.trials import TRIALS, Trial

ROOT = Path(__file__).resolve().parents[1] / ".wrdata" / "scale"


def main(arguments: Sequence[str]) -> int:
    """Try what is asked as often as asked, and print the tables; return the exit status."""
    asked = _parser().parse_args(arguments)
    # So that a time-out of others ends our servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, _end)
    tried: list[list[Trial]] = []
    for number in range(1, asked.runs + 1):
        try:
            tried.append(_try(asked.root, asked.only or list(TRIALS)))
        except errors.MarketDataError as error:
            console.fail(str(error))
            return 1
        if not asked.json:
            _print(tried[-1], f"trial {number} of {asked.runs}")
    if asked.json:
        console.print_json([[asdict(trial) for trial in trials] for trials in tried])
    return 1 if any(trial.wrong for trials in tried for trial in trials) else 0


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _try(root: Path, names: Sequence[str]) -> list[Trial]:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    trials: list[Trial] = []
    with servers(root, console.say) as (world, variables):
        for name in names:
            with installed(root / f"place-{name}", world, variables, console.say) as place:
                trials.append(TRIALS[name](place))
            verdict = "passed" if not trials[-1].wrong else "WRONG"
            console.say(f"{trials[-1].title}: {verdict}, {trials[-1].took_s:.0f} s")
    return trials


def _print(trials: Sequence[Trial], title: str) -> None:
    names = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    console.print_table(
        title,
        [
            {
                "trial": trial.title,
                "took, s": round(trial.took_s, 1),
                **{
                    name: round(trial.figures[name], 1) if name in trial.figures else None
                    for name in names
                },
                "verdict": "passed" if not trial.wrong else "WRONG: " + " | ".join(trial.wrong),
            }
            for trial in trials
        ],
        by=("trial",),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scale", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(TRIALS), help="only this trial")
    parser.add_argument("--runs", type=int, default=1, help="how often all of it is tried")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder for servers and data")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
