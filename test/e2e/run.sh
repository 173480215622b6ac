#!/usr/bin/env bash
# run.sh smoke|up: a real mesh (Kubernetes, istiod, Envoy) in network, mount and pid namespaces of its own.
#   smoke  starts it, plays the rows of smoke.sh and ends it; exit 1 when a row is red
#   up     starts it and stays until it is ended; prints how to enter
# It reaches nothing outside, leaves the host's iptables alone and is gone when this process ends. Needs Linux and root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in smoke | up) ;; *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 64 ;; esac
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root: it makes namespaces and runs a kubelet" >&2; exit 1; }

need=(iptables:iptables ip:iproute2 conntrack:conntrack ipset:ipset socat:socat ethtool:ethtool containerd:containerd runc:runc jq:jq openssl:openssl gcc:gcc python3:python3 pip:python3-pip unshare:util-linux)
missing=(); for n in "${need[@]}"; do command -v "${n%%:*}" >/dev/null || missing+=("${n##*:}"); done
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
if [ ${#missing[@]} -gt 0 ]; then
  echo "run.sh: installing ${missing[*]}" >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >&2
fi

pins=$(cat "$here"/mesh/gomod/*/go.{mod,sum} "$here"/mesh/app/* "$here/mesh/build.sh" | sha256sum | cut -c1-16)
cache=${MESHCA_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshca-e2e}/$pins
"$here/mesh/build.sh" "$cache"

export MESHCA_BIN=${MESHCA_BIN:-$here/../../bin/kubectl-meshca}
[ -x "$MESHCA_BIN" ] || { echo "run.sh: no $MESHCA_BIN: run make build first" >&2; exit 1; }
LAB=$(mktemp -d -t meshca-e2e.XXXXXX); export LAB
trap 'status=$?; [ -n "${KEEP:-}" ] && echo "run.sh: kept $LAB" >&2 || rm -rf "$LAB"; exit $status' EXIT
mkdir -p "$LAB/bin" "$LAB/img"; cp -s "$cache"/bin/* "$LAB/bin/"; ln -s "$MESHCA_BIN" "$LAB/bin/kubectl-meshca"; ln -s "$cache/envoy" "$LAB/img/envoy"
mkdir -p /opt/cni /etc/cni /var/lib/cni /var/log/pods /var/log/containers
# unshare ignores SIGTERM: it is ended by SIGKILL, here or, where this process is killed itself, by the kernel, and the
# namespaces with all that runs in them go with it.
setpriv --pdeathsig KILL unshare --net --mount --pid --fork --mount-proc --kill-child "$here/inside.sh" "$1" &
inside=$!; trap 'kill -KILL $inside 2>/dev/null; exit 143' TERM; trap 'kill -KILL $inside 2>/dev/null; exit 130' INT
wait $inside
