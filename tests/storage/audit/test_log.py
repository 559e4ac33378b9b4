"""The audit log in a real database: what it refuses, and what a verification names."""

import hashlib
import itertools
import json
import re
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketdata.audit import FIRST_PREVIOUS, Action, Verification
from marketdata.recovery import errors
from resources.storage import migrations, sql
from resources.storage.audit import AuditLog, Deed, record
from resources.storage.audit.log import this_origin
from resources.storage.timescale import Timescale
from sandbox.local_world import LocalWorld
from tests.fixtures.superuser import Tamper, superuser_url
from tests.storage.audit.deeds import NOBODY, REHASH, ROWS, deed
from usecases.auditing import NOT_ANCHORED, describe, verify_log


def verified(log: AuditLog) -> Verification:
    """Verify the log, without anchors."""
    return verify_log(log, None)


def last_id(log: AuditLog) -> int:
    """Return the id of the last row."""
    return log.head().last_id


def one(timescale: Timescale, query: str) -> Any:
    """Return the one value that a query finds."""
    with timescale.connection() as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0]


def run(timescale: Timescale, *statements: str) -> None:
    """Run statements in one transaction."""
    with timescale.connection() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def do(timescale: Timescale, who: str, *, first: str = "select 1", then: str = "select 1") -> None:
    """Record a deed in a transaction, between two statements."""
    with timescale.connection() as connection:
        connection.execute(first.encode())
        record(connection, Action.PERIOD_DROPPED, who=who, subject="a period", journal=None)
        connection.execute(then.encode())


# What a row says


def test_a_row_says_who_did_what_when_and_from_where(log: AuditLog) -> None:
    """The time is the database's, in UTC; the place is this process."""
    row = log.find(limit=1)[0]

    assert (row.who, row.action, row.subject) == ("ada@desk", "letters_discarded", "letter 9")
    assert row.details == {"number": 9}
    assert row.origin == this_origin()
    assert (
        datetime.now(UTC) - timedelta(minutes=5) < row.at < datetime.now(UTC) + timedelta(minutes=5)
    )


def test_a_rows_text_says_what_its_columns_say_and_its_hash_is_that_of_the_text(
    log: AuditLog,
) -> None:
    """The chain begins with zeros."""
    with log.chain() as (head, chain):
        rows = list(chain)
    assert head

    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0].previous_hash == FIRST_PREVIOUS
    for row, following in itertools.pairwise(rows):
        assert following.previous_hash == row.hash
    for row in rows:
        assert hashlib.sha256(row.canonical.encode()).digest() == row.hash
        assert json.loads(row.canonical)["subject"] == row.subject
    assert (head.last_id, head.last_hash) == (rows[-1].id, rows[-1].hash)


def test_rows_are_found_by_time_action_and_part_of_a_name(log: AuditLog) -> None:
    """The latest first."""
    log.append(Deed(action=Action.SPLIT_CONFIRMED, who="Grace@desk", subject="a split", details={}))

    assert [row.subject for row in log.find(who="grace")] == ["a split"]
    assert [row.subject for row in log.find(actions=[Action.SPLIT_CONFIRMED])] == ["a split"]
    assert len(log.find(actions=[Action.LETTERS_DISCARDED])) == ROWS
    assert log.find(since=datetime.now(UTC) + timedelta(days=1)) == []
    assert [row.subject for row in log.find(limit=2)] == ["a split", "letter 9"]


# What the database refuses


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_log set who = 'nobody'",
        "delete from audit_log",
        "truncate audit_log",
        "update audit_head set last_id = 1",
        "delete from audit_head",
        "truncate audit_head",
        "insert into audit_head (only_row, last_id, last_hash) values (true, 0, '')",
        "update audit_anchor set audit_id = 1",
        "delete from audit_anchor",
        "update audit_verification set valid = true",
        "truncate audit_verification",
    ],
)
def test_nobody_alters_or_forgets_what_is_in_the_log(
    log: AuditLog, timescale: Timescale, statement: str
) -> None:
    """Not even its owner, by the way that everybody takes."""
    with pytest.raises(errors.StorageConflictError, match="only added to"):
        run(timescale, statement)
    assert verified(log).valid


