"""Output of commands: tables and progress for people, JSON for scripts, one line for errors.

Here: output only. Not here: its content (the command modules).
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
"""Each of our progress bars has one task."""
WIDTH_IN_FILES = 200
"""Columns of a table that is not printed on a terminal: wide enough to cut nothing."""

_width = None if sys.stdout.isatty() else WIDTH_IN_FILES
out = Console(highlight=False, soft_wrap=True, width=_width)
err = Console(stderr=True, highlight=False, soft_wrap=True)

LONGEST_NAME = 2
"""Most words of a cell that is a name, a number or a time; a cell of more is a sentence."""

Cell = str | int | float | None


def say(sentence: str) -> None:
    """Print a message for a person on standard error; standard output is for results."""
    err.print(sentence, markup=False)


def warn(message: str) -> None:
    """Print a warning in one line."""
    err.print(f"warning: {message}", style="yellow", markup=False)


def fail(message: str) -> None:
    """Print an error in one line."""
    err.print(f"error: {message}", style="bold red", markup=False)


def print_json(value: object) -> None:
    """Print ``value`` for a script."""
    sys.stdout.write(json.dumps(value, default=str, indent=2) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Cell]], *, by: Sequence[str] = ()) -> None:
    """Print ``rows`` with their keys as headings; numbers are aligned to the right.

    Nothing is cut: sentences are folded. Where a row's numbers, names and times do not fit the
    terminal, several tables share the columns, and each begins with the columns ``by``. Without
    ``by``, or on a still narrower terminal, each row is a list.
    """
    if not rows:
        return
    tables = _shared_out(list(rows[0]), by, {name: _needed(name, rows) for name in rows[0]})
    if tables is None:
        for place, row in enumerate(rows):
            print_pairs("" if place else title, row)
        return
    for place, names in enumerate(tables):
        _print_columns("" if place else title, names, rows)


def _shared_out(
    names: Sequence[str], by: Sequence[str], widths: Mapping[str, int]
) -> list[list[str]] | None:
    """Share columns out among tables that fit the terminal; return None if that is impossible."""

    def fits(columns: Sequence[str]) -> bool:
        # The left edge; each column has a blank on both sides and an edge on its right.
        return 1 + sum(widths[name] + 3 for name in columns) <= out.width

    if fits(names):
        return [list(names)]
    tables: list[list[str]] = []
    for name in names:
        if not by or not fits([*by, name]):
            return None
        if name in by:
            continue
        if tables and fits([*tables[-1], name]):
            tables[-1].append(name)
        else:
            tables.append([*by, name])
    return tables


def _print_columns(title: str, names: Sequence[str], rows: Sequence[Mapping[str, Cell]]) -> None:
    table = Table(title=title or None, title_justify="left", title_style="bold")
    for name in names:
        number = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        sentence = any(_unfoldable(cell) != cell for cell in (_cell(row[name]) for row in rows))
        width = _needed(name, rows)
        table.add_column(
            name.replace("_", " "),
            justify="right" if number else "left",
            # Sentences take what is left, and give way first.
            width=None if sentence else width,
            min_width=width,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    out.print(table)


def _needed(name: str, rows: Sequence[Mapping[str, Cell]]) -> int:
    """Return the least width of a column that cuts no number, name or time."""
    cells = [_unfoldable(_cell(row[name])) for row in rows]
    return max(map(len, [*name.split("_"), *cells]))


def print_pairs(title: str, pairs: Mapping[str, Cell]) -> None:
    """Print names and values, one a line."""
    table = Table(title=title or None, title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in pairs.items():
        table.add_row(name.replace("_", " "), _cell(value))
    out.print(table)


def print_finding(name: str, state: str, origin: str, address: str, detail: str, cure: str) -> None:
    """Print a finding of the doctor: a line for its address, one for its detail, one for a cure."""
    out.print(f"{state:8}{name:18}{address}  ({origin})", markup=False)
    out.print(f"{'':26}{detail}", markup=False)
    if cure:
        out.print(f"{'':26}-> {cure}", markup=False)


def _unfoldable(cell: str) -> str:
    """Return the part of a cell that must stay on one line: all, or a sentence's longest word."""
    words = cell.split(" ")
    return cell if len(words) <= LONGEST_NAME else max(words, key=len)


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else value


class Meter:
    """Progress of long work: a bar on a terminal, plain lines elsewhere.

    Where the total is unknown (0), the bar has no end, and no lines are printed elsewhere.
    """

    def __init__(self, title: str, total: int) -> None:
        self.done = 0
        self._title = title
        self._total = total
        self._shown_tenth = -1
        self._bar: Progress | None = None

    @contextmanager
    def shown(self) -> Generator["Meter"]:
        """Show the meter while the block runs."""
        if not err.is_terminal:
            yield self
            return
        # While a step runs, Dagster replaces standard error by a pipe, to keep what is printed.
        # The bar draws on the terminal's own descriptor instead.
        with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
            self._bar = _bar(Console(file=terminal, highlight=False))
            self._bar.add_task(self._title, total=self._total or None, note="", rate="")
            try:
                with self._bar:
                    yield self
            finally:
                self._bar = None

    def expect(self, total: int) -> None:
        """Set the total, where it was unknown at first."""
        self._total = total
        if self._bar:
            self._bar.update(ONLY_TASK, total=total)

    def update(self, done: int, *, note: str, elapsed_s: float) -> None:
        """Show that ``done`` of the total are done; ``note`` stands beside the figures."""
        self.done = done
        if self._bar:
            rate = _rate(done, elapsed_s)
            self._bar.update(ONLY_TASK, completed=done, note=note, rate=rate)
            return
        tenth = done * 10 // max(self._total, 1)
        if self._total and tenth > self._shown_tenth and done:
            self._shown_tenth = tenth
            # More may be done than was expected.
            remaining_s = max(self._total - done, 0) * elapsed_s / done
            say(
                f"{self._title}: {done} of {self._total}, {_rate(done, elapsed_s)}, "
                f"{timedelta(seconds=round(remaining_s))} left{f', {note}' if note else ''}"
            )


def _bar(terminal: Console) -> Progress:
    """Return a bar of one line, as wide as the terminal; the bar shrinks to leave room for text."""
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
