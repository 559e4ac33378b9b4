"""What commands print where there is no terminal."""

import pytest

from pipelines.cli import console


def test_no_time_is_left_when_more_is_done_than_was_foreseen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A figure below zero would be a day of minus one."""
    meter = console.Meter("periods", 9)

    with meter.shown():
        meter.update(3, note="", elapsed_s=6.0)
        meter.update(10, note="", elapsed_s=20.0)

    assert capsys.readouterr().err.splitlines() == [
        "periods: 3 of 9, 0.5/s, 0:00:12 left",
        "periods: 10 of 9, 0.5/s, 0:00:00 left",
    ]
