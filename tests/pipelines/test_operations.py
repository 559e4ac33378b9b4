"""The log of operations: a line is what it was, and a changed one is noticed."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.recovery import errors
from usecases.operations import Operation, every_operation, operations_of

OPERATION = Operation(
    at=datetime(2026, 11, 30, 14, 0, tzinfo=UTC),
    who="alice",
    address="192.0.2.7",
    what="terminateRun",
    subject="run 1234",
    outcome="TerminateRunSuccess",
)


@given(
    st.builds(
        Operation,
        at=st.datetimes(timezones=st.just(UTC)),
        who=st.text(),
        address=st.text(),
        what=st.text(),
        subject=st.text(),
        outcome=st.text(),
    )
)
def test_a_line_holds_an_operation_whatever_its_names_are(operation: Operation) -> None:
    """Line ends and quotes in them too: they cannot forge another line."""
    line = operation.line()
    assert "\n" not in line
    assert every_operation([line]) == [operation]


@pytest.mark.parametrize("what", ["launchRun", "launchRunReexecution"])
def test_a_launch_is_told_by_its_run_and_a_refused_one_by_the_log(what: str) -> None:
    """So that the audit log has each once."""
    told, refused = (
        json.dumps({**json.loads(OPERATION.line()), "what": what, "outcome": outcome})
        for outcome in ("LaunchRunSuccess", "UnauthorizedError")
    )
    read = operations_of([told, OPERATION.line(), refused, ""])
    assert [(operation.what, operation.outcome) for operation in read] == [
        ("terminateRun", "TerminateRunSuccess"),
        (what, "UnauthorizedError"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        "{}",
        OPERATION.line().replace("+00:00", ""),
        OPERATION.line().replace('"alice"', "7"),
        OPERATION.line().replace("who", "whose"),
    ],
)
def test_a_line_that_is_no_operation_is_named(line: str) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(errors.ConfigurationError, match="line 2 of the log"):
        operations_of([OPERATION.line(), line])
