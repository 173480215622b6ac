package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// managedRules are about CA Secrets that cert-manager writes; where it writes none
// there is nothing that they could find.
func managedRules() []Rule {
	const noPlane = "no istiod was seen"
	reads := istiods("certificates", "issuers", "clusterissuers", "secrets")
	return []Rule{
		{ID: "cert-manager-root", Category: CA, About: "cert-manager's next renewal keeps the root", Needs: noPlane, Reads: reads, Run: perManaged(managedRoot)},
		{ID: "cert-manager-read", Category: CA, About: "an istiod reads what cert-manager writes", Needs: noPlane, Reads: reads, Run: managedUnused},
		{ID: "cert-manager-policy", Category: CA, About: "cert-manager renews the CA early enough, and as a CA", Needs: noPlane, Reads: reads, Run: perManaged(managedPolicy)},
		{ID: "cert-manager-hands", Category: CA, About: "the Certificate that wrote the CA still does", Needs: noPlane, Reads: reads, Run: managedReleased},
		{ID: "cert-manager-reload", Category: CA, About: "istiod loads what cert-manager renews", Needs: noPlane, Reads: reads, Run: perManaged(managedReload)},
	}
}

// perManaged looks at each Certificate with the control plane whose Secret it writes.
func perManaged(run func(*mesh.Snapshot, mesh.ManagedCA, mesh.ControlPlane) []Finding) func(*mesh.Snapshot, Policy) ([]Finding, int) {
	return func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
		for _, m := range s.ManagedCAs {
			for _, plane := range s.ControlPlanes {
				if m.Released == "" && reads(plane, m) {
					all = append(all, run(s, m, plane)...)
				}
			}
		}
		return all, len(s.ControlPlanes)
	}
}

// reads reports whether an istiod takes its CA, or may at its next start, from the Secret
// that a Certificate writes, or wrote before it was released. One without a CA of its own
// does not (istio 1.30.3 pilot/pkg/bootstrap/server.go:1252, maybeCreateCA), nor one that
// does not know the layout; one whose
// workloads are signed for elsewhere has one all the same, for what it serves, unless
// Kubernetes signs that too (server.go, isK8SSigning).
func reads(plane mesh.ControlPlane, m mesh.ManagedCA) bool {
	if plane.Namespace != m.Namespace {
		return false
	}
	switch plane.CA.Kind {
	case mesh.CAIstioCSR, mesh.CAUnsupported:
		return false
	case mesh.CARA:
		return !strings.HasPrefix(plane.Flags.CertProvider, "k8s.io/")
	case mesh.CASelfSigned:
		return plane.CA.Unread == ""
	}
	return true
}

// read reports whether any istiod does.
func read(s *mesh.Snapshot, m mesh.ManagedCA) bool {
	return slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool { return reads(plane, m) })
}

// managedUnused names Certificates of the time before: whatever they write, it changes
// nothing.
func managedUnused(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, m := range s.ManagedCAs {
		soon := slices.ContainsFunc(s.ControlPlanes, func(plane mesh.ControlPlane) bool {
			return plane.Namespace == m.Namespace && plane.CA.Unread != "" // ca-tls-layout says more
		})
		if !read(s, m) && !soon {
			all = append(all, Finding{ID: "cert-manager-unused", Severity: pki.SeverityInfo, Object: managedObject(m), Message: "no istiod reads the Secret that it writes: the mesh's certificates come from elsewhere", Hint: "delete it, and the Secret, once nobody goes back to it"})
		}
	}
	return all, len(s.ControlPlanes)
}

func managedObject(m mesh.ManagedCA) string { return "certificate " + m.Namespace + "/" + m.Name }

