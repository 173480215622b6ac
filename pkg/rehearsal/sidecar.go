package rehearsal

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
)

// sidecar is an agent and its Envoy, or a ztunnel: what it presents, and whom it
// trusts.
type sidecar struct {
	mesh            *Mesh
	namespace, name string
	workload        Workload
	vm              bool // no pod shows it, and it authenticates with its certificate
	number          int  // which replicas its two connections go to
	hung            bool // its agent does nothing any more
	chain           []*pki.Certificate
	key             crypto.Signer      // of the leaf
	answered        []*pki.Certificate // the roots of the last answer to a request
	pushed          string             // the bundle that came by PCDS
	updated         time.Time
	generation      int
	failures        int // requests in a row
	// file is its copy of the trust ConfigMap; client are the roots by which it
	// judges istiod when it asks for a certificate.
	file, client []*pki.Certificate
	// crls are what its Envoy judges by besides.
	crls *pki.CRLs
	// line is the replica that its requests go to over an open connection, and opened
	// when that was made.
	line   *istiod
	opened time.Time
	// sends is what a peer gets to see: an agent gives Envoy the whole answer, roots
	// and all (istio 1.30.3 security/pkg/nodeagent/cache/secretcache.go:841).
	sends []*pki.Certificate
	// trusted is what pushed and answered come to; the names are fingerprints of it,
	// of what is sent and of that above the leaf.
	trusted                     []*pki.Certificate
	trusts, chainName, tailName string
}

func (p *sidecar) ref() string { return p.namespace + "/" + p.name }

func (p *sidecar) ztunnel() bool { return p.workload.Kind == mesh.Ztunnel }

// roots are the union of both sources, sorted, as the agent serves ROOTCA.
func (p *sidecar) roots() []*pki.Certificate { return p.trusted }

// holds takes what an answer or a push has brought.
func (p *sidecar) holds() {
	all := slices.Clone(p.answered)
	if bundle, err := p.mesh.parsed(p.pushed); err == nil {
		all = append(all, bundle.Certs...)
	}
	p.trusted = sorted(all)
	p.trusts = named(p.trusted)
	p.sends = p.chain
	// The files of a Citadel have the leaf alone, and its root in a file of its own.
	if len(p.chain) > 0 && !p.ztunnel() && p.mesh.citadel == nil {
		p.sends = slices.Concat(p.chain, p.answered)
	}
	p.chainName, p.tailName = named(p.sends), ""
	if len(p.chain) > 0 {
		p.tailName = p.chain[0].X509.Issuer.String() + named(p.sends[1:])
	}
	p.mesh.change()
	for _, c := range p.trusted {
		p.mesh.expires(c)
	}
	for _, c := range p.chain[min(1, len(p.chain)):] {
		p.mesh.expires(c)
	}
}

// expires has all pairs judged anew when a CA's certificate ends, which nothing else
// tells of.
func (m *Mesh) expires(c *pki.Certificate) {
	if c.X509 == nil || m.ends[c.X509.NotAfter] {
		return
	}
	if m.ends == nil {
		m.ends = map[time.Time]bool{}
	}
	m.ends[c.X509.NotAfter] = true
	m.after(c.X509.NotAfter.Sub(m.clock.Now())+time.Second, func() { m.unjudged = true })
}

func (p *sidecar) judge() pki.Judge {
	if p.ztunnel() {
		return pki.Webpki
	}
	return pki.Envoy
}

// envoyAhead is how many minor releases Envoy is ahead of the Istio it comes with.
const envoyAhead = 8

func (p *sidecar) envoyMinor() int {
	r, ok := mesh.ParseRelease(p.release())
	if p.ztunnel() || !ok || r.Major != 1 {
		return 0
	}
	return r.Minor + envoyAhead
}

// startProxy starts a bare pod with the mesh's own settings.
func (m *Mesh) startProxy(namespace, name string) error {
	return m.start(Workload{Namespace: namespace, Name: name, Controller: BarePod}, name, m.number())
}

// number is the next proxy's.
func (m *Mesh) number() int {
	m.numbered++
	return m.numbered - 1
}

// start starts one proxy of a workload. Its agent reads the trust file as it is.
func (m *Mesh) start(w Workload, name string, number int) error {
	p := &sidecar{mesh: m, namespace: w.Namespace, name: name, workload: w, number: number}
	if err := m.Kube.Tracker().Add(p.pod()); err != nil {
		return err
	}
	m.join(p)
	return nil
}

