package plugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	safe "github.com/meshca/kubectl-meshca/internal/plain"
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
	// unread leaves proxies listed and not asked.
	unread bool
	// bootstraps asks proxies how they are secured towards the control plane.
	bootstraps bool
	// clients asks every istiod who is connected to it, too.
	clients bool
}

func (f *sourceFlags) addFlags(flags *pflag.FlagSet) {
	f.meshFlags.addFlags(flags)
	fromFlag(flags, &f.from)
	flags.BoolVar(&f.csrProof, "csr-proof", false, "ask every istiod to sign a throw-away request (makes the service account "+mesh.ProbeAccount+", and removes it)")
}

// fromFlag adds the way around the cluster. Of the flags that say what is read of a
// cluster it takes those that are applied to a file too.
func fromFlag(flags *pflag.FlagSet, into *string, applied ...string) {
	flags.StringVar(into, fromSnapshot, "", "a saved snapshot instead of the cluster")
	excluded := slices.DeleteFunc([]string{"istio-namespace", "revision", "context", "no-proxies"}, func(name string) bool { return slices.Contains(applied, name) })
	flags.Lookup(fromSnapshot).Annotations = map[string][]string{excludedFlags: excluded}
}

const (
	fromSnapshot = "from-snapshot"
	// excludedFlags marks --from-snapshot with the flags that it leaves nothing to do.
	excludedFlags = "meshca_excludes"
)

// onlyOfCluster refuses what was given beside --from-snapshot and would change nothing:
// who asks for another mesh must not be shown the one of the file.
func onlyOfCluster(cmd *cobra.Command) error {
	from := cmd.Flags().Lookup(fromSnapshot)
	if from == nil || !from.Changed {
		return nil
	}
	for _, name := range from.Annotations[excludedFlags] {
		if cmd.Flags().Changed(name) {
			return usage(fmt.Errorf("--%s and --%s exclude each other", fromSnapshot, name), "a saved snapshot is of what it was taken of")
		}
	}
	return nil
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
		return f.saved(f.from, streams)
	}
	observer, err := f.observer(c, f.csrProof)
	if err != nil {
		return nil, err
	}
	observer.prober.Clients = f.clients
	if f.unread {
		observer.collector.Dialer = nil
	}
	observer.collector.Bootstraps = f.bootstraps
	if canDraw(streams.ErrOut) && !c.quiet {
		observer.collector.Progress = func(done, of int) {
			fmt.Fprintf(streams.ErrOut, "\r\x1b[Kreading proxies: %d of %d", done, of)
		}
		defer fmt.Fprint(streams.ErrOut, "\r\x1b[K")
	}
	s, err := observer.whole(ctx)
	observer.leave(ctx, streams)
	return s, err
}

// filtered is snapshot with what decides which of its rows are shown: flags that
// make no sense are refused before anything is read.
func (f *sourceFlags) filtered(ctx context.Context, c *cluster, streams genericiooptions.IOStreams, selector string, all bool) (*mesh.Snapshot, show, error) {
	shown, err := c.filter(selector, all)
	if err != nil {
		return nil, nil, err
	}
	s, err := f.snapshot(ctx, c, streams)
	return s, shown, err
}

// saved is a snapshot of a file, with what the flags say of it.
func (f *meshFlags) saved(name string, streams genericiooptions.IOStreams) (*mesh.Snapshot, error) {
	roots, err := f.named()
	if err != nil {
		return nil, err
	}
	s, err := readSnapshot(name, streams)
	if err == nil {
		s.NameMeshRoots(roots)
		tellAge(streams.ErrOut, s, name, time.Now())
	}
	return s, err
}

// aged is a snapshot of which it is told how old it is: what was proven then need not be
// true any more, and days are counted from when it was taken.
const aged = time.Hour

func tellAge(to io.Writer, s *mesh.Snapshot, name string, now time.Time) {
	if age := now.Sub(s.TakenAt); age > aged {
		fmt.Fprintf(to, "note: %s was taken %s ago, at %s: this is of then, and not of now\n", plain(name), safe.Span(age.Round(time.Minute)), stamp(s.TakenAt))
	}
}

