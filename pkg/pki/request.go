package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
)

// What a request asks for, as extensions (RFC 5280 sections 4.2.1.3 and 4.2.1.9).
// Whoever signs it decides.
func requestedExtensions(pathLen int) ([]pkix.Extension, error) {
	var constraints any = struct{ IsCA bool }{true}
	if pathLen >= 0 {
		constraints = struct {
			IsCA    bool
			PathLen int
		}{true, pathLen}
	}
	basic, err := asn1.Marshal(constraints)
	if err != nil {
		return nil, err
	}
	// keyCertSign and cRLSign are bits 5 and 6.
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0x06}, BitLength: 7})
	if err != nil {
		return nil, err
	}
	return []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: basic},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
	}, nil
}

// NewRequest makes a key and a PEM certificate request for an intermediate, to be
// signed where the root's key is. Dates of r are not in a request.
func NewRequest(r Request) (key crypto.Signer, request []byte, err error) {
	key, template, err := r.template(IntermediateLifetime)
	if err != nil {
		return nil, nil, err
	}
	extensions, err := requestedExtensions(r.PathLen)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the request's extensions: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: template.Subject, DNSNames: r.DNSNames, ExtraExtensions: extensions}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the request: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}
