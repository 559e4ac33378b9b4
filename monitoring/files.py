"""The files that Prometheus, Alertmanager and Grafana are given.

Here: their names and their text, and writing them. Not here: what stands in them (prometheus.py,
alertmanager.py, dashboards.py).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from marketdata.recovery import errors
from monitoring import alertmanager, prometheus, queries
from monitoring.alerts import GROUPS

_HEAD = "# Written by `wrdata monitoring export`: change monitoring/ instead.\n"
_WIDTH = 100


def files() -> Mapping[str, str]:
    """Return the text of every file, by its path in the folder.

    Raises:
        ConfigurationError: The library that writes dashboards is not installed.
    """
    try:
        from monitoring.dashboards import board_json
    except ModuleNotFoundError as error:
        message = f"dashboards need {error.name}: install grafana-foundation-sdk"
        raise errors.ConfigurationError(message) from error
    return {
        "prometheus.yml": as_yaml(prometheus.configuration()),
        prometheus.RULES_FILE: as_yaml(prometheus.rules_file(GROUPS)),
        "alertmanager.yml": as_yaml(alertmanager.configuration(GROUPS)),
        **{f"dashboards/{board.name}.json": board_json(board) for board in queries.BOARDS},
    }


def write(folder: Path) -> list[Path]:
    """Write every file below ``folder``, in place of those that are there; return their paths.

    Raises:
        ConfigurationError: The folder cannot be written, or a library is missing.
    """
    texts = {folder / name: text for name, text in files().items()}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        message = f"cannot write to {folder} ({error.strerror}): name a folder that is writable"
        raise errors.ConfigurationError(message) from error
    return list(texts)


def as_yaml(content: Mapping[str, Any]) -> str:
    """Return ``content`` as YAML, in its own order."""
    return _HEAD + yaml.dump(
        content, Dumper=_WithoutAliases, sort_keys=False, width=_WIDTH, allow_unicode=True
    )


class _WithoutAliases(yaml.SafeDumper):
    """Repeats what is there twice: people who read the file know no ``&id001``."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True
