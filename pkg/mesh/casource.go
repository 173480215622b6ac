package mesh

import (
	"context"
	"crypto"
	"fmt"
	"maps"
	"slices"
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

// secretPair are the two Secrets of one namespace.
type secretPair struct{ plugged, selfSigned secretRead }

func (g *gatherer) secretOf(ctx context.Context, namespace, name string) secretRead {
	secret, err := g.Kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return secretRead{}
	}
	if err != nil {
		g.gap("secret "+namespace+"/"+name, "get", "secrets", namespace, err)
		return secretRead{err: err}
	}
	return secretRead{secret: secret}
}

// caSources decides for each control plane what its CA is made from, by
// istiod's own precedence.
func (g *gatherer) caSources(ctx context.Context) {
	read := map[string]secretPair{}
	for i := range g.s.ControlPlanes {
		plane := &g.s.ControlPlanes[i]
		if plane.CA.Kind == CAUnsupported {
			continue
		}
		if kind, why := externalCA(plane.Flags); kind != "" && !plane.citadel {
			plane.CA = CASource{Kind: kind, Why: why}
			continue
		}
		if why := g.allSPIRE(*plane); why != "" {
			plane.CA = CASource{Kind: CASPIRE, Why: why}
			continue
		}
		if plane.caFrom != "" {
			plane.CA = CASource{Kind: CAUnknown, Namespace: plane.Namespace, Why: "its CA's files come from " + plane.caFrom + ", and not from the Secret " + pluggedSecret + " as the charts mount it"}
			continue
		}
		if g.NoSecrets {
			if !plane.citadel {
				plane.CA = CASource{Kind: CAUnknown, Why: "Secrets were not to be read", Namespace: plane.Namespace, Secret: pluggedSecret}
			}
			continue
		}
		secrets, ok := read[plane.Namespace]
		if !ok {
			secrets = secretPair{g.secretOf(ctx, plane.Namespace, pluggedSecret), g.secretOf(ctx, plane.Namespace, selfSignedSecret)}
			read[plane.Namespace] = secrets
		}
		plane.CA = decideCA(plane, secrets)
		if plane.CA.Kind == CASelfSigned && plane.container != nil {
			env := environment{container: plane.container}
			plane.RootRenewal = env.istiodRenewal(plane.Version)
			g.unknownSettings(*plane, env.unknown)
		}
	}
	g.leftover(read)
}

// leftover is an istio-ca-secret beside control planes of its namespace that all
// are known to sign with something else.
func (g *gatherer) leftover(read map[string]secretPair) {
	for _, namespace := range slices.Sorted(maps.Keys(read)) {
		secret := read[namespace].selfSigned.secret
		for _, plane := range g.s.ControlPlanes {
			if plane.Namespace == namespace && (plane.CA.Kind == CAUnknown || plane.CA.Secret == selfSignedSecret) {
				secret = nil
			}
		}
		if secret != nil && g.s.LeftoverCASecret == nil {
			source := SourceOf(secret, CASelfSigned)
			source.Why = "no istiod signs with it"
			g.s.LeftoverCASecret = &source
		}
	}
}

// externalCA: what comes before any Secret. Without a CA server there is no RA
// either (istio 1.30.3 pilot/pkg/bootstrap/server.go:1252, maybeCreateCA).
func externalCA(f Flags) (CAKind, string) {
	switch {
	case !f.CAServer:
		return CAIstioCSR, "ENABLE_CA_SERVER=false"
	case f.ExternalCA != "":
		return CARA, "EXTERNAL_CA=" + f.ExternalCA
	case strings.HasPrefix(f.CertProvider, "k8s.io/"):
		return CARA, "PILOT_CERT_PROVIDER=" + f.CertProvider
	}
	return "", ""
}

