#!/usr/bin/env bash
# inside.sh smoke|up: what run.sh runs as the first process of the namespaces.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); export PATH=$LAB/bin:$PATH KUBECONFIG=$LAB/admin.kubeconfig
mount --make-rprivate /
# What containerd, kubelet and the CNI plugins keep outside their own roots stays in here too.
for d in /run /opt/cni /etc/cni /var/lib/cni /var/log/pods /var/log/containers; do mount -t tmpfs tmpfs "$d"; done
mount --make-rshared /
ip link set lo up
up() {
  "$here/mesh/up.sh" && "$here/mesh/images.sh" && kubectl apply -f "$here/mesh/dns.yaml" &&
    "$here/mesh/mesh.sh" --set replicaCount=2 --set meshConfig.defaultConfig.proxyMetadata.SECRET_TTL=2m && kubectl apply -f "$here/mesh/fresh.yaml"
}
began=$SECONDS
if ! up >"$LAB/up.log" 2>&1; then
  echo "the mesh did not start; the end of each log:" >&2
  for f in "$LAB"/up.log "$LAB"/log/*.log; do echo "--- ${f##*/}" >&2; tail -n 8 "$f" >&2; done
  exit 1
fi
echo "mesh: ready after $((SECONDS - began)) s: $(kubectl get pods -A --no-headers | wc -l) pods"
if [ "$1" = up ]; then
  echo "enter it from another shell: nsenter -t \$(pgrep -n -x kube-apiserver) -n -m env KUBECONFIG=$KUBECONFIG PATH=\"$LAB/bin:\$PATH\" bash"
  exec sleep infinity
fi
exec "$here/smoke.sh"
