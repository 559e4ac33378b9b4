"""The text of a provider's answer, in a form that an error can show.

Here: bodies that are no data, texts that are too long for a line, and the key where an answer
repeats it. Not here: what an answer means (the provider's own module).
"""

import base64
import functools
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

_LOOKED_AT = 2000
"""Bytes of a body that are read for its text."""
_SHOWN = 200
_LONG_ENOUGH = 8
"""Shorter keys are looked for as they are alone: their base64 may stand in any text."""
_SEXTETS_OF_OTHERS = (0, 2, 3)
"""Characters of base64 that also hold bits of what stands before a text, by its offset of three."""


def plain_text(body: bytes) -> str:
    """Return the beginning of ``body`` as text; for a web page, only that it is one."""
    text = body[:_LOOKED_AT].decode("utf-8", "replace").strip()
    return "a web page instead of data" if text.startswith("<") else text


def shortened(text: str) -> str:
    """Return ``text`` as one short line for a message."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def without_key(text: str, key: str) -> str:
    """Return ``text`` with stars for ``key``, in each form in which an answer may repeat it.

    As it is, percent-encoded as in the address of a request, escaped as in JSON, and in base64 as
    in a header; a part of a longer text in base64 is found too.
    """
    return _forms(key).sub("***", text)


@functools.lru_cache(maxsize=16)
def _forms(key: str) -> re.Pattern[str]:
    encoded = {quote(key, safe=""), quote(key), quote_plus(key)}
    plain = {key, json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]}
    if len(key) >= _LONG_ENOUGH:
        plain |= set(_in_base64(key.encode()))
    # The longest first; the two digits after a percent sign are of either case.
    forms = sorted({*map(re.escape, plain), *(f"(?i:{re.escape(form)})" for form in encoded)})
    return re.compile("|".join(sorted(forms, key=len, reverse=True)))


def _in_base64(key: bytes) -> Iterator[str]:
    for offset, of_others in enumerate(_SEXTETS_OF_OTHERS):
        whole = (offset + len(key)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(offset) + key).decode()[of_others:whole]
