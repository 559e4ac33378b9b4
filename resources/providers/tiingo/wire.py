"""What Tiingo's errors mean, under any status.

Here: classifying errors, and reading a JSON list, pure functions of an answer. Not here:
bars (bars.py), or which requests make one answer (client.py).

Facts: Tiingo's documentation of 2026, measurements by public clients, and
tests/recordings/tiingo_*. Above all, an error is ``detail`` in a JSON object or bare text, and both
also come with status 200.
"""

import json
import re
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import cast

from marketdata.calendars import NEW_YORK_ZONE
from marketdata.recovery import errors
from resources.providers.answer_json import JsonAnswers
from resources.providers.answer_text import shortened, without_key
from resources.providers.http import HttpAnswer, status_error

PROVIDER = "tiingo"
JSON = JsonAnswers(PROVIDER)
malformed = JSON.malformed
_LONGEST_ERROR = 2000
"""Longest body, in bytes, that is searched for an error; longer ones are data."""
_OVERRUN = "you have run over your"
_OF_A_MONTH = ("symbol look", "bandwidth", "month")
_OF_THE_KEY = ("token", "credential", "api key")
_NO_SUCH = re.compile(r"\bnot found\b")


def classify_error(answer: HttpAnswer, operation: str, *, key: str) -> errors.ProviderError | None:
    """Return the error of ``answer``, or None if it may be parsed.

    A used-up hourly allocation is a RateLimitedError: it comes with 429, the usual pauses cover
    differing clocks at the full hour, and dead letters wait longer than an hour. A used-up daily
    allocation, monthly bandwidth or monthly number of symbols is a BudgetSpentError until New
    York's midnight or first of the month: retries are pointless until then, and a run that gets it
    sends no more requests. (Symbols that were requested before would still be served, but only
    Tiingo knows which these are.)

    A 404, or a text in a 200, that says ``not found`` is an UnknownSymbolError. A 401 is a
    KeyRefusedError, and so is a 403 that names the token or says ``None``, as was seen for a wrong
    key; any other 403 is a product outside the plan.
    """
    text = _error_text(answer)
    detail = shortened(without_key("" if text is None else text, key))
    words = detail.lower()
    if _OVERRUN in words and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        spent = _overrun(answer, detail, operation)
        if spent is not None:
            return spent
    error = status_error(
        answer, provider=PROVIDER, operation=operation, detail=detail + _cure(answer.status)
    )
    if isinstance(error, errors.NotEntitledError) and _is_about_the_key(answer.status, words):
        return _as(errors.KeyRefusedError, error)
    if answer.status == HTTPStatus.NOT_FOUND and error is not None and _NO_SUCH.search(words):
        return _as(errors.UnknownSymbolError, error)
    if error is not None or text is None:
        return error
    kind = errors.UnknownSymbolError if _NO_SUCH.search(words) else errors.RequestRejectedError
    return kind(detail, provider=PROVIDER, operation=operation)


def _overrun(answer: HttpAnswer, detail: str, operation: str) -> errors.ProviderError | None:
    """Return the error of a used-up allocation; None leaves a 429 to its status."""
    words = detail.lower()
    if any(word in words for word in _OF_A_MONTH):
        until = _next_month(answer.fetched_at)
    elif "daily" in words:
        until = _midnight(answer.fetched_at, days=1)
    elif answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return None
    else:
        return errors.RateLimitedError(detail, provider=PROVIDER, operation=operation)
    return errors.BudgetSpentError(
        f"Tiingo refuses until {until:%Y-%m-%d %H:%M %Z}: {detail}",
        provider=PROVIDER,
        operation=operation,
        retry_after_s=(until - answer.fetched_at).total_seconds(),
    )


def _midnight(now: datetime, *, days: int) -> datetime:
    midnight = now.astimezone(NEW_YORK_ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=days)


def _next_month(now: datetime) -> datetime:
    # In any month, four days after the 28th is in the next month.
    next_month = _midnight(now, days=0).replace(day=28) + timedelta(days=4)
    return next_month.replace(day=1)


def _is_about_the_key(status: int, words: str) -> bool:
    return status == HTTPStatus.FORBIDDEN and (
        words == "none" or any(word in words for word in _OF_THE_KEY)
    )


def _as(kind: type[errors.ProviderError], error: errors.ProviderError) -> errors.ProviderError:
    return kind(error.reason, provider=PROVIDER, operation=error.operation)


def _cure(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "; check the key"
    return "; check the key and what its plan includes" if status == HTTPStatus.FORBIDDEN else ""


def _error_text(answer: HttpAnswer) -> str | None:
    """Return the provider's error text, or None for a 2xx answer that may be data."""
    failed = answer.status >= HTTPStatus.MULTIPLE_CHOICES
    if len(answer.body) > _LONGEST_ERROR:
        return "" if failed else None
    text = answer.body.decode("utf-8", "replace").strip()
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return _bare_text(text, failed=failed)
    if isinstance(parsed, str):
        return _bare_text(parsed, failed=failed)
    if isinstance(parsed, dict) and "detail" in parsed:
        return str(cast("dict[str, object]", parsed)["detail"]) or "an error without a text"
    return "" if failed else None


def _bare_text(text: str, *, failed: bool) -> str | None:
    if text.startswith("<"):
        return "a web page instead of data" if failed else None
    # The parser refuses a 200 with other text: it may be cut data.
    is_error = text.lower().startswith((_OVERRUN, "error:"))
    return text if failed or is_error else None
