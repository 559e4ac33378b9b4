"""Dagster's web server behind the proxy: it answers the proxy alone, and notes who did what.

Here: the web server, the noting of operations, and refusing what did not come through the proxy.
Not here: the proxy (usecases/ui_proxy.py), the command that starts this (cli/ui.py), or the form of
the log (usecases/operations.py).

Operations are noted where Dagster's schema carries them out, not where the proxy sees a request:
there a client says what it calls an operation, here is what it does.
"""

import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, cast

from dagster_webserver.webserver import DagsterWebserver

from marketdata.calendars import utc_now
from marketdata.recovery import errors
from pipelines import users
from pipelines.dagster_internals import WorkspaceProcessContext, WorkspaceRequestContext
from usecases.operations import Operation

_LOG = logging.getLogger(__name__)

NOT_NOTED = frozenset({"logTelemetry", "setNuxSeen", "sensorDryRun", "scheduleDryRun"})
"""Operations that change nothing."""
SUBJECTS = {
    "runid": "run", "runids": "run", "parentrunid": "run", "backfillid": "backfill",
    "pipelinename": "job", "jobname": "job", "schedulename": "schedule", "sensorname": "sensor",
    "path": "asset", "partitionkey": "partition", "partitionkeys": "partition",
    "partitionnames": "partition", "partitionsdefname": "partitions", "concurrencykey": "pool",
    "limit": "limit", "paused": "paused", "repositorylocationname": "location",
}  # fmt: skip
"""Arguments that say what an operation is done to, without case and underscores: and our words."""
HIDDEN = frozenset({"runconfigdata", "tags", "extratags"})
"""Arguments that may hold anything, keys too: nothing of them is noted."""
STATE_IDS = ("id", "job_origin_id", "job_selector_id", "schedule_origin_id", "schedule_selector_id")
"""Arguments that name a schedule or sensor by digests."""
SHOWN = 500
"""Most characters of a subject that are noted."""
OPEN_TO_ALL = "/server_info"
"""The health check: versions, and nothing else."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application: https://asgi.readthedocs.io/en/latest/specs/main.html"""


class RequestContext(WorkspaceRequestContext):
    """What Dagster knows of a request, and its user."""

    def header(self, name: str) -> str | None:
        """Return a header of the request."""
        headers = getattr(self.source, "headers", None)
        return headers.get(name) if headers is not None else None

    def get_viewer_tags(self) -> dict[str, str]:
        """Return what is set on a backfill, over all that its client sets."""
        return {users.USER_TAG: users.of_request(self.header)}

    def get_reporting_user_tags(self) -> dict[str, str]:
        """Return what is set on events that a person reports."""
        return self.get_viewer_tags()


class ProcessContext(WorkspaceProcessContext):
    """Makes request contexts that know their user."""

    def create_request_context(self, source: object | None = None) -> RequestContext:
        """Return the context of one request."""
        return RequestContext(
            instance=self.instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=self._read_only,
        )


