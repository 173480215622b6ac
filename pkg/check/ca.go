package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

func caRules() []Rule {
	const noPlane = "no istiod was seen"
	return []Rule{
		{ID: "ca-source", Category: CA, About: "it is known where the CA comes from, and it can be read", Needs: noPlane, Reads: istiods("secrets"), Run: perPlane(caSource)},
		{ID: "ca-complete", Category: CA, About: "the CA Secret is complete, and in a layout that istiod reads", Needs: "no CA Secret was read", Reads: istiods("secrets"), Run: perSecret(caComplete)},
		{ID: "ca-loaded", Category: CA, About: "every istiod signs with what its CA Secret holds", Needs: "no plugged CA was read, or no istiod's chain", Reads: istiods("secrets"), Run: caLoaded},
		{ID: "ca-material", Category: CA, About: "the CA's certificates are sound", Needs: "the CA's certificates were not read", Reads: istiods("secrets"), Run: caMaterial},
		{ID: "ca-owner", Category: CA, About: "nobody else writes the CA Secret", Needs: "no CA Secret was read", Reads: istiods("secrets"), Run: perSecret(func(plane mesh.ControlPlane) (all []Finding) {
			if len(plane.CA.Owners) > 0 {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: caObject(plane), Message: "it is written by " + strings.Join(plane.CA.Owners, ", "), Hint: "a rotation changes the source of truth, not this Secret"})
			}
			if plane.CA.Immutable {
				all = append(all, Finding{ID: "ca-immutable", Severity: pki.SeverityWarning, Object: caObject(plane), Message: "it is immutable", Hint: "it cannot be rotated in place"})
			}
			return all
		})},
		{ID: "leftover-ca", Category: CA, About: "no CA Secret lies about unused", Needs: "it is not known which Secret is in use", Reads: istiods("secrets"), Run: leftover},
		{ID: "several-clusters", Category: CA, About: "no other cluster shares this root", Needs: noPlane, Reads: istiods("secrets", "services", "configmaps"), Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, r := range s.Remotes {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: r.Kind + " " + strings.TrimPrefix(r.Namespace+"/"+r.Name, "/"), Message: "another cluster may share this root", Hint: "clusters of one root are rotated together"})
			}
			return all, len(s.ControlPlanes)
		}},
	}
}

func perPlane(run func(mesh.ControlPlane) []Finding) func(*mesh.Snapshot, Policy) ([]Finding, int) {
	return func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
		for _, plane := range s.ControlPlanes {
			all = append(all, run(plane)...)
		}
		return all, len(s.ControlPlanes)
	}
}

// perSecret looks at the control planes whose CA Secret was read.
func perSecret(run func(mesh.ControlPlane) []Finding) func(*mesh.Snapshot, Policy) ([]Finding, int) {
	return func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
		for _, plane := range s.ControlPlanes {
			if plane.CA.Exists {
				looked++
				all = append(all, run(plane)...)
			}
		}
		return all, looked
	}
}

func caObject(plane mesh.ControlPlane) string {
	if plane.CA.Secret == "" {
		return planeObject(plane)
	}
	return "secret " + plane.CA.Namespace + "/" + plane.CA.Secret
}

func plugged(kind mesh.CAKind) bool { return kind == mesh.CAPlugged || kind == mesh.CAPluggedTLS }

func caSource(plane mesh.ControlPlane) (all []Finding) {
	object, ca := caObject(plane), plane.CA
	switch ca.Kind {
	case mesh.CAPlugged, mesh.CAPluggedTLS:
	case mesh.CASelfSigned:
		all = append(all, Finding{ID: "ca-self-signed", Severity: pki.SeverityWarning, Object: object, Message: "the mesh signs with istiod's own self-signed root (" + ca.Why + ")", Hint: "in production use a CA of your own in cacerts, whose root's key is not in the cluster"})
	case mesh.CAIstioCSR, mesh.CARA, mesh.CASPIRE:
		all = append(all, Finding{ID: "ca-elsewhere", Severity: pki.SeverityInfo, Object: object, Message: "certificates are signed elsewhere: " + ca.Why, Hint: "rotate there; 'kubectl meshca verify --root' proves the result, with --istiod-root where istiod is under a root of its own"})
	case mesh.CACitadel:
		all = append(all, Finding{ID: "ca-citadel", Severity: pki.SeverityWarning, Object: object, Message: "the CA is a Citadel", Hint: "its workloads' Secrets follow the root's bytes within a minute"})
	case mesh.CAUnsupported:
		all = append(all, Finding{ID: "ca-managed", Severity: pki.SeverityWarning, Object: object, Message: "the control plane is of another cluster, or managed: " + cmp.Or(plane.Elsewhere, ca.Why, "no istiod can be read"), Hint: "rotate where its istiod runs, or by the provider's procedure"})
	default:
		f := Finding{ID: "ca-unknown", Severity: pki.SeverityWarning, Object: object, Message: "it cannot be told what istiod signs with: " + cmp.Or(ca.Why, "it was not read"), Hint: "allow to get this Secret; what istiods serve is judged all the same"}
		if ca.Secret == "" {
			f.Hint = "what istiods serve is judged all the same; 'kubectl meshca verify --root' proves a change that is made where the files come from"
		}
		all = append(all, f)
	}
	if ca.Error != "" && ca.Kind != mesh.CAUnknown {
		all = append(all, Finding{ID: "ca-faulty", Severity: pki.SeverityError, Object: object, Message: ca.Error, Hint: "istiod keeps what it has in memory until it restarts: mend the Secret before that"})
	}
	if ca.HasKey && !ca.KeyMatches && ca.Error == "" {
		all = append(all, Finding{ID: "ca-wrong-key", Severity: pki.SeverityError, Object: object, Message: "its key is not that of its certificate", Hint: "istiod does not start with it: restore the pair"})
	}
	if ca.HasCRL {
		all = append(all, Finding{ID: "ca-crl", Severity: pki.SeverityWarning, Object: object, Message: "ca-crl.pem is present: Envoy demands a CRL of every issuer of a chain", Hint: "before the CA is replaced nobody may have one: 'kubectl meshca plan' names the steps"})
	}
	return all
}

