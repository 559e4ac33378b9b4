"""Index of the suite's fixtures; each plugin says what it holds."""

pytest_plugins = ["tests.fixtures.world", "tests.fixtures.pipeline"]
