package proxy_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

var clock = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func certificate(t testing.TB) *pki.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: clock, NotAfter: clock.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pki.NewCertificate(der)
}

// dump is a config dump as Envoy prints it for ?resource=dynamic_active_secrets.
func dump(chain, roots []byte) []byte {
	entry := func(name, body string) string {
		return fmt.Sprintf(`{"@type":"x","name":%q,"version_info":"1","last_updated":"2026-11-24T00:00:00Z","secret":{"name":%q,%s}}`, name, name, body)
	}
	b64 := base64.StdEncoding.EncodeToString
	return []byte(`{"configs":[` +
		entry("default", `"tls_certificate":{"certificate_chain":{"inline_bytes":"`+b64(chain)+`"},"private_key":{"inline_bytes":"W3JlZGFjdGVkXQ=="}}`) + `,` +
		entry("ROOTCA", `"validation_context":{"trusted_ca":{"inline_bytes":"`+b64(roots)+`"}}`) + `]}`)
}

func TestParseSecrets(t *testing.T) {
	leaf, root, other := certificate(t), certificate(t), certificate(t)
	loaded, err := proxy.ParseSecrets(dump(append(leaf.PEM(), root.PEM()...), append(other.PEM(), root.PEM()...)), clock)
	if err != nil {
		t.Fatal(err)
	}
	identity := loaded.Identities[0]
	if len(identity.Chain) != 2 || !identity.Leaf().Equal(leaf) || len(identity.Roots) != 2 || !identity.Roots[0].Equal(other) {
		t.Fatalf("chain %d, roots %d", len(identity.Chain), len(identity.Roots))
	}

	if _, err := proxy.ParseSecrets([]byte(`{"configs":[]}`), clock); !errors.Is(err, proxy.ErrNoSecrets) {
		t.Errorf("a dump without secrets: %v", err)
	}
	withoutRoots, _, _ := strings.Cut(string(dump(leaf.PEM(), root.PEM())), `,{"@type":"x","name":"ROOTCA"`)
	// One that has a provider more for each, by another configuration of its SDS server.
	again := strings.TrimSuffix(string(dump(leaf.PEM(), root.PEM())), `]}`) + `,`
	for name, test := range map[string]struct {
		more []byte
		ok   bool
	}{
		"the same twice":      {dump(leaf.PEM(), root.PEM()), true},
		"another certificate": {dump(other.PEM(), root.PEM()), false},
		"other roots":         {dump(leaf.PEM(), other.PEM()), false},
		"more roots":          {dump(leaf.PEM(), append(root.PEM(), other.PEM()...)), false},
	} {
		loaded, err := proxy.ParseSecrets([]byte(again+strings.TrimPrefix(string(test.more), `{"configs":[`)), clock)
		if test.ok != (err == nil) || test.ok && (len(loaded.Identities) != 1 || len(loaded.Identities[0].Chain) != 1 || len(loaded.Identities[0].Roots) != 1) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string]string{
		"a chain, no roots":   withoutRoots + `]}`,
		"not JSON":            "INFO log line\n{}",
		"nothing loaded":      `{"configs":[]}`,
		"no configs at all":   `{}`,
		"empty chain":         string(dump(nil, root.PEM())),
		"empty roots":         string(dump(leaf.PEM(), nil)),
		"half a certificate":  string(dump(leaf.PEM()[:200], root.PEM())),
		"only warming":        `{"configs":[{"dynamic_warming_secrets":[{"name":"default"},{"name":"ROOTCA"}]}]}`,
		"a secret in a file":  strings.ReplaceAll(string(dump(leaf.PEM(), root.PEM())), `"inline_bytes"`, `"filename"`),
		"the roots are a key": string(dump(leaf.PEM(), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))),
	} {
		if _, err := proxy.ParseSecrets([]byte(raw), clock); err == nil {
			t.Errorf("%s: taken for a proxy with certificates", name)
		}
	}
}

