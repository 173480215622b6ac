package mesh

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // G505: it names keys, as Go's x509 does
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// RootRenewal is how a Citadel or an istiod that signs itself certifies its root anew on
// its own, with the key that it has: once less than Percent of the root's life is left, or
// it has ended, at the next of its looks (istio 1.4.10 and 1.30.3
// security/pkg/pki/ca/selfsignedcarootcertrotator.go and security/pkg/util/certutil.go,
// GetWaitTime).
type RootRenewal struct {
	// Every is CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL; without a positive one it
	// never looks (istio 1.4.10 security/pkg/pki/ca/ca.go:253).
	Every Duration `json:"every"`
	// Percent is CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE.
	Percent int `json:"percent"`
	// KeyID is how the new root's subject key identifier is made of its key, "" where that
	// is not known.
	KeyID KeyIDHash `json:"keyID,omitempty"`
}

// KeyIDHash is what makes a subject key identifier of a key. Istio's templates set none,
// and Go fills it in: by SHA-1 from 1.15 on, by SHA-256, cut to 20 bytes, from 1.25 on
// (crypto/x509, x509sha256skid), which is Istio 1.28.8 and 1.29.0.
type KeyIDHash string

const (
	KeyIDBySHA1   KeyIDHash = "sha1"
	KeyIDBySHA256 KeyIDHash = "sha256"
)

const (
	// What holds where a Citadel is told nothing else (istio 1.4.10
	// security/pkg/cmd/constants.go:21-29).
	rootCheckEvery   = time.Hour
	rootGracePercent = 20
)

// RenewsRoot reports whether a release has the rotator of a self-signed root at all: it
// came with 1.2.9, 1.3.5 and 1.4.0. Of one that is not known nothing is said.
func RenewsRoot(release string) bool {
	if _, ok := ParseRelease(release); !ok {
		return false
	}
	return !Before(release, "1.3.5") || !Before(release, "1.2.9") && Before(release, "1.3.0")
}

func (e *environment) rootRenewal() *RootRenewal {
	r := RootRenewal{Every: e.duration("CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL", rootCheckEvery), Percent: rootGracePercent}
	if n, err := strconv.Atoi(e.text("CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE", "")); err == nil {
		r.Percent = n
	}
	return &r
}

// istiodRenewal is the rule of an istiod that signs itself; one whose release is not known
// is taken for a recent one, as everywhere.
func (e *environment) istiodRenewal(release string) *RootRenewal {
	r := e.rootRenewal()
	switch {
	case Before(release, "1.8.0"): // built with Go 1.14 or before
	case Before(release, "1.28.8") || slices.Contains(strings.Split(e.text("GODEBUG", ""), ","), "x509sha256skid=0"):
		r.KeyID = KeyIDBySHA1
	default:
		r.KeyID = KeyIDBySHA256
	}
	return r
}

// OtherKeyID reports whether the root that follows has another subject key identifier
// than this one. Verifiers that compare it with a leaf's authority key identifier, as
// Envoy's does, then take neither root for the issuer of the other's leaves (BoringSSL
// crypto/x509/v3_purp.cc, X509_check_akid). One without any is an issuer for both.
func (r RootRenewal) OtherKeyID(root *pki.Certificate) bool {
	if root.X509 == nil || len(root.X509.SubjectKeyId) == 0 {
		return false
	}
	bits := root.KeyBits()
	switch r.KeyID {
	case KeyIDBySHA1:
		sum := sha1.Sum(bits) //nolint:gosec // G401: see the import
		return !bytes.Equal(sum[:], root.X509.SubjectKeyId)
	case KeyIDBySHA256:
		sum := sha256.Sum256(bits)
		return !bytes.Equal(sum[:sha1.Size], root.X509.SubjectKeyId)
	}
	return false
}

// Off reports whether it was told never to look.
func (r RootRenewal) Off() bool { return r.Every <= 0 }

// From is the moment from which on the next look certifies a root anew.
func (r RootRenewal) From(root *pki.Certificate) time.Time {
	life := root.X509.NotAfter.Sub(root.X509.NotBefore)
	return root.X509.NotAfter.Add(-time.Duration(float64(life) * float64(r.Percent) / 100))
}

// Within bounds how long after From, or after its start, it has looked: the first look
// comes after an interval and a random part of another
// (CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR).
func (r RootRenewal) Within() time.Duration { return 2 * time.Duration(r.Every) }
