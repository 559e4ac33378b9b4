-- Where Dagster keeps its runs and events, unless it has a database of its own: its tables (runs,
-- event_logs, alembic_version, …) never lie among ours. Dagster creates them itself.

create schema dagster;
