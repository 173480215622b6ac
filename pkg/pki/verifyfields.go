package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// fields is what the judges that are not Go read of a certificate, taken from
// its DER: Go refuses to parse what they accept (negative serial numbers,
// critical key identifiers), and does not tell an empty extension from none.
type fields struct {
	*Certificate
	// broken says why it is not known that BoringSSL parses the certificate at all.
	// Envoy does not load a bundle that holds one it cannot parse.
	broken error
	// odd says why an extension cannot be judged: the certificate loads, and what it
	// is then good for is not known.
	odd error
	// oddPolicy is the same of what it says of policies, which nobody reads of an anchor.
	oddPolicy error

	tbs, signature       []byte
	algorithm, inner     []byte // the AlgorithmIdentifiers outside and inside
	version              int
	serial               *big.Int
	issuer, subject      []byte // DER
	issuerAs, subjectAs  string // canonical
	notBefore, notAfter  time.Time
	spki                 []byte
	extensions           []oid // in their order
	critical             []oid
	ski                  []byte
	hasSKI               bool
	aki                  authority
	hasBC, ca            bool
	pathLen              int // -1 for none
	pathLenWithoutCA     bool
	hasKU                bool
	ku                   x509.KeyUsage
	hasEKU               bool
	eku                  []oid
	names                []generalName
	hasNames             bool
	permitted, forbidden []subtree
	constrained          bool
	explicitPolicy       int // below how many certificates a policy is asked for, -1 for never

	memo *Memo // of which signatures are known; nil where nothing is remembered
}

// authority is an authority key identifier.
type authority struct {
	keyID    []byte
	hasKeyID bool
	issuer   string // canonical name of the first directoryName
	hasName  bool
	serial   *big.Int
}

// generalName is one name of a subjectAltName or of a name constraint, by the tag
// of GeneralName (RFC 5280 4.2.1.6).
type generalName struct {
	tag   int
	value []byte
}

const (
	tagEmail, tagDNS, tagDirectory, tagURI, tagIP, tagRegistered = 1, 2, 4, 6, 7, 8
)

type subtree struct {
	base generalName
	// bounded: it has a minimum or a maximum, which BoringSSL refuses.
	bounded bool
}

// Extensions under id-ce, by their last number.
const (
	extSKI, extKeyUsage, extSAN, extBC, extNC = 14, 15, 17, 19, 30
	extCRLDP, extPolicies, extMappings        = 31, 32, 33
	extAKI, extPolicyConstraints, extEKU      = 35, 36, 37
	extInhibitAny                             = 54
)

func idCE(last int) oid { return oid{2, 5, 29, last} }

// standard is the last number of an extension under id-ce, 0 for others.
func standard(o oid) int {
	if len(o) == 4 && o[0] == 2 && o[1] == 5 && o[2] == 29 {
		return o[3]
	}
	return 0
}

func fieldsOf(certs []*Certificate) []*fields {
	all := make([]*fields, len(certs))
	for i, c := range certs {
		all[i] = readFields(c)
	}
	return all
}

func readFields(c *Certificate) *fields {
	f := &fields{Certificate: c, pathLen: -1, explicitPolicy: -1}
	f.broken = f.read(c.DER)
	return f
}

func (f *fields) has(last int) bool {
	return slices.ContainsFunc(f.extensions, func(o oid) bool { return standard(o) == last })
}

var (
	errOuter     = errors.New("not a certificate's outer structure")
	errInner     = errors.New("not a certificate's inner structure")
	errTime      = errors.New("a date in an unusual form")
	errExtension = errors.New("an extension's outer structure")
)

