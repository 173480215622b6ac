package rotation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// What a plan says that istiods are asked at once is what they sign, but for stragglers, to
// whom the roots are sent once more, there and back; a new intermediate needs that always.
func TestStatedRequests(t *testing.T) {
	for i, row := range roads {
		if row.mesh != nil { // some of its proxies renew at their own pace
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := road(t, i)
				b.engine.Timeout = 24 * time.Hour
				var cost rotation.Cost
				nudges := 0
				if row.strategy == rotation.Intermediate {
					nudges = -1
				}
				emit := b.engine.Emit
				b.engine.Emit = func(e rotation.Event) {
					if emit(e); e.Plan != nil {
						cost = e.Plan.Cost
					}
					if e.Kind == rotation.EventNudge {
						nudges++
					}
				}
				b.mesh.Signed()
				if err := b.run(); err != nil {
					t.Fatal(err)
				}
				if signed := b.mesh.Signed(); signed.All != cost.CSRs*(cost.Bursts+2*nudges) || signed.Most > cost.CSRs {
					t.Errorf("%d requests, %d times, are stated: %d are made, %d at once, with %d nudges besides", cost.CSRs, cost.Bursts, signed.All, signed.Most, nudges)
				}
			})
		})
	}
}
