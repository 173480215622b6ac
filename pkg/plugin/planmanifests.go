package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

// validateManifests judges --manifests with the flags it goes together with, and says
// what seals: a file beside each manifest.
func (o *rotateOptions) validateManifests(dir, from string) error {
	switch {
	case dir == "":
		return nil
	case o.make:
		return usage(errors.New("--manifests and --new-ca exclude each other: the root's key would be kept nowhere"), "make the CA first, with 'kubectl meshca ca new'")
	case o.sealedFile != "":
		return usage(errors.New("--manifests and --sealed-file exclude each other"), "with --seal-to each manifest gets a sealed file beside it")
	case from != "" && len(o.sealTo) > 0:
		return usage(errors.New("--seal-to: a snapshot holds no key to seal"), "leave it out, or plan from the cluster")
	case len(o.sealTo) > 0:
		o.sealedFile = filepath.Join(dir, "keys.age") // never written: it says where
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return usage(fmt.Errorf("--manifests: %w", err), "name a directory that is empty or not there")
	case len(entries) > 0:
		return usage(fmt.Errorf("--manifests %s is not empty: it holds %s", dir, entries[0].Name()), "name another: nothing is written over")
	}
	return nil
}

// manifests writes what each step of a plan writes into a directory: one file a step,
// numbered, and a README of their order and gates. Keys are in none of them but the
// sealed ones.
func (o *rotateOptions) manifests(ctx context.Context, kube kubernetes.Interface, plan *rotation.Plan, dir string, streams genericiooptions.IOStreams) error {
	seal, err := o.sealing(ctx, &input{stdin: streams.In}, streams)
	if err != nil {
		return err
	}
	if err := o.acknowledge(ctx, seal, streams); err != nil {
		return err
	}
	all, err := plan.Manifests(ctx, kube, seal != nil)
	if err != nil {
		return explain(err)
	}
	if len(all) == 0 {
		fmt.Fprintln(streams.ErrOut, "there is nothing to write")
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return failed(fmt.Errorf("--manifests: %w", err), "")
	}
	w := folder{dir: dir, seal: seal}
	for _, m := range all {
		name := fileName(m)
		w.write(name+".yaml", header(m), m.Open)
		w.sealed(name+".yaml.age", m.Sealed)
		w.write(name+".roots.pem", "", m.Step.Roots)
		if m.Nudge != nil {
			w.write(name+".nudge.yaml", "", m.Nudge)
			w.sealed(name+".nudge.yaml.age", m.SealedNudge)
		}
	}
	w.write("README.md", "", manual(plan, all, seal != nil, o.trustFileWait.String()))
	if w.err != nil {
		w.undo()
		return failed(fmt.Errorf("--manifests: %w", w.err), "nothing was left behind")
	}
	fmt.Fprintf(streams.ErrOut, "wrote %d files for %d steps, there and back, into %s: begin with README.md\n", len(w.written), len(all), dir)
	return nil
}

// folder is where files are written, none over another, until one fails.
type folder struct {
	dir     string
	seal    *sealing
	written []string
	err     error
}

func (w *folder) write(name, head string, text []byte) {
	if w.err != nil {
		return
	}
	path := filepath.Join(w.dir, name)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		w.err = err
		return
	}
	w.written = append(w.written, path)
	_, err = file.Write(append([]byte(head), text...))
	w.err = errors.Join(err, file.Close())
}

func (w *folder) sealed(name string, text []byte) {
	if w.err != nil || w.seal == nil {
		return
	}
	path := filepath.Join(w.dir, name)
	if w.err = pki.WriteSealed(path, text, w.seal.recipients, w.seal.trial); w.err == nil {
		w.written = append(w.written, path)
	}
}

func (w *folder) undo() {
	for _, path := range w.written {
		w.err = errors.Join(w.err, os.Remove(path))
	}
}

// fileName is "01-trust-new-both-roots", or "back-01-..." of the way back.
func fileName(m rotation.Manifest) string {
	name := fmt.Sprintf("%02d-%s-%s", m.Number, m.Step.Phase, strings.ReplaceAll(m.Step.Name, " ", "-"))
	if m.Back {
		return "back-" + name
	}
	return name
}

