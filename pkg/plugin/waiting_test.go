package plugin_test

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"
)

// noOthers is a cluster's answer for all kinds that have no types here.
func noOthers() *dynamicfake.FakeDynamicClient {
	lists := map[schema.GroupVersionResource]string{}
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		lists[schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: "workloadentries"}] = "WorkloadEntryList"
		lists[schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: "gateways"}] = "GatewayList"
	}
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
}

// listener is a stderr that acts on what is said, once.
type listener struct {
	bytes.Buffer
	word string
	act  func()
}

func (l *listener) Write(text []byte) (int, error) {
	if l.act != nil && bytes.Contains(text, []byte(l.word)) {
		act := l.act
		l.act = nil
		act()
	}
	return l.Buffer.Write(text)
}

// stage is a hot mesh in memory, and a CA to rotate it to as files in this folder.
func stage(ctx context.Context, t *testing.T) *rehearsal.Mesh {
	t.Helper()
	root, old, err := newCA("A", pki.RootLifetime)
	if err != nil {
		t.Fatal(err)
	}
	newRoot, signer, err := newCA("B", pki.RootLifetime)
	if err != nil {
		t.Fatal(err)
	}
	if err := save(root, newRoot, signer); err != nil {
		t.Fatal(err)
	}
	m, err := rehearsal.New(ctx, wall{}, rehearsal.Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, Namespaces: []string{"a", "b"}, Proxies: 2, TTL: 24 * time.Hour, Lag: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// With --timeout verify waits until it is true, and says what is in the way meanwhile,
// instead of asking to be run again.
func TestS10_VerifyWaits(t *testing.T) {
	for name, row := range map[string]struct {
		args  []string
		comes bool // what is in the way goes away while it is waited for
		code  int
		waits bool
	}{
		"it becomes true": {[]string{"--timeout", "10m"}, true, plugin.ExitOK, true},
		"it does not":     {[]string{"--timeout", "30s"}, false, plugin.ExitTimeout, true},
		"one look":        {nil, false, plugin.ExitFindings, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				m := stage(ctx, t)
				m.Freeze("b/app-0")
				var out bytes.Buffer
				progress := &listener{word: "waiting: "}
				if row.comes {
					progress.act = func() { m.Thaw("b/app-0") }
				}
				began := time.Now()
				code := plugin.Rehearse(ctx, m.Kube, noOthers(), m, append([]string{"verify", "--proxy-timeout", "1s"}, row.args...), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: progress})
				if code != row.code {
					t.Errorf("exit %d, not %d: %s%s", code, row.code, &out, progress)
				}
				said := progress.String()
				if got := strings.Contains(said, " left: proxy b/app-0: "); got != row.waits {
					t.Errorf("progress %v: %s", got, said)
				}
				if row.waits && !strings.Contains(said, "waiting: 1 in the way, ") || strings.Contains(said, "again") {
					t.Errorf("said: %s", said)
				}
				if proven := strings.Contains(out.String(), "verdict: proven"); proven != (row.code == plugin.ExitOK) || strings.Count(out.String(), "verdict: ") != 1 {
					t.Errorf("one result, of the last look: %s", &out)
				}
				if took := time.Since(began); row.comes && took > time.Minute || row.code == plugin.ExitTimeout && (took < 30*time.Second || took > time.Minute) {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// Once the mesh was seen, an API server that does not answer for a moment is waited for;
// one that refuses is not.
func TestVerifyWaitsForTheServer(t *testing.T) {
	unavailable := apierrors.NewServiceUnavailable("it restarts")
	for name, row := range map[string]struct {
		refusal error
		looks   int // how many succeed before
		times   int // how often it is answered so
		slow    int // which of those answers comes after the time is over
		code    int
		says    string
	}{
		"a moment":            {unavailable, 1, 2, 0, plugin.ExitOK, "left: the mesh could not be looked at: asking the API server for its version: it restarts"},
		"to the end":          {unavailable, 1, 1000, 0, plugin.ExitTimeout, "error: not proven: proxy b/app-0; the last look failed: asking the API server for its version: it restarts"},
		"the last is cut":     {unavailable, 1, 1000, 3, plugin.ExitTimeout, "error: not proven: proxy b/app-0; the last look failed: asking the API server for its version: it restarts"},
		"from the beginning":  {unavailable, 0, 1000, 0, plugin.ExitError, "error: asking the API server for its version: it restarts"},
		"it is not allowed":   {apierrors.NewForbidden(schema.GroupResource{Resource: "version"}, "", nil), 1, 1000, 0, plugin.ExitError, "hint: ask for a role"},
		"nobody is logged in": {apierrors.NewUnauthorized("the token has ended"), 1, 1000, 0, plugin.ExitError, "the token has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				m := stage(ctx, t)
				m.Freeze("b/app-0")
				asked := 0
				m.Kube.PrependReactor("get", "version", func(k8stesting.Action) (bool, runtime.Object, error) {
					if asked++; asked <= row.looks || asked > row.looks+row.times {
						return false, nil, nil
					}
					m.Thaw("b/app-0")
					if asked == row.looks+row.slow {
						time.Sleep(2 * time.Minute)
					}
					return true, nil, row.refusal
				})
				var out, errs bytes.Buffer
				began := time.Now()
				code := plugin.Rehearse(ctx, m.Kube, noOthers(), m, []string{"verify", "--proxy-timeout", "1s", "--timeout", "2m"}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
				if took := time.Since(began); code != row.code || !strings.Contains(errs.String(), row.says) || (took >= 2*time.Minute) != (code == plugin.ExitTimeout) || took > 3*time.Minute {
					t.Errorf("exit %d after %s, want %d and %q\n%s%s", code, took, row.code, row.says, &out, &errs)
				}
				if told := strings.Count(out.String(), "verdict: "); (told == 1) != (code == plugin.ExitOK || code == plugin.ExitTimeout) {
					t.Errorf("%d verdicts: %s", told, &out)
				}
			})
		})
	}
}

// An API server that takes the connection and says nothing does not hold verify beyond
// its --timeout.
func TestVerifyEndsWhereTheServerHangs(t *testing.T) {
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(over)
	t.Chdir(t.TempDir())
	if err := os.WriteFile("config", []byte(strings.ReplaceAll(closedCluster, "http://127.0.0.1:1", server.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	began := time.Now()
	code := plugin.Main([]string{"verify", "--kubeconfig", "config", "--timeout", "500ms"}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
	if took := time.Since(began); code != plugin.ExitTimeout || took > 10*time.Second || out.Len() > 0 {
		t.Errorf("exit %d after %s: %s%s", code, took, &out, &errs)
	}
	if !strings.Contains(errs.String(), "error: nothing could be told within --timeout 500ms: it was not over in time") {
		t.Errorf("it says: %s", &errs)
	}
}

// Whatever ends a command that has keys in its hands, it leaves the files that it was
// told to write, and none where it failed: no temporary one anywhere.
func TestP6_NothingLeftBehind(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipient := identity.Recipient().String()
	sealed := func(name string) []string {
		return []string{"--seal-to", recipient, "--identity", "key.txt", "--sealed-file", name}
	}
	own := []string{"--root", "root.pem", "--ca-cert", "ca.pem", "--ca-key", "ca-key.pem"}
	join := func(all ...[]string) []string { return slices.Concat(all...) }
	fast := []string{"--yes", "--traffic-baseline", "0", "--trust-file-wait", "0"}
	for name, row := range map[string]struct {
		args  []string
		stop  string // the word on stderr that an interrupt comes upon
		code  int
		files []string
	}{
		"ca new, nowhere to seal":        {join([]string{"ca", "new", "--out", "made"}, sealed("none/root.age")), "", plugin.ExitError, nil},
		"ca csr, nowhere to seal":        {join([]string{"ca", "csr", "--out", "made"}, sealed("none/key.age")), "", plugin.ExitError, nil},
		"ca accept, of another":          {[]string{"ca", "accept", "--ca-key", "old-root-key.pem", "--ca-cert", "ca.pem", "--root", "root.pem", "--out", "made"}, "", plugin.ExitFindings, nil},
		"backup, nowhere to seal":        {join([]string{"backup"}, sealed("none/ca.age")), "", plugin.ExitError, nil},
		"backup":                         {join([]string{"backup"}, sealed("ca.age")), "", plugin.ExitOK, []string{"ca.age"}},
		"plan, refused":                  {join([]string{"plan", "--strategy", "cross-sign", "--manifests", "steps", "--seal-to", recipient, "--identity", "key.txt"}, own), "", plugin.ExitFindings, nil},
		"rotate, its copy is refused":    {join([]string{"rotate"}, own, fast, sealed("none/before.age")), "", plugin.ExitError, nil},
		"rotate, stopped on the way":     {join([]string{"rotate"}, own, fast, sealed("before.age")), "wrote secret istio-system/cacerts", plugin.ExitError, []string{"before.age"}},
		"rotate --new-ca, to its end":    {join([]string{"rotate", "--new-ca"}, fast, sealed("before.age")), "", plugin.ExitOK, []string{"before.age"}},
		"rotate --new-ca, stopped early": {join([]string{"rotate", "--new-ca"}, fast, sealed("before.age")), "nothing is changed yet", plugin.ExitError, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			home, temporary := t.TempDir(), t.TempDir()
			t.Setenv("HOME", home)
			t.Setenv("TMPDIR", temporary)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				m := stage(ctx, t)
				if err := os.WriteFile("key.txt", []byte(identity.String()+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				before := filesIn(t, ".")
				run, stop := context.WithCancel(ctx)
				defer stop()
				said := &listener{word: row.stop}
				if row.stop != "" {
					said.act = stop
				}
				code := plugin.Rehearse(run, m.Kube, noOthers(), m, row.args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: new(bytes.Buffer), ErrOut: said})
				if code != row.code {
					t.Errorf("exit %d, not %d: %s", code, row.code, said)
				}
				left := slices.DeleteFunc(filesIn(t, "."), func(name string) bool { return slices.Contains(before, name) })
				if !slices.Equal(left, row.files) {
					t.Errorf("left behind: %v, not %v", left, row.files)
				}
				for _, name := range left {
					if raw, err := os.ReadFile(name); err != nil || !pki.Sealed(raw) {
						t.Errorf("%s is not sealed: %v", name, err)
					}
				}
				if others := append(filesIn(t, home), filesIn(t, temporary)...); len(others) > 0 {
					t.Errorf("left elsewhere: %v", others)
				}
			})
		})
	}
}

// filesIn are all files and empty folders below a folder.
func filesIn(t *testing.T, folder string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if path != folder {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
