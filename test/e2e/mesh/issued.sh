#!/usr/bin/env bash
# issued.sh: cert-manager's controllers, an issuer of the type ca with the root of $STATE/ca/A, and cacerts by its Certificate (seed: 60 days, renewed 15 before).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); export PATH=$STATE/bin:$PATH KUBECONFIG=$STATE/admin.kubeconfig; d=$STATE/ca/A
"$here/ca.sh" "$d" A
kubectl apply -f "$(realpath "$STATE/crds")" >/dev/null; kubectl wait --for=condition=Established crd/certificates.cert-manager.io crd/clusterissuers.cert-manager.io --timeout=30s >/dev/null
kubectl create ns cert-manager; kubectl -n cert-manager create secret tls root-a --cert="$d/root-cert.pem" --key="$d/root-key.pem"
# A namespace that is gone takes its Secrets along: a controller that has seen them starts anew.
[ ! -e "$STATE/run/certmanager.pid" ] || kill "$(cat "$STATE/run/certmanager.pid")" 2>/dev/null || true
setsid nohup certmanager >"$STATE/log/certmanager.log" 2>&1 </dev/null & echo $! >"$STATE/run/certmanager.pid"
kubectl apply -f - <<Y
{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: mesh}, spec: {ca: {secretName: root-a}}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: cacerts, namespace: istio-system}
spec:
  secretName: cacerts
  duration: 1440h
  renewBefore: 360h
  commonName: istiod.istio-system.svc
  dnsNames: [istiod.istio-system.svc]
  isCA: true
  usages: [digital signature, key encipherment, cert sign]
  issuerRef: {name: mesh, kind: ClusterIssuer, group: cert-manager.io}
Y
kubectl -n istio-system wait --for=condition=Ready certificate/cacerts --timeout=60s
