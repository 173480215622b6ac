package pki_test

import (
	"fmt"
	mathrand "math/rand/v2"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
	"pgregory.net/rapid"
)

func maker(seed uint64) *pairs.Maker {
	return &pairs.Maker{Now: clock, Rand: mathrand.New(mathrand.NewPCG(seed, 1))}
}

func asEnvoy(p pairs.Pair) pki.Question {
	return pki.Question{Judge: pki.Envoy, Roots: p.Bundle, Chain: p.Chain, At: clock, Usage: pki.ClientAuth}
}

// What Envoys 1.37 and 1.40 said of each pair, where they agree: test/envoys asks
// them again. "Depends" is where they differ, or where it cannot be told.
func envoysSaid() map[string]pki.Result {
	return map[string]pki.Result{
		"usual":                                                        pki.Accepted,
		"usual, root sent too":                                         pki.Accepted,
		"intermediate not sent":                                        pki.Refused,
		"another root trusted":                                         pki.Refused,
		"two roots, right one first":                                   pki.Accepted,
		"two roots, right one last":                                    pki.Accepted,
		"root twice in the bundle":                                     pki.Accepted,
		"leaf sent twice":                                              pki.Accepted,
		"intermediate sent twice":                                      pki.Accepted,
		"unrelated certificate sent between":                           pki.Accepted,
		"leaf under the root itself":                                   pki.Accepted,
		"intermediate trusted, not its root":                           pki.Accepted,
		"intermediate trusted, and sent":                               pki.Accepted,
		"intermediate and root trusted":                                pki.Accepted,
		"the leaf itself trusted":                                      pki.Accepted,
		"the leaf itself trusted, intermediate sent":                   pki.Accepted,
		"root expired":                                                 pki.Refused,
		"expired twin of the root first":                               pki.Depends,
		"expired twin of the root last":                                pki.Depends,
		"root not yet valid":                                           pki.Refused,
		"twin of the root not yet valid":                               pki.Depends,
		"valid twin of the root":                                       pki.Accepted,
		"three twins, one expired":                                     pki.Depends,
		"intermediate expired":                                         pki.Refused,
		"expired twin of the intermediate sent first":                  pki.Refused,
		"expired twin of the intermediate sent last":                   pki.Accepted,
		"expired intermediate trusted beside its root":                 pki.Refused,
		"expired root above a trusted intermediate":                    pki.Refused,
		"leaf expired":                                                 pki.Refused,
		"leaf not yet valid":                                           pki.Refused,
		"same names, right root first with key ids":                    pki.Accepted,
		"same names, right root last with key ids":                     pki.Accepted,
		"same names, the other leaf with key ids":                      pki.Accepted,
		"same names, wrong intermediate sent first with key ids":       pki.Accepted,
		"same names, wrong root alone with key ids":                    pki.Refused,
		"same names, right root first without key ids":                 pki.Depends,
		"same names, right root last without key ids":                  pki.Depends,
		"same names, the other leaf without key ids":                   pki.Depends,
		"same names, wrong intermediate sent first without key ids":    pki.Refused,
		"same names, wrong root alone without key ids":                 pki.Refused,
		"same names, the other root without a key id":                  pki.Depends,
		"same names, intermediate without AKI":                         pki.Depends,
		"one key id for two keys, right one first":                     pki.Depends,
		"one key id for two keys, right one last":                      pki.Depends,
		"re-issued root with another SKI":                              pki.Refused,
		"re-issued root with another SKI beside the old":               pki.Accepted,
		"re-issued root without SKI":                                   pki.Accepted,
		"re-issued root, same SKI, other serial":                       pki.Accepted,
		"AKI with issuer and serial":                                   pki.Accepted,
		"AKI with issuer and serial, root re-issued":                   pki.Refused,
		"AKI with issuer and serial, both roots":                       pki.Accepted,
		"AKI of nobody":                                                pki.Refused,
		"leaf's AKI of nobody":                                         pki.Refused,
		"leaf without AKI":                                             pki.Accepted,
		"cross: old trusted":                                           pki.Accepted,
		"cross: new trusted":                                           pki.Accepted,
		"cross: both trusted":                                          pki.Accepted,
		"cross: both trusted, other order":                             pki.Accepted,
		"cross: cross sent first":                                      pki.Accepted,
		"cross: new root sent before it":                               pki.Refused,
		"cross: new root sent after it":                                pki.Accepted,
		"cross: new root sent, old trusted, no cross":                  pki.Refused,
		"cross: not sent, old trusted":                                 pki.Refused,
		"cross: cross itself trusted":                                  pki.Accepted,
		"cross: cross and old trusted":                                 pki.Accepted,
		"cross: cross and new trusted":                                 pki.Accepted,
		"cross: cross, old and new trusted":                            pki.Accepted,
		"cross: old leaf, new trusted":                                 pki.Refused,
		"cross: old expired, both trusted":                             pki.Accepted,
		"cross: old expired and trusted alone":                         pki.Refused,
		"cross: cross expired, new trusted":                            pki.Accepted,
		"cross: cross expired, old trusted":                            pki.Refused,
		"cross: expired cross before a valid one":                      pki.Refused,
		"cross: with another SKI, old trusted":                         pki.Refused,
		"cross: with another SKI, new trusted":                         pki.Accepted,
		"cross: without SKI, old trusted":                              pki.Accepted,
		"cross: old root allows one CA below it":                       pki.Accepted,
		"cross: by an intermediate that allows no CA":                  pki.Refused,
		"cross: by an intermediate that allows CAs":                    pki.Accepted,
		"cross: same name for both roots, old trusted":                 pki.Accepted,
		"cross: same name for both roots, both trusted":                pki.Accepted,
		"intermediate: CA:FALSE":                                       pki.Refused,
		"intermediate trusted: CA:FALSE":                               pki.Accepted,
		"intermediate: no basicConstraints":                            pki.Refused,
		"intermediate trusted: no basicConstraints":                    pki.Accepted,
		"intermediate: no key usage":                                   pki.Accepted,
		"intermediate trusted: no key usage":                           pki.Accepted,
		"intermediate: key usage without certSign":                     pki.Refused,
		"intermediate trusted: key usage without certSign":             pki.Refused,
		"intermediate: usage server only":                              pki.Refused,
		"intermediate trusted: usage server only":                      pki.Accepted,
		"intermediate: usage client only":                              pki.Accepted,
		"intermediate trusted: usage client only":                      pki.Accepted,
		"intermediate: usage both":                                     pki.Accepted,
		"intermediate trusted: usage both":                             pki.Accepted,
		"intermediate: usage any":                                      pki.Refused,
		"intermediate trusted: usage any":                              pki.Accepted,
		"intermediate: unknown critical extension":                     pki.Refused,
		"intermediate trusted: unknown critical extension":             pki.Accepted,
		"intermediate: unknown extension":                              pki.Accepted,
		"intermediate trusted: unknown extension":                      pki.Accepted,
		"intermediate: version 1":                                      pki.Refused,
		"intermediate trusted: version 1":                              pki.Accepted,
		"intermediate: signed with SHA-1":                              pki.Accepted,
		"intermediate trusted: signed with SHA-1":                      pki.Accepted,
		"intermediate: negative serial":                                pki.Accepted,
		"intermediate trusted: negative serial":                        pki.Accepted,
		"intermediate: permits the trust domain":                       pki.Accepted,
		"intermediate trusted: permits the trust domain":               pki.Accepted,
		"intermediate: permits another trust domain":                   pki.Refused,
		"intermediate trusted: permits another trust domain":           pki.Refused,
		"intermediate: permits hosts below the trust domain":           pki.Refused,
		"intermediate trusted: permits hosts below the trust domain":   pki.Refused,
		"intermediate: permits hosts below its parent":                 pki.Accepted,
		"intermediate trusted: permits hosts below its parent":         pki.Accepted,
		"intermediate: permits the parent of the trust domain":         pki.Refused,
		"intermediate trusted: permits the parent of the trust domain": pki.Refused,
		"intermediate: excludes the trust domain":                      pki.Refused,
		"intermediate trusted: excludes the trust domain":              pki.Refused,
		"intermediate: excludes another trust domain":                  pki.Accepted,
		"intermediate trusted: excludes another trust domain":          pki.Accepted,
		"intermediate: permits a DNS name":                             pki.Accepted,
		"intermediate trusted: permits a DNS name":                     pki.Accepted,
		"root: CA:FALSE":                                               pki.Accepted,
		"root: no basicConstraints":                                    pki.Accepted,
		"root: no key usage":                                           pki.Accepted,
		"root: key usage without certSign":                             pki.Refused,
		"root: usage server only":                                      pki.Accepted,
		"root: unknown critical extension":                             pki.Accepted,
		"root: version 1":                                              pki.Accepted,
		"root: signed with SHA-1":                                      pki.Accepted,
		"root: path length 0":                                          pki.Accepted,
		"root: path length 1":                                          pki.Accepted,
		"root: permits another trust domain":                           pki.Refused,
		"root: permits the trust domain":                               pki.Accepted,
		"path length 0 with a CA below":                                pki.Refused,
		"path length 1 with a CA below":                                pki.Accepted,
		"path length 0 with a self-issued CA below":                    pki.Accepted,
		"sent out of order":                                            pki.Accepted,
		"names: other string type":                                     pki.Accepted,
		"names: other letter case":                                     pki.Accepted,
		"names: more spaces":                                           pki.Accepted,
		"names: two-byte letters":                                      pki.Accepted,
		"names: really another name":                                   pki.Refused,
		"leaf: server only":                                            pki.Refused,
		"leaf: client only":                                            pki.Accepted,
		"leaf: no usage":                                               pki.Accepted,
		"leaf: usage any":                                              pki.Refused,
		"leaf: key usage certSign only":                                pki.Refused,
		"leaf: no key usage":                                           pki.Accepted,
		"leaf: CA:TRUE":                                                pki.Accepted,
		"leaf: signed with SHA-1":                                      pki.Accepted,
		"leaf: version 1":                                              pki.Accepted,
		"leaf: unknown critical extension":                             pki.Refused,
		"leaf: self-signed, trusted":                                   pki.Accepted,
		"leaf: self-signed, not trusted":                               pki.Refused,
		"leaf: issuer's name and key id, another key":                  pki.Refused,
	}
}