// header says above a manifest what it is for.
func header(m rotation.Manifest) string {
	return fmt.Sprintf("# %s: %s.\n# Where it says <<put here ...>> a key is missing: as it is, no API server takes it.\n", m.Step.Phase, m.Step.About)
}

// manual is the order of the steps and what must be true between two of them.
func manual(plan *rotation.Plan, all []rotation.Manifest, sealed bool, fileWait string) []byte {
	var text bytes.Buffer
	say := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	say("# %s: from %s to %s\n", plan.Strategy, plain(plan.OldRoot.Subject), plain(plan.NewRoot.Subject))
	say("Rotation %s of secret %s/%s. One step after the other: write, restart what is named, and go on only when its gate is open.\n", plan.ID, plain(plan.Namespace), plain(plan.Secret))
	if len(plan.Owners) == 0 {
		say("`kubectl meshca rotate` does the same by itself, and better: it writes no step before the gate of the one before is open.\n")
	}
	say("Before: `kubectl meshca backup`, and `kubectl meshca check`. Nothing here holds a key in clear.\n")
	owned := len(plan.Owners) > 0
	switch {
	case owned:
		handOver(say, plan, sealed)
	default:
		say("Write with `kubectl replace`, not with `kubectl apply`, which would repeat the keys in an annotation.\n")
	}
	switch {
	case owned:
	case sealed:
		say("Each `.yaml.age` is the manifest beside it with its keys: `age -d -i key.txt NN.yaml.age | kubectl replace -f -`.\n")
	default:
		say("Each manifest lacks its key, and says where: as it is, no API server takes it. Put it in without writing it to disk, nor into a command line that others may list: `base64 -w0 ca-key.pem | awk '/<<put here the base64 of %s/ {getline k < \"/dev/stdin\"; sub(/<<[^>]*>>/, k)} 1' NN.yaml | kubectl replace -f -`. Old keys are those of the secret as it is now.\n", keyEntry(plan))
	}
	say("A nudge is for proxies that lag behind istiods that are all right: write it, wait until the trust ConfigMap follows, and write the step again.\n")
	for i, m := range all {
		if i == 0 || all[i-1].Back != m.Back {
			title := "Forward"
			if m.Back {
				title = "The way back, from the end; from the middle, begin with the first step that holds"
			}
			say("## %s\n", title)
		}
		name, verb := fileName(m), "replace"
		if m.Made {
			verb = "create"
		}
		say("%d. **%s** (%s): %s.", m.Number, m.Step.Phase, m.Step.Name, m.Step.About)
		switch {
		case owned:
			say("   - at its source: the entries of `%s.yaml`%s; then the owner's sync, and nothing else in that commit", name, keyed(sealed, name))
		case sealed:
			say("   - `age -d -i key.txt %s.yaml.age | kubectl %s -f -`", name, verb)
		default:
			say("   - `%s.yaml`, with its key put in, by `kubectl %s -f -`", name, verb)
		}
		for _, command := range m.Restarts {
			say("   - `%s`", plain(command))
		}
		say("   - gate: %s", gateOf(m, name))
		if m.Nudge != nil {
			say("   - for stragglers: `%s.nudge.yaml`, then this step again", name)
		}
		if m.Step.FileWait {
			say("   - then wait %s, until every pod's copy of the trust ConfigMap has followed", fileWait)
		}
	}
	return text.Bytes()
}

// keyEntry is the name of the entry that holds the key.
func keyEntry(plan *rotation.Plan) string {
	layout, _ := mesh.LayoutOf(plan.Layout)
	return layout.Key
}

// gateOf is how a step is proven with the plain commands.
func gateOf(m rotation.Manifest, name string) string {
	return fmt.Sprintf("`kubectl meshca verify --csr-proof --root %s.roots.pem` says that it is proven, and `kubectl meshca certs` that %s", name, m.Step.About)
}
