"""The chain of the audit log, without a database: what a verification finds, and what it names."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.audit import (
    FIRST_PREVIOUS,
    NAMED,
    Anchor,
    AuditRow,
    Head,
    JournalEntry,
    Verification,
    canonical_fields,
    entries_after,
    exported,
    row_of,
    verify,
)

BEGAN = datetime(2026, 11, 30, 5, tzinfo=UTC)
PLAIN = st.text(min_size=1, max_size=8)
DETAILS = st.dictionaries(
    PLAIN,
    st.none() | st.booleans() | st.integers() | PLAIN | st.lists(PLAIN, max_size=2),
    max_size=3,
)
DEEDS = st.lists(st.tuples(PLAIN, PLAIN, DETAILS), min_size=1, max_size=8)


def hashed(row: AuditRow) -> AuditRow:
    """Return the row with the text and the hash that fit its other columns."""
    canonical = json.dumps(canonical_fields(row), ensure_ascii=False)
    return replace(
        row,
        canonical=canonical,
        hash=hashlib.sha256(canonical.encode()).digest(),
    )


def chained(deeds: Sequence[tuple[str, str, dict[str, Any]]]) -> list[AuditRow]:
    """Return the rows of some deeds, chained as the database does."""
    rows: list[AuditRow] = []
    for number, (who, subject, details) in enumerate(deeds, start=1):
        row = AuditRow(
            id=number,
            at=BEGAN + timedelta(seconds=number),
            who=who,
            origin="a host",
            action="letters_discarded",
            subject=subject,
            details=details,
            canonical="",
            previous_hash=rows[-1].hash if rows else FIRST_PREVIOUS,
            hash=b"",
        )
        rows.append(hashed(row))
    return rows


def head_of(rows: Sequence[AuditRow]) -> Head:
    """Return the head of a whole chain."""
    return Head(last_id=rows[-1].id, last_hash=rows[-1].hash)


def anchor_of(row: AuditRow) -> Anchor:
    """Return an anchor of a row."""
    return Anchor(audit_id=row.id, hash=row.hash, anchored_at=BEGAN, object_key="audit/anchors/a")


def entry_of(row: AuditRow) -> JournalEntry:
    """Return the journal's entry of a row."""
    return JournalEntry(
        audit_id=row.id,
        previous_hash=row.previous_hash,
        hash=row.hash,
        object_key=f"audit/rows/{row.id}",
    )


def rewritten(rows: Sequence[AuditRow], index: int) -> list[AuditRow]:
    """Return the rows with one subject changed, and all hashes from there on made to fit."""
    done = list(rows[:index])
    for row in rows[index:]:
        subject = row.subject + "!" if row.id == index + 1 else row.subject
        previous = done[-1].hash if done else FIRST_PREVIOUS
        done.append(hashed(replace(row, subject=subject, previous_hash=previous)))
    return done


@pytest.fixture
def rows() -> list[AuditRow]:
    """A chain of ten rows."""
    return chained([("ada@desk", f"letter {number}", {"n": number}) for number in range(10)])


def found(verification: Verification) -> str:
    """Return all findings in one text."""
    return "; ".join(verification.findings)


