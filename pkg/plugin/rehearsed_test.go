package plugin_test

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/plugin"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"
)

// theater is a rehearsed mesh that lives as long as a script, and the keys that no
// output of any command may hold.
type theater struct {
	ctx  context.Context
	mesh *rehearsal.Mesh
	dyn  *dynamicfake.FakeDynamicClient
	keys map[string][]byte
	// issuer is the mesh's cert-manager, newRoot what behind puts behind it.
	issuer  *rehearsal.CertManager
	newRoot *pki.Authority
	ran     *sync.Map // words of the command lines that were run, of all scripts

	mu   sync.Mutex
	sent [][]byte // requests of this line
}

const theaterWord = "correct horse battery staple"

// TestRehearsedScripts runs commands that write, and searches everything that they
// leave, on the terminal, in files and in the cluster, for a key.
func TestRehearsedScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/rehearsed/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var ran sync.Map
	var played atomic.Int64
	t.Cleanup(func() { // after the scripts, which run side by side
		if int(played.Load()) < len(scripts) {
			return // some were left out
		}
		for _, command := range leaves(plugin.NewRoot(genericiooptions.NewTestIOStreamsDiscard())) {
			if _, ok := ran.Load(command); !ok {
				t.Errorf("no script runs %q and searches what it leaves for keys", command)
			}
		}
	})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/rehearsed",
		Setup: func(env *testscript.Env) error {
			identity, err := age.GenerateX25519Identity()
			if err != nil {
				return err
			}
			recipient := identity.Recipient().String()
			env.Setenv("RECIPIENT", recipient)
			env.Setenv("ENDING", recipient[len(recipient)-8:])
			for name, text := range map[string]string{"key.txt": identity.String(), "word.txt": theaterWord} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text+"\n"), 0o600); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			env.Defer(cancel)
			played.Add(1)
			env.Values["theater"] = &theater{ctx: ctx, ran: &ran, keys: map[string][]byte{"the passphrase": []byte(theaterWord), "the identity": []byte(identity.String())}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"rehearse": rehearse, "meshca": play, "lease": putLease, "label": label, "forget": forget, "freeze": freeze, "forbid": forbid, "behind": behind, "another": another, "stray": stray,
		},
	})
}

