"""Fixtures of the tests of monitoring.

Here: an exporter on a database with Dagster's tables, the programs that read from it, and a page of
metrics. Not here: figures with which alerts fire (alert_cases.py).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from dagster_postgres import PostgresRunStorage

from marketdata.instruments import Constituent, UniverseChange
from marketdata.recovery import errors
from monitoring.collector import DatabaseCollector
from monitoring.health import Health
from monitoring.server import serving
from resources.database_url import in_schema
from resources.storage.instruments import InstrumentStore
from resources.storage.timescale import Timescale
from sandbox import monitoring_programs
from sandbox.monitoring_programs import Programs
from tests.monitoring import metrics_page
from tests.monitoring.scraping import scrape
from tests.storage.conftest import JOINED_ON, UNIVERSE

Exporters = Callable[[str, str], str]


@pytest.fixture
def timescale(migrated_url: str) -> Iterator[Timescale]:
    """An open pool on a migrated database."""
    with Timescale(migrated_url) as opened:
        yield opened


@pytest.fixture
def instrument_ids(timescale: Timescale) -> list[int]:
    """Three members of the universe, AAA, BBB and CCC."""
    store = InstrumentStore(timescale)
    joined = tuple(
        Constituent(ticker=ticker, name=f"{ticker} Inc.", cik=f"000000000{number}", sector=None)
        for number, ticker in enumerate(["AAA", "BBB", "CCC"], start=1)
    )
    change = UniverseChange(joined=joined, left=(), renamed=(), kept=())
    store.apply(change, JOINED_ON, UNIVERSE)
    return [member.instrument_id for member in store.members(UNIVERSE)]


@pytest.fixture
def dagster_url(migrated_url: str) -> str:
    """The schema of the same database in which Dagster keeps its runs."""
    url = in_schema(migrated_url, "dagster")
    PostgresRunStorage.create_clean_storage(url)
    return url


@pytest.fixture
def exporters() -> Iterator[Exporters]:
    """Starts exporters without a cache, by two URLs; returns their address."""
    with ExitStack() as stack:

        def start(database_url: str, dagster_url: str) -> str:
            collector = DatabaseCollector(database_url, dagster_url, UNIVERSE, cached_for_s=0)
            stack.callback(collector.close)
            return stack.enter_context(serving("127.0.0.1", 0, collector, Health({})))

        yield start


@pytest.fixture
def exporter(exporters: Exporters, migrated_url: str, dagster_url: str) -> str:
    """The address of an exporter on the test's database; it has been asked once."""
    address = exporters(migrated_url, dagster_url)
    scrape(address)
    return address


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Prometheus, Alertmanager and what checks their files."""
    try:
        return monitoring_programs.install(lambda _: None)
    except errors.ConfigurationError as error:
        pytest.skip(f"no Prometheus here: {error}")


@pytest.fixture
def exporter_page() -> Callable[[int], str]:
    """What the exporter serves at its n-th scrape: every metric that it has."""
    return metrics_page.of_the_exporter
