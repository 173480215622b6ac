package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// LintFiles looks at the files as bytes, and at what only the files show: line
// ends, cut and foreign blocks, order. What the CA in them is like is for
// LintAuthority. What a file's content cannot be read as is always an error.
func LintFiles(f Files) []Finding {
	l := newLinter()
	l.content(f.Root, true)
	certs := l.content(f.CACert, true)
	l.key(f.CAKey)
	chain := l.content(f.Chain, false)
	l.order(f, certs, chain)
	return l.found
}

// content looks at a file of certificates. It returns them where all is whole.
func (l *linter) content(file File, needed bool) []*Certificate {
	if !l.bytes(file, needed) {
		return nil
	}
	// istio 1.30.3 security/pkg/server/ca/server.go:155 makes strings of a protobuf of
	// them, and such a string must be UTF-8: no answer to a request could be sent.
	if !utf8.Valid(file.Data) {
		l.add("not-text", file.Name, "it has bytes outside its PEM blocks that are no UTF-8")
	}
	var certs []*Certificate
	whole := true
	seen := Set{}
	for rest := file.Data; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = next
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			l.add("key-in-certificates", file.Name, fmt.Sprintf("it holds a %q", block.Type))
			whole = false
		case block.Type != "CERTIFICATE":
			l.foreign(block.Type, file.Name)
			whole = false
		default:
			c := NewCertificate(block.Bytes)
			certs = append(certs, c)
			if c.X509 == nil {
				l.unparsable(c, fmt.Sprintf("%s, certificate %d", file.Name, len(certs)))
				whole = false
			}
			if seen.Has(c) {
				l.add("duplicate", file.Name, "it holds "+c.Subject()+" twice")
			}
			seen[c.Fingerprint()] = c
		}
	}
	if fault := faultOfBlocks(file.Data); fault != nil {
		l.add(fault.id, file.Name, fault.message)
	}
	if !whole {
		return nil
	}
	return certs
}

// LintCertificates looks at one file of certificates as LintFiles does.
func LintCertificates(f File) []Finding {
	l := newLinter()
	l.content(f, true)
	return l.found
}

// LintKey looks at one file of a private key as LintFiles does.
func LintKey(f File) []Finding {
	l := newLinter()
	l.key(f)
	return l.found
}

func (l *linter) key(file File) {
	if !l.bytes(file, true) {
		return
	}
	if file.Exposed() {
		l.add("key-readable", file.Name, fmt.Sprintf("others may read it (mode %04o)", file.Mode.Perm()))
	}
	_, err := ParseKey(file.Data)
	switch {
	case errors.Is(err, ErrEncryptedKey):
		l.add("encrypted-key", file.Name, "the key in it is encrypted")
	case err != nil:
		l.keyForm(file, err)
	}
	if block, _ := pem.Decode(file.Data); block != nil && block.Type == "EC PARAMETERS" {
		l.add("ec-parameters", file.Name, "it begins with EC PARAMETERS")
	}
}

// bytes looks at a file without asking what is in its blocks; false where there is
// nothing more to look at.
func (l *linter) bytes(file File, needed bool) bool {
	if len(bytes.TrimSpace(file.Data)) == 0 {
		if needed || len(file.Data) > 0 {
			l.add("empty-file", file.Name, "there is nothing in it")
		}
		return false
	}
	begins, whole := bytes.Count(file.Data, []byte("-----BEGIN")), 0
	for rest := file.Data; ; whole++ {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = next
	}
	if begins == 0 {
		id, message := formOf(file.Data)
		l.add(id, file.Name, message)
		return false
	}
	if id, message := formOf(file.Data); whole == 0 && id != "not-pem" {
		l.add(id, file.Name, message)
		return false
	}
	if bytes.HasPrefix(file.Data, []byte("\xef\xbb\xbf")) {
		l.add("byte-order-mark", file.Name, "it begins with a byte order mark")
	}
	if bytes.Contains(file.Data, []byte("\r")) {
		l.add("crlf", file.Name, "it has CR line ends")
	}
	if !bytes.HasSuffix(file.Data, []byte("\n")) {
		l.add("no-newline", file.Name, "its last line has no newline")
	}
	if begins != whole {
		l.add("cut-block", file.Name, fmt.Sprintf("%d PEM blocks begin, %d are whole", begins, whole))
		return whole > 0
	}
	if line := outside(file.Data); line > 0 {
		message := fmt.Sprintf("line %d is outside its PEM blocks", line)
		if bytes.Contains(file.Data, []byte("Bag Attributes")) {
			message += ": the attributes that openssl pkcs12 writes"
		}
		l.add("text-outside", file.Name, message)
	}
	return true
}

// outside is the number of the first line with text that no PEM block contains,
// 0 where there is none.
func outside(data []byte) int {
	inside := false
	for i, line := range bytes.Split(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\n")) {
		line = bytes.TrimSpace(line)
		switch {
		case bytes.HasPrefix(line, []byte("-----BEGIN")):
			inside = true
		case bytes.HasPrefix(line, []byte("-----END")):
			inside = false
		case !inside && len(line) > 0:
			return i + 1
		}
	}
	return 0
}

// order looks at how the certificates lie in the files.
func (l *linter) order(f Files, certs, chain []*Certificate) {
	if len(certs) == 0 || chain == nil && len(f.Chain.Data) > 0 {
		return // one of them cannot be read, which is a finding already
	}
	signer := certs[0]
	l.signerFirst(f, certs)
	if len(certs) > 1 {
		l.add("extra-certificates", f.CACert.Name, fmt.Sprintf("it holds %d certificates; %s signs", len(certs), signer.Subject()))
	}
	var presented []*Certificate
	for _, c := range chain {
		if !selfSigned(c) {
			presented = append(presented, c)
		} else if !c.Equal(signer) {
			l.add("root-in-chain", f.Chain.Name, "it holds the self-signed "+c.Subject())
		}
	}
	if selfSigned(signer) {
		return
	}
	if !NewSet(chain...).Has(signer) {
		l.add("signer-not-in-chain", orName(f.Chain.Name, "chain"), "it does not hold "+signer.Subject()+", which signs")
		return
	}
	presented = distinct(presented)
	sorted := presented[0].Equal(signer)
	for i := 1; i < len(presented); i++ {
		sorted = sorted && mayIssue(presented[i], presented[i-1])
	}
	if !sorted {
		l.add("chain-order", f.Chain.Name, "its certificates are not in the order of the chain")
	}
}

func orName(name, other string) string {
	if name == "" {
		return other
	}
	return name
}
