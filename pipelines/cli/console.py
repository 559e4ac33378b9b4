"""How commands speak: tables and progress for people, JSON for scripts, one line for errors.

Here: output only. Not here: what is said (the command modules).
"""

import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

ONLY_TASK = TaskID(0)
"""A bar of ours shows one piece of work."""
WIDTH_IN_FILES = 200
"""Columns of a table that is not printed on a terminal: wide enough to cut nothing."""

_width = None if sys.stdout.isatty() else WIDTH_IN_FILES
out = Console(highlight=False, soft_wrap=True, width=_width)
err = Console(stderr=True, highlight=False, soft_wrap=True)

LONGEST_NAME = 2
"""Words of a cell that is a name, a number or a time; what has more is a sentence."""

Cell = str | int | float | None


def say(sentence: str) -> None:
    """Tell a step to a person, on standard error, so that standard output stays for results."""
    err.print(sentence, markup=False)


def warn(message: str) -> None:
    """Tell what is odd and stops nothing, in one line."""
    err.print(f"warning: {message}", style="yellow", markup=False)


def fail(message: str) -> None:
    """Tell what went wrong, in one line."""
    err.print(f"error: {message}", style="bold red", markup=False)


def print_json(value: object) -> None:
    """Print ``value`` for a script."""
    sys.stdout.write(json.dumps(value, default=str, indent=2) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
    """Print ``rows`` with their keys as headings; numbers are aligned to the right.

    Nothing is cut: sentences are folded, and where the terminal is narrower than the numbers,
    names and times of a row, each row is printed as a list of its own.
    """
    if not rows:
        return
    table = Table(title=title or None, title_justify="left", title_style="bold")
    needed = 1  # The left edge; each column has a blank on both sides and an edge on its right.
    for name in rows[0]:
        cells = [_cell(row[name]) for row in rows]
        number = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        heading = name.replace("_", " ")
        width = max(map(len, [*heading.split(), *map(_unfoldable, cells)]))
        needed += width + 3
        table.add_column(
            heading,
            justify="right" if number else "left",
            # Sentences take what is left, and give way first.
            width=None if any(_unfoldable(cell) != cell for cell in cells) else width,
            min_width=width,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in rows[0]))
    if needed <= out.width:
        out.print(table)
        return
    for place, row in enumerate(rows):
        print_pairs("" if place else title, row)


def print_pairs(title: str, pairs: Mapping[str, Cell]) -> None:
    """Print names and values, one a line."""
    table = Table(title=title or None, title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in pairs.items():
        table.add_row(name.replace("_", " "), _cell(value))
    out.print(table)


def print_finding(name: str, state: str, origin: str, address: str, detail: str, cure: str) -> None:
    """Print one thing of the doctor's: a line for where, one for how, one for the cure."""
    out.print(f"{state:8}{name:18}{address}  ({origin})", markup=False)
    out.print(f"{'':26}{detail}", markup=False)
    if cure:
        out.print(f"{'':26}-> {cure}", markup=False)


def _unfoldable(cell: str) -> str:
    """Return what of a cell has to stay on one line: all of it, or a sentence's longest word."""
    words = cell.split(" ")
    return cell if len(words) <= LONGEST_NAME else max(words, key=len)


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
        self._bar: Progress | None = None

    @contextmanager
    def shown(self) -> Generator["Meter"]:
        """Show the meter while the block runs."""
        if not err.is_terminal:
            yield self
            return
        # Dagster puts a pipe in the place of standard error while a step runs, to keep what it
        # prints: the bar goes on drawing on the terminal as it was before.
        with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
            self._bar = _bar(Console(file=terminal, highlight=False))
            self._bar.add_task(self._title, total=self._total or None, note="", rate="")
            try:
                with self._bar:
                    yield self
            finally:
                self._bar = None

    def expect(self, total: int) -> None:
        """Tell how much there is to do, where that was not known at first."""
        self._total = total
        if self._bar:
            self._bar.update(ONLY_TASK, total=total)

    def update(self, done: int, *, note: str, elapsed_s: float) -> None:
        """Tell that ``done`` of the total are done; ``note`` stands beside the figures."""
        self.done = done
        if self._bar:
            rate = _rate(done, elapsed_s)
            self._bar.update(ONLY_TASK, completed=done, note=note, rate=rate)
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


def _bar(terminal: Console) -> Progress:
    """Return a bar of one line, as wide as the terminal: the bar itself gives way to the words."""
    line = Column(no_wrap=True)
    return Progress(
        TextColumn("{task.description}", table_column=line),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        MofNCompleteColumn(table_column=line),
        TextColumn("{task.fields[note]}", table_column=line),
        TextColumn("{task.fields[rate]}", table_column=line),
        TimeRemainingColumn(table_column=line),
        TextColumn("left", table_column=line),
        console=terminal,
        transient=True,
        expand=True,
    )


def _rate(done: int, elapsed_s: float) -> str:
    return f"{done / elapsed_s:.1f}/s" if elapsed_s else ""
