"""Pages of the reference, written from the code that they are about.

Here: Markdown of datasets, commands, settings, schedules and metrics. Not here: when they are
written (hooks.py), or `read_bars`, whose docstring mkdocstrings reads
(docs/reference/read_bars.md).
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pyarrow as pa
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from typer.core import TyperGroup
from typer.main import get_command

from marketdata.archiving import ARCHIVED, ArchivedDataset
from marketdata.columns import column
from marketdata.datasets import DATASETS, Source
from marketdata.recovery.request_timings import BUCKETS_S
from monitoring.metrics import METRICS, OF_THE_EXPORTER, Metric
from pipelines.cli.deferred import DeferredCommand
from pipelines.cli.main import app
from pipelines.schedules import ALL
from resources.settings import (
    ROUTED,
    ProviderSettings,
    SessionRoute,
    Settings,
    StoreSettings,
    TelemetrySettings,
    provider_variable,
    route_variable,
)
from resources.telemetry.context import CORRELATION_VARIABLE

ORIGIN = {"provider", "ingest_id", "known_from"}
"""Columns of every table; the page says once what they mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A dataset as the reference shows it.

    Attributes:
        archived: Its table, columns and key, which the archive names for every dataset.
        scope: What one request covers.
    """

    archived: ArchivedDataset
    about: str
    cadence: str
    scope: str
    sources: Mapping[str, Source]

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.archived.name

    @property
    def columns(self) -> list[pa.Field]:
        """Its own columns: neither a row's origin nor the archive's label."""
        others = {*ORIGIN, "ticker"} if self.archived.labelled else ORIGIN
        return [field for field in self.archived.schema if field.name not in others]


def entries() -> list[Entry]:
    """Return every dataset: the one place of the reference that knows how the catalogue is made."""
    return [
        Entry(
            archived=ARCHIVED[dataset.name],
            about=dataset.about,
            cadence=dataset.cadence,
            scope=dataset.request_scope.value,
            sources=dataset.sources,
        )
        for dataset in DATASETS.values()
    ]


def datasets_page() -> str:
    """Return the page of all datasets: overview, then sources and columns of each."""
    every = entries()
    rows = [
        (
            f"[`{entry.name}`](#{entry.name})",
            entry.about,
            ", ".join(entry.sources),
            entry.cadence,
        )
        for entry in every
    ]
    overview = _table(("dataset", "a row is", "providers", "refreshed"), rows)
    return "\n".join(
        [
            "# Datasets",
            "",
            "Every entry of the catalogue. The first provider serves unless the variable of the",
            "dataset names another. Every row also says who served it (`provider`), in which load",
            "it came (`ingest_id`) and since when this database knows it (`known_from`).",
            "",
            overview,
            *(_dataset(entry) for entry in every),
        ]
    )


def _dataset(entry: Entry) -> str:
    archived = entry.archived
    facts = [
        ("table", f"`{archived.table}`, replaced values in `{archived.table}_version`"),
        ("instruments", archived.kind.value),
        ("a request covers", entry.scope),
        ("key", ", ".join(f"`{name}`" for name in archived.order)),
        ("refreshed", entry.cadence),
        ("archived by", archived.portion.value),
        ("who serves", f"`{provider_variable(entry.name)}`"),
    ]
    sources = [(f"`{name}`", source.endpoint) for name, source in entry.sources.items()]
    columns = [
        (
            f"`{field.name}`",
            _type(field.type),
            (known := column(field.name, entry.name)).meaning,
            known.unit,
            "" if field.nullable else "always",
        )
        for field in entry.columns
    ]
    return "\n".join(
        [
            "",
            f"## {entry.name} {{ #{entry.name} }}",
            "",
            entry.about,
            "",
            _table(("", ""), facts),
            "",
            "**Sources**",
            "",
            _table(("provider", "asks for"), sources),
            "",
            "**Columns**",
            "",
            _table(("column", "type", "meaning", "unit", "present"), columns),
        ]
    )


def _type(kind: pa.DataType) -> str:
    return {
        "timestamp[us, tz=UTC]": "timestamp",
        "date32[day]": "date",
        "double": "float",
        "decimal128(38, 18)": "decimal",
    }.get(str(kind), str(kind))


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its words, such as ``wrdata archive run``, in the list's order."""
    yield from _commands("wrdata", get_command(app))


