"""The notebook's cells run, on real bars, and show what they say."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from marketdata.calendars import calendar
from marketdata.instruments import Constituent, UniverseChange
from resources.storage.batches import BatchStore
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from tests.fixtures.world import BucketSettings
from tests.storage.batches import batch
from tests.storage.conftest import JOINED_ON, UNIVERSE

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOK = NOTEBOOKS / "candlesticks_and_coverage.ipynb"


@pytest.fixture
def runner() -> ModuleType:
    """docs/notebooks/run.py, which is no module of the project."""
    spec = importlib.util.spec_from_file_location("run", NOTEBOOKS / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(cell: dict[str, Any], kind: str) -> str:
    """Return a cell's output in one form, or nothing."""
    return "".join("".join(output.get("data", {}).get(kind, "")) for output in cell["outputs"])


@pytest.mark.filterwarnings("ignore::resources.reading.missing.MissingBarsWarning")
def test_the_notebook_runs_from_the_first_cell_to_the_last(
    runner: ModuleType,
    timescale: Timescale,
    bucket: BucketSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It plots as many candles and months as there are, and names the sessions that are missing."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    names = ["AAPL", "AMZN", "BRK.B", "GOOGL", "JPM", "META"]
    names += ["MSFT", "NVDA", "T", "V", "WMT", "XOM"]
    joined = tuple(
        Constituent(ticker=ticker, name=ticker, cik=None, sector=None) for ticker in names
    )
    store = InstrumentStore(timescale)
    store.apply(UniverseChange(joined=joined, left=(), renamed=(), kept=()), JOINED_ON, UNIVERSE)
    apple = store.ids("equity", ["AAPL"], JOINED_ON)["AAPL"]
    days = calendar().sessions(JOINED_ON.replace(year=2026), JOINED_ON.replace(year=2026, month=11))
    BatchStore(timescale).load(batch((apple, day, 10.0 + day.day) for day in days))
    with timescale.connection() as connection:
        connection.execute(
            "insert into price_factor values (%s, '{0001-01-01}', '{1}', '{1}', now(), now())",
            [apple],
        )
    for name, value in {
        "WRDATA_DATABASE_URL": timescale.url,
        "WRDATA_S3_ENDPOINT": bucket.endpoint,
        "WRDATA_ARCHIVE_BUCKET": bucket.bucket,
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
    }.items():
        monkeypatch.setenv(name, value)

    runner.run(notebook)

    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    pictures = [outputs(cell, "image/svg+xml") for cell in cells]
    within = [day for day in days if day.isoformat() >= "2026-07-23"]
    assert [picture.count("<rect") for picture in pictures] == [0, len(within), 11, 12 * 131, 0]
    assert "XOM" in outputs(cells[-1], "text/html")


def test_the_notebook_is_saved_with_its_pictures() -> None:
    """Readers on the web see them."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))

    shown = [outputs(cell, "image/svg+xml") for cell in notebook["cells"] if "outputs" in cell]

    assert len([picture for picture in shown if picture.startswith("<svg")]) == 3
