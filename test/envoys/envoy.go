package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

const (
	batch     = 400 // listeners of one Envoy
	firstPort = 20000
	atOnce    = 8
	// greeting is what is sent, unasked, to whom was accepted: under TLS 1.3 a client
	// that wrote first could lose the server's refusal to a reset connection.
	greeting = "yes"
)

var errNotLoaded = errors.New("not loaded by Envoy")

// ask has one Envoy judge every pair, on the side that usage says: for ClientAuth
// it is a server that asks clients for a certificate, for ServerAuth a client. A
// listener each, whose trusted CA is the pair's bundle.
func ask(ctx context.Context, binary string, usage pki.Usage, all []pairs.Pair) ([]bool, error) {
	answers := make([]bool, len(all))
	for from := 0; from < len(all); from += batch {
		to := min(from+batch, len(all))
		if err := askSome(ctx, binary, usage, all[from:to], answers[from:to]); err != nil {
			return nil, fmt.Errorf("pairs %d to %d: %w", from, to-1, err)
		}
	}
	return answers, nil
}

// askSome halves what does not load, down to the one pair whose bundle Envoy does
// not take: then nobody is accepted under it.
func askSome(ctx context.Context, binary string, usage pki.Usage, some []pairs.Pair, answers []bool) error {
	err := askBatch(ctx, binary, usage, some, answers)
	if !errors.Is(err, errNotLoaded) {
		return err
	}
	if len(some) == 1 {
		fmt.Printf("%s: %v\n", some[0].Name, err)
		return nil
	}
	half := len(some) / 2
	if err := askSome(ctx, binary, usage, some[:half], answers[:half]); err != nil {
		return err
	}
	return askSome(ctx, binary, usage, some[half:], answers[half:])
}

func askBatch(ctx context.Context, binary string, usage pki.Usage, some []pairs.Pair, answers []bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "envoys")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peer, err := serve(some)
	if err != nil {
		return err
	}
	defer peer.listener.Close()
	port := peer.listener.Addr().(*net.TCPAddr).Port
	var config m
	if usage == pki.ServerAuth {
		config = clientSide(some, port)
	} else {
		peer.plain = true
		if config, err = serverSide(some, port); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "envoy.json")
	text, err := json.Marshal(map[string]any{"static_resources": config})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	c := exec.CommandContext(ctx, binary, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--base-id", strconv.Itoa(os.Getpid()))
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Wait() }()
	defer func() { cancel(); <-ended }()
	if err := ready(ctx, len(some), ended); err != nil {
		text, _ := os.ReadFile(log.Name())
		if strings.Contains(string(text), " initializing config ") {
			return fmt.Errorf("%w: %s", errNotLoaded, lastLine(text))
		}
		return fmt.Errorf("%w: %s", err, text[max(0, len(text)-2000):])
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	errs := make([]error, len(some))
	for i, p := range some {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if peer.plain {
				answers[i], errs[i] = meet(ctx, firstPort+i, p)
			} else {
				answers[i], errs[i] = peer.meet(ctx, i)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", some[i].Name, err)
		}
	}
	return nil
}

// lastLine is Envoy's complaint, without the configuration that it repeats.
func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	last := lines[len(lines)-1]
	return last[max(0, len(last)-200):]
}

// ready waits until the last listener takes connections.
func ready(ctx context.Context, listeners int, ended <-chan struct{}) error {
	for {
		connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+listeners-1), time.Second)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("the Envoy ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func chainOf(p pairs.Pair) *tls.Certificate {
	c := &tls.Certificate{PrivateKey: p.Key}
	for _, one := range p.Chain {
		c.Certificate = append(c.Certificate, one.DER)
	}
	return c
}

// refused: the other side has sent an alert. Anything else is no answer.
func refused(err error) bool {
	_, is := errors.AsType[*net.OpError](err)
	return is && strings.HasPrefix(err.Error(), "remote error: tls:")
}

// meet presents a pair's chain to an Envoy that is a server.
func meet(ctx context.Context, port int, p pairs.Pair) (bool, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false, err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return false, err
	}
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return chainOf(p), nil
	}})
	if err = client.HandshakeContext(ctx); err == nil {
		got := make([]byte, len(greeting))
		if _, err = io.ReadFull(client, got); err == nil && string(got) != greeting {
			err = fmt.Errorf("got %q from Envoy", got)
		}
	}
	if refused(err) {
		return false, nil
	}
	return err == nil, err
}

// server stands behind an Envoy. It presents every pair's chain, by the name that
// Envoy, a client, asks for; plain, it only greets whom Envoy, a server, let in.
type server struct {
	listener net.Listener
	plain    bool
	answers  []chan error
}

