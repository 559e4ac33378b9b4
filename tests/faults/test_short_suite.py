"""The short form of the fault suite, on the servers of the tests; `make faults` plays all of it.

Real workers are killed and a real simulator lies, so a failure here is one of the pipeline: its
text is the oracle's.
"""

from collections.abc import Iterator

import pytest

from faults.play import play
from faults.scenarios import SCENARIOS, Scenario
from faults.world import Servers, servers
from sandbox.local_world import LocalWorld

SEED = 20261121
SHORT = [played for played in SCENARIOS if played.short]


@pytest.fixture(scope="module")
def opened(world: LocalWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The tests' servers, with a template database."""
    with servers(world, tmp_path_factory.mktemp("faults") / "scenarios") as started:
        yield started


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.play.__name__)
def test_a_scenario_of_the_short_form_passes(opened: Servers, scenario: Scenario) -> None:
    """Faults strike, everything is recovered, and the oracle finds nothing wrong."""
    result = play(opened, scenario, SEED, short=True)
    assert result.wrong == []
    assert result.injected
    assert result.recovered == result.tickers > 0
    assert result.recovered_after_s is not None