@given(DEEDS)
def test_any_chain_of_rows_is_whole(deeds: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Whatever is written into a row, its text says the same as its columns."""
    rows = chained(deeds)

    verification = verify(rows, head_of(rows), [anchor_of(row) for row in rows])

    assert verification.valid
    assert (verification.rows, verification.through_id) == (len(rows), len(rows))
    assert verification.through_hash == rows[-1].hash


@given(DEEDS, st.data())
def test_no_change_of_a_single_row_goes_unseen(
    deeds: list[tuple[str, str, dict[str, Any]]], data: st.DataObject
) -> None:
    """Whichever row and column: the finding names the row."""
    rows = chained(deeds)
    index = data.draw(st.integers(0, len(rows) - 1))
    column, value = data.draw(
        st.sampled_from(
            [
                ("who", rows[index].who + "!"),
                ("origin", "elsewhere"),
                ("action", "run_launched"),
                ("subject", rows[index].subject + "!"),
                ("details", {**rows[index].details, "added": 1}),
                ("at", rows[index].at + timedelta(microseconds=1)),
                ("canonical", rows[index].canonical + " "),
                ("hash", bytes(32)),
                ("previous_hash", bytes([1] * 32)),
            ]
        )
    )
    rows[index] = replace(rows[index], **{column: value})

    verification = verify(rows, head_of(chained(deeds)))

    assert f"row {index + 1} " in found(verification)


@given(DEEDS, st.data())
def test_no_missing_row_goes_unseen(
    deeds: list[tuple[str, str, dict[str, Any]]], data: st.DataObject
) -> None:
    """In the middle, at the beginning or at the end: it is named."""
    rows = chained(deeds)
    head = head_of(rows)
    gone = data.draw(st.integers(1, len(rows)))

    verification = verify([row for row in rows if row.id != gone], head)

    assert f"row {gone} is missing" in found(verification)


@given(DEEDS, st.data())
def test_only_an_anchor_shows_that_everything_was_rewritten(
    deeds: list[tuple[str, str, dict[str, Any]]], data: st.DataObject
) -> None:
    """With all hashes and the head made to fit, the chain alone looks whole."""
    rows = chained(deeds)
    index = data.draw(st.integers(0, len(rows) - 1))
    anchored = data.draw(st.integers(index, len(rows) - 1))
    forged = rewritten(rows, index)

    assert verify(forged, head_of(forged), []).valid
    verification = verify(forged, head_of(forged), [anchor_of(rows[anchored])])
    assert f"row {anchored + 1} is not the one that was anchored" in found(verification)


def test_a_row_that_was_replaced_with_its_hash_is_betrayed_by_the_next(
    rows: list[AuditRow],
) -> None:
    """Who does not rewrite what follows leaves a broken link."""
    rows[4] = hashed(replace(rows[4], subject="another"))

    assert "row 6 does not follow row 5" in found(verify(rows, head_of(rows)))


def test_a_cut_tail_is_named_by_the_head_and_without_it_by_an_anchor(rows: list[AuditRow]) -> None:
    """The head says where the log ended; who set it back too did not reach the anchor."""
    head, cut = head_of(rows), rows[:7]

    assert found(verify(cut, head)) == "rows 8 to 10 are missing: cut off at the end"
    assert "the head is missing" in found(verify(cut, None))
    set_back = verify(cut, head_of(cut), [anchor_of(rows[9])])
    assert "row 10 is missing, which was anchored" in found(set_back)


def test_rows_past_the_head_are_named(rows: list[AuditRow]) -> None:
    """The trigger that chains rows moves the head: past it nobody comes in order."""
    found_past = found(verify(rows, head_of(rows[:8])))

    assert "the head names row 8 as the last, and the log ends at row 10" in found_past


def test_a_head_of_another_hash_is_named(rows: list[AuditRow]) -> None:
    """The last row has no successor: the head keeps its hash."""
    rows[9] = hashed(replace(rows[9], subject="another"))

    assert "the head has another hash than row 10" in found(
        verify(rows, replace(head_of(rows), last_hash=bytes(32)))
    )


@pytest.mark.parametrize("canonical", ["no JSON", "[]", "{}", '{"id": 1}'])
def test_a_text_that_is_none_of_ours_is_a_finding(rows: list[AuditRow], canonical: str) -> None:
    """A verification never fails with a traceback over what it was to find."""
    rows[4] = replace(
        rows[4], canonical=canonical, hash=hashlib.sha256(canonical.encode()).digest()
    )

    assert "row 5 was altered" in found(verify(rows, head_of(rows)))


def test_an_empty_log_is_whole() -> None:
    """Nothing has happened yet."""
    assert verify([], Head(last_id=0, last_hash=FIRST_PREVIOUS)).valid


def test_findings_are_bounded() -> None:
    """A log that was destroyed as a whole does not fill the terminal."""
    rows = [replace(row, hash=bytes(32)) for row in chained([("a", "b", {})] * (NAMED + 5))]

    verification = verify(rows, head_of(rows))

    assert len(verification.findings) == NAMED
    assert verification.further > 0


def test_an_exported_row_says_what_its_text_says(rows: list[AuditRow]) -> None:
    """A stranger compares them field by field."""
    line = json.loads(json.dumps(exported(rows[3])))
    stated = json.loads(line["canonical"])

    assert stated == {name: line[name] for name in stated}


@given(DEEDS)
def test_a_row_is_read_back_from_its_text(deeds: list[tuple[str, str, dict[str, Any]]]) -> None:
    """Every column, and the hash."""
    for row in chained(deeds):
        assert row_of(row.canonical) == row


@pytest.mark.parametrize("text", ["", "{}", "[]", '"a"', '{"id": 1}', "1"])
def test_what_is_no_text_of_a_row_is_refused(text: str) -> None:
    """Whatever it lacks."""
    with pytest.raises(ValueError):  # noqa: PT011 the text is the JSON parser's, or ours
        row_of(text)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.data())
def test_deeds_that_were_not_committed_do_not_hide_the_chain(
    undone: list[int], data: st.DataObject
) -> None:
    """Each deed may have been tried before: its first entries have the same id and no successor."""
    rows = chained([("ada@desk", f"letter {number}", {}) for number in range(len(undone))])
    entries = [
        entry_of(hashed(replace(row, subject=f"attempt {attempt}")))
        for row, attempts in zip(rows, undone, strict=True)
        for attempt in range(attempts)
        # Of several last entries nobody knows which was committed.
        if row is not rows[-1]
    ] + [entry_of(row) for row in rows]
    known = data.draw(st.integers(0, len(rows) - 1))
    last_hash = rows[known - 1].hash if known else FIRST_PREVIOUS

    after = entries_after(data.draw(st.permutations(entries)), last_hash)

    assert after == [entry_of(row) for row in rows[known:]]
    verification = verify(rows, head_of(rows), None, entries)
    assert verification.valid
    assert verification.unjournaled == 0


@given(st.integers(1, 9))
def test_a_rewritten_row_is_not_the_one_that_was_journaled(index: int) -> None:
    """With every hash from there on made to fit."""
    rows = chained([("ada@desk", f"letter {number}", {}) for number in range(10)])
    forged = rewritten(rows, index)

    verification = verify(forged, head_of(forged), None, [entry_of(row) for row in rows])

    assert verification.findings[0].startswith(f"row {index + 1} is not the one that was journaled")


@given(st.integers(0, 8))
def test_rows_that_were_cut_off_are_named_by_the_journal(kept: int) -> None:
    """All but the last, whose deed may not have been committed."""
    rows = chained([("ada@desk", f"letter {number}", {}) for number in range(10)])
    head = head_of(rows[:kept]) if kept else Head(last_id=0, last_hash=FIRST_PREVIOUS)

    verification = verify(rows[:kept], head, None, [entry_of(row) for row in rows])

    assert [finding.split(",")[0] for finding in verification.findings] == [
        f"row {number} is missing" for number in range(kept + 1, 10)
    ]
