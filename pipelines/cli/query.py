"""wrdata query: bars of tickers, from the database and the archive alike.

Here: the command, and the forms in which an answer leaves it. Not here: the reading
(resources/reading).
"""

import json
import sys
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, ipc
from pyarrow import parquet as pq
from typer import Argument, Option

from marketdata.recovery import errors
from pipelines.cli import console, environment, name_lists, result_files
from resources.reading.bars import read_bars
from resources.reading.missing import MissingBarsWarning
from resources.reading.request import ADJUSTED, INTERVALS

SHOWN = 40
"""Rows of a table on the screen; of a longer answer its first and last ones."""


class Form(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


class Missing(StrEnum):
    """What becomes of a read that lacks bars; see ``read_bars``."""

    WARN = "warn"
    RAISE = "raise"
    IGNORE = "ignore"


BINARY = {Form.PARQUET, Form.ARROW}
SUFFIXES = {
    ".csv": Form.CSV,
    ".json": Form.JSON,
    ".parquet": Form.PARQUET,
    ".pq": Form.PARQUET,
    ".arrow": Form.ARROW,
    ".arrows": Form.ARROW,
}


def query(
    tickers: Annotated[
        list[str], Argument(help="Such as AAPL, BRK.B or BTC-USD; blanks or commas between.")
    ],
    start: Annotated[
        str | None, Option(help="First day, or moment with its zone; without: the oldest bar.")
    ] = None,
    end: Annotated[
        str | None, Option(help="Last day (included), or moment (excluded); without: today.")
    ] = None,
    interval: Annotated[str, Option(help=", ".join(INTERVALS) + ".")] = "1d",
    adjusted: Annotated[str | None, Option(help=" or ".join(ADJUSTED) + ".")] = None,
    as_of: Annotated[
        str | None,
        Option(help="What was known at this moment, also of splits: 2026-05-01T00:00:00Z."),
    ] = None,
    provider: Annotated[
        str | None, Option(help="Whose bars; without: whoever serves them.")
    ] = None,
    missing: Annotated[
        Missing, Option(help="What to do where bars are missing; a warning goes to standard error.")
    ] = Missing.WARN,
    form: Annotated[
        Form | None,
        Option("--format", help="How to write the answer; without: as the file's name ends."),
    ] = None,
    output: Annotated[
        Path | None,
        Option(help="A file, instead of standard output: x.csv, .json, .parquet or .arrow."),
    ] = None,
) -> None:
    """Read bars of shares and pairs, wherever they are stored."""
    form = _form(form, output)
    environment.enter(environment.surroundings(writes=False), start=False)
    asked = name_lists.names_in(" ".join(tickers))
    with warnings.catch_warnings(record=True) as told:
        # Ours alone: what libraries tell each other is not for the reader of bars.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MissingBarsWarning)
        bars = read_bars(
            asked, start, end, interval, adjusted, as_of, provider, missing=missing.value
        )
    for warning in told:
        console.say(str(warning.message))
    for ticker in _without_bars(asked, bars):
        console.say(f"{name_lists.shown(ticker)} has no bars of {interval} in this time")
    if output is not None:
        _write_file(bars, form, output)
    elif form is Form.TABLE:
        _show(bars)
    else:
        _write(bars, form, sys.stdout.buffer)


def _with_moments_as_text(bars: pa.Table) -> pa.Table:
    """Write moments of UTC out: Arrow would look for UTC in the system's zoneinfo."""
    for place, field in enumerate(bars.schema):
        if pa.types.is_timestamp(field.type):
            clocks = bars[field.name].cast(pa.int64()).cast(pa.timestamp(field.type.unit))
            text = pc.binary_join_element_wise(clocks.cast(pa.string()), "Z", "")
            bars = bars.set_column(place, field.name, text)
    return bars


def _form(form: Form | None, output: Path | None) -> Form:
    """Return how the answer is written: as asked for, or as the file's name says.

    Raises:
        ArgumentError: That cannot be, or nothing says how.
    """
    if output is None:
        if form in BINARY and sys.stdout.isatty():
            message = f"{form} is not for a terminal: give --output, or send it to a file"
            raise errors.ArgumentError(message)
        return form or Form.TABLE
    if form is Form.TABLE:
        raise errors.ArgumentError("a table is for the screen: give --format csv for a file")
    chosen = form or SUFFIXES.get(output.suffix.lower())
    if chosen is None:
        message = (
            f"{output.name} does not say how it is to be written: give it one of the endings "
            f"{', '.join(SUFFIXES)}, or give --format"
        )
        raise errors.ArgumentError(message)
    return chosen


def _without_bars(asked: Sequence[str], bars: pa.Table) -> list[str]:
    """Return the tickers that were asked for and have no bars."""
    found = set(pc.unique(bars["ticker"]).to_pylist())
    return [one for one in asked if one not in found]


def _show(bars: pa.Table) -> None:
    """Print the first and last rows; columns that hold nothing are left out."""
    told = bars.select([name for name in bars.column_names if bars[name].null_count < len(bars)])
    rows = told.to_pylist()
    if len(rows) > SHOWN:
        between = dict.fromkeys(told.column_names, "…")
        rows = [*rows[: SHOWN // 2], between, *rows[-SHOWN // 2 :]]
    shown = [{name: _cell(value) for name, value in row.items()} for row in rows]
    console.print_table("", shown, by=("ticker", "bucket_start"))
    console.say(_count(bars))


def _count(bars: pa.Table) -> str:
    return "1 bar" if len(bars) == 1 else f"{len(bars):,} bars"


def _cell(value: Any) -> str | int | None:
    if value is None or isinstance(value, int):
        return value
    # Ten digits show every price and volume; all of them are in the other forms.
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _write_file(bars: pa.Table, form: Form, output: Path) -> None:
    with result_files.written(output) as file:
        _write(bars, form, file)
    console.say(f"{_count(bars)} written to {output}")


def _write(bars: pa.Table, form: Form, file: IO[bytes]) -> None:
    if form is Form.PARQUET:
        pq.write_table(bars, file, compression="zstd")
    elif form is Form.ARROW:
        with ipc.new_stream(file, bars.schema) as stream:
            stream.write_table(bars)
    elif form is Form.JSON:
        rows = bars.to_pylist()
        file.write((json.dumps(rows, default=lambda when: when.isoformat()) + "\n").encode())
    else:
        csv.write_csv(_with_moments_as_text(bars), file)
    file.flush()
