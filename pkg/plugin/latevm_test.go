package plugin_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/plugin"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// A virtual machine that registers itself while a rotation is under way is in the way
// like those that were there before, also for who has accepted it in advance: how long
// its certificate lives was not reckoned with. One that has gone is waited for no longer.
func TestVirtualMachinesUnderWay(t *testing.T) {
	entries := schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}
	for name, row := range map[string]struct {
		before, under bool // it is there before, and once the first phase is under way
		code          int
	}{
		"it comes": {false, true, plugin.ExitTimeout},
		"it goes":  {true, false, plugin.ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				m, dyn := stage(ctx, t), noOthers()
				put := func(there bool) {
					machines := dyn.Resource(entries).Namespace("a")
					var err error
					if there {
						_, err = machines.Create(ctx, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "metadata": map[string]any{"namespace": "a", "name": "vm"}}}, metav1.CreateOptions{})
					} else {
						err = machines.Delete(ctx, "vm", metav1.DeleteOptions{})
					}
					if err != nil {
						t.Error(err)
					}
				}
				if row.before {
					put(true)
				}
				var out bytes.Buffer
				progress := &listener{word: "both roots", act: func() { put(row.under) }}
				args := []string{"rotate", "--root", "root.pem", "--ca-cert", "ca.pem", "--ca-key", "ca-key.pem", "--traffic-baseline", "0", "--trust-file-wait", "0", "--timeout", "1m", "--yes"}
				if row.before {
					args = append(args, "--strategy", "bundle-by-restart")
				}
				args = append(args, "--accept", "a/vm=it is off", "--vm-certificate-life", "24h")
				began := time.Now()
				code := plugin.Rehearse(ctx, m.Kube, dyn, m, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: progress})
				if code != row.code || progress.act != nil {
					t.Errorf("exit %d, not %d: %s%s", code, row.code, &out, progress)
				}
				if took := time.Since(began); took > time.Hour {
					t.Errorf("it took %s", took)
				}
				if said := progress.String(); row.under && !strings.Contains(said, "vm a/vm: what a virtual machine has loaded cannot be read from here") {
					t.Errorf("it is not named: %s", said)
				}
			})
		})
	}
}
