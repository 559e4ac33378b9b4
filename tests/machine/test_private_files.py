"""Small files that only their owner may read."""

import os
from pathlib import Path

import pytest

from machine import private_files
from marketdata.recovery import errors


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """Only its owner can read it, and no draft stays behind."""
    path = tmp_path / "folder" / "state.json"
    private_files.write_json(path, {"a": 1})
    private_files.write_json(path, {"a": 2})
    assert private_files.read_json(path) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """Content that is no JSON leaves no file."""
    path = tmp_path / "state.json"
    private_files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        private_files.write_json(path, {"a": object()})
    assert private_files.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """Known ones are kept, missing ones are added."""
    path = tmp_path / "keys.json"

    def make() -> str:
        return private_files.letters_and_digits(32)

    first = private_files.kept_secrets(path, {"one": make})
    both = private_files.kept_secrets(path, {"one": make, "two": make})
    assert both["one"] == first["one"]
    assert both["two"] != both["one"]
    assert both["two"].isalnum()
    assert len(both["two"]) == 32


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    """The text says which file to remove."""
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(errors.ConfigurationError, match=r"state\.json is damaged.*remove it"):
        private_files.read_json(path)


def test_folders_are_passable_under_any_umask(tmp_path: Path) -> None:
    """New ones are open to others, existing ones stay as they are."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = os.umask(0o077)
    try:
        private_files.make_passable(closed / "one" / "two")
    finally:
        os.umask(before)
    modes = [
        folder.stat().st_mode & 0o777 for folder in (closed, closed / "one", closed / "one" / "two")
    ]
    assert modes == [0o700, 0o755, 0o755]