def test_what_a_writer_gives_for_id_time_and_hashes_is_ignored(
    log: AuditLog, timescale: Timescale
) -> None:
    """The trigger sets them."""
    before = last_id(log)
    with timescale.connection() as connection:
        connection.execute(
            "insert into audit_log"
            " (id, at, who, origin, action, subject, canonical, previous_hash, hash) values"
            " (999, '2000-01-01', 'a', 'b', 'c', 'd', 'e', '\\x00', '\\x00')"
        )

    assert last_id(log) == before + 1
    assert log.find(limit=1)[0].at.year > 2000
    assert verified(log).valid


def test_a_role_that_may_only_insert_adds_rows_and_nothing_else(
    log: AuditLog, world: LocalWorld, migrated_url: str
) -> None:
    """The trigger runs as its definer: the writer needs no right on the head."""
    role = f"writes_audit_{secrets.token_hex(4)}"
    refused = ("select * from audit_log", "update audit_head set last_id = 0")
    with Timescale(superuser_url(world, migrated_url)) as superuser:
        run(superuser, f"create role {role}", f"grant insert on audit_log to {role}")
        try:
            do(superuser, "a role", first=f"set local role {role}")
            for statement in refused:
                with pytest.raises(errors.StorageConflictError, match="permission denied"):
                    run(superuser, f"set local role {role}", statement)
        finally:
            run(superuser, f"drop owned by {role}", f"drop role {role}")

    assert log.find(limit=1)[0].who == "a role"
    assert verified(log).valid


# Deed and row


def test_a_deed_that_is_undone_leaves_no_row_and_no_gap(
    log: AuditLog, timescale: Timescale
) -> None:
    """The head goes back with the transaction."""
    before = last_id(log)
    with pytest.raises(errors.StorageConflictError, match="division by zero"):
        do(timescale, "a run", then="select 1 / 0")

    assert last_id(log) == before
    log.append(deed(10))
    assert verified(log).valid


@pytest.mark.parametrize(
    "action", [Action.RUN_LAUNCHED, Action.RUN_CANCELLED, Action.BACKFILL_LAUNCHED]
)
def test_an_event_of_a_run_has_one_row_however_many_see_it(log: AuditLog, action: Action) -> None:
    """The database refuses the second; the chain has no gap."""
    assert [log.append_once(deed(1, action=action)) for _ in range(3)] == [True, False, False]

    assert len(log.find(actions=[action])) == 1
    assert log.subjects(action, ["letter 1", "letter 2"]) == {"letter 1"}
    log.append(deed(11))
    assert verified(log).valid


