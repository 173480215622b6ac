package rotation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
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
	leaf, err := specimen(s, p.config.New)
	if err != nil {
		p.refuse("new-ca-cannot-sign", "new CA", err.Error(), "'kubectl meshca ca lint' names the fault")
		return
	}
	roots, minor := ca.Root.Certs, oldestEnvoy(s)
	ambient := slices.ContainsFunc(s.Proxies, func(proxy mesh.Proxy) bool { return proxy.Kind == mesh.Ztunnel })
	for _, step := range p.Steps {
		next := mustCerts(step.Roots)
		if step.Signs == newSide {
			chain := []*pki.Certificate{leaf}
			if len(step.Chain) > 0 {
				chain = append(chain, mustCerts(step.Chain)...)
			}
			trusts := [][]*pki.Certificate{roots, next}
			if p.Strategy == Recover {
				trusts = trusts[1:] // what is trusted now accepts nothing any more
			}
			for _, trust := range trusts {
				p.mustAccept(step, pki.Question{Judge: pki.Envoy, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ClientAuth, EnvoyMinor: minor})
				p.mustAccept(step, pki.Question{Judge: pki.Envoy, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ServerAuth, EnvoyMinor: minor})
				p.mustAccept(step, pki.Question{Judge: pki.Go, Roots: trust, Chain: chain, At: s.ClusterTime(), Usage: pki.ServerAuth})
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

// specimen is a leaf such as the CA would issue, made in memory and never used.
func specimen(s *mesh.Snapshot, ca *pki.Authority) (*pki.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a specimen key: %w", err)
	}
	domain := s.TrustDomain
	if domain == "" {
		domain = "cluster.local"
	}
	return ca.IssueLeaf(pki.LeafRequest{
		SPIFFE: "spiffe://" + domain + "/ns/default/sa/default", Public: crypto.PublicKey(&key.PublicKey), Now: s.ClusterTime(), Lifetime: time.Hour,
	})
}
