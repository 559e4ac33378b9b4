"""The options that several commands of wrdata archive take, in one wording.

Here: their types, and the line for a mistake in them. Not here: the commands (archive.py,
archive_upkeep.py, archive_restore.py), or which datasets there are (marketdata/archiving.py).
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from pipelines.cli.wishes import known_dataset


def _known_datasets(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        known_dataset(name)
    return names


Names = Annotated[
    list[str] | None,
    typer.Option("--dataset", help="Only this one; may be repeated.", callback=_known_datasets),
]
Name = Annotated[
    str, typer.Option("--dataset", help="Name of the dataset.", callback=known_dataset)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def nothing_archived(names: Sequence[str] | None) -> str:
    """Return the sentence for an archive that holds nothing of the datasets asked for."""
    return f"nothing of {', '.join(names)} is archived yet" if names else "nothing is archived yet"
