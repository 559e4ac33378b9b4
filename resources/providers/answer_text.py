"""The text of a provider's answer, in a form that an error can show.

Here: bodies that are no data, and texts that are too long for a line. Not here: what an answer
means (the provider's own module).
"""

import re

_LOOKED_AT = 2000
"""Bytes of a body that are read for its text."""
_SHOWN = 200


def plain_text(body: bytes) -> str:
    """Return the beginning of ``body`` as text; for a web page, only that it is one."""
    text = body[:_LOOKED_AT].decode("utf-8", "replace").strip()
    return "a web page instead of data" if text.startswith("<") else text


def shortened(text: str) -> str:
    """Return ``text`` as one short line for a message."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
