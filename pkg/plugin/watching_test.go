package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	k8stesting "k8s.io/client-go/testing"
)

// Who watches a rotation goes on watching where the API server is away for a while, as in
// a rotation it may be; where it was never seen, that is an error at once.
func TestStatusWatchOutlivesTheServer(t *testing.T) {
	t.Chdir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		m, dyn := stage(ctx, t), noOthers()
		run := func(ctx context.Context, args ...string) (code int, out, told string) {
			var o, e bytes.Buffer
			code = plugin.Rehearse(ctx, m.Kube, dyn, m, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &o, ErrOut: &e})
			return code, o.String(), e.String()
		}
		rotate := []string{"rotate", "--root", "root.pem", "--ca-cert", "ca.pem", "--ca-key", "ca-key.pem", "--traffic-baseline", "0", "--trust-file-wait", "0", "--yes"}
		if code, out, told := run(ctx, append(rotate, "--until", "trust-new")...); code != plugin.ExitOK {
			t.Fatalf("it is not begun: %d %s%s", code, out, told)
		}
		var away atomic.Bool
		m.Kube.PrependReactor("*", "*", func(k8stesting.Action) (bool, runtime.Object, error) {
			return away.Load(), nil, errors.New("connection refused")
		})
		at := func(after time.Duration, is bool) {
			go func() {
				time.Sleep(after)
				away.Store(is)
			}()
		}
		at(time.Minute, true)
		at(2*time.Minute, false)
		watched, stop := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("that is enough"))
		defer stop()
		_, out, told := run(watched, "status", "--watch", "--interval", "1s")
		if n := strings.Count(told, "this look has failed, and is tried again"); n != 1 || !strings.Contains(told, "connection refused") {
			t.Errorf("told %d times:\n%s", n, told)
		}
		if !strings.Contains(told, "it is seen again") || !strings.Contains(told, "that is enough") || !strings.Contains(out, "trust-new") {
			t.Errorf("it was not watched to the end:\n%s%s", out, told)
		}
		away.Store(true)
		began := time.Now()
		if code, _, told := run(ctx, "status", "--watch"); code != plugin.ExitError || time.Since(began) > time.Minute || !strings.Contains(told, "connection refused") {
			t.Errorf("nothing was ever seen: exit %d after %s: %s", code, time.Since(began), told)
		}
	})
}
