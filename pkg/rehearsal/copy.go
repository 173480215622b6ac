package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// Copy is a mesh in memory after the likeness of another, with keys of its own.
type Copy struct {
	Mesh *Mesh
	// OldRoot stands for the root that the mesh's CA hangs from.
	OldRoot *pki.Authority
	// original is the certificate that OldRoot stands for, others what stands for the
	// other certificates.
	original *pki.Certificate
	others   map[pki.Fingerprint]*pki.Certificate
}

// Like is what a CA is to the copy: itself, or, where it hangs from the mesh's own
// root, another under the root that stands for that one.
func (c *Copy) Like(ca *pki.Authority, now time.Time) (*pki.Authority, error) {
	if !ca.Roots.Certs[0].Equal(c.original) || ca.Cert.Equal(c.original) {
		return ca, nil
	}
	like, err := c.OldRoot.NewIntermediate(requestLike(ca.Cert, now))
	if err != nil {
		return nil, fmt.Errorf("copying the new CA: %w", err)
	}
	return like, nil
}

// ErrUnrooted is a CA that chains to none of its roots, as one that has ended: proxies
// refuse each other there already, and a copy would begin whole.
var ErrUnrooted = errors.New("the CA's certificate chains to none of its roots")

// lags are what a hurried kubelet, and one in its own time, take at a real mesh.
const (
	copyLag     = time.Second
	copyFileLag = time.Minute
)

