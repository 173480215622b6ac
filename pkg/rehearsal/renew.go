package rehearsal

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // G505: it names keys, as Go's x509 does
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
)

// renewAt is the share of a self-signed root's life after which it is renewed, and
// renewedFor the new one's (istio 1.30.3 security/pkg/cmd/constants.go:21).
const (
	renewAt    = 0.8
	renewedFor = 3650 * 24 * time.Hour
)

// renew is the rotator's own: near its end the self-signed root is made anew with its
// key and name (istio 1.30.3 security/pkg/pki/ca/selfsignedcarootcertrotator.go:211).
// Go fills in the key identifier: truncated SHA-256 since Go 1.25, SHA-1 before.
func (i *istiod) renew() {
	old := i.signer.Cert.X509
	life := old.NotAfter.Sub(old.NotBefore)
	now := i.mesh.clock.Now()
	if i.plugged || float64(now.Sub(old.NotBefore)) < renewAt*float64(life) {
		return
	}
	secret, err := i.mesh.secret(selfSignedSecret)
	if err != nil || string(secret.Data[pki.CertFile]) != string(i.roots) {
		return // another replica has done it
	}
	again, err := Reissue(i.signer, i.plane.Release, now)
	if err != nil {
		return
	}
	secret = secret.DeepCopy()
	secret.Data[pki.CertFile] = again.PEM()
	secret.ResourceVersion = versionOf(secret.ResourceVersion)
	_ = i.mesh.Kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("secrets"), secret, istioNamespace)
}

// Reissue is a self-signed root made anew with its own key and name, as istiod of a
// release does.
func Reissue(root *pki.Authority, release string, now time.Time) (*pki.Certificate, error) {
	old := root.Cert.X509
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: old.Subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(renewedFor),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: keyIDBy(release, root.Cert)}
	template.AuthorityKeyId = template.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, template, template, root.Key.Public(), root.Key)
	if err != nil {
		return nil, fmt.Errorf("rehearsal: %w", err)
	}
	return pki.NewCertificate(der), nil
}

// keyIDBy is what the Go that a release is built with calls the key of c.
func keyIDBy(release string, c *pki.Certificate) []byte {
	public := c.KeyBits()
	if fixed(release, "1.28.8", "1.29.0") {
		sum := sha256.Sum256(public)
		return sum[:20]
	}
	sum := sha1.Sum(public) //nolint:gosec // G401: see above
	return sum[:]
}
