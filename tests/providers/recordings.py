"""The recorded answers of tests/recordings."""

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "recordings"


def recorded(name: str) -> bytes:
    """Return the bytes of one recording."""
    return (_FOLDER / name).read_bytes()
