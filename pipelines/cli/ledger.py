"""wrdata ledger …: whether the tables hold what was loaded.

Here: the command. Not here: the comparison (resources/storage/ledger), or how much of what
should be there was loaded (status.py).
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

    Days that lack rows are holes again, and wait in dead letters.
    """
    chosen = [one for one in BY_DAY if not dataset or one.name in dataset]
    environment.enter(environment.surroundings(), start=False)
    rows: list[dict[str, Any]] = []
    losses: list[str] = []
    with opening.stores(read_settings()) as stores:
        for one in chosen:
            lost = stores.lost_rows.find(one)
            stores.lost_rows.make_holes(one, lost, by="wrdata ledger verify")
            losses += [describe_loss(one, lost)] if lost else []
            rows.append(
                {
                    "dataset": one.name,
                    "days_that_lack_rows": len(lost),
                    "rows_lost": sum(day.loaded - day.held for day in lost),
                }
            )
    if json:
        console.print_json(rows)
    elif rows:
        console.print_table("", rows)
    else:
        others = ", ".join(name for name in dataset or ARCHIVED)
        console.say(f"{others}: an answer holds all there is, so nothing is counted by day")
    for loss in losses:
        console.fail(loss)
    return 1 if losses else 0
