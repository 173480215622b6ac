package check

import (
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

func caRules() []Rule {
	return []Rule{
		{ID: "ca-source", Category: CA, About: "it is known where the CA comes from, and it can be read", Run: perPlane(func(plane mesh.ControlPlane, s *mesh.Snapshot) (all []Finding) {
			object := caObject(plane)
			ca := plane.CA
			switch ca.Kind {
			case mesh.CAUnknown:
				all = append(all, Finding{ID: "ca-unknown", Severity: pki.SeverityWarning, Object: object, Message: "it cannot be told what istiod signs with: " + ca.Why, Hint: "allow to get this Secret; what istiods serve is judged all the same"})
			case mesh.CAUnsupported:
				all = append(all, Finding{ID: "ca-managed", Severity: pki.SeverityWarning, Object: object, Message: "the control plane is managed elsewhere", Hint: "rotate by the provider's procedure"})
			case mesh.CASelfSigned:
				all = append(all, Finding{ID: "ca-self-signed", Severity: pki.SeverityWarning, Object: object, Message: "the mesh signs with istiod's own self-signed root (" + ca.Why + ")", Hint: "in production use a CA of your own in cacerts, whose root's key is not in the cluster"})
			case mesh.CAIstioCSR, mesh.CARA, mesh.CASPIRE:
				all = append(all, Finding{ID: "ca-elsewhere", Severity: pki.SeverityInfo, Object: object, Message: "certificates are signed elsewhere: " + ca.Why, Hint: "rotate there; 'kubectl meshca verify --root' proves the result"})
			}
			if ca.Error != "" && ca.Kind != mesh.CAUnknown {
				all = append(all, Finding{ID: "ca-faulty", Severity: pki.SeverityError, Object: object, Message: ca.Error, Hint: "istiod keeps what it has in memory until it restarts: mend the Secret before that"})
			}
			if ca.HasKey && !ca.KeyMatches && ca.Error == "" {
				all = append(all, Finding{ID: "ca-wrong-key", Severity: pki.SeverityError, Object: object, Message: "its key is not that of its certificate", Hint: "istiod does not start with it: restore the pair"})
			}
			if strings.Contains(ca.Why, "istiod does not start") {
				all = append(all, Finding{ID: "ca-incomplete", Severity: pki.SeverityError, Object: object, Message: ca.Why, Hint: "give all four files"})
			}
			if strings.Contains(ca.Why, "may still sign with its own root") {
				all = append(all, Finding{ID: "ca-waits", Severity: pki.SeverityWarning, Object: object, Message: ca.Why, Hint: "compare with what istiods serve: the next restart of one of them cuts over"})
			}
			if ca.HasCRL {
				all = append(all, Finding{ID: "ca-crl", Severity: pki.SeverityWarning, Object: object, Message: "ca-crl.pem is present: Envoy demands a CRL for every certificate of a chain", Hint: "a rotation must distribute CRLs that cover the new chain first"})
			}
			return all
		})},
		{ID: "ca-material", Category: CA, About: "the CA's certificates are sound", Run: perPlane(func(plane mesh.ControlPlane, s *mesh.Snapshot) (all []Finding) {
			authority := plane.CA.Authority()
			if authority == nil {
				return nil
			}
			for _, f := range pki.LintAuthority(authority, s.TakenAt) {
				switch f.ID {
				case "expired", "expires-soon", "not-yet-valid", "root-signs":
					continue // the rules on expiry and on the source say it
				}
				all = append(all, Finding{ID: "ca-" + f.ID, Severity: f.Severity, Object: caObject(plane) + ": " + f.Subject, Message: f.Message, Hint: f.Hint})
			}
			return all
		})},
		{ID: "ca-owner", Category: CA, About: "nobody else writes the CA Secret", Run: perPlane(func(plane mesh.ControlPlane, s *mesh.Snapshot) (all []Finding) {
			if len(plane.CA.Owners) > 0 {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: caObject(plane), Message: "it is written by " + strings.Join(plane.CA.Owners, ", "), Hint: "a rotation changes the source of truth, not this Secret"})
			}
			if plane.CA.Immutable {
				all = append(all, Finding{ID: "ca-immutable", Severity: pki.SeverityWarning, Object: caObject(plane), Message: "it is immutable", Hint: "it cannot be rotated in place"})
			}
			return all
		})},
		{ID: "leftover-ca", Category: CA, About: "no CA Secret lies about unused", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			if left := s.LeftoverCASecret; left != nil {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: "secret " + left.Namespace + "/" + left.Secret, Message: left.Why + ": it is of an earlier self-signed root", Hint: "keep it only as long as a way back needs it: its key is a CA's key"})
			}
			return all, len(s.ControlPlanes)
		}},
		{ID: "several-clusters", Category: CA, About: "no other cluster shares this root", Run: func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
			for _, r := range s.Remotes {
				all = append(all, Finding{Severity: pki.SeverityWarning, Object: r.Kind + " " + strings.TrimPrefix(r.Namespace+"/"+r.Name, "/"), Message: "another cluster may share this root", Hint: "clusters of one root are rotated together"})
			}
			return all, len(s.ControlPlanes)
		}},
	}
}

func perPlane(run func(mesh.ControlPlane, *mesh.Snapshot) []Finding) func(*mesh.Snapshot, Policy) ([]Finding, int) {
	return func(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
		for _, plane := range s.ControlPlanes {
			all = append(all, run(plane, s)...)
		}
		return all, len(s.ControlPlanes)
	}
}

func caObject(plane mesh.ControlPlane) string {
	if plane.CA.Secret == "" {
		return "istiod " + plane.Namespace + "/" + plane.Name
	}
	return "secret " + plane.CA.Namespace + "/" + plane.CA.Secret
}
