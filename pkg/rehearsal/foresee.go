package rehearsal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Foresee lists the pairs that would fail some day if istiods took this CA from now
// on: whoever renews gets a leaf of signer with chain behind it, whoever is told
// trusts roots, and no two at the same moment. So every proxy that there is must
// accept the next certificates with the roots that it has, and every certificate
// that there is must be accepted with the next roots. It knows nothing of any
// verdict, and changes nothing.
func (m *Mesh) Foresee(signer *pki.Authority, chain, roots []*pki.Certificate) ([]Failure, error) {
	m.idle()
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.clock.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("rehearsal: %w", err)
	}
	leaf, err := signer.IssueLeaf(pki.LeafRequest{SPIFFE: "spiffe://cluster.local/ns/a/sa/next", Public: key.Public(), Now: at, Lifetime: time.Minute})
	if err != nil {
		return nil, fmt.Errorf("rehearsal: %w", err)
	}
	next := slices.Concat([]*pki.Certificate{leaf}, chain, roots) // agents send the roots along
	var failed []Failure
	for _, p := range m.proxies {
		ask := func(client, server string, crls *pki.CRLs, roots, chain []*pki.Certificate) {
			for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth} {
				answer := m.truth.verify(asked{judge: p.judge(), minor: p.envoyMinor(), usage: usage, chain: named(chain), roots: named(roots), crls: crls}, chain, roots, at)
				if answer.Result != pki.Accepted {
					failed = append(failed, Failure{At: at, Client: client, Server: server, Reason: answer.Reason})
					return
				}
			}
		}
		ask("whoever renews", p.ref(), p.crls, p.roots(), next)
		ask(p.ref(), "whoever is told", nil, sorted(roots), p.sends)
	}
	return failed, nil
}

// Failing lists the pairs that fail now.
func (m *Mesh) Failing() []Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.truth
	m.truth.failed, m.truth.judged = nil, 0
	traffic := m.traffic
	m.shake()
	failed := m.truth.failed
	m.truth.failed, m.truth.judged, m.traffic = before.failed, before.judged, traffic
	return failed
}
