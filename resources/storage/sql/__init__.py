"""The project's SQL, shipped as .sql files: migrations, named queries, and scripts of engines.

Here: reading and parsing those files, and the one place that declares their text trusted. Not
here: running it.

A query file holds blocks that open with ``-- name: some_name`` and a line that says what the
query answers; parameters are written ``%(name)s``.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import LiteralString, cast

from marketdata.recovery import errors

MIGRATION_NAME = re.compile(r"^\d{4}_[a-z]+_[a-z0-9_]+\.sql$")
"""``NNNN_verb_object.sql``."""

_BLOCK = re.compile(r"^-- name: *(?P<name>[a-z][a-z0-9_]*)$\n-- (?P<what>.+)$", re.MULTILINE)
_DIRECTIVE = re.compile(r"-- migrate: *(?P<words>.*)")
_NO_TRANSACTION, _CONTRACT = "no-transaction", "contract"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration file.

    Attributes:
        transactional: False when the first line says ``-- migrate: no-transaction``; such a
            file holds exactly one statement.
        contracts: True when the first line says ``-- migrate: contract``: the file takes away
            what the release before uses. All others expand: that release works on with them.
    """

    name: str
    text: LiteralString
    sha256: str
    transactional: bool
    contracts: bool


def query(file: str, name: str) -> LiteralString:
    """Return the query ``name`` of ``queries/<file>.sql``.

    Raises:
        ConfigurationError: There is no such file or block.
    """
    queries = _queries(file)
    if name not in queries:
        message = f"queries/{file}.sql has no block named {name}; it has {', '.join(queries)}"
        raise errors.ConfigurationError(message)
    return queries[name]


@functools.cache
def _queries(file: str) -> Mapping[str, LiteralString]:
    text = _read(f"queries/{file}.sql")
    blocks = list(_BLOCK.finditer(text))
    ends = [*(block.start() for block in blocks[1:]), len(text)]
    parsed: dict[str, LiteralString] = {}
    for block, end in zip(blocks, ends, strict=True):
        if block["name"] in parsed:
            message = f"queries/{file}.sql names {block['name']} twice; rename one of them"
            raise errors.ConfigurationError(message)
        parsed[block["name"]] = _trusted(text[block.end() : end].strip().removesuffix(";"))
    return parsed


@functools.cache
def migrations() -> tuple[Migration, ...]:
    """Return the shipped migrations, in the order in which they apply.

    Raises:
        ConfigurationError: A file is not named ``NNNN_verb_object.sql``, or a number comes twice.
    """
    folder = resources.files(__name__).joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    taken: dict[str, str] = {}
    for name in names:
        if not MIGRATION_NAME.match(name):
            message = f"migrations/{name} should be named NNNN_verb_object.sql"
            raise errors.ConfigurationError(message)
        first = taken.setdefault(name[:4], name)
        if first != name:
            message = f"migrations/{name} has the number of {first}: give one of them another"
            raise errors.ConfigurationError(message)
    return tuple(migration(name, _read(f"migrations/{name}")) for name in names)


def engine(name: str) -> LiteralString:
    """Return the script ``engines/<name>.sql``, the set-up for a feature of some editions.

    Raises:
        ConfigurationError: There is no such file.
    """
    return _trusted(_read(f"engines/{name}.sql"))


def migration(name: str, text: str) -> Migration:
    """Build a migration from a file's name and text.

    Raises:
        ConfigurationError: Its first line says ``-- migrate:`` and a word that means nothing.
    """
    directive = _DIRECTIVE.match(text)
    words = set(directive["words"].split()) if directive else set[str]()
    if unknown := words - {_NO_TRANSACTION, _CONTRACT}:
        message = (
            f"the first line of migrations/{name} says {', '.join(sorted(unknown))}: "
            f"it may say {_NO_TRANSACTION}, {_CONTRACT}, or both"
        )
        raise errors.ConfigurationError(message)
    return Migration(
        name=name,
        text=_trusted(text),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        transactional=_NO_TRANSACTION not in words,
        contracts=_CONTRACT in words,
    )


def _read(path: str) -> str:
    try:
        return resources.files(__name__).joinpath(path).read_text("utf-8")
    except FileNotFoundError as error:
        message = f"{path} is not part of this installation; install the project again"
        raise errors.ConfigurationError(message) from error


def _trusted(text: str) -> LiteralString:
    """Declare text of a shipped file to be trusted SQL.

    The only cast of its kind: these files are part of the program, written and reviewed like
    its code, and hold no value from outside (values travel as parameters).
    """
    return cast("LiteralString", text)
