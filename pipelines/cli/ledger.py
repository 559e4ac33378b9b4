"""wrdata ledger …: whether the tables hold the rows that were loaded.

Here: the command. Not here: the comparison (resources/storage/ledger), or how complete datasets
are (status.py).
"""

from typing import Any

from marketdata.archiving import ARCHIVED
from pipelines.cli import console, environment
from pipelines.cli.archive_options import Json, Names
from resources import opening
from resources.settings import read_settings
from resources.storage.ledger.lost_rows import BY_DAY, describe_loss


def verify(dataset: Names = None, *, json: Json = False) -> int:
    """Compare rows with what was loaded, by instrument and day; status 1 if any are gone.

    Days that lack rows become holes again and wait in dead letters.
    """
    chosen = [entry for entry in BY_DAY if not dataset or entry.name in dataset]
    environment.enter(environment.surroundings(), start=False)
    rows: list[dict[str, Any]] = []
    losses: list[str] = []
    with opening.stores(read_settings()) as stores:
        for entry in chosen:
            lost = stores.lost_rows.find(entry)
            stores.lost_rows.make_holes(entry, lost, by="wrdata ledger verify")
            losses += [describe_loss(entry, lost)] if lost else []
            rows.append(
                {
                    "dataset": entry.name,
                    "days_that_lack_rows": len(lost),
                    "rows_lost": sum(day.loaded - day.held for day in lost),
                }
            )
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows)
    else:
        names = ", ".join(name for name in dataset or ARCHIVED)
        console.say(f"{names}: nothing is counted by day, since each answer is a snapshot")
    for loss in losses:
        console.fail(loss)
    return 1 if losses else 0
