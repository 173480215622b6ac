package pki

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Judge is who decides whether a chain is accepted. Three meet chains in a mesh,
// and they differ.
type Judge string

const (
	// Envoy: every sidecar, gateway and waypoint (BoringSSL with partial chains).
	Envoy Judge = "envoy"
	// Go: istiod when it loads a CA, agents towards istiod, the API server towards
	// webhooks.
	Go Judge = "go"
	// Webpki: ztunnel (rustls-webpki).
	Webpki Judge = "ztunnel"
)

// Result is an answer.
type Result string

const (
	// Accepted is the only yes.
	Accepted Result = "accepted"
	Refused  Result = "refused"
	// Depends: releases of the judge differ, or it cannot be told. Never yes.
	Depends Result = "depends"
)

// Usage is which side of a connection the chain is for.
type Usage string

const (
	ClientAuth Usage = "client"
	ServerAuth Usage = "server"
	AnyUsage   Usage = "any"
)

// Question is what a judge is asked about one chain.
type Question struct {
	Judge Judge
	// Roots is the judge's trust bundle, in its order. Domains are asked instead where an
	// Envoy has a bundle for each trust domain: not nil then.
	Roots   []*Certificate
	Domains []Domain
	// Chain is what the peer presents, leaf first.
	Chain []*Certificate
	At    time.Time
	Usage Usage
	// SPIFFE is the URI SAN that the leaf must carry, DNS the name; "" for any.
	SPIFFE string
	DNS    string
	// EnvoyMinor is N of Envoy 1.N, 0 where it is not known to be older than 1.36.
	EnvoyMinor int
	// CRLs are what the judge holds a path against besides, nil where it has none. Of
	// ztunnel's own use of them nothing is judged here, and Go programs of Istio have none.
	CRLs *CRLs

	memo *Memo
	// nameless: the first of Chain stands for leaves whose names are not known, so
	// that name constraints have nothing to hold of.
	nameless bool
	// whole: a chain ends in a self-signed certificate.
	whole bool
}

// Answer is what the judge says, and why.
type Answer struct {
	Result Result `json:"result"`
	Reason string `json:"reason"`
	// Path is a path from leaf to anchor where the chain is accepted.
	Path []*Certificate `json:"-"`
	// ByCRL: the answer is one of the judge's CRLs, or of what is not known of them.
	ByCRL bool `json:"-"`
}

func accepted(path []*Certificate) Answer {
	anchor := path[len(path)-1]
	return Answer{Result: Accepted, Reason: fmt.Sprintf("by way of %d certificates to %s", len(path), anchor.Subject()), Path: path}
}

func refused(format string, args ...any) Answer {
	return Answer{Result: Refused, Reason: fmt.Sprintf(format, args...)}
}

func depends(format string, args ...any) Answer {
	return Answer{Result: Depends, Reason: fmt.Sprintf(format, args...)}
}

// Verify answers as the judge would. No root, and no certificate, is a refusal.
func Verify(q Question) Answer {
	switch {
	case len(q.Chain) == 0:
		return refused("nothing is presented")
	case len(q.Roots) == 0 && q.Domains == nil:
		return refused("nothing is trusted")
	}
	var answer Answer
	switch q.Judge {
	case Envoy:
		if q.Domains != nil {
			answer = q.byDomain()
		} else {
			answer = envoyVerify(q)
		}
	case Go:
		answer = goVerify(q)
	case Webpki:
		answer = webpkiVerify(q)
		if q.CRLs != nil && answer.Result == Accepted {
			answer = q.byCRL(depends("ztunnel has a CRL, and what it makes of it is not judged here"))
		}
	default:
		return refused("unknown judge %q", q.Judge)
	}
	if answer.Result != Refused {
		if other, ok := q.names(); !ok {
			return other
		}
	}
	return answer
}

// names checks what the leaf must be called, which all judges do alike.
func (q Question) names() (Answer, bool) {
	leaf := readFields(q.Chain[0])
	if q.SPIFFE != "" {
		if leaf.broken != nil || leaf.odd != nil {
			return depends("the leaf's names cannot be read"), false
		}
		if !slices.Contains(leaf.uris(), q.SPIFFE) {
			return refused("the leaf is not %s (it is %s)", q.SPIFFE, strings.Join(leaf.uris(), ", ")), false
		}
	} else if q.Judge == Webpki && q.Usage != AnyUsage && !slices.ContainsFunc(leaf.uris(), func(uri string) bool { return strings.HasPrefix(uri, "spiffe://") }) {
		// ztunnel 1.29 src/tls/workload.rs, verify_trust_domain and verify_full_san: the one
		// asks a client for an ID of its trust domain, the other a server for the expected one.
		return depends("ztunnel takes no peer without a SPIFFE ID, and the leaf has none"), false
	}
	if q.DNS == "" {
		return Answer{}, true
	}
	if leaf.X509 == nil {
		return depends("the leaf's names cannot be read: %v", leaf.Err), false
	}
	if err := leaf.X509.VerifyHostname(q.DNS); err != nil {
		return refused("%v", err), false
	}
	return Answer{}, true
}

func rsaKey(c *Certificate) (*rsa.PublicKey, bool) {
	if c.X509 == nil {
		return nil, false
	}
	key, is := c.X509.PublicKey.(*rsa.PublicKey)
	return key, is
}

// goVerify is Go's own verifier: istiod and agents are Go programs.
func goVerify(q Question) Answer {
	leaf := q.Chain[0]
	if leaf.X509 == nil {
		return refused("%s: %v", leaf.Subject(), leaf.Err)
	}
	if q.Usage != AnyUsage { // crypto/tls looks at the size of all that is presented, before it verifies one
		for _, c := range q.Chain {
			if key, is := rsaKey(c); is && key.N.BitLen() > largestRSA {
				return refused("%s has an RSA key of %d bits, and Go refuses a handshake with more than %d", c.Subject(), key.N.BitLen(), largestRSA)
			}
		}
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: q.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	switch q.Usage {
	case ClientAuth:
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case ServerAuth:
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, c := range q.Roots {
		if c.X509 != nil { // AppendCertsFromPEM skips what it cannot parse
			options.Roots.AddCert(c.X509)
		}
	}
	for _, c := range q.Chain[1:] {
		if c.X509 == nil { // crypto/tls parses all of them before it verifies one
			return refused("%s: %v", c.Subject(), c.Err)
		}
		options.Intermediates.AddCert(c.X509)
	}
	paths, err := leaf.X509.Verify(options)
	if err != nil {
		return refused("%v", err)
	}
	if q.Usage == ClientAuth {
		// istiod judges a client twice: as TLS does, and with no usage named, which to Go is a
		// server's, and for exactly one URI (istio 1.30.3 pkg/spiffe/spiffe.go, VerifyPeerCert).
		// Other programs judge once.
		if n := len(leaf.X509.URIs); n != 1 {
			return depends("istiod takes no client of %d URIs, other programs do", n)
		}
		options.KeyUsages = nil
		if _, err := leaf.X509.Verify(options); err != nil {
			return depends("istiod asks a client for a server's usage too, other programs do not: %v", err)
		}
	}
	var path []*Certificate
	for _, c := range paths[0] {
		path = append(path, FromX509(c))
	}
	return accepted(path)
}
