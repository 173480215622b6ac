package check_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"pgregory.net/rapid"
)

func before(a, b string) bool { return mesh.Before(a, b) }

func refused(pairs []check.Pair) (all []string) {
	for _, p := range pairs {
		if p.Answer.Result != pki.Accepted {
			all = append(all, fmt.Sprintf("%s->%s %s", p.Client, p.Server, p.By))
		}
	}
	return all
}

func TestMatrix(t *testing.T) {
	w := newWorld(t)
	one := check.Classes(w.s)
	if len(one) != 1 || len(one[0].Proxies) != 4 || !slices.Equal(one[0].Releases, []string{"1.30.3"}) || !slices.Equal(one[0].Reach, []mesh.Reach{mesh.ReachPush}) {
		t.Fatalf("%+v", one)
	}
	if got := refused(check.Matrix(one, clock())); got != nil {
		t.Errorf("one class refuses itself: %v", got)
	}
	// B has the new leaf, and trusts both; A trusts the old root alone.
	w.load(&w.s.Proxies[1], w.next, clock(), day, w.root.Cert, w.other.Cert)
	half := check.Classes(w.s)
	if len(half) != 2 {
		t.Fatalf("%+v", half)
	}
	if got := refused(check.Matrix(half, clock())); !slices.Equal(got, []string{"A->B client", "B->A server"}) {
		t.Errorf("%v", got)
	}
}

// TestMatrixByTrustDomain: where a proxy has a bundle for each trust domain, a peer is
// judged by the one of its own, and not by all that there are.
func TestMatrixByTrustDomain(t *testing.T) {
	w := newWorld(t)
	here, there := []*pki.Certificate{w.root.Cert}, []*pki.Certificate{w.other.Cert}
	hold := func(domains ...pki.Domain) {
		for i := range w.s.Proxies {
			identity := &w.s.Proxies[i].Loaded.Identities[0]
			identity.Domains, identity.Roots = domains, []*pki.Certificate{w.root.Cert, w.other.Cert}
		}
	}
	all := func() []string { return refused(check.Matrix(check.Classes(w.s), clock())) }
	local := pki.Domain{Name: "cluster.local", Roots: here}
	hold(local, pki.Domain{Name: "west.local", Roots: there})
	if classes := check.Classes(w.s); len(classes) != 1 || all() != nil {
		t.Errorf("%d classes, refused %v", len(classes), all())
	}
	if got := refused(check.MatrixAfter(check.Classes(w.s), here, nil, clock())); got != nil {
		t.Errorf("the same roots: %v", got)
	}
	if got := refused(check.MatrixAfter(check.Classes(w.s), there, nil, clock())); len(got) != 1 {
		t.Errorf("other roots: %v", got)
	}
	// Of this trust domain, signed below the root of another, which they hold too.
	signed := *w.s.Proxies[0].Loaded
	w.load(&w.s.Proxies[0], w.next, clock(), day)
	hold(local, pki.Domain{Name: "west.local", Roots: there})
	if got := all(); !slices.Equal(got, []string{"A->A server", "A->B server", "B->A client"}) {
		t.Errorf("signed by another trust domain's CA: refused %v", got)
	}
	// The very same chain is accepted from a peer of that trust domain.
	i := &w.s.Proxies[0].Loaded.Identities[0]
	i.SPIFFE = "spiffe://west.local/ns/a/sa/p1"
	i.Chain = []*pki.Certificate{w.leaf(w.next, i.SPIFFE, clock(), day), w.next.Cert}
	hold(local, pki.Domain{Name: "west.local", Roots: there})
	if got := all(); got != nil {
		t.Errorf("federated: refused %v", got)
	}
	hold(local)
	if got := all(); len(got) == 0 {
		t.Error("a peer of a trust domain without a bundle is accepted")
	}
	// Two trust domains with the same chain are two classes to who judges by them.
	w.s.Proxies[0].Loaded = &signed
	i = &w.s.Proxies[1].Loaded.Identities[0]
	i.SPIFFE = "spiffe://west.local/ns/a/sa/p2"
	i.Chain = append([]*pki.Certificate{w.leaf(w.ca, i.SPIFFE, clock(), day)}, i.Chain[1:]...)
	hold(local)
	if classes := check.Classes(w.s); len(classes) != 2 {
		t.Errorf("%d classes", len(classes))
	}
	var needy []string
	for _, c := range check.Needs(check.Classes(w.s), w.root.Cert, clock()) {
		needy = append(needy, c.Proxies...)
	}
	if !slices.Equal(needy, []string{"a/p1", "b/p1", "b/p2"}) {
		t.Errorf("the root is needed by %v", needy)
	}
}

