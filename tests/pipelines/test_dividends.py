"""Facts about ``wrdata dividends`` and ``wrdata splits spin-off``: a person's word for one."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from marketdata.datasets import DATASETS
from marketdata.recovery import errors
from pipelines.cli import environment, runs, splits
from pipelines.cli.main import app
from pipelines.cli.status import report
from pipelines.cli.status_summary import summary
from resources.settings import read_settings
from tests.fixtures.pipeline import Pipeline
from tests.storage.batches import batch

PAID_ON = date(2024, 6, 20)


def run(*words: str) -> Any:
    """Run ``wrdata``."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def apple(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> int:
    """Apple's id, with its prices and a dividend in Canadian dollars."""
    monkeypatch.setattr(environment, "enter", lambda *_, **__: None)
    monkeypatch.setattr(environment, "require_schema", lambda *_: None)
    assert pipeline.backfill(["AAPL"]).success
    ids = pipeline.stores.instruments.ids("equity", ["AAPL"], datetime.now(UTC).date())
    row = {
        "instrument_id": ids["AAPL"],
        "ex_date": PAID_ON,
        "kind": "regular",
        "ordinal": 1,
        "amount": Decimal("0.8875"),
        "currency": "CAD",
    }
    stored = DATASETS["dividends"].table_schema
    table = pa.Table.from_pylist([dict.fromkeys(stored.names) | row], schema=stored)
    given = replace(batch([]), dataset="dividends", adjustment=None, provider="polygon")
    pipeline.stores.batches.load(replace(given, rows=table, fetched_at=datetime.now(UTC)))
    derive = pipeline.stores.adjusted_bars.derive
    derive(ids["AAPL"])

    def derived(_: str) -> list[object]:
        derive(ids["AAPL"])
        return []

    monkeypatch.setattr(runs, "run_job", derived)
    monkeypatch.setattr(splits.loads, "failures", lambda _: {})
    return ids["AAPL"]


@pytest.mark.usefixtures("apple")
def test_a_dividend_that_waits_is_listed_and_a_persons_word_ends_that() -> None:
    """Its worth, who said so and why are kept; the status counts what waits."""
    [row] = json.loads(run("dividends", "list", "--json").output)
    named = ("ticker", "ex_date", "amount", "currency", "verdict", "counts", "series")
    assert [row[name] for name in named] == [
        "AAPL", "2024-06-20", "0.8875", "CAD", "no_rate", "", "DEXCAUS",
    ]  # fmt: skip
    waiting = report(read_settings())
    assert waiting["actions_that_wait"] == {"splits": 0, "dividends": 1}
    assert summary(waiting)["adjust nothing"] == "1 dividends: wrdata dividends list"

    said = run(
        "dividends", "confirm", "aapl", "2024-06-20", "--counts", "0.65", "--reason", "its agent"
    )

    assert (said.exit_code, said.exception) == (0, None)
    [row] = json.loads(run("dividends", "list", "--json").output)
    assert (row["verdict"], row["counts"]) == ("confirmed", "0.650000")
    assert "adjust nothing" not in summary(report(read_settings()))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("NOPE", "2024-06-20", "--counts", "1"), "no instrument carries NOPE"),
        (("AAPL", "2024-06-21", "--counts", "1"), "0 dividends of AAPL on 2024-06-21"),
        (("AAPL", "2024-06-20", "--ordinal", "2", "--counts", "1"), "wrdata dividends list"),
    ],
)
@pytest.mark.usefixtures("apple")
def test_a_word_for_no_dividend_is_one_line_with_its_cure(
    words: tuple[str, ...], expected: str
) -> None:
    """Nothing is written."""
    said = run("dividends", "confirm", *words, "--reason", "x")
    assert isinstance(said.exception, errors.ConfigurationError)
    assert expected in str(said.exception)


@pytest.mark.parametrize("counts", ["-1", "much", "nan", "inf"])
def test_an_amount_that_is_none_is_refused(counts: str) -> None:
    """Before anything is opened."""
    action = ("AAPL", "2024-06-20", "--reason", "x")
    for words in (
        ("dividends", "confirm", *action, "--counts", counts),
        ("splits", "spin-off", *action, "--of", "NEWCO", "--value", counts),
    ):
        said = run(*words)
        assert said.exit_code == 2
        assert "is no amount" in said.output


def test_a_spin_off_is_told_and_taken_back(apple: int, pipeline: Pipeline) -> None:
    """It is taken out of prices before its ex-date like a dividend."""

    def factor() -> float:
        with pipeline.stores.timescale.connection() as connection:
            row = connection.execute(
                "select dividend_factors[1] from price_factor where instrument_id = %s", [apple]
            ).fetchone()
        return row[0] if row else 0.0

    for value, is_one in (("2.5", False), ("0", True)):
        said = run(
            "splits", "spin-off", "AAPL", "2024-06-20",
            "--of", "NEWCO", "--value", value, "--reason", "form 10",
        )  # fmt: skip
        assert (said.exit_code, said.exception) == (0, None)
        assert (factor() == 1.0) is is_one
