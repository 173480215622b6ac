package mesh_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"pgregory.net/rapid"
)

// drawn makes Snapshots of certificates that exist.
type drawn struct {
	certs []*pki.Certificate
	crls  []*pki.CRLs
}

func (d drawn) list(t *rapid.T, name string) []*pki.Certificate {
	// Nil and empty are the same in JSON.
	if list := rapid.SliceOfN(rapid.SampledFrom(d.certs), 0, 3).Draw(t, name); len(list) > 0 {
		return list
	}
	return nil
}

// bundle has its certificates in some layout of bytes, that must survive.
func (d drawn) bundle(t *rapid.T, name string) pki.Bundle {
	var raw []byte
	for _, c := range d.list(t, name) {
		between := rapid.SampledFrom([]string{"", "# a comment\r\n", "\n\n", "caf\xe9 in latin-1\n", "\x00\xff\n", "<&>\u2028\n"}).Draw(t, "between")
		raw = append(append(raw, between...), c.PEM()...)
	}
	if len(raw) == 0 {
		return pki.Bundle{}
	}
	b, err := pki.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (d drawn) snapshot(t *rapid.T) *mesh.Snapshot {
	text := rapid.String()
	s := &mesh.Snapshot{
		TakenAt: clock, ClockSkew: mesh.Duration(rapid.Int64().Draw(t, "skew")), TrustDomain: text.Draw(t, "domain"),
		Cluster:            mesh.Cluster{Context: text.Draw(t, "context"), UID: "u"},
		MeshCACertificates: d.list(t, "mesh CAs"),
	}
	source := func() mesh.CASource {
		return mesh.CASource{Kind: mesh.CAPlugged, Why: text.Draw(t, "why"), Exists: rapid.Bool().Draw(t, "exists"), Created: clock, Cert: d.bundle(t, "cert"), Chain: d.bundle(t, "chain"), Root: d.bundle(t, "root")}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "planes") {
		plane := mesh.ControlPlane{Namespace: "istio-system", Name: strconv.Itoa(i), Flags: mesh.Flags{MultiRoot: true, MaxWorkloadTTL: mesh.Duration(time.Hour)}, CA: source()}
		for range rapid.IntRange(0, 2).Draw(t, "replicas") {
			r := mesh.Istiod{Pod: text.Draw(t, "pod"), Started: clock}
			if rapid.Bool().Draw(t, "served") {
				r.Served = &proxy.Served{At: clock, Chain: d.list(t, "served chain")}
				r.Signed = &proxy.Signed{At: clock, Chain: d.list(t, "signed chain"), Roots: d.list(t, "signed roots")}
			}
			plane.Replicas = append(plane.Replicas, r)
		}
		s.ControlPlanes = append(s.ControlPlanes, plane)
	}
	if rapid.Bool().Draw(t, "leftover") {
		left := source()
		s.LeftoverCASecret = &left
		s.ClusterTrustBundle = &mesh.TrustAnchor{Name: "ctb", Bundle: d.bundle(t, "ctb")}
	}
	for range rapid.IntRange(0, 2).Draw(t, "namespaces") {
		n := mesh.Namespace{Name: text.Draw(t, "namespace")}
		if rapid.Bool().Draw(t, "trust") {
			n.Trust = &mesh.TrustAnchor{Name: "x", Bundle: d.bundle(t, "trust bundle"), Error: text.Draw(t, "error")}
		}
		s.Namespaces = append(s.Namespaces, n)
		s.Webhooks = append(s.Webhooks, mesh.Webhook{Name: n.Name, CABundle: d.bundle(t, "caBundle")})
	}
	for range rapid.IntRange(0, 3).Draw(t, "proxies") {
		p := mesh.Proxy{Namespace: "a", Name: text.Draw(t, "proxy"), SecretTTL: mesh.Duration(time.Minute), GraceRatio: 0.5, Reach: mesh.ReachPush}
		if rapid.Bool().Draw(t, "loaded") {
			p.Loaded = &proxy.Loaded{At: clock, Evidence: proxy.EvidenceConfigDump, Identities: []proxy.Identity{{Chain: d.list(t, "leaf"), Roots: d.list(t, "roots"), CRLs: rapid.SampledFrom(append(d.crls, nil)).Draw(t, "CRLs")}}}
		}
		if p.Loaded != nil && rapid.Bool().Draw(t, "by trust domain") {
			p.Loaded.Identities[0].Domains = []pki.Domain{{Name: text.Draw(t, "trust domain"), Roots: d.list(t, "its roots")}}
		}
		s.Proxies = append(s.Proxies, p)
	}
	for range rapid.IntRange(0, 2).Draw(t, "gaps") {
		s.Gaps = append(s.Gaps, mesh.Gap{Part: text.Draw(t, "part"), Error: text.Draw(t, "gap"), Incomplete: rapid.Bool().Draw(t, "incomplete")})
	}
	return s
}

func TestSnapshotRoundTrip(t *testing.T) {
	var d drawn
	for i := range 4 {
		d.certs = append(d.certs, newAuthority(t, "ca"+strconv.Itoa(i), nil).cert)
	}
	d.crls = []*pki.CRLs{pki.ParseCRLs([]byte("one")), pki.ParseCRLs([]byte("other"))}
	// Envoy may hold what Go cannot parse.
	d.certs = append(d.certs, pki.NewCertificate([]byte{0x30, 0x03, 0x02, 0x01, 0xff}))
	rapid.Check(t, func(t *rapid.T) {
		want := d.snapshot(t)
		var first, second bytes.Buffer
		if err := want.WriteJSON(&first); err != nil {
			t.Fatal(err)
		}
		got, err := mesh.ReadSnapshot(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		if err := got.WriteJSON(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("written again it differs (%v)", err)
		}
		for _, c := range d.certs {
			if strings.Count(first.String(), fmt.Sprintf("%q: ", c.Fingerprint())) > 1 {
				t.Fatal("a certificate stands in the table twice")
			}
		}
	})
}

func TestReadSnapshotRefuses(t *testing.T) {
	root := newAuthority(t, "root", nil).cert
	s := &mesh.Snapshot{TakenAt: clock, MeshCACertificates: []*pki.Certificate{root}}
	var text bytes.Buffer
	if err := s.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	good := text.String()
	if _, err := mesh.ReadSnapshot(strings.NewReader(good + " \n")); err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t, "other", nil).cert.Fingerprint().String()
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                  {"", "EOF"},
		"half":                     {good[:len(good)/2], "unexpected EOF"},
		"null":                     {"null", `it is a "" of ""`},
		"two":                      {good + good, "something follows"},
		"garbage behind":           {good + "x", "reading the snapshot"},
		"another version":          {strings.Replace(good, mesh.APIVersion, "meshca.io/v9", 1), "v9"},
		"another kind":             {strings.Replace(good, `"Snapshot"`, `"List"`, 1), "List"},
		"a wrong fingerprint":      {strings.ReplaceAll(good, root.Fingerprint().String(), other), "has another fingerprint"},
		"a reference into nowhere": {strings.Replace(good, `"meshCACertificates": [`, `"meshCACertificates": ["`+other+`",`, 1), "is not in its table"},
		"a null certificate":       {strings.Replace(good, `"meshCACertificates": [`, `"meshCACertificates": [null,`, 1), "null"},
	} {
		if _, err := mesh.ReadSnapshot(strings.NewReader(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&mesh.Snapshot{MeshCACertificates: []*pki.Certificate{nil}}).WriteJSON(&text); err == nil {
		t.Error("a nil certificate was written")
	}
}

// A CRL stands once for all who have it; one that nobody could read stays unknown, and in
// force.
func TestCRLsRoundTrip(t *testing.T) {
	s := &mesh.Snapshot{TakenAt: clock}
	for _, c := range []*pki.CRLs{pki.ParseCRLs([]byte("one")), pki.ParseCRLs([]byte("one")), pki.UnknownCRLs("it is a file"), nil} {
		s.Proxies = append(s.Proxies, mesh.Proxy{Loaded: &proxy.Loaded{Identities: []proxy.Identity{{CRLs: c}}}})
	}
	var text, again bytes.Buffer
	if err := s.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	got, err := mesh.ReadSnapshot(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := got.WriteJSON(&again); err != nil || again.String() != text.String() {
		t.Errorf("written again it differs (%v)", err)
	}
	for i, p := range got.Proxies {
		c := p.Loaded.Identities[0].CRLs
		if (c == nil) != (i == 3) || c != nil && (c.Unknown() != nil) != (i == 2) || c.Fingerprint() != s.Proxies[i].Loaded.Identities[0].CRLs.Fingerprint() {
			t.Errorf("%d: %+v", i, c)
		}
	}
	name := pki.ParseCRLs([]byte("one")).Fingerprint().String()
	other := pki.ParseCRLs([]byte("other")).Fingerprint().String()
	for want, text := range map[string]string{
		"has another fingerprint": strings.ReplaceAll(text.String(), name, other),
		"is not in its table":     strings.Replace(text.String(), `"crls": "`+name, `"crls": "`+other, 1),
	} {
		if _, err := mesh.ReadSnapshot(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzReadSnapshot(f *testing.F) {
	root := newAuthority(f, "root", nil)
	var text bytes.Buffer
	s := &mesh.Snapshot{TakenAt: clock, MeshCACertificates: []*pki.Certificate{root.cert}, Proxies: []mesh.Proxy{{Loaded: &proxy.Loaded{Identities: []proxy.Identity{{Roots: []*pki.Certificate{root.cert}}}}}}}
	if err := s.WriteJSON(&text); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Add([]byte(`{"apiVersion":"meshca.io/v1alpha1","kind":"Snapshot","certificates":{},"proxies":[{"loaded":{"identities":[{"roots":[null]}]}}],"namespaces":[{"trust":{"bundle":"base64:AA=="}}]}`))
	f.Add([]byte(`{"apiVersion":"meshca.io/v1alpha1","kind":"Snapshot","controlPlanes":[{"ca":{"root":"x"},"replicas":[{"served":{"chain":[]}}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := mesh.ReadSnapshot(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		if err := s.WriteJSON(&first); err != nil {
			t.Fatalf("read, and cannot be written: %v", err)
		}
		again, err := mesh.ReadSnapshot(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("written, and cannot be read: %v", err)
		}
		if err := again.WriteJSON(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("it changes with each reading (%v)", err)
		}
		if !json.Valid(first.Bytes()) {
			t.Fatal("not JSON")
		}
	})
}

// BenchmarkReadSnapshot is a mesh of 10,000 proxies in 500 namespaces, each with a
// leaf of its own. The bound is 1.5 s.
func BenchmarkReadSnapshot(b *testing.B) {
	root, other := newAuthority(b, "root", nil), newAuthority(b, "other", nil)
	ca := newAuthority(b, "ca", root)
	s := &mesh.Snapshot{TakenAt: clock}
	for i := range 500 {
		s.Namespaces = append(s.Namespaces, mesh.Namespace{Name: strconv.Itoa(i), Trust: &mesh.TrustAnchor{Name: "istio-ca-root-cert", Bundle: pki.NewBundle(root.cert, other.cert)}})
	}
	for i := range 10000 {
		leaf := newAuthority(b, "leaf"+strconv.Itoa(i), ca)
		s.Proxies = append(s.Proxies, mesh.Proxy{
			Namespace: strconv.Itoa(i % 500), Name: "server-569cc68b7b-" + strconv.Itoa(i), Labels: map[string]string{"app": "server", "pod-template-hash": "569cc68b7b", "security.istio.io/tlsMode": "istio"},
			Loaded: &proxy.Loaded{At: clock, Identities: []proxy.Identity{{Chain: []*pki.Certificate{leaf.cert, ca.cert, root.cert}, Roots: []*pki.Certificate{root.cert, other.cert}}}},
		})
	}
	var text bytes.Buffer
	if err := s.WriteJSON(&text); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if _, err := mesh.ReadSnapshot(bytes.NewReader(text.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
