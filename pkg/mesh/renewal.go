package mesh

import "time"

// What an agent does by default, and how far istiod dates a leaf back (istio 1.30.3
// pilot/cmd/pilot-agent/options/options.go:86, security/pkg/pki/util/generate_cert.go:285).
const (
	graceJitter = 0.01
	dateBack    = 2 * time.Minute
)

// RenewsWithin is the longest that a proxy goes on with a leaf it has just got, as
// long as its requests succeed: an agent renews when the share
// SECRET_GRACE_PERIOD_RATIO of a leaf's life is left, give or take its jitter (istio
// 1.30.3 security/pkg/nodeagent/cache/secretcache.go:858, rotateTime), a ztunnel at
// half of it (ztunnel 1.30.3 src/tls/certificate.rs:375). A leaf that lives longer
// than was asked for counts by its own life. Of a proxy whose certificate does not
// come from istiod (ReachElsewhere) it says nothing.
func (p Proxy) RenewsWithin() time.Duration {
	life := time.Duration(p.SecretTTL)
	if life <= 0 {
		life = defaultSecretTTL
	}
	if p.Loaded != nil {
		for _, i := range p.Loaded.Identities {
			if leaf := i.Leaf(); leaf != nil && leaf.X509 != nil {
				life = max(life, leaf.X509.NotAfter.Sub(leaf.X509.NotBefore)-dateBack)
			}
		}
	}
	left := 0.5 // of a life, when it renews
	if p.Kind != Ztunnel {
		left = min(max(p.GraceRatio-max(p.GraceJitter, graceJitter), 0), 1)
	}
	return life - time.Duration(left*float64(life))
}
