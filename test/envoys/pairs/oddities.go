package pairs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"
)

// oddities are rows that BoringSSL's and rustls-webpki's sources suggest.
func (m *Maker) oddities() []Pair {
	var all []Pair
	add := func(name string, bundle []*Cert, chain ...*Cert) { all = append(all, m.Pair(name, bundle, chain...)) }
	of := func(c ...*Cert) []*Cert { return c }
	root := func(dn string) *Cert { return &Cert{DN: dn, To: 1000 * time.Hour} }
	inter := func(dn string, by *Cert) *Cert { return &Cert{DN: dn, By: by, To: 500 * time.Hour} }
	twin := func(c Cert) *Cert { c.Serial, c.made = 0, nil; return &c }
	gone := func(c Cert) *Cert {
		c.From, c.To, c.Serial, c.made = -48*time.Hour, -time.Minute, 0, nil
		return &c
	}
	ext := func(critical bool, value []byte, id ...int) pkix.Extension {
		return pkix.Extension{Id: id, Critical: critical, Value: value}
	}

	everywhere := func(name string, change func(*Cert)) { all = append(all, m.in(places(), name, change)...) }
	everywhere("negative serial", func(c *Cert) { c.Serial = -77 })
	everywhere("serial of 25 bytes", func(c *Cert) { c.LongSerial = new(big.Int).Lsh(big.NewInt(3), 190) })
	everywhere("serial 0", func(c *Cert) { c.LongSerial = new(big.Int) })
	everywhere("key usage without any", func(c *Cert) { c.EmptyKU = true })
	everywhere("extended key usage without any", func(c *Cert) { c.EmptyEKU = true })
	everywhere("critical key ids", func(c *Cert) { c.CriticalIDs, c.NoSKI = true, false })
	everywhere("CA:FALSE written down", func(c *Cert) { c.ExplicitFalse = true })
	everywhere("CA:FALSE with a path length", func(c *Cert) { c.BC, c.PathLen = BCFalse, 1 })
	everywhere("two signature algorithms", func(c *Cert) { c.TwoAlgorithms = true })
	everywhere("version 1", func(c *Cert) { c.V1 = true })
	everywhere("version 1 with extensions", func(c *Cert) { c.V1Extended = true })
	everywhere("unknown extension twice", func(c *Cert) {
		c.Extra = []pkix.Extension{ext(false, []byte{5, 0}, 1, 2, 3, 4), ext(false, []byte{5, 0}, 1, 2, 3, 4)}
	})
	everywhere("alternative names twice", func(c *Cert) {
		c.SPIFFE = "spiffe://cluster.local/ns/a/sa/b"
		c.Extra = []pkix.Extension{ext(false, must(asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 6, Bytes: []byte(c.SPIFFE)}})), 2, 5, 29, 17)}
	})
	everywhere("alternative names that are none", func(c *Cert) {
		c.SPIFFE = ""
		c.Extra = []pkix.Extension{ext(false, []byte{5, 0}, 2, 5, 29, 17)}
	})
	everywhere("AKI that is none", func(c *Cert) {
		c.NoAKI = true
		c.Extra = []pkix.Extension{ext(false, []byte{5, 0}, 2, 5, 29, 35)}
	})
	everywhere("AKI that says nothing", func(c *Cert) {
		c.NoAKI = true
		c.Extra = []pkix.Extension{ext(false, []byte{0x30, 0}, 2, 5, 29, 35)}
	})
	everywhere("AKI with an empty key id", func(c *Cert) {
		c.NoAKI = true
		c.Extra = []pkix.Extension{ext(false, []byte{0x30, 2, 0x80, 0}, 2, 5, 29, 35)}
	})
	policy := must(asn1.Marshal([][]asn1.ObjectIdentifier{{{1, 2, 3}}}))
	everywhere("a policy", func(c *Cert) { c.Extra = []pkix.Extension{ext(false, policy, 2, 5, 29, 32)} })
	everywhere("a critical policy", func(c *Cert) { c.Extra = []pkix.Extension{ext(true, policy, 2, 5, 29, 32)} })
	everywhere("one policy twice", func(c *Cert) {
		c.Extra = []pkix.Extension{ext(false, must(asn1.Marshal([][]asn1.ObjectIdentifier{{{1, 2, 3}}, {{1, 2, 3}}})), 2, 5, 29, 32)}
	})
	everywhere("asks for a policy", func(c *Cert) { c.Extra = []pkix.Extension{ext(true, []byte{0x30, 3, 0x80, 1, 0}, 2, 5, 29, 36)} })
	everywhere("forbids any policy", func(c *Cert) { c.Extra = []pkix.Extension{ext(true, []byte{2, 1, 0}, 2, 5, 29, 54)} })
	policyConstraints := func(value ...byte) func(*Cert) {
		return func(c *Cert) {
			c.Extra = []pkix.Extension{ext(true, append([]byte{0x30, byte(len(value))}, value...), 2, 5, 29, 36)}
		}
	}
	everywhere("asks for a policy further down", policyConstraints(0x80, 1, 1))
	everywhere("asks for a policy far down", policyConstraints(0x80, 1, 9))
	everywhere("forbids mappings of policies", policyConstraints(0x81, 1, 0))
	everywhere("policy constraints that say nothing", policyConstraints())
	everywhere("forbids any policy below zero", func(c *Cert) { c.Extra = []pkix.Extension{ext(true, []byte{2, 1, 0xff}, 2, 5, 29, 54)} })
	everywhere("has a policy and asks for one", func(c *Cert) {
		c.Extra = []pkix.Extension{ext(false, policy, 2, 5, 29, 32), ext(true, []byte{0x30, 3, 0x80, 1, 0}, 2, 5, 29, 36)}
	})
	mapping := func(from, to asn1.ObjectIdentifier) []byte {
		return must(asn1.Marshal([][]asn1.ObjectIdentifier{{from, to}}))
	}
	anyPolicy := asn1.ObjectIdentifier{2, 5, 29, 32, 0}
	everywhere("maps a policy", func(c *Cert) {
		c.Extra = []pkix.Extension{ext(true, mapping(asn1.ObjectIdentifier{1, 2, 3}, asn1.ObjectIdentifier{1, 2, 4}), 2, 5, 29, 33)}
	})
	everywhere("maps any policy", func(c *Cert) {
		c.Extra = []pkix.Extension{ext(true, mapping(anyPolicy, asn1.ObjectIdentifier{1, 2, 4}), 2, 5, 29, 33)}
	})
	everywhere("maps no policy", func(c *Cert) { c.Extra = []pkix.Extension{ext(true, []byte{0x30, 0}, 2, 5, 29, 33)} })
	statement := func(tag int) func(*Cert) {
		type qualifier struct {
			ID    asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		type information struct {
			ID         asn1.ObjectIdentifier
			Qualifiers []qualifier
		}
		value := must(asn1.Marshal([]information{{asn1.ObjectIdentifier{1, 2, 3}, []qualifier{{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 2, 1}, asn1.RawValue{Tag: tag, Bytes: []byte("https://example.org/cps")}}}}}))
		return func(c *Cert) { c.Extra = []pkix.Extension{ext(false, value, 2, 5, 29, 32)} }
	}
	everywhere("a policy with its statement", statement(asn1.TagIA5String))
	everywhere("a policy with its statement in another type", statement(asn1.TagUTF8String))
	point := must(hex.DecodeString("300f300da00ba0098607687474703a2f2f"))
	everywhere("a distribution point", func(c *Cert) { c.Extra = []pkix.Extension{ext(false, point, 2, 5, 29, 31)} })
	everywhere("a distribution point that is none", func(c *Cert) { c.Extra = []pkix.Extension{ext(false, []byte{5, 0}, 2, 5, 29, 31)} })
	everywhere("a distribution point of nothing known", func(c *Cert) {
		c.Extra = []pkix.Extension{ext(false, []byte{0x30, 4, 0x30, 2, 5, 0}, 2, 5, 29, 31)}
	})
	everywhere("a number in the name", func(c *Cert) {
		if c.DN != "" {
			c.Raw = sets(pair(10, c.DN), numbers("12 34"))
		}
	})
	everywhere("valid until 2055", func(c *Cert) { c.To = time.Date(2055, 1, 1, 0, 0, 0, 0, time.UTC).Sub(m.Now) })
	everywhere("underscore in a PrintableString", func(c *Cert) {
		if c.DN != "" {
			c.Raw = Name(asn1.TagPrintableString, "c_a@"+c.DN)
		}
	})
	everywhere("usage code signing", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 3}} })
	everywhere("ended a minute ago", func(c *Cert) { c.From, c.To = -48*time.Hour, -time.Minute })
	everywhere("begins in an hour", func(c *Cert) { c.From, c.To = time.Hour, 9*time.Hour })

	// Keys and algorithms.
	keys := func(name string, rootKey, interKey, leafKey crypto.Signer, change func(r, i, l *Cert)) {
		r := root("root A")
		i := inter("intermediate A", r)
		l := Leaf(i)
		r.Key, i.Key, l.Key = rootKey, interKey, leafKey
		change(r, i, l)
		add("keys: "+name, of(r), l, i)
	}
	none := func(_, _, _ *Cert) {}
	keys("RSA", RSA(0), RSA(1), RSA(0), none)
	keys("RSA CAs, ECDSA leaf", RSA(0), RSA(1), m.Key(), none)
	keys("ECDSA CAs, RSA leaf", m.Key(), m.Key(), RSA(0), none)
	keys("RSA-PSS", RSA(0), RSA(1), m.Key(), func(_, i, l *Cert) { i.PSS, l.PSS = true, true })
	keys("RSA with SHA-1", RSA(0), RSA(1), m.Key(), func(_, i, _ *Cert) { i.SHA1 = true })
	keys("RSA with SHA-512", RSA(0), RSA(1), m.Key(), func(_, i, _ *Cert) { i.Hash = crypto.SHA512 })
	keys("RSA of 1024 bits", RSA(2), m.Key(), m.Key(), none)
	keys("P-384", m.On(elliptic.P384()), m.On(elliptic.P384()), m.On(elliptic.P384()), func(r, i, l *Cert) { r.Hash, i.Hash, l.Hash = crypto.SHA384, crypto.SHA384, crypto.SHA384 })
	keys("P-384 with SHA-256", m.On(elliptic.P384()), m.Key(), m.Key(), none)
	keys("P-256 with SHA-384", m.Key(), m.Key(), m.Key(), func(_, i, _ *Cert) { i.Hash = crypto.SHA384 })
	keys("P-521 CA", m.On(elliptic.P521()), m.Key(), m.Key(), func(_, i, _ *Cert) { i.Hash = crypto.SHA512 })
	keys("Ed25519 CAs", m.Ed25519(), m.Ed25519(), m.Key(), none)

	for n, key := range []crypto.Signer{RSA(1), RSA(1), m.On(elliptic.P384()), m.Ed25519()} {
		what := []string{"RSA", "RSA-PSS", "P-384", "Ed25519"}[n]
		r := root("root A")
		i := inter("intermediate A", r)
		i.Key = key
		l := Leaf(i)
		l.PSS = what == "RSA-PSS"
		m.Make(l)
		other := inter("intermediate A", r)
		other.SKI = i.ski()
		switch key.(type) {
		case *ecdsa.PrivateKey:
			other.Key = m.On(elliptic.P384())
		case *rsa.PrivateKey:
			other.Key = RSA(0)
		default:
			other.Key = m.Ed25519()
		}
		add("keys: signed by another key, "+what, of(r), l, other)
		add("keys: signed by a key of another kind, "+what, of(r), l, &Cert{DN: "intermediate A", By: r, SKI: i.ski()})
	}

	// The leaf is trusted.
	r := root("root A")
	i := inter("intermediate A", r)
	l := Leaf(i)
	add("trusted leaf: root sent too", of(l), l, i, r)
	add("trusted leaf: another issuer sent", of(l), l, root("root B"))
	add("trusted leaf: expired issuer sent", of(l), l, gone(*i))
	add("trusted leaf: and root", of(l, r), l, i)
	add("trusted leaf: and an expired root", of(l, gone(*r)), l, i)
	ended := gone(*l)
	add("trusted leaf: expired", of(ended), ended)
	server := Leaf(i)
	server.EKU, server.KU = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 3}}, x509.KeyUsageDigitalSignature
	add("trusted leaf: for code signing", of(server), server)
	self := Leaf(nil)
	self.DN = "self"
	m.Make(self)
	add("trusted leaf: self-signed, and a twin", of(self, twin(*self)), self)
	add("trusted leaf: self-signed, only its twin", of(twin(*self)), self)
	add("trusted leaf: expired root sent too", of(l), l, i, gone(*r))
	contrary := Leaf(nil)
	contrary.DN, contrary.PathLen = "self", 1
	add("trusted leaf: self-signed, CA:FALSE with a path length", of(contrary), contrary)
	signs := &Cert{DN: "self", KU: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	contrary = twin(*signs)
	contrary.BC, contrary.PathLen = BCFalse, 1
	add("trusted leaf: self-signed and signing, CA:FALSE with a path length", of(contrary), contrary)
	m.Make(signs)
	add("trusted leaf: self-signed and signing", of(signs), signs)
	add("trusted leaf: self-signed and signing, and a twin", of(signs, twin(*signs)), signs)
	add("trusted leaf: self-signed and signing, and a twin before", of(twin(*signs), signs), signs)
	add("trusted leaf: self-signed and signing, only its twin", of(twin(*signs)), signs)
	selfCA := root("self CA")
	m.Make(selfCA)
	add("a root as a leaf", of(selfCA), selfCA)
	add("a root as a leaf, and a twin", of(selfCA, twin(*selfCA)), selfCA)

	// Cross-signing, in every order sent and trusted.
	old, young := root("root old"), root("root new")
	m.Make(young)
	cross := &Cert{DN: "root new", Key: young.Key, By: old, To: 900 * time.Hour}
	back := &Cert{DN: "root old", Key: m.keyOf(old), By: young, To: 900 * time.Hour}
	in := inter("intermediate new", young)
	ln := Leaf(in)
	for n, order := range permutations(in, cross, young) {
		add(fmt.Sprintf("cross order %d: old trusted", n), of(old), append(of(ln), order...)...)
		add(fmt.Sprintf("cross order %d: new trusted", n), of(young), append(of(ln), order...)...)
		add(fmt.Sprintf("cross order %d: both trusted", n), of(old, young), append(of(ln), order...)...)
	}
	for n, bundle := range permutations(old, young, cross) {
		add(fmt.Sprintf("cross bundle %d: cross sent", n), bundle, ln, in, cross)
		add(fmt.Sprintf("cross bundle %d: not sent", n), bundle, ln, in)
		add(fmt.Sprintf("cross bundle %d: old leaf", n), bundle, func() []*Cert { o := inter("intermediate old", old); return of(Leaf(o), o) }()...)
	}
	add("cross both ways: both trusted", of(cross, back), ln, in)
	add("cross both ways: both and old trusted", of(cross, back, old), ln, in)
	add("cross both ways: sent", of(old), ln, in, cross, back)
	add("cross both ways: sent, wrong one first", of(old), ln, in, back, cross)
	add("cross: three roots trusted", of(root("root C"), old, young), ln, in, cross)
	narrow := &Cert{DN: "root new", Key: young.Key, By: old, To: 900 * time.Hour, EKU: []asn1.ObjectIdentifier{serverAuth()}}
	add("cross: for servers only, old trusted", of(old), ln, in, narrow)
	add("cross: for servers only, new trusted", of(young), ln, in, narrow)
	add("cross: for servers only, and trusted", of(narrow, old), ln, in)

	// One name for everything, as Istio's self-signed roots have it (O=cluster.local).
	same := func(ids bool) (a, b, la, lb *Cert) {
		a = &Cert{DN: "cluster.local", To: 1000 * time.Hour, NoSKI: !ids}
		b = &Cert{DN: "cluster.local", To: 1000 * time.Hour, NoSKI: !ids}
		return a, b, Leaf(a), Leaf(b)
	}
	for _, ids := range []bool{true, false} {
		a, b, la, lb := same(ids)
		add(fmt.Sprintf("self-signed istiods, key ids %t: own leaf", ids), of(a, b), la)
		add(fmt.Sprintf("self-signed istiods, key ids %t: other leaf", ids), of(a, b), lb)
		add(fmt.Sprintf("self-signed istiods, key ids %t: root sent", ids), of(a, b), la, a)
		add(fmt.Sprintf("self-signed istiods, key ids %t: untrusted", ids), of(a), lb, b)
		crossed := &Cert{DN: "cluster.local", Key: m.keyOf(b), By: a, NoSKI: !ids}
		add(fmt.Sprintf("self-signed istiods, key ids %t: crossed", ids), of(a), lb, crossed)
		add(fmt.Sprintf("self-signed istiods, key ids %t: crossed, both trusted", ids), of(a, b), lb, crossed)
	}
	for n, bundle := range permutations(root("root A"), root("root A"), root("root A")) {
		add(fmt.Sprintf("three roots of one name %d", n), bundle, Leaf(bundle[n%3]))
	}
	bare := func() *Cert { return &Cert{DN: "root A", To: 1000 * time.Hour, NoSKI: true} }
	for n, bundle := range permutations(bare(), bare(), bare()) {
		add(fmt.Sprintf("three roots of one name without key ids %d", n), bundle, Leaf(bundle[n%3]))
	}

	// Key ids and serial numbers.
	r = root("root A")
	m.Make(r)
	for _, c := range []struct {
		name string
		cert *Cert
	}{
		{"fits", &Cert{AKISerial: r.Serial}},
		{"wrong serial", &Cert{AKISerial: r.Serial + 1}},
		{"wrong serial, empty key id", &Cert{AKISerial: r.Serial + 1, AKI: []byte{}}},
		{"negative serial", &Cert{AKISerial: -5}},
		{"another issuer", &Cert{AKISerial: r.Serial, AKIName: Name(asn1.TagUTF8String, "root B")}},
		{"the issuer written otherwise", &Cert{AKISerial: r.Serial, AKIName: Name(asn1.TagPrintableString, " ROOT  a")}},
	} {
		c.cert.DN, c.cert.By, c.cert.To = "intermediate A", r, 500*time.Hour
		add("AKI with issuer and serial: "+c.name, of(r), Leaf(c.cert), c.cert)
		add("AKI with issuer and serial: "+c.name+", re-issued root beside", of(twin(*r), r), Leaf(c.cert), c.cert)
	}

	// Path lengths and depth.
	for _, limit := range []int{0, 1, 2, 3} {
		for _, depth := range []int{1, 2, 3} {
			r := root("root A")
			top := &Cert{DN: "intermediate top", By: r, PathLen: limit + 1}
			chain, by := of(top), top
			for n := range depth {
				by = &Cert{DN: fmt.Sprintf("intermediate %d", n), By: by}
				chain = append(of(by), chain...)
			}
			add(fmt.Sprintf("path length %d, %d CAs below", limit, depth), of(r), append(of(Leaf(by)), chain...)...)
		}
	}
	for _, limit := range []int{0, 1} {
		r := root("root A")
		top := &Cert{DN: "intermediate A", By: r, PathLen: limit + 1}
		renewed := &Cert{DN: "intermediate A", By: top, PathLen: limit + 1}
		below := &Cert{DN: "intermediate B", By: renewed}
		add(fmt.Sprintf("path length %d, a self-issued CA below", limit), of(r), Leaf(renewed), renewed, top)
		add(fmt.Sprintf("path length %d, a self-issued and another CA below", limit), of(r), Leaf(below), below, renewed, top)
		leaf := Leaf(below)
		leaf.DN = "intermediate B"
		add(fmt.Sprintf("path length %d, and a self-issued leaf", limit), of(r), leaf, below, renewed, top)
	}
	r = root("root A")
	by, chain := r, of()
	for n := range 9 {
		by = &Cert{DN: fmt.Sprintf("intermediate %d", n), By: by}
		chain = append(of(by), chain...)
	}
	add("nine intermediates", of(r), append(of(Leaf(by)), chain...)...)
	add("nine intermediates, the middle one trusted too", of(r, chain[4]), append(of(Leaf(by)), chain...)...)
	add("nine intermediates, all trusted", append(of(r), chain...), Leaf(by))

	// Names.
	name := func(what string, subject, issuer []byte) {
		r := &Cert{Raw: subject, To: 1000 * time.Hour}
		i := inter("intermediate A", r)
		i.IssuerName = issuer
		add("names: "+what, of(r), Leaf(i), i)
	}
	utf := func(s string) []byte { return Name(asn1.TagUTF8String, s) }
	name("Latin-1 in a T61String", Name(asn1.TagT61String, "r\xf6\xf6t"), utf("rööt"))
	name("IA5String", Name(asn1.TagIA5String, "root A"), utf("root A"))
	name("large letters beyond ASCII", utf("RÖÖT"), utf("rööt"))
	name("tab for a space", utf("root\tA"), utf("root A"))
	name("space inside a word", utf("ro ot"), utf("root"))
	name("no-break space", utf("root\u00a0A"), utf("root A"))
	name("nothing but spaces", utf("   "), utf(""))
	name("empty names", []byte{0x30, 0}, []byte{0x30, 0})
	name("two values in one set, turned round", set(pair(3, "A"), pair(10, "B")), set(pair(10, "b"), pair(3, "a")))
	name("two values in one set, and in two", set(pair(3, "A"), pair(10, "B")), sets(pair(3, "A"), pair(10, "B")))
	name("two values, turned round", sets(pair(3, "A"), pair(10, "B")), sets(pair(10, "B"), pair(3, "A")))
	name("a plus sign in a value", sets(pair(3, "a+2.5.4.10=b")), set(pair(3, "a"), pair(10, "b")))

	name("digits as a number and as text", nameOf(asn1Set(numbers("1234"))), nameOf(asn1Set(pair(5, "1234"))))
	name("digits with other spaces", nameOf(asn1Set(numbers("12  34"))), nameOf(asn1Set(numbers("12 34"))))
	name("digits as a number", nameOf(asn1Set(numbers("1234"))), nameOf(asn1Set(numbers("1234"))))

	// Name constraints.
	const here, uri, dns = "spiffe://cluster.local/ns/a/sa/b", 6, 2
	constrained := func(what string, extension pkix.Extension, change func(*Cert)) {
		r := root("root A")
		i := inter("intermediate A", r)
		i.Extra = []pkix.Extension{extension}
		l := Leaf(i)
		change(l)
		add("constraints: "+what, of(r), l, i)
	}
	as := func(id string) func(*Cert) { return func(c *Cert) { c.SPIFFE = id } }
	permit := func(tag int, v ...string) pkix.Extension {
		var bases []Base
		for _, s := range v {
			bases = append(bases, Base{tag, s})
		}
		return Constraints(bases, nil)
	}
	constrained("one of two permitted", permit(uri, "example.org", "cluster.local"), as(here))
	constrained("none of two permitted", permit(uri, "example.org", "example.com"), as(here))
	constrained("permitted and excluded", Constraints([]Base{{uri, "cluster.local"}}, []Base{{uri, "cluster.local"}}), as(here))
	constrained("permitted in large letters", permit(uri, "CLUSTER.local"), as(here))
	constrained("permitted with a final period", permit(uri, "cluster.local."), as(here))
	constrained("permitted, not a host name", permit(uri, "cluster_local"), as("spiffe://cluster_local/ns/a/sa/b"))
	constrained("permitted, one label", permit(uri, "cluster"), as("spiffe://cluster/ns/a/sa/b"))
	constrained("permitted, an address", permit(uri, "10.0.0.1"), as("spiffe://10.0.0.1/ns/a/sa/b"))
	constrained("permitted, the empty name", permit(uri, ""), as(here))
	constrained("permitted, the whole identity", permit(uri, here), as(here))
	constrained("a port in the identity", permit(uri, "cluster.local"), as("spiffe://cluster.local:80/ns/a/sa/b"))
	constrained("a colon in the path", permit(uri, "cluster.local"), as("spiffe://cluster.local/ns/a:b"))
	constrained("identity without a path", permit(uri, "cluster.local"), as("spiffe://cluster.local"))
	constrained("identity without slashes", permit(uri, "cluster.local"), as("urn:cluster.local"))
	constrained("excluded, identity without slashes", URIConstraint(uri, false, "example.org"), as("urn:cluster.local"))
	constrained("excluded parent with a period", URIConstraint(uri, false, ".local"), as(here))
	constrained("no identity", permit(uri, "example.org"), as(""))
	constrained("no identity, and a common name", permit(uri, "example.org"), func(c *Cert) { c.SPIFFE, c.DN = "", "host.example.org" })
	constrained("no identity, and a common name that is no host", permit(uri, "example.org"), func(c *Cert) { c.SPIFFE, c.DN = "", "some name" })
	constrained("a common name beside the identity", permit(uri, "cluster.local"), func(c *Cert) { c.DN = "host.example.org" })
	for _, d := range []struct{ what, permitted, name string }{
		{"itself", "example.org", "example.org"}, {"below", "example.org", "a.example.org"}, {"beside", "example.org", "aexample.org"},
		{"with a period, itself", ".example.org", "example.org"}, {"with a period, below", ".example.org", "a.example.org"},
		{"star", "example.org", "*.example.org"}, {"star above", "a.example.org", "*.example.org"}, {"everything", "", "a.example.org"},
		{"final period", "example.org", "a.example.org."}, {"large letters", "EXAMPLE.org", "a.example.ORG"},
	} {
		change := func(c *Cert) { c.DNS = d.name }
		constrained("DNS permitted, "+d.what, permit(dns, d.permitted), change)
		constrained("DNS excluded, "+d.what, URIConstraint(dns, false, d.permitted), change)
	}
	constrained("email permitted, none there", permit(1, "example.org"), as(here))
	constrained("address permitted, none there", permit(7, "\x0a\x00\x00\x00\xff\x00\x00\x00"), as(here))
	directory := func(s string) string { return string(utf(s)) }
	constrained("directory permitted, no subject", permit(4, directory("a")), as(here))
	constrained("directory permitted, another subject", permit(4, directory("a")), func(c *Cert) { c.DN = "b" })
	constrained("directory permitted, that subject", permit(4, directory("a")), func(c *Cert) { c.DN = "a" })
	company := sets(pair(10, "Acme"), pair(11, "mesh"), pair(3, "intermediate"))
	for _, d := range []struct {
		what string
		base []byte
	}{
		{"beginning", sets(pair(10, "ACME"), pair(11, " mesh"))}, {"whole", company}, {"everything", []byte{0x30, 0}}, {"end", sets(pair(11, "mesh"), pair(3, "intermediate"))},
		{"more", sets(pair(10, "Acme"), pair(11, "mesh"), pair(3, "intermediate"), pair(3, "x"))}, {"beginning of a value", sets(pair(10, "Ac"))},
	} {
		for _, permitted := range []bool{true, false} {
			r := root("root A")
			r.Extra = []pkix.Extension{URIConstraint(4, permitted, string(d.base))}
			i := inter("intermediate A", r)
			i.Raw = company
			add(fmt.Sprintf("constraints: directory of the intermediate, permitted %t, %s", permitted, d.what), of(r), Leaf(i), i)
		}
	}
	r = root("root A")
	r.Extra = []pkix.Extension{URIConstraint(uri, true, "cluster.local")}
	i = inter("intermediate A", r)
	i.SPIFFE = "spiffe://example.org/ca"
	add("constraints: the intermediate's own identity is outside", of(r), Leaf(i), i)
	renewed := &Cert{DN: "root A", By: r, To: 500 * time.Hour, SPIFFE: "spiffe://example.org/ca"}
	add("constraints: a self-issued intermediate's is", of(r), Leaf(renewed), renewed)
	wide := root("root A")
	one := inter("intermediate A", wide)
	one.Extra = []pkix.Extension{URIConstraint(uri, true, "cluster.local")}
	two := inter("intermediate B", one)
	two.Extra = []pkix.Extension{URIConstraint(uri, true, "example.org")}
	add("constraints: no name is within both", of(wide), Leaf(two), two, one)

	// What TLS itself asks of a leaf's key usage.
	for _, u := range []struct {
		what  string
		usage x509.KeyUsage
	}{{"key agreement only", x509.KeyUsageKeyAgreement}, {"key encipherment only", x509.KeyUsageKeyEncipherment}, {"digital signature only", x509.KeyUsageDigitalSignature}} {
		r := root("root A")
		i := inter("intermediate A", r)
		l := Leaf(i)
		l.KU = u.usage
		add("leaf: "+u.what, of(r), l, i)
	}

	// The identity asked for.
	r = root("root A")
	i = inter("intermediate A", r)
	for _, id := range []string{here, "spiffe://cluster.local/ns/a/sa/c", "spiffe://cluster.local/ns/a/sa/B", "spiffe://cluster.local/ns/a", "spiffe://cluster.local/ns/a/sa/b/"} {
		p := m.Pair("identity asked for: "+id, of(r), Leaf(i), i)
		p.SPIFFE = id
		all = append(all, p)
	}
	escaped := Leaf(i)
	escaped.SPIFFE = "spiffe://cluster.local/ns/a/sa/%62"
	p := m.Pair("identity asked for: written otherwise", of(r), escaped, i)
	p.SPIFFE = here
	return append(all, p)
}

func permutations(a, b, c *Cert) [][]*Cert {
	return [][]*Cert{{a, b, c}, {a, c, b}, {b, a, c}, {b, c, a}, {c, a, b}, {c, b, a}}
}

// pair is one attribute under id-at.
func pair(last int, value string) []byte {
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	return must(asn1.Marshal(attribute{asn1.ObjectIdentifier{2, 5, 4, last}, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(value)}}))
}

// numbers is a serial number in digits, as tax offices have them in names.
func numbers(value string) []byte {
	return must(asn1.Marshal(pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: asn1.RawValue{Tag: asn1.TagNumericString, Bytes: []byte(value)}}))
}

// set is a name of one set; sets of one for each attribute.
func set(attributes ...[]byte) []byte { return nameOf(asn1Set(attributes...)) }

func sets(attributes ...[]byte) []byte {
	var all [][]byte
	for _, a := range attributes {
		all = append(all, asn1Set(a))
	}
	return nameOf(all...)
}

func asn1Set(members ...[]byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: join(members)}))
}

func nameOf(sets ...[]byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: join(sets)}))
}

func join(parts [][]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