// managedRoot sees a change of the root before it happens: istiod takes no root
// that does not contain the one before, logs a warning, and
// cuts over at its next restart.
func managedRoot(s *mesh.Snapshot, m mesh.ManagedCA, plane mesh.ControlPlane) (all []Finding) {
	object := managedObject(m)
	when := "at its next renewal"
	if !m.RenewalTime.IsZero() {
		when = "at its renewal, " + stamp(m.RenewalTime)
	}
	const hint = "put the old root back behind the issuer, or, before it renews: 'kubectl meshca cert-manager release', then 'kubectl meshca rotate' to the new root, then 'kubectl meshca cert-manager return'"
	next := m.NextRoot()
	live := s.LiveRoots(plane)
	if written := plane.CA.Root.Certs; len(written) > 0 && len(live) > 0 && !pki.NewSet(live...).Contains(plane.CA.Root.Set()) {
		all = append(all, Finding{ID: "cert-manager-root-waits", Severity: pki.SeverityError, Object: object, Message: fmt.Sprintf("it has written the root %s (%s), and the mesh trusts %s (%s): istiods have refused it, and cut over when they restart", written[0].Subject(), written[0].Fingerprint().Short(), live[0].Subject(), live[0].Fingerprint().Short()),
			Hint: "let no istiod restart; put the old root back behind " + m.Issuer + ", then 'kubectl meshca cert-manager renew' has it write an intermediate under it"})
	}
	switch {
	case m.IssuerType == "selfSigned":
		all = append(all, Finding{ID: "cert-manager-self-signed", Severity: pki.SeverityError, Object: object, Message: m.Issuer + " is selfSigned: every renewal is a new root, which istiod refuses until it restarts, and then cuts over (" + when + ")", Hint: "sign it by an issuer of the type ca whose own certificate outlives many renewals"})
	case next == nil:
		all = append(all, Finding{ID: "cert-manager-root-unknown", Severity: pki.SeverityWarning, Object: object, Message: "it is not known which root the next renewal brings: " + cmp.Or(m.Error, "an issuer of the type "+cmp.Or(m.IssuerType, "unknown")+" shows nothing beforehand"), Hint: "ask whoever runs " + m.Issuer + " whether its root stays"})
	case len(live) == 0:
	case !slices.ContainsFunc(live, next.Equal):
		all = append(all, Finding{ID: "cert-manager-root-changes", Severity: pki.SeverityError, Object: object, Message: fmt.Sprintf("%s is below %s (%s), and the mesh trusts %s (%s): %s istiod gets a root that it refuses, and cuts over when it restarts", m.Issuer, next.Subject(), next.Fingerprint().Short(), live[0].Subject(), live[0].Fingerprint().Short(), when), Hint: hint})
	case len(live) > 1:
		all = append(all, Finding{ID: "cert-manager-bundle-shrinks", Severity: pki.SeverityError, Object: object, Message: fmt.Sprintf("the mesh trusts %d roots, and cert-manager writes one: %s the others are gone", len(live), when), Hint: hint})
	default:
		all = append(all, issuerRenewed(m, plane)...)
	}
	return all
}

// issuerRenewed sees a root that cert-manager renews too, as where its own tutorials make
// one by a Certificate of a selfSigned issuer: what the ca issuer signs from then on is
// below another root, with the same key or not, and istiod compares its bytes.
func issuerRenewed(m mesh.ManagedCA, plane mesh.ControlPlane) []Finding {
	root, signer := m.IssuerChain[0], plane.CA.Cert.Certs
	if m.IssuerRenewal.IsZero() || len(m.IssuerChain) > 1 || !root.SignedBy(root) || len(signer) == 0 || signer[0].X509 == nil {
		return nil
	}
	f := Finding{ID: "cert-manager-issuer-renews", Severity: pki.SeverityInfo, Object: managedObject(m),
		Message: fmt.Sprintf("the root of %s is written by the Certificate %s, which cert-manager renews at %s: its first renewal after that brings another root, which istiod refuses, and cuts over to when it restarts", m.Issuer, m.IssuerWriter, stamp(m.IssuerRenewal)),
		Hint:    "keep the root: delete that Certificate and leave its Secret (not where --enable-certificate-owner-ref has the Secret go with it); or change it on purpose: 'kubectl meshca cert-manager release' before then, 'kubectl meshca rotate' to the root that comes, 'kubectl meshca cert-manager return'"}
	if next := m.RenewsAt(signer[0]); !next.Before(m.IssuerRenewal) {
		f.Severity = pki.SeverityError
		f.Message += ": that is the next, " + stamp(next)
	}
	return []Finding{f}
}

// managedReleased: a CA that nobody renews any more.
func managedReleased(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	for _, m := range s.ManagedCAs {
		if m.Released != "" && read(s, m) {
			all = append(all, Finding{ID: "cert-manager-released", Severity: pki.SeverityWarning, Object: managedObject(m), Message: fmt.Sprintf("it is released from %s and writes %s: nobody renews the CA of the mesh", m.Released, m.Secret),
				Hint: "when the rotation is done and retired: 'kubectl meshca cert-manager return'"})
		}
	}
	return all, len(s.ControlPlanes)
}

