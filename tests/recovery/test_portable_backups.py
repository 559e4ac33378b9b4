"""The portable form: what pg_dump writes into the bucket comes back equal, elsewhere."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from marketdata.recovery import errors
from pipelines.cli.main import app
from resources.settings import Settings
from resources.storage.object_store import ObjectStore
from resources.storage.recovery import digests, emptied, hold
from resources.storage.timescale import Timescale
from sandbox.backed_up import BackedUpWorld
from sandbox.timescaledb import SUPERUSER
from tests.fixtures.backups import database
from tests.storage.archive.archived_years import store_bars
from usecases import portable_backups
from usecases.restore_drill import differences

pytestmark = pytest.mark.long


def say_nothing(sentence: str) -> None:
    """Take a report."""
    del sentence


@pytest.fixture
def timescale(backed_up_url: str) -> Iterator[Timescale]:
    """An open pool on a database of the embedded server, whose superuser we know."""
    with Timescale(backed_up_url) as opened:
        yield opened


@pytest.fixture
def programs(backed_up: BackedUpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's programs on the PATH."""
    monkeypatch.setenv("PATH", backed_up.path)


@pytest.fixture
def dagster_url(backed_up: BackedUpWorld) -> Iterator[str]:
    """Another database of that server, as Dagster's may be one."""
    with database(backed_up, "dagster") as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table runs as select 'one' as run_id, now() as began")
        yield url


@pytest.fixture
def filled(
    programs: None,  # noqa: ARG001  # a fixture cannot use the mark
    settings: Settings,
    timescale: Timescale,
    instrument_ids: list[int],
) -> Settings:
    """Daily bars of two years."""
    store_bars(timescale, instrument_ids)
    return settings


def as_superuser(url: str, backed_up: BackedUpWorld) -> str:
    """Return the URL of the same database for the server's superuser."""
    return backed_up.url(url.rpartition("/")[2], SUPERUSER)


def moved_to(settings: Settings, url: str, dagster_url: str = "") -> Settings:
    """Return settings of another database, and of one for Dagster alone."""
    of_dagster = SecretStr(dagster_url) if dagster_url else None
    return settings.model_copy(
        update={"database_url": SecretStr(url), "dagster_database_url": of_dagster}
    )


def test_a_portable_backup_comes_back_equal_in_every_table(
    filled: Settings, timescale: Timescale, dagster_url: str, backed_up: BackedUpWorld
) -> None:
    """Market data and Dagster's, by hash; the new database is on hold, which its log says."""
    [before, runs_before] = [digests.digests(url) for url in (timescale.url, dagster_url)]

    taken = portable_backups.take_portable_backup(
        moved_to(filled, timescale.url, dagster_url), say_nothing
    )

    assert portable_backups.portable_backups(filled) == [taken]
    assert set(taken.sha256) == {"market", "dagster"}
    with database(backed_up, "new") as new, database(backed_up, "runs") as runs:
        market = as_superuser(new, backed_up)
        loaded = portable_backups.load_portable_backup(
            moved_to(filled, market, as_superuser(runs, backed_up)), taken.label, say_nothing
        )
        held = hold.current(market)
        with psycopg.connect(market, autocommit=True) as connection:
            connection.execute("truncate recovery_hold")
            restoring = connection.execute("show timescaledb.restoring").fetchone()
        assert loaded == taken
        rows = before["public.audit_log"].rows
        held_in_log = [
            "public.audit_head has the same 1 rows, but other values in the copy",
            f"public.audit_log has {rows + 1} rows in the copy, and had {rows}",
        ]
        assert differences([before], [digests.digests(market)]) == held_in_log
        assert differences([runs_before], [digests.digests(as_superuser(runs, backed_up))]) == []
        assert before["public.daily_bar"].rows == 60
        assert restoring == ("off",)
    assert held is not None
    assert (held.reason, held.target) == (
        f"loaded from portable backup {taken.label}",
        taken.taken_at,
    )


