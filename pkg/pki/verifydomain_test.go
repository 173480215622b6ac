package pki_test

import (
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// TestVerifyByTrustDomain: an Envoy 1.40 has said the same of every pair of the table
// (test/envoys asks it).
func TestVerifyByTrustDomain(t *testing.T) {
	want := map[string]pki.Result{
		"usual":                              pki.Accepted,
		"two roots, right one last":          pki.Accepted,
		"another root trusted":               pki.Refused,
		"intermediate and root trusted":      pki.Accepted,
		"intermediate trusted, not its root": pki.Refused, // no partial chains
		"the leaf itself trusted":            pki.Refused,
		"leaf: no key usage":                 pki.Refused,
		"leaf: key usage certSign only":      pki.Refused,
		"leaf: CA:TRUE":                      pki.Refused,
		"leaf: no usage":                     pki.Accepted,
		"leaf: server only":                  pki.Depends, // the client's side; releases differ
		"cross: old trusted":                 pki.Accepted,
		"root expired":                       pki.Refused,
		"expired twin of the root first":     pki.Depends,
	}
	for _, p := range maker(1).Table() {
		plain := pki.Verify(p.Question(pki.Envoy, pki.ClientAuth, clock)).Result
		p.Domain = "cluster.local"
		q := p.Question(pki.Envoy, pki.ClientAuth, clock)
		answer := pki.Verify(q)
		if answer.Result == pki.Accepted && plain != pki.Accepted {
			t.Errorf("%s: accepted, and %s without a trust domain", p.Name, plain)
		}
		if result, ok := want[p.Name]; ok {
			if delete(want, p.Name); answer.Result != result {
				t.Errorf("%s: %s (%s), want %s", p.Name, answer.Result, answer.Reason, result)
			}
		}
		for _, domain := range []string{"other.local", "Cluster.local", ""} {
			q.Domains = []pki.Domain{{Name: domain, Roots: p.Bundle}}
			if got := pki.Verify(q).Result; got == pki.Accepted {
				t.Errorf("%s: accepted by the roots of %q", p.Name, domain)
			}
		}
	}
	for name := range want {
		t.Errorf("%s: there is no such pair", name)
	}
}

// Extended key usages do not count there since Envoy 1.22: where a chain is no plain no
// without them, releases may take it, whatever else is in doubt about it.
func TestUsageInATrustDomain(t *testing.T) {
	m := maker(3)
	looked := 0
	for n := range 300 {
		p := m.Random(n)
		p.Domain = "cluster.local"
		any := pki.Verify(p.Question(pki.Envoy, pki.AnyUsage, clock))
		if any.Result == pki.Refused {
			continue
		}
		looked++
		for _, usage := range []pki.Usage{pki.ClientAuth, pki.ServerAuth} {
			if answer := pki.Verify(p.Question(pki.Envoy, usage, clock)); answer.Result == pki.Refused {
				t.Errorf("%s: refused for %s (%s), and %s without usages", p.Name, usage, answer.Reason, any.Result)
			}
		}
	}
	if looked == 0 {
		t.Error("none was looked at")
	}
}

func TestDomainOf(t *testing.T) {
	for id, want := range map[string]string{
		"spiffe://td/ns/a/sa/b": "td", "spiffe://td/": "td", "spiffe://td": "", "SPIFFE://td/a": "", "https://td/a": "", "": "", "spiffe:///a": "",
	} {
		if got := pki.DomainOf(id); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}
