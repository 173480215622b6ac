#!/usr/bin/env bash
# citadel.sh CHECKOUT RELEASE DIR: what MESHCA_CITADEL names, from a checkout of istio/istio at a release of 1.4 or before: istio_ca and pilot-agent. Two of
# its modules are taken anew, for today's Go does not build theirs: the checkout's go.mod is changed. Cold some minutes on 2 cores.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 64; }
src=$(realpath "$1"); release=$2; out=$(realpath -m "$3"); v=istio.io/pkg/version
[ -d "$src/security/cmd/istio_ca" ] || { echo "citadel.sh: $src is no checkout of istio/istio with a Citadel" >&2; exit 1; }
mkdir -p "$out"; export CGO_ENABLED=0 GOFLAGS=-mod=mod
cd "$src" && go get golang.org/x/sys@latest golang.org/x/net@latest
for c in ./security/cmd/istio_ca ./pilot/cmd/pilot-agent; do
  echo "citadel: ${c##*/} $release" >&2
  go build -trimpath -buildvcs=false -ldflags="-s -w -X $v.buildVersion=$release -X $v.buildStatus=Clean" -o "$out/${c##*/}.part" "$c"
  mv "$out/${c##*/}.part" "$out/${c##*/}"
done
