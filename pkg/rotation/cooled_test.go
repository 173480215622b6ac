package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/apimachinery/pkg/runtime"
	k8stesting "k8s.io/client-go/testing"
)

// A hot rotation, and its way back, is killed after any write, and the flag of a hot mesh is
// taken off before somebody goes on: by renewals, in either direction, without a failed
// pair. An agent that keeps what was pushed to it is named, with what helps.
func TestCooledHalfWay(t *testing.T) {
	for _, turned := range []bool{false, true} { // on its way back when it is killed
		for _, back := range []bool{false, true} { // carried on that way
			for _, stop := range []int{1, 3} {
				t.Run(fmt.Sprintf("killed on the way back %v, carried on back %v, write %d", turned, back, stop), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						b := newBench(t, func(s *rehearsal.Spec) { s.TTL, s.Proxies, s.Namespaces = 10*time.Minute, 1, []string{"a"} })
						b.config.Strategy, b.engine.Timeout = rotation.HotBundle, 15*time.Minute
						if turned {
							if err := b.run(); err != nil {
								t.Fatal(err)
							}
						}
						b.engine.Back, b.config.Back = turned, turned
						ctx, kill := context.WithCancelCause(b.ctx)
						whole := b.ctx
						b.ctx = ctx
						writes := 0
						b.mesh.Kube.PrependReactor("update", "secrets", func(k8stesting.Action) (bool, runtime.Object, error) {
							if writes++; writes == stop {
								kill(errors.New("killed"))
							}
							return false, nil, nil
						})
						if err := b.run(); err == nil {
							t.Fatalf("killed at write %d of %d, and it says that it is done", stop, writes)
						}
						b.ctx, b.engine.Holder = whole, "another machine"
						if err := b.mesh.Cool(); err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Minute)
						b.engine.Back, b.config.Back = back, back
						err := b.run()
						if err != nil && strings.Contains(err.Error(), "keeps what was pushed then") {
							if err := b.mesh.Replace("a/app-0"); err != nil {
								t.Fatal(err)
							}
							time.Sleep(time.Minute)
							err = b.run()
						}
						if err != nil {
							t.Fatal(err)
						}
						if b.whole(); back {
							b.restored()
							return
						}
						b.ended()
					})
				})
			}
		}
	}
}
