"""Files that commands write for their users: whole, or not at all.

Here: how a result comes to stand under its name. Not here: what is in it (query.py,
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
    """Open ``output`` for writing; what was there stays until all of the new file is written.

    It is written beside and renamed: neither a full disk nor Ctrl-C leaves a part of a file.

    Raises:
        ConfigurationError: It cannot be written; the text says why.
    """
    target = output.resolve()
    # A pipe or a device is written to as it is.
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
