package rotation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// judge asks, before anything is written, whether every chain that the steps will
// produce is accepted by everybody who will meet it: leaves by Envoys, and by ztunnels
// where there are any, istiod's serving chain by agents (Go). During a step the mesh is
// mixed, so chains and bundles of a step meet those of the one before.
func (p *Plan) judge(s *mesh.Snapshot, ca mesh.CASource) {
	if len(p.Steps) == 0 || p.config.New.Key == nil {
		return
	}
	leaf, serves, err := specimens(s, p.config.New)
	if err != nil {
		p.refuse("new-ca-cannot-sign", "new CA", err.Error(), "'kubectl meshca ca lint' names the fault")
		return
	}
	roots, minor := ca.Root.Certs, oldestEnvoy(s)
	ambient := slices.ContainsFunc(s.Proxies, func(proxy mesh.Proxy) bool { return proxy.Kind == mesh.Ztunnel })
	for _, step := range p.Steps {
		next := mustCerts(step.Roots)
		if step.Signs == newSide {
			var behind []*pki.Certificate
			if len(step.Chain) > 0 {
				behind = mustCerts(step.Chain)
			}
			chain := append([]*pki.Certificate{leaf}, behind...)
			trusts := [][]*pki.Certificate{roots, next}
			if p.Strategy == Recover {
				trusts = trusts[1:] // what is trusted now accepts nothing any more
			}
			for _, trust := range trusts {
				p.mustAccept(step, pki.Question{Judge: pki.Envoy, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ClientAuth, EnvoyMinor: minor})
				p.mustAccept(step, pki.Question{Judge: pki.Envoy, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ServerAuth, EnvoyMinor: minor})
				p.mustAccept(step, pki.Question{Judge: pki.Go, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ServerAuth})
				if serves != nil {
					p.mustServe(step, pki.Question{Judge: pki.Go, Roots: trust, Chain: append([]*pki.Certificate{serves}, behind...), At: s.ClusterTime(), Usage: pki.ServerAuth})
				}
				if ambient {
					p.mustAccept(step, pki.Question{Judge: pki.Webpki, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ClientAuth})
					p.mustAccept(step, pki.Question{Judge: pki.Webpki, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ServerAuth})
				}
			}
		}
		roots = next
	}
}

func (p *Plan) mustAccept(step Step, q pki.Question) {
	answer := pki.Verify(q)
	if answer.Result == pki.Accepted {
		return
	}
	id := "chain-" + string(answer.Result)
	object := fmt.Sprintf("phase %s (%s)", step.Phase, step.Name)
	why := fmt.Sprintf("a certificate of the new CA would be %s by a peer (%s) that trusts %d roots: %s", word(answer.Result), q.Judge, len(q.Roots), answer.Reason)
	for _, r := range p.Refusals {
		if r.ID == id && r.Object == object {
			return // one reason is enough
		}
	}
	p.refuse(id, object, why, "'kubectl meshca ca verify' judges chain and bundle offline; give --chain with every intermediate, and a new root with a name of its own")
}

// mustServe asks for what istiods would serve, once leaves are accepted.
func (p *Plan) mustServe(step Step, q pki.Question) {
	object := fmt.Sprintf("phase %s (%s)", step.Phase, step.Name)
	if slices.ContainsFunc(p.Refusals, func(r Refusal) bool { return r.Object == object }) {
		return
	}
	if answer := pki.Verify(q); answer.Result != pki.Accepted {
		p.refuse("serving-refused", object, fmt.Sprintf("agents and the API server would refuse what istiod serves as %s: %s", strings.Join(q.Chain[0].X509.DNSNames, ", "), answer.Reason),
			"have the new CA issued with name constraints that permit all of these names, or without any on DNS names")
	}
}

func word(r pki.Result) string {
	if r == pki.Depends {
		return "accepted by some releases and refused by others"
	}
	return string(r)
}

// oldestEnvoy is the oldest minor release among those of the proxies that are known, 0
// where none is.
func oldestEnvoy(s *mesh.Snapshot) int {
	oldest := 0
	for _, p := range s.Proxies {
		if minor := p.EnvoyMinor(); minor > 0 && (oldest == 0 || minor < oldest) {
			oldest = minor
		}
	}
	return oldest
}

// specimens are a workload's certificate and istiods' such as the CA would issue, made in
// memory and never used.
func specimens(s *mesh.Snapshot, ca *pki.Authority) (leaf, serves *pki.Certificate, err error) {
	if leaf, err = specimen(s, ca); err == nil {
		serves, err = serving(s, ca)
	}
	return leaf, serves, err
}

// specimen is a workload's.
func specimen(s *mesh.Snapshot, ca *pki.Authority) (*pki.Certificate, error) {
	domain := s.TrustDomain
	if domain == "" {
		domain = "cluster.local"
	}
	return issue(s, ca, pki.LeafRequest{SPIFFE: "spiffe://" + domain + "/ns/default/sa/default"})
}

// serving is a serving certificate such as istiods would have of the CA, nil where none
// has one of it. Name constraints that hold every workload may leave out istiod's own DNS
// names, which are others, and Go asks of all that are in it. They are those that istiods
// serve now, custom hosts among them.
func serving(s *mesh.Snapshot, ca *pki.Authority) (*pki.Certificate, error) {
	var names []string
	for _, plane := range s.ControlPlanes {
		if plane.OwnTLS != "" || plane.CA.Kind == mesh.CACitadel {
			continue
		}
		said := false
		for _, r := range plane.Replicas {
			if r.Served != nil && len(r.Served.Chain) > 0 && r.Served.Chain[0].X509 != nil {
				names, said = append(names, r.Served.Chain[0].X509.DNSNames...), true
			}
		}
		if !said {
			names = append(names, plane.ServerNames()...)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return nil, nil
	}
	return issue(s, ca, pki.LeafRequest{DNSNames: names})
}

func issue(s *mesh.Snapshot, ca *pki.Authority, r pki.LeafRequest) (*pki.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a specimen key: %w", err)
	}
	r.Public, r.Now, r.Lifetime = crypto.PublicKey(&key.PublicKey), s.ClusterTime(), time.Hour
	return ca.IssueLeaf(r)
}
