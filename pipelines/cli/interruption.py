"""What a command raises that was asked to end, apart from what raises it (runs.py).

Here: nothing but that, since main.py has to know it before any command is imported.
"""


class RunInterruptedError(Exception):
    """A person or the system asked the command to end; Dagster knows the run as failed."""
