#!/usr/bin/env bash
# given.sh CHECKOUT RELEASE DIR: what MESHCA_ISTIO names, from a checkout of istio/istio at a release: pilot-discovery and pilot-agent, that release's charts,
# the proxy's bootstrap, and a file that says the release. The modules come from the proxy; cold 10 minutes on 2 cores.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 64; }
src=$(realpath "$1"); release=$2; out=$(realpath -m "$3"); v=istio.io/istio/pkg/version
[ -d "$src/pilot/cmd/pilot-agent" ] || { echo "given.sh: $src is no checkout of istio/istio" >&2; exit 1; }
mkdir -p "$out"; rm -f "$out/release" # it is what says that the rest is there
revision=$(git -C "$src" rev-parse HEAD 2>/dev/null || echo given)
for c in pilot-discovery pilot-agent; do
  echo "given: $c $release" >&2
  (cd "$src" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w -X $v.buildVersion=$release -X $v.buildGitRevision=$revision -X $v.buildStatus=Clean" -o "$out/$c.part" "./pilot/cmd/$c")
  mv "$out/$c.part" "$out/$c"
done
rm -rf "$out/charts"; cp -r "$src/manifests/charts" "$out/charts"; cp "$src/tools/packaging/common/envoy_bootstrap.json" "$out/"
echo "$release" >"$out/release"