def test_writers_at_the_same_time_keep_one_chain(log: AuditLog, migrated_url: str) -> None:
    """Four connections, twenty rows each, every fifth undone."""
    before = last_id(log)
    begin = threading.Barrier(4)

    def write(writer: int) -> None:
        with Timescale(migrated_url, pool_size=1) as timescale:
            begin.wait()
            for number in range(20):
                undone = "select 1 / 0" if number % 5 == 4 else "select 1"
                with suppress(errors.StorageConflictError):
                    do(timescale, f"writer {writer}", then=undone)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))

    assert last_id(log) == before + 4 * 16
    assert verified(log).valid


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10),
            st.dictionaries(
                st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
                st.integers(-(2**60), 2**60)
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.booleans()
                | st.none(),
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_written_the_chain_holds(
    timescale: Timescale, deeds: list[tuple[str, dict[str, Any]]]
) -> None:
    """Any text and any numbers: PostgreSQL's writing of JSON is read back as it was stored."""
    log = AuditLog(timescale)
    for who, details in deeds:
        log.append(Deed(action=Action.LETTERS_REPLAYED, who=who, subject="", details=details))

    assert verified(log).findings == ()


# A superuser


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["update audit_log set who = 'nobody' where id = 5"], "row 5 was altered.*who"),
        (["update audit_log set details = '{}' where id = 5"], "row 5 was altered.*details"),
        (["update audit_log set at = at - interval '1 day' where id = 5"], "row 5 was altered.*at"),
        (["update audit_log set hash = sha256('x') where id = 5"], "row 5 was altered"),
        (["delete from audit_log where id = 9"], "row 9 is missing"),
        (["delete from audit_log where id between 3 and 6"], "rows 3 to 6 are missing"),
        (["delete from audit_log where id = 1"], "row 1 is missing"),
        (["delete from audit_log where id > 8"], "rows 9 to .* are missing: cut off at the end"),
        (["truncate audit_log"], "rows 1 to .* are missing: cut off at the end"),
        (["delete from audit_head"], "the head is missing"),
        (["update audit_head set last_id = 8"], "the head names row 8"),
        (
            ["update audit_head set last_hash = sha256('x')"],
            "the head has another hash",
        ),
        (
            [
                NOBODY,
                "update audit_log set hash = sha256(convert_to(canonical, 'UTF8')) where id = 5",
            ],
            "row 6 does not follow row 5",
        ),
    ],
)
def test_a_superusers_tampering_is_named(
    log: AuditLog, tamper: Tamper, statements: Sequence[str], expected: str
) -> None:
    """With session_replication_role = replica no trigger fires: the hashes tell all the same."""
    for statement in statements:
        tamper(statement)

    verification = verified(log)

    assert not verification.valid
    assert any(re.search(expected, finding) for finding in verification.findings)


def test_a_rewrite_of_everything_looks_whole_without_an_anchor(
    log: AuditLog, tamper: Tamper
) -> None:
    """That is what anchors are for (test_anchors.py), and what the verification says."""
    tamper(NOBODY)
    tamper(REHASH)

    verification = verified(log)

    assert verification.valid
    assert NOT_ANCHORED in describe(verification)


def test_the_result_of_a_verification_is_kept(
    log: AuditLog, timescale: Timescale, tamper: Tamper
) -> None:
    """Metrics and alerts read the last one."""
    verified(log)
    assert one(timescale, "select valid from audit_verification order by 1 desc limit 1") is True
    tamper("update audit_log set who = 'nobody' where id = 5")
    verified(log)

    query = "select finding from audit_verification where not valid"
    assert "row 5 was altered" in one(timescale, query)
    query = "select through_id from audit_verification where not valid"
    assert one(timescale, query) == last_id(log)


# Migrations


def test_a_migration_leaves_a_row_in_its_own_transaction(migrated_url: str) -> None:
    """With who applied it; one that fails leaves none."""
    shipped = sql.migrations()
    further = sql.migration("9001_create_thing.sql", "create table thing (a int)")
    broken = sql.migration("9002_create_other.sql", "select 1 / 0")
    migrations.migrate(migrated_url, [*shipped, further], by="ada@desk")
    with pytest.raises(errors.StorageConflictError):
        migrations.migrate(migrated_url, [*shipped, further, broken], by="ada@desk")

    with Timescale(migrated_url) as timescale:
        log = AuditLog(timescale)
        rows = log.find(actions=[Action.MIGRATION_APPLIED], who="ada")
        assert [row.subject for row in rows] == ["9001_create_thing.sql"]
        assert rows[0].details == {"sha256": further.sha256}
        assert verified(log).valid


def test_without_a_log_nothing_that_is_audited_happens(
    timescale: Timescale, migrated_url: str
) -> None:
    """A row that cannot be written undoes the deed."""
    with psycopg.connect(migrated_url) as connection:
        connection.execute("alter table audit_log add constraint refused check (who <> 'ada')")
        connection.execute("create table deed (done boolean)")
    with pytest.raises(errors.StorageConflictError, match="refused"):
        do(timescale, "ada", first="insert into deed values (true)")

    assert one(timescale, "select count(*) from deed") == 0
