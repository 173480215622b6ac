#!/usr/bin/env bash
# run.sh smoke | full | all | row NAME... | bench | rows | up [MESH] | shell [MESH]
#   smoke  the rows that every change must pass        full   rows of every kind        all  every row        row NAME...  these rows
#   rows   lists them, and the meshes                  up     a mesh that stays, and how to enter it
#   shell  a mesh, and bash in it until that ends (commands on standard input will do)
# A real mesh (Kubernetes, istiod, Envoy) in network, mount, pid and cgroup namespaces of its own: it reaches nothing
# outside, leaves the host's iptables alone and is gone when this process ends. Exit 1 when a row is red. Linux and root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
smoke | full | all | row | bench | up | shell) ;;
rows) cd "$here/play" && exec go run . rows ;;
*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root: it makes namespaces and runs a kubelet" >&2; exit 1; }
command -v go >/dev/null || { echo "run.sh: needs Go" >&2; exit 1; }

need=(iptables:iptables ip:iproute2 conntrack:conntrack ipset:ipset socat:socat ethtool:ethtool containerd:containerd ctr:containerd runc:runc
  jq:jq openssl:openssl gcc:gcc python3:python3 pip:python3-pip unshare:util-linux setpriv:util-linux pgrep:procps sysctl:procps)
missing=(); for n in "${need[@]}"; do command -v "${n%%:*}" >/dev/null || missing+=("${n##*:}"); done
[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
  echo "run.sh: installing ${missing[*]}" >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >&2
fi

pins=$(cat "$here"/mesh/gomod/*/* "$here"/mesh/app/* "$here/mesh/build.sh" | sha256sum | cut -c1-16)
cache=${MESHCA_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meshca-e2e}/$pins
"$here/mesh/build.sh" "$cache"
# Pins of its own, so that the others are not built anew for it. The smoke rows and the bench do without.
issued=$(dirname "$cache")/certmanager-$(cat "$here"/mesh/certmanager/* | sha256sum | cut -c1-16)
case $1 in smoke | bench) ;; *) "$here/mesh/certmanager/build.sh" "$issued" ;; esac
# Likewise, and for the rows and meshes alone that are named after it.
older=$(dirname "$cache")/older-$(cat "$here"/mesh/older/* | sha256sum | cut -c1-16)
case "$*" in full | all | *older*) "$here/mesh/older/build.sh" "$older" ;; esac
# Nobody's registry has a Citadel: whoever has one gives a folder with istio_ca and pilot-agent of the same release, 1.4 or before.
for c in istio_ca pilot-agent; do
  [ -z "${MESHCA_CITADEL:-}" ] || [ -x "$MESHCA_CITADEL/$c" ] || { echo "run.sh: no $c in MESHCA_CITADEL ($MESHCA_CITADEL)" >&2; exit 1; }
done
# Nor has it releases before 1.30: mesh/given.sh makes this folder from a checkout.
for c in pilot-discovery pilot-agent charts envoy_bootstrap.json release; do
  [ -z "${MESHCA_ISTIO:-}" ] || [ -e "$MESHCA_ISTIO/$c" ] || { echo "run.sh: no $c in MESHCA_ISTIO ($MESHCA_ISTIO)" >&2; exit 1; }
done
MESHCA_BIN=$(realpath -m "${MESHCA_BIN:-$here/../../bin/kubectl-meshca}"); export MESHCA_BIN
[ -x "$MESHCA_BIN" ] || { echo "run.sh: no $MESHCA_BIN: run make build first" >&2; exit 1; }

# What a run left that was killed itself: its state goes once its process is gone. KEEP=1 removes the mark.
. "$here/mesh/cgroup.sh"
for old in "${TMPDIR:-/tmp}"/meshca-e2e.*/pid; do
  [ -e "$old" ] && ! kill -0 "$(cat "$old")" 2>/dev/null && { cgroup_remove "$(basename "$(dirname "$old")")"; rm -rf "$(dirname "$old")"; }
done
STATE=$(mktemp -d -t meshca-e2e.XXXXXX); export STATE; group=$(basename "$STATE"); echo $$ >"$STATE/pid"
inside=
end() {
  status=$?; trap - EXIT
  # unshare ignores SIGTERM. SIGKILL ends it, and the kernel ends the namespaces with all that runs in them.
  [ -z "$inside" ] || { kill -KILL "$inside" 2>/dev/null || true; wait "$inside" 2>/dev/null || true; }
  cgroup_remove "$group"
  if [ -n "${KEEP:-}" ]; then rm -f "$STATE/pid"; echo "run.sh: kept $STATE" >&2; else rm -rf "$STATE"; fi
  exit "$status"
}
trap end EXIT; trap 'exit 143' TERM; trap 'exit 130' INT; trap 'exit 129' HUP
mkdir -p "$STATE/bin" "$STATE/img"; cp -s "$cache"/bin/* "$STATE/bin/"; ln -s "$MESHCA_BIN" "$STATE/bin/kubectl-meshca"; ln -s "$cache/envoy" "$STATE/img/envoy"
[ ! -e "$older/complete" ] || ln -s "$older" "$STATE/older"
[ ! -e "$issued/complete" ] || { ln -s "$issued/certmanager" "$STATE/bin/certmanager"; ln -s "$issued/crds" "$STATE/crds"; }
[ -z "${MESHCA_CITADEL:-}" ] || ln -s "$(realpath "$MESHCA_CITADEL")" "$STATE/citadel"
[ -z "${MESHCA_ISTIO:-}" ] || ln -s "$(realpath "$MESHCA_ISTIO")" "$STATE/given"
(cd "$here/play" && CGO_ENABLED=0 go build -trimpath -o "$STATE/bin/play" .)
mkdir -p /opt/cni /etc/cni /var/lib/cni /var/log/pods /var/log/containers
cgroup_make "$group"

# Where this process is killed itself, the parent-death signal does what the trap would.
exec 3<&0 # a command in the background would read /dev/null
setpriv --pdeathsig KILL bash -c '. "$1/mesh/cgroup.sh"; cgroup_enter "$2"; export OUTER=$$; shift 2
  exec unshare --net --mount --pid --cgroup --fork --mount-proc --kill-child "$@"' - "$here" "$group" "$here/inside.sh" "$@" <&3 &
inside=$!
wait "$inside"
