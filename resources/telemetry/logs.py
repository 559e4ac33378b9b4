"""Log lines: what they carry, how they look, and where they go.

Here: the loggers of the rooms, the handler and the formatter that dagster.yaml names, and the
choice of a process: JSON, readable lines, or plain sentences. Not here: the fields of the work at
hand (context.py), what must not be shown (masks.py), or which process logs how
(pipelines/observation.py).

Lines are written by the standard library's logging, with their fields as ``extra``, and made by
structlog. structlog's own loggers would not do: Dagster's handler, which passes on what is logged
during a step, writes its message in place of theirs, and their fields with it. And a reader's
installation has no structlog: it is imported with the first line that needs it.

A command's standard output is for results, so its lines go to standard error. Dagster's processes
write lines on standard output, as Dagster does; a run's standard error has Dagster's own plain
lines, which no setting ends. Streams are looked up anew for each line: Dagster replaces them while
a step runs.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from resources.telemetry import context, masks

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails
    from structlog.stdlib import ProcessorFormatter

OURS = "wrdata"
"""The logger above all of ours; Dagster manages it (dagster.yaml)."""
_RETRIES = f"{OURS}.retries"
_OF_DAGSTER = ("dagster_meta", "dagster_event", "dagster_event_batch_metadata")
_DAGSTERS_HANDLER = "DagsterLogHandler"

Fields = MutableMapping[str, Any]


class LogFormat(StrEnum):
    """How lines look.

    AUTO is CONSOLE on a terminal and JSON elsewhere; in a command, which talks to a person, plain
    sentences: warnings without their fields, and nothing else.
    """

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """Lines below it are not written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """The standard library's number of the level."""
        return logging.getLevelNamesMapping()[self.name]


@dataclass(slots=True)
class _Choice:
    """How this process logs; a formatter that Dagster makes is not told anything else.

    Attributes:
        command: The process is a command.
    """

    form: LogFormat = LogFormat.AUTO
    level: int = logging.INFO
    command: bool = False

    @property
    def sentences(self) -> bool:
        """Whether warnings are written as plain sentences, and nothing else."""
        return self.command and self.form is LogFormat.AUTO

    @property
    def stream(self) -> TextIO:
        """Where lines go."""
        return sys.stderr if self.command else sys.stdout


_choice = _Choice()


def logger(room: str) -> logging.Logger:
    """Return the logger of a room, such as ``wrdata.storage``."""
    return logging.getLogger(f"{OURS}.{room}")


def retries() -> logging.Logger:
    """Return the logger of what is tried again: a command says nothing of it to a person."""
    return logging.getLogger(_RETRIES)


def log_retry(details: "RetryDetails") -> None:
    """Log that something will be tried again; a hook of stamina."""
    error = details.caused_by
    retries().warning(
        "tried again",
        extra={
            "provider": getattr(error, "provider", None),
            "operation": getattr(error, "operation", None) or details.name,
            "error_class": type(error).__name__,
            "error": str(error),
            "attempt": details.retry_num,
            "wait_s": round(details.wait_for, 3),
        },
    )


def begin(form: LogFormat, level: LogLevel, *, command: bool) -> None:
    """Log from now on in this process as chosen; calling it again changes the choice.

    Args:
        form: How lines look.
        level: Lines below it are not written.
        command: The process is a command: unless a format is asked for, it writes sentences.
    """
    _choice.form, _choice.level, _choice.command = form, level.number, command
    masks.learn_environment()
    ours = logging.getLogger(OURS)
    ours.setLevel(logging.WARNING if _choice.sentences else level.number)
    logging.getLogger(_RETRIES).setLevel(logging.CRITICAL if _choice.sentences else logging.NOTSET)
    if not any(isinstance(handler, Lines) for handler in ours.handlers):
        lines = Lines()
        lines.setFormatter(Form())
        lines.addFilter(_is_outside_steps)
        ours.addHandler(lines)


def end() -> None:
    """Log no more than before ``begin``."""
    _choice.form, _choice.level, _choice.command = LogFormat.AUTO, logging.INFO, False
    ours = logging.getLogger(OURS)
    ours.setLevel(logging.NOTSET)
    logging.getLogger(_RETRIES).setLevel(logging.NOTSET)
    for handler in [handler for handler in ours.handlers if isinstance(handler, Lines)]:
        ours.removeHandler(handler)


class Lines(logging.Handler):
    """Writes lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, if the choice of the process lets it."""
        least = logging.WARNING if _choice.sentences else _choice.level
        if record.levelno < least or (_choice.sentences and not _is_ours(record)):
            return
        try:
            stream = _choice.stream
            stream.write(self.format(record) + "\n")
            # Whoever watches sees it now, and a killed worker's last lines are not lost.
            stream.flush()
        except Exception:  # noqa: BLE001  # a line that cannot be written must not end the work
            self.handleError(record)


class Form(logging.Formatter):
    """Makes a line of a record: a JSON object, a readable line, or a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[LogFormat, ProcessorFormatter] = {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without secrets."""
        if _choice.sentences:
            # Dagster's handler puts job, run and step before what was logged.
            meta: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
            return masks.masked(meta.get("orig_message") or record.getMessage())
        form = _choice.form
        if form is LogFormat.AUTO:
            form = LogFormat.CONSOLE if _choice.stream.isatty() else LogFormat.JSON
        if form not in self._made:
            self._made[form] = _made_by_structlog(form)
        return self._made[form].format(record)


def _made_by_structlog(form: LogFormat) -> "ProcessorFormatter":
    import structlog
    from structlog.stdlib import ProcessorFormatter

    renderer = (
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
        if form is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(
            colors=_choice.stream.isatty(),
            sort_keys=False,
            # Not with rich, which shows local variables.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    return ProcessorFormatter(
        foreign_pre_chain=[_with_fields, structlog.processors.format_exc_info],
        processors=[ProcessorFormatter.remove_processors_meta, _without_secrets, renderer],
    )


def _with_fields(_logger: object, _method: str, line: Fields) -> Fields:
    """Return a line's fields: when, how grave, what; the work at hand; the record's own."""
    record: logging.LogRecord = line["_record"]
    meta: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
    own = {
        name: value
        for name, value in record.__dict__.items()
        if name not in _PLAIN and name not in _OF_DAGSTER and value is not None
    }
    return {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        "level": record.levelname.lower(),
        **line,
        "event": meta.get("orig_message") or line["event"],
        "logger": record.name,
        **context.current(),
        **_of_dagster(meta),
        **own,
    }


def _of_dagster(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that Dagster's handler has added to a record of a run."""
    event, run_id = meta.get("dagster_event"), meta.get("run_id")
    known = {
        context.CORRELATION_ID: run_id
        and context.correlation_id_of_run(run_id, meta.get("job_tags") or {}),
        "run": run_id,
        "job": meta.get("job_name"),
        "step": meta.get("step_key"),
        "dagster_event": event.event_type_value if event is not None else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _without_secrets(_logger: object, _method: str, line: Fields) -> Fields:
    return {name: masks.masked_fields(value, name) for name, value in line.items()}


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name == OURS or record.name.startswith(f"{OURS}.")


def _is_outside_steps(_record: logging.LogRecord) -> bool:
    """Return whether no step runs: during one, Dagster's handler passes every record on to ours."""
    handlers = logging.getLogger(OURS).handlers
    return not any(type(handler).__name__ == _DAGSTERS_HANDLER for handler in handlers)


_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""Attributes that every record has."""
