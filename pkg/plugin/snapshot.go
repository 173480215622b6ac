package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

// sourceFlags name where a Snapshot comes from: the cluster, or a saved file.
type sourceFlags struct {
	meshFlags
	from     string
	csrProof bool
}

func (f *sourceFlags) addFlags(flags *pflag.FlagSet) {
	f.meshFlags.addFlags(flags)
	flags.StringVar(&f.from, "from-snapshot", "", "a saved snapshot instead of the cluster")
	flags.BoolVar(&f.csrProof, "csr-proof", false, "ask every istiod to sign a throw-away request (makes the service account "+mesh.ProbeAccount+", and removes it)")
}

func (f *sourceFlags) validate() error {
	if f.from != "" && f.csrProof {
		return usage(errors.New("--from-snapshot and --csr-proof exclude each other"), "a file answers no request")
	}
	return f.meshFlags.validate()
}

// snapshot reads the mesh, or the file. Progress goes to stderr where somebody
// looks at it.
func (f *sourceFlags) snapshot(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) (*mesh.Snapshot, error) {
	if f.from != "" {
		return readSnapshot(f.from, streams)
	}
	observer, err := f.observer(c, streams, f.csrProof)
	if err != nil {
		return nil, err
	}
	if isTerminal(streams.ErrOut) {
		observer.collector.Progress = func(done, of int) {
			fmt.Fprintf(streams.ErrOut, "\r\x1b[Kreading proxies: %d of %d", done, of)
		}
		defer fmt.Fprint(streams.ErrOut, "\r\x1b[K")
	}
	s, err := observer.whole(ctx)
	if left := observer.close(ctx); left != nil {
		fmt.Fprintln(streams.ErrOut, "warning: "+plain(left.Error()))
	}
	return s, err
}

func readSnapshot(name string, streams genericiooptions.IOStreams) (*mesh.Snapshot, error) {
	in := streams.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, failed(fmt.Errorf("reading --from-snapshot: %w", err), "")
		}
		defer file.Close()
		in = file
	}
	s, err := mesh.ReadSnapshot(in)
	if err != nil {
		return nil, failed(fmt.Errorf("--from-snapshot %s: %w", name, err), "'kubectl meshca snapshot' writes one")
	}
	return s, nil
}

const snapshotExample = `  # save the mesh, to look at it offline or to send it with a bug report; it holds no key
  kubectl meshca snapshot > mesh.json

  # check it somewhere else
  kubectl meshca check --from-snapshot mesh.json`

func newSnapshotCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	var source sourceFlags
	var output, file string
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save what is true of the mesh now: no key is in it",
		Long: "Reads the mesh as every other command does and saves it. check, versions, verify and\n" +
			"plan take the file with --from-snapshot. It holds certificates and names, and no key.",
		Example: snapshotExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "json" && output != "yaml" {
				return usage(fmt.Errorf("unknown output format %q", output), "use json or yaml")
			}
			if err := source.validate(); err != nil {
				return err
			}
			s, err := source.snapshot(cmd.Context(), c, streams)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := s.WriteJSON(&text); err != nil {
				return failed(err, "")
			}
			raw := text.Bytes()
			if output == "yaml" {
				if raw, err = yaml.JSONToYAML(raw); err != nil {
					return failed(fmt.Errorf("writing the snapshot: %w", err), "")
				}
			}
			if file == "" {
				_, err = streams.Out.Write(raw)
			} else {
				err = writeNew(file, raw)
			}
			if err != nil {
				return failed(fmt.Errorf("writing the snapshot: %w", err), "")
			}
			return nil
		},
	}
	source.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "json", "json or yaml")
	cmd.Flags().StringVarP(&file, "file", "f", "", "write to this file, which must not be there yet, instead of stdout")
	completions(cmd, "output", "json", "yaml")
	return cmd
}

// writeNew writes a file for its owner alone, never over another, and leaves
// nothing behind when it fails.
func writeNew(name string, raw []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(raw)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
