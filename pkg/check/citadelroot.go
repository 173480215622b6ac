package check

import (
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// citadelRoot says when a Citadel certifies its root anew by itself: nobody looks on
// then, and what misses new files or keeps its roots in memory stays behind until the
// old certificate ends.
func citadelRoot(s *mesh.Snapshot, p Policy) (all []Finding, looked int) {
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind != mesh.CACitadel || plane.RootRenewal == nil {
			looked++ // a release without it is the rule istiod-release's, a plugged CA has none
			continue
		}
		if len(plane.CA.Root.Certs) == 0 || plane.CA.Root.Certs[0].X509 == nil {
			continue
		}
		looked++
		all = append(all, rootRenewal(plane, plane.CA.Root.Certs[0], s.TakenAt, p))
	}
	return all, looked
}

func rootRenewal(plane mesh.ControlPlane, root *pki.Certificate, at time.Time, p Policy) Finding {
	const afterwards = "nobody holds a gate then: 'kubectl meshca rotate --strategy same-key' before it does, or 'kubectl meshca verify' and 'check' after it, which name the sidecars, Pilot, Galley and injectors that stay behind"
	rule := *plane.RootRenewal
	from, end := rule.From(root), root.X509.NotAfter
	f := Finding{ID: "citadel-renews-root", Severity: pki.SeverityInfo, Object: caObject(plane), Hint: afterwards}
	near := at.Add(p.WarnBefore)
	if rule.Off() {
		f.ID, f.Hint = "citadel-root-renewal-off", "'kubectl meshca rotate --strategy same-key' does it, and proves that everybody follows; or take CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL from the Deployment "+plane.Name
		f.Message = fmt.Sprintf("it is told not to certify its root anew by itself (CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL): %s ends at %s (clock: %s)", root.Subject(), stamp(end), stamp(at))
		if !near.Before(from) || !near.Before(end) {
			f.Severity = pki.SeverityWarning
		}
		return f
	}
	due := dueBy(plane, root)
	every := time.Duration(rule.Every)
	switch {
	case at.After(due):
		f.ID, f.Severity = "citadel-root-overdue", pki.SeverityWarning
		f.Message = fmt.Sprintf("it should have certified its root anew by itself by %s, and %s of before is still there: it ends at %s (clock: %s)", stamp(due), root.Subject(), stamp(end), stamp(at))
		f.Hint = "its log says why (rootCertRotator; may it write the Secret?); 'kubectl meshca rotate --strategy same-key' does it in its place"
	case !at.Before(from):
		f.Severity = pki.SeverityWarning
		f.Message = fmt.Sprintf("it certifies its root anew by itself, with the same key, at its next look, until %s (every %s; clock: %s)", stamp(due), every, stamp(at))
	default:
		if !near.Before(from) {
			f.Severity = pki.SeverityWarning
		}
		f.Message = fmt.Sprintf("it certifies its root anew by itself, with the same key, from %s on, when less than %d %% of its life is left (it looks every %s; clock: %s)", stamp(from), rule.Percent, every, stamp(at))
	}
	return f
}
