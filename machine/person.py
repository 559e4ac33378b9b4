"""Who uses this machine: the operating system's user.

Here: its name, for what a person does by a command. Not here: users of Dagster's UI, whom the proxy
in front of it names.
"""

import getpass
import socket


def user_at_host() -> str:
    """Return the user of this process and its host, such as ``ada@desk``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # the user of a container may have no name
    return f"{user}@{socket.gethostname()}"
