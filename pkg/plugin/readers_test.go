package plugin

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// What help says the role for reading is for, the role for reading does: no command of
// its list asks for more.
func TestReadersNeedTheReadRoleAlone(t *testing.T) {
	readers := having(NewRoot(genericiooptions.NewTestIOStreamsDiscard()), reads)
	if len(readers) < 10 {
		t.Fatalf("the readers are %v", readers)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range readers {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				_, old := testCA(t, "A")
				root, next := testCA(t, "B")
				key, err := next.KeyPEM()
				if err != nil {
					t.Fatal(err)
				}
				for file, text := range map[string][]byte{"root.pem": root.Cert.PEM(), "ca.pem": next.Cert.PEM(), "ca-key.pem": key, "key.txt": []byte(identity.String() + "\n")} {
					if err := os.WriteFile(file, text, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				args := []string{name}
				switch name {
				case "plan", "rehearse":
					args = append(args, "--root", "root.pem", "--ca-cert", "ca.pem", "--ca-key", "ca-key.pem")
				case "backup":
					args = append(args, "--seal-to", identity.Recipient().String(), "--identity", "key.txt", "--sealed-file", "ca.age")
				}
				m, err := rehearsal.New(ctx, tick{}, rehearsal.Spec{CA: old, MultiRoot: true, XDSAgent: true, Release: "1.30.3", Replicas: 1, Namespaces: []string{"a"}, Proxies: 1, TTL: 24 * time.Hour, Lag: time.Second})
				if err != nil {
					t.Fatal(err)
				}
				g := newGatekeeper(m, needed(forRead))
				var out, said bytes.Buffer
				code := Rehearse(ctx, g.kube, g.dynamic, m, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &said})
				if len(g.refused) > 0 || code == ExitError || code == ExitUsage {
					t.Errorf("exit %d, refused: %v\n%s", code, g.refused, &said)
				}
			})
		})
	}
}
