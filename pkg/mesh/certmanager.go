package mesh

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	certManagerGroup = "cert-manager.io"
	// certManagerHome is where a ClusterIssuer's Secrets are, unless the controller is
	// told otherwise (cert-manager --cluster-resource-namespace, by default its own).
	certManagerHome = "cert-manager"
	// certManagerLife is a Certificate's duration where it names none
	// (cert-manager pkg/apis/certmanager/v1/const.go, DefaultCertificateDuration).
	certManagerLife = 90 * 24 * time.Hour
)

// ReleasedFrom on a Certificate names the Secret that it wrote before it was
// released: the mesh's CA is another's hands now, and the Certificate writes to a
// Secret of its own until it is returned.
const ReleasedFrom = "meshca.io/released-from"

// ManagedCA is a cert-manager Certificate that writes a control plane's CA Secret,
// with the issuer behind it.
type ManagedCA struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Secret    string `json:"secret"`
	IsCA      bool   `json:"isCA"`
	// Duration and RenewBefore are the effective ones, with cert-manager's defaults.
	Duration    Duration `json:"duration"`
	RenewBefore Duration `json:"renewBefore"`
	// Ready and Why are its condition; Issuing is true while a renewal is under way.
	Ready   bool   `json:"ready"`
	Why     string `json:"why,omitempty"`
	Issuing bool   `json:"issuing,omitempty"`
	// RenewalTime is when cert-manager will renew it, zero where it does not say.
	RenewalTime time.Time `json:"renewalTime,omitzero"`
	// Key is the kind of key that it asks for, as pki.KeyAlgorithm says it. KeepsKey is true
	// where a renewal certifies the key that the Secret holds; unless it is of that kind
	// cert-manager then waits for somebody, for ever. KeyUnsaid is true where that depends on
	// cert-manager's release, which is not known.
	Key       string `json:"key,omitempty"`
	KeepsKey  bool   `json:"keepsKey,omitempty"`
	KeyUnsaid bool   `json:"keyUnsaid,omitempty"`
	// Issuer is KIND NAME, IssuerType ca, selfSigned, vault, acme, venafi or external.
	Issuer      string `json:"issuer"`
	IssuerType  string `json:"issuerType,omitempty"`
	IssuerReady bool   `json:"issuerReady"`
	// IssuerChain is what a ca issuer signs with and what stands above it; the last is
	// what its next certificate brings as ca.crt. Empty where it cannot be known.
	IssuerChain []*pki.Certificate `json:"issuerChain,omitempty"`
	// IssuerWriter is the Certificate, NAMESPACE/NAME, that writes what a ca issuer signs
	// with, and IssuerRenewal when cert-manager renews that; "" where none does.
	IssuerWriter  string    `json:"issuerWriter,omitempty"`
	IssuerRenewal time.Time `json:"issuerRenewal,omitzero"`
	// Released is the Secret that it wrote before it was released, "" where it was not:
	// then Secret is none that an istiod reads.
	Released string `json:"released,omitempty"`
	// Owners name the controllers that would put back what somebody else changes of the
	// Certificate itself.
	Owners []string `json:"owners,omitempty"`
	// Error says why issuer or chain could not be read.
	Error string `json:"error,omitempty"`
}

// NextRoot is the root that the next renewal brings; nil where it is not known
// (cert-manager pkg/util/pki/parse_certificate_chain.go: the highest of the chain).
func (m ManagedCA) NextRoot() *pki.Certificate {
	if len(m.IssuerChain) == 0 {
		return nil
	}
	return m.IssuerChain[len(m.IssuerChain)-1]
}

// RenewsAt is when cert-manager renews what it has written: by its own word, which counts
// from the life that the issuer really gave and keeps to the Certificate's windows
// (cert-manager 1.21.1 pkg/util/pki/renewaltime.go), else by the policy.
func (m ManagedCA) RenewsAt(written *pki.Certificate) time.Time {
	x := written.X509
	if m.RenewalTime.After(x.NotBefore) && m.RenewalTime.Before(x.NotAfter) {
		return m.RenewalTime
	}
	return x.NotAfter.Add(-time.Duration(m.RenewBefore))
}

// managedCAs reads the Certificates that write a CA Secret of a control plane.
func (g *gatherer) managedCAs(ctx context.Context) {
	const part, kind = "cert-manager's Certificates", "certificates"
	resource, ok, err := g.served(ctx, certManagerGroup, kind)
	if err != nil {
		g.beside(part, "list", kind, "", err)
	}
	if !ok {
		return
	}
	controller := sync.OnceValues(func() (string, string) { return g.certManager(ctx) })
	for _, namespace := range g.homes() {
		if g.Dynamic == nil {
			g.beside(part+" in "+namespace, "list", kind, namespace, errors.New("they were not read"))
			continue
		}
		found, err := g.objects(ctx, resource, namespace)
		if err != nil {
			g.beside(part+" in "+namespace, "list", kind, namespace, err)
			continue
		}
		for i := range found {
			name, _, _ := unstructured.NestedString(found[i].Object, "spec", "secretName")
			released := found[i].GetAnnotations()[ReleasedFrom]
			if released != "" && released != name {
				name = released
			}
			if name != pluggedSecret && !slices.ContainsFunc(g.s.ControlPlanes, func(p ControlPlane) bool { return p.Namespace == namespace && p.CA.Secret == name && name != "" }) {
				continue
			}
			m := managedOf(&found[i])
			m.keyPolicy(&found[i], controller)
			g.issuer(ctx, &m, &found[i], controller)
			g.s.ManagedCAs = append(g.s.ManagedCAs, m)
		}
	}
}