// TestAnExpiredLeafDoesNotStandForItsClass: dates are a leaf's own.
func TestAnExpiredLeafDoesNotStandForItsClass(t *testing.T) {
	w := newWorld(t)
	w.load(&w.s.Proxies[0], w.ca, clock().Add(-3*day), day, w.root.Cert)
	classes := check.Classes(w.s)
	if len(classes) != 1 {
		t.Fatalf("%d classes", len(classes))
	}
	if got := refused(check.Matrix(classes, clock())); got != nil {
		t.Errorf("%v", got)
	}
	if !has(w.run().Findings, "leaf-expired", isError) {
		t.Error("the expired leaf itself was not found")
	}
	for i := range w.s.Proxies {
		w.load(&w.s.Proxies[i], w.ca, clock().Add(-3*day), day, w.root.Cert)
	}
	if got := refused(check.Matrix(check.Classes(w.s), clock())); len(got) != 1 {
		t.Errorf("all leaves have expired, and are accepted")
	}
}

func TestMatrixAfter(t *testing.T) {
	w := newWorld(t)
	classes := check.Classes(w.s)
	fresh := []*pki.Certificate{w.leaf(w.next, "spiffe://cluster.local/ns/a/sa/x", clock(), day), w.next.Cert, w.other.Cert}
	old, both, other := []*pki.Certificate{w.root.Cert}, []*pki.Certificate{w.root.Cert, w.other.Cert}, []*pki.Certificate{w.other.Cert}
	for name, test := range map[string]struct {
		roots, chain []*pki.Certificate
		accepted     bool
	}{
		"nothing changes":                {nil, nil, true},
		"both roots":                     {both, nil, true},
		"the same root":                  {old, nil, true},
		"the new root alone":             {other, nil, false},
		"no root at all":                 {[]*pki.Certificate{}, nil, false},
		"the new chain too early":        {nil, fresh, false},
		"new roots and chain at once":    {other, fresh, false},
		"both roots and chain at once":   {both, fresh, false},
		"a chain of the same root":       {nil, w.s.Proxies[0].Loaded.Identities[0].Chain, true},
		"both roots, a chain of the old": {both, w.s.Proxies[0].Loaded.Identities[0].Chain, true},
	} {
		got := refused(check.MatrixAfter(classes, test.roots, test.chain, clock()))
		if (len(got) == 0) != test.accepted {
			t.Errorf("%s: refused %v", name, got)
		}
	}
	// Once everybody trusts both, the signer may change.
	w.everywhere(both...)
	if got := refused(check.MatrixAfter(check.Classes(w.s), nil, fresh, clock())); got != nil {
		t.Errorf("%v", got)
	}
	// To drop the old root with it is too much at once: who has not renewed yet is
	// refused by who has dropped it.
	if got := refused(check.MatrixAfter(check.Classes(w.s), other, fresh, clock())); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// TestKindsAreClassesOfTheirOwn: an Envoy and a ztunnel judge the same chain by
// the same roots differently.
func TestKindsAreClassesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	cross, err := w.root.CrossSign(w.other.Cert, clock())
	if err != nil {
		t.Fatal(err)
	}
	w.s.Proxies = w.s.Proxies[:2]
	w.s.Proxies[1].Kind = mesh.Ztunnel
	for i := range w.s.Proxies {
		// The new root before its cross certificate: Envoy stops there, webpki goes on.
		chain := []*pki.Certificate{w.leaf(w.next, "spiffe://x", clock(), day), w.next.Cert, w.other.Cert, cross}
		w.s.Proxies[i].Loaded.Identities[0].Chain = chain
	}
	classes := check.Classes(w.s)
	if len(classes) != 2 {
		t.Fatalf("%d classes", len(classes))
	}
	if got := refused(check.Matrix(classes, clock())); !slices.Equal(got, []string{"A->A server", "A->B client", "B->A server"}) {
		t.Errorf("%v", got)
	}
}