func TestEnvoyTable(t *testing.T) {
	said := envoysSaid()
	for _, p := range maker(1).Table() {
		t.Run(p.Name, func(t *testing.T) {
			want, ok := said[p.Name]
			if !ok {
				t.Fatal("no Envoy was asked about this pair")
			}
			if got := pki.Verify(asEnvoy(p)); got.Result != want {
				t.Errorf("%s (%s), the Envoys: %s", got.Result, got.Reason, want)
			}
		})
		delete(said, p.Name)
	}
	for name := range said {
		t.Errorf("the table has no pair %q", name)
	}
}

// Cross-signing is what a whole strategy rests on: it must hold for every judge.
func TestCrossSignedChainHoldsForEveryJudge(t *testing.T) {
	for _, p := range maker(1).Table() {
		switch p.Name {
		case "cross: old trusted", "cross: new trusted", "cross: both trusted":
		default:
			continue
		}
		for _, judge := range []pki.Judge{pki.Envoy, pki.Go, pki.Webpki} {
			q := asEnvoy(p)
			q.Judge = judge
			if got := pki.Verify(q); got.Result != pki.Accepted {
				t.Errorf("%s, %s: %s (%s)", p.Name, judge, got.Result, got.Reason)
			}
		}
	}
}

func TestVerifyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		p := maker(seed).Random(0)
		q := asEnvoy(p)
		first := pki.Verify(q)
		if first.Reason == "" {
			t.Fatal("an answer without a reason")
		}
		if first.Result == pki.Accepted {
			anchor := first.Path[len(first.Path)-1]
			if !pki.NewSet(p.Bundle...).Has(anchor) {
				t.Fatal("accepted by way of an anchor that is not trusted")
			}
			// Nothing that is accepted rests on the order of the bundle.
			turned := append([]*pki.Certificate{}, p.Bundle...)
			for i, j := 0, len(turned)-1; i < j; i, j = i+1, j-1 {
				turned[i], turned[j] = turned[j], turned[i]
			}
			q.Roots = turned
			if got := pki.Verify(q); got.Result != pki.Accepted {
				t.Fatalf("accepted, and %s with the bundle turned round: %s", got.Result, got.Reason)
			}
		}
		for _, judge := range []pki.Judge{pki.Go, pki.Webpki} {
			q.Judge = judge
			pki.Verify(q) // must not panic
		}
		q = asEnvoy(p)
		q.Roots = nil
		if pki.Verify(q).Result != pki.Refused {
			t.Fatal("nothing is trusted, and the chain is accepted")
		}
	})
}

