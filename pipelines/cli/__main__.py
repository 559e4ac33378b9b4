"""Start and end of a command: before modules are loaded, and after the last output.

Here: Ctrl-C while modules are loaded, and standard streams that are closed, full or gone. Not
here: the commands and their errors (main.py), which is loaded here and imports the rest.

Exit statuses are the usual ones: 130 after Ctrl-C, and 141 where the reader of the output has
gone (``| head``), as a shell reports SIGPIPE.
"""

import errno
import importlib
import io
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from pipelines.cli.interruption import INTERRUPTED, quit_on_interrupt

BROKEN_PIPE = 141
_STREAMS = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
"""How a missing stream is opened on /dev/null: writing results to a closed stream is an error."""


class OutputError(Exception):
    """Results cannot be written. Not an OSError: other code would handle it as its own."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")
        self.reader_is_gone = error.errno == errno.EPIPE


class _Results(io.FileIO):
    """Standard output."""

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write as a file does; raise OutputError where that fails."""
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error) from error


class _Notes(io.FileIO):
    """Standard error: work goes on where it cannot be written."""

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write as a file does; drop the text where that fails."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def run() -> NoReturn:
    """Run the command line and end the process with its status."""
    with quit_on_interrupt():
        _open_streams()
        main = _main()
    try:
        status = _status_of(main.run)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except OutputError as error:
        status = BROKEN_PIPE if error.reader_is_gone else 1
        if not error.reader_is_gone:
            sys.stderr.write(f"error: {error}\n")
        # At its end Python would try again to write what is still in the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status)


def _main() -> ModuleType:
    """Import the command line; end the process where only the reading library is installed."""
    try:
        return importlib.import_module("pipelines.cli.main")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in {"marketdata", "pipelines"}:
            raise
        sys.exit(
            f"error: the command line needs {library}, which is not installed: "
            "install wrdata[pipeline]"
        )


def _status_of(command: Callable[[], object]) -> int:
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _open_streams() -> None:
    """Open closed streams, whose numbers our files would take; give each its own write error."""
    for number, mode in _STREAMS.items():
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)
    results, notes = _Results(1, "w", closefd=False), _Notes(2, "w", closefd=False)
    sys.stdout = _text(results, by_line=results.isatty())
    sys.stderr = _text(notes, by_line=True)


def _text(stream: io.FileIO, *, by_line: bool) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(stream), errors="backslashreplace", line_buffering=by_line
    )


if __name__ == "__main__":
    run()
