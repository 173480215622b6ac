#!/usr/bin/env bash
# cross.sh OLD NEW: NEW/cross.pem = the new root's name and key signed by the old root; NEW/chain-cross.pem = intermediate + cross.
set -euo pipefail; o=$1 n=$2
k=$(openssl x509 -in "$n/root-cert.pem" -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' ')
openssl x509 -x509toreq -in "$n/root-cert.pem" -signkey "$n/root-key.pem" -out "$n/cross.csr" 2>/dev/null
openssl x509 -req -in "$n/cross.csr" -CA "$o/root-cert.pem" -CAkey "$o/root-key.pem" -CAcreateserial -days 3000 -out "$n/cross.pem" \
  -extfile <(printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=%s\nauthorityKeyIdentifier=keyid' "$k") 2>/dev/null
cat "$n/ca-cert.pem" "$n/cross.pem" >"$n/chain-cross.pem"
for r in "$o" "$n"; do openssl verify -CAfile "$r/root-cert.pem" -untrusted "$n/chain-cross.pem" "$n/ca-cert.pem"; done
