package scenario_test

import (
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	corev1 "k8s.io/api/core/v1"
)

// releaseRows show by hand what releases do, each beside the one that does otherwise:
// without the rule one of the two goes red.
func releaseRows() []row {
	ztunnel := func(release string) func(*bench, *rehearsal.Spec) {
		return beside(rehearsal.Workload{Kind: mesh.Ztunnel, Release: release})
	}
	reload := func(release, flag string) func(*bench, *rehearsal.Spec) {
		return both(coldRelease(release), func(_ *bench, s *rehearsal.Spec) {
			if flag != "" {
				s.Env = map[string]string{"AUTO_RELOAD_PLUGIN_CERTS": flag}
			}
		})
	}
	return []row{
		// B1: who watches its files.
		{name: "by-hand-signer-1.13", facts: []string{"B1", "G-reload"}, spec: reload("1.13.9", "true"), by: signerUnderRoot, shows: signedBy(theOld)},
		{name: "by-hand-signer-1.17", facts: []string{"B1", "G-reload"}, spec: reload("1.17.8", ""), by: signerUnderRoot, shows: signedBy(theOld)},
		{name: "by-hand-signer-1.17-flag", facts: []string{"B1", "G-reload"}, spec: reload("1.17.8", "true"), by: signerUnderRoot, shows: signedBy(theNew)},
		{name: "by-hand-signer-1.18", facts: []string{"B1", "G-reload"}, spec: reload("1.18.0", ""), by: signerUnderRoot, shows: signedBy(theNew)},
		{name: "by-hand-signer-1.18-flag", facts: []string{"B1", "G-reload"}, spec: reload("1.18.0", "false"), by: signerUnderRoot, shows: signedBy(theOld)},
		{name: "by-hand-signer-1.27.0-rc.0", facts: []string{"B1", "G-1.27.0-pre"}, spec: coldRelease("1.27.0-rc.0"), by: signerUnderRoot, shows: signedBy(theOld)},
		{name: "by-hand-signer-1.27.0", facts: []string{"B1", "G-1.27.0-pre"}, spec: coldRelease("1.27.0"), by: signerUnderRoot, shows: signedBy(theNew)},

		// D2: a push that re-issues, or not: at once after the signer has changed.
		{name: "by-hand-nudge-1.19", facts: []string{"D2", "G-1.20.0"}, spec: both(release("1.19.10"), alone(rehearsal.Workload{Release: "1.30.3"})), by: nudge, shows: signedBy(theOld)},
		{name: "by-hand-nudge-1.20", facts: []string{"D2", "G-1.20.0"}, spec: release("1.20.1"), by: nudge, shows: signedBy(theNew)},
		{name: "by-hand-nudge-agents-1.19", facts: []string{"D2", "G-1.20.0"}, spec: alone(rehearsal.Workload{Release: "1.19.10"}), by: nudge, shows: signedBy(theOld), breaks: true},

		// D5: a renewal that fails.
		{name: "by-hand-ztunnel-1.27.9-away", facts: []string{"D5", "G-drops-valid-leaf"}, spec: ztunnel("1.27.9"), by: away, breaks: true},
		{name: "by-hand-ztunnel-1.28.0-away", facts: []string{"D5", "G-drops-valid-leaf"}, spec: ztunnel("1.28.0"), by: away},
		// D4: a chain file of several certificates, in one piece.
		{name: "by-hand-ztunnel-chain-1.24.3", facts: []string{"D4", "D5", "G-flattens"}, spec: both(coldRelease("1.24.3"), ztunnel("1.30.3")), by: crossed, breaks: true},
		{name: "by-hand-ztunnel-chain-1.24.5", facts: []string{"D4", "D5", "G-flattens"}, spec: both(coldRelease("1.24.5"), ztunnel("1.30.3")), by: crossed},

		// A1, A2: which CA an istiod takes at its start.
		{name: "by-hand-tls-layout-1.14.1", facts: []string{"A1", "G-tls-layout"}, spec: both(selfSigned, release("1.14.1")), by: tlsSecret, shows: signedBy(theOldRoot)},
		{name: "by-hand-tls-layout-1.14.2", facts: []string{"A1", "G-tls-layout"}, spec: both(selfSigned, release("1.14.2"), alone(rehearsal.Workload{Release: "1.30.3"})), by: tlsSecret, shows: signedBy(theNew), breaks: true},
		{name: "by-hand-wrong-key", facts: []string{"A3"}, by: wrongKey, shows: signedBy(theOld)},

		// C: the self-signed rotator.
		{name: "by-hand-renewal-of-root-1.28.7", facts: []string{"C1", "C2", "G-1.28.8"}, spec: both(oldSelfSigned, release("1.28.7")), by: hours, finds: []string{"istiod-renews-root"}},
		{name: "by-hand-renewal-of-root-1.28.8", facts: []string{"C1", "C2", "G-1.28.8"}, spec: both(oldSelfSigned, release("1.28.8")), by: hours, breaks: true, finds: []string{"istiod-renews-root-key-id"}},
		{name: "by-hand-bundle-in-istio-ca-secret", facts: []string{"A6"}, spec: selfSigned, by: threePhasesSelfSigned},
	}
}

