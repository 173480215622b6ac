package pairs

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"time"
)

// Table is every odd pair by name. Expectations stand in the unit test of the
// verifier, which real Envoys have confirmed.
func (m *Maker) Table() []Pair {
	var all []Pair
	add := func(name string, bundle []*Cert, chain ...*Cert) { all = append(all, m.Pair(name, bundle, chain...)) }
	of := func(c ...*Cert) []*Cert { return c }
	root := func(dn string) *Cert { return &Cert{DN: dn, To: 1000 * time.Hour} }
	inter := func(dn string, by *Cert) *Cert { return &Cert{DN: dn, By: by, PathLen: 1, To: 500 * time.Hour} }
	usual := func() (r, i, l *Cert) {
		r = root("root A")
		i = inter("intermediate A", r)
		return r, i, Leaf(i)
	}
	const expired, future = -time.Minute, time.Hour
	gone := func(c Cert) *Cert { c.From, c.To, c.Serial, c.made = -48*time.Hour, expired, 0, nil; return &c }
	soon := func(c Cert) *Cert { c.From, c.To, c.Serial, c.made = future, 100*time.Hour, 0, nil; return &c }
	twin := func(c Cert) *Cert { c.Serial, c.made = 0, nil; return &c }

	r, i, l := usual()
	add("usual", of(r), l, i)
	add("usual, root sent too", of(r), l, i, r)
	add("intermediate not sent", of(r), l)
	add("another root trusted", of(root("root B")), l, i)
	add("two roots, right one first", of(r, root("root B")), l, i)
	add("two roots, right one last", of(root("root B"), r), l, i)
	add("root twice in the bundle", of(r, r), l, i)
	add("leaf sent twice", of(r), l, l, i)
	add("intermediate sent twice", of(r), l, i, i)
	add("unrelated certificate sent between", of(r), l, root("root C"), i)
	add("leaf under the root itself", of(r), Leaf(r))
	add("intermediate trusted, not its root", of(i), l)
	add("intermediate trusted, and sent", of(i), l, i)
	add("intermediate and root trusted", of(i, r), l, i)
	add("the leaf itself trusted", of(l), l)
	add("the leaf itself trusted, intermediate sent", of(l), l, i)

	r, i, l = usual()
	add("root expired", of(gone(*r)), l, i)
	r, i, l = usual()
	m.Make(r)
	add("expired twin of the root first", of(gone(*r), r), l, i)
	add("expired twin of the root last", of(r, gone(*r)), l, i)
	add("root not yet valid", of(soon(*r)), l, i)
	add("twin of the root not yet valid", of(r, soon(*r)), l, i)
	add("valid twin of the root", of(r, twin(*r)), l, i)
	add("three twins, one expired", of(r, gone(*r), twin(*r)), l, i)
	m.Make(i)
	add("intermediate expired", of(r), l, gone(*i))
	add("expired twin of the intermediate sent first", of(r), l, gone(*i), i)
	add("expired twin of the intermediate sent last", of(r), l, i, gone(*i))
	add("expired intermediate trusted beside its root", of(r, gone(*i)), l, i)
	add("expired root above a trusted intermediate", of(gone(*r), i), l, i)
	add("leaf expired", of(r), gone(*l), i)
	add("leaf not yet valid", of(r), soon(*l), i)

	// One name, two keys.
	for _, ids := range []bool{true, false} {
		note := " with key ids"
		if !ids {
			note = " without key ids"
		}
		one := &Cert{DN: "root same", To: 1000 * time.Hour, NoSKI: !ids}
		two := &Cert{DN: "root same", To: 1000 * time.Hour, NoSKI: !ids}
		under := func(r *Cert) *Cert { return &Cert{DN: "intermediate same", By: r, PathLen: 1, NoSKI: !ids} }
		i1, i2 := under(one), under(two)
		l1, l2 := Leaf(i1), Leaf(i2)
		add("same names, right root first"+note, of(one, two), l1, i1)
		add("same names, right root last"+note, of(two, one), l1, i1)
		add("same names, the other leaf"+note, of(one, two), l2, i2)
		add("same names, wrong intermediate sent first"+note, of(one, two), l1, i2, i1)
		add("same names, wrong root alone"+note, of(two), l1, i1)
	}
	a := &Cert{DN: "root same", To: 1000 * time.Hour}
	b := &Cert{DN: "root same", To: 1000 * time.Hour, NoSKI: true}
	ia := inter("intermediate A", a)
	add("same names, the other root without a key id", of(a, b), Leaf(ia), ia)
	ib := &Cert{DN: "intermediate B", By: b, NoAKI: true}
	add("same names, intermediate without AKI", of(a, b), Leaf(ib), ib)
	c := &Cert{DN: "root same", To: 1000 * time.Hour, SKI: []byte("one key id for all..")}
	d := &Cert{DN: "root same", To: 1000 * time.Hour, SKI: []byte("one key id for all..")}
	ic := inter("intermediate C", c)
	add("one key id for two keys, right one first", of(c, d), Leaf(ic), ic)
	add("one key id for two keys, right one last", of(d, c), Leaf(ic), ic)

	// One key, re-issued.
	r, i, l = usual()
	m.Make(r)
	again := twin(*r)
	again.SKI = []byte("another key id......")
	add("re-issued root with another SKI", of(again), l, i)
	add("re-issued root with another SKI beside the old", of(r, again), l, i)
	bare := twin(*r)
	bare.NoSKI = true
	add("re-issued root without SKI", of(bare), l, i)
	same := twin(*r)
	add("re-issued root, same SKI, other serial", of(same), l, i)
	is := &Cert{DN: "intermediate S", By: r, AKISerial: r.Serial}
	ls := Leaf(is)
	add("AKI with issuer and serial", of(r), ls, is)
	add("AKI with issuer and serial, root re-issued", of(same), ls, is)
	add("AKI with issuer and serial, both roots", of(same, r), ls, is)
	wrong := &Cert{DN: "intermediate W", By: r, AKI: []byte("nobody's key id.....")}
	add("AKI of nobody", of(r), Leaf(wrong), wrong)
	leafWrong := Leaf(i)
	leafWrong.AKI = []byte("nobody's key id.....")
	add("leaf's AKI of nobody", of(r), leafWrong, i)
	noAKI := Leaf(i)
	noAKI.NoAKI = true
	add("leaf without AKI", of(r), noAKI, i)

	// Cross-signing: old vouches for new.
	old := root("root old")
	new := root("root new")
	cross := &Cert{DN: "root new", Key: m.keyOf(new), By: old, To: 900 * time.Hour}
	in := inter("intermediate new", new)
	ln := Leaf(in)
	add("cross: old trusted", of(old), ln, in, cross)
	add("cross: new trusted", of(new), ln, in, cross)
	add("cross: both trusted", of(old, new), ln, in, cross)
	add("cross: both trusted, other order", of(new, old), ln, in, cross)
	add("cross: cross sent first", of(old), ln, cross, in)
	add("cross: new root sent before it", of(old), ln, in, new, cross)
	add("cross: new root sent after it", of(old), ln, in, cross, new)
	add("cross: new root sent, old trusted, no cross", of(old), ln, in, new)
	add("cross: not sent, old trusted", of(old), ln, in)
	add("cross: cross itself trusted", of(cross), ln, in)
	add("cross: cross and old trusted", of(cross, old), ln, in)
	add("cross: cross and new trusted", of(cross, new), ln, in)
	add("cross: cross, old and new trusted", of(cross, old, new), ln, in, cross)
	add("cross: old leaf, new trusted", of(new), func() *Cert { o := inter("intermediate old", old); m.Make(o); return Leaf(o) }(), func() *Cert { return inter("intermediate old", old) }())
	oldGone := gone(*old)
	m.Make(old)
	add("cross: old expired, both trusted", of(oldGone, new), ln, in, cross)
	add("cross: old expired and trusted alone", of(oldGone), ln, in, cross)
	crossGone := gone(*cross)
	add("cross: cross expired, new trusted", of(new), ln, in, crossGone)
	add("cross: cross expired, old trusted", of(old), ln, in, crossGone)
	add("cross: expired cross before a valid one", of(old), ln, in, crossGone, cross)
	otherSKI := &Cert{DN: "root new", Key: m.keyOf(new), By: old, SKI: []byte("not the root's own..")}
	add("cross: with another SKI, old trusted", of(old), ln, in, otherSKI)
	add("cross: with another SKI, new trusted", of(new), ln, in, otherSKI)
	noSKI := &Cert{DN: "root new", Key: m.keyOf(new), By: old, NoSKI: true}
	add("cross: without SKI, old trusted", of(old), ln, in, noSKI)
	short := &Cert{DN: "root short", PathLen: 2, To: 1000 * time.Hour}
	crossShort := &Cert{DN: "root new", Key: m.keyOf(new), By: short}
	add("cross: old root allows one CA below it", of(short), ln, in, crossShort)
	tight := inter("intermediate tight", old)
	crossTight := &Cert{DN: "root new", Key: m.keyOf(new), By: tight}
	add("cross: by an intermediate that allows no CA", of(old), ln, in, crossTight, tight)
	loose := &Cert{DN: "intermediate loose", By: old}
	crossLoose := &Cert{DN: "root new", Key: m.keyOf(new), By: loose}
	add("cross: by an intermediate that allows CAs", of(old), ln, in, crossLoose, loose)
	sameName := &Cert{DN: "root old", Key: m.Key(), To: 1000 * time.Hour}
	crossSame := &Cert{DN: "root old", Key: sameName.Key, By: old}
	inSame := inter("intermediate same name", sameName)
	add("cross: same name for both roots, old trusted", of(old), Leaf(inSame), inSame, crossSame)
	add("cross: same name for both roots, both trusted", of(old, sameName), Leaf(inSame), inSame, crossSame)

	// What an intermediate must be.
	odd := func(name string, change func(*Cert)) {
		r := root("root A")
		i := &Cert{DN: "intermediate A", By: r, To: 500 * time.Hour}
		change(i)
		add("intermediate: "+name, of(r), Leaf(i), i)
		add("intermediate trusted: "+name, of(i), Leaf(i), i)
	}
	odd("CA:FALSE", func(c *Cert) { c.BC = BCFalse })
	odd("no basicConstraints", func(c *Cert) { c.BC = BCNone })
	odd("no key usage", func(c *Cert) { c.NoKU = true })
	odd("key usage without certSign", func(c *Cert) { c.KU = x509.KeyUsageDigitalSignature })
	odd("usage server only", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{serverAuth()} })
	odd("usage client only", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{clientAuth()} })
	odd("usage both", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{clientAuth(), serverAuth()} })
	odd("usage any", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{anyUsage()} })
	odd("unknown critical extension", func(c *Cert) {
		c.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})
	odd("unknown extension", func(c *Cert) {
		c.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: []byte{5, 0}}}
	})
	odd("version 1", func(c *Cert) { c.V1 = true })
	odd("signed with SHA-1", func(c *Cert) { c.SHA1 = true })
	odd("negative serial", func(c *Cert) { c.Serial = -5 })
	odd("permits the trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, "cluster.local")} })
	odd("permits another trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, "example.org")} })
	odd("permits hosts below the trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, ".cluster.local")} })
	odd("permits hosts below its parent", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, ".local")} })
	odd("permits the parent of the trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, "local")} })
	odd("excludes the trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, false, "cluster.local")} })
	odd("excludes another trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, false, "example.org")} })
	odd("permits a DNS name", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(2, true, "example.org")} })

	// What a root must be.
	oddRoot := func(name string, change func(*Cert)) {
		r := &Cert{DN: "root A", To: 1000 * time.Hour}
		change(r)
		i := inter("intermediate A", r)
		add("root: "+name, of(r), Leaf(i), i)
	}
	oddRoot("CA:FALSE", func(c *Cert) { c.BC = BCFalse })
	oddRoot("no basicConstraints", func(c *Cert) { c.BC = BCNone })
	oddRoot("no key usage", func(c *Cert) { c.NoKU = true })
	oddRoot("key usage without certSign", func(c *Cert) { c.KU = x509.KeyUsageDigitalSignature })
	oddRoot("usage server only", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{serverAuth()} })
	oddRoot("unknown critical extension", func(c *Cert) {
		c.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})
	oddRoot("version 1", func(c *Cert) { c.V1 = true })
	oddRoot("signed with SHA-1", func(c *Cert) { c.SHA1 = true })
	oddRoot("path length 0", func(c *Cert) { c.PathLen = 1 })
	oddRoot("path length 1", func(c *Cert) { c.PathLen = 2 })
	oddRoot("permits another trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, "example.org")} })
	oddRoot("permits the trust domain", func(c *Cert) { c.Extra = []pkix.Extension{URIConstraint(6, true, "cluster.local")} })

	// Path lengths.
	r = root("root A")
	i1 := &Cert{DN: "intermediate 1", By: r, PathLen: 1}
	i2 := &Cert{DN: "intermediate 2", By: i1}
	add("path length 0 with a CA below", of(r), Leaf(i2), i2, i1)
	j1 := &Cert{DN: "intermediate 1", By: r, PathLen: 2}
	j2 := &Cert{DN: "intermediate 2", By: j1, PathLen: 1}
	add("path length 1 with a CA below", of(r), Leaf(j2), j2, j1)
	k1 := &Cert{DN: "intermediate k", By: r, PathLen: 1}
	k2 := &Cert{DN: "intermediate k", By: k1, PathLen: 1}
	add("path length 0 with a self-issued CA below", of(r), Leaf(k2), k2, k1)
	add("sent out of order", of(r), Leaf(j2), j1, j2)

	// Names: equal though written differently.
	names := func(name string, subject, issuer []byte) {
		r := &Cert{Raw: subject, To: 1000 * time.Hour}
		i := inter("intermediate A", r)
		i.IssuerName = issuer
		add("names: "+name, of(r), Leaf(i), i)
	}
	names("other string type", Name(asn1.TagPrintableString, "root A"), Name(asn1.TagUTF8String, "root A"))
	names("other letter case", Name(asn1.TagUTF8String, "Root A"), Name(asn1.TagUTF8String, "root a"))
	names("more spaces", Name(asn1.TagUTF8String, "root   A"), Name(asn1.TagUTF8String, " root A "))
	names("two-byte letters", Name(asn1.TagBMPString, "root A"), Name(asn1.TagUTF8String, "root A"))
	names("really another name", Name(asn1.TagUTF8String, "root A"), Name(asn1.TagUTF8String, "root B"))

	// What a leaf must be.
	oddLeaf := func(name string, change func(*Cert)) {
		r := root("root A")
		i := inter("intermediate A", r)
		l := Leaf(i)
		change(l)
		add("leaf: "+name, of(r), l, i)
	}
	oddLeaf("server only", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{serverAuth()} })
	oddLeaf("client only", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{clientAuth()} })
	oddLeaf("no usage", func(c *Cert) { c.EKU = nil })
	oddLeaf("usage any", func(c *Cert) { c.EKU = []asn1.ObjectIdentifier{anyUsage()} })
	oddLeaf("key usage certSign only", func(c *Cert) { c.KU = x509.KeyUsageCertSign })
	oddLeaf("no key usage", func(c *Cert) { c.NoKU = true })
	oddLeaf("CA:TRUE", func(c *Cert) { c.BC = BCTrue })
	oddLeaf("signed with SHA-1", func(c *Cert) { c.SHA1 = true })
	oddLeaf("version 1", func(c *Cert) { c.V1 = true })
	oddLeaf("unknown critical extension", func(c *Cert) {
		c.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})
	selfLeaf := Leaf(nil)
	selfLeaf.DN = "self"
	add("leaf: self-signed, trusted", of(selfLeaf), selfLeaf)
	add("leaf: self-signed, not trusted", of(root("root A")), selfLeaf)
	forged := Leaf(i)
	m.Make(forged)
	liar := &Cert{DN: "intermediate A", By: root("root X"), SKI: i.ski()}
	add("leaf: issuer's name and key id, another key", of(r), forged, liar)
	return slices.Concat(all, m.oddities(), m.forms(), m.lists())
}

func (m *Maker) keyOf(c *Cert) (key crypto.Signer) {
	m.Make(c)
	return c.Key
}
