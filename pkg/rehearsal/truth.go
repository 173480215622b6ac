package rehearsal

import (
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// pairwise is how many proxies meet each other one by one; beyond, one stands for
// all that present the same chain above their leaf.
const pairwise = 100

// truth is who comes to an understanding with whom: by the rules of those who judge
// for each pair, and by TLS for each two kinds of proxies and for every leaf and its
// key. No verdict of the product can change it.
type truth struct {
	verdicts map[asked]verdict
	shaken   map[[2]kin]shaken
	proven   map[pki.Fingerprint]bool // leaves whose keys were seen to work
	failed   []Failure
	judged   int
}

func newTruth() truth {
	return truth{verdicts: map[asked]verdict{}, shaken: map[[2]kin]shaken{}, proven: map[pki.Fingerprint]bool{}}
}

// asked is a question to a judge about a chain, by fingerprints.
type asked struct {
	judge        pki.Judge
	minor        int
	usage        pki.Usage
	chain, roots string
	crls         *pki.CRLs
}

// verdict holds for as long as none of the certificates begins or ends to be valid.
type verdict struct {
	answer pki.Answer
	until  time.Time
}

// side is one proxy as a peer meets it.
type side struct {
	p      *sidecar
	judge  pki.Judge
	minor  int
	chain  []*pki.Certificate
	roots  []*pki.Certificate
	name   string // of the chain
	trusts string // names the roots
	crls   *pki.CRLs
	stands int // for how many
}

// shake has every pair of proxies judge each other, both ways.
func (m *Mesh) shake() {
	m.unjudged = false
	at := m.clock.Now()
	sides := m.sides(at)
	for _, client := range sides {
		for _, server := range sides {
			m.truth.judged += client.stands * server.stands
			answer := m.truth.ask(server, client, pki.ClientAuth, at)
			if answer.Result == pki.Accepted {
				answer = m.truth.ask(client, server, pki.ServerAuth, at)
			}
			if answer.Result == pki.Accepted {
				if err := m.meet(client, server, at); err != nil {
					answer = pki.Answer{Result: pki.Refused, Reason: err.Error()}
				}
			}
			m.traffic.met(client, server, answer.Result == pki.Accepted)
			if answer.Result != pki.Accepted && len(m.truth.failed) < mostFailures {
				m.truth.failed = append(m.truth.failed, Failure{At: at, Client: client.p.ref(), Server: server.p.ref(), Reason: answer.Reason})
			}
		}
	}
}

// mostFailures bounds what is remembered: one is too many already.
const mostFailures = 10000

// sides are the proxies, or one for each class of them where there are many: same
// judge, same chain above the leaf, same roots, leaf expired or not.
func (m *Mesh) sides(at time.Time) []*side {
	classes := map[asked]*side{}
	var all []*side
	for _, p := range m.proxies {
		s := &side{p: p, judge: p.judge(), minor: p.envoyMinor(), chain: p.sends, roots: p.roots(), stands: 1}
		s.trusts, s.crls = p.trusts, p.crls
		s.name = p.chainName
		if len(m.proxies) > pairwise {
			class := asked{judge: s.judge, minor: s.minor, chain: p.tailName, roots: s.trusts, crls: s.crls}
			if len(p.chain) > 0 && !at.Before(p.chain[0].X509.NotAfter) {
				class.usage = "expired"
			}
			if there := classes[class]; there != nil {
				there.stands++
				continue
			}
			classes[class] = s
		}
		all = append(all, s)
	}
	return all
}

func (t *truth) ask(judge, peer *side, usage pki.Usage, at time.Time) pki.Answer {
	return t.verify(asked{judge: judge.judge, minor: judge.minor, usage: usage, chain: peer.name, roots: judge.trusts, crls: judge.crls}, peer.chain, judge.roots, at)
}

// verify asks the judge named by q, or remembers what it said.
func (t *truth) verify(q asked, chain, roots []*pki.Certificate, at time.Time) pki.Answer {
	if v, ok := t.verdicts[q]; ok && at.Before(v.until) {
		return v.answer
	}
	answer := pki.Verify(pki.Question{Judge: q.judge, Roots: roots, Chain: chain, At: at, Usage: q.usage, EnvoyMinor: q.minor, CRLs: q.crls})
	until := unchanged(at, chain, roots)
	for _, edge := range edges(q.crls) {
		if edge.After(at) && edge.Before(until) {
			until = edge
		}
	}
	t.verdicts[q] = verdict{answer: answer, until: until}
	return answer
}

// unchanged is until when the passing of time alone changes no verdict.
func unchanged(at time.Time, lists ...[]*pki.Certificate) time.Time {
	until := at.Add(100 * 365 * 24 * time.Hour)
	for _, list := range lists {
		for _, c := range list {
			if c.X509 == nil {
				continue
			}
			for _, edge := range []time.Time{c.X509.NotBefore, c.X509.NotAfter.Add(time.Second)} {
				if edge.After(at) && edge.Before(until) {
					until = edge
				}
			}
		}
	}
	return until
}

// forget drops verdicts on chains that nobody presents any more.
func (m *Mesh) forget() {
	if len(m.truth.verdicts) < 4*pairwise*len(m.proxies)+1000 && len(m.truth.proven) < 10*len(m.proxies)+1000 {
		return
	}
	clear(m.truth.verdicts)
	clear(m.truth.shaken)
	clear(m.truth.proven)
}

// named joins fingerprints.
func named(certs []*pki.Certificate) string {
	var name strings.Builder
	for _, c := range certs {
		f := c.Fingerprint()
		name.Write(f[:])
	}
	return name.String()
}

// sorted is a bundle without repetitions, in the order in which an agent serves it.
func sorted(certs []*pki.Certificate) []*pki.Certificate {
	var roots []*pki.Certificate
	for _, c := range pki.NewSet(certs...) {
		roots = append(roots, c)
	}
	slices.SortFunc(roots, func(a, b *pki.Certificate) int { return slices.Compare(a.DER, b.DER) })
	return roots
}
