"""The rehearsal from a shell: `make operate`, or `python -m operate --only ProviderDown`.

Here: the choice of breaks, the table, and the exit status: 1 if anything is wrong. Not here: the
breaks (breaks.py), or how one is played (rehearsal.py).
"""

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from marketdata.recovery import errors
from operate import rehearsal
from operate.breaks import BREAKS, WALKS
from operate.place import installed
from operate.rehearsal import Rehearsal
from operate.watchers import FASTER, watching
from pipelines.cli import console
from sandbox import monitoring_programs

ROOT = Path(__file__).resolve().parents[1] / ".wrdata" / "operate"


def main(arguments: Sequence[str]) -> int:
    """Rehearse as often as asked, and print the tables; return the exit status."""
    asked = _parser().parse_args(arguments)
    # So that a time-out of others ends our servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, _end)
    played: list[Rehearsal] = []
    for number in range(1, asked.runs + 1):
        began = time.monotonic()
        try:
            played.append(_rehearse(asked.root, asked.only, drill=not asked.no_drill))
        except errors.MarketDataError as error:
            console.fail(str(error))
            return 1
        took_min = (time.monotonic() - began) / 60
        if not asked.json:
            _print(played[-1], f"rehearsal {number} of {asked.runs}, {took_min:.1f} minutes")
    if asked.json:
        console.print_json([asdict(rehearsed) for rehearsed in played])
    return 1 if any(rehearsed.failed for rehearsed in played) else 0


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def _rehearse(root: Path, only: Sequence[str] | None, *, drill: bool) -> Rehearsal:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    programs = monitoring_programs.install(console.say)
    rehearsed = Rehearsal()
    with installed(root, console.say) as place:
        monitored = root / "monitoring"
        monitored.mkdir()
        scraped = {"wrdata": place.exporter, "node": place.disk.address}
        with watching(programs, monitored, scraped) as watch:
            for broken in BREAKS:
                if only and broken.alert not in only:
                    continue
                console.say(f"{broken.title}: {broken.alert} has to fire")
                result = rehearsal.play(broken, place, watch)
                console.say(f"{broken.title}: {_verdict(result.wrong)}")
                rehearsed.breaks.append(result)
            for page in () if only else WALKS:
                rehearsed.walks[page.title] = rehearsal.walk(page, place)
                console.say(f"{page.title}: {_verdict(rehearsed.walks[page.title])}")
            if drill:
                console.say("restore drill")
                rehearsed.drill = rehearsal.drill(place, watch)
                console.say(f"restore drill: {_verdict(rehearsed.drill.wrong)}")
    return rehearsed


def _print(rehearsed: Rehearsal, title: str) -> None:
    console.print_table(
        f"{title}; alerts wait {FASTER} times shorter than in production",
        [
            {
                "broken": result.title,
                "alert": result.alert,
                "fires after s": _rounded(result.fired_after_s),
                "in production, more s": round(result.waits_s * (1 - 1 / FASTER)),
                "clears after s": _rounded(result.cleared_after_s),
                "also told": ", ".join(result.others),
                "verdict": _verdict(result.wrong),
            }
            for result in rehearsed.breaks
        ],
    )
    for page, wrong in rehearsed.walks.items():
        console.say(f"{page}: {_verdict(wrong)}")
    for result in rehearsed.breaks:
        console.say(f"{result.alert}: {result.first_step} ({result.runbook})")
    drilled = rehearsed.drill
    if drilled is not None:
        console.print_pairs(
            "restore drill",
            {
                "RTO, s": _rounded(drilled.rto_s),
                "RPO, s": _rounded(drilled.rpo_s),
                "audit rows lost": drilled.audit_rows_lost,
                "tables compared": drilled.tables,
                "rows compared": drilled.rows,
                "verdict": _verdict(drilled.wrong),
            },
        )


def _verdict(wrong: Sequence[str]) -> str:
    return "passed" if not wrong else "WRONG: " + " | ".join(wrong)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m operate", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="rehearsals in a row")
    alerts = [broken.alert for broken in BREAKS]
    parser.add_argument("--only", action="append", choices=alerts, help="may be repeated")
    parser.add_argument("--no-drill", action="store_true", help="leave the restore drill out")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT, help="where its servers keep their data")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
