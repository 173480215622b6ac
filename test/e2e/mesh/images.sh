#!/usr/bin/env bash
# Makes the images from $STATE/bin and imports them: pause, coredns, app, pilot, proxyv2 (pilot-agent + Envoy from the PyPI wheel + Debian's iptables),
# and of the last two other releases' under the tags "older" and "given", where $STATE/older and $STATE/given have them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); I=$STATE/img; mkdir -p "$I"; B=$STATE/bin
src=$(cd "$here/gomod/istio" && go list -m -f '{{.Dir}}' istio.io/istio)
[ -x "$I/envoy/_bin/envoy" ] || { echo "no Envoy in $I: run build.sh first" >&2; exit 1; }
mk() { python3 "$here/mkimage.py" "$@"; ctr -a "$STATE/ctr/containerd.sock" -n k8s.io images import "$1" >/dev/null && echo "$2"; }
libs() { for f in "$@"; do ldd "$f" | grep -o '/[^ ]*'; done | sort -u; }
mk "$I/pause.tar" e2e/pause:1 "/bin/meshapp pause" "$B/meshapp:bin/meshapp"
mk "$I/app.tar" e2e/app:1 /bin/meshapp "$B/meshapp:bin/meshapp"
mk "$I/coredns.tar" e2e/coredns:1 /bin/coredns "$B/coredns:bin/coredns"
L=/usr/sbin/xtables-legacy-multi; N=/usr/sbin/xtables-nft-multi; args=()
for n in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  args+=("$N:usr/sbin/$n" ); for k in legacy nft; do x=$L; [ $k = nft ] && x=$N; args+=("$x:usr/sbin/${n/tables/tables-$k}"); done; done
for f in $(libs "$L" "$N" "$I/envoy/_bin/envoy" /bin/dash) /usr/lib/x86_64-linux-gnu/xtables/*.so; do args+=("$(readlink -f "$f"):${f#/}"); done
istio() { # TAG BINARIES BOOTSTRAP
  IMG_USER=1337:1337 mk "$I/pilot-$1.tar" "e2e/pilot:$1" /usr/local/bin/pilot-discovery "$2/pilot-discovery:usr/local/bin/pilot-discovery"
  IMG_USER=1337:1337 mk "$I/proxyv2-$1.tar" "e2e/proxyv2:$1" /usr/local/bin/pilot-agent "$2/pilot-agent:usr/local/bin/pilot-agent" "$I/envoy/_bin/envoy:usr/local/bin/envoy" \
    "$3:var/lib/istio/envoy/envoy_bootstrap_tmpl.json" /bin/dash:bin/sh "${args[@]}"
}
istio 1 "$B" "$src/tools/packaging/common/envoy_bootstrap.json"
for other in older given; do [ ! -e "$STATE/$other" ] || istio $other "$STATE/$other" "$STATE/$other/envoy_bootstrap.json"; done