// rehearse [cold|managed|self-signed|ended|workloads|citadel|vm|stranger] starts a mesh, whose CA
// cert-manager may write, and makes a CA to rotate to. One whose CA has ended, and one of
// workloads that no push reaches, have such as can be restarted.
func rehearse(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	kind, life := strings.Join(args, ""), pki.RootLifetime
	if kind == "ended" {
		life = 4 * time.Second
	}
	root, old, err := newCA("A", life)
	ts.Check(err)
	newRoot, signer, err := newCA("B", pki.RootLifetime)
	ts.Check(err)
	spec := rehearsal.Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 2, Namespaces: []string{"a", "b"}, Proxies: 2, TTL: 24 * time.Hour, Lag: 20 * time.Millisecond}
	switch kind {
	case "cold", "managed":
		spec.MultiRoot, spec.XDSAgent = false, false
		if kind == "managed" {
			spec.Source = mesh.CAPluggedTLS
		}
	case "self-signed":
		spec.CA, spec.Source, spec.TTL = root, mesh.CASelfSigned, 10*time.Second
	case "vm":
		spec.VMs = []string{"vm"}
	case "stranger":
		spec.Unregistered = []string{"legacy"}
	case "ended":
		spec.Proxies, spec.Workloads = 0, []rehearsal.Workload{{Namespace: "a", Name: "app", Proxies: 2}}
	case "workloads":
		spec.Proxies, spec.Workloads = 0, []rehearsal.Workload{{Namespace: "a", Name: "app", Proxies: 2, Cold: true}}
	}
	if kind == "citadel" {
		old, err = dated("A", 340*24*time.Hour)
		ts.Check(err)
		root = old
		th.mesh, err = rehearsal.NewCitadel(th.ctx, wall{}, rehearsal.CitadelSpec{CA: old, Release: "1.1.8", TTL: 90 * 24 * time.Hour, Lag: 20 * time.Millisecond, Resync: 300 * time.Millisecond, Secured: true,
			Workloads: []rehearsal.Workload{{Namespace: "a", Name: "app", Proxies: 2}}})
	} else {
		th.mesh, err = rehearsal.New(th.ctx, wall{}, spec)
	}
	ts.Check(err)
	if kind == "ended" {
		time.Sleep(time.Until(root.Cert.X509.NotAfter) + time.Second)
	}
	th.mesh.Kube.PrependReactor("*", "secrets", func(action k8stesting.Action) (bool, runtime.Object, error) {
		switch a := action.(type) { // a dry run keeps nothing
		case k8stesting.UpdateActionImpl:
			return len(a.UpdateOptions.DryRun) > 0, a.Object, nil
		case k8stesting.CreateActionImpl:
			return len(a.CreateOptions.DryRun) > 0, a.Object, nil
		}
		return false, nil, nil
	})
	th.mesh.Kube.PrependReactor("*", "*", th.record)
	if kind == "managed" {
		th.issuer, err = th.mesh.Manage(root)
		ts.Check(err)
		th.newRoot = newRoot
	}
	if th.dyn = th.mesh.Dynamic; kind != "managed" && kind != "vm" && kind != "stranger" {
		th.dyn = noOthers()
	}
	for name, ca := range map[string]*pki.Authority{"ca-key.pem": signer, "old-root-key.pem": root, "old": old, "new root": newRoot} {
		key, err := ca.KeyPEM()
		ts.Check(err)
		th.keys[name] = key
	}
	for name, data := range map[string][]byte{"root.pem": newRoot.Roots.Raw, "ca.pem": signer.Cert.PEM(), "ca-key.pem": th.keys["ca-key.pem"], "old-root-key.pem": th.keys["old-root-key.pem"], "old-root.pem": root.Roots.Raw} {
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
	}
	recipient, err := pki.ParseRecipient(ts.Getenv("RECIPIENT"))
	ts.Check(err)
	worded, err := pki.PassphraseRecipient(theaterWord)
	ts.Check(err)
	for name, to := range map[string]age.Recipient{"old-root-key.age": recipient, "old-root-key-worded.age": worded} {
		var sealed bytes.Buffer
		ts.Check(pki.Seal(&sealed, th.keys["old-root-key.pem"], to))
		ts.Check(os.WriteFile(ts.MkAbs(name), sealed.Bytes(), 0o600))
	}
}

// dated is a root of a year that is so old.
func dated(name string, age time.Duration) (*pki.Authority, error) {
	return pki.NewRoot(pki.Request{Subject: pkix.Name{Organization: []string{"cluster.local"}, CommonName: name}, Now: time.Now().Add(-age), Lifetime: 365 * 24 * time.Hour, PathLen: -1})
}

