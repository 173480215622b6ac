package check

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Pair is what happens where a client of one class calls a server of another:
// the server judges the client's certificate, and the client the server's.
type Pair struct {
	Client string     `json:"client"`
	Server string     `json:"server"`
	Answer pki.Answer `json:"answer"`
	// By says which side refuses: "server" judges the client's certificate.
	By string `json:"by,omitempty"`
}

// Matrix answers for every pair of classes, in both directions, whether a
// handshake would succeed: by Envoy's rules, and by webpki's where a ztunnel
// judges.
func Matrix(classes []Class, at time.Time) []Pair {
	return newCourt(at).pairs(classes, []state{{}})
}

// MatrixAfter answers what Matrix would if the next phase came now: with every
// root set replaced by roots, or every chain by chain (leaf first); nil leaves
// them as they are, and an empty bundle trusts nobody. With both, a proxy may
// have got the one and not yet the other, so that a pair is accepted only where
// every such mix is.
func MatrixAfter(classes []Class, roots, chain []*pki.Certificate, at time.Time) []Pair {
	states := []state{{roots: roots, chain: chain}}
	if roots != nil && chain != nil {
		states = append(states, state{roots: roots}, state{chain: chain})
	}
	return newCourt(at).pairs(classes, states)
}

// state is what replaces a judge's roots and a peer's chain; nil is as it is.
type state struct{ roots, chain []*pki.Certificate }

// court judges chains, each question once: n classes have n squared pairs, and
// far fewer bundles and chains.
type court struct {
	at      time.Time
	answers map[question]pki.Answer
}

type question struct {
	trust, chain digest
	usage        pki.Usage
}

func newCourt(at time.Time) *court { return &court{at: at, answers: map[question]pki.Answer{}} }

func (c *court) pairs(classes []Class, states []state) []Pair {
	var all []Pair
	for _, client := range classes {
		for _, server := range classes {
			all = append(all, c.meet(client, server, states))
		}
	}
	return all
}

func (c *court) meet(client, server Class, states []state) Pair {
	pair := Pair{Client: client.Name, Server: server.Name}
	for _, s := range states {
		pair.Answer, pair.By = c.judge(server, client, pki.ClientAuth, s), "server"
		if pair.Answer.Result == pki.Accepted {
			pair.Answer, pair.By = c.judge(client, server, pki.ServerAuth, s), "client"
		}
		if pair.Answer.Result != pki.Accepted {
			return pair
		}
	}
	pair.By = ""
	return pair
}

func (c *court) judge(judge, peer Class, usage pki.Usage, s state) pki.Answer {
	q := question{trust: judge.trust, chain: peer.chain, usage: usage}
	roots, domains, chain := judge.Roots, judge.Domains, peer.Chain
	if s.roots != nil {
		roots, domains = s.roots, replaced(domains, func([]*pki.Certificate) []*pki.Certificate { return s.roots })
		q.trust = mix(q.trust, roots)
	}
	if s.chain != nil {
		chain = s.chain
		q.chain = mix(digest{}, chain)
	}
	answer, ok := c.answers[q]
	if !ok {
		answer = pki.Verify(pki.Question{Judge: judge.judge, Roots: roots, Domains: domains, Chain: chain, At: c.at, Usage: usage, EnvoyMinor: judge.minor, CRLs: judge.CRLs})
		c.answers[q] = answer
	}
	return answer
}

// replaced are the bundles of the same trust domains with other roots.
func replaced(domains []pki.Domain, with func([]*pki.Certificate) []*pki.Certificate) []pki.Domain {
	var all []pki.Domain
	for _, d := range domains {
		all = append(all, pki.Domain{Name: d.Name, Roots: with(d.Roots)})
	}
	return all
}

// mix marks a question that was asked with other certificates.
func mix(d digest, certs []*pki.Certificate) digest {
	b := append([]byte("replaced"), d[:]...)
	for _, c := range certs {
		f := c.Fingerprint()
		b = append(b, f[:]...)
	}
	return sha256.Sum256(b)
}

// Needs are the classes whose chains somebody who accepts them now would no
// longer accept without this one root in any bundle.
func Needs(classes []Class, root *pki.Certificate, at time.Time) []Class {
	now := newCourt(at)
	without := make([]Class, len(classes))
	dropped := func(roots []*pki.Certificate) []*pki.Certificate {
		return slices.DeleteFunc(slices.Clone(roots), root.Equal)
	}
	for i, c := range classes {
		without[i] = c
		without[i].Roots, without[i].Domains = dropped(c.Roots), replaced(c.Domains, dropped)
		without[i].trust = mix(c.trust, without[i].Roots)
	}
	var needy []Class
	for _, peer := range classes {
		for i, judge := range classes {
			lost := false
			for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth} {
				lost = lost || now.judge(judge, peer, usage, state{}).Result == pki.Accepted && now.judge(without[i], peer, usage, state{}).Result != pki.Accepted
			}
			if lost {
				needy = append(needy, peer)
				break
			}
		}
	}
	return needy
}
