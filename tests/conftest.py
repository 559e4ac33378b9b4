"""Index of the suite's fixtures; each plugin says what it holds."""

from hypothesis import settings

pytest_plugins = ["tests.fixtures.world", "tests.fixtures.pipeline"]

# No test is a timed one: what a busy machine does late is not wrong.
settings.register_profile("wrdata", deadline=None)
settings.load_profile("wrdata")