func serve(some []pairs.Pair) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{listener: listener}
	for range some {
		s.answers = append(s.answers, make(chan error, 1))
	}
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go s.present(raw, some)
		}
	}()
	return s, nil
}

func (s *server) present(raw net.Conn, some []pairs.Pair) {
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	if s.plain {
		_, _ = raw.Write([]byte(greeting))
		_, _ = io.Copy(io.Discard, raw) // until Envoy is done
		return
	}
	which := -1
	c := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		n, err := strconv.Atoi(strings.TrimSuffix(hello.ServerName, ".pair"))
		if err != nil || n < 0 || n >= len(some) {
			return nil, fmt.Errorf("no pair %q", hello.ServerName)
		}
		which = n
		return chainOf(some[n]), nil
	}})
	err := c.Handshake()
	if err == nil {
		_, err = c.Write([]byte(greeting))
	}
	if which >= 0 {
		s.answers[which] <- err
	}
}

// meet has Envoy connect to the server for pair i.
func (s *server) meet(ctx context.Context, i int) (bool, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+i))
	if err != nil {
		return false, err
	}
	defer raw.Close()
	select {
	case err := <-s.answers[i]:
		if refused(err) {
			return false, nil
		}
		return err == nil, err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

type m = map[string]any

func inline(s string) m { return m{"inline_string": s} }

func typed(name string, fields m) m {
	fields["@type"] = "type.googleapis.com/" + name
	return fields
}

// trust is a validation context as Istio writes them.
func trust(p pairs.Pair) m {
	bundle := ""
	for _, c := range p.Bundle {
		bundle += string(c.PEM())
	}
	v := m{"trusted_ca": inline(bundle)}
	if p.Domain != "" {
		v = m{"custom_validator_config": m{"name": "envoy.tls.cert_validator.spiffe", "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
			m{"trust_domains": []m{{"name": p.Domain, "trust_bundle": inline(bundle)}}})}}
	}
	if p.SPIFFE != "" {
		v["match_typed_subject_alt_names"] = []m{{"san_type": "URI", "matcher": m{"exact": p.SPIFFE}}}
	}
	if p.CRLs != nil {
		v["crl"] = inline(string(p.CRLs))
	}
	return v
}

// listener hands on to a cluster what comes through socket.
func listener(i int, to string, socket m) m {
	proxy := m{"name": "proxy", "typed_config": typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", m{"stat_prefix": to, "cluster": to})}
	chain := m{"filters": []m{proxy}}
	if socket != nil {
		chain["transport_socket"] = socket
	}
	return m{"name": strconv.Itoa(i), "address": m{"socket_address": m{"address": "127.0.0.1", "port_value": firstPort + i}}, "filter_chains": []m{chain}}
}

// serverSide is a listener for each pair, which asks for a certificate.
func serverSide(some []pairs.Pair, port int) (m, error) {
	cert, key, err := serverPair()
	if err != nil {
		return nil, err
	}
	var listeners []m
	for i, p := range some {
		listeners = append(listeners, listener(i, "behind", m{"name": "tls", "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", m{
			"require_client_certificate": true,
			"common_tls_context": m{
				"tls_certificates":   []m{{"certificate_chain": inline(cert), "private_key": inline(key)}},
				"validation_context": trust(p),
			},
		})}))
	}
	return m{"listeners": listeners, "clusters": []m{cluster("behind", port)}}, nil
}

// clientSide is a listener and a cluster for each pair.
func clientSide(some []pairs.Pair, port int) m {
	var listeners, clusters []m
	for i, p := range some {
		name := strconv.Itoa(i)
		listeners = append(listeners, listener(i, name, nil))
		c := cluster(name, port)
		c["transport_socket"] = m{"name": "tls", "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", m{
			"sni": name + ".pair",
			"common_tls_context": m{
				"tls_params":         m{"tls_maximum_protocol_version": "TLSv1_3"},
				"validation_context": trust(p),
			},
		})}
		clusters = append(clusters, c)
	}
	return m{"listeners": listeners, "clusters": clusters}
}

func cluster(name string, port int) m {
	endpoint := m{"endpoint": m{"address": m{"socket_address": m{"address": "127.0.0.1", "port_value": port}}}}
	return m{
		"name": name, "type": "STATIC", "connect_timeout": "20s",
		"load_assignment": m{"cluster_name": name, "endpoints": []m{{"lb_endpoints": []m{endpoint}}}},
	}
}

func serverPair() (cert, key string, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return "", "", err
	}
	raw, err := x509.MarshalECPrivateKey(signer)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})), nil
}
