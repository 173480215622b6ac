#!/usr/bin/env bash
# root.sh DIR: a root as Citadel made it up to 1.0.7 and 1.1.7: RSA, /O=cluster.local, a year, no key identifier (Go before 1.15 set none); 10 days of it are left.
set -euo pipefail; mkdir -p "$1/db"; cd "$1"
x() { openssl "$@" 2>>openssl.log; }
: >db/index; openssl rand -hex 16 >db/serial
cat >ca.cnf <<C
[ca]
default_ca = root
[root]
new_certs_dir = db
database = db/index
serial = db/serial
default_md = sha256
policy = any
[any]
organizationName = supplied
C
x req -new -newkey rsa:2048 -nodes -keyout root-key.pem -out root.csr -subj /O=cluster.local
x ca -batch -notext -config ca.cnf -selfsign -keyfile root-key.pem -in root.csr -out root-cert.pem -startdate "$(date -u -d '-355 days' +%y%m%d%H%M%SZ)" -enddate "$(date -u -d '+10 days' +%y%m%d%H%M%SZ)" \
  -extfile <(printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n')
