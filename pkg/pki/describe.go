package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Description is what there is to know of a certificate, as text. Names and
// constraints in it were chosen by whoever had it issued: escape them before they
// reach a terminal.
type Description struct {
	Fingerprint Fingerprint `json:"fingerprint"`
	Subject     string      `json:"subject"`
	Issuer      string      `json:"issuer,omitempty"`
	// Serial is hexadecimal.
	Serial    string    `json:"serial,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// DaysLeft counts whole days until NotAfter; below 0 it has expired.
	DaysLeft int `json:"daysLeft"`
	// SubjectKeyID and AuthorityKeyID are hexadecimal; AuthoritySerial says that the
	// latter names the issuer's serial number too.
	SubjectKeyID    string `json:"subjectKeyId,omitempty"`
	AuthorityKeyID  string `json:"authorityKeyId,omitempty"`
	AuthoritySerial string `json:"authoritySerial,omitempty"`
	CA              bool   `json:"ca"`
	SelfSigned      bool   `json:"selfSigned"`
	// PathLen is how many CAs may follow; nil for any number.
	PathLen         *int     `json:"pathLen,omitempty"`
	Key             string   `json:"key,omitempty"`
	Signature       string   `json:"signature,omitempty"`
	KeyUsage        []string `json:"keyUsage,omitempty"`
	ExtKeyUsage     []string `json:"extKeyUsage,omitempty"`
	URIs            []string `json:"uris,omitempty"`
	DNSNames        []string `json:"dnsNames,omitempty"`
	IPs             []string `json:"ips,omitempty"`
	Emails          []string `json:"emails,omitempty"`
	NameConstraints string   `json:"nameConstraints,omitempty"`
	// Error says why nothing but fingerprint and size is known.
	Error string `json:"error,omitempty"`
}

// Describe says what a certificate is; DaysLeft counts from at.
func Describe(c *Certificate, at time.Time) Description {
	d := Description{Fingerprint: c.Fingerprint(), Subject: c.Subject()}
	x := c.X509
	if x == nil {
		if d.Error = "it cannot be parsed"; c.Err != nil {
			d.Error += ": " + c.Err.Error()
		}
		return d
	}
	d.Issuer, d.Serial, d.NotBefore, d.NotAfter = x.Issuer.String(), x.SerialNumber.Text(16), x.NotBefore.UTC(), x.NotAfter.UTC()
	d.DaysLeft = DaysLeft(x.NotAfter, at)
	d.SubjectKeyID, d.AuthorityKeyID = hex.EncodeToString(x.SubjectKeyId), hex.EncodeToString(x.AuthorityKeyId)
	if aki := authorityKeyID(x); aki.serial != nil {
		d.AuthoritySerial = aki.serial.Text(16)
	}
	d.CA, d.SelfSigned = x.BasicConstraintsValid && x.IsCA, selfSigned(c) && issued(c, c)
	if n := pathLen(x); d.CA && n >= 0 {
		d.PathLen = &n
	}
	d.Key, d.Signature = publicKeyAlgorithm(x), signatureAlgorithm(x)
	d.KeyUsage, d.ExtKeyUsage = keyUsages(x.KeyUsage), extKeyUsages(x)
	for _, u := range x.URIs {
		d.URIs = append(d.URIs, u.String())
	}
	for _, ip := range x.IPAddresses {
		d.IPs = append(d.IPs, ip.String())
	}
	d.DNSNames, d.Emails, d.NameConstraints = slices.Clone(x.DNSNames), slices.Clone(x.EmailAddresses), constraints(x)
	return d
}

// Names are the subject's alternative names, of whatever kind.
func (d Description) Names() []string { return slices.Concat(d.URIs, d.DNSNames, d.IPs, d.Emails) }

// DaysLeft counts whole days from at to an end; below 0 it is past. In seconds, for a
// time.Duration ends after 292 years, and certificates that never shall end do so in 9999.
func DaysLeft(end, at time.Time) int {
	const day = 24 * 60 * 60
	seconds := end.Unix() - at.Unix()
	if end.Nanosecond() < at.Nanosecond() {
		seconds--
	}
	days := seconds / day
	if seconds%day < 0 {
		days--
	}
	return int(days)
}

// keyUsages are the bits' names (RFC 5280 section 4.2.1.3).
func keyUsages(bits x509.KeyUsage) []string {
	var all []string
	for i, name := range []string{"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"} {
		if bits&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return all
}

// publicKeyAlgorithm names a key that Go cannot read, as the keys that RSA-PSS is bound to, by
// its identifier.
func publicKeyAlgorithm(x *x509.Certificate) string {
	if x.PublicKey != nil {
		return KeyAlgorithm(x.PublicKey)
	}
	return "unknown, " + algorithmID(x.RawSubjectPublicKeyInfo)
}

func signatureAlgorithm(x *x509.Certificate) string {
	if x.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return x.SignatureAlgorithm.String()
	}
	return "unknown, " + algorithmID(readFields(FromX509(x)).algorithm)
}

// algorithmID is the identifier in an AlgorithmIdentifier, or in the one that a key begins
// with.
func algorithmID(der []byte) string {
	in := cryptobyte.String(der)
	var id asn1.ObjectIdentifier
	for in.PeekASN1Tag(cbasn1.SEQUENCE) {
		var body cryptobyte.String
		if !in.ReadASN1(&body, cbasn1.SEQUENCE) {
			break
		}
		in = body
	}
	in.ReadASN1ObjectIdentifier(&id) // of what cannot be read it is empty
	return id.String()
}

func extKeyUsages(x *x509.Certificate) []string {
	var all []string
	for _, usage := range x.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageServerAuth:
			all = append(all, "serverAuth")
		case x509.ExtKeyUsageClientAuth:
			all = append(all, "clientAuth")
		case x509.ExtKeyUsageAny:
			all = append(all, "any")
		default:
			all = append(all, usage.String())
		}
	}
	for _, id := range x.UnknownExtKeyUsage {
		all = append(all, id.String())
	}
	return all
}
