package rotation

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rewind puts the CA that a rotation started from into a Snapshot, so that the
// plan of a run that carries on is the plan of the one that began.
func Rewind(s *mesh.Snapshot, staged *Staged) {
	for i := range s.ControlPlanes {
		ca := &s.ControlPlanes[i].CA
		if staged.Kind != "" && staged.Kind != ca.Kind {
			ca.Kind, ca.Secret = staged.Kind, secretOf(staged.Kind)
		}
		before := sourceOf(ca.Kind, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ca.Namespace, Name: ca.Secret}, Data: staged.Old})
		ca.Cert, ca.Chain, ca.Root = before.Cert, before.Chain, before.Root
		ca.HasKey, ca.KeyMatches, ca.KeyAlgorithm, ca.Error = before.HasKey, before.KeyMatches, before.KeyAlgorithm, before.Error
	}
}

// sourceOf is what a CA of this kind is made from, where this is its Secret.
func sourceOf(kind mesh.CAKind, secret *corev1.Secret) mesh.CASource {
	if kind == mesh.CACitadel {
		kind = mesh.CASelfSigned // the only one of its layouts that is written
	}
	return mesh.SourceOf(secret, kind)
}

// Resume is the Config of a run that carries on what staged began, and rewinds the
// Snapshot to its start.
func (c Config) Resume(s *mesh.Snapshot, staged *Staged) Config {
	if c.Begun = staged.Strategy; !c.Begun.turns(c.Strategy) {
		c.Strategy = c.Begun
	}
	c.New, c.Cross, c.Reason, c.Resumed = staged.New, staged.Cross, cmp.Or(staged.Reason, c.Reason), true
	if len(s.ControlPlanes) > 0 {
		ca := s.ControlPlanes[0].CA
		c.Ahead = len(ca.Cert.Certs) > 0 && ca.Cert.Certs[0].Equal(staged.New.Cert) && ca.Root.Set().Has(staged.New.Roots.Certs[0])
		Rewind(s, staged)
		c.Underway = !sameCA(ca, s.ControlPlanes[0].CA)
	}
	return c
}

// sameCA reports whether two sources hold the same CA, byte for byte. Where one is
// self-signed its certificate is all of it.
func sameCA(a, b mesh.CASource) bool {
	return bytes.Equal(a.Cert.Raw, b.Cert.Raw) && a.HasKey == b.HasKey && a.KeyMatches == b.KeyMatches &&
		(a.Kind == mesh.CASelfSigned || bytes.Equal(a.Chain.Raw, b.Chain.Raw) && bytes.Equal(a.Root.Raw, b.Root.Raw))
}

// turns reports whether what was begun by one strategy may be ended by another: bundles
// write the same in the same order, and recover begins wherever a CA has ended.
func (s Strategy) turns(to Strategy) bool {
	bundles := []Strategy{HotBundle, BundleByRenewal, BundleByRestart}
	return to == s || to == Recover || slices.Contains(bundles, s) && slices.Contains(bundles, to)
}

// secretOf is the name of the Secret that a kind of CA is made from.
func secretOf(kind mesh.CAKind) string {
	if kind == mesh.CASelfSigned {
		return "istio-ca-secret"
	}
	return pluggedSecret
}