def _commands(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(f"{words} {name}", command)
        else:
            deferred = isinstance(command, DeferredCommand)
            yield f"{words} {name}", command.command() if deferred else command


def commands_page() -> str:
    """Return the page of the command line: each command, its arguments and options."""
    every = list(commands())
    index = _table(
        ("command", "does"),
        [
            (f"[`{words}`](#{_anchor(words)})", _first_sentence(command.help))
            for words, command in every
        ],
    )
    return "\n".join(
        [
            "# Command line",
            "",
            "`wrdata` is `.venv/bin/wrdata` in a checkout. The exit status is 0 if all went well,",
            "1 if anything failed, 2 if the words make no sense, 130 after Ctrl-C.",
            "",
            index,
            *(_command(words, command) for words, command in every),
        ]
    )


def _command(words: str, command: Any) -> str:
    arguments = [part for part in command.params if part.param_type_name == "argument"]
    options = [part for part in command.params if part.param_type_name == "option"]
    spelt = " ".join(
        part.name.upper() if part.required else f"[{part.name.upper()}]" for part in arguments
    )
    lines = [
        "",
        f"## {words} {{ #{_anchor(words)} }}",
        "",
        inspect.cleandoc(command.help or ""),
        "",
        "```",
        f"{words} {spelt} [OPTIONS]".replace("  ", " "),
        "```",
        "",
    ]
    rows = [
        (
            ", ".join(
                f"`{name}`" for name in (part.opts if part in options else [part.name.upper()])
            ),
            part.help or "",
            _default(part),
        )
        for part in (*arguments, *options)
        if not getattr(part, "hidden", False)
    ]
    return "\n".join([*lines, _table(("word", "meaning", "default"), rows) if rows else ""])


def _default(part: Any) -> str:
    if part.required:
        return "required"
    value = part.default
    # A command's default may be a function, or a value that only typer knows.
    if callable(value) or value in (None, False, (), []) or "Sentinel" in type(value).__name__:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def settings_page() -> str:
    """Return the page of the environment: each variable, its meaning and its default."""
    meanings = (
        _documented(StoreSettings)
        | _documented(ProviderSettings)
        | _documented(TelemetrySettings)
        | _documented(Settings)
    )
    rows = [
        (
            f"`{field.alias}`",
            meanings.get(name, _named(field.alias or name)),
            _setting(field.default, required=field.is_required()),
        )
        for name, field in Settings.model_fields.items()
    ]
    rows += [
        (
            f"`{provider_variable(entry.name)}`",
            f"Who serves `{entry.name}`: {', '.join(entry.sources)}",
            f"`{next(iter(entry.sources))}`",
        )
        for entry in entries()
    ]
    rows += [
        (
            f"`{route_variable(name)}`",
            f"How a session of `{name}` is requested: {' or '.join(SessionRoute)}",
            f"`{SessionRoute.PER_TICKER}`",
        )
        for name in ROUTED
    ]
    rows += [
        (f"`{name}`", meaning, default)
        for name, (meaning, default) in READ_BY_OTHER_PROGRAMS.items()
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "Variables of the environment. `wrdata doctor` says what is missing or refused and",
            "how to mend it; every command says what is misspelt. In the local world the variables",
            "of database and bucket have values of their own.",
            "",
            _table(("variable", "meaning", "default"), rows),
        ]
    )


