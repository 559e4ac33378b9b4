"""Layers of the environment: the process's own variables over those of `.env`.

Here: where a variable's text comes from. Not here: what it means (variables.py), or secrets that it
only refers to (references.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from marketdata.recovery import errors
from resources.settings.profiles import VARIABLE, profile_in_force

ENV_FILE = Path(".env")
"""In the working directory, where people and other programs look for it. Not in the state folder:
that may be deleted at any time (`make clean`)."""


def env_file() -> Path | None:
    """Return the `.env` that counts; None if there is none, or the profile reads none."""
    return ENV_FILE if profile_in_force().reads_env_file and ENV_FILE.is_file() else None


def of_env_file() -> Mapping[str, str]:
    """Return the variables of `.env`; empty ones are left out.

    Raises:
        ConfigurationError: The file cannot be read, or names the profile.
    """
    file = env_file()
    if file is None:
        return {}
    try:
        read = dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file.absolute()} cannot be read ({type(error).__name__}): mend or remove it"
        raise errors.ConfigurationError(message) from None
    if VARIABLE in read:
        message = (
            f"{file.absolute()} names {VARIABLE}, which only the process's own environment can "
            "set: remove that line"
        )
        raise errors.ConfigurationError(message)
    return {name: value for name, value in read.items() if value}


def variables() -> Mapping[str, str]:
    """Return all variables, those of the process over those of `.env`.

    An empty variable of the process counts as unset, as everywhere.

    Raises:
        ConfigurationError: `.env` cannot be used.
    """
    of_file = of_env_file()
    own = {name: value for name, value in os.environ.items() if value or name not in of_file}
    return {**of_file, **own}
