"""Small JSON files that only their owner may read, and locks between processes.

Here: atomic writes, secrets that are generated once and kept, locks, and the folders around them.
Not here: what the secrets are for.
"""

import contextlib
import fcntl
import json
import os
import secrets
import string
import tempfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import cast

from marketdata.recovery import errors

_LETTERS_AND_DIGITS = string.ascii_letters + string.digits


def read_json(path: Path) -> dict[str, object]:
    """Return the object in ``path``, or an empty one if there is no such file.

    Raises:
        ConfigurationError: The file holds no JSON object.
    """
    try:
        content: object = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        message = f"{path} is damaged ({error}): remove it"
        raise errors.ConfigurationError(message) from error
    if not isinstance(content, dict):
        message = f"{path} is damaged (no JSON object): remove it"
        raise errors.ConfigurationError(message)
    return cast("dict[str, object]", content)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Replace ``path`` by ``content`` in one step; only the owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def kept_secrets(path: Path, makers: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """Return the secrets in ``path``; missing ones are generated and stored there."""
    known = {name: str(value) for name, value in read_json(path).items()}
    missing = {name: make() for name, make in makers.items() if name not in known}
    if missing:
        known |= missing
        write_json(path, known)
    return known


def letters_and_digits(length: int) -> str:
    """Return a random text that needs no quoting in URLs, shells and connection strings."""
    return "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(length))


def make_passable(folder: Path) -> None:
    """Create ``folder`` and its parents so that other users may pass, whatever our umask is.

    A database server that root starts runs as another user and has to reach its data.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[None]:
    """Hold an exclusive lock on the file ``path``; the kernel releases it if we die.

    Raises:
        BlockingIOError: Another process holds it, and ``wait`` is false.
    """
    make_passable(path.parent)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