func managedOf(o *unstructured.Unstructured) ManagedCA {
	text := func(path ...string) string { s, _, _ := unstructured.NestedString(o.Object, path...); return s }
	m := ManagedCA{Namespace: o.GetNamespace(), Name: o.GetName(), Secret: text("spec", "secretName"), Duration: Duration(certManagerLife)}
	if from := o.GetAnnotations()[ReleasedFrom]; from != m.Secret {
		m.Released = from
	}
	m.Owners = slices.DeleteFunc(ownersOf(o), func(owner string) bool { return owner == "cert-manager" })
	m.IsCA, _, _ = unstructured.NestedBool(o.Object, "spec", "isCA")
	if d, err := time.ParseDuration(text("spec", "duration")); err == nil && d > 0 {
		m.Duration = Duration(d)
	}
	// Without a word of it cert-manager renews when a third of the life is left.
	m.RenewBefore = m.Duration / 3
	if d, err := time.ParseDuration(text("spec", "renewBefore")); err == nil && d > 0 && Duration(d) < m.Duration {
		m.RenewBefore = Duration(d)
	} else if percent, ok, _ := unstructured.NestedInt64(o.Object, "spec", "renewBeforePercentage"); ok && percent > 0 && percent < 100 {
		m.RenewBefore = m.Duration * Duration(percent) / 100
	}
	m.Issuer = cmp.Or(text("spec", "issuerRef", "kind"), "Issuer") + " " + text("spec", "issuerRef", "name")
	m.RenewalTime, _ = time.Parse(time.RFC3339, text("status", "renewalTime"))
	m.Ready, m.Why = condition(o, "Ready")
	m.Issuing, _ = condition(o, "Issuing")
	return m
}

// condition is an object's condition, and its message where it is not true.
func condition(o *unstructured.Unstructured, kind string) (on bool, why string) {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range all {
		c, _ := entry.(map[string]any)
		if c["type"] != kind {
			continue
		}
		if on = c["status"] == "True"; !on {
			why, _ = c["message"].(string)
		}
		return on, why
	}
	return false, "it has no condition " + kind
}

// issuer reads what signs the Certificate, and for a ca issuer its chain, without
// its key.
func (g *gatherer) issuer(ctx context.Context, m *ManagedCA, certificate *unstructured.Unstructured, controller func() (home, release string)) {
	kind, name, _ := strings.Cut(m.Issuer, " ")
	group, _, _ := unstructured.NestedString(certificate.Object, "spec", "issuerRef", "group")
	if group != "" && group != certManagerGroup {
		m.IssuerType, m.Error = "external", "the issuer is of "+group+": what it signs with is not known here"
		return
	}
	plural, namespace, secrets := "issuers", m.Namespace, m.Namespace
	if kind == "ClusterIssuer" {
		plural, namespace = "clusterissuers", ""
		secrets, _ = controller()
	}
	resource, ok, err := g.served(ctx, certManagerGroup, plural)
	if err == nil && !ok {
		err = fmt.Errorf("the API server has no %s", plural)
	}
	var o *unstructured.Unstructured
	if err == nil {
		o, err = g.Dynamic.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		m.Error = m.Issuer + ": " + err.Error()
		if refused(err) {
			g.beside("cert-manager's "+m.Issuer, "get", plural, namespace, err)
		}
		return
	}
	m.IssuerReady, _ = condition(o, "Ready")
	spec, _, _ := unstructured.NestedMap(o.Object, "spec")
	for _, known := range []string{"ca", "selfSigned", "vault", "acme", "venafi"} {
		if _, ok := spec[known]; ok {
			m.IssuerType = known
		}
	}
	if m.IssuerType != "ca" {
		return
	}
	name, _, _ = unstructured.NestedString(o.Object, "spec", "ca", "secretName")
	secret, err := g.issuerSecret(ctx, secrets, name)
	if err == nil {
		m.IssuerChain, err = issuerChain(secret)
	}
	if err != nil {
		m.Error = fmt.Sprintf("secret %s/%s of %s: %v", secrets, name, m.Issuer, err)
		return
	}
	g.issuerRenewal(ctx, m, secret)
}

// issuerSecret is what a ca issuer signs with. Whoever may not read it does not know the
// next root, which is said.
func (g *gatherer) issuerSecret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	if g.NoSecrets {
		return nil, errors.New("it was not to be read")
	}
	return g.Kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// issuerRenewal finds the Certificate that writes the issuer's own Secret, and when it is
