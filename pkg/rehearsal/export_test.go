package rehearsal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
)

// WrongKey gives a proxy a key that is not its certificate's.
func (m *Mesh) WrongKey(ref string) {
	m.spoil(ref, func(p *sidecar) { p.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
}

// ShortChain has a proxy send its leaf alone, though it has the whole chain.
func (m *Mesh) ShortChain(ref string) {
	m.spoil(ref, func(p *sidecar) { p.sends = p.sends[:1]; p.tailName = "alone" })
}

// Mute stops all renewals.
func (m *Mesh) Mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.proxies {
		p.hung = true
	}
}

func (m *Mesh) spoil(ref string, f func(*sidecar)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.byRef[ref])
	clear(m.truth.proven)
	clear(m.truth.shaken)
	m.change()
}

// Shaken counts the kinds of pairs that have met by TLS, and the leaves whose keys
// were seen to work.
func (m *Mesh) Shaken() (kinds, leaves int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.truth.shaken), len(m.truth.proven)
}
