package check_test

import (
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// An istiod that signs itself renews its root a fifth of its life before the end: it is
// said from when on, and that it breaks pairs where the new root names its key otherwise.
func TestS1_IstiodRenewsItsRoot(t *testing.T) {
	// pki.NewRoot names keys by SHA-1, as Istio did up to 1.28.7.
	const life = 3650 * day
	rule := mesh.RootRenewal{Every: mesh.Duration(time.Hour), Percent: 20, KeyID: mesh.KeyIDBySHA1}
	other := rule
	other.KeyID = mesh.KeyIDBySHA256
	unknown := rule
	unknown.KeyID = ""
	off := rule
	off.Every = 0
	for name, row := range map[string]struct {
		rule     *mesh.RootRenewal
		kind     mesh.CAKind
		left     time.Duration // until the renewal
		started  time.Duration // ago; a day where zero
		beside   bool
		id       string
		severity pki.Severity
		says     string
	}{
		"far":                     {rule: &rule, left: 100 * day, id: "istiod-renews-root", severity: pki.SeverityInfo, says: "with the same key, from "},
		"near":                    {rule: &rule, left: 20 * day, id: "istiod-renews-root", severity: pki.SeverityInfo},
		"due":                     {rule: &rule, left: -time.Minute, id: "istiod-renews-root", severity: pki.SeverityInfo, says: "at its next look, until "},
		"overdue":                 {rule: &rule, left: -3 * time.Hour, id: "istiod-root-overdue", severity: pki.SeverityWarning},
		"just started":            {rule: &rule, left: -3 * time.Hour, started: time.Minute, id: "istiod-renews-root", severity: pki.SeverityInfo},
		"another key id, far":     {rule: &other, left: 100 * day, id: "istiod-renews-root-key-id", severity: pki.SeverityInfo},
		"another key id, nearer":  {rule: &other, left: 50 * day, id: "istiod-renews-root-key-id", severity: pki.SeverityWarning},
		"another key id, near":    {rule: &other, left: 20 * day, id: "istiod-renews-root-key-id", severity: pki.SeverityError, says: "refuse the certificates of the other"},
		"another key id, overdue": {rule: &other, left: -3 * time.Hour, id: "istiod-renews-root-key-id", severity: pki.SeverityError},
		"key id unknown":          {rule: &unknown, left: 20 * day, id: "istiod-renews-root", severity: pki.SeverityInfo},
		"off, far":                {rule: &off, left: 100 * day, id: "istiod-root-renewal-off", severity: pki.SeverityInfo},
		"off, near":               {rule: &off, left: 20 * day, id: "istiod-root-renewal-off", severity: pki.SeverityWarning},
		"roots beside it":         {rule: &rule, left: 20 * day, beside: true, id: "istiod-renews-root", severity: pki.SeverityWarning, says: "drops the 1 other roots of ca-cert.pem"},
		"a plugged CA":            {rule: &other, left: 20 * day, kind: mesh.CAPlugged},
		"no rule":                 {left: 20 * day},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			root := newAuthority(t, "own", life)
			plane := w.plane()
			plane.CA.Kind, plane.RootRenewal = mesh.CASelfSigned, row.rule
			if row.kind != "" {
				plane.CA.Kind = row.kind
			}
			plane.CA.Cert, plane.CA.Root, plane.CA.Chain = pki.NewBundle(root.Cert), pki.NewBundle(root.Cert), pki.Bundle{}
			if row.beside {
				plane.CA.Cert = pki.NewBundle(root.Cert, w.other.Cert)
			}
			w.s.TakenAt = rule.From(root.Cert).Add(-row.left)
			for i := range plane.Replicas {
				plane.Replicas[i].Started = w.s.TakenAt.Add(-day)
				if row.started > 0 {
					plane.Replicas[i].Started = w.s.TakenAt.Add(-row.started)
				}
			}
			var found []check.Finding
			for _, f := range w.run().Findings {
				if strings.HasPrefix(f.ID, "istiod-r") && strings.Contains(f.ID, "root") {
					found = append(found, f)
				}
			}
			switch {
			case row.id == "" && len(found) > 0:
				t.Errorf("it finds %v", found)
			case row.id == "":
			case len(found) != 1 || found[0].ID != row.id || found[0].Severity != row.severity || !strings.Contains(found[0].Message, row.says) || found[0].Hint == "":
				t.Errorf("it finds %v", found)
			}
		})
	}
}