func theOldRoot(b *bench) *pki.Authority { return b.oldRoot }

// signerUnderRoot changes the signer under the same root, and lets leaves renew.
func signerUnderRoot(b *bench) {
	sameRoot(b)
	b.write(b.new, b.oldRoot.Cert)
	time.Sleep(2 * ttl)
}

// nudge has all trust both roots, changes the signer, and sends the same set once more.
func nudge(b *bench) {
	old, next := b.oldRoot.Cert, b.new.Roots.Certs[0]
	b.write(b.old, old, next)
	b.restart() // whoever loads no bundle in place
	time.Sleep(2 * ttl)
	b.write(b.new, old, next)
	b.restart()
	time.Sleep(10 * time.Second)
	b.write(b.new, old, next, next)
	time.Sleep(10 * time.Second)
}

// away has no istiod answer while everybody renews, and come back before a leaf ends.
func away(b *bench) {
	time.Sleep(ttl / 4)
	b.mesh.Away(true)
	time.Sleep(ttl / 2)
	b.mesh.Away(false)
	time.Sleep(ttl)
}

// crossed signs with the new CA, for which the old root vouches.
func crossed(b *bench) {
	cross, err := b.oldRoot.CrossSign(b.newRoot.Cert, time.Now())
	b.must(err)
	b.change("cacerts", func(s *corev1.Secret) {
		key, err := b.new.KeyPEM()
		b.must(err)
		s.Data[pki.CertFile], s.Data[pki.KeyFile] = b.new.Cert.PEM(), key
		s.Data[pki.ChainFile] = pki.NewBundle(b.new.Cert, cross).Raw
	})
	time.Sleep(2 * ttl)
	b.write(b.old, b.oldRoot.Cert)
	time.Sleep(2 * ttl)
}

// tlsSecret makes a cacerts as cert-manager would, and restarts.
func tlsSecret(b *bench) {
	key, err := b.new.KeyPEM()
	b.must(err)
	b.create(&corev1.Secret{ObjectMeta: meta("cacerts", nil), Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": b.new.Cert.PEM(), "tls.key": key, "ca.crt": b.new.Roots.Raw}})
	time.Sleep(time.Minute)
	b.restart()
	time.Sleep(2 * ttl)
}

// wrongKey writes a CA whose key is another's: nothing loads it, at a start neither.
func wrongKey(b *bench) {
	b.change("cacerts", func(s *corev1.Secret) {
		s.Data[pki.CertFile], s.Data[pki.ChainFile] = b.new.Cert.PEM(), b.new.Cert.PEM()
	})
	time.Sleep(time.Minute)
	b.restart()
	time.Sleep(2 * ttl)
}

// hours let the rotator look.
func hours(*bench) { time.Sleep(6 * time.Hour) }

// oldSelfSigned is a self-signed root of nine years, that ends in one.
func oldSelfSigned(b *bench, s *rehearsal.Spec) {
	const year = 365 * 24 * time.Hour
	root, err := pki.NewRoot(pki.Request{Subject: name("old"), Now: time.Now().Add(-9 * year), Lifetime: 10 * year})
	b.must(err)
	b.oldRoot, b.old = root, root
	selfSigned(b, s)
}

// threePhasesSelfSigned is the procedure inside istio-ca-secret, which istiod's
// rotator loads within two hours.
func threePhasesSelfSigned(b *bench) {
	write := func(signer *pki.Authority, roots ...*pki.Certificate) {
		b.change("istio-ca-secret", func(s *corev1.Secret) {
			key, err := signer.KeyPEM()
			b.must(err)
			s.Data[pki.CertFile], s.Data[pki.KeyFile] = pki.NewBundle(roots...).Raw, key
		})
		time.Sleep(3*time.Hour + 2*ttl)
	}
	old, next := b.oldRoot.Cert, b.newRoot.Cert
	write(b.oldRoot, old, next)
	write(b.newRoot, next, old)
	write(b.newRoot, next)
}