// spireDump is a config dump of a proxy whose secrets are SPIRE's.
func spireDump(chain []byte, domains ...string) []byte {
	return bytes.Replace(dump(chain, nil), []byte(`"trusted_ca":{"inline_bytes":""}`), []byte(`"trusted_ca":{},"custom_validator_config":{"name":"envoy.tls.cert_validator.spiffe","typed_config":{`+
		`"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig","trust_domains":[`+strings.Join(domains, ",")+`]}}`), 1)
}

func trustDomain(name string, roots []byte) string {
	return fmt.Sprintf(`{"name":%q,"trust_bundle":{"inline_bytes":%q}}`, name, base64.StdEncoding.EncodeToString(roots))
}

// TestParseSecretsByTrustDomain: SPIRE has an Envoy judge each peer by the bundle of its
// own trust domain, and leaves trusted_ca empty.
func TestParseSecretsByTrustDomain(t *testing.T) {
	leaf, east, west := certificate(t), certificate(t), certificate(t)
	both := append(west.PEM(), east.PEM()...)
	raw := spireDump(leaf.PEM(), trustDomain("east.local", east.PEM()), trustDomain("west.local", both))
	sifted, err := proxy.SiftSecrets(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range [][]byte{raw, sifted} {
		loaded, err := proxy.ParseSecrets(raw, clock)
		if err != nil {
			t.Fatal(err)
		}
		i := loaded.Identities[0]
		if len(i.Roots) != 2 || !i.Roots[0].Equal(east) || !i.Roots[1].Equal(west) || i.RootsUpdated.IsZero() {
			t.Errorf("all roots: %v", i.Roots)
		}
		if got := i.Trusts([]string{"east.local", "west.local", "north.local"}); len(got) != 3 || len(got[0]) != 1 || !got[0][0].Equal(east) || len(got[1]) != 2 || got[2] != nil {
			t.Errorf("roots by trust domain: %v", got)
		}
	}
	for name, test := range map[string]struct {
		domains []string
		also    string // replaces what names the validator
	}{
		"no trust domain":        {},
		"a trust domain twice":   {domains: []string{trustDomain("a", east.PEM()), trustDomain("a", west.PEM())}},
		"a bundle of none":       {domains: []string{trustDomain("a", east.PEM()), trustDomain("b", nil)}},
		"a bundle without name":  {domains: []string{trustDomain("", east.PEM())}},
		"a bundle in a file":     {domains: []string{`{"name":"a","trust_bundle":{"filename":"/x"}}`}},
		"a validator of another": {domains: []string{trustDomain("a", east.PEM())}, also: "envoy.tls.cert_validator.other"},
	} {
		raw := bytes.Replace(spireDump(leaf.PEM(), test.domains...), []byte("envoy.tls.cert_validator.spiffe"), []byte(cmp.Or(test.also, "envoy.tls.cert_validator.spiffe")), 1)
		if loaded, err := proxy.ParseSecrets(raw, clock); err == nil {
			t.Errorf("%s: %+v", name, loaded.Identities)
		}
	}
	// Of two of one name, that for one trust domain is not that for another.
	twice := append(bytes.TrimSuffix(spireDump(leaf.PEM(), trustDomain("a", east.PEM())), []byte("]}")), ',')
	twice = append(twice, bytes.TrimPrefix(spireDump(leaf.PEM(), trustDomain("b", east.PEM())), []byte(`{"configs":[`))...)
	if _, err := proxy.ParseSecrets(twice, clock); err == nil {
		t.Error("two bundles of the same root for two trust domains are taken for one")
	}
}

// secretOf is one secret of a config dump.
func secretOf(name, body string) string {
	return fmt.Sprintf(`{"name":%q,"secret":{"name":%q,%s}}`, name, name, body)
}

func chainOf(name string, c *pki.Certificate) string {
	return secretOf(name, `"tls_certificate":{"certificate_chain":{"inline_bytes":"`+base64.StdEncoding.EncodeToString(c.PEM())+`"}}`)
}

func rootsOf(name string, c *pki.Certificate) string {
	return secretOf(name, `"validation_context":{"trusted_ca":{"inline_bytes":"`+base64.StdEncoding.EncodeToString(c.PEM())+`"}}`)
}

// TestReadFiles: what listeners and clusters use instead of what the agent gets, is the
// proxy's own too; what a Gateway or a DestinationRule names, is not.
func TestReadFiles(t *testing.T) {
	leaf, root, fileLeaf, fileRoot := certificate(t), certificate(t), certificate(t), certificate(t)
	agents := []string{chainOf("default", leaf), rootsOf("ROOTCA", root)}
	server := `"TLS_SERVER_CERT_CHAIN":"/c.pem","TLS_SERVER_KEY":"/k.pem","TLS_SERVER_ROOT_CERT":"/r.pem"`
	client := strings.ReplaceAll(server, "SERVER", "CLIENT")
	files := []string{chainOf("file-cert:/c.pem~/k.pem", fileLeaf), rootsOf("file-root:/r.pem", fileRoot)}
	foreign := []string{secretOf("file-cert:/shop.pem~/shop.key", `"tls_certificate":{}`), rootsOf("file-root:/etc/ssl/ca.pem", fileRoot)}
	type one struct{ leaf, root *pki.Certificate }
	for name, test := range map[string]struct {
		secrets  []string
		metadata string
		want     []one
		err      string
	}{
		"none":                           {agents, "", []one{{leaf, root}}, ""},
		"a Gateway's and a rule's":       {slices.Concat(agents, foreign), `{}`, []one{{leaf, root}}, ""},
		"the server's":                   {slices.Concat(agents, files), "{" + server + "}", []one{{leaf, root}, {fileLeaf, fileRoot}}, ""},
		"the server's roots alone":       {slices.Concat(agents, files[1:]), `{"TLS_SERVER_ROOT_CERT":"/r.pem"}`, []one{{leaf, root}, {leaf, fileRoot}}, ""},
		"the server's, a rule's besides": {slices.Concat(foreign, agents, files), "{" + server + "}", []one{{leaf, root}, {fileLeaf, fileRoot}}, ""},
		"of both sides":                  {files, "{" + server + "," + client + "}", []one{{fileLeaf, fileRoot}}, ""},
		"of both, and the agent's":       {slices.Concat(agents, files), "{" + server + "," + client + "}", []one{{fileLeaf, fileRoot}, {leaf, root}}, ""},
		"the client's, without roots":    {slices.Concat(agents, files), `{"TLS_CLIENT_CERT_CHAIN":"/c.pem","TLS_CLIENT_KEY":"/k.pem"}`, nil, "file-root:system"},
		"of a server, and not there yet": {slices.Concat(agents, files[:1]), "{" + server + "}", nil, "file-root:/r.pem"},
		"nobody says what for":           {slices.Concat(agents, files), "", nil, "not known what for"},
		"a Gateway's alone":              {foreign, `{}`, nil, "no mesh certificate"},
	} {
		mux := http.NewServeMux()
		mux.HandleFunc("/config_dump", func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.RawQuery, "resource") {
				fmt.Fprintf(w, `{"configs":[%s]}`, strings.Join(test.secrets, ","))
			} else if test.metadata == "" {
				http.Error(w, "no", http.StatusForbidden)
			} else {
				fmt.Fprintf(w, `{"configs":[{"@type":"b","bootstrap":{"node":{"id":"x","metadata":%s},"static_resources":{}}}]}`, test.metadata)
			}
		})
		mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"certificates":[]}`) })
		reader := proxy.Reader{Dialer: pipe{mux}, Now: func() time.Time { return clock }}
		for _, bootstrap := range []bool{false, true} {
			reader.Read(t.Context(), []proxy.Target{{Bootstrap: bootstrap}}, func(r proxy.Result) {
				if test.err != "" {
					if r.Err == nil || !strings.Contains(r.Err.Error(), test.err) {
						t.Errorf("%s: %v, want %q", name, r.Err, test.err)
					}
					return
				}
				if r.Err != nil || len(r.Loaded.Identities) != len(test.want) {
					t.Errorf("%s: %v %+v", name, r.Err, r.Loaded)
					return
				}
				for n, i := range r.Loaded.Identities {
					if want := test.want[n]; len(i.Roots) != 1 || !i.Leaf().Equal(want.leaf) || !i.Roots[0].Equal(want.root) {
						t.Errorf("%s: identity %d: %+v", name, n, i)
					}
				}
			})
		}
	}
}

func TestParseCertsFoldsEqualContexts(t *testing.T) {
	one := `{"ca_cert":[{"serial_number":"0a"}],"cert_chain":[{"serial_number":"00ff","subject_alt_names":[{"uri":"spiffe://td/ns/a/sa/b"}]}]}`
	contexts, err := proxy.ParseCerts([]byte(`{"certificates":[` + one + `,` + one + `,{"ca_cert":[],"cert_chain":[]}]}`))
	if err != nil || len(contexts) != 1 {
		t.Fatalf("%v %v", contexts, err)
	}
	if c := contexts[0]; c.LeafSerial != "ff" || c.CASerial != "a" || c.SPIFFE != "spiffe://td/ns/a/sa/b" {
		t.Fatalf("%+v", c)
	}
}

// pipe serves an admin port over in-memory connections.
type pipe struct{ handler http.Handler }

func (p pipe) DialPod(_ context.Context, pod proxy.Pod, _ int) (net.Conn, error) {
	if pod.Name == "gone" {
		return nil, errors.New("connection refused")
	}
	client, server := net.Pipe()
	listener := &single{conns: make(chan net.Conn, 1)}
	listener.conns <- &hooked{Conn: server, onClose: sync.OnceFunc(func() { close(listener.conns) })}
	go func() { _ = http.Serve(listener, p.handler) }()
	return client, nil
}

// single is a listener that accepts one connection and ends with it.
type single struct{ conns chan net.Conn }

func (s *single) Accept() (net.Conn, error) {
	if c, ok := <-s.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }

type hooked struct {
	net.Conn
	onClose func()
}

func (h *hooked) Close() error { h.onClose(); return h.Conn.Close() }

func TestReadKeepsErrorsPerProxy(t *testing.T) {
	good := dump(certificate(t).PEM(), certificate(t).PEM())
	mux := http.NewServeMux()
	mux.HandleFunc("/config_dump", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) })
	mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) })
	reader := proxy.Reader{Dialer: pipe{mux}, Now: func() time.Time { return clock }, Concurrency: 1}
	got := map[string]proxy.Result{}
	reader.Read(t.Context(), []proxy.Target{{Pod: proxy.Pod{Name: "gone"}}, {Pod: proxy.Pod{Name: "ok"}}}, func(r proxy.Result) {
		got[r.Target.Pod.Name] = r
	})
	if r := got["gone"]; r.Err == nil || !strings.Contains(r.Err.Error(), "connection refused") || r.Loaded != nil {
		t.Errorf("gone: %+v", r)
	}
	r := got["ok"]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if !strings.Contains(r.Loaded.ContextsError, "404") {
		t.Errorf("the missing second evidence is not said: %q", r.Loaded.ContextsError)
	}
	raw, err := json.Marshal(r.Loaded.ContextsError)
	if err != nil || bytes.Contains(raw, []byte("PRIVATE")) {
		t.Errorf("%s %v", raw, err)
	}
}

func TestReadRefusesAnEndlessAnswer(t *testing.T) {
	endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := bytes.Repeat([]byte(" "), 1<<20)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	for timeout, says := range map[time.Duration]string{10 * time.Minute: "larger than", 50 * time.Millisecond: "no answer within 50ms"} {
		reader := proxy.Reader{Dialer: pipe{endless}, Now: func() time.Time { return clock }, Timeout: timeout}
		reader.Read(t.Context(), []proxy.Target{{}}, func(r proxy.Result) {
			if r.Err == nil || !strings.Contains(r.Err.Error(), says) {
				t.Errorf("%v, want %q", r.Err, says)
			}
		})
	}
}

// TestReadLargeDumps: a ztunnel shows every workload of the mesh, and a gateway every
// credential of its own, beside what is asked for.
func TestReadLargeDumps(t *testing.T) {
	leaf, root := certificate(t), certificate(t)
	b64 := base64.StdEncoding.EncodeToString
	identities := `"certificates": [{"identity":"spiffe://td/ns/a/sa/b","state":"Available","certChain":[{"pem":"` + b64(leaf.PEM()) + `"}],"rootCerts":[{"pem":"` + b64(root.PEM()) + `"}]}]`
	workloads := func(w io.Writer) {
		_, _ = io.WriteString(w, `"workloads": [ {}`)
		one := []byte(`, {"name": "a \"quoted\" [name]}", "uid": "` + strings.Repeat("x", 1<<10) + "\"}\n")
		for range 2 * proxy.MaxAnswer / len(one) {
			if _, err := w.Write(one); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `]`)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"certificates":[]}`) })
	mux.HandleFunc("/config_dump", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			own := strings.TrimSuffix(string(dump(leaf.PEM(), root.PEM())), "]}")
			_, _ = io.WriteString(w, own)
			one := `,{"@type":"x","name":"kubernetes://shop","secret":{"tls_certificate":{"certificate_chain":{"inline_bytes":"` + strings.Repeat("QUFB", 1<<10) + `"}}}}`
			for range 2 * proxy.MaxAnswer / len(one) {
				if _, err := io.WriteString(w, one); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, "]}\n")
			return
		}
		_, _ = io.WriteString(w, "{\n  ")
		workloads(w)
		_, _ = io.WriteString(w, ",\n  "+identities+"\n}\n")
	})
	reader := proxy.Reader{Dialer: pipe{mux}, Now: func() time.Time { return clock }}
	for _, ztunnel := range []bool{true, false} {
		reader.Read(t.Context(), []proxy.Target{{Ztunnel: ztunnel}}, func(r proxy.Result) {
			if r.Err != nil {
				t.Errorf("ztunnel %t: %v", ztunnel, r.Err)
				return
			}
			if i := r.Loaded.Identities; len(i) != 1 || !i[0].Leaf().Equal(leaf) || len(i[0].Roots) != 1 || !i[0].Roots[0].Equal(root) || r.Loaded.ContextsError != "" {
				t.Errorf("ztunnel %t: %+v", ztunnel, r.Loaded)
			}
		})
	}
}

// TestReadManyContexts: /certs has an entry for each live TLS context, of every outbound
// cluster one, and almost all of them are the same.
func TestReadManyContexts(t *testing.T) {
	good := dump(certificate(t).PEM(), certificate(t).PEM())
	entry := func(serial string) string {
		return `{"ca_cert": [{"path": "<inline>", "serial_number": "0a", "subject_alt_names": []}], "cert_chain": [{"path": "` + strings.Repeat("x", 1<<9) + `", "serial_number": "` + serial + `", "subject_alt_names": [{"uri": "spiffe://td/ns/a/sa/b"}]}]}`
	}
	for name, test := range map[string]struct {
		last     string
		contexts int
	}{"all the same": {"", 1}, "one of a gateway's own": {",\n" + entry("0c"), 2}} {
		mux := http.NewServeMux()
		mux.HandleFunc("/config_dump", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) })
		mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) {
			one := entry("0b")
			_, _ = io.WriteString(w, "{\n \"certificates\": [\n"+one)
			for range 2 * proxy.MaxAnswer / len(one) {
				if _, err := io.WriteString(w, ",\n"+one); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, test.last+"]\n}\n")
		})
		mux.HandleFunc("/server_info", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"node":{"metadata":{"ISTIO_VERSION":"1.30.3"}}}`)
		})
		mux.HandleFunc("/clusters", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "c::10.0.0.1:80::cx_total::3\n")
		})
		reader := proxy.Reader{Dialer: pipe{mux}, Now: func() time.Time { return clock }}
		reader.Read(t.Context(), []proxy.Target{{Info: true, Counters: true}}, func(r proxy.Result) {
			switch {
			case r.Err != nil:
				t.Errorf("%s: %v", name, r.Err)
			case len(r.Loaded.Contexts) != test.contexts || r.Loaded.ContextsError != "" || r.Loaded.Info.Istio != "1.30.3" || len(r.Upstreams) != 1:
				t.Errorf("%s: %d contexts, %q, %+v", name, len(r.Loaded.Contexts), r.Loaded.ContextsError, r.Loaded.Info)
			}
		})
	}
}

