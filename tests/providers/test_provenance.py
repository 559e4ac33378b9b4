"""The provenance of an answer of several replies."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketdata.recovery import errors
from marketdata.rows import unread
from resources.providers.http import HttpAnswer
from resources.providers.provenance import Replies, kept_as, pointers

NOON = datetime(2026, 8, 5, 12, tzinfo=UTC)
REPLY = HttpAnswer(
    status=200, headers={}, body=b"a", sha256="", fetched_at=NOON, requests=1, raw_answer="raw/1"
)
ROWS = pa.table({"symbol": ["A"]})
LEFT_OUT = unread("left out")

replies = st.lists(
    st.builds(
        lambda body, seconds, requests: replace(
            REPLY, body=body, fetched_at=NOON + timedelta(seconds=seconds), requests=requests
        ),
        st.binary(max_size=8),
        st.integers(-86_400, 86_400),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


@given(replies)
def test_an_answer_is_as_old_as_its_oldest_reply_and_has_the_bytes_of_all(
    came: list[HttpAnswer],
) -> None:
    """In any order: nothing in it is older than its time."""
    answer = Replies(*came).answer("asked", ROWS, [LEFT_OUT])
    assert answer.fetched_at == min(reply.fetched_at for reply in came)
    assert answer.content_sha256 == sha256(b"".join(reply.body for reply in came)).hexdigest()
    assert answer.requests == sum(reply.requests for reply in came)
    assert answer.raw_answers == ("raw/1",) * len(came)
    assert (answer.request, answer.left_out, answer.rows) == ("asked", (LEFT_OUT,), ROWS)


def test_pointers_end_where_a_reply_is_missing_or_not_kept() -> None:
    """A later page in its place would be taken for it."""
    second = replace(REPLY, raw_answer="raw/2")
    assert pointers([REPLY, second]) == ("raw/1", "raw/2")
    assert pointers([REPLY, None, second]) == ("raw/1",)
    assert pointers([replace(REPLY, raw_answer=None), second]) == ()


def test_an_error_points_to_all_replies_so_far() -> None:
    """Also to those before the one that it is about."""
    replies = Replies(REPLY)
    replies.add(replace(REPLY, raw_answer="raw/2"))
    error = errors.MalformedPayloadError("bad", provider="p", operation="op")
    with pytest.raises(errors.MalformedPayloadError), replies.kept():
        raise error
    assert error.raw_answers == ("raw/1", "raw/2")
    with pytest.raises(errors.MalformedPayloadError), kept_as([REPLY, None]):
        raise error
    assert error.raw_answers == ("raw/1",)
