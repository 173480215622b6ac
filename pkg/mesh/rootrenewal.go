package mesh

import (
	"strconv"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// RootRenewal is how a Citadel that signs itself certifies its root anew on its own,
// with the key that it has: once less than Percent of the root's life is left, or it
// has ended, at the next of its looks (istio 1.4.10
// security/pkg/pki/ca/selfsignedcarootcertrotator.go and security/pkg/util/certutil.go,
// GetWaitTime).
type RootRenewal struct {
	// Every is CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL; without a positive one it
	// never looks (istio 1.4.10 security/pkg/pki/ca/ca.go:253).
	Every Duration `json:"every"`
	// Percent is CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE.
	Percent int `json:"percent"`
}

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
