package check

import (
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// renewals has find judge each control plane of a kind that certifies its own root anew.
func renewals(kind mesh.CAKind, find func(mesh.ControlPlane, *pki.Certificate, time.Time, Policy) Finding) func(*mesh.Snapshot, Policy) ([]Finding, int) {
	return func(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
		for _, plane := range s.ControlPlanes {
			if plane.CA.Kind != kind || plane.RootRenewal == nil {
				looked++ // its root is nobody's to renew but its operator's
				continue
			}
			if len(plane.CA.Root.Certs) == 0 || plane.CA.Root.Certs[0].X509 == nil {
				continue
			}
			looked++
			all = append(all, find(plane, plane.CA.Root.Certs[0], s.TakenAt, p)) // its own is the first
		}
		return all, looked
	}
}

// istiodRenewal says when an istiod that signs itself certifies its root anew by itself, and
// what that breaks: under another subject key identifier the certificates of either root
// are refused by sidecars that trust the other alone, until all have renewed.
func istiodRenewal(plane mesh.ControlPlane, root *pki.Certificate, at time.Time, p Policy) Finding {
	const byHand = "'kubectl meshca rotate --strategy same-key' re-issues the root with its key and the identifier that it has"
	rule := *plane.RootRenewal
	from, end := rule.From(root), root.X509.NotAfter
	f := Finding{ID: "istiod-renews-root", Severity: pki.SeverityInfo, Object: caObject(plane), Hint: "nobody holds a gate then: 'kubectl meshca verify' after it, or " + byHand + " before"}
	if rule.Off() {
		f.ID, f.Hint = "istiod-root-renewal-off", byHand+"; 'kubectl meshca rotate' replaces it; or take CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL from "+plane.Name
		f.Severity = soon(from, at, p, pki.SeverityWarning)
		f.Message = fmt.Sprintf("%s is told not to certify its root anew by itself (CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL): %s ends at %s (clock: %s)", plane.Name, root.Subject(), stamp(end), stamp(at))
		return f
	}
	due := dueBy(plane, root)
	when := whenRenewed(rule, from, due, at)
	beside := ""
	if n := len(plane.CA.Cert.Certs) - 1; n > 0 {
		beside = fmt.Sprintf(", and drops the %d other roots of ca-cert.pem", n)
		f.Severity = soon(from, at, p, pki.SeverityWarning)
	}
	switch {
	case rule.OtherKeyID(root):
		f.ID, f.Severity = "istiod-renews-root-key-id", soon(from, at, p, pki.SeverityError)
		f.Message = fmt.Sprintf("%s certifies its root anew by itself, with the same key and another subject key identifier%s, %s: sidecars that trust one of the two roots alone refuse the certificates of the other, until all have renewed", plane.Name, beside, when)
		if plane.Version == "" {
			f.Message += "; its release is not known, and taken for a recent one"
		}
		f.Hint = byHand + ": do it before; to win time, set CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL=0 on " + plane.Name
	case at.After(due):
		f.ID, f.Severity = "istiod-root-overdue", pki.SeverityWarning
		f.Message = fmt.Sprintf("%s should have certified its root anew by itself by %s, and %s of before is still there: it ends at %s (clock: %s)", plane.Name, stamp(due), root.Subject(), stamp(end), stamp(at))
		f.Hint = "its log says why (rootcertrotator; may it write the Secret?); " + byHand
	default:
		f.Message = fmt.Sprintf("%s certifies its root anew by itself, with the same key%s, %s", plane.Name, beside, when)
	}
	return f
}

// dueBy is the last moment at which a control plane that renews its root has looked.
func dueBy(plane mesh.ControlPlane, root *pki.Certificate) time.Time {
	due := plane.RootRenewal.From(root)
	for _, r := range plane.Replicas {
		if r.Started.After(due) {
			due = r.Started
		}
	}
	return due.Add(plane.RootRenewal.Within())
}

// whenRenewed says when a root is certified anew by whom it is the own of.
func whenRenewed(rule mesh.RootRenewal, from, due, at time.Time) string {
	every := time.Duration(rule.Every)
	if at.Before(from) {
		return fmt.Sprintf("from %s on, when less than %d %% of its life is left (it looks every %s; clock: %s)", stamp(from), rule.Percent, every, stamp(at))
	}
	return fmt.Sprintf("at its next look, until %s (every %s; clock: %s)", stamp(due), every, stamp(at))
}

// soon is the severity of what happens at from: worst where it is as near as the end of a
// certificate that fails a check, and a warning as far as one that warns.
func soon(from, at time.Time, p Policy, worst pki.Severity) pki.Severity {
	switch left := from.Sub(at); {
	case left <= p.FailBefore:
		return worst
	case left <= p.WarnBefore:
		return pki.SeverityWarning
	}
	return pki.SeverityInfo
}
