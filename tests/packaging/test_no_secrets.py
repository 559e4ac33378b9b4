"""No file of the repository holds a secret: a scan by the shapes that keys have."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SHAPES = {
    # Not one that is meant to be wrong, or AWS' own example.
    "a key of AWS": r"\b(?:AKIA|ASIA)(?!WRONG|\w*EXAMPLE)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}",
    "a token of GitHub": r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a webhook of Slack": r"hooks\.slack\.com/services/T[A-Z0-9]{8,}/",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a key of Stripe": r"\bsk_live_[0-9A-Za-z]{20,}",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{10,}",
    # FMP's, Polygon's and FRED's keys have 32 letters and digits, Tiingo's 40, AWS' secrets 40.
    "a key or password": (
        r"(?i)(?:api_?key|secret|passw(?:or)?d|token)[A-Za-z_]*[\"']?\s*[:=]\s*[\"']?"
        r"(?=[A-Za-z0-9/+_-]*\d)(?=[A-Za-z0-9/+_-]*[A-Za-z])[A-Za-z0-9/+]{30,}\b"
    ),
}
ELSEWHERE = {"requirements.lock", "docs/assets/mermaid.tiny.js"}
"""Hashes of packages, and a library."""


def findings(text: str) -> Iterator[str]:
    """Yield the kinds of secrets that a text seems to hold, and never the secret."""
    return (kind for kind, shape in SHAPES.items() if re.search(shape, text))


def test_no_tracked_file_holds_a_secret() -> None:
    """One that was ever committed is known to everybody who has the repository: rotate it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    files = [PROJECT / name for name in listed if name and name not in ELSEWHERE]
    found = [
        f"{file.relative_to(PROJECT)}: {kind}"
        for file in files
        if file.is_file()
        for kind in findings(file.read_text("utf-8", errors="replace"))
    ]
    assert len(files) > 600
    assert found == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("a key of AWS", "AWS_ACCESS_KEY_ID=AKIA" + "Z" * 16),
        ("a private key", "-----BEGIN PRIVATE KEY-----" + "\nMIGHAgEAMBMGByqGSM49AgEG"),
        ("a token of GitHub", "token: ghp_" + "a1" * 18),
        ("a token of Slack", "xoxb-" + "123456789012"),
        ("a webhook of Slack", "https://hooks.slack.com/services/" + "T00000000/B0/x"),
        ("a key of Google", "AIza" + "b" * 35),
        ("a key of Stripe", "sk_live_" + "c" * 24),
        ("a signed token", ".".join(["eyJ" + "d" * 16, "eyJ" + "e" * 16, "f" * 12])),
        ("a key or password", "export FMP_API_KEY=" + "a1b2" * 8),
        ("a key or password", '"password": "' + "X9/+" * 10 + '"'),
    ],
)
def test_the_scan_knows_each_shape(kind: str, text: str) -> None:
    """A scan that finds nothing may be one that looks for nothing."""
    assert kind in set(findings(text))