func (f *fields) read(der []byte) error {
	in := cryptobyte.String(der)
	var outer, tbs, algorithm cryptobyte.String
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1Element(&tbs, cbasn1.SEQUENCE) ||
		!outer.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !outer.ReadASN1BitStringAsBytes(&f.signature) || !outer.Empty() {
		return errOuter
	}
	f.tbs, f.algorithm = tbs, algorithm
	var body, inner, issuer, validity, subject, spki cryptobyte.String
	var hasVersion, hasExtensions bool
	var version, extensions cryptobyte.String
	f.serial = new(big.Int)
	if !tbs.ReadASN1(&body, cbasn1.SEQUENCE) ||
		!body.ReadOptionalASN1(&version, &hasVersion, cbasn1.Tag(0).Constructed().ContextSpecific()) ||
		!body.ReadASN1Integer(f.serial) || !body.ReadASN1Element(&inner, cbasn1.SEQUENCE) || !body.ReadASN1Element(&issuer, cbasn1.SEQUENCE) ||
		!body.ReadASN1(&validity, cbasn1.SEQUENCE) || !body.ReadASN1Element(&subject, cbasn1.SEQUENCE) || !body.ReadASN1Element(&spki, cbasn1.SEQUENCE) ||
		// Unique identifiers would stand here: nobody makes them, and what becomes of
		// them is not known.
		!body.ReadOptionalASN1(&extensions, &hasExtensions, cbasn1.Tag(3).Constructed().ContextSpecific()) || !body.Empty() {
		return errInner
	}
	f.inner, f.issuer, f.subject, f.spki = inner, issuer, subject, spki
	f.version = 1
	if hasVersion {
		var n int
		if !version.ReadASN1Integer(&n) || !version.Empty() || n != 1 && n != 2 {
			return fmt.Errorf("%w: version", errInner)
		}
		f.version = n + 1
	}
	if hasExtensions && f.version != 3 {
		return fmt.Errorf("%w: extensions in version %d", errInner, f.version)
	}
	var err error
	if f.issuerAs, err = canonicalName(issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if f.subjectAs, err = canonicalName(subject); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if !readTime(&validity, &f.notBefore) || !readTime(&validity, &f.notAfter) || !validity.Empty() {
		return errTime
	}
	if !hasExtensions {
		return nil
	}
	var list cryptobyte.String
	if !extensions.ReadASN1(&list, cbasn1.SEQUENCE) || !extensions.Empty() {
		return errExtension
	}
	for !list.Empty() {
		var one, value cryptobyte.String
		var id asn1.ObjectIdentifier
		critical := false
		if !list.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&id) ||
			one.PeekASN1Tag(cbasn1.BOOLEAN) && !one.ReadASN1Boolean(&critical) || !one.ReadASN1(&value, cbasn1.OCTET_STRING) || !one.Empty() {
			return errExtension
		}
		if standard(id) > 0 && slices.ContainsFunc(f.extensions, id.Equal) { // others are not looked at
			f.odd = fmt.Errorf("extension %s twice", id)
		}
		f.extensions = append(f.extensions, id)
		if critical {
			f.critical = append(f.critical, id)
		}
		if !f.readExtension(standard(id), value) {
			unusual := fmt.Errorf("extension %s in an unusual form", id)
			switch standard(id) {
			case extPolicies, extMappings, extPolicyConstraints, extInhibitAny:
				f.oddPolicy = unusual
			default:
				f.odd = unusual
			}
		}
	}
	return nil
}

// readTime reads the two forms that RFC 5280 4.1.2.5 allows, and no other.
func readTime(in *cryptobyte.String, out *time.Time) bool {
	switch {
	case in.PeekASN1Tag(cbasn1.UTCTime) && len(*in) > 14 && (*in)[1] == 13 && (*in)[14] == 'Z':
		return in.ReadASN1UTCTime(out)
	case in.PeekASN1Tag(cbasn1.GeneralizedTime) && len(*in) > 16 && (*in)[1] == 15 && (*in)[16] == 'Z':
		return in.ReadASN1GeneralizedTime(out)
	}
	return false
}

// readExtension reads the contents of one that matters; false is for what
// BoringSSL may not take, or take otherwise.
func (f *fields) readExtension(which int, value cryptobyte.String) bool {
	var in cryptobyte.String
	switch which {
	case extSKI:
		f.hasSKI = true
		return value.ReadASN1Bytes(&f.ski, cbasn1.OCTET_STRING) && value.Empty()
	case extKeyUsage:
		f.hasKU = true
		var bits asn1.BitString
		if !value.ReadASN1BitString(&bits) || !value.Empty() {
			return false
		}
		for i := range 9 {
			if bits.At(i) != 0 {
				f.ku |= 1 << i
			}
		}
		return true
	case extEKU:
		f.hasEKU = true
		if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() {
			return false
		}
		for !in.Empty() {
			var id asn1.ObjectIdentifier
			if !in.ReadASN1ObjectIdentifier(&id) {
				return false
			}
			f.eku = append(f.eku, id)
		}
		return true
	case extBC:
		return f.readBasicConstraints(value)
	case extAKI:
		return f.readAuthority(value)
	case extSAN:
		f.hasNames = true
		var ok bool
		f.names, ok = readGeneralNames(value)
		return ok
	case extNC:
		return f.readConstraints(value)
	case extPolicies:
		return readPolicies(value)
	case extPolicyConstraints:
		return f.readPolicyConstraints(value)
	case extMappings:
		return readMappings(value)
	case extInhibitAny:
		n := 0
		return value.ReadASN1Integer(&n) && value.Empty() && n >= 0
	case extCRLDP:
		return readDistributionPoints(value)
	}
	return true
}