// renewed; where that cannot be read, at the default of cert-manager, which is when a third
// of the life is left.
func (g *gatherer) issuerRenewal(ctx context.Context, m *ManagedCA, secret *corev1.Secret) {
	name, written := secret.Annotations["cert-manager.io/certificate-name"], m.IssuerChain[0].X509
	if name == "" || written == nil {
		return
	}
	writer := ManagedCA{RenewBefore: Duration(written.NotAfter.Sub(written.NotBefore) / 3)}
	if resource, ok, err := g.served(ctx, certManagerGroup, "certificates"); err == nil && ok {
		found, err := g.objects(ctx, resource, secret.Namespace)
		i := slices.IndexFunc(found, func(o unstructured.Unstructured) bool { return o.GetName() == name })
		switch {
		case i >= 0:
			writer = managedOf(&found[i])
		case err == nil:
			return // it is gone: nobody renews what it wrote
		}
		if i >= 0 && writer.Secret != secret.Name {
			return
		}
	}
	m.IssuerWriter, m.IssuerRenewal = secret.Namespace+"/"+name, writer.RenewsAt(m.IssuerChain[0])
}

// issuerChain is what cert-manager signs with and what stands above it, each above the one
// before: all of tls.crt, and of ca.crt the first (cert-manager 1.21.1 pkg/util/kube/pki.go,
// SecretTLSKeyPairAndCA). Where these are no single chain it issues nothing
// (pkg/util/pki/parse_certificate_chain.go).
func issuerChain(secret *corev1.Secret) ([]*pki.Certificate, error) {
	bundle, err := pki.ParseBundle(secret.Data["tls.crt"])
	if err != nil {
		return nil, fmt.Errorf("tls.crt: %w", err)
	}
	all := bundle.Certs
	if raw := secret.Data["ca.crt"]; len(raw) > 0 {
		above, err := pki.ParseBundle(raw)
		if err != nil {
			return nil, fmt.Errorf("ca.crt: %w", err)
		}
		all = append(slices.Clone(all), above.Certs[0])
	}
	chain := all[:1:1]
	left := slices.Clone(all[1:])
	for {
		last := chain[len(chain)-1]
		// Twice the same counts once; what is used is gone, so that no circle has no end.
		left = slices.DeleteFunc(left, last.Equal)
		next := slices.IndexFunc(left, last.SignedBy)
		switch {
		case next >= 0:
			chain = append(chain, left[next])
		case len(left) > 0:
			return nil, fmt.Errorf("tls.crt and the first certificate of ca.crt are no single chain, of which cert-manager issues nothing: %s stands nowhere above %s", left[0].Subject(), last.Subject())
		default:
			return chain, nil
		}
	}
}

// certManager is where ClusterIssuers keep their Secrets, by the controller's own
// argument, and its release; "" where that cannot be told.
func (g *gatherer) certManager(ctx context.Context) (home, release string) {
	list, err := g.Kube.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=cert-manager,app.kubernetes.io/component=controller"})
	if err != nil || len(list.Items) == 0 {
		return certManagerHome, ""
	}
	home = list.Items[0].Namespace
	for _, c := range list.Items[0].Spec.Template.Spec.Containers {
		for _, arg := range c.Args {
			if value, ok := strings.CutPrefix(arg, "--cluster-resource-namespace="); ok && !strings.Contains(value, "$(") {
				home = value
			}
		}
		image, _, _ := strings.Cut(c.Image, "@")
		if _, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":"); tagged && release == "" {
			release = strings.TrimPrefix(tag, "v")
		}
	}
	if _, ok := ParseRelease(release); !ok {
		release = strings.TrimPrefix(list.Items[0].Labels["app.kubernetes.io/version"], "v")
	}
	return home, release
}

// keyPolicy reads which key the next certificate has. Without a word of it cert-manager
// kept the Secret's until 1.18, which makes another one each time (cert-manager 1.17.0
// and 1.18.0 pkg/controller/certificates/keymanager/keymanager_controller.go).
func (m *ManagedCA) keyPolicy(certificate *unstructured.Unstructured, controller func() (home, release string)) {
	key, _, _ := unstructured.NestedMap(certificate.Object, "spec", "privateKey")
	m.Key = keyOf(key)
	switch policy, _ := key["rotationPolicy"].(string); policy {
	case "Never":
		m.KeepsKey = true
	case "":
		_, release := controller()
		_, known := ParseRelease(release)
		m.KeepsKey, m.KeyUnsaid = Before(release, "1.18.0-alpha.0"), !known
	}
}

// keyOf is the key that spec.privateKey asks for, with cert-manager's defaults
// (cert-manager pkg/util/pki/match.go, PrivateKeyMatchesSpec).
func keyOf(spec map[string]any) string {
	size, _, _ := unstructured.NestedNumberAsFloat64(spec, "size")
	switch spec["algorithm"] {
	case "ECDSA":
		return fmt.Sprintf("ecdsa-p%d", cmp.Or(int(size), 256))
	case "Ed25519":
		return pki.KeyAlgorithm(ed25519.PublicKey(nil))
	}
	return fmt.Sprintf("rsa-%d", cmp.Or(int(size), 2048))
}
