package rotation_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What would not end well behind cert-manager is refused, each for its own reason and
// with a remedy; a mesh in good order is not.
func TestS12_ManagedRefusals(t *testing.T) {
	type change = func(*mesh.Snapshot, *mesh.ManagedCA)
	released := func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.Secret, m.Released = "cacerts-released", "cacerts" }
	rows := []struct {
		act     rotation.Act
		refused string // "" where it is not
		spoil   change
	}{
		{rotation.Renew, "", nil},
		{rotation.Release, "", nil},
		{rotation.Return, "", released},
		{rotation.Return, "", nil}, // pointed back by a run that was killed
		{rotation.Release, "", released},
		{rotation.Renew, "no-istiod", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ControlPlanes = nil }},
		{rotation.Renew, "not-cert-manager", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ControlPlanes[0].CA.Kind = mesh.CAPlugged }},
		{rotation.Renew, "ca-unreadable", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ControlPlanes[0].CA.Error = "tls.crt: cut" }},
		{rotation.Renew, "istiod-rollout", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ControlPlanes[0].Settled = false }},
		{rotation.Renew, "bad-release", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ControlPlanes[0].Version = "1.27.0-rc.0" }},
		{rotation.Renew, "unreadable", func(s *mesh.Snapshot, _ *mesh.ManagedCA) {
			s.Beside = []mesh.Gap{{Part: "cert-manager's Certificates", Resource: "certificates", Error: "forbidden"}}
		}},
		{rotation.Renew, "no-certificate", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ManagedCAs = nil }},
		{rotation.Renew, "no-certificate", released},
		{rotation.Return, "no-certificate", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ManagedCAs = nil }},
		{rotation.Renew, "several-certificates", func(s *mesh.Snapshot, m *mesh.ManagedCA) {
			other := *m
			other.Name = "other"
			s.ManagedCAs = append(s.ManagedCAs, other)
		}},
		{rotation.Renew, "certificate-no-ca", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.IsCA = false }},
		{rotation.Renew, "issuer-self-signed", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.IssuerType, m.IssuerChain = "selfSigned", nil }},
		{rotation.Renew, "next-root-unknown", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.IssuerType, m.IssuerChain = "vault", nil }},
		{rotation.Renew, "root-changes", func(s *mesh.Snapshot, m *mesh.ManagedCA) { m.IssuerChain = s.ControlPlanes[0].CA.Cert.Certs }},
		{rotation.Renew, "bundle-shrinks", func(s *mesh.Snapshot, m *mesh.ManagedCA) {
			for i := range s.Namespaces {
				if t := s.Namespaces[i].Trust; t != nil {
					t.Bundle = pki.NewBundle(t.Bundle.Certs[0], s.ControlPlanes[0].CA.Cert.Certs[0])
				}
			}
		}},
		{rotation.Renew, "issuer-not-ready", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.IssuerReady = false }},
		{rotation.Renew, "key-kept", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.Key, m.KeepsKey = "rsa-2048", true }},
		{rotation.Return, "key-kept", func(s *mesh.Snapshot, m *mesh.ManagedCA) { released(s, m); m.Key, m.KeepsKey = "ecdsa-p384", true }},
		{rotation.Renew, "", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.KeepsKey = true }},
		{rotation.Renew, "", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.Key, m.KeyUnsaid = "rsa-2048", true }},
		{rotation.Renew, "not-loaded", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ControlPlanes[0].Flags.AutoReload = false }},
		{rotation.Release, "issuing", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.Issuing = true }},
		{rotation.Release, "owned-certificate", func(_ *mesh.Snapshot, m *mesh.ManagedCA) { m.Owners = []string{"Argo CD"} }},
		{rotation.Renew, "unreadable", func(s *mesh.Snapshot, _ *mesh.ManagedCA) {
			s.Gaps = append(s.Gaps, mesh.Gap{Part: "virtual machines", Resource: "workloadentries", Verb: "list", Error: "forbidden"})
		}},
		{rotation.Release, "owned-secret", func(s *mesh.Snapshot, _ *mesh.ManagedCA) {
			s.ControlPlanes[0].CA.Owners = []string{"cert-manager", "Flux"}
		}},
		{rotation.Release, "not-cert-manager", func(s *mesh.Snapshot, _ *mesh.ManagedCA) { s.ManagedCAs, s.ControlPlanes[0].CA.Owners = nil, nil }},
		{rotation.Return, "owned-certificate", func(s *mesh.Snapshot, m *mesh.ManagedCA) { released(s, m); m.Owners = []string{"Flux"} }},
		{rotation.Return, "issuer-ended", func(s *mesh.Snapshot, m *mesh.ManagedCA) {
			released(s, m)
			s.TakenAt = m.IssuerChain[0].X509.NotAfter.Add(time.Second)
		}},
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *rehearsal.Spec) { s.Source = mesh.CAPluggedTLS })
		if _, err := b.mesh.Manage(b.oldRoot); err != nil {
			t.Fatal(err)
		}
		c := b.collector()
		c.Dynamic = b.mesh.Dynamic
		for _, row := range rows {
			s, err := c.Collect(b.ctx)
			if err != nil || len(s.ManagedCAs) != 1 {
				t.Fatal(s.ManagedCAs, err)
			}
			if row.spoil != nil {
				row.spoil(s, &s.ManagedCAs[0])
			}
			m := rotation.NewManaged(s, row.act, true, nil)
			if row.refused == "" {
				if len(m.Refusals) > 0 || len(m.Steps) == 0 || m.Certificate != "cacerts" || m.Secret != "cacerts" || m.Beside != "cacerts-released" {
					t.Errorf("%s: %+v", row.act, m)
				}
				continue
			}
			i := slices.IndexFunc(m.Refusals, func(r rotation.Refusal) bool { return r.ID == row.refused })
			if i < 0 || m.Refusals[i].Hint == "" || m.Refusals[i].Why == "" || m.Refusals[i].Object == "" {
				t.Errorf("%s: not refused for %s: %+v", row.act, row.refused, m.Refusals)
			}
		}
		// What is unknown may be accepted by name; what is known may not.
		s, err := c.Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		accept := map[string]string{"istio-system/cacerts": "asked"}
		s.ManagedCAs[0].IssuerType, s.ManagedCAs[0].IssuerChain = "vault", nil
		if m := rotation.NewManaged(s, rotation.Renew, true, accept); len(m.Refusals) > 0 || len(m.Warnings) == 0 {
			t.Errorf("accepted, and refused: %+v", m.Refusals)
		}
		s.ManagedCAs[0].IssuerType = "selfSigned"
		if m := rotation.NewManaged(s, rotation.Renew, true, accept); len(m.Refusals) == 0 {
			t.Error("a root that changes is accepted")
		}
	})
}
