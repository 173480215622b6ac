package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// TestS31_ControlPlaneTLS reads the bootstraps of three ages.
func TestS31_ControlPlaneTLS(t *testing.T) {
	const files = `"common_tls_context":{"alpn_protocols":["h2"],"tls_certificates":%s,
		"validation_context":{"trusted_ca":{"filename":"/etc/certs/root-cert.pem"},"verify_subject_alt_name":["spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account"]}}`
	const pair = `{"certificate_chain":{"filename":"/etc/certs/cert-chain.pem"},"private_key":{"filename":"/etc/certs/key.pem"}}`
	citadel := &proxy.ControlPlaneTLS{
		Address: "istio-pilot.istio-system:15011", TLS: true, CertificatePath: "/etc/certs/cert-chain.pem", KeyPath: "/etc/certs/key.pem",
		RootPath: "/etc/certs/root-cert.pem", SANs: []string{"spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account"},
	}
	hosts := `"hosts":[{"socket_address":{"address":"istio-pilot.istio-system","port_value":15011}}]`
	for name, test := range map[string]struct {
		cluster string
		want    *proxy.ControlPlaneTLS
	}{
		"0.8, one object for a list": {hosts + `,"tls_context":{` + fmt.Sprintf(files, pair) + `}`, citadel},
		"1.4":                        {hosts + `,"tls_context":{` + fmt.Sprintf(files, "["+pair+"]") + `}`, citadel},
		"1.4 without control-plane security": {`"load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"istio-pilot","port_value":15010}}}}]}]}`,
			&proxy.ControlPlaneTLS{Address: "istio-pilot:15010"}},
		"1.6, over SDS": {`"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"common_tls_context":{"tls_certificate_sds_secret_configs":[{"name":"default"}],
			"combined_validation_context":{"default_validation_context":{"match_typed_subject_alt_names":[{"san_type":"DNS","matcher":{"exact":"istiod.istio-system.svc"}}]},"validation_context_sds_secret_config":{"name":"ROOTCA"}}}}}`,
			&proxy.ControlPlaneTLS{TLS: true, CertificatePath: "sds:default", RootPath: "sds:ROOTCA", SANs: []string{"istiod.istio-system.svc"}}},
		"today, through the agent": {`"load_assignment":{"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"pipe":{"path":"./etc/istio/proxy/XDS"}}}}]}]}`,
			&proxy.ControlPlaneTLS{Address: "./etc/istio/proxy/XDS", Agent: true}},
		"an inline root is not shown": {`"tls_context":{"common_tls_context":{"validation_context":{"trusted_ca":{"inline_string":"secret"}}}}`, &proxy.ControlPlaneTLS{TLS: true, RootPath: "inline"}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := `{"configs":[{"@type":"clusters","static_clusters":[]},{"@type":"b","bootstrap":{"static_resources":{"clusters":[{"name":"prometheus_stats"},{"name":"xds-grpc",` + test.cluster + `}]}}}]}`
			got, err := proxy.ParseBootstrap([]byte(raw))
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if _, err := proxy.ParseBootstrap([]byte(`{"configs":[{"bootstrap":{}}]}`)); !errors.Is(err, proxy.ErrNoControlPlane) {
		t.Errorf("no such cluster: %v", err)
	}
	if _, err := proxy.ParseBootstrap([]byte("no JSON")); err == nil {
		t.Error("no JSON")
	}
}

// TestS11_MountedCertificates: a proxy of Istio 1.4 and before has no dynamic
// secret, and is read by /certs.
func TestS11_MountedCertificates(t *testing.T) {
	answer := func(certs string) *proxy.Result {
		mux := http.NewServeMux()
		mux.HandleFunc("/config_dump", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("mask") == "bootstrap" {
				fmt.Fprint(w, `{"configs":[{"bootstrap":{"static_resources":{"clusters":[{"name":"xds-grpc"}]}}}]}`)
				return
			}
			fmt.Fprint(w, `{"configs":[]}`)
		})
		mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, certs) })
		var result proxy.Result
		reader := proxy.Reader{Dialer: pipe{handler: mux}, Now: func() time.Time { return clock }}
		reader.Read(t.Context(), []proxy.Target{{Pod: proxy.Pod{Namespace: "a", Name: "b"}, AdminPort: 15000, Bootstrap: true}}, func(r proxy.Result) { result = r })
		return &result
	}
	r := answer(`{"certificates":[{"ca_cert":[{"serial_number":"0A","valid_from":"2019-06-06T03:24:43Z"}],"cert_chain":[{"serial_number":"0b","subject_alt_names":[{"uri":"spiffe://cluster.local/ns/a/sa/default"}]}]}]}`)
	if r.Err != nil || r.Loaded.Evidence != proxy.EvidenceCerts || len(r.Loaded.Identities) != 0 || len(r.Loaded.Contexts) != 1 || r.Loaded.Contexts[0].CASerial != "a" {
		t.Fatalf("%+v, %v", r.Loaded, r.Err)
	}
	if r.Loaded.ControlPlane == nil || r.Loaded.ControlPlane.TLS {
		t.Errorf("control plane: %+v", r.Loaded.ControlPlane)
	}
	// A gateway's own credential alone is no mesh certificate.
	if r := answer(`{"certificates":[{"cert_chain":[{"serial_number":"0b"}]}]}`); !errors.Is(r.Err, proxy.ErrNoSecrets) {
		t.Errorf("%+v, %v", r.Loaded, r.Err)
	}
}
