package rotation_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// shortSigner is a mesh whose root lives for years, and whose intermediate ends after a
// time.
func shortSigner(t *testing.T, left time.Duration, change func(*rehearsal.Spec)) *bench {
	t.Helper()
	root, _ := ca(t, "long")
	signer, err := root.NewIntermediate(pki.Request{Subject: name("intermediate short"), Key: pki.ECDSAP256, Now: time.Now(), PathLen: 0, Lifetime: left})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(s *rehearsal.Spec) { s.CA = signer; change(s) })
	b.oldRoot, b.old = root, signer
	return b
}

// A certificate holds no longer than the intermediate that it comes from: a strategy that
// waits beyond that is too late, as it is beyond the root's end. What is waited for once
// nobody has a certificate of it is no reason.
func TestOldIntermediateEnds(t *testing.T) {
	for _, row := range []struct {
		name     string
		strategy rotation.Strategy
		left     time.Duration
		mesh     func(*rehearsal.Spec)
		prepare  func(*bench)
		possible bool
	}{
		{"two renewals are too long", rotation.BundleByRenewal, 2 * time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour }, nil, false},
		{"there is time for two renewals", rotation.BundleByRenewal, 60 * time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour }, nil, true},
		{"restarts wait for nothing of it", rotation.BundleByRestart, 2 * time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour }, nil, true},
		{"pushes wait for nothing", rotation.HotBundle, 2 * time.Hour, func(*rehearsal.Spec) {}, nil, true},
		{"the first renewal of a cross-signed chain", rotation.CrossSign, 2 * time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour }, (*bench).cross, false},
		{"the second renewal of a cross-signed chain", rotation.CrossSign, 15 * time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour }, (*bench).cross, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := shortSigner(t, row.left, row.mesh)
				if row.prepare != nil {
					row.prepare(b)
				}
				b.config.Strategy = row.strategy
				plan := rotation.NewPlan(b.snapshot(), b.config)
				late := slices.ContainsFunc(plan.Refusals, func(r rotation.Refusal) bool {
					return strings.Contains(r.Why, "the old intermediate CN=intermediate short ends in")
				})
				if row.possible != (len(plan.Refusals) == 0) || row.possible == late {
					t.Errorf("possible %t: %v", len(plan.Refusals) == 0, plan.Refusals)
				}
			})
		})
	}
}

// snapshot is the mesh as a plan sees it.
func (b *bench) snapshot() *mesh.Snapshot {
	b.t.Helper()
	s, err := b.collector().Collect(b.ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	s.Gaps = nil
	b.prober.Strongest = false
	b.prober.Probe(b.ctx, s, []*pki.Certificate{b.oldRoot.Cert})
	return s
}

// Another intermediate under the same root reaches those whom no push does in time, where
// the old one ends before they renew.
func TestIntermediateIsHurried(t *testing.T) {
	for name, row := range map[string]struct {
		left  time.Duration
		waves bool
	}{"it ends before they renew": {30 * time.Minute, true}, "they renew before it ends": {4 * time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := shortSigner(t, row.left, func(s *rehearsal.Spec) { mixed(s); s.TTL = 2 * time.Hour })
				b.sameRoot()
				b.config.Strategy, b.engine.Timeout = rotation.Intermediate, 24*time.Hour
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				b.whole()
				b.ended()
				if restarts := b.restarts(); (restarts[1] > 0) != row.waves {
					t.Errorf("%d pods of workloads are restarted", restarts[1])
				}
			})
		})
	}
}

// What is left of a CA's life is counted on the cluster's clock: this machine's may be
// days behind.
func TestOldCAEndsByTheClusterClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ending(t, 6*time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL = 24 * time.Hour })
		b.config.Strategy = rotation.BundleByRenewal
		for _, skew := range []time.Duration{0, -48 * time.Hour, 20 * time.Hour} {
			s := b.snapshot()
			s.TakenAt, s.ClockSkew = s.TakenAt.Add(skew), mesh.Duration(skew)
			plan := rotation.NewPlan(s, b.config)
			if !slices.ContainsFunc(plan.Refusals, func(r rotation.Refusal) bool { return strings.Contains(r.Why, "the old root ends in 6h0m0s") }) {
				t.Errorf("%s: %v", skew, plan.Refusals)
			}
		}
	})
}

