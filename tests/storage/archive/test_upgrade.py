"""What an older version archived is known to the newer one."""

from datetime import UTC, date, datetime

import psycopg

from marketdata.archiving import Period
from resources.storage import migrations, sql
from resources.storage.archive.proofs import ArchiveLog, FileProof
from resources.storage.timescale import Timescale


def test_months_of_daily_bars_are_proofs_of_one_file(database_url: str) -> None:
    """Migration 0017: the month becomes a period, its file a list, and history stays history."""
    older = [one for one in sql.migrations() if one.name < "0017"]
    migrations.migrate(database_url, older)
    with psycopg.connect(database_url) as connection:
        for superseded_at in (datetime(2026, 5, 3, tzinfo=UTC), None):
            connection.execute(
                "insert into archive_log (dataset, month, object_key, rows, bytes, first_session,"
                " last_session, file_sha256, content_digest, column_sha256, schema_fingerprint,"
                " snapshot_id, code_version, superseded_at) values ('daily_bars', '2024-03-01',"
                " 'key', 93, 7, '2024-03-01', '2024-03-28', 'file', 'rows', '{\"open\": \"o\"}',"
                " 'schema', 5, 'code', %s)",
                [superseded_at],
            )

    migrations.migrate(database_url)

    with Timescale(database_url) as timescale:
        valid = ArchiveLog(timescale).valid("daily_bars")
    assert list(valid) == ["2024-03"]
    proof = valid["2024-03"].proof
    assert proof.period == Period(start=date(2024, 3, 1), end=date(2024, 4, 1), label="2024-03")
    assert proof.files == (FileProof(object_key="key", rows=93, bytes=7, file_sha256="file"),)
    assert proof.bounds == {"session_date": ("2024-03-01", "2024-03-28")}
    assert proof.column_sha256 == {"open": "o"}
    assert (proof.rows, valid["2024-03"].snapshot_id) == (93, 5)
