"""Known faults of TimescaleDB's versions."""

import pytest

from resources.storage.aggregates.known_faults import known_faults, numbers


@pytest.mark.parametrize(
    ("version", "issues"),
    [
        ("2.19.3", []),
        ("2.22.0", [8621]),
        ("2.25.0", []),
        ("2.25.1", [10296]),
        ("2.28.3", [10296, 10219]),
        ("2.29.2", [10296]),
        ("2.30.0-dev", [10296]),
    ],
)
def test_a_version_has_the_faults_that_came_with_it_and_were_not_mended(
    version: str, issues: list[int]
) -> None:
    """Versions are numbers: 2.9 is older than 2.19."""
    assert [fault.issue for fault in known_faults(version)] == issues
    assert numbers("2.9.3") < numbers("2.19.0")


def test_a_fault_is_told_with_its_versions_and_where_to_read_of_it() -> None:
    """In one line, for the doctor."""
    [of_buckets] = known_faults("2.29.2")

    assert of_buckets.avoided
    assert str(of_buckets).endswith("(TimescaleDB issue 10296, since 2.25.1, still open)")
    assert "mended in 2.22.1" in str(known_faults("2.22.0")[0])
