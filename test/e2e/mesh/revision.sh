#!/usr/bin/env bash
# revision.sh REVISION [helm args...]: a second istiod, of another revision, beside the first, and namespace c handed to it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); export PATH=$STATE/bin:$PATH KUBECONFIG=$STATE/admin.kubeconfig; rev=$1; shift
C=$(cd "$here/gomod/istio" && go list -m -f '{{.Dir}}' istio.io/istio)/manifests/charts
helm upgrade --install "istiod-$rev" "$C/istio-control/istio-discovery" -n istio-system -f "$here/istiod-values.yaml" --set "revision=$rev" "$@" >/dev/null
kubectl -n istio-system rollout status "deploy/istiod-$rev" --timeout=180s
for i in $(seq 120); do
  [ -n "$(kubectl get mutatingwebhookconfiguration "istio-sidecar-injector-$rev-istio-system" -o jsonpath='{.webhooks[0].clientConfig.caBundle}' 2>/dev/null || kubectl get mutatingwebhookconfiguration "istio-sidecar-injector-$rev" -o jsonpath='{.webhooks[0].clientConfig.caBundle}')" ] && break; sleep .5
done
kubectl label ns c istio-injection- "istio.io/rev=$rev"
kubectl -n c rollout restart deploy; for d in server client; do kubectl -n c rollout status deploy/$d --timeout=180s; done
# The injector of the other revision must not have been faster.
for i in $(seq 60); do
  [ "$(kubectl -n c get pods -o jsonpath='{.items[*].metadata.annotations.istio\.io/rev}')" = "$rev $rev" ] && exit; sleep .5
done
echo "the pods of c are not of revision $rev" >&2; exit 1