// What a dump is sifted to says what the whole of it does.
func FuzzSift(f *testing.F) {
	f.Add(dump(certificate(f).PEM(), certificate(f).PEM()))
	f.Add(spireDump(certificate(f).PEM(), trustDomain("a", certificate(f).PEM()), trustDomain("b", certificate(f).PEM())))
	f.Add([]byte(`{"configs":[{"dynamic_active_secrets":[{"name":"default","secret":{}}],"dynamic_warming_secrets":[{"name":"ROOTCA"}]},{"x":[1,{"y":"\"]"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		whole, wantErr := proxy.ParseSecrets(raw, clock)
		if wantErr != nil {
			return
		}
		sifted, err := proxy.SiftSecrets(raw)
		if err != nil {
			return // what encoding/json lets pass, and no Envoy writes
		}
		if got, err := proxy.ParseSecrets(sifted, clock); err == nil && !reflect.DeepEqual(got, whole) {
			t.Errorf("%+v, want %+v", got, whole)
		}
	})
}

// TestReadAWholeDump: an Envoy of before 1.13 knows no ?resource=, and answers with all
// that it has: in a mesh of some hundred services more than any other answer may be long.
// Of that its secrets and its bootstrap are kept.
func TestReadAWholeDump(t *testing.T) {
	chain, roots := certificate(t), certificate(t)
	secrets := dump(chain.PEM(), roots.PEM())
	active := bytes.TrimSuffix(bytes.TrimPrefix(secrets, []byte(`{"configs":`)), []byte("}"))
	filler := `{"name": "outbound|80||a.b", "text": "` + strings.Repeat(`x\"}],{[`, 1<<10) + `", "n": [1, -2.5e3, true, null, {"a": []}]}`
	for name, test := range map[string]struct {
		services int
		end      string
		err      string
	}{
		"large":   {2 * proxy.MaxAnswer / len(filler), "\n ]}\n", ""},
		"endless": {(proxy.MaxCounters + 1<<20) / len(filler), "]}", "larger than"},
		"cut":     {2 * proxy.MaxAnswer / len(filler), "", "config dump"},
	} {
		mux := http.NewServeMux()
		mux.HandleFunc("/config_dump", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{ "configs" : [ {"@type":"b","bootstrap":{"static_resources":{"clusters":[{"name":"xds-grpc","hosts":[{"socket_address":{"address":"istio-pilot","port_value":15010}}]}]}}},`, "\n",
				`{"@type":"c","dynamic_active_clusters":[`, filler)
			for range test.services {
				if _, err := fmt.Fprint(w, ",\n", filler); err != nil {
					return
				}
			}
			fmt.Fprintf(w, `]}, {"dynamic_active_secrets":%s, "@type":"s"}`, active)
			fmt.Fprint(w, test.end)
		})
		reader := proxy.Reader{Dialer: pipe{mux}, Now: func() time.Time { return clock }, Timeout: time.Minute}
		reader.Read(t.Context(), []proxy.Target{{Bootstrap: true}}, func(r proxy.Result) {
			switch {
			case test.err != "":
				if r.Err == nil || !strings.Contains(r.Err.Error(), test.err) {
					t.Errorf("%s: %v", name, r.Err)
				}
			case r.Err != nil || !r.Loaded.Identities[0].Leaf().Equal(chain) || !r.Loaded.Identities[0].Roots[0].Equal(roots):
				t.Errorf("%s: %v %+v", name, r.Err, r.Loaded)
			case r.Loaded.ControlPlane == nil || r.Loaded.ControlPlane.Address != "istio-pilot:15010":
				t.Errorf("%s: the bootstrap is lost: %+v", name, r.Loaded.ControlPlane)
			}
		})
	}
}

