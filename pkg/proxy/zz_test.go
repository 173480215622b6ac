package proxy

import (
	"net/url"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func BenchmarkDialer(b *testing.B) {
	config := &rest.Config{Host: "https://127.0.0.1:6443", TLSClientConfig: rest.TLSClientConfig{CAFile: "/tmp/old/pk/c.pem", CertFile: "/tmp/old/pk/c.pem", KeyFile: "/tmp/old/pk/k.pem"}}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	p, err := NewPortForward(config, kube)
	if err != nil {
		b.Fatal(err)
	}
	u, _ := url.Parse("https://127.0.0.1:6443/api")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.dialer(u); err != nil {
			b.Fatal(err)
		}
	}
}