func TestNamesOfTheLeaf(t *testing.T) {
	p := maker(1).Table()[0]
	for name, want := range map[string]pki.Result{
		"spiffe://cluster.local/ns/a/sa/b": pki.Accepted,
		"spiffe://cluster.local/ns/a/sa/c": pki.Refused,
		"spiffe://cluster.local/ns/a":      pki.Refused,
	} {
		q := asEnvoy(p)
		q.SPIFFE = name
		if got := pki.Verify(q); got.Result != want {
			t.Errorf("%s: %s (%s)", name, got.Result, got.Reason)
		}
	}
	q := asEnvoy(p)
	q.DNS = "istiod.istio-system.svc"
	if pki.Verify(q).Result != pki.Refused {
		t.Error("a leaf without DNS names has this one")
	}
}

// What is not known of older Envoys is never yes.
func TestOldEnvoysDepend(t *testing.T) {
	for _, p := range maker(1).Table() {
		q := asEnvoy(p)
		q.EnvoyMinor = 28
		got := pki.Verify(q)
		switch p.Name {
		case "valid twin of the root", "intermediate trusted, not its root":
			if got.Result != pki.Depends {
				t.Errorf("%s: %s for Envoy 1.28", p.Name, got.Result)
			}
		case "usual", "cross: old trusted":
			if got.Result != pki.Accepted {
				t.Errorf("%s: %s for Envoy 1.28: %s", p.Name, got.Result, got.Reason)
			}
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	pairs := maker(1).Table()
	for _, judge := range []pki.Judge{pki.Envoy, pki.Go} {
		b.Run(fmt.Sprint(judge), func(b *testing.B) {
			q := asEnvoy(pairs[0])
			q.Judge = judge
			for b.Loop() {
				pki.Verify(q)
			}
		})
	}
}
