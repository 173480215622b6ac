package rotation

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"

	"github.com/meshca/kubectl-meshca/internal/plain"
	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// Manifest is what one step writes, for those who write it themselves.
type Manifest struct {
	Step Step
	// Number counts from 1, forward and back each for themselves.
	Number int
	Back   bool
	// Made is true where the Secret does not exist before: "kubectl create" and not
	// "kubectl replace".
	Made bool
	// Open is the Secret with a placeholder in the place of each entry that is or may be
	// a key: no base64, so that an API server refuses it. Nudge is the same for the
	// second layout, nil where the step has none.
	Open, Nudge []byte
	// Sealed and SealedNudge are the Secret with its keys: not to be written in clear.
	// They are nil where the old key was not read.
	Sealed, SealedNudge []byte
	// Restarts are the commands behind the write.
	Restarts []string
}

// Manifests are the objects of every step, there and back. The old CA Secret is read
// for them; where kube is nil, or with keys false, its certificates are those of the
// Snapshot that was planned from, and nothing has a key in it.
func (p *Plan) Manifests(ctx context.Context, kube kubernetes.Interface, keys bool) ([]Manifest, error) {
	if len(p.Steps) == 0 {
		return nil, nil
	}
	secret := &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: p.known()}
	if p.tls() {
		secret.Type = corev1.SecretTypeTLS
	}
	if kube != nil && keys {
		read, err := p.read(ctx, kube)
		if err != nil {
			return nil, err
		}
		if read != nil {
			secret = read
		}
	}
	var m *material
	var err error
	if kube != nil && keys {
		staged, failure := FindStaged(ctx, kube, p.Namespace) // what a rotation under way began with
		if failure != nil {
			return nil, failure
		}
		m, err = p.materialOf(ctx, kube, secret, staged)
	} else {
		m, err = newMaterial(p.Layout, secret.Data, p.config.New)
	}
	if err != nil {
		return nil, err
	}
	var all []Manifest
	for _, course := range []struct {
		back  bool
		steps []Step
	}{{false, p.Steps}, {true, p.Back}} {
		for i, step := range course.steps {
			one := Manifest{Step: step, Number: i + 1, Back: course.back, Made: p.Adopts && !course.back && i == 0, Restarts: p.restarts(step)}
			if one.Open, err = p.manifest(secret, m, step, step.Roots, false); err != nil {
				return nil, err
			}
			if step.nudge != nil {
				if one.Nudge, err = p.manifest(secret, m, step, step.nudge, false); err != nil {
					return nil, err
				}
			}
			if keys {
				if one.Sealed, err = p.manifest(secret, m, step, step.Roots, true); err != nil {
					return nil, err
				}
				if step.nudge != nil {
					if one.SealedNudge, err = p.manifest(secret, m, step, step.nudge, true); err != nil {
						return nil, err
					}
				}
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// known are the entries of the old Secret as far as they are certificates.
func (p *Plan) known() map[string][]byte {
	entries := map[string][]byte{}
	for name, raw := range map[string][]byte{pki.CertFile: p.ca.Cert.Raw, pki.ChainFile: p.ca.Chain.Raw, pki.RootFile: p.ca.Root.Raw} {
		if len(raw) > 0 {
			entries[name] = raw
		}
	}
	if p.Adopts {
		entries[pki.ChainFile], entries[pki.RootFile] = p.ca.Cert.Raw, p.ca.Cert.Raw
	}
	if p.tls() {
		entries = map[string][]byte{"tls.crt": p.ca.Cert.Raw, "ca.crt": p.ca.Root.Raw}
	}
	return entries
}

func (p *Plan) tls() bool { return p.Layout == mesh.CAPluggedTLS }

// restarts are the commands that a step asks for behind its write.
func (p *Plan) restarts(step Step) (all []string) {
	if step.Restart {
		for _, r := range p.Revisions {
			namespace, name, _ := strings.Cut(r.Name, "/")
			all = append(all, rolled("deployment", namespace, name))
		}
	}
	for _, w := range p.behind[step.key()] {
		kind := strings.ToLower(w.Kind)
		switch kind {
		case "deployment", "statefulset", "daemonset":
			all = append(all, rolled(kind, w.Namespace, w.Name))
		default:
			all = append(all, "# by its own means: replace the pods of "+plain.Line(kind+" "+w.Namespace+"/"+w.Name))
		}
	}
	return all
}

// rolled is the command that restarts a workload and waits for it. Names come from the
// cluster, or from a file, and are pasted into a shell.
func rolled(kind, namespace, name string) string {
	return rollout("restart", kind, namespace, name) + " && " + rollout("status", kind, namespace, name)
}

// rollout is kubectl's command for one workload.
func rollout(verb, kind, namespace, name string) string {
	return "kubectl rollout " + verb + " " + plain.Word(kind+"/"+name) + " -n " + plain.Word(namespace)
}

// longestAnnotation is the longest that is kept: none of a key's length.
const longestAnnotation = 100

// placeholder is no base64: what has it is refused by every API server.
const placeholder = "<<put here the base64 of %s of the %s CA>>"

// manifest is the CA Secret of one step as YAML.
func (p *Plan) manifest(old *corev1.Secret, m *material, step Step, roots []byte, keys bool) ([]byte, error) {
	entries := maps.Clone(m.entries(step, roots))
	if p.Adopts {
		delete(entries, generatedKey)
	}
	if _, ok := entries[m.layout.Key]; !ok {
		entries[m.layout.Key] = nil
	}
	data := map[string]string{}
	for name, value := range entries {
		switch open := name == m.layout.Cert || name == m.layout.Root || m.layout.Chain != "" && name == m.layout.Chain; {
		case keys && name == m.layout.Key && len(value) == 0:
			return nil, fmt.Errorf("%s: the key was not read", p.object())
		case keys || open && !bytes.Contains(value, []byte("PRIVATE KEY")):
			data[name] = base64.StdEncoding.EncodeToString(value)
		default:
			data[name] = fmt.Sprintf(placeholder, name, step.Signs)
		}
	}
	meta := map[string]any{"name": p.Secret, "namespace": p.Namespace}
	if len(old.Labels) > 0 {
		meta["labels"] = old.Labels
	}
	// What kubectl and its likes keep of an object in an annotation repeats its keys.
	kept := maps.Clone(old.Annotations)
	maps.DeleteFunc(kept, func(name, value string) bool { return name == lastApplied || len(value) > longestAnnotation })
	if len(kept) > 0 {
		meta["annotations"] = kept
	}
	kind := old.Type
	if kind == "" {
		kind = corev1.SecretTypeOpaque
	}
	raw, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "data": data})
	if err != nil {
		return nil, fmt.Errorf("writing %s as YAML: %w", p.object(), err)
	}
	return raw, nil
}