func (f *fields) readBasicConstraints(value cryptobyte.String) bool {
	f.hasBC = true
	var in cryptobyte.String
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() || in.PeekASN1Tag(cbasn1.BOOLEAN) && !in.ReadASN1Boolean(&f.ca) {
		return false
	}
	if in.Empty() {
		return true
	}
	n := 0
	if !in.ReadASN1Integer(&n) || !in.Empty() || n < 0 || n > 1<<16 {
		return false
	}
	f.pathLen, f.pathLenWithoutCA = n, !f.ca
	return true
}

func (f *fields) readAuthority(value cryptobyte.String) bool {
	var in, names, serial cryptobyte.String
	var hasNames, hasSerial bool
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() ||
		!in.ReadOptionalASN1((*cryptobyte.String)(&f.aki.keyID), &f.aki.hasKeyID, cbasn1.Tag(0).ContextSpecific()) ||
		!in.ReadOptionalASN1(&names, &hasNames, cbasn1.Tag(1).Constructed().ContextSpecific()) ||
		!in.ReadOptionalASN1(&serial, &hasSerial, cbasn1.Tag(2).ContextSpecific()) || !in.Empty() {
		return false
	}
	if hasNames {
		all, ok := generalNames(names)
		if !ok {
			return false
		}
		// The first directoryName, as BoringSSL takes it.
		if i := slices.IndexFunc(all, func(n generalName) bool { return n.tag == tagDirectory }); i >= 0 {
			name, err := canonicalName(all[i].value)
			if err != nil {
				return false
			}
			f.aki.issuer, f.aki.hasName = name, true
		}
	}
	if hasSerial {
		if len(serial) == 0 || len(serial) > 1 && (serial[0] == 0 && serial[1] < 0x80 || serial[0] == 0xff && serial[1] >= 0x80) {
			return false
		}
		f.aki.serial = signed(serial)
	}
	return true
}

func readGeneralNames(value cryptobyte.String) ([]generalName, bool) {
	var in cryptobyte.String
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() {
		return nil, false
	}
	return generalNames(in)
}

func generalNames(in cryptobyte.String) ([]generalName, bool) {
	var all []generalName
	for !in.Empty() {
		n, ok := readGeneralName(&in)
		if !ok {
			return nil, false
		}
		all = append(all, n)
	}
	return all, true
}

func readGeneralName(in *cryptobyte.String) (generalName, bool) {
	var value cryptobyte.String
	var tag cbasn1.Tag
	if !in.ReadAnyASN1(&value, &tag) || tag&0xc0 != 0x80 {
		return generalName{}, false
	}
	n := generalName{tag: int(tag & 0x1f), value: value}
	constructed := tag&0x20 != 0
	switch n.tag {
	case tagEmail, tagDNS, tagURI:
		return n, !constructed && !slices.ContainsFunc(n.value, func(b byte) bool { return b >= 0x80 || b == 0 })
	case tagIP:
		return n, !constructed
	case tagRegistered: // an identifier's contents: one that is none makes the certificate invalid
		return n, !constructed && wholeID(n.value)
	case tagDirectory:
		var name cryptobyte.String
		if !constructed || !value.ReadASN1Element(&name, cbasn1.SEQUENCE) || !value.Empty() {
			return n, false
		}
		n.value = name
		_, err := canonicalName(name)
		return n, err == nil
	case 0: // otherName: without one value, and no more, it makes it invalid too
		var id asn1.ObjectIdentifier
		var any, one cryptobyte.String
		var tag cbasn1.Tag
		return n, constructed && value.ReadASN1ObjectIdentifier(&id) && value.ReadASN1(&any, cbasn1.Tag(0).Constructed().ContextSpecific()) && value.Empty() &&
			any.ReadAnyASN1(&one, &tag) && any.Empty()
	}
	return n, false
}

// wholeID reads the contents of an OBJECT IDENTIFIER, whose tag another one replaces.
func wholeID(contents []byte) bool {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(contents) })
	in := cryptobyte.String(b.BytesOrPanic())
	var id asn1.ObjectIdentifier
	return in.ReadASN1ObjectIdentifier(&id) && in.Empty()
}

func (f *fields) readConstraints(value cryptobyte.String) bool {
	f.constrained = true
	var in cryptobyte.String
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() {
		return false
	}
	for i, out := range []*[]subtree{&f.permitted, &f.forbidden} {
		var list cryptobyte.String
		var present bool
		if !in.ReadOptionalASN1(&list, &present, cbasn1.Tag(uint8(i)).Constructed().ContextSpecific()) {
			return false
		}
		for !list.Empty() {
			var one cryptobyte.String
			if !list.ReadASN1(&one, cbasn1.SEQUENCE) {
				return false
			}
			// An IP address here has its mask behind it, and any length loads.
			base, ok := readGeneralName(&one)
			if !ok {
				return false
			}
			*out = append(*out, subtree{base: base, bounded: !one.Empty()})
		}
	}
	return in.Empty()
}

