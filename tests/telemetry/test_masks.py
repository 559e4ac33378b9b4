"""What no line and no report may show."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.telemetry import masks

pytestmark = pytest.mark.usefixtures("own_telemetry")

MARKED = "marked-5ecret/+ä%"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /stable/quote?symbol=AAPL&apikey=abc123", "GET /stable/quote?symbol=AAPL&apikey=***"),
        ("?apiKey=abc123&limit=5", "?apiKey=***&limit=5"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("{'authorization': 'Token abc123'}", "{'authorization': 'Token ***'}"),
        ('{"api_key": "abc123", "ticker": "A"}', '{"api_key": "***", "ticker": "A"}'),
        ("postgresql://wrdata:pa55@db:5432/market", "postgresql://wrdata:***@db:5432/market"),
        ("host=db password=pa55 dbname=x", "host=db password=*** dbname=x"),
        ("https://host/path: 503 at 09:30", "https://host/path: 503 at 09:30"),
        ("the key is refused: HTTP 401", "the key is refused: HTTP 401"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_the_rest_is_left(text: str, shown: str) -> None:
    """Also where nobody knows its value: a provider's text may repeat a query."""
    assert masks.masked(text) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FMP_API_KEY", MARKED),
        ("AWS_SECRET_ACCESS_KEY", MARKED),
        ("SENTRY_DSN", f"https://{quote(MARKED, safe='')}@sentry.invalid/1"),
        ("WRDATA_DATABASE_URL", f"postgresql://wrdata:{quote(MARKED, safe='')}@db/market"),
        ("WRDATA_DATABASE_URL", f"host=db password={MARKED}"),
    ],
)
def test_secrets_of_the_environment_are_masked_wherever_they_stand(name: str, value: str) -> None:
    """By their variable's name; in an address its password, as it is written and as it is meant."""
    masks.learn_environment({name: value, "WRDATA_ARCHIVE_BUCKET": "bucket-of-ours"})

    shown = masks.masked(f"{value} and {MARKED}, in bucket-of-ours")

    assert "5ecret" not in shown
    assert "in bucket-of-ours" in shown


@given(
    before=st.text(),
    after=st.text(),
    depth=st.integers(0, 4),
    secret=st.text(st.characters(exclude_characters="*"), min_size=masks.SHORTEST),
)
def test_a_known_secret_is_found_at_any_depth_between_any_texts(
    before: str, after: str, depth: int, secret: str
) -> None:
    """In lists and mappings, as Sentry's events are."""
    masks.learn([secret])
    value: object = f"{before}{secret}{after}"
    for _ in range(depth):
        value = {"values": [value]}
    shown: Any = masks.masked_fields(value)
    for _ in range(depth):
        (shown,) = shown["values"]

    assert secret not in shown


def test_a_field_that_is_called_a_secret_is_masked_whole() -> None:
    """Whatever it holds."""
    shown = masks.masked_fields({"headers": {"Authorization": ["a", "b"]}, "token": 7, "rows": 7})

    assert shown == {"headers": {"Authorization": "***"}, "token": "***", "rows": 7}
