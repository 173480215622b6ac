#!/usr/bin/env bash
# inside.sh smoke|full|all|row|up|shell [ARG...]: what run.sh runs as the first process of the namespaces. It stays a shell: someone must reap.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); export PATH=$STATE/bin:$PATH KUBECONFIG=$STATE/admin.kubeconfig E2E=$here
mount --make-rprivate /
. "$here/mesh/cgroup.sh"; cgroup_mount
# What containerd, kubelet and the CNI plugins keep outside their own roots stays in here too.
for d in /run /opt/cni /etc/cni /var/lib/cni /var/log/pods /var/log/containers; do mount -t tmpfs tmpfs "$d"; done
mount --make-rshared /
ip link set lo up
tails() { echo "the end of each log:"; for f in "$STATE"/up.log "$STATE"/log/*.log; do echo "--- ${f##*/}"; tail -n "${1:-8}" "$f" | cut -c1-400; done; }
began=$SECONDS
if ! { "$here/mesh/up.sh" && "$here/mesh/images.sh" && kubectl apply -f "$here/mesh/dns.yaml"; } >"$STATE/up.log" 2>&1; then
  { echo "the cluster did not start"; tails; } >&2; exit 1
fi
echo "cluster: ready after $((SECONDS - began)) s"
case $1 in
up | shell)
  play mesh "${2:-hot}" || { tails >&2; exit 1; }
  # From a shell outside, by the process that made the namespaces (its own pid namespace is still the outer one).
  printf '#!/bin/sh\n[ $# -gt 0 ] || set -- bash\nexec nsenter -t %s -n -m -C --pid=/proc/%s/ns/pid_for_children env KUBECONFIG=%s E2E=%s STATE=%s PATH="%s:$PATH" "$@"\n' \
    "$OUTER" "$OUTER" "$KUBECONFIG" "$E2E" "$STATE" "$STATE/bin" >"$STATE/enter"; chmod +x "$STATE/enter"
  if [ "$1" = up ]; then
    echo "enter it, or run a command in it, from any shell of this machine: $STATE/enter [COMMAND]"
    echo "the same by hand: nsenter -t $OUTER -n -m -C --pid=/proc/$OUTER/ns/pid_for_children env KUBECONFIG=$KUBECONFIG PATH=$STATE/bin:\$PATH bash"
    sleep infinity
  else
    cd "$here" && bash
  fi ;;
*) play "$@" || { status=$?; [ $status = 64 ] || tails 3 >"$STATE/tails.log" 2>&1; exit $status; } ;;
esac
