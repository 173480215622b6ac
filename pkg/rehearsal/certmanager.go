package rehearsal

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"reflect"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8stesting "k8s.io/client-go/testing"
)

// CertManager is cert-manager as it writes a mesh's cacerts: a Certificate of that
// name, and a ClusterIssuer of the type ca. It does what its controllers do about
// one Certificate (cert-manager 1.21 internal/controller/certificates/policies/checks.go
// and pkg/controller/certificates/{trigger,issuing,readiness}): it issues where
// somebody asks by the condition Issuing, and where the Secret that the Certificate
// names is not there or is not marked as written by it; it writes in place, and no
// other Secret.
type CertManager struct {
	mesh  *Mesh
	root  *pki.Authority
	down  bool
	fails string
	// Issued counts what it has issued.
	Issued int
}

const (
	issuerHome        = "cert-manager"
	issuerName        = "mesh"
	certificateMark   = "cert-manager.io/certificate-name"
	issuerMark        = "cert-manager.io/issuer-name"
	certManagerDelay  = 500 * time.Millisecond
	certManagerGroup  = "cert-manager.io"
	managedDuration   = 1440 * time.Hour
	managedLastPart   = 360 * time.Hour
	managedCommonName = "istiod.istio-system.svc"
)

func certManagerKind(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: certManagerGroup, Version: "v1", Resource: resource}
}

// Manage hands cacerts, which must be of the type kubernetes.io/tls, to cert-manager
// with this root behind its issuer.
func (m *Mesh) Manage(root *pki.Authority) (*CertManager, error) {
	c := &CertManager{mesh: m, root: root}
	m.Kube.Resources = append(m.Kube.Resources, &metav1.APIResourceList{GroupVersion: certManagerGroup + "/v1", APIResources: []metav1.APIResource{{Name: "certificates"}, {Name: "issuers"}, {Name: "clusterissuers"}}})
	secret, err := m.secret(pluggedSecret)
	if err != nil {
		return nil, err
	}
	if secret.Type != corev1.SecretTypeTLS {
		return nil, fmt.Errorf("rehearsal: cert-manager writes no Secret of the type %s", secret.Type)
	}
	secret = secret.DeepCopy()
	mark(secret)
	if err := m.Kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("secrets"), secret, istioNamespace); err != nil {
		return nil, err
	}
	if err := m.Kube.Tracker().Add(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: issuerHome, Name: "root", ResourceVersion: "1"}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": root.Cert.PEM()}}); err != nil {
		return nil, err
	}
	m.Dynamic.PrependReactor("update", "certificates", c.update)
	for resource, object := range map[string]*unstructured.Unstructured{
		"clusterissuers": {Object: map[string]any{"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": map[string]any{"name": issuerName},
			"spec": map[string]any{"ca": map[string]any{"secretName": "root"}}, "status": conditions("Ready", 1)}},
		"certificates": {Object: map[string]any{"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
			"metadata": map[string]any{"namespace": istioNamespace, "name": pluggedSecret, "generation": int64(1), "resourceVersion": "1"},
			"spec": map[string]any{"secretName": pluggedSecret, "isCA": true, "duration": managedDuration.String(), "renewBefore": managedLastPart.String(), "commonName": managedCommonName,
				"privateKey": map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"},
				"issuerRef":  map[string]any{"kind": "ClusterIssuer", "name": issuerName, "group": certManagerGroup}},
			"status": conditions("Ready", 1)}},
	} {
		if err := m.Dynamic.Tracker().Create(certManagerKind(resource), object, object.GetNamespace()); err != nil {
			return nil, fmt.Errorf("rehearsal: %w", err)
		}
	}
	return c, nil
}

// Behind puts another root behind the issuer. Nothing is issued for that alone.
func (c *CertManager) Behind(root *pki.Authority) error {
	c.mesh.mu.Lock()
	defer c.mesh.mu.Unlock()
	c.root = root
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	object, err := c.mesh.Kube.Tracker().Get(secrets, issuerHome, "root")
	if err != nil {
		return err
	}
	secret := object.(*corev1.Secret).DeepCopy()
	secret.Data = map[string][]byte{"tls.crt": root.Cert.PEM()}
	secret.ResourceVersion = versionOf(secret.ResourceVersion)
	return c.mesh.Kube.Tracker().Update(secrets, secret, issuerHome)
}

