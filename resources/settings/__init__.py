"""Configuration: settings, read from layers of the environment and from secrets by reference.

Here: what other rooms use of this package. Not here: how settings become clients
(resources/clients.py), or the local world that fills the environment in when nothing is configured
(sandbox/).
"""

from resources.settings.reading import (
    known_variables,
    read_provider_settings,
    read_settings,
    read_store_settings,
    read_telemetry_settings,
    refuse_unknown_variables,
    unknown_variables,
    unread_variables,
    wrong_values,
)
from resources.settings.shown import SettingLine, setting_lines, unresolved_secrets
from resources.settings.variables import (
    ROUTED,
    ProviderSettings,
    SessionRoute,
    Settings,
    StoreSettings,
    TelemetrySettings,
    database_url_in,
    provider_of,
    provider_variable,
    route_of,
    route_variable,
)

__all__ = [
    "ROUTED",
    "ProviderSettings",
    "SessionRoute",
    "SettingLine",
    "Settings",
    "StoreSettings",
    "TelemetrySettings",
    "database_url_in",
    "known_variables",
    "provider_of",
    "provider_variable",
    "read_provider_settings",
    "read_settings",
    "read_store_settings",
    "read_telemetry_settings",
    "refuse_unknown_variables",
    "route_of",
    "route_variable",
    "setting_lines",
    "unknown_variables",
    "unread_variables",
    "unresolved_secrets",
    "wrong_values",
]
