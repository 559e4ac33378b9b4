"""The fields of the work at hand."""

import asyncio

import pytest

from resources.telemetry import context


def test_fields_hold_within_their_block_and_its_tasks_and_threads() -> None:
    """What is stored in a thread belongs to the same work."""

    async def in_thread() -> str | None:
        return await asyncio.to_thread(context.correlation_id)

    assert context.correlation_id() is None
    with context.bound(correlation_id="outer", run=None):
        assert "run" not in context.current()
        with context.bound(dataset="daily_bars"):
            assert context.current() == {"correlation_id": "outer", "dataset": "daily_bars"}
        assert asyncio.run(in_thread()) == "outer"
    assert context.current() == {}


def test_work_side_by_side_keeps_its_own_fields() -> None:
    """Two datasets of one run, or two ticks of one code server."""

    async def work(name: str) -> object:
        with context.bound(dataset=name):
            await asyncio.sleep(0)
            return context.current()["dataset"]

    async def both() -> list[object]:
        return list(await asyncio.gather(work("splits"), work("dividends")))

    assert asyncio.run(both()) == ["splits", "dividends"]


@pytest.mark.parametrize(
    ("handed_over", "taken"),
    [
        ("ticket-17", "ticket-17"),
        ("  ticket-17 ", "ticket-17"),
        ("two\nlines", "twolines"),
        ("x" * 500, "x" * context.LONGEST_ID),
    ],
)
def test_a_caller_may_hand_over_an_id(
    handed_over: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one line, and no longer than a tag should be."""
    monkeypatch.setenv(context.CORRELATION_VARIABLE, handed_over)

    assert context.given_correlation_id() == taken


@pytest.mark.parametrize("handed_over", ["", "  ", "\n"])
def test_without_one_every_command_has_an_id_of_its_own(
    handed_over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 hex digits."""
    monkeypatch.setenv(context.CORRELATION_VARIABLE, handed_over)
    first, second = context.given_correlation_id(), context.given_correlation_id()

    assert first != second
    assert len(bytes.fromhex(first)) == 16


@pytest.mark.parametrize(
    ("tags", "followed_by"),
    [
        ({}, "r-2"),
        ({"dagster/root_run_id": "r-1"}, "r-1"),
        ({"dagster/root_run_id": "r-1", context.CORRELATION_TAG: "ticket-17"}, "ticket-17"),
    ],
)
def test_a_run_that_the_ui_has_launched_is_followed_by_its_first_runs_id(
    tags: dict[str, str], followed_by: str
) -> None:
    """Also once Dagster has repeated it."""
    assert context.correlation_id_of_run("r-2", tags) == followed_by