func readSnapshot(name string, streams genericiooptions.IOStreams) (*mesh.Snapshot, error) {
	in := streams.In
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, failed(fmt.Errorf("reading --from-snapshot: %w", err), "'kubectl meshca snapshot' writes one")
		}
		defer file.Close()
		in = file
	}
	text, err := asJSON(in)
	if err != nil {
		return nil, failed(fmt.Errorf("--from-snapshot %s: %w", name, err), "'kubectl meshca snapshot' writes one")
	}
	s, err := mesh.ReadSnapshot(text)
	if err != nil {
		return nil, failed(fmt.Errorf("--from-snapshot %s: %w", name, err), "'kubectl meshca snapshot' writes one")
	}
	return s, nil
}

// maxYAML bounds a snapshot in YAML, which is read as a whole: JSON is not.
const maxYAML = 256 << 20

// asJSON turns what "snapshot -o yaml" wrote into what "snapshot -o json" does.
func asJSON(in io.Reader) (io.Reader, error) {
	text := bufio.NewReader(in)
	for {
		first, err := text.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		if err != nil {
			return nil, err
		}
		if first == ' ' || first == '\t' || first == '\r' || first == '\n' {
			continue
		}
		if err := text.UnreadByte(); err != nil || first == '{' {
			return text, err
		}
		break
	}
	raw, err := io.ReadAll(io.LimitReader(text, maxYAML+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxYAML {
		return nil, fmt.Errorf("it is larger than %d bytes: save it as JSON", maxYAML)
	}
	if raw, err = yaml.YAMLToJSONStrict(raw); err != nil {
		return nil, fmt.Errorf("it is neither JSON nor YAML: %w", err)
	}
	return bytes.NewReader(raw), nil
}

const snapshotExample = `  # save the mesh, to look at it offline or to send it with a bug report; it holds no key
  kubectl meshca snapshot > mesh.json

  # only what the API server knows, without asking any proxy
  kubectl meshca snapshot --no-proxies --out mesh.json

  # check it somewhere else
  kubectl meshca check --from-snapshot mesh.json`

func newSnapshotCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	source := sourceFlags{clients: true}
	var output, file string
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save what is true of the mesh now: no key is in it",
		Long: "Reads the mesh as every other command does and saves it. It holds certificates and\n" +
			"names, and no key.",
		Example: snapshotExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "json" && output != "yaml" {
				return usage(fmt.Errorf("unknown output format %q", output), "use json or yaml")
			}
			if err := source.validate(); err != nil {
				return err
			}
			if file != "" && exists(file) {
				return failed(fmt.Errorf("--out %s is there already", file), "name another: nothing is written over")
			}
			s, err := source.snapshot(cmd.Context(), c, streams)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := s.WriteJSON(&text); err != nil {
				return failed(err, "")
			}
			raw := safe.JSON(text.Bytes())
			if output == "yaml" {
				if raw, err = yamlFrom(text.Bytes()); err != nil {
					return failed(fmt.Errorf("writing the snapshot: %w", err), "")
				}
			}
			if file == "" {
				_, err = streams.Out.Write(raw)
			} else {
				made := &created{}
				if err = made.file(file, raw, 0o600); err != nil {
					err = errors.Join(err, made.undo())
				}
			}
			if err != nil {
				return failed(fmt.Errorf("writing the snapshot: %w", err), "")
			}
			_, err = fmt.Fprintln(streams.ErrOut, plain(sumOf(s)))
			return err
		},
	}
	source.addFlags(cmd.Flags())
	source.bootstraps = true
	cmd.Flags().BoolVar(&source.unread, "no-proxies", false, "list the proxies, and ask none of them what it has loaded")
	cmd.Flags().StringVarP(&output, "output", "o", "json", "json or yaml")
	cmd.Flags().StringVar(&file, "out", "", "write to this file, which must not be there yet, instead of stdout")
	formerly(cmd.Flags(), "file", "f", "out")
	completions(cmd, "output", "json", "yaml")
	return cmd
}

// sumOf says in one line what a snapshot holds, so that an incomplete one is not
// taken for a whole one.
func sumOf(s *mesh.Snapshot) string {
	replicas, unread := 0, 0
	for _, plane := range s.ControlPlanes {
		replicas += len(plane.Replicas)
	}
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			unread++
		}
	}
	text := fmt.Sprintf("saved: control planes %d (replicas %d), namespaces %d, webhooks %d, proxies %d (not read %d)",
		len(s.ControlPlanes), replicas, len(s.Namespaces), len(s.Webhooks), len(s.Proxies), unread)
	if len(s.Gaps) > 0 {
		text += fmt.Sprintf("; could not be read: %d parts, the first is %s", len(s.Gaps), s.Gaps[0].Part)
	}
	return text
}
