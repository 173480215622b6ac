package mesh

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ownersOf names the controllers that would put back what somebody else writes:
// by owner references, by the marks that each of them leaves in labels and
// annotations, and by who has written a field.
func ownersOf(object metav1.Object) []string {
	found := map[string]bool{}
	for _, o := range object.GetOwnerReferences() {
		found[o.Kind+" "+o.Name] = true
	}
	for _, in := range []map[string]string{object.GetLabels(), object.GetAnnotations()} {
		for key := range in {
			if owner := ownerByMark(key); owner != "" {
				found[owner] = true
			}
		}
	}
	for _, f := range object.GetManagedFields() {
		if owner := ownerByManager(strings.ToLower(f.Manager)); owner != "" {
			found[owner] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// ownerByMark knows a controller by the domain of a label or annotation. The
// general app.kubernetes.io/instance, which Argo CD sets by default, names nobody:
// that Argo CD wrote it is told by managedFields.
func ownerByMark(key string) string {
	domain, _, _ := strings.Cut(key, "/")
	switch domain {
	case "argocd.argoproj.io":
		return "Argo CD"
	case "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io":
		return "Flux"
	case "reconcile.external-secrets.io", "external-secrets.io":
		return "External Secrets"
	case "cert-manager.io", "controller.cert-manager.io":
		return "cert-manager"
	case "sealedsecrets.bitnami.com":
		return "Sealed Secrets"
	case "secrets.hashicorp.com":
		return "Vault"
	case "meta.helm.sh":
		return "Helm"
	case "secrets-store.csi.k8s.io": // as synced from a key vault, and again at each poll
		return "Secrets Store CSI driver"
	case "configsync.gke.io":
		return "Config Sync"
	case "generate.kyverno.io":
		return "Kyverno"
	case "objectset.rio.cattle.io":
		return "Rancher"
	case "operator.1password.io":
		return "1Password"
	case "kapp.k14s.io":
		return "kapp"
	}
	switch key { // what is copied from has marks of the same domains
	case "reflector.v1.k8s.emberstack.com/reflects":
		return "Reflector"
	case "replicator.v1.mittwald.de/replicate-from", "replicator.v1.mittwald.de/replicated-at":
		return "Replicator"
	}
	return ""
}

func ownerByManager(manager string) string {
	switch {
	case strings.HasPrefix(manager, "argocd"):
		return "Argo CD"
	case manager == "kustomize-controller", manager == "helm-controller":
		return "Flux"
	case strings.HasPrefix(manager, "externalsecrets"), strings.HasPrefix(manager, "external-secrets"):
		return "External Secrets"
	case strings.HasPrefix(manager, "cert-manager"):
		return "cert-manager"
	case strings.HasPrefix(manager, "vault-secrets-operator"):
		return "Vault"
	case strings.HasPrefix(manager, "sealed-secrets"):
		return "Sealed Secrets"
	}
	return ""
}
