"""Facts about Dagster's private parts: where they are used, and that this release has them."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipelines import dagster_internals as shipped
from tests.fixtures import dagster_internals as tested

PROJECT = Path(__file__).parents[2]
ROOMS = (
    "assets", "bench", "demo", "docs", "faults", "machine", "marketdata", "pipelines", "resources",
    "monitoring", "sandbox", "tests", "usecases", "wrdata",
)  # fmt: skip
DOORS = {"pipelines/dagster_internals.py", "tests/fixtures/dagster_internals.py"}


def private_imports(file: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of what a file imports from private modules of Dagster."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and is_private(node.module or ""):
            yield from ((node.module or "", alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if is_private(alias.name))


def is_private(module: str) -> bool:
    """Tell whether a module is one of Dagster's that it does not call public."""
    package, *parts = module.split(".")
    return package.startswith("dagster") and any(part.startswith("_") for part in parts)


USED = sorted(module for door in DOORS for module in private_imports(PROJECT / door))


def test_private_parts_of_dagster_are_imported_in_two_modules_only() -> None:
    """A new release is then read beside two lists."""
    elsewhere = {
        str(file.relative_to(PROJECT))
        for room in ROOMS
        for file in (PROJECT / room).rglob("*.py")
        if any(private_imports(file))
    }

    assert elsewhere == DOORS


@pytest.mark.parametrize(("module", "name"), USED)
def test_this_release_of_dagster_has_what_we_use_of_it(module: str, name: str) -> None:
    """Where this fails, read the reason beside the name, and find what took its place."""
    reason = {**shipped.REASONS, **tested.REASONS}[name]

    assert hasattr(importlib.import_module(module), name), (
        f"dagster {dg.__version__} has no {module}.{name}: {reason}"
    )


def test_every_private_name_has_its_reason() -> None:
    """And no reason outlives its name."""
    assert sorted({**shipped.REASONS, **tested.REASONS}) == sorted(name for _, name in USED)


def test_a_run_in_this_process_is_recorded_by_the_method_that_we_give_a_place() -> None:
    """cli/code_location.py stands in for it with one argument more than Dagster gives."""
    taken = inspect.signature(dg.DagsterInstance.create_run_for_job).parameters

    assert "remote_job_origin" in taken
