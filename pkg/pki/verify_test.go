package pki_test

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

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

// What two real Envoys and the real rustls-webpki said of each pair is on record:
// test/envoys asks them again.
func TestTable(t *testing.T) {
	table := maker(1).Table()
	if len(table) < 105 {
		t.Fatalf("%d pairs are too few", len(table))
	}
	for _, judge := range []pki.Judge{pki.Envoy, pki.Webpki} {
		if judge == pki.Webpki { // what ztunnel makes of CRLs is not judged
			table = slices.DeleteFunc(table, func(p pairs.Pair) bool { return p.CRLs != nil })
		}
		t.Run(string(judge), func(t *testing.T) { holdTo(t, judge, table) })
	}
}

func holdTo(t *testing.T, judge pki.Judge, table []pairs.Pair) {
	said, err := pairs.Answers(judge)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table {
		t.Run(p.Name, func(t *testing.T) {
			for _, usage := range pairs.Sides() {
				want, ok := said[p.Name][usage]
				if !ok {
					t.Fatalf("nobody was asked about this pair of a %s", usage)
				}
				got := pki.Verify(p.Question(judge, usage, clock))
				switch {
				case got.Result == pki.Accepted && !want.All:
					t.Errorf("a %s is accepted (%s), and a real one refused it", usage, got.Reason)
				case got.Result == pki.Refused && want.All:
					t.Errorf("a %s is refused (%s), and all real ones accepted it", usage, got.Reason)
				case got.Result != want.Want:
					t.Errorf("a %s: %s (%s), on record is %s", usage, got.Result, got.Reason, want.Want)
				}
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
	stranger := selfSigned(t, "stranger")
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
			for i, c := range first.Path[1:] {
				if c.X509 != nil && first.Path[i].X509 != nil && !strings.Contains(first.Path[i].X509.SignatureAlgorithm.String(), "SHA1") && c.X509.CheckSignature(first.Path[i].X509.SignatureAlgorithm, first.Path[i].X509.RawTBSCertificate, first.Path[i].X509.Signature) != nil {
					t.Fatalf("%s has not signed %s", c.Subject(), first.Path[i].Subject())
				}
			}
			// Nothing that is accepted rests on the order of the bundle, on what stands in it
			// twice, or on strangers in it.
			turned := append([]*pki.Certificate{}, p.Bundle...)
			for i, j := 0, len(turned)-1; i < j; i, j = i+1, j-1 {
				turned[i], turned[j] = turned[j], turned[i]
			}
			q.Roots = turned
			if got := pki.Verify(q); got.Result != pki.Accepted {
				t.Fatalf("accepted, and %s with the bundle turned round: %s", got.Result, got.Reason)
			}
			q.Roots = append(append([]*pki.Certificate{stranger}, p.Bundle...), p.Bundle...)
			if got := pki.Verify(q); got.Result != pki.Accepted {
				t.Fatalf("accepted, and %s with the bundle twice and a stranger in it: %s", got.Result, got.Reason)
			}
			q = asEnvoy(p)
			for _, later := range []time.Duration{-200 * 365 * 24 * time.Hour, 200 * 365 * 24 * time.Hour} {
				q.At = clock.Add(later)
				if got := pki.Verify(q); got.Result == pki.Accepted {
					t.Fatal("accepted a lifetime away")
				}
			}
		}
		for _, minor := range []int{20, 30} { // what is not known of older ones is never more than of younger ones
			q = asEnvoy(p)
			q.EnvoyMinor = minor
			if got := pki.Verify(q); got.Result == pki.Accepted && first.Result != pki.Accepted || (got.Result == pki.Refused) != (first.Result == pki.Refused) {
				t.Fatalf("%s, and %s for Envoy 1.%d", first.Result, got.Result, minor)
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
		case "intermediate trusted, not its root":
			if got.Result != pki.Accepted {
				t.Errorf("%s: %s for Envoy 1.28: %s", p.Name, got.Result, got.Reason)
			}
			if q.EnvoyMinor = 24; pki.Verify(q).Result != pki.Depends {
				t.Errorf("%s is no question for Envoy 1.24", p.Name)
			}
		case "usual", "cross: old trusted", "valid twin of the root": // whichever is picked, the same key signs
			if got.Result != pki.Accepted {
				t.Errorf("%s: %s for Envoy 1.28: %s", p.Name, got.Result, got.Reason)
			}
		case "intermediate and root trusted": // a whole chain, with or without partial ones
			for _, minor := range []int{22, 24, 35} {
				if q.EnvoyMinor = minor; pki.Verify(q).Result != pki.Accepted {
					t.Errorf("%s: %+v for Envoy 1.%d", p.Name, pki.Verify(q), minor)
				}
			}
		case "cross: new trusted": // presented before trusted, long ago
			if got.Result != pki.Accepted {
				t.Errorf("%s: %s for Envoy 1.28: %s", p.Name, got.Result, got.Reason)
			}
			if q.EnvoyMinor = 21; pki.Verify(q).Result != pki.Depends {
				t.Errorf("%s is no question for Envoy 1.21", p.Name)
			}
		}
	}
}

// The second in which a certificate ends is too late for Envoy, and early enough
// for Go and ztunnel.
func TestTheLastSecond(t *testing.T) {
	p := maker(1).Table()[0]
	begin, end := p.Chain[0].X509.NotBefore, p.Chain[0].X509.NotAfter
	for _, test := range []struct {
		at    time.Time
		judge pki.Judge
		want  pki.Result
	}{
		{begin.Add(-time.Second), pki.Envoy, pki.Refused}, {begin, pki.Envoy, pki.Accepted},
		{end.Add(-time.Second), pki.Envoy, pki.Accepted}, {end, pki.Envoy, pki.Refused}, {end.Add(time.Second), pki.Envoy, pki.Refused},
		{begin, pki.Go, pki.Accepted}, {end, pki.Go, pki.Accepted}, {end.Add(time.Second), pki.Go, pki.Refused},
		{begin, pki.Webpki, pki.Accepted}, {end, pki.Webpki, pki.Accepted}, {end.Add(time.Second), pki.Webpki, pki.Refused},
	} {
		q := asEnvoy(p)
		q.Judge, q.At = test.judge, test.at
		if got := pki.Verify(q); got.Result != test.want {
			t.Errorf("%s at %s: %s (%s), want %s", test.judge, test.at.Sub(end), got.Result, got.Reason, test.want)
		}
	}
}

func TestNothingIsRefused(t *testing.T) {
	p := maker(1).Table()[0]
	junk := pki.NewCertificate([]byte{0x30, 3, 2, 1, 0})
	for _, judge := range []pki.Judge{pki.Envoy, pki.Go, pki.Webpki, "nobody"} {
		for name, test := range map[string]struct {
			roots, chain []*pki.Certificate
			want         pki.Result
		}{
			"no roots":      {nil, p.Chain, pki.Refused},
			"no chain":      {p.Bundle, nil, pki.Refused},
			"junk as leaf":  {p.Bundle, []*pki.Certificate{junk}, pki.Depends},
			"junk as root":  {[]*pki.Certificate{junk}, p.Chain, pki.Depends},
			"junk in chain": {p.Bundle, []*pki.Certificate{p.Chain[0], junk}, pki.Depends},
		} {
			got := pki.Verify(pki.Question{Judge: judge, Roots: test.roots, Chain: test.chain, At: clock, Usage: pki.ClientAuth})
			if judge == pki.Go || judge == "nobody" {
				test.want = pki.Refused
			}
			if got.Result != test.want || got.Reason == "" {
				t.Errorf("%s, %s: %s (%s), want %s", judge, name, got.Result, got.Reason, test.want)
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

// istiod asks more of its clients than Go's TLS does: one URI, and the usage of a server.
func TestClientsOfIstiod(t *testing.T) {
	second := pairs.Leaf(nil).SPIFFE + "2"
	uris, err := asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 6, Bytes: []byte(second)}, {Class: 2, Tag: 6, Bytes: []byte(second + "3")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(between, leaf *pairs.Cert)
		client pki.Result
		server pki.Result
	}{
		"as istiod issues it": {func(_, _ *pairs.Cert) {}, pki.Accepted, pki.Accepted},
		"two URIs": {func(_, leaf *pairs.Cert) {
			leaf.SPIFFE, leaf.Extra = "", []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: uris}}
		}, pki.Depends, pki.Accepted},
		"no URI":                         {func(_, leaf *pairs.Cert) { leaf.SPIFFE, leaf.DNS = "", "a.b" }, pki.Depends, pki.Accepted},
		"client alone":                   {func(_, leaf *pairs.Cert) { leaf.EKU = []asn1.ObjectIdentifier{usage(2)} }, pki.Depends, pki.Refused},
		"intermediate for clients alone": {func(between, _ *pairs.Cert) { between.EKU = []asn1.ObjectIdentifier{usage(2)} }, pki.Depends, pki.Refused},
		"intermediate for servers alone": {func(between, _ *pairs.Cert) { between.EKU = []asn1.ObjectIdentifier{usage(1)} }, pki.Refused, pki.Accepted},
		"intermediate for both":          {func(between, _ *pairs.Cert) { between.EKU = []asn1.ObjectIdentifier{usage(1), usage(2)} }, pki.Accepted, pki.Accepted},
	} {
		t.Run(name, func(t *testing.T) {
			root := &pairs.Cert{DN: "root"}
			between := &pairs.Cert{DN: "between", By: root}
			leaf := pairs.Leaf(between)
			test.change(between, leaf)
			p := maker(1).Pair("", []*pairs.Cert{root}, leaf, between)
			for asked, want := range map[pki.Usage]pki.Result{pki.ClientAuth: test.client, pki.ServerAuth: test.server} {
				if got := pki.Verify(p.Question(pki.Go, asked, clock)); got.Result != want {
					t.Errorf("a %s: %s (%s), want %s", asked, got.Result, got.Reason, want)
				}
			}
		})
	}
}

// ztunnel asks a peer of either side for an ID of a workload, whatever its chain.
func TestPeersOfZtunnelHaveAnID(t *testing.T) {
	for name, test := range map[string]struct {
		leaf func(*pairs.Cert)
		want pki.Result
	}{
		"as istiod issues it": {func(*pairs.Cert) {}, pki.Accepted},
		"no name":             {func(leaf *pairs.Cert) { leaf.SPIFFE = "" }, pki.Depends},
		"a host's name":       {func(leaf *pairs.Cert) { leaf.SPIFFE, leaf.DNS = "", "a.b" }, pki.Depends},
		"another URI":         {func(leaf *pairs.Cert) { leaf.SPIFFE = "https://a.b" }, pki.Depends},
	} {
		root := &pairs.Cert{DN: "root"}
		leaf := pairs.Leaf(root)
		test.leaf(leaf)
		p := maker(1).Pair("", []*pairs.Cert{root}, leaf)
		for asked, want := range map[pki.Usage]pki.Result{pki.ClientAuth: test.want, pki.ServerAuth: test.want, pki.AnyUsage: pki.Accepted} {
			if got := pki.Verify(p.Question(pki.Webpki, asked, clock)); got.Result != want {
				t.Errorf("%s, %s: %s (%s), want %s", name, asked, got.Result, got.Reason, want)
			}
		}
	}
}

// A handshake with an RSA key of more than 8192 bits Go refuses, whatever that key is for;
// istiod, that loads a CA, meets no handshake.
func TestHugeKeysInAHandshakeOfGo(t *testing.T) {
	for bits, want := range map[uint]pki.Result{8192: pki.Accepted, 8193: pki.Refused} {
		huge := &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), bits-1), big.NewInt(1)), E: 65537}
		spki, err := x509.MarshalPKIXPublicKey(huge)
		if err != nil {
			t.Fatal(err)
		}
		beside := &pairs.Cert{DN: "beside", Edit: func(parts []asn1.RawValue) []asn1.RawValue {
			parts[6] = asn1.RawValue{FullBytes: spki}
			return parts
		}}
		root := &pairs.Cert{DN: "root"}
		q := maker(1).Pair("", []*pairs.Cert{root}, pairs.Leaf(root), beside).Question(pki.Go, pki.ServerAuth, clock)
		if got := pki.Verify(q); got.Result != want {
			t.Errorf("%d bits: %s (%s), want %s", bits, got.Result, got.Reason, want)
		}
		q.Usage = pki.AnyUsage
		if got := pki.Verify(q); got.Result != pki.Accepted {
			t.Errorf("%d bits, no handshake: %s (%s)", bits, got.Result, got.Reason)
		}
	}
}