// A certificate that lies in the chain's file and vouches for nobody ends without a loss.
func TestStrayCertificateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cold)
		stray, err := b.oldRoot.NewIntermediate(pki.Request{Subject: name("stray"), Key: pki.ECDSAP256, Now: time.Now().Add(-48 * time.Hour), PathLen: 0, Lifetime: 49 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s := b.snapshot()
		ca := &s.ControlPlanes[0].CA
		ca.Chain = pki.NewBundle(append(slices.Clone(ca.Chain.Certs), stray.Cert)...)
		b.config.Strategy, b.config.TrustFileWait = rotation.BundleByRenewal, 2*time.Hour
		if plan := rotation.NewPlan(s, b.config); len(plan.Refusals) > 0 {
			t.Errorf("refused: %v", plan.Refusals)
		}
	})
}

// A way back leads to a CA that must hold for the way itself, and then for long enough to
// leave it again.
func TestBackToACAThatEnds(t *testing.T) {
	plain := func(s *rehearsal.Spec) { cold(s); s.TTL = time.Hour }
	for _, row := range []struct {
		name         string
		strategy     rotation.Strategy
		root, signer time.Duration
		mesh         func(*rehearsal.Spec)
		refused      string // as what ends
		warned       bool
	}{
		{"the root ends on the way", rotation.BundleByRenewal, time.Hour, time.Hour, plain, "root short", false},
		{"the root ends with the last leaf", rotation.BundleByRenewal, 150 * time.Minute, 150 * time.Minute, plain, "root short", false},
		{"the intermediate ends on the way", rotation.BundleByRenewal, 1000 * time.Hour, time.Hour, plain, "intermediate short", false},
		{"little is left behind the way", rotation.BundleByRenewal, 5 * time.Hour, 5 * time.Hour, plain, "", true},
		{"there is time", rotation.BundleByRenewal, 1000 * time.Hour, 1000 * time.Hour, plain, "", false},
		{"by push there is little", rotation.HotBundle, 20 * time.Hour, 20 * time.Hour, func(*rehearsal.Spec) {}, "root short", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := endingAt(t, row.root, row.signer, row.mesh)
				b.config.Strategy, b.config.Back = row.strategy, true
				of := func(all []rotation.Refusal) int {
					return slices.IndexFunc(all, func(r rotation.Refusal) bool { return r.ID == rotation.OldCAEnds })
				}
				plan := rotation.NewPlan(b.snapshot(), b.config)
				if i := of(plan.Refusals); (i >= 0) != (row.refused != "") || i >= 0 && !strings.Contains(plan.Refusals[i].Object, row.refused) {
					t.Errorf("refused: %v", plan.Refusals)
				}
				if warned := of(plan.Warnings) >= 0; warned != row.warned {
					t.Errorf("warned %t: %v", warned, plan.Warnings)
				}
				b.config.Override = []string{rotation.OldCAEnds}
				plan = rotation.NewPlan(b.snapshot(), b.config)
				if of(plan.Refusals) >= 0 || row.refused != "" && of(plan.Warnings) < 0 {
					t.Errorf("overridden: %v, %v", plan.Refusals, plan.Warnings)
				}
				b.config.Override, b.config.Back = nil, false
				if plan = rotation.NewPlan(b.snapshot(), b.config); of(plan.Refusals)+of(plan.Warnings) != -2 {
					t.Errorf("forward: %v, %v", plan.Refusals, plan.Warnings)
				}
			})
		})
	}
}

// Half-way, with minutes left of the old root, everybody stays where he is served.
func TestNoWayBackIsBegunThatEndsOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := ending(t, 3*time.Hour, func(s *rehearsal.Spec) { cold(s); s.TTL, s.Replicas, s.Namespaces = time.Hour, 1, []string{"b"} })
		b.config.Strategy, b.engine.Timeout, b.engine.Until = rotation.BundleByRenewal, 5*time.Hour, rotation.SignNew
		if err := b.run(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(b.oldRoot.Cert.X509.NotAfter) - 20*time.Minute)
		b.engine.Until, b.engine.Back, b.config.Back, b.events = "", true, true, nil
		if err := b.run(); !errors.Is(err, rotation.ErrRefused) {
			t.Errorf("it ends with %v", err)
		}
		if slices.ContainsFunc(b.events, func(e rotation.Event) bool { return e.Kind == rotation.EventWrite }) {
			t.Error("something was written")
		}
		time.Sleep(time.Hour)
		b.whole()
	})
}
