package scenario_test

import (
	"crypto/x509/pkix"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	corev1 "k8s.io/api/core/v1"
)

func name(common string) pkix.Name { return pkix.Name{CommonName: common} }

// handRows are procedures that people follow.
func handRows() []row {
	return []row{
		{name: "by-hand-secret-deleted", facts: []string{"H5.2"}, spec: selfSigned, by: overwritten, breaks: true},
		{name: "by-hand-removed-when-certs-shows-it", facts: []string{"E1", "H5.7"}, spec: cold, by: whenCertsShowsIt, breaks: true},
		{name: "by-hand-canary-not-reloaded", facts: []string{"H5.8"}, spec: both(beside(rehearsal.Workload{Revision: "canary"}), func(_ *bench, s *rehearsal.Spec) {
			s.Revisions = []rehearsal.Revision{{Name: "canary", Replicas: 1}}
		}), by: threePhases, breaks: true},
		{name: "by-hand-mesh-config-alone", facts: []string{"B5", "H5.9"}, spec: both(meshRoots(func(b *bench) *pki.Certificate { return b.newRoot.Cert }), beside(rehearsal.Workload{Kind: mesh.Ztunnel})), by: signerAlone, breaks: true},
		{name: "by-hand-mesh-config-sidecars", facts: []string{"B5", "H5.9"}, spec: both(meshRoots(func(b *bench) *pki.Certificate { return b.newRoot.Cert })), by: istiodsRestartedOnNew},
		{name: "by-hand-cross-signed", facts: []string{"S3"}, spec: cold, by: crossed},
		{name: "by-hand-same-key-same-id", facts: []string{"S1", "H5.1"}, spec: selfSigned, by: reissued("1.28.7")},
		{name: "by-hand-same-key-other-id", facts: []string{"S1", "H5.1"}, spec: selfSigned, by: reissued("1.29.0"), breaks: true},
		{name: "by-hand-old-back-in", facts: []string{"H4", "H6"}, by: func(b *bench) {
			threePhases(b)
			time.Sleep(2 * ttl)
			b.write(b.new, b.new.Roots.Certs[0], b.oldRoot.Cert)
			time.Sleep(2 * ttl)
		}},
	}
}

// whenCertsShowsIt switches the signer, and takes the old root away as soon as every
// proxy's /certs shows the new one: that is the first of a sorted list, and says
// nothing of the others nor of leaves.
func whenCertsShowsIt(b *bench) {
	for slices.Compare(b.newRoot.Cert.DER, b.oldRoot.Cert.DER) > 0 {
		b.newRoot, b.new = b.ca("B")
	}
	old, next := b.oldRoot.Cert, b.newRoot.Cert
	b.write(b.old, old, next)
	b.restart()
	for !b.certsShow(next) {
		time.Sleep(time.Minute)
	}
	b.write(b.new, next)
	b.restart()
}

// certsShow reports whether the first CA of every proxy is c.
func (b *bench) certsShow(c *pki.Certificate) bool {
	s, err := b.trial.Look(b.ctx)
	b.must(err)
	return !slices.ContainsFunc(s.Proxies, func(p mesh.Proxy) bool {
		return p.Loaded == nil || !p.Loaded.Identities[0].Roots[0].Equal(c)
	})
}

// signerAlone signs with the new CA below the same root-cert.pem and its own.
func signerAlone(b *bench) { together(b) }

// istiodsRestartedOnNew trusts the new root by the mesh config alone, then has all
// istiods start on both.
func istiodsRestartedOnNew(b *bench) {
	time.Sleep(2 * ttl)
	together(b)
	time.Sleep(2 * ttl)
}

// reissued makes the self-signed root anew with its key, as a release would name it.
func reissued(release string) func(*bench) {
	return func(b *bench) {
		again, err := rehearsal.Reissue(b.oldRoot, release, time.Now())
		b.must(err)
		b.change("istio-ca-secret", func(s *corev1.Secret) { s.Data[pki.CertFile] = again.PEM() })
		time.Sleep(3*time.Hour + 2*ttl)
	}
}