// meshca CODE ARG... runs a command line, asserts its exit code, and searches what
// it leaves for keys.
func play(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	for i, arg := range args {
		if arg == "ROTATION" {
			maps, err := th.mesh.Kube.CoreV1().ConfigMaps("istio-system").List(th.ctx, metav1.ListOptions{})
			ts.Check(err)
			for _, cm := range maps.Items {
				if id, ok := strings.CutPrefix(cm.Name, "meshca-rotation-"); ok {
					args[i] = id
				}
			}
		}
		if i > 0 && (args[i-1] == "--sealed-file" || args[i-1] == "-f" || args[i-1] == "--out" || strings.HasSuffix(arg, ".pem") || strings.HasSuffix(arg, ".age") || strings.HasSuffix(arg, ".txt")) {
			args[i] = ts.MkAbs(arg)
		}
	}
	var out, err bytes.Buffer
	ctx, cancel := context.WithTimeout(th.ctx, time.Minute)
	defer cancel()
	code := plugin.Rehearse(ctx, th.mesh.Kube, th.dyn, th.mesh, args[1:], genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &err})
	_, _ = ts.Stdout().Write(out.Bytes())
	_, _ = ts.Stderr().Write(err.Bytes())
	if want := args[0]; want != strconv.Itoa(code) {
		ts.Fatalf("exit %d, not %s\n%s%s", code, want, &out, &err)
	}
	root := plugin.NewRoot(genericiooptions.NewTestIOStreamsDiscard())
	if command, _, err := root.Find(args[1:]); err == nil {
		th.ran.Store(command.CommandPath(), true)
	}
	th.mu.Lock()
	sent := th.sent
	th.sent = nil
	th.mu.Unlock()
	for _, request := range sent {
		th.search(ts, "a request to the API server", request)
	}
	th.search(ts, "stdout", out.Bytes())
	th.search(ts, "stderr", err.Bytes())
	ts.Check(filepath.WalkDir(ts.MkAbs("."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-key.pem") || strings.HasSuffix(path, "key.txt") || strings.HasSuffix(path, "word.txt") {
			return err
		}
		raw, err := os.ReadFile(path)
		th.search(ts, path, raw)
		return err
	}))
	maps, failure := th.mesh.Kube.CoreV1().ConfigMaps("").List(th.ctx, metav1.ListOptions{})
	ts.Check(failure)
	events, failure := th.mesh.Kube.CoreV1().Events("").List(th.ctx, metav1.ListOptions{})
	ts.Check(failure)
	th.search(ts, "configmaps", fmt.Appendf(nil, "%+v", maps.Items))
	th.search(ts, "events", fmt.Appendf(nil, "%+v", events.Items))
}

// leaves are the commands that do something, by their words.
func leaves(c *cobra.Command) (all []string) {
	if c.Name() == "help" {
		return nil
	}
	for _, sub := range c.Commands() {
		all = append(all, leaves(sub)...)
	}
	if len(all) == 0 {
		all = append(all, c.CommandPath())
	}
	return all
}

// record keeps what an audit log of the API server would: every request's object,
// of a Secret all but the data, where keys belong, and the annotation in which
// kubectl has left one before.
func (th *theater) record(action k8stesting.Action) (bool, runtime.Object, error) {
	var body any
	switch a := action.(type) {
	case k8stesting.CreateActionImpl:
		body = a.GetObject()
	case k8stesting.UpdateActionImpl:
		body = a.GetObject()
	case k8stesting.PatchActionImpl:
		body = string(a.GetPatch())
	default:
		return false, nil, nil
	}
	if secret, ok := body.(*corev1.Secret); ok {
		secret = secret.DeepCopy()
		secret.Data, secret.StringData = nil, nil
		delete(secret.Annotations, corev1.LastAppliedConfigAnnotation)
		body = secret
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return true, nil, err
	}
	th.mu.Lock()
	defer th.mu.Unlock()
	th.sent = append(th.sent, raw)
	return false, nil, nil
}

// search fails where data holds a piece of a key: its PEM, or that in base64.
func (th *theater) search(ts *testscript.TestScript, where string, data []byte) {
	for name, key := range th.keys {
		for _, piece := range pieces(key) {
			if bytes.Contains(data, piece) {
				ts.Fatalf("%s holds a piece of %s", where, name)
			}
		}
	}
}

// pieces are what a key would be known by, in clear or in base64 at any offset.
func pieces(key []byte) [][]byte {
	whole := bytes.TrimSpace(key)
	if lines := bytes.Split(whole, []byte("\n")); len(lines) > 2 {
		whole = lines[1] // of a PEM block, whose first line all keys share
	}
	all := [][]byte{whole[len(whole)/3:]}
	for offset := range 3 {
		text := base64.StdEncoding.EncodeToString(append(bytes.Repeat([]byte("x"), offset), key...))
		all = append(all, []byte(text[len(text)/3:len(text)/3+20]))
	}
	return all
}

