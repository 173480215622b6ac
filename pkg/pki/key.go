package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeySpec names a key's algorithm and size.
type KeySpec string

// The keys that can be made here: what every istiod signs with (istio 1.30.3
// security/pkg/pki/ca/ca.go:429).
const (
	RSA2048   KeySpec = "rsa-2048"
	RSA3072   KeySpec = "rsa-3072"
	RSA4096   KeySpec = "rsa-4096"
	ECDSAP256 KeySpec = "ecdsa-p256"
	ECDSAP384 KeySpec = "ecdsa-p384"
)

// KeySpecs are all that istiod takes for a CA and that are fit for one.
func KeySpecs() []KeySpec { return []KeySpec{RSA2048, RSA3072, RSA4096, ECDSAP256, ECDSAP384} }

// ParseKeySpec reads a KeySpec's name.
func ParseKeySpec(s string) (KeySpec, error) {
	if spec := KeySpec(strings.ToLower(s)); slices.Contains(KeySpecs(), spec) {
		return spec, nil
	}
	return "", fmt.Errorf("unknown kind of key %q", s)
}

// Generate makes a key.
func (s KeySpec) Generate() (crypto.Signer, error) {
	switch s {
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, fmt.Errorf("unknown kind of key %q", s)
}

// KeyAlgorithm names the kind of a public key: "rsa-2048", "ecdsa-p256".
func KeyAlgorithm(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ecdsa-" + strings.ToLower(strings.ReplaceAll(key.Curve.Params().Name, "-", ""))
	}
	kind := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", public), "*")) // "ed25519.publickey"
	return strings.TrimSuffix(kind, ".publickey")
}

// ErrEncryptedKey is returned for a key that needs a passphrase: istiod reads
// none of these.
var ErrEncryptedKey = errors.New("the key is encrypted")

// ErrNoKey is returned where there is no private key at all.
var ErrNoKey = errors.New("no private key in it")

// ParseKey reads the one private key of a PEM file: PKCS#1, PKCS#8 or SEC1, which
// istiod reads too (istio 1.30.3 security/pkg/pki/util/crypto.go:129). No error
// repeats what is in the file.
func ParseKey(raw []byte) (crypto.Signer, error) {
	var key crypto.Signer
	blocks := 0
	for rest := raw; ; blocks++ {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = next
		if block.Type == "EC PARAMETERS" { // openssl ecparam -genkey writes them before the key
			continue
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, fmt.Errorf("a %q where a private key should be", block.Type)
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, ErrEncryptedKey
		}
		if key != nil {
			return nil, errors.New("more than one private key")
		}
		var err error
		if key, err = parsePrivate(block.Bytes); err != nil {
			return nil, err
		}
	}
	if begins := bytes.Count(raw, []byte("-----BEGIN")); begins != blocks {
		return nil, fmt.Errorf("%d PEM blocks begin, %d are whole: a block is cut, or two are glued together without a newline", begins, blocks)
	}
	if key == nil {
		return nil, ErrNoKey
	}
	return key, nil
}

func parsePrivate(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is neither PKCS#1, PKCS#8 nor SEC1, is damaged, or is of a kind that Go, and so istiod, does not read: another curve, parameters written out, RSA bound to PSS")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	}
	return nil, errors.New("the private key is neither RSA nor ECDSA: istiod signs with no other")
}

// MarshalKey writes a key as PEM in the form that every istiod reads: PKCS#1 for
// RSA, SEC1 for ECDSA.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, errors.New("the key cannot be written")
		}
		return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
	case nil:
		return nil, ErrNoKey
	}
	return nil, errors.New("the key is neither RSA nor ECDSA")
}

// SameKey reports whether both are the same public key.
func SameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
