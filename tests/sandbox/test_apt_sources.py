"""The archive's address and its keys come from the machine's own apt."""

from pathlib import Path

import pytest

from sandbox import apt_sources

DEB822 = """\
# a comment that belongs to no stanza

Types: deb
URIs: http://archive.example/debian
# a comment within
Suites: bookworm
Signed-By: /usr/share/keyrings/one.gpg

Types: deb
URIs: http://archive.example/security
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
Suites: bookworm-security

Types: deb
URIs: http://archive.example/third
"""
ONE_LINE = """\
# deb http://archive.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/one.gpg] http://archive.example/debian bookworm main
deb http://archive.example/debian bookworm-updates main
"""


# The way to it asks the apt of this machine.
_signed_by = apt_sources._signed_by  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("name", "text", "number", "expected"),
    [
        ("debian.sources", DEB822, 1, ["Signed-By: /usr/share/keyrings/one.gpg"]),
        (
            "debian.sources",
            DEB822,
            2,
            [
                "Signed-By:",
                " -----BEGIN PGP PUBLIC KEY BLOCK-----",
                " .",
                " abc",
                " -----END PGP PUBLIC KEY BLOCK-----",
            ],
        ),
        ("debian.sources", DEB822, 3, []),
        ("sources.list", ONE_LINE, 2, ["Signed-By: /usr/share/keyrings/one.gpg"]),
        ("sources.list", ONE_LINE, 3, []),
    ],
)
def test_the_keys_of_an_entry_are_kept(
    tmp_path: Path, name: str, text: str, number: int, expected: list[str]
) -> None:
    """Paths and whole key blocks, of both formats; an entry without keys gives none."""
    path = tmp_path / name
    path.write_text(text)
    assert _signed_by(f"{path}:{number}") == expected


def test_an_entry_that_cannot_be_read_has_no_keys() -> None:
    """Apt's trusted keys hold then, and apt itself refuses what they did not sign."""
    assert _signed_by("/nonexistent.sources:1") == []


def test_this_systems_archive_serves_the_other_suite() -> None:
    """One deb822 source with this machine's address and the suite replaced."""
    if not Path("/etc/debian_version").exists():
        pytest.skip("no Debian system")
    lines = dict(line.split(": ", 1) for line in apt_sources.source_of("trixie").splitlines())
    assert lines["Suites"] == "trixie"
    assert lines["Components"] == "main"
    assert lines["URIs"].startswith(("http", "mirror", "file", "cdrom"))
