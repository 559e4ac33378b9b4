"""Profiles: how strict a process is about its surroundings, by the variable WRDATA_PROFILE.

Here: the three profiles as one table, and which of them is in force. Not here: where each cell is
enforced: `.env` (layers.py), names of variables (reading.py), addresses (variables.py), the local
world (pipelines/cli/environment.py).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from marketdata.recovery import errors

VARIABLE = "WRDATA_PROFILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a process may do; docs/how-to/guard.md shows the same table.

    Attributes:
        name: Value of WRDATA_PROFILE.
        reads_env_file: Whether variables may come from `.env` in the working directory.
        uses_local_world: Whether services that are not configured are those of the local world.
        allows_unknown_variables: Whether an unknown `WRDATA_*` is a warning; otherwise an error.
        allows_unverified_database: Whether a database may be reached without checking who it is.
        allows_plain_http: Whether bucket and providers may be reached by `http://`, as simulators.
    """

    name: str
    reads_env_file: bool
    uses_local_world: bool
    allows_unknown_variables: bool
    allows_unverified_database: bool
    allows_plain_http: bool


DEVELOPMENT = Profile(
    name="development",
    reads_env_file=True,
    uses_local_world=True,
    allows_unknown_variables=True,
    allows_unverified_database=True,
    allows_plain_http=True,
)
STAGING = Profile(
    name="staging",
    reads_env_file=False,
    uses_local_world=False,
    allows_unknown_variables=False,
    allows_unverified_database=False,
    allows_plain_http=True,
)
PRODUCTION = Profile(
    name="production",
    reads_env_file=False,
    uses_local_world=False,
    allows_unknown_variables=False,
    allows_unverified_database=False,
    allows_plain_http=False,
)
PROFILES: Mapping[str, Profile] = {
    profile.name: profile for profile in (DEVELOPMENT, STAGING, PRODUCTION)
}


def profile_in_force() -> Profile:
    """Return the profile of this process; without WRDATA_PROFILE it is development.

    Only the process's own environment can name it: a file that is read in development alone cannot.

    Raises:
        ConfigurationError: There is no such profile.
    """
    name = os.environ.get(VARIABLE) or DEVELOPMENT.name
    if name not in PROFILES:
        message = f"{VARIABLE} is {name[:40]!r}: it should be one of {', '.join(PROFILES)}"
        raise errors.ConfigurationError(message)
    return PROFILES[name]
