"""Secrets made unreadable, wherever a log line or an error report would show one.

Here: which texts are secret, and their masking. Not here: who writes the lines (logs.py,
reports.py).

Two nets: the values of this process's own secrets, and whatever looks like one by what stands
before it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import unquote, urlsplit

MASK = "***"
SHORTEST = 6
"""Characters of a value that counts as secret: a shorter one would mask harmless words."""

_NAMED = re.compile(r"(KEY|KEY_ID|SECRET|TOKEN|PASSWORD|PASSPHRASE|DSN)$")
"""Ends of the names of environment variables whose values are secret."""
_FIELD = re.compile(
    r"(api_?key|authorization|password|passwd|passphrase|secret|token)s?$", re.IGNORECASE
)
"""Ends of the names of fields whose values are secret."""
_SHOWN = re.compile(
    r"""(?P<before>(?:api[_-]?key|authorization|passw(?:or)?d|passphrase|secret|token)
        ["']?\s*[=:]\s*["']?(?:(?:bearer|basic|token)\s+)?)
        [^\s"'&;,)}\]]+""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_ADDRESS = re.compile(r"(?P<before>://[^\s:/@]*:)[^\s@/]+(?=@)")
_IN_WORDS = re.compile(r"(?:^|\s)password=(\S+)")

_known: set[str] = set()


def learn(secrets: Iterable[str]) -> None:
    """Mask these values too from now on, in every form in which they are written."""
    for secret in secrets:
        _known.update(form for form in (secret, unquote(secret)) if len(form) >= SHORTEST)


def learn_environment(environment: Mapping[str, str] | None = None) -> None:
    """Mask the values of variables that are secret by their names, and passwords in addresses."""
    for name, value in (os.environ if environment is None else environment).items():
        learn([value] if _NAMED.search(name) else [])
        learn(_secrets_in(value, is_dsn=name.endswith("DSN")))


def masked(text: str) -> str:
    """Return ``text`` without secrets."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _IN_ADDRESS.sub(rf"\g<before>{MASK}", _SHOWN.sub(rf"\g<before>{MASK}", text))


def masked_fields(value: object, name: str = "") -> object:
    """Return ``value`` with every text in it masked, at any depth.

    Args:
        value: Text, mapping, list or anything else, which is left alone.
        name: Its name, which may say that the whole of it is secret.
    """
    if _FIELD.search(name) and value:
        return MASK
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        return {key: masked_fields(part, str(key)) for key, part in fields.items()}
    if isinstance(value, list | tuple):
        return [masked_fields(part) for part in cast("Iterable[object]", value)]
    return value


def _secrets_in(value: str, *, is_dsn: bool) -> list[str]:
    """Return the password in an address, or in libpq's ``host=… password=…``.

    Sentry's addresses (DSN) have a key in place of the user.
    """
    if worded := _IN_WORDS.search(value):
        return [worded[1]]
    try:
        parts = urlsplit(value)
    except ValueError:
        return []
    return [secret for secret in (parts.password, parts.username if is_dsn else None) if secret]
