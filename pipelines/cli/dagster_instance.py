"""The Dagster instance of a command.

Here: opening it, and saying in one line why it cannot be opened. Not here: what is done with it
(runs.py, ui.py). This module loads none of the pipeline's code.
"""

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg
import sqlalchemy.exc

from marketdata.recovery import errors


@contextmanager
def opened() -> Generator[dg.DagsterInstance]:
    """Open the Dagster instance of DAGSTER_HOME.

    Raises:
        ConfigurationError: Its storage cannot be reached.
    """
    try:
        instance = dg.DagsterInstance.get()
    except (sqlalchemy.exc.SQLAlchemyError, dg.DagsterError) as error:
        message = (
            "Dagster's storage cannot be opened: is the database of WRDATA_DAGSTER_DATABASE_URL "
            f"up? ({type(error).__name__})"
        )
        raise errors.ConfigurationError(message) from error
    with instance:
        yield instance
