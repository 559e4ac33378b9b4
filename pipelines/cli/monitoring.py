"""wrdata monitoring …: files for Prometheus, Alertmanager and Grafana.

Here: the command. Not here: what stands in the files (monitoring/).
"""

from pathlib import Path
from typing import Annotated

import typer

from monitoring import files
from pipelines.cli import console


def export(
    directory: Annotated[
        Path, typer.Option(help="Folder to write to; files of the same names are replaced.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Write alert rules, alert routes and dashboards for Prometheus, Alertmanager and Grafana."""
    written = [str(path) for path in files.write(directory)]
    if json:
        console.print_json({"written": written})
    else:
        console.say(f"{len(written)} files written to {directory}:")
        for path in written:
            console.say(f"  {path}")
