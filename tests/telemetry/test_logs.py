"""How lines look in each kind of process."""

import io
import logging
import logging.config
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from resources.telemetry import context, logs
from resources.telemetry.logs import LogFormat, LogLevel
from tests.fixtures.telemetry import lines_of

pytestmark = pytest.mark.usefixtures("own_telemetry")

PROJECT = Path(__file__).parents[2]
LOG = logs.logger("storage")


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


def test_a_line_is_one_json_object_with_time_level_work_and_its_own_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The time is UTC in ISO form; fields that nobody has set are left out."""
    logs.begin(LogFormat.JSON, LogLevel.INFO, command=False)
    before = datetime.now(UTC)
    with context.bound(correlation_id="c-1", run="r-1", job="daily_bars", partition=None):
        LOG.info("batch %s", "loaded", extra={"dataset": "daily_bars", "duration_s": 0.25})

    (line,) = lines_of(capsys.readouterr().out)
    assert before <= datetime.fromisoformat(line.pop("timestamp")) <= datetime.now(UTC)
    assert line == {
        "level": "info",
        "event": "batch loaded",
        "logger": "wrdata.storage",
        "correlation_id": "c-1",
        "run": "r-1",
        "job": "daily_bars",
        "dataset": "daily_bars",
        "duration_s": 0.25,
    }


def test_a_text_of_many_lines_and_an_error_stay_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever a provider sends: a line of the log is a line."""
    logs.begin(LogFormat.JSON, LogLevel.INFO, command=False)
    try:
        message = "first\nsecond"
        raise ValueError(message)  # noqa: TRY301
    except ValueError:
        LOG.exception("it failed\nbadly \u2028 \x00")

    (line,) = lines_of(capsys.readouterr().out.replace("\u2028", " "))
    assert line["event"].startswith("it failed\nbadly")
    assert line["exception"].endswith("ValueError: first\nsecond")


@pytest.mark.parametrize(
    ("level", "written"),
    [
        (LogLevel.DEBUG, ["debug", "info", "warning", "error"]),
        (LogLevel.INFO, ["info", "warning", "error"]),
        (LogLevel.WARNING, ["warning", "error"]),
        (LogLevel.ERROR, ["error"]),
    ],
)
def test_lines_below_the_level_are_not_written(
    level: LogLevel, written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The last choice of the process counts."""
    logs.begin(LogFormat.CONSOLE, LogLevel.ERROR, command=True)
    logs.begin(LogFormat.JSON, level, command=False)
    for name in ("debug", "info", "warning", "error"):
        LOG.log(LogLevel(name).number, "said")

    assert [line["level"] for line in lines_of(capsys.readouterr().out)] == written


def test_secrets_are_in_no_line_of_any_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in the words nor in a field, an argument or a traceback."""
    monkeypatch.setenv("FMP_API_KEY", "marked-key-1")
    monkeypatch.setenv("WRDATA_DATABASE_URL", "postgresql://wrdata:marked-pass-2@db/market")
    for form in LogFormat:
        for command in (False, True):
            logs.begin(form, LogLevel.DEBUG, command=command)
            LOG.warning(
                "asked with %s", "marked-key-1", extra={"request": {"url": ["?k=marked-key-1"]}}
            )
            try:
                message = "no connection with marked-pass-2"
                raise ValueError(message)  # noqa: TRY301
            except ValueError:
                LOG.exception("failed")

    said = "".join(capsys.readouterr())
    assert said.count("asked with ***") == 2 * len(LogFormat)
    assert "marked" not in said


def test_lines_are_readable_on_a_terminal_and_json_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The choice is made line by line, since Dagster replaces the stream during a step."""
    logs.begin(LogFormat.AUTO, LogLevel.INFO, command=False)
    LOG.info("elsewhere")
    assert lines_of(capsys.readouterr().out)[0]["event"] == "elsewhere"

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with context.bound(correlation_id="c-1"):
        LOG.info("batch loaded", extra={"dataset": "daily_bars"})
    said = terminal.getvalue()
    assert "batch loaded" in said
    assert "{" not in said
    assert "daily_bars" in said
    assert "c-1" in said


def test_a_command_says_warnings_as_plain_sentences_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a person reads is no JSON; what is tried again is no news."""
    logs.begin(LogFormat.AUTO, LogLevel.DEBUG, command=True)
    LOG.info("batch loaded", extra={"rows": 7})
    LOG.warning("fmp: %d of %d rows left out", 2, 9, extra={"dataset": "daily_bars"})
    logs.retries().warning("tried again", extra={"attempt": 1})

    assert capsys.readouterr().err == "fmp: 2 of 9 rows left out\n"


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_a_command_that_is_asked_for_lines_writes_them(
    form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    """Retries too."""
    logs.begin(form, LogLevel.INFO, command=True)
    LOG.info("batch loaded")
    logs.retries().warning("tried again")

    said = capsys.readouterr().err.splitlines()
    assert ["batch loaded" in said[0], "tried again" in said[1]] == [True, True]


def test_a_line_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk below standard output must not stop a load."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            del text
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(sys, "stdout", Full())
    logs.begin(LogFormat.JSON, LogLevel.INFO, command=False)

    LOG.info("lost")


def test_dagster_finds_handler_and_formatter_where_its_settings_name_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As Dagster itself reads that section: by dictConfig."""
    section = yaml.safe_load((PROJECT / "dagster.yaml").read_text("utf-8"))["python_logs"]
    assert section["managed_python_loggers"] == [logs.OURS]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "loggers": {
                "of_a_test": {"handlers": list(section["dagster_handler_config"]["handlers"])}
            },
            **section["dagster_handler_config"],
        }
    )
    logging.getLogger("of_a_test").error("said", extra={"dagster_meta": {"orig_message": "meant"}})

    assert lines_of(capsys.readouterr().out)[0]["event"] == "meant"


def test_nothing_of_telemetry_is_imported_before_it_is_needed() -> None:
    """Neither by a reader, who has not installed it, nor by a command that talks to a person."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import sys\n"
                "from resources.telemetry import context, logs, reports, traces\n"
                "logs.begin(logs.LogFormat.AUTO, logs.LogLevel.INFO, command=True)\n"
                "traces.begin(); reports.begin()\n"
                "logs.logger('storage').warning('a sentence')\n"
                "with traces.span('load', dataset='splits'): traces.note(rows=1)\n"
                "assert traces.traceparent() == ''\n"
                "print(*sys.modules)"
            ),
        ],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == "a sentence\n"
    assert not {"structlog", "opentelemetry", "sentry_sdk"} & set(done.stdout.split())
