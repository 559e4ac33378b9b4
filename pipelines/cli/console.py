"""How commands speak: tables and progress for people, JSON for scripts, one line for errors.

Here: output only. Not here: what is said (the command modules).
"""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

WIDTH_IN_FILES = 200
"""Columns of a table that is not printed on a terminal: wide enough to cut nothing."""

_width = None if sys.stdout.isatty() else WIDTH_IN_FILES
out = Console(highlight=False, soft_wrap=True, width=_width)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Cell = str | int | float | None


def say(sentence: str) -> None:
    """Tell a step to a person, on standard error, so that standard output stays for results."""
    err.print(sentence, markup=False)


def fail(message: str) -> None:
    """Tell what went wrong, in one line."""
    err.print(f"error: {message}", style="bold red", markup=False)


def print_json(value: object) -> None:
    """Print ``value`` for a script."""
    sys.stdout.write(json.dumps(value, default=str, indent=2) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Print ``rows`` with their keys as headings; numbers are aligned to the right."""
    table = Table(title=title or None, title_justify="left", title_style="bold")
    for name in rows[0] if rows else ():
        number = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    if rows:
        out.print(table)


def print_pairs(title: str, pairs: Mapping[str, Cell]) -> None:
    """Print names and values, one a line."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in pairs.items():
        table.add_row(name.replace("_", " "), _cell(value))
    out.print(table)


def print_finding(name: str, state: str, origin: str, address: str, detail: str, cure: str) -> None:
    """Print one thing of the doctor's: a line for where, one for how, one for the cure."""
    out.print(f"{state:8}{name:18}{address}  ({origin})", markup=False)
    out.print(f"{'':26}{detail}", markup=False)
    if cure:
        out.print(f"{'':26}-> {cure}", markup=False)


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else value


class Meter:
    """Progress of a long piece of work: a bar on a terminal, plain lines elsewhere.

    Where the total is not known (0) a bar moves without an end, and nothing is told elsewhere.
    """

    def __init__(self, title: str, total: int) -> None:
        self.done = 0
        self._title = title
        self._total = total
        self._told = -1
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total or None, note="", rate="")

    @contextmanager
    def shown(self) -> Generator["Meter"]:
        """Show the meter while the block runs."""
        if err.is_terminal:
            with self._bar:
                yield self
        else:
            yield self

    def expect(self, total: int) -> None:
        """Tell how much there is to do, where that was not known at first."""
        self._total = total
        self._bar.update(self._task, total=total)

    def update(self, done: int, *, note: str, elapsed_s: float) -> None:
        """Tell that ``done`` of the total are done; ``note`` stands beside the figures."""
        self.done = done
        if err.is_terminal:
            self._bar.update(self._task, completed=done, note=note, rate=_rate(done, elapsed_s))
            return
        tenth = done * 10 // max(self._total, 1)
        if self._total and tenth > self._told and done:
            self._told = tenth
            # More may be done than was foreseen.
            left = max(self._total - done, 0) * elapsed_s / done
            say(
                f"{self._title}: {done} of {self._total}, {_rate(done, elapsed_s)}, "
                f"{timedelta(seconds=round(left))} left{f', {note}' if note else ''}"
            )


def _rate(done: int, elapsed_s: float) -> str:
    return f"{done / elapsed_s:.1f}/s" if elapsed_s else ""
