"""Files that commands write for their users: whole, or not at all.

Here: writing a file beside its name and renaming it. Not here: its content (query.py,
dead_letters.py).
"""

import errno
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from marketdata.recovery import errors

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def written(output: Path) -> Generator[IO[bytes]]:
    """Open ``output`` for writing; the old file stays until the new one is complete.

    The new file is written beside it and renamed: a full disk or Ctrl-C leaves no partial file.

    Raises:
        ConfigurationError: The file cannot be written; the text says why.
    """
    target = output.resolve()
    # Pipes and devices are written to directly.
    beside = target if _is_special(target) else target.with_name(f".{target.name}.part")
    try:
        try:
            with beside.open("wb") as file:
                yield file
            if beside != target:
                beside.replace(target)
        except BaseException:
            if beside != target:
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        cure = "make room" if error.errno in NO_ROOM else "name a file that can be written"
        message = f"{output} cannot be written: {error.strerror or error}; {cure}"
        raise errors.ConfigurationError(message) from error


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
