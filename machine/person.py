"""Who uses this machine: the operating system's user.

Here: its name, for what a person does by a command. Not here: users of Dagster's UI, whom the proxy
in front of it names.
"""

import os
import pwd
import socket


def user_at_host() -> str:
    """Return the user of this process and its host, such as ``ada@desk``.

    By its number: LOGNAME and USER are what anybody sets them to.
    """
    number = os.getuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:  # in a container without an entry for it
        user = f"uid {number}"
    return f"{user}@{socket.gethostname()}"
