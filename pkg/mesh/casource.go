package mesh

import (
	"context"
	"crypto"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Secrets that istiod's CA may come from (istio 1.30.3
// security/pkg/pki/ca/ca.go:39-69).
const (
	pluggedSecret    = "cacerts"
	selfSignedSecret = "istio-ca-secret"
	generatedKey     = "istio-generated"
)

// secretRead is one Secret, or why it is not there.
type secretRead struct {
	secret *corev1.Secret
	err    error
}

func (g *gatherer) secretOf(ctx context.Context, namespace, name string) secretRead {
	secret, err := g.Kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return secretRead{}
	}
	if err != nil {
		return secretRead{err: err}
	}
	return secretRead{secret: secret}
}

// caSources decides for each control plane what its CA is made from, by
// istio-facts A2's precedence.
func (g *gatherer) caSources(ctx context.Context) {
	type pair struct{ plugged, selfSigned secretRead }
	read := map[string]pair{}
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		if kind, why := externalCA(plane.Flags); kind != "" {
			plane.CA = CASource{Kind: kind, Why: why}
			continue
		}
		if g.NoSecrets {
			plane.CA = CASource{Kind: CAUnknown, Why: "Secrets were not to be read", Namespace: plane.Namespace, Secret: pluggedSecret}
			continue
		}
		secrets, ok := read[plane.Namespace]
		if !ok {
			secrets = pair{g.secretOf(ctx, plane.Namespace, pluggedSecret), g.secretOf(ctx, plane.Namespace, selfSignedSecret)}
			read[plane.Namespace] = secrets
			for name, r := range map[string]secretRead{pluggedSecret: secrets.plugged, selfSignedSecret: secrets.selfSigned} {
				if r.err != nil {
					g.gap("secret "+plane.Namespace+"/"+name, "get", "secrets", plane.Namespace, r.err)
				}
			}
		}
		plane.CA = decideCA(plane, secrets.plugged, secrets.selfSigned)
		if plane.CA.Kind != CASelfSigned && secrets.selfSigned.secret != nil {
			leftover := SourceOf(secrets.selfSigned.secret, CASelfSigned)
			leftover.Why = "no istiod signs with it"
			g.s.LeftoverCASecret = &leftover
		}
	}
}

// externalCA: what comes before any Secret.
func externalCA(f Flags) (CAKind, string) {
	switch {
	case f.ExternalCA != "":
		return CARA, "EXTERNAL_CA=" + f.ExternalCA
	case !f.CAServer:
		return CAIstioCSR, "ENABLE_CA_SERVER=false"
	case strings.HasPrefix(f.CertProvider, "k8s.io/"):
		return CARA, "PILOT_CERT_PROVIDER=" + f.CertProvider
	}
	return "", ""
}

func decideCA(plane *ControlPlane, plugged, selfSigned secretRead) CASource {
	if plugged.err != nil {
		return CASource{Kind: CAUnknown, Namespace: plane.Namespace, Secret: pluggedSecret, Why: "the Secret cannot be read", Error: plugged.err.Error()}
	}
	if secret := plugged.secret; secret != nil {
		kind, why := pluggedKind(secret, plane)
		if kind != CASelfSigned {
			source := SourceOf(secret, kind)
			source.Why = why
			if late := startedBefore(plane, source); late != "" {
				source.Why += "; " + late
			}
			return source
		}
		if secret.Data[generatedKey] != nil {
			source := SourceOf(secret, CASelfSigned)
			source.Why = why
			return source
		}
	}
	if selfSigned.err != nil {
		return CASource{Kind: CAUnknown, Namespace: plane.Namespace, Secret: selfSignedSecret, Why: "the Secret cannot be read", Error: selfSigned.err.Error()}
	}
	if selfSigned.secret != nil {
		source := SourceOf(selfSigned.secret, CASelfSigned)
		source.Why = "there is no complete cacerts, and istio-ca-secret is there"
		return source
	}
	return CASource{Kind: CAUnknown, Namespace: plane.Namespace, Secret: pluggedSecret, Why: "neither cacerts nor istio-ca-secret is there"}
}

