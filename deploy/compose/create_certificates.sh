#!/bin/sh
# An authority of this installation's own, and the certificate by which the database proves its name
# to the other containers. Run it as root, once: create_certificates.sh /etc/wrdata/tls
# The authority's key is thrown away: for a new certificate run it again with an empty folder.
set -eu
folder=$1
if [ -e "$folder/server.key" ]; then
    echo "error: $folder holds a certificate already: name an empty folder, or remove it" >&2
    exit 1
fi
umask 077
mkdir -p "$folder"
key=$(mktemp)
request=$(mktemp)
extensions=$(mktemp)
trap 'rm -f "$key" "$request" "$extensions"' EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj "/CN=wrdata authority" -keyout "$key" -out "$folder/authority.crt" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -subj "/CN=timescaledb" -keyout "$folder/server.key" -out "$request" 2>/dev/null
echo "subjectAltName=DNS:timescaledb" >"$extensions"
openssl x509 -req -in "$request" -days 3650 -CA "$folder/authority.crt" -CAkey "$key" \
    -CAcreateserial -CAserial "$extensions.serial" -extfile "$extensions" \
    -out "$folder/server.crt" 2>/dev/null
rm -f "$extensions.serial"
chmod 755 "$folder"
chmod 644 "$folder/authority.crt" "$folder/server.crt"
# The user of the database in TimescaleDB's image.
chown 1000:1000 "$folder/server.key"
