package scenario_test

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal/scenario"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// A hot mesh from its start to the proof of its end, and the most memory that the
// process has had by then, where the system says.
func BenchmarkRotate(b *testing.B) {
	defer rehearsal.Lean()() // as the command does
	for _, proxies := range []int{1000, 10000} {
		b.Run(fmt.Sprint(proxies), func(b *testing.B) {
			for b.Loop() {
				rotateMany(b, proxies)
			}
			b.ReportMetric(peak(), "MiB-peak")
		})
	}
}

func rotateMany(b *testing.B, proxies int) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	clock := rehearsal.NewVirtual(time.Now())
	go clock.Run(ctx, wall{})
	root, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root A"}, Now: clock.Now()})
	if err != nil {
		b.Fatal(err)
	}
	next, err := pki.NewRoot(pki.Request{Subject: pkix.Name{CommonName: "root B"}, Now: clock.Now()})
	if err != nil {
		b.Fatal(err)
	}
	signer, err := next.NewIntermediate(pki.Request{Subject: pkix.Name{CommonName: "intermediate B"}, Now: clock.Now()})
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
	trial := &scenario.Trial{Mesh: m, Clock: clock, Config: rotation.Config{New: signer, CSRProof: true}}
	if out := trial.Run(ctx); out.Err != nil || !out.Proof.Open() {
		b.Fatalf("it ends with %v", out.Err)
	}
	if failed, judged := m.Failures(); len(failed) > 0 || judged == 0 {
		b.Fatalf("%d of %d pairs failed", len(failed), judged)
	}
}

// peak is this process's largest resident set in MiB, zero where nobody says.
func peak() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	fmt.Sscan(rest, &kib)
	return kib / 1024
}