// CopyOf starts a mesh as a Snapshot shows one: the same control planes, releases,
// flags, namespaces and proxies, by name. What could not be read there cannot be
// read here, what cannot be changed there cannot be here.
func CopyOf(ctx context.Context, clock Clock, s *mesh.Snapshot) (*Copy, error) {
	if len(s.ControlPlanes) == 0 {
		return nil, errors.New("there is no control plane to copy")
	}
	first := s.ControlPlanes[0]
	if first.CA.Kind == mesh.CACitadel {
		return nil, errors.New("a mesh of Citadel's is not copied: 'kubectl meshca plan' says what would be done")
	}
	if len(first.CA.Cert.Certs) == 0 || len(first.CA.Root.Certs) == 0 {
		return nil, errors.New("the certificates of the CA were not read")
	}
	own := ownRoot(first.CA, clock.Now())
	if own == nil {
		return nil, ErrUnrooted
	}
	root, signer, extra, err := likeness(first.CA, own, clock.Now())
	if err != nil {
		return nil, err
	}
	ahead := slices.IndexFunc(first.CA.Root.Certs, own.Equal)
	spec := Spec{CA: signer, Ahead: extra[:ahead], Extra: extra[ahead:], Source: first.CA.Kind, MultiRoot: first.Flags.MultiRoot, XDSAgent: true, Release: first.Version,
		Replicas: len(first.Replicas), TTL: 24 * time.Hour, Lag: copyLag, FileLag: copyFileLag, DefaultName: first.Revision, Deployment: first.Name}
	for _, n := range s.Namespaces {
		if n.Trust == nil || s.Unkept(n) {
			continue // istiod publishes nothing there (kube-public, kube-node-lease)
		}
		spec.SystemTrust = spec.SystemTrust || n.Name == "kube-system"
		spec.Namespaces = append(spec.Namespaces, n.Name)
	}
	for _, p := range s.ControlPlanes[1:] {
		spec.Revisions = append(spec.Revisions, Revision{Name: p.Revision, Release: p.Version, Replicas: len(p.Replicas), MultiRoot: p.Flags.MultiRoot})
	}
	for _, vm := range s.VMs {
		spec.VMs = append(spec.VMs, vm.Name)
	}
	spec.Workloads = workloadsOf(s)
	c := &Copy{OldRoot: root, original: own, others: map[pki.Fingerprint]*pki.Certificate{}}
	for n, r := range slices.DeleteFunc(slices.Clone(first.CA.Root.Certs), own.Equal) {
		c.others[r.Fingerprint()] = extra[n]
	}
	if c.Mesh, err = New(ctx, clock, spec); err != nil {
		return nil, err
	}
	for _, p := range s.Proxies {
		if p.Loaded == nil && p.Error != "" {
			c.Mesh.Freeze(p.Ref())
		}
	}
	if len(s.Webhooks) > 0 {
		if err := c.Mesh.replaceWebhooks(s.Webhooks, c.like); err != nil {
			return nil, err
		}
	}
	for _, n := range s.Namespaces {
		if n.Trust == nil || !n.Trust.Immutable || s.Unkept(n) {
			continue // istiod writes what differs
		}
		bundle, err := bundleLike(n.Trust.Bundle, c.like)
		if err != nil {
			return nil, err
		}
		if err := c.Mesh.freezeTrust(n.Name, bundle); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// like is the certificate that stands for another's.
func (c *Copy) like(of *pki.Certificate) (*pki.Certificate, error) {
	if of.Equal(c.original) {
		return c.OldRoot.Cert, nil
	}
	if is := c.others[of.Fingerprint()]; is != nil {
		return is, nil
	}
	other, err := rootLike(of, c.Mesh.clock.Now())
	if err != nil {
		return nil, err
	}
	c.others[of.Fingerprint()] = other.Cert
	return other.Cert, nil
}

// ownRoot is the root that a CA hangs from, nil where there is none.
func ownRoot(ca mesh.CASource, now time.Time) *pki.Certificate {
	chain := append([]*pki.Certificate{ca.Cert.Certs[0]}, ca.Chain.Certs...)
	for _, r := range ca.Root.Certs {
		if pki.Verify(pki.Question{Judge: pki.Go, Roots: []*pki.Certificate{r}, Chain: chain, At: now, Usage: pki.AnyUsage}).Result == pki.Accepted {
			return r
		}
	}
	return nil
}

// likeness makes a CA of the same shape, names and ends.
func likeness(ca mesh.CASource, own *pki.Certificate, now time.Time) (root, signer *pki.Authority, extra []*pki.Certificate, err error) {
	if root, err = rootLike(own, now); err != nil {
		return nil, nil, nil, err
	}
	signer = root
	if top := ca.Cert.Certs[0]; !top.Equal(own) {
		if signer, err = root.NewIntermediate(requestLike(top, now)); err != nil {
			return nil, nil, nil, fmt.Errorf("copying the CA: %w", err)
		}
	}
	for _, r := range ca.Root.Certs {
		if r.Equal(own) {
			continue
		}
		other, err := rootLike(r, now)
		if err != nil {
			return nil, nil, nil, err
		}
		extra = append(extra, other.Cert)
	}
	return root, signer, extra, nil
}

func rootLike(c *pki.Certificate, now time.Time) (*pki.Authority, error) {
	if c.X509 == nil {
		return nil, fmt.Errorf("copying a root: %w", c.Err)
	}
	r := requestLike(c, now)
	r.PathLen = -1
	root, err := pki.NewRoot(r)
	if err != nil {
		return nil, fmt.Errorf("copying a root: %w", err)
	}
	return root, nil
}

func requestLike(c *pki.Certificate, now time.Time) pki.Request {
	return pki.Request{Subject: c.X509.Subject, Key: pki.ECDSAP256, Now: now, Lifetime: max(c.X509.NotAfter.Sub(now), time.Second)}
}

// workloadsOf gathers proxies that differ in nothing but their names.
func workloadsOf(s *mesh.Snapshot) []Workload {
	index := map[string]int{}
	alike := mesh.Alike(s.Proxies)
	var all []Workload
	for _, p := range s.Proxies {
		release, _ := alike(p).ReleaseOf()
		w := Workload{Namespace: p.Namespace, Name: p.Workload.Name, Kind: p.Kind, Controller: p.Workload.Kind, Revision: p.Revision, Release: release, TTL: time.Duration(p.SecretTTL), Cold: !p.XDSAgent, Untagged: p.Version == "" && p.Reach == mesh.ReachUnknown}
		if w.Controller == "" {
			w.Controller, w.Name = BarePod, p.Name
		}
		if p.FileMounted {
			w.Env = map[string]string{"FILE_MOUNTED_CERTS": "true"}
		}
		key := fmt.Sprint(w.Namespace, "/", w.Name, w.Kind, w.Controller, w.Revision, w.Release, w.TTL, w.Cold, w.Untagged, w.Env)
		at, ok := index[key]
		if !ok {
			at = len(all)
			index[key] = at
			all = append(all, w)
		}
		all[at].Pods = append(all[at].Pods, p.Name)
		all[at].Proxies++
	}
	return all
}
