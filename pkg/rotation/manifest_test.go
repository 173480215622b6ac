package rotation_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Manifests are what the engine writes, step by step: the sealed ones are Secrets that a
// mesh could load, and the open ones hold no key and are no Secret.
func TestManifests(t *testing.T) {
	plans := map[string]struct {
		change  func(*rehearsal.Spec)
		prepare func(*bench)
	}{
		"hot":          {nil, nil},
		"cross-signed": {brief, func(b *bench) { b.cross() }},
		"waves":        {mixed, func(b *bench) { b.config.Strategy = rotation.BundleByRestart }},
		"tls":          {func(s *rehearsal.Spec) { s.Source = mesh.CAPluggedTLS }, nil},
		"intermediate": {nil, (*bench).sameRoot},
	}
	for name, row := range plans {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, row.change)
				if row.prepare != nil {
					row.prepare(b)
				}
				s, err := b.collector().Collect(b.ctx)
				if err != nil {
					t.Fatal(err)
				}
				s.Gaps = nil
				plan := rotation.NewPlan(s, b.config)
				if len(plan.Refusals) > 0 {
					t.Fatal(plan.Refusals)
				}
				all, err := plan.Manifests(b.ctx, b.mesh.Kube, true)
				if err != nil {
					t.Fatal(err)
				}
				offline, err := plan.Manifests(b.ctx, nil, false)
				if err != nil {
					t.Fatal(err)
				}
				if len(all) != len(plan.Steps)+len(plan.Back) || len(offline) != len(all) {
					t.Fatalf("%d manifests, %d offline, of %d and %d steps", len(all), len(offline), len(plan.Steps), len(plan.Back))
				}
				layout, _ := mesh.LayoutOf(plan.Layout)
				for i, m := range all {
					signer := b.old
					if m.Step.Signs == "new" {
						signer = b.new
					}
					key, err := signer.KeyPEM()
					if err != nil {
						t.Fatal(err)
					}
					at := fmt.Sprintf("%s (%s)", m.Step.Phase, m.Step.Name)
					for kind, raw := range map[string][]byte{"sealed": m.Sealed, "sealed nudge": m.SealedNudge} {
						if raw == nil && kind == "sealed nudge" {
							continue
						}
						var secret corev1.Secret
						if err := yaml.UnmarshalStrict(raw, &secret); err != nil {
							t.Errorf("%s: %s: %v", at, kind, err)
						}
						if string(secret.Data[layout.Key]) != string(key) {
							t.Errorf("%s: %s: another key", at, kind)
						}
						roots, err := pki.ParseBundle(secret.Data[layout.Root])
						if kind == "sealed" && string(secret.Data[layout.Root]) != string(m.Step.Roots) || err != nil || len(roots.Certs) == 0 {
							t.Errorf("%s: %s: other roots: %v", at, kind, err)
						}
						if m.Step.Signs == "new" && !strings.Contains(string(secret.Data[layout.Cert]), string(b.new.Cert.PEM())) {
							t.Errorf("%s: %s: another signer", at, kind)
						}
					}
					for kind, raw := range map[string][]byte{"open": m.Open, "nudge": m.Nudge, "offline": offline[i].Open} {
						if raw == nil && kind == "nudge" {
							continue
						}
						var secret corev1.Secret
						if err := yaml.Unmarshal(raw, &secret); err == nil {
							t.Errorf("%s: %s: an API server would take it", at, kind)
						}
						if want := fmt.Sprintf("%s: <<put here the base64 of %s of the %s CA>>", layout.Key, layout.Key, m.Step.Signs); !strings.Contains(string(raw), want) {
							t.Errorf("%s: %s: it does not say %s", at, kind, want)
						}
					}
					if m.Step.Restart != (len(m.Restarts) > 0) && m.Step.Waves == "" {
						t.Errorf("%s: restarts %v", at, m.Restarts)
					}
				}
				if name == "waves" && !strings.Contains(strings.Join(all[0].Restarts, "\n"), "deployment/other -n b") {
					t.Errorf("the workload off the push is not restarted: %v", all[0].Restarts)
				}
			})
		})
	}
}

// What a controller is called comes from the cluster, or from a file: a command that is
// to be pasted holds it as one word, and never as a command of its own.
func TestManifestsQuoteNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, mixed)
		b.config.Strategy = rotation.BundleByRestart
		s, err := b.collector().Collect(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Gaps = nil
		const bad = "x\n$(touch /tmp/x) 'y"
		for i := range s.Proxies {
			s.Proxies[i].Workload.Name = bad
			if i%2 == 0 {
				s.Proxies[i].Workload.Kind = "Thing\n" + bad
			}
		}
		for i := range s.ControlPlanes {
			s.ControlPlanes[i].Name = bad
		}
		plan := rotation.NewPlan(s, b.config)
		all, err := plan.Manifests(b.ctx, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, m := range all {
			for _, command := range m.Restarts {
				n++
				script := "kubectl() { for word; do printf '%s\\0' \"$word\"; done; }; touch() { echo RUN; }; " + command
				out, err := exec.CommandContext(b.ctx, "sh", "-c", script).CombinedOutput()
				if err != nil || strings.Contains(string(out), "RUN") || strings.Contains(command, "\n") && strings.HasPrefix(command, "#") ||
					!strings.HasPrefix(command, "#") && !strings.Contains(string(out), "/"+bad+"\x00") {
					t.Errorf("%q runs as %q: %v", command, out, err)
				}
			}
		}
		if n == 0 {
			t.Errorf("no command: %v", plan.Refusals)
		}
	})
}
