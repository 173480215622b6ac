package check

import (
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// citadelRenewal says when a Citadel certifies its root anew by itself: nobody looks on
// then, and what misses new files or keeps its roots in memory stays behind until the
// old certificate ends. A release without that is the rule istiod-release's.
func citadelRenewal(plane mesh.ControlPlane, root *pki.Certificate, at time.Time, p Policy) Finding {
	const afterwards = "nobody holds a gate then: 'kubectl meshca rotate --strategy same-key' before it does, or 'kubectl meshca verify' and 'check' after it, which name the sidecars, Pilot, Galley and injectors that stay behind"
	rule := *plane.RootRenewal
	from, end := rule.From(root), root.X509.NotAfter
	f := Finding{ID: "citadel-renews-root", Severity: pki.SeverityInfo, Object: caObject(plane), Hint: afterwards}
	f.Severity = soon(from, at, p, pki.SeverityWarning)
	if rule.Off() {
		f.ID, f.Hint = "citadel-root-renewal-off", "'kubectl meshca rotate --strategy same-key' does it, and proves that everybody follows; or take CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL from the Deployment "+plane.Name
		f.Message = fmt.Sprintf("it is told not to certify its root anew by itself (CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL): %s ends at %s (clock: %s)", root.Subject(), stamp(end), stamp(at))
		return f
	}
	due := dueBy(plane, root)
	if at.After(due) {
		f.ID = "citadel-root-overdue"
		f.Message = fmt.Sprintf("it should have certified its root anew by itself by %s, and %s of before is still there: it ends at %s (clock: %s)", stamp(due), root.Subject(), stamp(end), stamp(at))
		f.Hint = "its log says why (rootCertRotator; may it write the Secret?); 'kubectl meshca rotate --strategy same-key' does it in its place"
		return f
	}
	f.Message = "it certifies its root anew by itself, with the same key, " + whenRenewed(rule, from, due, at)
	return f
}
