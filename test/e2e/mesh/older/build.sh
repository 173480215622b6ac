#!/usr/bin/env bash
# build.sh DIR: pilot-discovery and pilot-agent of another release, its charts and the proxy's bootstrap into DIR, which is named after the pins of this folder. Cold 5 minutes on 2 cores.
# The commit is release-1.30's, after 1.30.3 and before 1.30.4 (its go.mod asks for istio.io/api v1.30.4-0.20260824163423): it says so of itself, as a release does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=$1
[ -e "$out/complete" ] && exit 0
mkdir -p "$out"; exec 9>"$out/lock"; flock 9
[ -e "$out/complete" ] && exit 0
cd "$here"; v=istio.io/istio/pkg/version; revision=$(go list -m -f '{{.Version}}' istio.io/istio)
for c in pilot-discovery pilot-agent; do
  echo "build: $c of an older release" >&2
  [ -x "$out/$c" ] || { CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X $v.buildVersion=1.30.4-dev -X $v.buildGitRevision=${revision##*-} -X $v.buildStatus=Clean" -o "$out/$c.part" "istio.io/istio/pilot/cmd/$c" && mv "$out/$c.part" "$out/$c"; }
done
src=$(go list -m -f '{{.Dir}}' istio.io/istio); rm -rf "$out/charts"; cp -r "$src/manifests/charts" "$out/charts"; cp "$src/tools/packaging/common/envoy_bootstrap.json" "$out/"; chmod -R u+w "$out"
touch "$out/complete"