func (m *Mesh) join(p *sidecar) {
	m.proxies = append(m.proxies, p)
	m.byRef[p.ref()] = p
	if m.citadel != nil {
		if files := m.citadel.written[p.namespace+"/"+p.account()]; files != nil {
			p.takes(files)
		}
		return
	}
	p.file = m.trustFile(p.namespace)
	p.client = p.file
	p.mountCRL()
	if i := m.connected(p, 0); i != nil && p.subscribes(i) {
		p.pushed = i.pushes()
	}
	p.request()
}

// subscribes: it takes this replica's bundles by push.
func (p *sidecar) subscribes(i *istiod) bool {
	return p.mesh.spec.XDSAgent && !p.workload.Cold && !p.ztunnel() && i.plane.MultiRoot && fixed(i.plane.Release, "1.10.0") && fixed(p.release(), "1.10.0")
}

func (p *sidecar) ttl() time.Duration { return cmp.Or(p.workload.TTL, p.mesh.spec.TTL) }

func (p *sidecar) release() string { return cmp.Or(p.workload.Release, p.mesh.spec.Release) }

// connected is a replica of the proxy's control plane: that of its stream, or, one
// further, that of its requests.
func (m *Mesh) connected(p *sidecar, further int) *istiod {
	all := m.replicas(m.planeOf(p))
	if len(all) == 0 || m.away {
		return nil
	}
	return all[(p.number+further)%len(all)]
}

// reconnect has every agent take the bundle of the replica that its stream is
// connected to, and ask for a new certificate where that changes it.
func (m *Mesh) reconnect() {
	pushes := map[*istiod]string{}
	for _, i := range m.istiods {
		pushes[i] = i.pushes()
	}
	for _, p := range m.proxies {
		i := m.connected(p, 0)
		if i == nil || p.hung || !p.subscribes(i) || p.pushed == pushes[i] {
			continue
		}
		p.pushed = pushes[i]
		p.holds()
		if renewsOnPush(i.plane.Release, p.release()) {
			generation := p.generation
			m.after(m.random(m.spec.Spread), func() {
				if p.generation == generation {
					p.request()
				}
			})
		}
	}
}

// request asks a replica for a new certificate and takes its roots with it. Where
// that fails it keeps what it has and tries again later.
func (p *sidecar) request() {
	m := p.mesh
	if p.hung || p.generation < 0 {
		return
	}
	p.generation++
	i := p.dial()
	if i == nil || !p.issue(i) {
		p.failures++
		p.line = nil // it connects anew after a failure
		if p.ztunnel() && !keepsLeaf(p.release()) {
			p.chain = nil // Unavailable, though the leaf would still be good
			p.holds()
		}
		p.again(min(30*time.Second<<min(p.failures, 6), p.ttl()/20))
		return
	}
	p.failures = 0
	end := p.chain[0].X509.NotAfter
	generation := p.generation
	p.again(p.renewal())
	m.after(end.Sub(m.clock.Now())+time.Second, func() {
		if p.generation >= generation && len(p.chain) > 0 && p.chain[0].X509.NotAfter.Equal(end) {
			m.unjudged = true // it has expired
		}
	})
}

// connectionAge is how long istiod leaves a connection open
// (keepaliveMaxServerConnectionAge, istio 1.30.3
// manifests/charts/istio-control/istio-discovery/values.yaml:87).
const connectionAge = 30 * time.Minute

// dial is the replica that answers its request; nil where none does, or where they do
// not trust each other. An agent has one connection for all its requests, on which a
// serving certificate is judged once: what istiod serves since does not matter while it
// is open (istio 1.30.3 security/pkg/nodeagent/caclient/providers/citadel/client.go:56,
// 93). Whoever shows a certificate is taken to connect for each request: so is a ztunnel.
func (p *sidecar) dial() *istiod {
	m := p.mesh
	reuses := !p.byCertificate() && !p.ztunnel()
	if reuses && p.line != nil && !m.away && m.clock.Now().Sub(p.opened) < connectionAge && slices.Contains(m.replicas(m.planeOf(p)), p.line) {
		return p.line
	}
	i := m.connected(p, 1)
	if i == nil || !p.accepts(i) || p.byCertificate() && !i.admits(p) {
		return nil
	}
	p.line, p.opened = i, m.clock.Now()
	return i
}

