package scenario_test

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
	corev1 "k8s.io/api/core/v1"
)

// crls cover the old CA, for years.
func (b *bench) crls() []byte {
	return pairs.Lists(time.Now(), 10*365*24*time.Hour, []*pki.Authority{b.oldRoot, b.old})
}

// withCRL starts a mesh whose CA has one.
func withCRL(b *bench, s *rehearsal.Spec) { s.CRL = b.crls() }

// putCRL gives one to a mesh that lives.
func putCRL(b *bench) {
	secret(func(s *corev1.Secret) { s.Data[pki.CRLFile] = b.crls() })(b)
	time.Sleep(2 * time.Minute)
}

// withoutCRL takes it out of the Secret, which has istiod write what it had.
func withoutCRL(b *bench) {
	secret(func(s *corev1.Secret) { delete(s.Data, pki.CRLFile) })(b)
	time.Sleep(2 * time.Minute)
}
