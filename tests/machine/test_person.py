"""The operating system's user."""

import os
import pwd
import socket

import pytest

from machine.person import user_at_host


def test_the_user_of_a_command_is_the_system_s_and_no_variable_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LOGNAME and USER are what a person sets them to."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "mallory")
    assert user_at_host() == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was started under a number."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_123)
    assert user_at_host() == f"uid 4000123@{socket.gethostname()}"
