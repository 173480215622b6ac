package plugin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what a kubeconfig may ask for
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Client-side limits of requests to the API server, istioctl's own
// (istio 1.30.3 istioctl/pkg/cli/context.go:74). Port-forwards do not count.
const (
	defaultQPS   = 50
	defaultBurst = 100
)

// cluster is how the commands reach a cluster: kubectl's own flags.
type cluster struct {
	flags *genericclioptions.ConfigFlags
	clock *serverClock
	// warnings are the API server's.
	warnings *warnings
	// process tells this process from all others, whatever they call themselves.
	process string
	// silence is how long the API server may say nothing of a request.
	silence time.Duration
	verbosity
	// running is the command that runs, nil before it does: its flags say which cluster it is.
	running *cobra.Command
	// rehearsed is a mesh in memory instead of what the flags name.
	rehearsed *clients
}

// clients are the ways out of the program.
type clients struct {
	kube    kubernetes.Interface
	dynamic dynamic.Interface
	dialer  proxy.Dialer
}

func newCluster(streams genericiooptions.IOStreams) *cluster {
	clock := &serverClock{now: time.Now}
	warnings := &warnings{out: streams.ErrOut}
	flags := genericclioptions.NewConfigFlags(true).WithWarningPrinter(streams)
	flags.WithWrapConfigFn(func(config *rest.Config) *rest.Config {
		config.UserAgent = fmt.Sprintf("kubectl-meshca/%s (%s/%s)", Version(), goruntime.GOOS, goruntime.GOARCH)
		config.QPS, config.Burst = defaultQPS, defaultBurst
		config.WarningHandler = warnings
		config.Wrap(clock.wrap)
		return config
	})
	return &cluster{flags: flags, clock: clock, warnings: warnings, process: rand.Text(), silence: longestSilence}
}

// in is the cluster of another context of the same kubeconfig. What names a server
// or a user in particular is the context's own.
func (c *cluster) in(context string, streams genericiooptions.IOStreams) *cluster {
	other := newCluster(streams)
	from, to := c.flags, other.flags
	to.Context, to.KubeConfig, to.Namespace, to.CacheDir, to.Timeout = &context, from.KubeConfig, from.Namespace, from.CacheDir, from.Timeout
	if bound := "1m"; !said(from.Timeout) || *from.Timeout == "0" { // an API server ends a request after that itself (its --request-timeout)
		to.Timeout = &bound
	}
	to.Impersonate, to.ImpersonateUID, to.ImpersonateGroup = from.Impersonate, from.ImpersonateUID, from.ImpersonateGroup
	return other
}

func (c *cluster) addFlags(flags *pflag.FlagSet) {
	c.flags.AddFlags(flags)
	c.verbosity.addFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "kubeconfig", "context", "namespace", "v", "quiet", "color":
		default:
			f.Hidden = true // all of kubectl's, understood and not listed on every page
		}
	})
}

// validate refuses what kubectl's own flags say before anything is read by it.
func (c *cluster) validate() error {
	text := c.flags.Timeout
	if !said(text) {
		return nil
	}
	if d, err := clientcmd.ParseTimeout(*text); err != nil || d < 0 {
		return usage(fmt.Errorf("--request-timeout %q", *text), "write 30s or 2m, or 0 for no bound")
	}
	return nil
}

// config is what the flags and the kubeconfig name. Where they name nothing, kubectl's
// own would go to localhost:8080, and its refusal tell nobody what is missing.
func (c *cluster) config() (*rest.Config, error) {
	config, err := c.flags.ToRESTConfig()
	if err != nil {
		hint := "mend that file, or name another with --kubeconfig FILE"
		if said(c.flags.Context) {
			hint = "'kubectl config get-contexts' lists the contexts that there are"
		}
		return nil, failed(fmt.Errorf("reading the kubeconfig: %w", err), hint)
	}
	raw, err := c.flags.ToRawKubeConfigLoader().RawConfig()
	if err == nil && !said(c.flags.APIServer) && strings.HasSuffix(config.Host, nowhere) {
		switch {
		case len(raw.Clusters) == 0:
			return nil, failed(errors.New("no cluster is named: there is no kubeconfig, or it is empty"), "name one with --kubeconfig FILE, or set KUBECONFIG")
		case raw.CurrentContext == "" && !said(c.flags.Context) && !said(c.flags.ClusterName):
			return nil, failed(errors.New("no context is chosen: the kubeconfig has no current-context"), "name one with --context; 'kubectl config get-contexts' lists the contexts that there are")
		}
	}
	return config, nil
}

