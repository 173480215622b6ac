package proxy_test

import (
	"math"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func FuzzParseCerts(f *testing.F) {
	f.Add([]byte(`{"certificates":[{"ca_cert":[{"serial_number":"0A"}],"cert_chain":[{"serial_number":"b","valid_from":"2026-01-01T00:00:00Z","subject_alt_names":[{"uri":"spiffe://a/ns/b/sa/c"}]}]}]}`))
	f.Add([]byte(`{"certificates":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := proxy.ParseCerts(raw)
		if err != nil && all != nil {
			t.Error("contexts beside an error")
		}
		for _, c := range all {
			if c == (proxy.Context{}) {
				t.Error("a context of nothing")
			}
		}
	})
}

func FuzzParseBootstrap(f *testing.F) {
	f.Add([]byte(`{"configs":[{"bootstrap":{"static_resources":{"clusters":[{"name":"xds-grpc","hosts":[{"socket_address":{"address":"istio-pilot","port_value":15010}}]}]}}}]}`))
	f.Add([]byte(`{"configs":[{"bootstrap":{"static_resources":{"clusters":[{"name":"xds-grpc","transport_socket":{"typed_config":{"common_tls_context":{}}}}]}}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if found, err := proxy.ParseBootstrap(raw); (found == nil) == (err == nil) {
			t.Error("neither or both of result and error")
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(`{"version":"c/1.40.0/Clean/RELEASE/BoringSSL","node":{"metadata":{"ISTIO_VERSION":"1.31.0"}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		info, err := proxy.ParseInfo(raw)
		if err != nil && info != (proxy.Info{}) {
			t.Error("a release beside an error")
		}
	})
}

func FuzzParseClients(f *testing.F) {
	f.Add([]byte(`[{"proxy":"a.b.ns","cluster_sent":"1","cluster_acked":"2"}]`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := proxy.ParseClients(raw)
		if (all == nil) != (err != nil) {
			t.Error("neither or both of result and error")
		}
	})
}

func FuzzParseLeafSeconds(f *testing.F) {
	for _, text := range []string{
		"istio_agent_cert_expiry_seconds{resource_name=\"default\"} 86399.2\n",
		"istio_agent_cert_expiry_seconds{} NaN\n", "istio_agent_cert_expiry_seconds{} +Inf\n", "istio_agent_cert_expiry_seconds{} -12\n", "x 1\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		seconds, err := proxy.ParseLeafSeconds(raw)
		if err == nil && (math.IsNaN(seconds) || math.Abs(seconds)*1e9 >= math.MaxInt64) {
			t.Errorf("%v seconds are no time", seconds)
		}
	})
}