// pluggedKind tells cacerts' layout, or that istiod does not use it.
func pluggedKind(secret *corev1.Secret, plane *ControlPlane) (CAKind, string) {
	if _, ok := secret.Data[generatedKey]; ok {
		return CASelfSigned, "cacerts was made by istiod itself (" + generatedKey + ")"
	}
	if len(secret.Data["tls.crt"]) > 0 && len(secret.Data["tls.key"]) > 0 && len(secret.Data["ca.crt"]) > 0 {
		if Before(plane.Version, "1.14.2") {
			return CASelfSigned, "istiod " + plane.Version + " does not read the layout of kubernetes.io/tls"
		}
		return CAPluggedTLS, "cacerts has the layout of kubernetes.io/tls"
	}
	var missing []string
	for _, name := range []string{"ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"} {
		if _, ok := secret.Data[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 && Before(plane.Version, "1.26.1") && slices.Contains(missing, "ca-key.pem") {
		return CASelfSigned, "cacerts has no ca-key.pem: istiod falls back to its own root"
	}
	if len(missing) > 0 {
		return CAPlugged, "cacerts lacks " + strings.Join(missing, ", ") + ": istiod does not start with it"
	}
	return CAPlugged, "cacerts is complete"
}

// startedBefore: an istiod that is older than cacerts may still run on its
// self-signed root, and cut over at its next restart (istio-facts A5).
func startedBefore(plane *ControlPlane, source CASource) string {
	for _, r := range plane.Replicas {
		if !r.Started.IsZero() && r.Started.Before(source.Created) {
			return fmt.Sprintf("but %s has run since before it was made, and may still sign with its own root", r.Pod)
		}
	}
	return ""
}

// SourceOf takes from a Secret what may be known of it: never its key, nor its
// annotations, which may repeat the key.
func SourceOf(secret *corev1.Secret, kind CAKind) CASource {
	source := CASource{
		Kind: kind, Namespace: secret.Namespace, Secret: secret.Name, Exists: true, Type: string(secret.Type), UID: string(secret.UID),
		ResourceVersion: secret.ResourceVersion, Created: secret.CreationTimestamp.Time, Immutable: secret.Immutable != nil && *secret.Immutable,
		Keys: slices.Sorted(maps.Keys(secret.Data)), Owners: ownersOf(secret), HasCRL: len(secret.Data["ca-crl.pem"]) > 0,
	}
	cert, key, chain, root := "ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"
	switch kind {
	case CAPluggedTLS:
		cert, key, chain, root = "tls.crt", "tls.key", "", "ca.crt"
	case CASelfSigned:
		chain, root = "", "ca-cert.pem" // root-cert.pem of istio-ca-secret is never read
	}
	var faults []string
	read := func(name string, into *pki.Bundle, empty bool) {
		raw := secret.Data[name]
		if name == "" || empty && len(strings.TrimSpace(string(raw))) == 0 {
			return
		}
		bundle, err := pki.ParseBundle(raw)
		if err != nil {
			faults = append(faults, name+": "+err.Error())
			return
		}
		*into = bundle
	}
	read(cert, &source.Cert, false)
	read(chain, &source.Chain, true)
	read(root, &source.Root, false)
	if kind == CAPluggedTLS && len(source.Cert.Certs) > 1 {
		source.Chain = pki.NewBundle(source.Cert.Certs[1:]...)
	}
	source.keyFacts(secret.Data[key], key, &faults)
	source.Error = strings.Join(faults, "; ")
	return source
}

// keyFacts notes that there is a key and whether it fits, and forgets it.
func (c *CASource) keyFacts(raw []byte, name string, faults *[]string) {
	if len(raw) == 0 {
		*faults = append(*faults, name+": missing or empty")
		return
	}
	c.HasKey = true
	var key crypto.Signer
	key, err := pki.ParseKey(raw)
	if err != nil {
		*faults = append(*faults, name+": "+err.Error())
		return
	}
	c.KeyAlgorithm = pki.KeyAlgorithm(key.Public())
	if len(c.Cert.Certs) > 0 && c.Cert.Certs[0].X509 != nil {
		c.KeyMatches = pki.SameKey(c.Cert.Certs[0].X509.PublicKey, key.Public())
	}
}

// ownersOf names the controllers that would put back what somebody else writes.
func ownersOf(secret *corev1.Secret) []string {
	found := map[string]bool{}
	for _, o := range secret.OwnerReferences {
		found[o.Kind+" "+o.Name] = true
	}
	mark := func(name string, in map[string]string, prefixes ...string) {
		for key := range in {
			for _, p := range prefixes {
				if key == p || strings.HasSuffix(p, "/") && strings.HasPrefix(key, p) {
					found[name] = true
				}
			}
		}
	}
	for _, in := range []map[string]string{secret.Labels, secret.Annotations} {
		mark("Argo CD", in, "argocd.argoproj.io/")
		mark("Flux", in, "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")
		mark("External Secrets", in, "reconcile.external-secrets.io/", "external-secrets.io/")
		mark("cert-manager", in, "cert-manager.io/", "controller.cert-manager.io/")
		mark("Sealed Secrets", in, "sealedsecrets.bitnami.com/")
		mark("Helm", in, "meta.helm.sh/")
		mark("Vault", in, "secrets.hashicorp.com/")
	}
	for _, f := range secret.ManagedFields {
		switch manager := strings.ToLower(f.Manager); {
		case strings.HasPrefix(manager, "argocd"):
			found["Argo CD"] = true
		case manager == "kustomize-controller" || manager == "helm-controller":
			found["Flux"] = true
		case strings.HasPrefix(manager, "externalsecrets") || strings.HasPrefix(manager, "external-secrets"):
			found["External Secrets"] = true
		case strings.HasPrefix(manager, "cert-manager"):
			found["cert-manager"] = true
		}
	}
	names := slices.Collect(maps.Keys(found))
	sort.Strings(names)
	return names
}