// KeepKey is rotationPolicy Never, the default before cert-manager 1.18: a renewal
// certifies the key that there is. Where that is no key of this algorithm (RSA or ECDSA,
// of the default size) it issues nothing, and waits.
func (c *CertManager) KeepKey(algorithm string) error {
	o, err := c.certificate()
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedMap(o.Object, map[string]any{"algorithm": algorithm, "rotationPolicy": "Never"}, "spec", "privateKey"); err != nil {
		return fmt.Errorf("rehearsal: %w", err)
	}
	return c.store(o)
}

// Stop has its controllers do nothing any more, Fail has every issue fail so; Start
// takes both back.
func (c *CertManager) Stop() { c.set(true, "") }

// Fail has every issue fail.
func (c *CertManager) Fail(why string) { c.set(false, why) }

// Start takes Stop and Fail back, and has it look at its Certificate.
func (c *CertManager) Start() {
	c.set(false, "")
	c.mesh.after(certManagerDelay, c.reconcile)
}

// Renew has it issue as it does of itself when a Certificate's time has come.
func (c *CertManager) Renew() {
	c.mesh.after(certManagerDelay, func() {
		if o, err := c.certificate(); err == nil {
			c.issue(o)
		}
	})
}

func (c *CertManager) set(down bool, why string) {
	c.mesh.mu.Lock()
	defer c.mesh.mu.Unlock()
	c.down, c.fails = down, why
}

func (c *CertManager) certificate() (*unstructured.Unstructured, error) {
	object, err := c.mesh.Dynamic.Tracker().Get(certManagerKind("certificates"), istioNamespace, pluggedSecret)
	if err != nil {
		return nil, err
	}
	return object.(*unstructured.Unstructured).DeepCopy(), nil
}

// update is the API server's: a status by its subresource alone, all else without it,
// at the version that was read; a changed spec is another generation.
func (c *CertManager) update(action k8stesting.Action) (bool, runtime.Object, error) {
	if fault := c.mesh.faults.meets("update", "certificates"); fault != nil {
		return true, nil, fault.Err
	}
	update := action.(k8stesting.UpdateActionImpl)
	given := update.Object.(*unstructured.Unstructured).DeepCopy()
	there, err := c.certificate()
	if err != nil {
		return true, nil, err
	}
	if given.GetResourceVersion() != there.GetResourceVersion() {
		return true, nil, apierrors.NewConflict(action.GetResource().GroupResource(), given.GetName(), fmt.Errorf("version %s is not %s", given.GetResourceVersion(), there.GetResourceVersion()))
	}
	if action.GetSubresource() == "status" {
		there.Object["status"] = given.Object["status"]
		given = there
	} else {
		given.Object["status"] = there.Object["status"]
		if !reflect.DeepEqual(given.Object["spec"], there.Object["spec"]) {
			given.SetGeneration(there.GetGeneration() + 1)
		}
	}
	if len(update.UpdateOptions.DryRun) > 0 {
		return true, given, nil
	}
	if err := c.store(given); err != nil {
		return true, nil, err
	}
	c.mesh.after(certManagerDelay, c.reconcile)
	return true, given, nil
}

func (c *CertManager) store(o *unstructured.Unstructured) error {
	o.SetResourceVersion(versionOf(o.GetResourceVersion()))
	return c.mesh.Dynamic.Tracker().Update(certManagerKind("certificates"), o.DeepCopy(), istioNamespace)
}

// reconcile issues where something asks for it.
func (c *CertManager) reconcile() {
	o, err := c.certificate()
	if err != nil || c.down {
		return
	}
	name, _, _ := unstructured.NestedString(o.Object, "spec", "secretName")
	secret, err := c.mesh.secret(name)
	if err != nil || secret.Annotations[certificateMark] != o.GetName() || issuing(o) {
		c.issue(o)
	}
}