// TestReadCounters: a proxy that knows a whole large mesh says more of it than any
// other answer may be long, and not without end.
func TestReadCounters(t *testing.T) {
	good := dump(certificate(t).PEM(), certificate(t).PEM())
	for _, test := range []struct {
		bytes int
		fits  bool
	}{{2 * proxy.MaxAnswer, true}, {proxy.MaxCounters + 1<<20, false}} {
		mux := http.NewServeMux()
		mux.HandleFunc("/config_dump", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) })
		mux.HandleFunc("/clusters", func(w http.ResponseWriter, _ *http.Request) {
			line := []byte("outbound|80||a.b::10.0.0.1:80::health_flags::" + strings.Repeat("x", 1<<19) + "\n")
			for range test.bytes / len(line) {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
			_, _ = w.Write([]byte("outbound|80||a.b::10.0.0.1:80::cx_total::3\n" + strings.Repeat("\n", 1<<19)))
		})
		reader := proxy.Reader{Dialer: pipe{mux}, Now: func() time.Time { return clock }}
		reader.Read(t.Context(), []proxy.Target{{Counters: true}}, func(r proxy.Result) {
			if test.fits && (r.Err != nil || len(r.Upstreams) != 1 || r.Upstreams[0].Connections != 3) || !test.fits && (r.Err == nil || !strings.Contains(r.Err.Error(), "/clusters: the answer is larger than")) {
				t.Errorf("%d bytes: %v %+v", test.bytes, r.Err, r.Upstreams)
			}
		})
	}
}

func TestReadGivesUpOnAMuteProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		reader := proxy.Reader{Dialer: pipe{mute}, Now: time.Now, Timeout: 3 * time.Second}
		began := time.Now()
		reader.Read(t.Context(), []proxy.Target{{}}, func(r proxy.Result) {
			if r.Err == nil || !strings.Contains(r.Err.Error(), "no answer within 3s") {
				t.Errorf("%v", r.Err)
			}
		})
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("gave up after %s", took)
		}
	})
}

func FuzzParseSecrets(f *testing.F) {
	f.Add(dump(certificate(f).PEM(), certificate(f).PEM()))
	f.Add(spireDump(certificate(f).PEM(), trustDomain("a", certificate(f).PEM()), trustDomain("b", certificate(f).PEM())))
	f.Add([]byte(`{"configs":[{"dynamic_active_secrets":[{"name":"default"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		loaded, err := proxy.ParseSecrets(raw, clock)
		if err == nil && (len(loaded.Identities) == 0 || loaded.Identities[0].Leaf() == nil || len(loaded.Identities[0].Roots) == 0) {
			t.Fatal("no error, and something is missing")
		}
		if err == nil {
			for _, d := range loaded.Identities[0].Domains {
				if d.Name == "" || len(d.Roots) == 0 {
					t.Fatal("a bundle of no trust domain, or of no root")
				}
			}
		}
		_, _ = proxy.ParseCerts(raw)
	})
}
