"""What watches the pipeline, for tests: its programs, and a page of metrics.

Here: fixtures. Not here: figures with which alerts fire (alert_cases.py).
"""

from collections.abc import Callable

import pytest

from marketdata.recovery import errors
from sandbox import monitoring_programs
from sandbox.monitoring_programs import Programs
from tests.monitoring import metrics_page


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