READ_BY_OTHER_PROGRAMS = {
    "WRDATA_PROFILE": (
        "`development`, `staging` or `production`: how strict a process is (*Guard it*)",
        "`development`",
    ),
    "WRDATA_PROXY_SECRET": (
        "What the proxy and the web servers behind it share (`wrdata ui proxy` makes it)",
        "none: the web servers do not start",
    ),
    "WRDATA_STATE_DIR": ("Folder of the local world", "`.wrdata`"),
    "WRDATA_TEST_DATABASE_URL": ("A further server that the tests use", "none"),
    "DAGSTER_HOME": ("Dagster's folder", "`.wrdata/dagster`"),
    CORRELATION_VARIABLE: ("Id under which a command's work is followed", "a new one"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("Collector of traces (`wrdata[tracing]`)", "none"),
    "SENTRY_DSN": ("Where failed runs are reported (`wrdata[sentry]`)", "none"),
    "SENTRY_ENVIRONMENT": ("What reports call this environment", "`production`"),
}
"""Variables that no setting is made of."""

_WORDS = {
    "API_KEY": "The provider's key; without it the provider is left alone",
    "BASE_URL": "Another address of the provider",
    "FILES_URL": "Another address of the provider's files",
    "AWS_REGION": "Region of the bucket",
    "AWS_ACCESS_KEY_ID": "Key of the bucket",
    "AWS_SECRET_ACCESS_KEY": "Secret key of the bucket",
    "WRDATA_ARCHIVE_BUCKET": "Bucket of archive and raw answers",
}


def _named(variable: str) -> str:
    return next((words for ending, words in _WORDS.items() if variable.endswith(ending)), "")


def _documented(settings: type) -> dict[str, str]:
    """Return what the docstring's section of attributes says of each."""
    found: dict[str, str] = {}
    name = ""
    _, _, section = inspect.cleandoc(settings.__doc__ or "").partition("Attributes:\n")
    for line in section.splitlines():
        if matched := re.match(r" {4}(\w+): (.*)", line):
            name, found[name] = matched[1], matched[2]
        elif name and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
    return {attribute: text.rstrip(".").replace("``", "`") for attribute, text in found.items()}


def _setting(value: object, *, required: bool) -> str:
    if required:
        return "required"
    if value is None or value == "" or value is PydanticUndefined or isinstance(value, SecretStr):
        return "none"
    return f"`{value.value if isinstance(value, Enum) else value}`"


def schedules_page() -> str:
    """Return the page of the schedules: their clock, and what they start."""
    rows = [
        (
            f"`{schedule.name}`",
            f"`{_cron(schedule.cron_schedule)}`",
            schedule.description or "",
        )
        for schedule in sorted(ALL, key=lambda schedule: schedule.name)
    ]
    return "\n".join(
        [
            "# Schedules",
            "",
            "All are on while the daemon runs, all in New York time (minute, hour, day, month,",
            "weekday). A provider without a key is left alone: its schedules skip and say so.",
            "",
            _table(("schedule", "when", "what"), rows),
        ]
    )


def metrics_page() -> str:
    """Return the page of the metrics: each by its part, with its labels."""
    parts = {**{part.value: metrics for part, metrics in METRICS.items()}, "": OF_THE_EXPORTER}
    return "\n".join(
        [
            "# Metrics",
            "",
            "What `wrdata exporter` serves on `/metrics` ([how to watch](../how-to/watch.md)). A",
            "part that cannot be asked is left out, and `wrdata_exporter_last_scrape_success` says",
            "so. Buckets of histograms, in seconds:",
            f"{', '.join(f'{bound:g}' for bound in BUCKETS_S)}.",
            *(
                line
                for part, metrics in parts.items()
                for line in ("", f"## {part or 'the exporter itself'}".replace("_", " "), "",
                             _table(("metric", "type", "labels", "meaning"), _rows(metrics)))
            ),
        ]
    )  # fmt: skip


def _rows(metrics: Mapping[str, Metric]) -> list[tuple[str, str, str, str]]:
    return [
        (
            f"`{metric.name}`",
            metric.kind.value,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.about,
        )
        for metric in metrics.values()
    ]


def _cron(times: str | Sequence[str]) -> str:
    return times if isinstance(times, str) else "; ".join(times)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _anchor(words: str) -> str:
    return words.replace(" ", "-")


def _first_sentence(text: str | None) -> str:
    return re.split(r"(?<=[.:;])\s", inspect.cleandoc(text or "") + " ")[0].rstrip(":;")


PAGES = {
    "reference/datasets.md": datasets_page,
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
    "reference/schedules.md": schedules_page,
    "reference/metrics.md": metrics_page,
}
"""What is generated, by its place below docs/."""
