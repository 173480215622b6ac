package check

import (
	"fmt"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// clientRoots finds the istiods that have run since before a root was made: by the roots of
// their start they judge virtual machines and agents with PROV_CERT (istio 1.30.3
// pilot/pkg/bootstrap/server.go:785 and :1075). Of a root that was made before an istiod was
// started, and trusted only later, nothing here tells.
func clientRoots(s *mesh.Snapshot, _ Policy) (all []Finding, looked int) {
	clients := len(s.VMs)
	for _, p := range s.Proxies {
		if p.ProvCert != "" {
			clients++
		}
	}
	for _, plane := range s.ControlPlanes {
		if plane.CA.Kind == mesh.CACitadel {
			continue
		}
		for _, r := range plane.Replicas {
			if r.Started.IsZero() || r.Terminating {
				continue
			}
			looked++ // where nobody shows it one, it is in nobody's way
			if clients == 0 {
				continue
			}
			for _, root := range plane.CA.Root.Certs {
				if root.X509 == nil || !r.Started.Before(root.X509.NotBefore) {
					continue
				}
				all = append(all, Finding{ID: "client-roots-of-start", Severity: pki.SeverityWarning, Object: "istiod " + plane.Namespace + "/" + r.Pod, Message: fmt.Sprintf("it has run since before %s was made (%s), and judges whoever shows it a certificate by the roots of its start: %d do", root.Subject(), stamp(root.X509.NotBefore), clients), Hint: "restart it: 'kubectl -n NAMESPACE rollout restart deployment/NAME'"})
				break
			}
		}
	}
	return all, looked
}
