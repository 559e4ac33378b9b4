"""What several tests here ask of a library's answer: that a field which may be absent has come."""

from typing import TypeVar

_Value = TypeVar("_Value")


def came(value: _Value | None) -> _Value:
    """Return a value that the library types as optional, and that the simulator has to send."""
    assert value is not None
    return value
