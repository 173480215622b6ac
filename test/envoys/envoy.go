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

	"github.com/meshca/kubectl-meshca/test/envoys/pairs"
)

const (
	batch     = 400 // listeners of one Envoy
	firstPort = 20000
	atOnce    = 8
)

// ask has one Envoy judge every pair, as a server judging a client: a listener
// each, whose trusted CA is the pair's bundle and which asks for a certificate.
func ask(ctx context.Context, binary string, all []pairs.Pair) ([]bool, error) {
	answers := make([]bool, len(all))
	for from := 0; from < len(all); from += batch {
		to := min(from+batch, len(all))
		if err := askBatch(ctx, binary, all[from:to], answers[from:to]); err != nil {
			return nil, fmt.Errorf("pairs %d to %d: %w", from, to-1, err)
		}
	}
	return answers, nil
}

func askBatch(ctx context.Context, binary string, some []pairs.Pair, answers []bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "envoys")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config, err := bootstrap(some)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
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
		return fmt.Errorf("%w: %s", err, text[max(0, len(text)-2000):])
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	errs := make([]error, len(some))
	for i, p := range some {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i], errs[i] = meet(ctx, firstPort+i, p)
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

// meet presents a pair's chain: Envoy echoes whom it accepts, and sends an alert
// to whom it refuses. Anything else is no answer. It is TLS 1.2, where the alert
// comes before anything was sent that could run into a closed connection.
func meet(ctx context.Context, port int, p pairs.Pair) (bool, error) {
	var chain [][]byte
	for _, c := range p.Chain {
		chain = append(chain, c.DER)
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false, err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return false, err
	}
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: chain, PrivateKey: p.Key}, nil
	}})
	err = client.HandshakeContext(ctx)
	if _, refused := errors.AsType[*net.OpError](err); refused && strings.HasPrefix(err.Error(), "remote error: tls:") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	echo := []byte("yes")
	if _, err := client.Write(echo); err != nil {
		return false, err
	}
	if _, err := io.ReadFull(client, echo); err != nil {
		return false, err
	}
	return true, nil
}

// bootstrap is a static configuration of one listener for each pair.
func bootstrap(some []pairs.Pair) ([]byte, error) {
	cert, key, err := serverPair()
	if err != nil {
		return nil, err
	}
	type m = map[string]any
	inline := func(s string) m { return m{"inline_string": s} }
	var listeners []m
	for i, p := range some {
		bundle := ""
		for _, c := range p.Bundle {
			bundle += string(c.PEM())
		}
		listeners = append(listeners, m{
			"name":    strconv.Itoa(i),
			"address": m{"socket_address": m{"address": "127.0.0.1", "port_value": firstPort + i}},
			"filter_chains": []m{{
				"filters": []m{{"name": "echo", "typed_config": m{"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}},
				"transport_socket": m{"name": "tls", "typed_config": m{
					"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
					"require_client_certificate": true,
					"common_tls_context": m{
						"tls_certificates":   []m{{"certificate_chain": inline(cert), "private_key": inline(key)}},
						"validation_context": m{"trusted_ca": inline(bundle)},
					},
				}},
			}},
		})
	}
	return json.Marshal(m{"static_resources": m{"listeners": listeners}})
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
