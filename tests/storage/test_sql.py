"""The SQL files: their blocks and their names."""

import re
from importlib import resources

import pytest

from marketdata.bars import Interval
from marketdata.recovery import errors
from resources.storage import sql
from resources.storage.timescale import Timescale


def every_query() -> list[tuple[str, str]]:
    """Return file and name of each block."""
    folder = resources.files(sql.__name__).joinpath("queries")
    return [
        (file.name.removesuffix(".sql"), name)
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        for name in re.findall(r"^-- name: *(\w+)$", file.read_text("utf-8"), re.MULTILINE)
    ]


def test_a_missing_block_is_named_with_those_there_are() -> None:
    """A typo shows what could have been meant."""
    with pytest.raises(errors.ConfigurationError, match=r"no block named nope; it has .*members"):
        sql.query("instruments", "nope")


def test_a_missing_file_is_an_error_of_the_installation() -> None:
    """Files missing from the package are no bug of the caller."""
    with pytest.raises(errors.ConfigurationError, match="install the project again"):
        sql.query("nope", "nope")


@pytest.mark.parametrize(("file", "name"), every_query())
def test_every_query_has_one_statement(file: str, name: str) -> None:
    """A block holds one statement without its semicolon, so that it may carry parameters."""
    text = "\n".join(
        line for line in sql.query(file, name).splitlines() if not line.strip().startswith("--")
    )

    assert text.strip()
    assert ";" not in text


def test_no_object_of_the_schema_is_without_its_migration(timescale: Timescale) -> None:
    """The views readers are promised exist after migrating."""
    with timescale.connection() as connection:
        rows = connection.execute(
            "select table_name from information_schema.views where table_schema = 'public'"
        ).fetchall()

    aggregates = {f"{kind}bars_{interval}" for kind in ("", "adjusted_") for interval in Interval}
    assert {"daily_bars", "adjusted_daily_bars", *aggregates} <= {row[0] for row in rows}
