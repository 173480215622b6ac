package mesh_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
)

// clock is the moment all these tests take place at.
var clock = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// authority is a certificate with its key, in the forms that objects hold.
type authority struct {
	cert *pki.Certificate
	pem  []byte
	key  []byte
	sign *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("spiffe://cluster.local/ns/a/sa/" + name)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{uri},
		NotBefore: clock.Add(-time.Hour), NotAfter: clock.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.cert.X509, parent.sign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pki.NewCertificate(der)
	return &authority{cert, cert.PEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), key}
}

func secret(name string, data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name, CreationTimestamp: metav1.NewTime(clock.Add(-48 * time.Hour))}, Data: data,
	}
}

// plugged is the Opaque layout of a CA.
func plugged(root, ca *authority) map[string][]byte {
	return map[string][]byte{"ca-cert.pem": ca.pem, "ca-key.pem": ca.key, "cert-chain.pem": ca.pem, "root-cert.pem": root.pem}
}

func selfSigned(root *authority) map[string][]byte {
	return map[string][]byte{"ca-cert.pem": root.pem, "ca-key.pem": root.key, "cert-chain.pem": {}, "key.pem": {}, "root-cert.pem": root.pem}
}

// istiod is a Deployment whose rollout is complete.
func istiod(revision, image string, env ...corev1.EnvVar) *appsv1.Deployment {
	name := "istiod"
	if revision != "default" {
		name += "-" + revision
	}
	replicas := int32(1)
	labels := map[string]string{"app": "istiod", "istio.io/rev": revision}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: name, Labels: labels, Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "discovery", Image: image, Env: env}}}},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1},
	}
}

// replica is a ready pod of a Deployment.
func replica(d *appsv1.Deployment, suffix string) *corev1.Pod {
	labels := map[string]string{"pod-template-hash": "abc"}
	for k, v := range d.Spec.Template.Labels {
		labels[k] = v
	}
	pod := running("istio-system", d.Name+"-abc-"+suffix, labels, d.Spec.Template.Spec.Containers...)
	pod.OwnerReferences = controlledBy("ReplicaSet", d.Name+"-abc")
	return pod
}

func controlledBy(kind, name string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}
}

func running(namespace, name string, labels map[string]string, containers ...corev1.Container) *corev1.Pod {
	started := metav1.NewTime(clock.Add(-24 * time.Hour))
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name), Labels: labels},
		Spec:       corev1.PodSpec{NodeName: "node", Containers: containers},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, StartTime: &started,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func agent(env ...corev1.EnvVar) corev1.Container {
	return corev1.Container{Name: "istio-proxy", Image: "hub/proxyv2:1.30.3", Args: []string{"proxy", "sidecar"}, Env: env}
}

func env(pairs ...string) (all []corev1.EnvVar) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
	}
	return all
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func configMap(namespace, name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
}

func trust(namespace string, roots []byte) *corev1.ConfigMap {
	return configMap(namespace, "istio-ca-root-cert", map[string]string{"root-cert.pem": string(roots)})
}

func injector(name string, labels map[string]string, service string, bundle []byte) *admissionv1.MutatingWebhookConfiguration {
	return &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: "inject.istio.io", ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "istio-system", Name: service}, CABundle: bundle},
	}}}
}

// collector sees the objects given, and the proxies through admin.
func collector(admin http.Handler, objects ...runtime.Object) (*mesh.Collector, *fake.Clientset) {
	kube := fake.NewClientset(objects...)
	c := &mesh.Collector{Kube: kube, Dynamic: entries(), Now: func() time.Time { return clock }}
	if admin != nil {
		c.Dialer = pipe{admin}
	}
	return c, kube
}

func entries(objects ...runtime.Object) *dynamicfake.FakeDynamicClient {
	lists := map[schema.GroupVersionResource]string{}
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		lists[schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: "workloadentries"}] = "WorkloadEntryList"
	}
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, objects...)
}

func collect(t testing.TB, c *mesh.Collector) *mesh.Snapshot {
	t.Helper()
	s, err := c.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// envoy is an admin port that shows a chain and roots.
func envoy(chain, roots []byte) http.Handler {
	b64 := base64.StdEncoding.EncodeToString
	mux := http.NewServeMux()
	mux.HandleFunc("/config_dump", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" { // a ztunnel's
			fmt.Fprintf(w, `{"certificates":[{"identity":"spiffe://td/ns/a/sa/b","state":"Available","certChain":[{"pem":%q}],"rootCerts":[{"pem":%q}]}]}`, b64(chain), b64(roots))
			return
		}
		fmt.Fprintf(w, `{"configs":[{"name":"default","secret":{"tls_certificate":{"certificate_chain":{"inline_bytes":%q}}}},`+
			`{"name":"ROOTCA","secret":{"validation_context":{"trusted_ca":{"inline_bytes":%q}}}}]}`, b64(chain), b64(roots))
	})
	mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"certificates":[]}`) })
	mux.HandleFunc("/server_info", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"version":"abc/1.38.1/Clean/RELEASE/BoringSSL","node":{"metadata":{}}}`)
	})
	mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "1.30.3-abcdef-Clean") })
	mux.HandleFunc("/clusters", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "c::10.0.0.1:80::cx_total::3\n")
	})
	return mux
}

// pipe serves every port of every pod over in-memory connections.
type pipe struct{ handler http.Handler }

func (p pipe) DialPod(_ context.Context, pod proxy.Pod, _ int) (net.Conn, error) {
	if pod.Name == "mute" {
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

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