func issuing(o *unstructured.Unstructured) bool {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range all {
		if c, _ := entry.(map[string]any); c["type"] == "Issuing" && c["status"] == "True" {
			return true
		}
	}
	return false
}

// issue writes another intermediate into the Secret that the Certificate names.
func (c *CertManager) issue(o *unstructured.Unstructured) {
	if c.fails != "" {
		status := conditions("Ready", o.GetGeneration())
		status["conditions"] = append(status["conditions"].([]any), map[string]any{"type": "Issuing", "status": "False", "reason": "Denied", "message": c.fails, "observedGeneration": o.GetGeneration()})
		o.Object["status"] = status
		_ = c.store(o) // there is nobody to tell
		return
	}
	name, _, _ := unstructured.NestedString(o.Object, "spec", "secretName")
	signer, err := c.root.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: managedCommonName}, Key: pki.ECDSAP256, Now: c.mesh.clock.Now(), Lifetime: managedDuration, DNSNames: []string{managedCommonName}})
	if err != nil {
		return // the root has ended: it goes on trying, for ever
	}
	key, err := signer.KeyPEM()
	if err != nil {
		return
	}
	cert := signer.Cert
	if policy, _, _ := unstructured.NestedString(o.Object, "spec", "privateKey", "rotationPolicy"); policy == "Never" {
		algorithm, _, _ := unstructured.NestedString(o.Object, "spec", "privateKey", "algorithm")
		if cert, key, err = c.again(name, signer, algorithm); err != nil {
			return // it waits for somebody, and says so in an Event alone
		}
	}
	c.Issued++
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	secret, err := c.mesh.secret(name)
	is := err == nil
	if is {
		secret = secret.DeepCopy()
	} else {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: istioNamespace, Name: name}, Type: corev1.SecretTypeTLS}
	}
	mark(secret)
	secret.Data = map[string][]byte{"tls.crt": cert.PEM(), "tls.key": key, "ca.crt": c.root.Roots.Raw}
	secret.ResourceVersion = versionOf(secret.ResourceVersion)
	if is {
		err = c.mesh.Kube.Tracker().Update(secrets, secret, istioNamespace)
	} else {
		err = c.mesh.Kube.Tracker().Add(secret)
	}
	if err != nil {
		return
	}
	if name == pluggedSecret {
		c.mesh.follow(secret.DeepCopy())
	}
	o.Object["status"] = conditions("Ready", o.GetGeneration())
	_ = c.store(o) // see above
}

// again is a new certificate for what a Secret holds: the same name and key, and the
// dates and the serial number of another; that other one where there is no Secret yet.
func (c *CertManager) again(name string, other *pki.Authority, algorithm string) (*pki.Certificate, []byte, error) {
	secret, err := c.mesh.secret(name)
	if err != nil {
		key, err := other.KeyPEM()
		return other.Cert, key, err
	}
	there, err := pki.ParseBundle(secret.Data["tls.crt"])
	if err != nil {
		return nil, nil, err
	}
	template := *there.Certs[0].X509
	if template.PublicKeyAlgorithm.String() != algorithm {
		return nil, nil, fmt.Errorf("rehearsal: the key in %s does not match the Certificate", name)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = other.Cert.X509.SerialNumber, other.Cert.X509.NotBefore, other.Cert.X509.NotAfter
	der, err := x509.CreateCertificate(rand.Reader, &template, c.root.Cert.X509, template.PublicKey, c.root.Key)
	if err != nil {
		return nil, nil, err
	}
	return pki.NewCertificate(der), secret.Data["tls.key"], nil
}

func mark(secret *corev1.Secret) {
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[certificateMark], secret.Annotations[issuerMark] = pluggedSecret, issuerName
}

func conditions(kind string, generation int64) map[string]any {
	return map[string]any{"conditions": []any{map[string]any{"type": kind, "status": "True", "observedGeneration": generation}}}
}