// managedPolicy holds the lives of Certificate, issuer and leaves against each other.
func managedPolicy(s *mesh.Snapshot, m mesh.ManagedCA, plane mesh.ControlPlane) (all []Finding) {
	object := managedObject(m)
	add := func(id string, severity pki.Severity, hint, format string, args ...any) {
		all = append(all, Finding{ID: id, Severity: severity, Object: object, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if !m.IsCA {
		add("cert-manager-no-ca", pki.SeverityError, "set isCA: true, and the usage 'cert sign'", "it has not isCA: what it writes cannot sign")
	}
	if !m.Ready {
		add("cert-manager-not-ready", pki.SeverityWarning, "'kubectl describe certificate' tells why", "it is not ready: %s", cmp.Or(m.Why, "nothing says why"))
	}
	duration, early := time.Duration(m.Duration), time.Duration(m.RenewBefore)
	if signer := plane.CA.Cert.Certs; len(signer) > 0 && signer[0].X509 != nil {
		early = signer[0].X509.NotAfter.Sub(m.RenewsAt(signer[0]))
	}
	wanted := time.Duration(plane.Flags.DefaultWorkloadTTL)
	for _, p := range s.Proxies {
		if serves(s, plane, p) {
			wanted = max(wanted, time.Duration(p.SecretTTL))
		}
	}
	if early < wanted {
		add("cert-manager-renews-late", pki.SeverityError, "set renewBefore to twice the life of a leaf or more", "it renews %s before its end, and leaves live %s: those signed last outlive their CA, or are cut short", early, wanted)
	}
	for _, above := range m.IssuerChain {
		if above.X509 == nil {
			continue
		}
		left := above.X509.NotAfter.Sub(s.TakenAt)
		if left < duration {
			add("cert-manager-outlives-issuer", pki.SeverityWarning, "renew the issuer first; an issuer's new root is a rotation of the mesh's", "it is issued for %s, and %s above it ends in %s, at %s", duration, above.Subject(), left.Round(time.Hour), stamp(above.X509.NotAfter))
			break
		}
	}
	return all
}

// overdueAfter is how late a renewal may be before it is overdue.
const overdueAfter = time.Hour

// managedExpiry judges a signer that cert-manager renews by the moment of its renewal:
// one of 60 days is no fault at the age of 31. Where that is not in good order, or the
// certificate has ended, it is judged like any other: renewed is false.
func managedExpiry(s *mesh.Snapshot, plane mesh.ControlPlane) (all []Finding, renewed bool) {
	i := slices.IndexFunc(s.ManagedCAs, func(m mesh.ManagedCA) bool {
		return m.Namespace == plane.Namespace && m.Secret == plane.CA.Secret && m.Released == ""
	})
	if i < 0 || !s.ManagedCAs[i].Ready || len(plane.CA.Cert.Certs) == 0 || plane.CA.Cert.Certs[0].X509 == nil {
		return nil, false
	}
	m, end := s.ManagedCAs[i], plane.CA.Cert.Certs[0].X509.NotAfter
	due := m.RenewsAt(plane.CA.Cert.Certs[0])
	switch {
	case !s.TakenAt.Before(end):
		return nil, false
	case s.TakenAt.After(due.Add(overdueAfter)):
		all = append(all, Finding{ID: "cert-manager-overdue", Severity: pki.SeverityError, Object: managedObject(m), Message: fmt.Sprintf("it should have been renewed at %s, and what it wrote ends at %s", stamp(due), stamp(end)), Hint: "'kubectl describe certificate' and the controller's log tell why; 'kubectl meshca cert-manager renew' asks again"})
	}
	return all, true
}

// managedReload: a renewal that istiod does not load waits on disk until a restart,
// while the old intermediate runs out.
func managedReload(_ *mesh.Snapshot, m mesh.ManagedCA, plane mesh.ControlPlane) (all []Finding) {
	if plane.Flags.AutoReload {
		return nil
	}
	hint := "set AUTO_RELOAD_PLUGIN_CERTS=true on istiod (1.14 to 1.17), or upgrade to 1.18 or later"
	if mesh.Before(plane.Version, "1.14.0") {
		hint = "upgrade to 1.18 or later; until then restart istiod after each renewal"
	}
	return []Finding{{ID: "cert-manager-not-loaded", Severity: pki.SeverityError, Object: managedObject(m), Message: fmt.Sprintf("istiod %s of %s does not watch its CA files: a renewal is in force only after a restart, and the old certificate ends meanwhile", cmp.Or(plane.Version, "of an unknown release"), plane.Namespace), Hint: hint}}
}
