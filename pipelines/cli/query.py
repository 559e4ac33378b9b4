"""wrdata query: bars of tickers, from the database and the archive alike.

Here: the command, and the forms of its output. Not here: the reading (resources/reading).
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
"""Most rows of a table on the screen; a longer one shows its first and last rows."""


class Form(StrEnum):
    """Output formats."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


class Missing(StrEnum):
    """What a read does where bars are missing; see ``read_bars``."""

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
        list[str], Argument(help="Such as AAPL, BRK.B or BTC-USD; split by blanks or commas.")
    ],
    start: Annotated[
        str | None, Option(help="First day, or time with its zone; default the oldest bar.")
    ] = None,
    end: Annotated[
        str | None, Option(help="Last day (included), or time (excluded); default today.")
    ] = None,
    interval: Annotated[str, Option(help=", ".join(INTERVALS) + ".")] = "1d",
    adjusted: Annotated[str | None, Option(help=" or ".join(ADJUSTED) + ".")] = None,
    as_of: Annotated[
        str | None,
        Option(help="As known at this time, splits too: 2026-05-01T00:00:00Z."),
    ] = None,
    provider: Annotated[
        str | None, Option(help="Provider of the bars; default the configured one.")
    ] = None,
    missing: Annotated[
        Missing, Option(help="What to do where bars are missing; warnings go to standard error.")
    ] = Missing.WARN,
    form: Annotated[
        Form | None,
        Option("--format", help="Output format; default by the file's ending."),
    ] = None,
    output: Annotated[
        Path | None,
        Option(help="File instead of standard output: x.csv, .json, .parquet or .arrow."),
    ] = None,
) -> None:
    """Read bars of shares and pairs, wherever they are stored."""
    form = _form(form, output)
    environment.enter(environment.surroundings(writes=False), start=False)
    names = name_lists.names_in(" ".join(tickers))
    with warnings.catch_warnings(record=True) as caught:
        # Only our own warnings: those of libraries are not for the reader of bars.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MissingBarsWarning)
        bars = read_bars(
            names, start, end, interval, adjusted, as_of, provider, missing=missing.value
        )
    for warning in caught:
        console.say(str(warning.message))
    for ticker in _without_bars(names, bars):
        console.say(f"{name_lists.shown(ticker)} has no bars of {interval} in this time")
    if output is not None:
        _write_file(bars, form, output)
    elif form is Form.TABLE:
        _show(bars)
    else:
        _write(bars, form, sys.stdout.buffer)


def _with_moments_as_text(bars: pa.Table) -> pa.Table:
    """Turn UTC times into text: Arrow would look for UTC in the system's zoneinfo."""
    for place, field in enumerate(bars.schema):
        if pa.types.is_timestamp(field.type):
            clocks = bars[field.name].cast(pa.int64()).cast(pa.timestamp(field.type.unit))
            text = pc.binary_join_element_wise(clocks.cast(pa.string()), "Z", "")
            bars = bars.set_column(place, field.name, text)
    return bars


def _form(form: Form | None, output: Path | None) -> Form:
    """Return the output format: the one asked for, or the one of the file's ending.

    Raises:
        ArgumentError: The format does not fit the output, or none is known.
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
            f"the ending of {output.name} names no format: use one of {', '.join(SUFFIXES)}, "
            "or give --format"
        )
        raise errors.ArgumentError(message)
    return chosen


def _without_bars(tickers: Sequence[str], bars: pa.Table) -> list[str]:
    """Return the tickers that have no bars."""
    with_bars = set(pc.unique(bars["ticker"]).to_pylist())
    return [ticker for ticker in tickers if ticker not in with_bars]


def _show(bars: pa.Table) -> None:
    """Print the first and last rows, without empty columns."""
    filled = bars.select([name for name in bars.column_names if bars[name].null_count < len(bars)])
    rows = filled.to_pylist()
    if len(rows) > SHOWN:
        between = dict.fromkeys(filled.column_names, "…")
        rows = [*rows[: SHOWN // 2], between, *rows[-SHOWN // 2 :]]
    shown = [{name: _cell(value) for name, value in row.items()} for row in rows]
    console.print_table("", shown, by=("ticker", "bucket_start"))
    console.say(_count(bars))


def _count(bars: pa.Table) -> str:
    return "1 bar" if len(bars) == 1 else f"{len(bars):,} bars"


def _cell(value: Any) -> str | int | None:
    if value is None or isinstance(value, int):
        return value
    # Ten digits show every price and volume; other formats write all digits.
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
