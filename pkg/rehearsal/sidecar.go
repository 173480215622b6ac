package rehearsal

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// sidecar is an agent and its Envoy: what it presents, and whom it trusts.
type sidecar struct {
	mesh            *Mesh
	namespace, name string
	workload        Workload
	number          int  // which replicas its two connections go to
	hung            bool // its agent does nothing any more
	chain           []*pki.Certificate
	answered        []*pki.Certificate // the roots of the last answer to a request
	pushed          []byte             // the bundle that came by PCDS
	updated         time.Time
	generation      int
	// trusted is what pushed and answered come to; the names are fingerprints of it,
	// of the chain and of the chain above the leaf.
	trusted                     []*pki.Certificate
	trusts, chainName, tailName string
}

func (p *sidecar) ref() string { return p.namespace + "/" + p.name }

// roots are the union of both sources, sorted, as the agent serves ROOTCA.
func (p *sidecar) roots() []*pki.Certificate { return p.trusted }

// holds takes what an answer or a push has brought.
func (p *sidecar) holds() {
	all := slices.Clone(p.answered)
	if bundle, err := pki.ParseBundle(p.pushed); err == nil {
		all = append(all, bundle.Certs...)
	}
	p.trusted = sorted(all)
	p.trusts = named(p.trusted)
	p.chainName, p.tailName = named(p.chain), ""
	if len(p.chain) > 0 {
		p.tailName = p.chain[0].X509.Issuer.String() + named(p.chain[1:])
	}
}

func (p *sidecar) judge() pki.Judge { return pki.Envoy }

func (p *sidecar) envoyMinor() int { return 0 }

// startProxy starts a bare pod with the mesh's own settings.
func (m *Mesh) startProxy(namespace, name string) error {
	return m.start(Workload{Namespace: namespace, Name: name, Controller: BarePod}, name, m.number())
}

// number is the next proxy's.
func (m *Mesh) number() int {
	m.numbered++
	return m.numbered - 1
}

// start starts one proxy of a workload.
func (m *Mesh) start(w Workload, name string, number int) error {
	p := &sidecar{mesh: m, namespace: w.Namespace, name: name, workload: w, number: number}
	if err := m.Kube.Tracker().Add(p.pod()); err != nil {
		return err
	}
	m.proxies = append(m.proxies, p)
	if p.subscribes() {
		p.pushed = m.connected(p.number).roots
	}
	p.request(p.number)
	return nil
}

// subscribes: it takes bundles by push.
func (p *sidecar) subscribes() bool { return p.mesh.spec.XDSAgent && !p.workload.Cold }

func (p *sidecar) ttl() time.Duration {
	if p.workload.TTL > 0 {
		return p.workload.TTL
	}
	return p.mesh.spec.TTL
}

func (p *sidecar) release() string { return cmp.Or(p.workload.Release, p.mesh.spec.Release) }

// request asks a replica for a new certificate and takes its roots with it; the
// next one is asked for at half of its life.
func (p *sidecar) request(replica int) {
	m := p.mesh
	i := m.connected(replica)
	if i == nil || p.hung {
		return
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return
	}
	leaf, err := i.signer.IssueLeaf(pki.LeafRequest{SPIFFE: p.identity(), Public: key.Public(), Now: m.clock.Now(), Lifetime: p.ttl()})
	if err != nil {
		return
	}
	chain, errChain := pki.ParseBundle(i.chain)
	roots, errRoots := pki.ParseBundle(i.roots)
	if errChain != nil || errRoots != nil {
		return
	}
	p.chain = append([]*pki.Certificate{leaf}, chain.Certs...)
	p.answered, p.updated = roots.Certs, m.clock.Now()
	p.holds()
	p.generation++
	generation := p.generation
	m.after(p.ttl()/2, func() {
		if p.generation == generation {
			p.request(replica)
			m.unjudged = true
		}
	})
}

// StartProxy adds a proxy to the running mesh.
func (m *Mesh) StartProxy(namespace, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.startProxy(namespace, name); err != nil {
		return err
	}
	m.change()
	return nil
}