// lease HOLDER SECONDS has somebody hold the rotation's Lease, renewed so long ago.
func putLease(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	ago, err := strconv.Atoi(args[1])
	ts.Check(err)
	at, duration := metav1.NewMicroTime(time.Now().Add(-time.Duration(ago)*time.Second)), int32(60)
	leases := th.mesh.Kube.CoordinationV1().Leases("istio-system")
	_ = leases.Delete(th.ctx, "meshca-rotation", metav1.DeleteOptions{})
	_, err = leases.Create(th.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "meshca-rotation", Namespace: "istio-system"},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &args[0], RenewTime: &at, AcquireTime: &at, LeaseDurationSeconds: &duration}}, metav1.CreateOptions{})
	ts.Check(err)
}

// label gives cacerts a label and kubectl's own annotation, which repeats the key.
func label(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	secret, err := th.mesh.Kube.CoreV1().Secrets("istio-system").Get(th.ctx, "cacerts", metav1.GetOptions{})
	ts.Check(err)
	secret.Labels = map[string]string{args[0]: args[1]}
	secret.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(secret.Data["ca-key.pem"])}
	_, err = th.mesh.Kube.CoreV1().Secrets("istio-system").Update(th.ctx, secret, metav1.UpdateOptions{})
	ts.Check(err)
}

// forget NAME [TYPE] deletes a Secret, and puts one of another type in its place.
func forget(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	secrets := th.mesh.Kube.CoreV1().Secrets("istio-system")
	secret, err := secrets.Get(th.ctx, args[0], metav1.GetOptions{})
	ts.Check(err)
	ts.Check(secrets.Delete(th.ctx, args[0], metav1.DeleteOptions{}))
	if len(args) > 1 {
		secret.Type, secret.ResourceVersion = corev1.SecretType(args[1]), ""
		secret.Data["ca-cert.pem"] = append(secret.Data["ca-cert.pem"], "# changed\n"...)
		_, err = secrets.Create(th.ctx, secret, metav1.CreateOptions{})
		ts.Check(err)
	}
}

// freeze POD lets a proxy answer nobody, and "! freeze" takes it back.
func freeze(ts *testscript.TestScript, neg bool, args []string) {
	th := ts.Value("theater").(*theater)
	if neg {
		th.mesh.Thaw(args[0])
		return
	}
	th.mesh.Freeze(args[0])
}

// behind puts the new root behind cert-manager's issuer.
func behind(ts *testscript.TestScript, _ bool, _ []string) {
	th := ts.Value("theater").(*theater)
	ts.Check(th.issuer.Behind(th.newRoot))
}

// forbid VERB RESOURCE has the API server refuse it from now on.
func forbid(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	th.mesh.Kube.PrependReactor(args[0], args[1], func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: args[1]}, "", nil)
	})
}

// stray NAMESPACE/POD makes a proxy one of a revision that nobody has seen.
func stray(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	namespace, name, _ := strings.Cut(args[0], "/")
	pods := th.mesh.Kube.CoreV1().Pods(namespace)
	pod, err := pods.Get(th.ctx, name, metav1.GetOptions{})
	ts.Check(err)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels["istio.io/rev"] = "gone"
	_, err = pods.Update(th.ctx, pod, metav1.UpdateOptions{})
	ts.Check(err)
}

// another NAMESPACE puts an istiod into a namespace of its own: another mesh.
func another(ts *testscript.TestScript, _ bool, args []string) {
	th := ts.Value("theater").(*theater)
	d, err := th.mesh.Kube.AppsV1().Deployments("istio-system").Get(th.ctx, "istiod", metav1.GetOptions{})
	ts.Check(err)
	d = d.DeepCopy()
	d.Namespace, d.ResourceVersion = args[0], ""
	_, err = th.mesh.Kube.AppsV1().Deployments(args[0]).Create(th.ctx, d, metav1.CreateOptions{})
	ts.Check(err)
}
