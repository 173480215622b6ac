package rehearsal

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"google.golang.org/grpc/test/bufconn"
)

// kin is what two proxies have in common whose handshakes with a third end alike:
// the judge, what stands above the leaf, what is trusted, and whether the leaf is
// past its end. The leaf and its key are each proxy's own.
type kin struct {
	judge        pki.Judge
	minor        int
	tail, trusts string
	spent        bool
}

// shaken holds for as long as no CA certificate of the two begins or ends to be
// valid.
type shaken struct{ until time.Time }

// meet has a client and a server shake hands by TLS, each presenting what it has,
// with the key that it has. Two of the same kin as others who have done so take
// their word, once either's own leaf and key have been seen to work.
func (m *Mesh) meet(client, server *side, at time.Time) error {
	t := &m.truth
	pair := [2]kin{client.kin(at), server.kin(at)}
	seen, ok := t.shaken[pair]
	if ok && at.Before(seen.until) && t.proven[client.leaf()] && t.proven[server.leaf()] {
		return nil
	}
	if err := m.handshake(client, server, at); err != nil {
		return err
	}
	t.shaken[pair] = shaken{unchanged(at, above(client.chain), above(server.chain), client.roots, server.roots)}
	t.proven[client.leaf()], t.proven[server.leaf()] = true, true
	return nil
}

func (s *side) kin(at time.Time) kin {
	k := kin{judge: s.judge, minor: s.minor, tail: s.p.tailName, trusts: s.trusts}
	k.spent = len(s.chain) == 0 || s.chain[0].X509 == nil || at.After(s.chain[0].X509.NotAfter)
	return k
}

// leaf names a proxy's own certificate.
func (s *side) leaf() pki.Fingerprint {
	if len(s.chain) == 0 {
		return pki.Fingerprint{}
	}
	return s.chain[0].Fingerprint()
}

func above(chain []*pki.Certificate) []*pki.Certificate { return chain[min(1, len(chain)):] }

// errBare is a proxy that has nothing to present.
var errBare = errors.New("it has no certificate")

// handshake is one connection in memory: mutual TLS 1.3 and one byte from the
// server, as a client learns of a refusal only when it reads. Each side judges what
// it has received, not what the other is known to have.
func (m *Mesh) handshake(client, server *side, at time.Time) error {
	m.clock.Now() // somebody is at work
	if len(client.chain) == 0 || len(server.chain) == 0 {
		return errBare
	}
	var one sync.Mutex // the answers are remembered by both
	c, s := m.party(client, pki.ServerAuth, at, &one), m.party(server, pki.ClientAuth, at, &one)
	c.InsecureSkipVerify = true //nolint:gosec // G402: VerifyPeerCertificate judges, by the rules of Envoy
	s.ClientAuth = tls.RequireAnyClientCert
	// With a buffer: who refuses writes while the other still does.
	listener := bufconn.Listen(1 << 16)
	defer func() { _ = listener.Close() }()
	served := make(chan error, 1)
	go func() { served <- serve(listener, s) }()
	err := call(listener, c)
	other := <-served
	var alert *net.OpError // what the other side has to say: its own reason says more
	switch {
	case other != nil && (err == nil || !errors.As(other, &alert)):
		return fmt.Errorf("the server: %w", other)
	case err != nil:
		return fmt.Errorf("the client: %w", err)
	}
	return nil
}

func serve(listener *bufconn.Listener, config *tls.Config) error {
	there, err := listener.Accept()
	if err != nil {
		return err
	}
	defer func() { _ = there.Close() }()
	connection := tls.Server(there, config)
	if err := connection.Handshake(); err != nil {
		return err
	}
	_, err = connection.Write([]byte{1})
	return err
}

func call(listener *bufconn.Listener, config *tls.Config) error {
	here, err := listener.Dial()
	if err != nil {
		return err
	}
	defer func() { _ = here.Close() }()
	connection := tls.Client(here, config)
	if err := connection.Handshake(); err != nil {
		return err
	}
	_, err = connection.Read(make([]byte, 1))
	return err
}

// party is one side of a connection. usage is what the other's certificate is for.
func (m *Mesh) party(s *side, usage pki.Usage, at time.Time, one *sync.Mutex) *tls.Config {
	own := tls.Certificate{PrivateKey: s.p.key}
	for _, c := range s.chain {
		own.Certificate = append(own.Certificate, c.DER)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13, NextProtos: []string{"istio"}, SessionTicketsDisabled: true,
		CurvePreferences: []tls.CurveID{tls.X25519}, Time: func() time.Time { return at },
		// A certificate is sent whatever issuers the server says it knows.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			var chain []*pki.Certificate
			for _, der := range raw {
				chain = append(chain, pki.NewCertificate(der))
			}
			one.Lock()
			defer one.Unlock()
			answer := m.truth.verify(asked{judge: s.judge, minor: s.minor, usage: usage, chain: named(chain), roots: s.trusts, crls: s.crls}, chain, s.roots, at)
			if answer.Result != pki.Accepted {
				return errors.New(answer.Reason)
			}
			return nil
		},
	}
}
