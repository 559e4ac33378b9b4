#!/bin/sh
# Roles with their passwords, when the database is made: the image calls this once. What each may do
# is given by `wrdata migrate` (docs/how-to/guard.md). A password is changed later in psql.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" \
    --set loader="$LOADER_PASSWORD" --set dagster="$DAGSTER_PASSWORD" \
    --set watch="$WATCH_PASSWORD" <<'SQL'
create role wrdata_loader login password :'loader' nosuperuser nocreatedb nocreaterole;
create role wrdata_dagster login password :'dagster' nosuperuser nocreatedb nocreaterole;
create role wrdata_exporter login password :'watch' nosuperuser nocreatedb nocreaterole;
create role postgres_exporter login password :'watch' in role pg_monitor;
SQL
