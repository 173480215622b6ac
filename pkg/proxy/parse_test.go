package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func TestParseClusters(t *testing.T) {
	raw := []byte(`outbound|80||server.b::observability_name::outbound|80||server.b
outbound|80||server.b::10.0.0.1:8080::cx_total::12
outbound|80||server.b::10.0.0.1:8080::cx_connect_fail::3
outbound|80||server.b::10.0.0.1:8080::rq_error::2
outbound|80||server.b::10.0.0.1:8080::rq_success::9
outbound|80||server.b::10.0.0.1:8080::rq_total::11
outbound|80||server.b::[fd00::1]:8080::cx_total::7
outbound|80||server.b::[fd00::1]:8080::health_flags::healthy
`)
	got, err := proxy.ParseClusters(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Connections != 12 || got[0].ConnectFail != 3 || got[0].Errors != 2 || got[0].Successes != 9 || got[0].Requests != 11 || got[1].Endpoint != "[fd00::1]:8080" || got[1].Connections != 7 {
		t.Errorf("%+v", got)
	}
	if _, err := proxy.ParseClusters([]byte("a::b::cx_total::many\n")); err == nil {
		t.Error("a counter that is no number passed")
	}
}

func TestParseZtunnel(t *testing.T) {
	leaf, root := certificate(t).PEM(), certificate(t).PEM()
	pem := func(c []byte) map[string]string {
		return map[string]string{"pem": base64.StdEncoding.EncodeToString(c)}
	}
	zdump := func(v any) []byte {
		raw, err := json.Marshal(map[string]any{"certificates": v})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	now := time.Now()
	got, err := proxy.ParseZtunnel(zdump([]any{
		map[string]any{"identity": "spiffe://td/ns/a/sa/b", "state": "Available", "certChain": []any{pem(leaf)}, "rootCerts": []any{pem(root), pem(root)}},
		map[string]any{"identity": "spiffe://td/ns/a/sa/c", "state": map[string]string{"Unavailable": "no"}},
		map[string]any{"identity": "spiffe://td/ns/a/sa/old", "state": "Available", "certChain": []any{pem(leaf), pem(root)}},
	}), now)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Identities) != 3 || len(got.Identities[0].Roots) != 2 || got.Identities[0].State != "" || got.Identities[1].State == "" ||
		len(got.Identities[2].Roots) != 1 || len(got.Identities[2].Chain) != 1 {
		t.Errorf("%+v", got.Identities)
	}
	for _, bad := range []string{"", "{}", `{"certificates":[{"certChain":[{"pem":"!"}]}]}`} {
		if _, err := proxy.ParseZtunnel([]byte(bad), now); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func FuzzParseClusters(f *testing.F) {
	f.Add([]byte("a::b::cx_total::1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := proxy.ParseClusters(raw)
		if err != nil && all != nil {
			t.Error("counters beside an error")
		}
	})
}

func FuzzParseZtunnel(f *testing.F) {
	f.Add([]byte(`{"certificates":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if l, err := proxy.ParseZtunnel(raw, time.Time{}); (l == nil) == (err == nil) {
			t.Error("neither or both of result and error")
		}
	})
}

// A vendor's own number, or a company's, is no release of Istio's: what can be told then is
// told by the Envoy.
func TestParseInfo(t *testing.T) {
	for said, want := range map[string]string{
		"1.30.3": "1.30.3", "1.20.3-asm.4": "1.20.3-asm.4", "1.31.0-rc.0": "1.31.0-rc.0", "0.8.0": "0.8.0",
		"2.5.2": "", "2024.5.1": "", "unknown": "", "1.22-dev": "", "": "",
	} {
		info, err := proxy.ParseInfo([]byte(`{"version":"abc/1.26.8/Clean/RELEASE/BoringSSL","node":{"metadata":{"ISTIO_VERSION":"` + said + `"}}}`))
		if err != nil || info.Istio != want || info.Envoy != "1.26.8" {
			t.Errorf("%q: %+v, %v", said, info, err)
		}
	}
}
