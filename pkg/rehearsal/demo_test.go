package rehearsal_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
)

type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Every built-in mesh is whole as one sees it from outside: nothing unread, no pair
// that fails, every proxy reached as its flags say.
func TestDemosAreWhole(t *testing.T) {
	for _, name := range rehearsal.Demos() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				d, err := rehearsal.Demo(ctx, wall{}, name)
				if err != nil {
					t.Fatal(err)
				}
				s, err := d.Mesh.Collector().Collect(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if len(s.Gaps) > 0 {
					t.Errorf("gaps: %v", s.Gaps)
				}
				if len(s.Proxies) != 40 {
					t.Errorf("%d proxies", len(s.Proxies))
				}
				want := mesh.ReachPush
				if name == "cold" {
					want = mesh.ReachRenewal
				}
				for _, p := range s.Proxies {
					if p.Loaded == nil || p.Reach != want {
						t.Errorf("%s: %s (%s), %s", p.Ref(), p.Reach, p.ReachWhy, p.Error)
					}
				}
				if failed, judged := d.Mesh.Failures(); len(failed) > 0 || judged < 1600 {
					t.Errorf("%d of %d pairs failed", len(failed), judged)
				}
			})
		})
	}
}

func TestPacedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		clock := rehearsal.NewPaced(began, 60)
		go clock.Run(ctx, wall{})
		<-clock.After(time.Hour)
		if real := time.Since(began); real != time.Minute {
			t.Errorf("an hour took %s", real)
		}
		if now := clock.Now(); !now.Equal(began.Add(time.Hour)) {
			t.Errorf("it is %s", now)
		}
		cancel()
	})
}

// slow is a base that the machine gives a turn every second only.
type slow struct{ wall }

func (s slow) After(time.Duration) <-chan time.Time { return s.wall.After(time.Second) }

// Where it gets no turns it falls behind, instead of leaving those behind who wait.
func TestPacedClockFallsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		clock := rehearsal.NewPaced(began, 600)
		go clock.Run(ctx, slow{})
		for range 50 {
			before := clock.Now()
			at := <-clock.After(time.Second)
			if late := at.Sub(before); late > 4*time.Second {
				t.Fatalf("a second took %s", late)
			}
		}
		cancel()
	})
}

// Whoever reads a proxy, or does what was due, is not overtaken: a slow machine makes
// a demonstration longer, and lets no certificate end.
func TestPacedClockFollowsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		clock := rehearsal.NewPaced(time.Now(), 600)
		go clock.Run(ctx, wall{})
		d, err := rehearsal.Demo(ctx, clock, "hot")
		if err != nil {
			t.Fatal(err)
		}
		minute := func() time.Duration {
			began := time.Now()
			<-clock.After(time.Minute)
			return time.Since(began)
		}
		if idle := minute(); idle > time.Second {
			t.Errorf("a minute takes %s where nobody is at work", idle)
		}
		ref := d.Mesh.Workload("web", "frontend")[0]
		namespace, name, _ := strings.Cut(ref, "/")
		conn, err := d.Mesh.DialPod(ctx, proxy.Pod{Namespace: namespace, Name: name}, 15000)
		if err != nil {
			t.Fatal(err)
		}
		if read := minute(); read < time.Minute-time.Second {
			t.Errorf("a minute takes %s while somebody reads", read)
		}
		conn.Close()
		conn.Close()
		if idle := minute(); idle > time.Second {
			t.Errorf("a minute takes %s when it is read", idle)
		}
		cancel()
		synctest.Wait()
	})
}
