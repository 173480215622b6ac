package plugin

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"fmt"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/check"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
)

// savedMesh is a Snapshot of a mesh of 50 namespaces as it is saved, every proxy with
// a leaf of its own.
func savedMesh(b *testing.B, proxies int) []byte {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	clock := rehearsal.NewVirtual(time.Now())
	go clock.Run(ctx, wallClock{})
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root A"}, Now: clock.Now()})
	if err != nil {
		b.Fatal(err)
	}
	spec := rehearsal.Spec{CA: root, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 3, Proxies: proxies / 50, TTL: 24 * time.Hour, Lag: time.Second}
	for n := range 50 {
		spec.Namespaces = append(spec.Namespaces, fmt.Sprintf("ns-%02d", n))
	}
	m, err := rehearsal.New(ctx, clock, spec)
	if err != nil {
		b.Fatal(err)
	}
	s, err := m.Collector().Collect(ctx)
	if err != nil {
		b.Fatal(err)
	}
	m.Prober(true).Probe(ctx, s, []*pki.Certificate{root.Cert})
	var text bytes.Buffer
	if err := s.WriteJSON(&text); err != nil {
		b.Fatal(err)
	}
	return text.Bytes()
}

// BenchmarkVerdicts10000 is all that is said of a saved mesh of 10,000 proxies: it is
// read, checked, its releases audited and its classes held against each other. The
// bound is 1.5 s on two cores.
func BenchmarkVerdicts10000(b *testing.B) {
	const proxies = 10_000
	text := savedMesh(b, proxies)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s, err := mesh.ReadSnapshot(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		report, versions, pairs := check.Run(s, check.DefaultPolicy()), newVersionReport(s), check.Matrix(check.Classes(s), s.TakenAt)
		if len(s.Proxies) != proxies || len(report.Passed) == 0 || len(versions.Items) < proxies || len(pairs) == 0 {
			b.Fatalf("%d proxies, %d rules passed, %d audited, %d pairs", len(s.Proxies), len(report.Passed), len(versions.Items), len(pairs))
		}
	}
}
