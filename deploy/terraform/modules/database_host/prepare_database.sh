#!/usr/bin/env bash
# Makes a database server of a fresh Debian 12: mounts the data's disk, installs PostgreSQL with
# TimescaleDB's Community edition, makes a certificate, and lets the private network in over TLS.
# cloud-init runs it once; run again, it changes nothing that is there. Settings: database.env.
set -euo pipefail

# shellcheck source=/dev/null
. "${SETTINGS:-/etc/wrdata/database.env}"

POSTGRESQL=/etc/postgresql/${POSTGRESQL_VERSION}/main
DATA=/var/lib/postgresql

mount_data() {
  for _ in $(seq 60); do
    [ -b "$DATA_DEVICE" ] && break
    sleep 5
  done
  blkid "$DATA_DEVICE" || mkfs.ext4 -L wrdata "$DATA_DEVICE"
  mkdir -p "$DATA"
  grep -q "^LABEL=wrdata " /etc/fstab ||
    echo "LABEL=wrdata $DATA ext4 defaults,noatime,nofail 0 2" >>/etc/fstab
  mountpoint -q "$DATA" || mount "$DATA"
}

# PostgreSQL's own packages, and Timescale's. The data's disk is mounted before: Debian's packages
# create the first cluster when they are installed.
install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update
  apt-get install -y curl gpg postgresql-common prometheus-node-exporter openssl
  /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y
  curl -fsSL https://packagecloud.io/timescale/timescaledb/gpgkey |
    gpg --dearmor --yes -o /usr/share/keyrings/timescaledb.gpg
  echo "deb [signed-by=/usr/share/keyrings/timescaledb.gpg]" \
    "https://packagecloud.io/timescale/timescaledb/debian/ bookworm main" \
    >/etc/apt/sources.list.d/timescaledb.list
  apt-get update
  apt-get install -y "postgresql-${POSTGRESQL_VERSION}" pgbackrest \
    "timescaledb-2-postgresql-${POSTGRESQL_VERSION}=${TIMESCALEDB_VERSION}*" \
    "timescaledb-2-loader-postgresql-${POSTGRESQL_VERSION}=${TIMESCALEDB_VERSION}*"
  apt-mark hold "timescaledb-2-postgresql-${POSTGRESQL_VERSION}" \
    "timescaledb-2-loader-postgresql-${POSTGRESQL_VERSION}"
}

# An authority of the machine's own signs the server's certificate. The keys never leave the
# machine; clients get authority.crt and name it in sslrootcert.
make_certificate() {
  local folder=$1
  [ -s "$folder/server.crt" ] && return
  mkdir -p "$folder"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj "/CN=wrdata database authority" -keyout "$folder/authority.key" \
    -out "$folder/authority.crt" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
    -addext "keyUsage=critical,keyCertSign"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=wrdata database" \
    -keyout "$folder/server.key" -out "$folder/server.csr"
  openssl x509 -req -in "$folder/server.csr" -CA "$folder/authority.crt" \
    -CAkey "$folder/authority.key" -CAcreateserial -days 825 -out "$folder/server.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$SERVER_NAMES")
  chmod 0600 "$folder"/*.key
}

settings() {
  cat <<EOF
listen_addresses = '*'
shared_preload_libraries = 'timescaledb'
password_encryption = 'scram-sha-256'
ssl = on
ssl_cert_file = '$1/server.crt'
ssl_key_file = '$1/server.key'
ssl_min_protocol_version = 'TLSv1.3'
shared_buffers = '$((MEMORY_GB * 256))MB'
effective_cache_size = '$((MEMORY_GB * 768))MB'
max_connections = 200
timescaledb.telemetry_level = off
EOF
}

# Only TLS, only the private network, only passwords; the server's own user by the local socket.
access() {
  cat <<EOF
local   all all                 peer
hostssl all all $CLIENT_NETWORK scram-sha-256
EOF
}

main() {
  mount_data
  install_packages
  make_certificate "$DATA/certificates"
  chown -R postgres:postgres "$DATA/certificates"
  settings "$DATA/certificates" >"$POSTGRESQL/conf.d/wrdata.conf"
  access >"$POSTGRESQL/pg_hba.conf"
  systemctl restart "postgresql@${POSTGRESQL_VERSION}-main"
}

# A test sources this file and calls its parts.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  main
fi
