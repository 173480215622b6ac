#!/usr/bin/env bash
# seed003.sh DIR: the procedure that this project replaces, as its users have it: delete cacerts, create it from DIR, restart the control plane, wait until the
# root ConfigMap follows in every namespace, restart every workload.
set -euo pipefail
export PATH=$STATE/bin:$PATH KUBECONFIG=$STATE/admin.kubeconfig; d=$1
kubectl -n istio-system delete secret cacerts
kubectl -n istio-system create secret generic cacerts --from-file="$d/ca-cert.pem" --from-file="$d/ca-key.pem" --from-file="$d/root-cert.pem" --from-file="$d/cert-chain.pem"
kubectl -n istio-system rollout restart deployment; kubectl -n istio-system rollout status deploy/istiod --timeout=120s
want=$(openssl x509 -noout -fingerprint -in "$d/root-cert.pem")
for n in a b c; do
  for i in $(seq 120); do [ "$(kubectl -n $n get cm istio-ca-root-cert -o jsonpath='{.data.root-cert\.pem}' | openssl x509 -noout -fingerprint)" = "$want" ] && break; sleep 1; done
done
for n in a b c; do kubectl -n $n rollout restart deployment; for x in server client; do kubectl -n $n rollout status deploy/$x --timeout=120s; done; done