func TestNeeds(t *testing.T) {
	w := newWorld(t)
	w.everywhere(w.root.Cert, w.other.Cert)
	w.load(&w.s.Proxies[3], w.next, clock(), day, w.root.Cert, w.other.Cert)
	classes := check.Classes(w.s)
	for root, want := range map[*pki.Certificate][]string{w.root.Cert: {"a/p1", "a/p2", "b/p1"}, w.other.Cert: {"b/p2"}, w.ca.Cert: nil} {
		var got []string
		for _, c := range check.Needs(classes, root, clock()) {
			got = append(got, c.Proxies...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is needed by %v, want %v", root.Subject(), got, want)
		}
	}
}

// TestClassesOfOneName: two generations of a CA with one name and no key ids are
// not one class.
func TestClassesOfOneName(t *testing.T) {
	w := newWorld(t)
	twin := below(t, w.root, "intermediate A", 730*day)
	w.load(&w.s.Proxies[0], twin, clock(), day, w.root.Cert)
	for i := range w.s.Proxies {
		chain := w.s.Proxies[i].Loaded.Identities[0].Chain
		chain[0].X509.AuthorityKeyId = nil
		w.s.Proxies[i].Loaded.Identities[0].Chain = []*pki.Certificate{chain[0]}
		w.s.Proxies[i].Loaded.Identities[0].Roots = []*pki.Certificate{w.ca.Cert, twin.Cert}
	}
	if got := len(check.Classes(w.s)); got != 2 {
		t.Errorf("%d classes", got)
	}
}

// TestClassesAnswerForEveryPair: the matrix of classes says of every two proxies
// what the verifier says of them.
func TestClassesAnswerForEveryPair(t *testing.T) {
	w := newWorld(t)
	cross, err := w.root.CrossSign(w.other.Cert, clock())
	if err != nil {
		t.Fatal(err)
	}
	chains := [][]*pki.Certificate{
		{w.leaf(w.ca, "spiffe://x/a", clock(), day), w.ca.Cert, w.root.Cert},
		{w.leaf(w.ca, "spiffe://x/b", clock(), day), w.ca.Cert, w.root.Cert},
		{w.leaf(w.next, "spiffe://x/c", clock(), day), w.next.Cert, w.other.Cert},
		{w.leaf(w.next, "spiffe://x/d", clock(), day), w.next.Cert, cross},
		{w.leaf(w.next, "spiffe://x/e", clock(), day)},
	}
	bundles := [][]*pki.Certificate{{w.root.Cert}, {w.other.Cert}, {w.root.Cert, w.other.Cert}, {w.root.Cert, w.root.Cert}, {}}
	rapid.Check(t, func(t *rapid.T) {
		s := &mesh.Snapshot{TakenAt: clock()}
		for i := range rapid.IntRange(1, 8).Draw(t, "proxies") {
			p := w.s.Proxies[0]
			loaded := *p.Loaded
			identity := loaded.Identities[0]
			identity.Chain, identity.Roots = rapid.SampledFrom(chains).Draw(t, "chain"), rapid.SampledFrom(bundles).Draw(t, "roots")
			loaded.Identities = append(loaded.Identities[:0:0], identity)
			p.Name, p.Loaded = fmt.Sprint("p", i), &loaded
			p.Kind = rapid.SampledFrom([]mesh.ProxyKind{mesh.Sidecar, mesh.Ztunnel}).Draw(t, "kind")
			s.Proxies = append(s.Proxies, p)
		}
		classes := check.Classes(s)
		classOf := func(p mesh.Proxy) string {
			for _, c := range classes {
				if slices.Contains(c.Proxies, p.Ref()) {
					return c.Name
				}
			}
			t.Fatalf("%s is in no class", p.Ref())
			return ""
		}
		answers := map[[2]string]pki.Result{}
		for _, pair := range check.Matrix(classes, clock()) {
			answers[[2]string{pair.Client, pair.Server}] = pair.Answer.Result
		}
		judges := func(judge, peer mesh.Proxy, usage pki.Usage) pki.Result {
			q := pki.Question{Judge: pki.Envoy, Roots: judge.Loaded.Identities[0].Roots, Chain: peer.Loaded.Identities[0].Chain, At: clock(), Usage: usage}
			if judge.Kind == mesh.Ztunnel {
				q.Judge = pki.Webpki
			}
			return pki.Verify(q).Result
		}
		for _, client := range s.Proxies {
			for _, server := range s.Proxies {
				want := judges(server, client, pki.ClientAuth)
				if want == pki.Accepted {
					want = judges(client, server, pki.ServerAuth)
				}
				if got := answers[[2]string{classOf(client), classOf(server)}]; got != want {
					t.Fatalf("%s -> %s: %s, want %s", client.Name, server.Name, got, want)
				}
			}
		}
	})
}

func benchMesh(b testing.TB, proxies int) *mesh.Snapshot {
	w := newWorld(b)
	w.s.Proxies = nil
	bundles := [][]*pki.Certificate{{w.root.Cert}, {w.root.Cert, w.other.Cert}, {w.root.Cert, w.other.Cert}}
	for i := range proxies { // each with a leaf of its own, as in a mesh
		w.s.Proxies = append(w.s.Proxies, w.proxy("n", fmt.Sprint("p", i), []*pki.Authority{w.ca, w.ca, w.next}[i%3], bundles[i%3]...))
	}
	return w.s
}

// BenchmarkMatrix10000 is the trust matrix of a mesh of 10,000 proxies: the aim
// is 50 ms.
func BenchmarkMatrix10000(b *testing.B) {
	s := benchMesh(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if pairs := check.Matrix(check.Classes(s), s.TakenAt); len(pairs) != 9 {
			b.Fatalf("%d pairs", len(pairs))
		}
	}
}

func BenchmarkCheck10000(b *testing.B) {
	s := benchMesh(b, 10_000)
	for b.Loop() {
		check.Run(s, check.Policy{WarnBefore: time.Hour})
	}
}