// said reports whether a flag of kubectl's has a value.
func said(flag *string) bool { return flag != nil && *flag != "" }

// nowhere is the server of a kubeconfig that names none (client-go tools/clientcmd,
// ClusterDefaults).
const nowhere = "localhost:8080"

// connect opens both ways out: the API server, and the pods behind it.
func (c *cluster) connect() (kubernetes.Interface, proxy.Dialer, error) {
	if c.rehearsed != nil {
		return c.rehearsed.kube, c.rehearsed.dialer, nil
	}
	config, err := c.config()
	if err != nil {
		return nil, nil, err
	}
	// Lists of pods are most of what is read of the API server, and a fraction of the work in this form.
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	kube, err := kubernetes.NewForConfig(c.bounded(config))
	if err != nil {
		return nil, nil, failed(fmt.Errorf("connecting to %s: %w", config.Host, err), "")
	}
	dialer, err := proxy.NewPortForward(config, kube)
	if err != nil {
		return nil, nil, failed(err, "")
	}
	return kube, dialer, nil
}

// dynamic opens the client for kinds that have no types here.
func (c *cluster) dynamic() (dynamic.Interface, error) {
	if c.rehearsed != nil {
		return c.rehearsed.dynamic, nil
	}
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(c.bounded(config))
	if err != nil {
		return nil, failed(fmt.Errorf("connecting to %s: %w", config.Host, err), "")
	}
	return client, nil
}

// bounded is a config whose requests end where nothing is heard of them. Port-forwards,
// which may be silent for long, have bounds of their own.
func (c *cluster) bounded(config *rest.Config) *rest.Config {
	own := rest.CopyConfig(config)
	own.Wrap(func(next http.RoundTripper) http.RoundTripper { return bounded{c.silence, next} })
	return own
}

// where names the cluster for a Snapshot.
func (c *cluster) where() mesh.Cluster {
	var w mesh.Cluster
	if config, err := c.flags.ToRESTConfig(); err == nil {
		w.Server = config.Host
	}
	if raw, err := c.flags.ToRawKubeConfigLoader().RawConfig(); err == nil {
		w.Context = raw.CurrentContext
	}
	if said(c.flags.Context) {
		w.Context = *c.flags.Context
	}
	return w
}

// called is what people call a cluster: by its context, and its server.
func called(c mesh.Cluster) string {
	switch {
	case c.Context == "":
		return c.Server
	case c.Server == "":
		return c.Context
	}
	return c.Context + " (" + c.Server + ")"
}

// noCredentials is what client-go begins with where a kubeconfig's login program has
// failed, which it wraps no error for (plugin/pkg/client/auth/exec/exec.go:369).
const noCredentials = "getting credentials: "

// explain gives an API server's refusal the hint that ends it.
func explain(err error) error {
	var status apierrors.APIStatus
	ok := errors.As(err, &status)
	switch {
	case ok && apierrors.IsForbidden(err):
		details := status.Status().Details
		resource := "the resource"
		if details != nil && details.Kind != "" {
			resource = details.Kind
		}
		return failed(err, fmt.Sprintf("ask for a role that allows this verb on %s in all namespaces", resource))
	case ok && apierrors.IsUnauthorized(err):
		return failed(err, "log in again: the API server does not know these credentials")
	case ok:
		return failed(err, "")
	case strings.Contains(err.Error(), noCredentials):
		return failed(err, "log in on a plain terminal, where its program can ask ('kubectl version' runs it too), then start this again: a rotation goes on from where it stands")
	}
	return failed(err, "is the cluster reachable? 'kubectl version' asks the same API server")
}
