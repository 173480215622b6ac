#!/usr/bin/env bash
# up.sh: a mesh of Istio 1.4's kind: the Citadel of $STATE/citadel as istio-citadel, and in the namespaces a, b and c a server and a client
# each, whose pods run the pilot-agent of that release over this lab's Envoy, with the certificates of the mounted Secret istio.ACCOUNT.
# There is no Pilot, so that Envoy's configuration is a file; nor an injector, so that the pods stand as that would leave them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); export PATH=$STATE/bin:$PATH KUBECONFIG=$STATE/admin.kubeconfig
I=$STATE/img; from=$(realpath "$STATE/citadel"); NSS=(a b c)
RELEASE=$("$from/istio_ca" version -s)
mk() { python3 "$here/../mkimage.py" "$@"; ctr -a "$STATE/ctr/containerd.sock" -n k8s.io images import "$1" >/dev/null; }
envoy=$I/envoy/_bin/envoy; args=()
for f in $(for f in "$envoy" /bin/dash; do ldd "$f" | grep -o '/[^ ]*'; done | sort -u); do args+=("$(readlink -f "$f"):${f#/}"); done
mk "$I/citadel.tar" "e2e/citadel:$RELEASE" /usr/local/bin/istio_ca "$from/istio_ca:usr/local/bin/istio_ca"
IMG_USER=1337:1337 mk "$I/proxyv2-citadel.tar" "e2e/proxyv2:$RELEASE" /usr/local/bin/pilot-agent "$from/pilot-agent:usr/local/bin/pilot-agent" \
  "$here/envoy.sh:usr/local/bin/envoy" "$envoy:usr/local/bin/envoy-server" "$here/drain.json:var/lib/istio/envoy/envoy_bootstrap_drain.json" /bin/dash:bin/sh "${args[@]}"
kubectl create ns istio-system
"$here/root.sh" "$STATE/ca/A"
kubectl -n istio-system create secret generic istio-ca-secret --type istio.io/ca-root --from-file=ca-cert.pem="$STATE/ca/A/root-cert.pem" --from-file=ca-key.pem="$STATE/ca/A/root-key.pem" \
  --from-literal=cert-chain.pem= --from-literal=key.pem= --from-literal=root-cert.pem=
sed "s/RELEASE/$RELEASE/" "$here/citadel.yaml" | kubectl apply -f -
kubectl wait --for=condition=Established crd/meshpolicies.authentication.istio.io --timeout=30s
echo '{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, metadata: {name: default, labels: {app: security}}, spec: {peers: [{mtls: {}}]}}' | kubectl apply -f -
kubectl -n istio-system rollout status deploy/istio-citadel --timeout=60s
for i in 0 1 2; do sed "s/\bNS\b/${NSS[i]}/g; s/\bPEER\b/${NSS[(i + 1) % 3]}/g; s/\bRELEASE\b/$RELEASE/g" "$here/app.yaml"; echo ---; done | kubectl apply -f -
for s in "${NSS[@]}"; do for d in server client; do kubectl -n "$s" rollout status deploy/$d --timeout=120s; done; done
