package proxy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	security "istio.io/api/security/v1alpha1"
)

// SecurePort is istiod's port for XDS and certificate requests over TLS.
const SecurePort = 15012

// ReadServed reads the chain that one istiod replica presents on its secure
// port. It is re-signed when the replica loads another CA (istio 1.30.3
// pilot/pkg/bootstrap/certcontroller.go:205), so it tells which signer the
// replica has, of every release. Nothing is sent but a TLS greeting; the chain
// is evidence to be judged, so it is not verified here.
func ReadServed(ctx context.Context, dialer Dialer, pod Pod, now time.Time) (*Served, error) {
	connection, err := dialer.DialPod(ctx, pod, SecurePort)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	// The chain is what is asked for, whoever signed it: the caller judges it.
	client := tls.Client(connection, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls greeting with %s, port %d: %w", pod, SecurePort, cause(ctx, err))
	}
	served := &Served{At: now}
	for _, c := range client.ConnectionState().PeerCertificates {
		served.Chain = append(served.Chain, pki.FromX509(c))
	}
	return served, nil
}

// SignRequest is what a throw-away certificate request needs.
type SignRequest struct {
	// Roots are the mesh's roots. The token is sent only to a replica whose
	// served chain verifies against them for one of ServerNames.
	Roots       []*pki.Certificate
	ServerNames []string
	// Token is a bound ServiceAccount token for the audience istio-ca.
	Token string
	// ClusterID is istiod's own name of its cluster; it refuses a token that
	// comes with another one.
	ClusterID string
	// Lifetime of the leaf that is asked for.
	Lifetime time.Duration
	// Now is the time that the served chain is verified at.
	Now time.Time
}

// ErrUntrustedReplica is returned, and no token sent, where a replica's served
// chain does not verify against the mesh's roots.
var ErrUntrustedReplica = errors.New("the chain it serves does not verify against the mesh's roots")

// RequestLeaf asks one istiod replica to sign a throw-away key, and returns what
// it answers: its signer and the root bundle it hands out now. The key is made
// here and forgotten; the leaf proves the caller's ServiceAccount alone.
func RequestLeaf(ctx context.Context, dialer Dialer, pod Pod, request SignRequest) (*Signed, error) {
	csr, err := throwAwayRequest()
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient("passthrough:///"+pod.String(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialer.DialPod(ctx, pod, SecurePort) }),
		grpc.WithTransportCredentials(credentials.NewTLS(request.tls())),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("asking %s to sign: %w", pod, err)
	}
	defer func() { _ = connection.Close() }()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+request.Token, "clusterid", request.ClusterID)
	answer, err := security.NewIstioCertificateServiceClient(connection).CreateCertificate(ctx,
		&security.IstioCertificateRequest{Csr: string(csr), ValidityDuration: int64(request.Lifetime / time.Second)})
	if err != nil {
		return nil, fmt.Errorf("asking %s to sign: %w", pod, cause(ctx, err))
	}
	signed, err := parseSigned(answer.GetCertChain(), request.Now)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s to a certificate request: %w", pod, err)
	}
	return signed, nil
}

// tls verifies the replica as an agent would (Go's rules), for any of the names
// that a revision may serve under.
func (r SignRequest) tls() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it: more than one name is right
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || len(r.ServerNames) == 0 {
				return ErrUntrustedReplica
			}
			options := x509.VerifyOptions{Roots: pool(r.Roots), Intermediates: x509.NewCertPool(), CurrentTime: r.Now}
			for _, c := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			var last error
			for _, name := range r.ServerNames {
				options.DNSName = name
				if _, last = state.PeerCertificates[0].Verify(options); last == nil {
					return nil
				}
			}
			return fmt.Errorf("%w: %w", ErrUntrustedReplica, last)
		},
	}
}

func pool(certs []*pki.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		if c.X509 != nil {
			pool.AddCert(c.X509)
		}
	}
	return pool
}

// throwAwayRequest makes a P-256 key and a request for it. istiod takes the
// identity from the token and nothing from the request but the key (istio 1.30.3
// security/pkg/server/ca/server.go:113).
func throwAwayRequest() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a throw-away key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// parseSigned reads the answer's elements: the leaf, what stands behind it, and
// the root bundle as the last one (istio 1.30.3 security/pkg/server/ca/server.go:147).
// An agent takes the last element for its roots; so does this.
func parseSigned(elements []string, now time.Time) (*Signed, error) {
	if len(elements) < 2 {
		return nil, fmt.Errorf("%d elements, want a leaf and a root bundle", len(elements))
	}
	signed := &Signed{At: now}
	for i, element := range elements {
		bundle, err := pki.ParseBundle([]byte(element))
		if errors.Is(err, pki.ErrEmptyBundle) && i < len(elements)-1 && i > 0 {
			continue // an empty cert-chain.pem
		}
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i+1, err)
		}
		if i == len(elements)-1 {
			signed.Roots = bundle.Certs
		} else {
			signed.Chain = append(signed.Chain, bundle.Certs...)
		}
	}
	return signed, nil
}

// cause prefers why the context ended to what that did to a connection.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
