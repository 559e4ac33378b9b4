"""Every error that leaves a package, sorted by what the caller should do.

Here: exception types, and the facts a handler needs (provider, retry_after). Not here: when
and how often to retry (policy.py), or Dagster's form of a failure (assets/failures.py).

    MarketDataError
    ├── ConfigurationError               correct the configuration; nothing was tried
    │   └── ArgumentError                    correct the call: its arguments, days or names
    ├── ProviderError                    provider, operation
    │   ├── TransientProviderError       retry; retry_after_s
    │   │   ├── ProviderUnavailableError     network, time-out, 5xx, or a firewall's 403
    │   │   ├── RateLimitedError             429, 418, 408, or a limit reported inside a 200
    │   │   └── NotSentError                 we held it back: defer the work by retry_after_s
    │   │       ├── CircuitOpenError             the provider keeps failing, a trial comes first
    │   │       ├── ProviderPausedError          the provider asked for a longer pause
    │   │       └── BudgetSpentError             an hour's, day's or month's quota is used up
    │   └── PermanentProviderError       do not retry
    │       ├── RequestRejectedError         other 4xx, and redirects
    │       ├── NotEntitledError             402, 403: the plan does not cover this request
    │       │   └── KeyRefusedError              401: every further request would fail too; stop
    │       ├── UnknownSymbolError           the provider has nothing under this symbol
    │       └── MalformedPayloadError        the answer cannot be parsed
    ├── MissingBarsError                 load what is missing, or read without it
    ├── RecordRejectedError              one record is wrong; the rest goes on
    └── StorageError
        ├── StorageUnavailableError      retry
        ├── StorageConflictError         do not retry
        │   └── HistoryRebasedError          ask for the whole history of these instruments
        ├── ArchiveMismatchError         what was read back is not what was sent
        └── RowsLostError                rows that were loaded are gone: ask for them again

What follows when a request of a run ends with a provider's error (read by a test:
tests/marketdata/test_error_consequences.py):

    error                      repeated   breaker   the run     ingest log   letter
    ProviderUnavailableError   yes        counts    goes on     failed       open
    RateLimitedError           yes        -         goes on     failed       open
    CircuitOpenError           no         -         stops       -            open
    ProviderPausedError        no         -         stops       -            open
    BudgetSpentError           no         -         stops       -            open
    RequestRejectedError       no         -         goes on     failed       parked
    NotEntitledError           no         -         goes on     failed       parked
    KeyRefusedError            no         -         fails       failed       parked
    UnknownSymbolError         no         -         goes on     failed       parked
    MalformedPayloadError      no         -         goes on     failed       parked

A run that stops posts letters for all that it has not asked for; one that fails does so too, and
ends as failed. An open letter is retried by a sensor; a parked one waits for a person.
"""


class MarketDataError(Exception):
    """Root of every error this project raises on purpose; its text may be shown to users."""


class ConfigurationError(MarketDataError):
    """A setting is missing or wrong; the text names the setting and the cure."""


class ArgumentError(ConfigurationError):
    """The arguments are impossible; the text says why, and what is possible. Exit status 2."""


class ProviderError(MarketDataError):
    """A provider could not serve an operation.

    Args:
        message: What happened, without keys and without a URL's query string.
        provider: Short name of the provider, such as ``fmp``.
        operation: The request, such as ``historical-price-eod/full AAPL``.

    Attributes:
        reason: The message by itself.
        raw_answers: Pointers of all pages of the answer so far, in the order of asking, the
            unusable one last; set by the client. Empty if none is kept. All pages are listed: a
            replay would take a part for the whole.
    """

    def __init__(self, message: str, *, provider: str, operation: str) -> None:
        super().__init__(f"{provider} {operation}: {message}")
        self.reason = message
        self.provider = provider
        self.operation = operation
        self.raw_answers: tuple[str, ...] = ()


class TransientProviderError(ProviderError):
    """The same request may succeed later; ``retry_after_s`` says when, if that is known."""

    def __init__(
        self, message: str, *, provider: str, operation: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, provider=provider, operation=operation)
        self.retry_after_s = retry_after_s


class ProviderUnavailableError(TransientProviderError):
    """The network failed, a time-out, a 5xx, or a firewall that refuses us for a while."""


class RateLimitedError(TransientProviderError):
    """The provider asks for fewer requests."""


class NotSentError(TransientProviderError):
    """Nothing more is asked now: a request may go in ``retry_after_s`` seconds, not sooner.

    Most often the request itself was not sent. A provider that answers that its quota is used up
    counts as well. Repeating it within the same call is pointless: the work waits for a later run.
    """

    def __init__(
        self, message: str, *, provider: str, operation: str, retry_after_s: float
    ) -> None:
        super().__init__(
            f"not sent: {message}",
            provider=provider,
            operation=operation,
            retry_after_s=retry_after_s,
        )


class CircuitOpenError(NotSentError):
    """The provider failed several times in a row, counted over all processes."""


class ProviderPausedError(NotSentError):
    """The provider asked everyone to hold (a ban, a long Retry-After); the text says until when."""


class BudgetSpentError(NotSentError):
    """A calendar quota of the key is used up; the text names it and when it resets."""


class PermanentProviderError(ProviderError):
    """The same request will fail again."""


class RequestRejectedError(PermanentProviderError):
    """The provider refuses the request as it stands."""


class NotEntitledError(PermanentProviderError):
    """The key's plan does not cover the request: a person has to act."""


class KeyRefusedError(NotEntitledError):
    """The provider refuses the key itself: every further request would fail too."""


class UnknownSymbolError(PermanentProviderError):
    """The provider has nothing under this symbol."""


class MalformedPayloadError(PermanentProviderError):
    """The answer arrived but is not what the provider's wire format promises."""


class MissingBarsError(MarketDataError):
    """Some requested bars are missing; the text says which, why and the cure."""


class RecordRejectedError(MarketDataError):
    """One record breaks a rule of its dataset; the others of its batch are stored."""


class StorageError(MarketDataError):
    """The database or the object store could not do what was asked."""


class StorageUnavailableError(StorageError):
    """The store cannot be reached now; the same call may succeed later."""


class StorageConflictError(StorageError):
    """The store refuses: repeating the call changes nothing."""


class HistoryRebasedError(StorageConflictError):
    """Bars are in other shares than the stored ones of their instrument; nothing was stored.

    Args:
        message: Names the instruments and the evidence.
        instrument_ids: Instruments whose provider has re-based the history: all of it has to be
            asked for and stored at once.
    """

    def __init__(self, message: str, *, instrument_ids: tuple[int, ...]) -> None:
        super().__init__(message)
        self.instrument_ids = instrument_ids


class ArchiveMismatchError(StorageError):
    """An archived object, read back, is not equal to the rows it was made of."""


class RowsLostError(StorageError):
    """The database holds fewer rows of a day than were loaded: the day is a hole again."""