// renewal is when it asks for the next: an agent at half of the life and its jitter
// (since 1.24), a ztunnel at half of the certificate's.
func (p *sidecar) renewal() time.Duration {
	m, leaf := p.mesh, p.chain[0].X509
	if p.ztunnel() {
		return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2).Sub(m.clock.Now())
	}
	d := p.ttl() / 2
	if jitter := p.ttl() / 100; fixed(p.release(), "1.24.0") {
		d += m.random(2 * jitter)
		if m.spec.Random != nil {
			d -= jitter
		}
	}
	return d
}

func (p *sidecar) again(d time.Duration) {
	generation := p.generation
	p.mesh.after(d, func() {
		if p.generation == generation {
			p.request()
		}
	})
}

// accepts: the agent judges what istiod serves by the file of its start, and from
// 1.20.1 on, after a failure, by the file as it is.
func (p *sidecar) accepts(i *istiod) bool {
	if p.mesh.holdsFor(i, p.client) {
		return true
	}
	if p.ztunnel() && !ztunnelReadsRootsAgain(p.release()) || !p.ztunnel() && !readsRootsAgain(p.release()) {
		return false
	}
	p.client = p.file
	return p.mesh.holdsFor(i, p.client)
}

// holdsFor reports whether a Go client that trusts these roots goes on with istiod.
// ztunnel's client is no Go program; it is judged by its own rules elsewhere.
func (m *Mesh) holdsFor(i *istiod, roots []*pki.Certificate) bool {
	answer := m.truth.verify(asked{judge: pki.Go, usage: pki.ServerAuth, chain: named(i.serving), roots: named(roots)}, i.serving, roots, m.clock.Now())
	return answer.Result == pki.Accepted
}

// byCertificate: it shows istiod a certificate, and no token.
func (p *sidecar) byCertificate() bool { return p.vm || p.workload.Env["PROV_CERT"] != "" }

// admits: istiod judges a client's certificate by the roots of its own start.
func (i *istiod) admits(p *sidecar) bool {
	if len(p.chain) == 0 {
		return true // it comes with a token the first time
	}
	answer := i.mesh.truth.verify(asked{judge: pki.Go, usage: pki.ClientAuth, chain: p.chainName, roots: named(i.verifier)}, p.sends, i.verifier, i.mesh.clock.Now())
	return answer.Result == pki.Accepted
}

// issue signs, and the agent takes the answer apart.
func (p *sidecar) issue(i *istiod) bool {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false
	}
	leaf, err := i.signer.IssueLeaf(pki.LeafRequest{SPIFFE: p.identity(), Public: key.Public(), Now: p.mesh.clock.Now(), Lifetime: p.ttl()})
	if err != nil {
		return false
	}
	p.mesh.signed.add(p.mesh.clock.Now())
	elements := i.answer()
	chain := []*pki.Certificate{leaf}
	for _, text := range elements[:len(elements)-1] {
		bundle, err := p.mesh.parsed(text)
		if err != nil {
			return false
		}
		if p.ztunnel() {
			bundle.Certs = bundle.Certs[:1] // it reads one certificate of each element
		}
		chain = append(chain, bundle.Certs...)
	}
	roots, err := p.mesh.parsed(elements[len(elements)-1])
	if err != nil {
		return false
	}
	if p.ztunnel() && !trustsBundle(p.release()) {
		roots.Certs = roots.Certs[:1]
	}
	p.chain, p.key, p.answered, p.updated = chain, key, roots.Certs, p.mesh.clock.Now()
	if p.vm {
		p.file, p.client = roots.Certs, roots.Certs // by OUTPUT_CERTS
	}
	p.holds()
	return true
}

// parsed remembers the bundle that it parsed last: thousands get the same.
func (m *Mesh) parsed(text string) (pki.Bundle, error) {
	if there, ok := m.bundles[text]; ok {
		return there, nil
	}
	bundle, err := pki.ParseBundle([]byte(text))
	if err == nil {
		m.bundles[text] = bundle
	}
	return bundle, err
}

// Signed counts certificate requests: all, and the most within one second.
type Signed struct {
	All, Most int
	second    time.Time
	in        int
}

func (s *Signed) add(at time.Time) {
	if at = at.Truncate(time.Second); !at.Equal(s.second) {
		s.second, s.in = at, 0
	}
	s.All++
	s.in++
	s.Most = max(s.Most, s.in)
}

// Signed are the certificates that istiods have signed for proxies since the last
// call; the mesh's start is not among them.
func (m *Mesh) Signed() Signed {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.signed
	m.signed = Signed{}
	return s
}

// StartProxy adds a proxy to the running mesh.
func (m *Mesh) StartProxy(namespace, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.startProxy(namespace, name)
}
