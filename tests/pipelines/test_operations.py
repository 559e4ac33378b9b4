"""The log of operations: a line says what the operation was."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from usecases.operations import Operation


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
    fields = json.loads(line)
    assert Operation(at=datetime.fromisoformat(fields.pop("at")), **fields) == operation
