package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Whoever has the old CA's key makes himself a certificate of any workload's identity, and asks istiods for another: they judge it by the roots
// of their own start.
var leakedRows = []row{
	{name: "leaked-key", about: "the holder of the old CA's key asks each istiod for certificates of the new CA: he gets them after a rotation for another reason, and none after --reason compromised", mesh: hot, changes: true, needs: []string{"rotate"}, limit: 8 * time.Minute, play: func(g *game) string {
		a, b, c := started(), g.ca("B"), g.ca("C")
		g.rotatesWhole(b)
		given, of := g.givenTo(a, "intermediate B")
		g.require(given == of, "the mesh does not show it: of", itoa(of), "istiods", itoa(given), "give him a certificate after a rotation for another reason")
		o := g.meshca("retire", "--yes")
		g.require(o.code == 0, "retire: exit", itoa(o.code)+":", o.brief())
		before, t := g.pods(), startTally()
		o = g.meshca(g.swap(g.rotate(c, "--reason", "compromised", "--trust-file-wait", "0", "-o", "json"), "--sealed-file", g.dir+"/sealed-once-more.age")...)
		s := t.end()
		g.require(o.code == 0, "rotate: exit", itoa(o.code)+":", o.brief())
		g.whole(s)
		g.require(g.pods() == before, "workloads were restarted")
		for _, old := range []string{a, b} {
			still, _ := g.givenTo(old, "intermediate C")
			g.require(still == 0, itoa(still), "istiods still give a certificate to whoever has the key of", old)
		}
		now, of := g.givenTo(c, "intermediate C")
		g.require(now == of, "of", itoa(of), "istiods", itoa(now), "take certificates of their own CA")
		return fmt.Sprintf("%d of %d istiods gave one, then none; %s, engine %s s", given, of, s, figure(o, "engineSeconds"))
	}},
}

// givenTo is how many istiods sign, by an issuer of this name, for a client with a certificate that the CA in dir has made.
func (g *game) givenTo(dir, issuer string) (given, of int) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{g.forged(dir)}}}} // who istiod is matters to nobody here
	request := message(1, g.csr())
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	for _, p := range g.podsOf("istio-system", "app=istiod") {
		of++
		ip := g.kubectl("-n", p.ns, "get", "pod", p.name, "-o", "jsonpath={.status.podIP}")
		ask, err := http.NewRequestWithContext(g.ctx, http.MethodPost, "https://"+ip+":15012/istio.v1.auth.IstioCertificateService/CreateCertificate", bytes.NewReader(body))
		g.require(err == nil, "harness: the request")
		ask.Header.Set("Content-Type", "application/grpc")
		ask.Header.Set("Te", "trailers")
		answer, err := client.Do(ask)
		if err != nil { // a handshake that istiod refuses
			continue
		}
		text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		answer.Body.Close()
		if block, _ := pem.Decode(text[max(0, bytes.Index(text, []byte("-----BEGIN"))):]); err == nil && block != nil {
			leaf, err := x509.ParseCertificate(block.Bytes)
			g.require(err == nil && leaf.Issuer.CommonName == issuer, "harness:", p.String(), "answers with another certificate")
			given++
		}
	}
	return given, of
}

// forged is a certificate of a workload's identity by the CA in dir.
func (g *game) forged(dir string) tls.Certificate {
	parse := func(file string) []byte {
		block, _ := pem.Decode([]byte(read(dir, file)))
		g.require(block != nil, "harness: no PEM in", file)
		return block.Bytes
	}
	issuer, err := x509.ParseCertificate(parse("ca-cert.pem"))
	g.require(err == nil, "harness: the CA's certificate")
	signer, err := x509.ParsePKCS8PrivateKey(parse("ca-key.pem"))
	g.require(err == nil, "harness: the CA's key")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.require(err == nil, "harness: a key")
	identity := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/a/sa/default"}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{identity}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, issuer, key.Public(), signer.(crypto.Signer))
	g.require(err == nil, "harness: forging a certificate:", fmt.Sprint(err))
	return tls.Certificate{Certificate: [][]byte{der, issuer.Raw}, PrivateKey: key}
}

// csr is a request with a key that is forgotten.
func (g *game) csr() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.require(err == nil, "harness: a key")
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	g.require(err == nil, "harness: a certificate request")
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
}

// message is a protobuf message of one string.
func message(number int, text string) []byte {
	return append(binary.AppendUvarint([]byte{byte(number<<3 | 2)}, uint64(len(text))), text...)
}