def test_dagsters_database_is_never_loaded_into_that_of_the_market_data(
    filled: Settings, timescale: Timescale, dagster_url: str, backed_up: BackedUpWorld
) -> None:
    """Where no variable names one for it; nothing is loaded at all."""
    taken = portable_backups.take_portable_backup(
        moved_to(filled, timescale.url, dagster_url), say_nothing
    )

    with database(backed_up, "new") as new:
        market = as_superuser(new, backed_up)
        with pytest.raises(errors.ArgumentError, match="WRDATA_DAGSTER_DATABASE_URL; nothing was"):
            portable_backups.load_portable_backup(
                moved_to(filled, market), taken.label, say_nothing
            )
        emptied.require_empty(market)


def test_a_portable_backup_is_recorded_with_its_versions(
    filled: Settings, timescale: Timescale
) -> None:
    """In the table, beside pgBackRest's."""
    taken = portable_backups.take_portable_backup(filled, say_nothing)

    with timescale.connection() as connection:
        rows = connection.execute(
            "select kind::text, label, stored_bytes, timescaledb_version, error from backup_run"
        ).fetchall()
    assert rows == [("portable", taken.label, taken.bytes, taken.timescaledb, None)]
    assert taken.timescaledb == timescale.server().timescaledb_version


def test_a_database_with_tables_is_never_loaded_into(
    filled: Settings, timescale: Timescale
) -> None:
    """Its own, for example."""
    taken = portable_backups.take_portable_backup(filled, say_nothing)
    before = digests.digests(timescale.url)

    with pytest.raises(errors.ArgumentError, match=r"is not empty .* nothing was loaded"):
        portable_backups.load_portable_backup(filled, taken.label, say_nothing)

    assert digests.digests(timescale.url) == before


def test_another_version_of_the_extension_is_refused_before_anything_is_loaded(
    filled: Settings, object_store: ObjectStore, backed_up: BackedUpWorld
) -> None:
    """TimescaleDB's own tables are of one version."""
    taken = portable_backups.take_portable_backup(filled, say_nothing)
    key = f"{portable_backups.FOLDER}/{taken.label}/{portable_backups.ABOUT}"
    about = json.loads(object_store.get(key).content) | {"timescaledb": "0.0.1"}
    object_store.put_bytes(key, json.dumps(about).encode(), content_type="application/json")

    with database(backed_up, "new") as new:
        market = as_superuser(new, backed_up)
        with pytest.raises(errors.ConfigurationError, match=r"TimescaleDB 0\.0\.1, and "):
            portable_backups.load_portable_backup(
                moved_to(filled, market), taken.label, say_nothing
            )
        emptied.require_empty(market)


def test_a_file_that_is_not_the_one_that_was_kept_is_refused(
    filled: Settings, object_store: ObjectStore, backed_up: BackedUpWorld
) -> None:
    """By its hash, before the database is touched."""
    taken = portable_backups.take_portable_backup(filled, say_nothing)
    key = f"{portable_backups.FOLDER}/{taken.label}/market.dump"
    content = object_store.get(key).content
    object_store.put_bytes(key, content[:-1] + b"!", content_type="application/octet-stream")

    with database(backed_up, "new") as new:
        market = as_superuser(new, backed_up)
        with pytest.raises(errors.ArchiveMismatchError, match=r"market\.dump of portable backup"):
            portable_backups.load_portable_backup(
                moved_to(filled, market), taken.label, say_nothing
            )
        emptied.require_empty(market)


def test_the_commands_take_and_list_portable_backups(
    filled: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON for scripts."""
    assert filled
    capsys.readouterr()
    assert app(["backup", "portable", "--json"], standalone_mode=False) in {None, 0}
    taken = json.loads(capsys.readouterr().out)
    assert app(["backup", "list", "--portable", "--json"], standalone_mode=False) in {None, 0}
    assert json.loads(capsys.readouterr().out) == [taken]
    with pytest.raises(errors.ArgumentError, match="no portable backup 19700101T000000Z"):
        app(["backup", "load", "19700101T000000Z"], standalone_mode=False)
