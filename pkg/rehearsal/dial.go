package rehearsal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	security "istio.io/api/security/v1alpha1"
)

// DialPod answers as a port-forward would: Envoy's admin port of a proxy, the
// secure port of an istiod.
func (m *Mesh) DialPod(ctx context.Context, pod proxy.Pod, port int) (net.Conn, error) {
	m.clock.Now() // somebody is at work
	m.mu.Lock()
	defer m.mu.Unlock()
	what := "proxy"
	switch port {
	case proxy.SecurePort:
		what = "istiod"
	case proxy.MonitoringPort:
		what = "monitoring"
	}
	if fault := m.faults.meets("dial", what); fault != nil {
		return nil, fmt.Errorf("port-forward to %s: %w", pod, fault.Err)
	}
	if what != "proxy" {
		n := slices.IndexFunc(m.istiods, func(i *istiod) bool { return i.name == pod.Name })
		switch {
		case n < 0:
			return nil, fmt.Errorf("port-forward to %s: pod not found", pod)
		case what == "istiod":
			return m.serveIstiod(m.istiods[n]), nil
		}
		return m.answers(m.monitoring()), nil
	}
	p := m.byRef[pod.String()]
	if p == nil || p.vm {
		return nil, fmt.Errorf("port-forward to %s: pod not found", pod)
	}
	if m.frozen[p.ref()] {
		return nil, fmt.Errorf("port-forward to %s: connection refused", pod)
	}
	return m.answers(p.admin()), nil
}

// answers are those to one connection, by HTTP.
func (m *Mesh) answers(handler http.Handler) net.Conn {
	here, there := m.pipe()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(once(there)) }()
	return here
}

// monitoring is what an istiod tells of its clients: here everybody is everybody's.
func (m *Mesh) monitoring() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/syncz", func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		clients := []map[string]string{}
		for _, p := range m.proxies {
			clients = append(clients, map[string]string{"proxy": p.name + "." + p.namespace})
		}
		_ = json.NewEncoder(w).Encode(clients)
	})
	return mux
}

// pipe is a connection to a pod. Whoever holds its near end is at work.
func (m *Mesh) pipe() (here, there net.Conn) {
	here, there = net.Pipe()
	m.reads.Add(1)
	return &watched{Conn: here, end: func() { m.reads.Add(-1) }}, there
}

func (m *Mesh) serveIstiod(i *istiod) net.Conn {
	here, there := m.pipe()
	clients := x509.NewCertPool()
	for _, c := range i.verifier {
		if c.X509 != nil {
			clients.AddCert(c.X509)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{i.serves}, CurvePreferences: []tls.CurveID{tls.X25519},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	security.RegisterIstioCertificateServiceServer(server, i)
	listener := once(there)
	go func() { _ = server.Serve(listener); server.Stop() }()
	return here
}

// admin is Envoy's admin interface as far as it is asked.
func (p *sidecar) admin() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	type m = map[string]any
	mux.HandleFunc("/config_dump", func(w http.ResponseWriter, _ *http.Request) {
		p.mesh.mu.Lock()
		defer p.mesh.mu.Unlock()
		if p.ztunnel() {
			answer(w, p.dump())
			return
		}
		if len(p.chain) == 0 || p.mesh.citadel != nil { // files are no dynamic secrets
			answer(w, m{"configs": []m{}})
			return
		}
		inline := func(certs []*pki.Certificate) m {
			return m{"inline_bytes": base64.StdEncoding.EncodeToString(pki.NewBundle(certs...).Raw)}
		}
		trust := m{"trusted_ca": inline(p.roots())}
		if knowsCRLs(p.release()) { // the file is there, and as a rule empty
			trust["crl"] = m{"inline_bytes": ""}
		}
		if p.crls != nil {
			trust["crl"] = m{"inline_bytes": base64.StdEncoding.EncodeToString(p.crls.Raw)}
		}
		answer(w, m{"configs": []m{
			{"name": "default", "last_updated": p.updated, "secret": m{"tls_certificate": m{"certificate_chain": inline(p.sends)}}},
			{"name": "ROOTCA", "last_updated": p.updated, "secret": m{"validation_context": trust}},
		}})
	})
	mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) {
		p.mesh.mu.Lock()
		defer p.mesh.mu.Unlock()
		if len(p.chain) == 0 {
			answer(w, m{"certificates": []m{}})
			return
		}
		leaf := p.chain[0].X509
		answer(w, m{"certificates": []m{{"ca_cert": first(p.roots()), "cert_chain": []m{{"serial_number": leaf.SerialNumber.Text(16), "subject_alt_names": []m{{"uri": leaf.URIs[0].String()}}, "valid_from": leaf.NotBefore, "expiration_time": leaf.NotAfter}}}}})
	})
	mux.HandleFunc("/clusters", func(w http.ResponseWriter, _ *http.Request) {
		p.mesh.mu.Lock()
		defer p.mesh.mu.Unlock()
		p.mesh.counters(w, p)
	})
	return mux
}

// first is all that /certs shows of a bundle.
func first(roots []*pki.Certificate) []map[string]any {
	if len(roots) == 0 {
		return nil
	}
	return []map[string]any{{"serial_number": roots[0].X509.SerialNumber.Text(16), "valid_from": roots[0].X509.NotBefore, "expiration_time": roots[0].X509.NotAfter}}
}

// dump is a ztunnel's (ztunnel 1.30.3 src/admin.rs:73).
func (p *sidecar) dump() map[string]any {
	type m = map[string]any
	list := func(certs []*pki.Certificate) []m {
		all := []m{}
		for _, c := range certs {
			all = append(all, m{"pem": base64.StdEncoding.EncodeToString(c.PEM()), "serialNumber": c.X509.SerialNumber.String(), "validFrom": c.X509.NotBefore, "expirationTime": c.X509.NotAfter})
		}
		return all
	}
	state, chain := any("Available"), list(p.chain)
	if len(p.chain) == 0 {
		state = m{"Unavailable": "the last request failed"}
	}
	one := m{"identity": p.identity(), "state": state, "certChain": chain}
	if trustsBundle(p.release()) {
		one["rootCerts"] = list(p.roots())
	} else {
		one["certChain"] = append(chain, list(p.roots())...)
	}
	return m{"certificates": []m{one}}
}

// once is a listener of one connection; it ends with it.
func once(c net.Conn) net.Listener {
	l := &single{connection: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.connection <- &watched{Conn: c, end: l.end}
	return l
}

type single struct {
	connection chan net.Conn
	closed     chan struct{}
	one        sync.Once
}

func (l *single) end() { l.one.Do(func() { close(l.closed) }) }

func (l *single) Accept() (net.Conn, error) {
	select {
	case c := <-l.connection:
		return c, nil
	default:
	}
	select {
	case c := <-l.connection:
		return c, nil
	case <-l.closed:
		return nil, io.EOF
	}
}

func (l *single) Close() error   { l.end(); return nil }
func (l *single) Addr() net.Addr { return address{} }

// watched says, once, that it is closed.
type watched struct {
	net.Conn
	once sync.Once
	end  func()
}

func (w *watched) Close() error { w.once.Do(w.end); return w.Conn.Close() }

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }
