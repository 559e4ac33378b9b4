"""Decimals and documents as a real server receives them."""

import json
from decimal import Decimal

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.storage.copying import stage_rows
from resources.storage.timescale import Timescale

PLACES = 18
AMOUNTS = st.none() | st.one_of(
    st.decimals(-(10**19), 10**19, places=PLACES, allow_nan=False),
    st.integers(-(10**20) + 1, 10**20 - 1).map(Decimal),
    st.sampled_from([Decimal(text) for text in ("0", "-0.0001", "0.1", "10000", "1e-18", "-5e19")]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(amounts=st.lists(AMOUNTS, min_size=1, max_size=20), left_out=st.integers(0, 3))
def test_a_decimal_comes_as_the_server_would_trim_it(
    timescale: Timescale, amounts: list[Decimal | None], left_out: int
) -> None:
    """To the last digit, without trailing zeros, anywhere in an array."""
    schema = pa.schema([pa.field("price", pa.decimal128(38, PLACES))])
    batch = pa.record_batch([pa.array(amounts, schema.field("price").type)], schema=schema)
    sent = batch.slice(left_out)
    with timescale.connection() as connection:
        stage_rows(connection, "trade", schema, [sent])
        stored = connection.execute("select price::text from staged_rows").fetchall()
        texts = [None if amount is None else f"{amount:f}" for amount in amounts[left_out:]]
        expected = connection.execute(
            "select trim_scale(text::numeric)::text from unnest(%s::text[]) as given (text)",
            [texts],
        ).fetchall()
        connection.execute("drop table staged_rows")
    assert stored == expected


def test_a_document_comes_as_one(timescale: Timescale) -> None:
    """A provider's value can be queried, and null is no value."""
    documents = [json.dumps({"name": "Ä\u2028", "of": [1, None]}), None]
    schema = pa.schema([pa.field("answer", pa.string())])
    batch = pa.record_batch([pa.array(documents)], schema=schema)
    with timescale.connection() as connection:
        stage_rows(connection, "company", schema, [batch])
        stored = connection.execute("select answer from staged_rows").fetchall()
        kind = connection.execute("select pg_typeof(answer)::text from staged_rows").fetchone()
    assert stored == [({"name": "Ä\u2028", "of": [1, None]},), (None,)]
    assert kind == ("jsonb",)