// caComplete judges a plugged Secret by its entries (istio 1.30.3
// pilot/pkg/bootstrap/istio_ca.go:229-267, 510).
func caComplete(plane mesh.ControlPlane) (all []Finding) {
	object, ca := caObject(plane), plane.CA
	if ca.Kind == mesh.CAPluggedTLS || ca.Type == "kubernetes.io/tls" {
		if v, exact, ok := parse(plane.Version); !ok || !exact && v.Minor <= 14 {
			all = append(all, Finding{ID: "ca-tls-layout", Severity: pki.SeverityWarning, Object: object, Message: "it has the layout of kubernetes.io/tls, which istiod reads from 1.14.2 on, and the release of this one is not known", Hint: "what istiods serve tells whether they have read it"})
		} else if (Range{Fixed: "1.14.2"}).holds(v) {
			all = append(all, Finding{ID: "ca-tls-layout", Severity: pki.SeverityError, Object: object, Message: fmt.Sprintf("istiod %s does not read the layout of kubernetes.io/tls: it signs with a root of its own", plane.Version), Hint: "use the four files of an Opaque Secret, or upgrade to 1.14.2 or later"})
		}
	}
	if ca.Unread != "" {
		all = append(all, Finding{ID: "ca-tls-layout", Severity: pki.SeverityError, Object: "secret " + ca.Namespace + "/" + ca.Unread, Message: fmt.Sprintf("istiod %s does not read the layout of kubernetes.io/tls: it signs with a root of its own, %s, and one of 1.14.2 or later cuts over to this", plane.Version, ca.Secret),
			Hint: "before istiod is upgraded take it away, and the Certificate that writes it: nobody reads them; then 'kubectl meshca rotate' moves the mesh to the CA that was meant, without loss"})
	}
	if !plugged(ca.Kind) {
		return all
	}
	layout, _ := mesh.LayoutOf(ca.Kind)
	wanted := layout.Entries()
	var missing []string
	for _, name := range wanted {
		if !slices.Contains(ca.Keys, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		f := Finding{ID: "ca-incomplete", Severity: pki.SeverityError, Object: object, Message: "it lacks " + strings.Join(missing, ", ") + ": istiod does not start with it (from 1.26.1 on), or signs with a root of its own (before)", Hint: "give all of " + strings.Join(wanted, ", ")}
		all = append(all, f)
	}
	return all
}

// caLoaded holds every replica against the Secret it is to have loaded: what
// waits on disk cuts over at the next restart.
func caLoaded(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, plane := range s.ControlPlanes {
		if !plugged(plane.CA.Kind) || len(plane.CA.Cert.Certs) == 0 {
			continue
		}
		for _, r := range plane.Replicas {
			object := "istiod " + plane.Namespace + "/" + r.Pod
			leaf, behind := evidence(plane, r)
			older := !r.Started.IsZero() && r.Started.Before(plane.CA.Created)
			before, waits := plane.CA.Cert.Certs[0].Before(behind), ""
			switch {
			case before != nil && leaf.SignedBy(before):
				waits = fmt.Sprintf("it sends %s (%s) with what it signs, until %s, and not the certificate of the same key that %s holds", before.Subject(), before.Fingerprint().Short(), stamp(before.X509.NotAfter), caObject(plane))
			case leaf != nil && !leaf.SignedBy(plane.CA.Cert.Certs[0]):
				waits = fmt.Sprintf("it signs with %s and not with what %s holds: the next restart cuts over", issuer(leaf), caObject(plane))
			}
			switch {
			case waits != "":
				looked++
				all = append(all, Finding{ID: "ca-waits", Severity: pki.SeverityError, Object: object, Message: waits, Hint: "see its log for why it has not loaded the Secret; bring the Secret to a state that is safe to load"})
			case leaf != nil:
				looked++
			case older:
				looked++
				all = append(all, Finding{ID: "ca-waits", Severity: pki.SeverityWarning, Object: object, Message: fmt.Sprintf("it has run since before %s was made (%s), and may still sign with its own root", caObject(plane), stamp(plane.CA.Created)), Hint: "see what it serves: the next restart may cut over"})
			}
		}
	}
	return all, looked
}

// evidence is the leaf by which a replica shows who signs: its answer to a
// request, else what it serves, where its CA has made that; and what it sends behind it.
func evidence(plane mesh.ControlPlane, r mesh.Istiod) (leaf *pki.Certificate, behind []*pki.Certificate) {
	switch {
	case r.Signed != nil && len(r.Signed.Chain) > 0:
		return r.Signed.Chain[0], r.Signed.Chain[1:]
	case plane.OwnTLS == "" && r.Served != nil && len(r.Served.Chain) > 0:
		return r.Served.Chain[0], r.Served.Chain[1:]
	}
	return nil, nil
}

// ownServing reports whether a blocker is of a replica that shows nothing but a serving
// certificate of its own, and what that is.
func ownServing(s *mesh.Snapshot, b rotation.Blocker) (string, bool) {
	for _, plane := range s.ControlPlanes {
		for _, r := range plane.Replicas {
			if b.Kind == "istiod" && b.Object == plane.Namespace+"/"+r.Pod {
				return plane.OwnTLS, plane.OwnTLS != "" && b.Unknown && r.Signed == nil && r.Served != nil
			}
		}
	}
	return "", false
}

func issuer(c *pki.Certificate) string {
	if c == nil || c.X509 == nil {
		return "an unknown issuer"
	}
	return c.X509.Issuer.String()
}

func caMaterial(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	type said struct{ id, subject string }
	seen := map[said]bool{}
	for _, plane := range s.ControlPlanes {
		ca := plane.CA
		var found []pki.Finding
		if authority := ca.Authority(); authority != nil {
			looked++
			found = pki.LintAuthority(authority, s.TakenAt)
		} else if ca.Exists && ca.Error == "" {
			looked++
			all = append(all, Finding{ID: "ca-empty", Severity: pki.SeverityError, Object: caObject(plane), Message: "it holds no signing certificate, or no root", Hint: "istiod does not start with it"})
		}
		// The collector's own are those that need the key.
		for _, f := range slices.Concat(found, ca.Findings) {
			k := said{f.ID, caObject(plane) + f.Subject}
			if seen[k] {
				continue
			}
			seen[k] = true
			switch f.ID {
			case "expired", "expires-soon", "not-yet-valid":
				continue // the rules on expiry say it
			case "root-signs":
				if ca.Kind == mesh.CASelfSigned {
					continue // the rule on the source says it
				}
			}
			all = append(all, Finding{ID: "ca-" + f.ID, Severity: f.Severity, Object: caObject(plane) + ": " + f.Subject, Message: f.Message, Hint: f.Hint})
		}
	}
	return all, looked
}

func leftover(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	left := s.LeftoverCASecret
	if left != nil && slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool { return samePair(plane.CA, *left) }) {
		// An adopted mesh, before its root is replaced or after it was taken back: the
		// self-signed pair signs, from cacerts. Its other copy is out of use only then,
		// when cacerts holds something else.
		left = nil
	}
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind != mesh.CAUnknown && plane.CA.Kind != "" {
			looked++
		}
		if left == nil || len(left.Cert.Certs) == 0 {
			continue
		}
		for _, r := range plane.Replicas {
			if leaf, _ := evidence(plane, r); leaf.SignedBy(left.Cert.Certs[0]) {
				all = append(all, Finding{ID: "leftover-ca-signs", Severity: pki.SeverityError, Object: "istiod " + plane.Namespace + "/" + r.Pod, Message: fmt.Sprintf("it signs with secret %s/%s, which should be out of use", left.Namespace, left.Secret), Hint: "it has not loaded its CA: the next restart cuts over"})
			}
		}
	}
	if left != nil && len(all) == 0 {
		all = append(all, Finding{Severity: pki.SeverityWarning, Object: "secret " + left.Namespace + "/" + left.Secret, Message: cmp.Or(left.Why, "it is not in use") + ": it is of an earlier self-signed root", Hint: "keep it only as long as a way back needs it: its key is a CA's key"})
	}
	return all, looked
}

// samePair reports whether two sources hold one signing certificate.
func samePair(a, b mesh.CASource) bool {
	return len(a.Cert.Certs) > 0 && len(b.Cert.Certs) > 0 && a.Cert.Certs[0].Equal(b.Cert.Certs[0])
}

// life is how long a certificate is valid in all, and how long it still is.
func life(c *pki.Certificate, at time.Time) (whole, left time.Duration) {
	return c.X509.NotAfter.Sub(c.X509.NotBefore), c.X509.NotAfter.Sub(at)
}
