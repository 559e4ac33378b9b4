"""What commands print, on terminals of any width and where there is none."""

import io
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines.cli import console

PROJECT = Path(__file__).parents[2]
A_STEP_OF_DAGSTER = """
import os, sys, time
from pipelines.cli import console
meter = console.Meter("histories", 503)
with meter.shown():
    terminal = os.dup(2)
    _, pipe = os.pipe()
    os.dup2(pipe, 2)  # as Dagster does while a step runs
    for done in (100, 317):
        meter.update(done, note="12 failed", elapsed_s=50.0)
        time.sleep(0.3)
    os.dup2(terminal, 2)
"""


def test_no_time_is_left_when_more_is_done_than_was_foreseen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A figure below zero would be a day of minus one."""
    meter = console.Meter("periods", 9)

    with meter.shown():
        meter.update(3, note="", elapsed_s=6.0)
        meter.update(10, note="", elapsed_s=20.0)

    assert capsys.readouterr().err.splitlines() == [
        "periods: 3 of 9, 0.5/s, 0:00:12 left",
        "periods: 10 of 9, 0.5/s, 0:00:00 left",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_a_bar_moves_on_a_terminal_while_dagster_takes_standard_error_away(width: int) -> None:
    """On one line, which never wraps."""
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, width))
    script = subprocess.Popen(
        [sys.executable, "-c", A_STEP_OF_DAGSTER],
        cwd=PROJECT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(width)},
        stderr=terminal,
    )
    os.close(terminal)
    drawn = _all_of(reader)
    assert script.wait() == 0

    assert "317/503" in drawn
    assert "12 failed" in drawn
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn))
    assert max(map(len, lines)) <= width
    assert "\n" not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).strip()


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=36)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "run_id": NAMES,
                "dataset": NAMES,
                "rows_inserted": st.integers(0, 10**12),
                "coverage_percent": st.floats(0, 100),
                "last_seen_at": st.datetimes().map(lambda at: f"{at:%Y-%m-%d %H:%M}"),
                "reason": st.lists(NAMES, max_size=12).map(" ".join),
            }
        ),
        min_size=1,
        max_size=3,
    ),
    width=st.integers(44, 200),
)
def test_a_table_cuts_no_number_name_or_time_on_any_terminal(
    rows: list[dict[str, console.Cell]], width: int
) -> None:
    """Where they do not fit side by side, each row is a list."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "out", Console(file=shown, width=width, highlight=False))
        console.print_table("all there is", rows)

    text = shown.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for row in rows:
        for name, form in (
            ("rows_inserted", ","),
            ("coverage_percent", ",.1f"),
            ("last_seen_at", ""),
        ):
            assert format(row[name], form) in text
        # A list of its own has 24 columns for headings and edges.
        for name in ("run_id", "dataset"):
            assert str(row[name]) in text or width < len(str(row[name])) + 24


def test_a_table_that_is_too_wide_becomes_several_that_begin_with_the_same_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`status --wide` at 100 columns was a list of twelve lines for each dataset."""
    rows: list[dict[str, console.Cell]] = [
        {
            "dataset": name,
            "provider": "fmp",
            "rows": 123_456_789,
            "latest_change": "2026-11-29 16:38",
            "latest_load": "2026-11-29 16:40",
            "letters": letters,
        }
        for letters, name in enumerate(("income_statements", "macro_observations"))
    ]
    shown = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=shown, width=72, highlight=False))

    console.print_table("datasets", rows, by=("dataset", "provider"))

    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 72
    assert [line for line in lines if "letters" in line] == [
        "┃ dataset            ┃ provider ┃ latest load      ┃ letters ┃"
    ]
    assert sum("macro_observations" in line for line in lines) == 2
    assert sum("123,456,789" in line for line in lines) == 2
    assert lines[0].rstrip() == "datasets"


def _all_of(terminal: int) -> str:
    """Return what is written to a terminal until nobody holds its other end."""
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
    os.close(terminal)
    return written.decode()