class OperationLog:
    """The file to which operations are added, a line each; several processes may share it.

    Raises:
        ConfigurationError: The file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._add(b"")
        except OSError as error:
            message = f"operations cannot be noted in {file} ({error.strerror}): name another file"
            raise errors.ConfigurationError(message) from error

    def note(self, operation: Operation) -> None:
        """Add an operation; where the file fails, it goes to this process's log instead."""
        line = operation.line()
        try:
            self._add(f"{line}\n".encode())
        except OSError as error:
            _LOG.error("not written to %s (%s): %s", self._file, error.strerror, line)

    def _add(self, content: bytes) -> None:
        # Opened anew each time, so that the file may be moved away.
        file = os.open(self._file, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.write(file, content)
        finally:
            os.close(file)


class Webserver(DagsterWebserver[ProcessContext, RequestContext]):
    """Dagster's web server, which notes every operation that it carries out or refuses."""

    def __init__(self, context: ProcessContext, note: Callable[[Operation], None]) -> None:
        self._note = note
        super().__init__(context)

    def build_graphql_schema(self) -> Any:
        """Return Dagster's schema with noted operations."""
        schema: Any = super().build_graphql_schema()
        for name, field in schema.graphql_schema.mutation_type.fields.items():
            if name not in NOT_NOTED:
                field.resolve = _noted(name, field.resolve, self._note)
        return schema


def application(context: ProcessContext, note: Callable[[Operation], None]) -> Application:
    """Return the application: Dagster's UI for whom the proxy lets in, a refusal for all else."""
    dagster: Any = Webserver(context, note)
    return _through_proxy_only(dagster.create_asgi_app())


def _through_proxy_only(served: Application) -> Application:
    async def refuse_others(scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] not in {"http", "websocket"}
            or scope["path"] == OPEN_TO_ALL
            or users.came_through_proxy(lambda name: _header(scope, name))
        ):
            await served(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            text = b"this web server answers the proxy only\n"
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": text})

    return refuse_others


def _header(scope: Scope, name: str) -> str | None:
    values = [value for key, value in scope["headers"] if key == name.lower().encode()]
    # A header that comes twice is none that the proxy sent.
    return values[0].decode("latin-1") if len(values) == 1 else None


def _noted(
    name: str, resolve: Callable[..., Any], note: Callable[[Operation], None]
) -> Callable[..., Any]:
    """Return what carries out a mutation as ``resolve`` does, and notes it at its end."""

    async def carried_out(root: object, info: Any, **arguments: Any) -> Any:
        outcome, made = "failed", list[str]()
        try:
            result = resolve(root, info, **arguments)
            if inspect.isawaitable(result):
                result = await result
            outcome = _outcome(result)
            made += _made(result)
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            # Afterwards: Dagster may record a sensor by name only when it is switched.
            subject = [*_subject(info.context, arguments), *made]
            note(_operation(info.context, name, subject, outcome))
        return result

    return carried_out


def _operation(
    context: RequestContext, name: str, subject: Sequence[str], outcome: str
) -> Operation:
    text = ", ".join(dict.fromkeys(subject))
    return Operation(
        at=utc_now(),
        who=users.of_request(context.header),
        address=users.address_of(context.header) or users.UNKNOWN,
        what=name,
        subject=text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…",
        outcome=outcome,
    )


def _outcome(result: object) -> str:
    name = type(result).__name__
    return name.removeprefix("Graphene") if name.startswith("Graphene") else "done"


def _made(result: object) -> Iterator[str]:
    """Yield what an operation has made: a run or a backfill."""
    run_id = getattr(getattr(result, "run", None), "runId", None)
    if isinstance(run_id, str):
        yield f"run {run_id}"
    backfill_id = getattr(result, "backfill_id", None)
    if isinstance(backfill_id, str):
        yield f"backfill {backfill_id}"


def _subject(context: RequestContext, arguments: Mapping[str, Any]) -> Iterator[str]:
    digests = {
        part
        for name in STATE_IDS
        if isinstance(arguments.get(name), str)
        for part in arguments[name].split(":")
        if part
    }
    if digests:
        known = [
            state
            for state in context.instance.all_instigator_state()
            if state.selector_id in digests
        ]
        yield from (f"{state.instigator_type.value.lower()} {state.name}" for state in known)
        if not known:
            yield f"id {' '.join(sorted(digests))}"
    yield from _named(arguments)


def _named(value: object) -> Iterator[str]:
    """Yield what the arguments name, at any depth; nothing else of them."""
    if isinstance(value, Mapping):
        for spelling, inner in cast("Mapping[str, object]", value).items():
            name = spelling.replace("_", "").lower()
            noun = SUBJECTS.get(name)
            if noun and (text := _text(inner, "/" if noun == "asset" else " ")):
                yield f"{noun} {text}"
            elif name not in HIDDEN:
                yield from _named(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("Sequence[object]", value):
            yield from _named(inner)


def _text(value: object, separator: str) -> str:
    """Return a value, or a list of values, as text; empty for anything else."""
    values = cast("Sequence[object]", value) if isinstance(value, list | tuple) else [value]
    plain = [str(item) for item in values if isinstance(item, str | int)]
    return separator.join(plain) if len(plain) == len(values) else ""
