package rotation

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// ErrNoRootKey is returned where the key of the mesh's root is not at hand.
var ErrNoRootKey = errors.New("the root's own key is not at hand")

// Renewed is the CA that a same-key renewal ends in: the mesh's root certified anew,
// with the signer that it has. The root's key is the one in the CA Secret where the
// root signs itself (every self-signed mesh), else rootKey. It leaves this function
// only in the signature, and where it signs leaves anyway.
func Renewed(ctx context.Context, kube kubernetes.Interface, s *mesh.Snapshot, rootKey crypto.Signer, now time.Time) (*pki.Authority, error) {
	if len(s.ControlPlanes) == 0 {
		return nil, ErrNoRootKey
	}
	ca := s.ControlPlanes[0].CA
	if len(ca.Cert.Certs) == 0 {
		return nil, fmt.Errorf("%w: the CA of the mesh could not be read", ErrNoRootKey)
	}
	secret, err := kube.CoreV1().Secrets(ca.Namespace).Get(ctx, ca.Secret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading secret %s/%s: %w", ca.Namespace, ca.Secret, err)
	}
	entry := pki.KeyFile
	if layout, ok := mesh.LayoutOf(ca.Kind); ok {
		entry = layout.Key
	}
	key, err := pki.ParseKey(secret.Data[entry])
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s, %s: %w", ca.Namespace, ca.Secret, entry, err)
	}
	signer := ca.Cert.Certs[0]
	for _, root := range ca.Root.Certs {
		held := key
		if !root.Equal(signer) {
			if held = rootKey; held == nil {
				continue
			}
		}
		if root.X509 == nil || !pki.SameKey(root.X509.PublicKey, held.Public()) {
			continue
		}
		renewed, err := (&pki.Authority{Cert: root, Key: held}).RenewRoot(now, 0)
		if err != nil || root.Equal(signer) {
			return renewed, err
		}
		below := pki.NewAuthority(signer, ca.Chain.Certs, pki.NewBundle(renewed.Cert))
		below.Key = key
		return below, nil
	}
	return nil, fmt.Errorf("%w: %s signs below it", ErrNoRootKey, signer.Subject())
}

// reissues reports whether the new root is one of the mesh's with the same key and
// name: only its dates, serial number and signature are others.
func reissues(ca mesh.CASource, to *pki.Authority) bool {
	if to == nil || len(to.Roots.Certs) == 0 || to.Roots.Certs[0].X509 == nil {
		return false
	}
	n := to.Roots.Certs[0].X509
	for _, c := range ca.Root.Certs {
		if o := c.X509; o != nil && !c.Equal(to.Roots.Certs[0]) && bytes.Equal(o.RawSubject, n.RawSubject) && pki.SameKey(o.PublicKey, n.PublicKey) {
			return true
		}
	}
	return false
}

// sameKey writes the renewed root in place of the old one. Nothing has to be trusted
// first: what either has issued is accepted under both (pki.RenewRoot), so that one
// write is enough. Istiods take it by a restart: a plugged CA's watcher refuses
// another root, and a self-signed one's rotator looks once an hour (istio 1.30.3
// pilot/pkg/bootstrap/istio_ca.go:356,
// security/pkg/pki/ca/selfsignedcarootcertrotator.go:146). Their answers look alike
// before and after but for the roots, so each has to have started since.
func (g ground) sameKey() course {
	if g.p.citadel {
		return g.citadelSameKey()
	}
	restarts, nudge := waves(""), g.nudged
	if g.p.unwatched() {
		nudge = func(...[]byte) []byte { return nil }
	}
	switch {
	case g.p.hurries && g.p.unwatched():
		restarts = wavesBehind
	case g.p.hurries:
		restarts = wavesLagging
	case g.stale:
		restarts = wavesStale
	}
	return course{
		[]Step{{Phase: SwapTrust, Name: "renewed root", About: "every proxy trusts the root's new certificate, of the same key, and none the old one", Signs: newSide, Roots: g.target, Chain: g.plain.Raw,
			Restart: true, always: true, FileWait: true, fresh: g.stale, Waves: restarts, nudge: nudge(g.target, g.target), expect: g.ended(g.plain)}},
		[]Step{{Phase: g.last(), Name: "old certificate", About: "the root's old certificate is the mesh's alone, as before", Signs: oldSide, Roots: g.start,
			Restart: true, always: true, FileWait: true, fresh: g.stale, Waves: restarts, nudge: nudge(g.start, g.start), expect: g.restored()}},
	}
}

// outOfPlace: a strategy that is only spoken of where it was asked for, or where the
// new CA is such that nothing else could be meant.
func (p *Plan) outOfPlace(strategy Strategy) bool {
	switch strategy {
	case SameKey:
		return !p.reissue && p.config.Strategy != SameKey
	case Recover:
		return p.config.Strategy != Recover
	}
	return false
}

// renewPossible is possible for the strategies that trust one root at a time.
func (p *Plan) renewPossible(g ground, s *mesh.Snapshot, strategy Strategy) (bool, string) {
	if p.reissue && p.Reason == Compromised {
		return false, "whoever has the leaked key has the new certificate's too: a compromised CA needs another key"
	}
	if strategy == Recover {
		return p.recoverPossible(s)
	}
	if !p.reissue {
		return false, "the new CA has a key of its own: that is another rotation"
	}
	if why := unreached(s); why != "" {
		return false, why
	}
	if p.citadel {
		follow := "Envoys follow their files"
		if slices.ContainsFunc(s.Proxies, mesh.Proxy.BySDS) {
			follow += ", or, by SDS, with their next certificates"
		}
		return true, "the root keeps name, key and identifier: what either certificate issued holds under both; Citadel is restarted once and renews every Secret, " + follow
	}
	late := p.late(s)
	left := p.hurry(s, append(p.leaving(), p.oldRoot), late, p.config.TrustFileWait)
	restarts := "no workload is restarted, istiods once"
	follow := how(g.hotRoots, s)
	if p.unwatched() && len(late) > len(lagging(s)) {
		follow = "by push, or with its next certificate where its last came from an istiod of before"
	}
	switch {
	case p.hurries:
		restarts = fmt.Sprintf("the old certificate ends in %s, so %d proxies that would renew later are restarted in waves", left.Round(time.Minute), len(late))
	case g.stale:
		restarts = "only workloads with agents before 1.20.1 are restarted, istiods once"
	}
	return true, fmt.Sprintf("the root keeps name, key and identifier: what either certificate issued holds under both; %s; the rest follows %s", restarts, follow)
}

// hurry has workloads restarted that renew only after the first of these certificates has
// ended, and returns what is left until then.
func (p *Plan) hurry(s *mesh.Snapshot, leaving []*pki.Certificate, late []mesh.Proxy, wait time.Duration) time.Duration {
	left, slowest := firstEnd(leaving).Sub(s.ClusterTime()), wait
	for _, proxy := range late {
		slowest = max(slowest, proxy.RenewsWithin()+wait)
	}
	p.hurries = slowest > left
	return left
}

// unwatched: no istiod looks at the Secret but at its start and once an hour, so that
// a nudge would reach nobody.
func (p *Plan) unwatched() bool { return p.Layout == mesh.CASelfSigned }

// late are the proxies that may follow with their next certificate alone. Of a mesh
// whose istiods watch nothing that is every one: a request that met an istiod of
// before the restart brought its roots, and nothing asks again.
func (p *Plan) late(s *mesh.Snapshot) []mesh.Proxy {
	if p.unwatched() {
		return s.Proxies
	}
	return lagging(s)
}
