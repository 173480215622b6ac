package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
)

const certsExample = `  # who is who: every service account, its SPIFFE ID and the certificates its pods use
  kubectl meshca certs

  # one namespace, certificate by certificate, with the pods that share each
  kubectl meshca certs -n payments -o wide

  # the CAs and identities of two clusters, and which roots they share
  kubectl meshca certs --contexts east,west -o yaml`

type certsOptions struct {
	sourceFlags
	contexts []string
	patience time.Duration
	output   string
	selector string
	all      bool
}

func newCertsCommand(c *cluster, streams genericiooptions.IOStreams) *cobra.Command {
	o := certsOptions{patience: answerWait}
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "List the mesh's identities and certificates, its CA's and its control plane's",
		Long: "Lists every service account with its SPIFFE ID and the certificates that stand for it\n" +
			"now, by what live proxies hold and, on meshes with a Citadel, by its Secrets; the CA with\n" +
			"its chain; what istiods serve; and how proxies are secured towards the control plane.\n" +
			"Lives are held against what istiod grants and what is left of the CA. -n and -l filter\n" +
			"the rows, never the verdict.\n\n" +
			"Exit codes: 0 all of it was read and holds, 2 something has ended, is made out to another\n" +
			"or could not be read, 1 it could not be done, 64 bad usage.",
		Example: certsExample,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), c, streams) },
	}
	o.addFlags(cmd.Flags())
	o.bootstraps = true
	outputFlag(cmd, &o.output)
	filterFlags(cmd, &o.selector, &o.all)
	cmd.Flags().StringSliceVar(&o.contexts, "contexts", nil, "contexts of the kubeconfig, one for each cluster, instead of the current one")
	return cmd
}

func (o *certsOptions) validate() error {
	if err := o.sourceFlags.validate(); err != nil {
		return err
	}
	if err := validOutput(o.output); err != nil {
		return err
	}
	if len(o.contexts) > 0 && o.from != "" {
		return usage(errors.New("--contexts and --from-snapshot exclude each other"), "a saved snapshot is of one cluster")
	}
	for i, name := range o.contexts {
		if strings.TrimSpace(name) == "" || slices.Contains(o.contexts[:i], name) {
			return usage(fmt.Errorf("--contexts %s: %q is empty or stands twice", strings.Join(o.contexts, ","), name), "name each cluster once")
		}
	}
	return nil
}

// Bounds of what is read of several clusters.
const (
	clustersAtOnce = 8
	// answerWait is how long an API server may take for its first answer. Without it one
	// that takes connections and says nothing holds up the clusters that answer.
	answerWait = 15 * time.Second
)

// look is what was seen of one cluster, or why it was not.
type look struct {
	snapshot *mesh.Snapshot
	err      error
}

// everywhere looks at all contexts, several at once.
func (o *certsOptions) everywhere(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) []look {
	streams.ErrOut = &oneByOne{to: streams.ErrOut}
	looks := make([]look, len(o.contexts))
	clusters := make([]*cluster, len(o.contexts))
	for i, name := range o.contexts {
		clusters[i] = c.in(name, streams)
		if config, err := clusters[i].config(); err == nil && config.ExecProvider != nil {
			_ = clusters[i].answers(ctx, o.patience) // a login program may ask, and two would ask at once
		}
	}
	var group errgroup.Group
	group.SetLimit(clustersAtOnce)
	for i := range clusters {
		group.Go(func() error {
			if looks[i].err = clusters[i].answers(ctx, o.patience); looks[i].err == nil {
				looks[i].snapshot, looks[i].err = o.snapshot(ctx, clusters[i], streams)
			}
			return nil
		})
	}
	_ = group.Wait() // no member fails
	return looks
}

// answers asks whether there is an API server at all; what it says is no matter.
func (c *cluster) answers(ctx context.Context, patience time.Duration) error {
	if c.rehearsed != nil {
		return nil
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return failed(fmt.Errorf("connecting to %s: %w", config.Host, err), "")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = greet(ctx, kube)
	var status apierrors.APIStatus
	switch {
	case err == nil || errors.As(err, &status):
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return explain(fmt.Errorf("%s gives no answer within %s", config.Host, patience))
	}
	return explain(err)
}

// oneByOne lets several write whole lines to one place.
type oneByOne struct {
	mu sync.Mutex
	to io.Writer
}

func (o *oneByOne) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *certsOptions) run(ctx context.Context, c *cluster, streams genericiooptions.IOStreams) error {
	if err := o.validate(); err != nil {
		return err
	}
	show, err := c.filter(o.selector, o.all)
	if err != nil {
		return err
	}
	report := &certsReport{APIVersion: mesh.APIVersion, Kind: "CertificateInventory"}
	if len(o.contexts) == 0 {
		s, err := o.snapshot(ctx, c, streams)
		if err != nil {
			return err
		}
		report.add(newCertsCluster(s), s, show)
	}
	// One cluster that does not answer is a fact beside the others, not their end.
	var unreachable error
	looks := o.everywhere(ctx, c, streams)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for i, name := range o.contexts {
		s, err := looks[i].snapshot, looks[i].err
		if err != nil {
			report.Clusters = append(report.Clusters, certsCluster{Context: name, Error: err.Error()})
			if err = fmt.Errorf("context %s: %w", name, err); unreachable != nil {
				err = fmt.Errorf("%w; %w", unreachable, err)
			}
			unreachable = err
			continue
		}
		item := newCertsCluster(s)
		item.Context = name
		report.add(item, s, show)
	}
	report.share()
	if err := printResult(streams.Out, o.output, report); err != nil {
		return err
	}
	if unreachable != nil {
		_, hint := codeOf(unreachable)
		return failed(unreachable, hint)
	}
	return report.failure()
}