// allSPIRE says so where every proxy of the control plane gets its leaf from a
// SPIRE agent. Where only some do, these are classified by themselves.
func (g *gatherer) allSPIRE(plane ControlPlane) string {
	n := 0
	for _, p := range g.s.Proxies {
		if p.Kind == Ztunnel {
			continue
		}
		if own, ok := PlaneOf(p, g.s.ControlPlanes); ok && (own.Namespace != plane.Namespace || own.Name != plane.Name) {
			continue
		}
		if !p.SPIRE {
			return ""
		}
		n++
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("all its %d proxies mount the socket of a SPIRE agent", n)
}

func decideCA(plane *ControlPlane, secrets secretPair) CASource {
	if plane.citadel {
		return citadelCA(plane, secrets)
	}
	plugged, selfSigned := secrets.plugged, secrets.selfSigned
	if plugged.err != nil {
		return unreadable(plane.Namespace, pluggedSecret, plugged.err)
	}
	fallback := "there is no cacerts"
	if secret := plugged.secret; secret != nil {
		kind, why := pluggedKind(secret, plane.Version, plane.Flags)
		if kind != CASelfSigned {
			source := SourceOf(secret, kind)
			source.Why = why
			if late := startedBefore(plane, source); late != "" {
				source.Why += "; " + late
			}
			return source
		}
		fallback = why
	}
	// A self-signed istiod takes istio-ca-secret first, whatever the flags say
	// (istio 1.30.3 security/pkg/pki/ca/ca.go:151).
	if selfSigned.err != nil {
		return unreadable(plane.Namespace, selfSignedSecret, selfSigned.err)
	}
	secret, why := selfSigned.secret, fallback+", and istio-ca-secret is there"
	if secret == nil && plane.Flags.SelfSignedInCACerts && plugged.secret != nil {
		secret, why = plugged.secret, fallback
	}
	if secret != nil {
		source := SourceOf(secret, CASelfSigned)
		source.Why = why
		source.mounted(plugged.secret, secret)
		if plugged.secret != nil && plugged.secret != secret && Before(plane.Version, tlsLayoutFrom) && hasTLSLayout(plugged.secret) {
			source.Unread = pluggedSecret
		}
		return source
	}
	return CASource{Kind: CAUnknown, Namespace: plane.Namespace, Secret: pluggedSecret, Why: fallback + ", and no istio-ca-secret either"}
}

func unreadable(namespace, name string, err error) CASource {
	return CASource{Kind: CAUnknown, Namespace: namespace, Secret: name, Why: "the Secret cannot be read", Error: err.Error()}
}

// citadelCA is the same for Citadel, which is told by an argument.
func citadelCA(plane *ControlPlane, secrets secretPair) CASource {
	read, name, kind := secrets.plugged, pluggedSecret, CAPlugged
	if plane.selfSigned || read.secret == nil && read.err == nil {
		read, name, kind = secrets.selfSigned, selfSignedSecret, CASelfSigned
	}
	source := CASource{Namespace: plane.Namespace, Secret: name, Error: "there is none"}
	switch {
	case read.err != nil:
		source.Error = read.err.Error()
	case read.secret != nil:
		source = SourceOf(read.secret, kind)
	}
	source.Kind, source.Why = CACitadel, "the Deployment "+plane.Name+" signs with "+name
	return source
}

// mounted adds the roots of a cacerts without a key: a self-signed istiod appends
// the file to its own root (istio 1.30.3 security/pkg/pki/util/generate_csr.go:115).
func (c *CASource) mounted(plugged, own *corev1.Secret) {
	if plugged == nil || plugged == own || len(plugged.Data[pki.RootFile]) == 0 || c.Root.IsZero() {
		return
	}
	raw := append(slices.Clone(c.Root.Raw), plugged.Data[pki.RootFile]...)
	bundle, err := pki.ParseBundle(raw)
	if err != nil {
		c.Error = strings.TrimPrefix(c.Error+"; root-cert.pem of cacerts: "+err.Error(), "; ")
		return
	}
	c.Root = bundle
	c.Why += "; istiod adds the roots of cacerts to its own"
}

// pluggedKind tells the layout of cacerts, or that istiod does not use it: by the
// files there are, empty or not (istio 1.30.3 pilot/pkg/bootstrap/istio_ca.go:229
// and :665).
func pluggedKind(secret *corev1.Secret, version string, flags Flags) (CAKind, string) {
	kind := CAPlugged
	tls := hasTLSLayout(secret)
	if tls && !Before(version, tlsLayoutFrom) {
		kind = CAPluggedTLS
	}
	layout, _ := LayoutOf(kind) // of both there is one
	key, entries := layout.Key, layout.Entries()
	var missing []string
	for _, name := range entries {
		if _, ok := secret.Data[name]; !ok {
			missing = append(missing, name)
		}
	}
	_, generated := secret.Data[generatedKey]
	_, hasKey := secret.Data[key]
	switch {
	case len(missing) == 0 && generated && flags.SelfSignedInCACerts:
		return CASelfSigned, "cacerts was made by istiod itself (" + generatedKey + ")"
	case len(missing) == 0 && kind == CAPluggedTLS:
		return kind, "cacerts has the layout of kubernetes.io/tls"
	case len(missing) == 0:
		return kind, "cacerts is complete"
	case len(missing) == len(entries) && tls && undecided(version, tlsLayoutFrom):
		return CAUnknown, "cacerts has the layout of kubernetes.io/tls, which istiod reads from " + tlsLayoutFrom + " on: which patch of " + version + " it is, is not known"
	case len(missing) == len(entries) && tls:
		return CASelfSigned, "cacerts has the layout of kubernetes.io/tls, which istiod " + version + " does not read"
	case len(missing) == len(entries):
		return CASelfSigned, "cacerts holds none of the CA's files"
	case !hasKey && undecided(version, "1.26.1"):
		return CAUnknown, "cacerts lacks " + strings.Join(missing, ", ") + ": from 1.26.1 on istiod does not start with it, before it falls back to its own root"
	case !hasKey && Before(version, "1.26.1"):
		return CASelfSigned, "cacerts has no " + key + ", without which istiod " + version + " falls back to its own root"
	}
	return kind, "cacerts lacks " + strings.Join(missing, ", ") + ": istiod does not start with it"
}

// tlsLayoutFrom is the first release that reads a CA from the layout of kubernetes.io/tls
// (istio 1.14.2 pilot/pkg/bootstrap/istio_ca.go:235).
const tlsLayoutFrom = "1.14.2"

func hasTLSLayout(secret *corev1.Secret) bool {
	_, ok := secret.Data["tls.crt"]
	return ok
}

// startedBefore: an istiod that is older than cacerts may still run on its
// self-signed root, and cut over at its next restart.
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
		Keys: slices.Sorted(maps.Keys(secret.Data)), Owners: ownersOf(secret), HasCRL: len(secret.Data[pki.CRLFile]) > 0,
	}
	layout, ok := LayoutOf(kind)
	if !ok {
		layout, _ = LayoutOf(CAPlugged) // all others have these names
	}
	if kind == CASelfSigned {
		layout.Chain, layout.Root = "", layout.Cert // root-cert.pem of istio-ca-secret is never read
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
	read(layout.Cert, &source.Cert, false)
	read(layout.Chain, &source.Chain, true)
	read(layout.Root, &source.Root, false)
	if kind == CAPluggedTLS && len(source.Cert.Certs) > 1 {
		source.Chain = pki.NewBundle(source.Cert.Certs[1:]...)
	}
	source.keyFacts(secret.Data[layout.Key], layout.Key, &faults)
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
