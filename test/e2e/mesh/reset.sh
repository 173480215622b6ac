#!/usr/bin/env bash
# reset.sh: back to a cluster without a mesh, with nothing left of a row: namespaces, webhooks, roles, CA material. The CRDs stay.
set -euo pipefail
export PATH=$STATE/bin:$PATH KUBECONFIG=$STATE/admin.kubeconfig
kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration --all
kubectl get ns -o name | grep -vE '/(default|kube-.*)$' >"$STATE/namespaces" || true
# What no operator would do: nobody needs these pods' last seconds, and a namespace waits for its pods.
sed 's#namespace/##' "$STATE/namespaces" | xargs -r -n1 -P8 -I{} sh -c 'kubectl -n {} delete deploy,rs --all --wait=false && kubectl -n {} delete pod --all --grace-period=0 --force' 2>/dev/null
xargs -r kubectl delete --timeout=120s <"$STATE/namespaces"
# Citadel's, in the namespaces that stay
kubectl delete secret -A --field-selector type=istio.io/key-and-cert
kubectl get clusterrole,clusterrolebinding -o name | { grep -E "istio|meshca|e2e-" || true; } | xargs -r kubectl delete
kubectl delete crd meshpolicies.authentication.istio.io --ignore-not-found # of a mesh of Citadel's time, and of no other
# (the bindings of kube-proxy and CoreDNS are the cluster's)
rm -rf "$STATE/ca"