// readPolicies: BoringSSL refuses a chain where a policy stands twice, and where the
// address of its statement is of another type (boringssl crypto/x509/policy.cc,
// v3_cpols.cc).
func readPolicies(value cryptobyte.String) bool {
	var in cryptobyte.String
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() || in.Empty() {
		return false
	}
	var seen []asn1.ObjectIdentifier
	for !in.Empty() {
		var one cryptobyte.String
		var id asn1.ObjectIdentifier
		if !in.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&id) || slices.ContainsFunc(seen, id.Equal) || !readQualifiers(one) {
			return false
		}
		seen = append(seen, id)
	}
	return true
}

func readQualifiers(in cryptobyte.String) bool {
	if in.Empty() {
		return true
	}
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() {
		return false
	}
	for !list.Empty() {
		var one, value cryptobyte.String
		var id asn1.ObjectIdentifier
		var tag cbasn1.Tag
		if !list.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&id) || !one.ReadAnyASN1(&value, &tag) || !one.Empty() ||
			id.Equal(oid{1, 3, 6, 1, 5, 5, 7, 2, 1}) && tag != cbasn1.IA5String { // id-qt-cps, RFC 5280 4.2.1.4
			return false
		}
	}
	return true
}

// readPolicyConstraints: one of the two at least (RFC 5280 4.2.1.11).
func (f *fields) readPolicyConstraints(value cryptobyte.String) bool {
	var in cryptobyte.String
	explicit, mapping := -1, -1
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() || in.Empty() ||
		!readSkip(&in, cbasn1.Tag(0).ContextSpecific(), &explicit) || !readSkip(&in, cbasn1.Tag(1).ContextSpecific(), &mapping) || !in.Empty() {
		return false
	}
	f.explicitPolicy = explicit
	return true
}

// readSkip reads a number of certificates, where it is there.
func readSkip(in *cryptobyte.String, tag cbasn1.Tag, out *int) bool {
	if !in.PeekASN1Tag(tag) {
		return true
	}
	var n int64
	if !in.ReadASN1Int64WithTag(&n, tag) || n < 0 || n > 1<<16 {
		return false
	}
	*out = int(n)
	return true
}

// readMappings: one at least, and none of any policy (RFC 5280 6.1.4 a).
func readMappings(value cryptobyte.String) bool {
	var in cryptobyte.String
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() || in.Empty() {
		return false
	}
	anyPolicy := oid{2, 5, 29, 32, 0}
	for !in.Empty() {
		var one cryptobyte.String
		var from, to asn1.ObjectIdentifier
		if !in.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&from) || !one.ReadASN1ObjectIdentifier(&to) || !one.Empty() ||
			from.Equal(anyPolicy) || to.Equal(anyPolicy) {
			return false
		}
	}
	return true
}

// readDistributionPoints: what is no list of points makes the whole certificate invalid
// (boringssl crypto/x509/v3_purp.cc, setup_crldp). The names in it are not looked at.
func readDistributionPoints(value cryptobyte.String) bool {
	var in cryptobyte.String
	if !value.ReadASN1(&in, cbasn1.SEQUENCE) || !value.Empty() {
		return false
	}
	for !in.Empty() {
		var point, name, full cryptobyte.String
		var named bool
		if !in.ReadASN1(&point, cbasn1.SEQUENCE) ||
			!point.ReadOptionalASN1(&name, &named, cbasn1.Tag(0).Constructed().ContextSpecific()) ||
			named && (!name.ReadASN1(&full, cbasn1.Tag(0).Constructed().ContextSpecific()) || !name.Empty()) ||
			!point.SkipOptionalASN1(cbasn1.Tag(1).ContextSpecific()) || !point.SkipOptionalASN1(cbasn1.Tag(2).Constructed().ContextSpecific()) || !point.Empty() {
			return false
		}
	}
	return true
}

// key is the certificate's public key, nil where it cannot be read here.
func (f *fields) key() any {
	if f.X509 != nil {
		return f.X509.PublicKey
	}
	key, err := x509.ParsePKIXPublicKey(f.spki)
	if err != nil {
		return nil
	}
	return key
}

// uris are the leaf's URI names as they were written.
func (f *fields) uris() []string {
	var all []string
	for _, n := range f.names {
		if n.tag == tagURI {
			all = append(all, string(n.value))
		}
	}
	return all
}
