package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// blockFault is why a block that pem.Decode reads is not read by everybody; its ID is
// that of a lint rule.
type blockFault struct{ id, message string }

// ReadsAlike says why Go and Envoy do not both read the bundle's bytes as its
// certificates, nil where they do.
func (b Bundle) ReadsAlike() error {
	if fault := faultOfBlocks(b.Raw); fault != nil {
		return errors.New(fault.message)
	}
	return nil
}

// faultOfBlocks finds the first CERTIFICATE block that Go or Envoy drops. Go's
// AppendCertsFromPEM passes over a block with headers (crypto/x509/cert_pool.go).
// To Envoy a block that it cannot read is the end of the whole file
// (PEM_X509_INFO_read_bio; envoy source/common/tls/cert_validator/default_validator.cc).
func faultOfBlocks(raw []byte) *blockFault {
	n := 0
	for rest := raw; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			return nil
		}
		text := rest[:len(rest)-len(next)]
		rest = next
		if block.Type != "CERTIFICATE" {
			continue
		}
		n++
		switch {
		case len(block.Headers) > 0:
			return &blockFault{"pem-headers", fmt.Sprintf("the block of its certificate %d has headers", n)}
		case !blanksHarmless(text[bytes.LastIndex(text, []byte("-----BEGIN")):]):
			return &blockFault{"blank-line", fmt.Sprintf("the block of its certificate %d has a blank line in it", n)}
		}
	}
}

// blanksHarmless reads the lines of a block as BoringSSL does (boringssl
// crypto/pem/pem_lib.cc, PEM_read_bio): all up to the first blank line is headers,
// and only behind one the lines must have 64 characters each, but for the last.
func blanksHarmless(block []byte) bool {
	lines := linesOf(bytes.TrimSpace(block))
	lines = lines[1 : len(lines)-1] // BEGIN and END
	blank := slices.IndexFunc(lines, func(line []byte) bool { return len(line) == 0 })
	if blank < 0 {
		return true
	}
	behind := lines[blank+1:]
	return blank == 0 && !slices.ContainsFunc(behind[:max(len(behind)-1, 0)], func(line []byte) bool { return len(line) != 64 }) &&
		len(behind) > 0 && len(behind[len(behind)-1]) <= 64
}

// linesOf are the lines as BIO_gets gives them: 253 bytes at most, so that a longer
// line of a length that 253 divides is followed by a blank one. Space at a line's end
// does not count.
func linesOf(text []byte) [][]byte {
	const most = 253
	var lines [][]byte
	for len(text) > 0 {
		end := min(len(text), most)
		if i := bytes.IndexByte(text[:end], '\n'); i >= 0 {
			end = i + 1
		}
		lines = append(lines, bytes.TrimRightFunc(text[:end], func(r rune) bool { return r <= ' ' }))
		text = text[end:]
	}
	return lines
}
