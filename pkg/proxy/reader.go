package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"golang.org/x/sync/semaphore"
)

// Bounds of one read. What the mesh's own secrets are in a config dump is some 20 KiB;
// what is larger than MaxAnswer is not that.
const (
	DefaultConcurrency = 32
	DefaultTimeout     = 10 * time.Second
	MaxAnswer          = 8 << 20
	// MaxCounters bounds what is read as it comes: /clusters, some 3 KiB for each
	// endpoint, and a proxy knows every endpoint of the mesh unless told otherwise; a
	// config dump, of which little is kept; and an istiod's list of its proxies.
	MaxCounters = 128 << 20
)

// Reader reads many proxies at once, each with its own time-out and error.
type Reader struct {
	Dialer Dialer
	// Now is the clock that stamps what was read.
	Now func() time.Time
	// Concurrency is how many proxies are read at once, Timeout bounds each of
	// them; zero means the default.
	Concurrency int
	Timeout     time.Duration

	parser pki.Parser // all hold the same few CAs
}

// Target is one proxy to read.
type Target struct {
	Pod Pod
	// AdminPort is Envoy's admin port (proxyAdminPort), or ztunnel's.
	AdminPort int
	// Ztunnel says that it is one: its dump has another form.
	Ztunnel bool
	// Counters asks for the counters of its upstream endpoints too.
	Counters bool
	// Info asks for the proxy's own word on its release too: worth a request where
	// its image does not name one.
	Info bool
	// Bootstrap asks for the proxy's TLS context to the control plane too.
	Bootstrap bool
}

// Result is what one target answered; exactly one of Loaded and Err is set.
type Result struct {
	Target Target
	Loaded *Loaded
	Err    error
	// Upstreams are its counters, where they were asked for and could be read.
	Upstreams []Upstream
}

// Read reads every target and hands each result to yield as it arrives, one at
// a time. A target that fails is a result with an error; Read itself has none.
func (r *Reader) Read(ctx context.Context, targets []Target, yield func(Result)) {
	limit := r.Concurrency
	if limit <= 0 {
		limit = DefaultConcurrency
	}
	slots := semaphore.NewWeighted(int64(limit))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, target := range targets {
		wg.Go(func() {
			result := Result{Target: target}
			if err := slots.Acquire(ctx, 1); err != nil {
				result.Err = fmt.Errorf("not read: %w", err)
			} else {
				result.Loaded, result.Upstreams, result.Err = r.one(ctx, target)
				slots.Release(1)
			}
			mu.Lock()
			defer mu.Unlock()
			yield(result)
		})
	}
	wg.Wait()
}

func (r *Reader) one(ctx context.Context, target Target) (*Loaded, []Upstream, error) {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	if target.Ztunnel {
		dump := r.ask(ctx, target, ztunnelPath)[0]
		if dump.err != nil {
			return nil, nil, dump.err
		}
		loaded, err := parseZtunnel(dump.raw, r.Now(), &r.parser)
		return loaded, nil, err
	}
	paths := []string{secretsPath, certsPath}
	more := func(wanted bool, path string) int {
		if !wanted {
			return -1
		}
		paths = append(paths, path)
		return len(paths) - 1
	}
	info, bootstrap, clusters := more(target.Info, "/server_info"), more(target.Bootstrap, bootstrapPath), more(target.Counters, clustersPath)
	answers := r.ask(ctx, target, paths...)
	loaded, err := r.secretsOf(answers[0], answers[1], func() answer {
		if bootstrap >= 0 {
			return answers[bootstrap]
		}
		return r.ask(ctx, target, bootstrapPath)[0]
	})
	if err != nil {
		return nil, nil, err
	}
	// Without an answer it stays unknown how the proxy is secured towards its istiod,
	// and of which release it is.
	if bootstrap >= 0 && answers[bootstrap].err == nil {
		loaded.ControlPlane, _ = ParseBootstrap(answers[bootstrap].raw)
	}
	if info >= 0 && answers[info].err == nil {
		loaded.Info, _ = ParseInfo(answers[info].raw)
	}
	var upstreams []Upstream
	if clusters >= 0 {
		if upstreams, err = answers[clusters].upstreams, answers[clusters].err; err != nil {
			return nil, nil, err // counters were asked for: silence about them is no zero
		}
	}
	return loaded, upstreams, nil
}

// secretsOf puts a proxy's dump and its /certs together. A proxy whose certificates
// are files, as on meshes with a Citadel (Istio 1.0 to 1.4), has no dynamic secrets:
// /certs alone tells what its live contexts use. One without any mesh certificate
// there either is what its dump says it is. Where there are secrets of files besides, it
// is asked which of them are the mesh's.
func (r *Reader) secretsOf(dump, certs answer, bootstrap func() answer) (*Loaded, error) {
	if dump.err != nil {
		return nil, dump.err
	}
	at := r.Now()
	loaded, err := r.loaded(dump.raw, at, bootstrap)
	var contexts []Context
	without := certs.err
	if without == nil {
		contexts, without = ParseCerts(certs.raw)
	}
	if errors.Is(err, ErrNoSecrets) {
		if without == nil && slices.ContainsFunc(contexts, func(c Context) bool { return c.SPIFFE != "" }) {
			return &Loaded{At: at, Evidence: EvidenceCerts, Contexts: contexts}, nil
		}
		return nil, errors.Join(err, without)
	}
	if err != nil {
		return nil, err
	}
	// Confirmation: without it the first stands, and says that it stands alone.
	if loaded.Contexts = contexts; without != nil {
		loaded.ContextsError = without.Error()
	}
	return loaded, nil
}

func (r *Reader) loaded(dump []byte, at time.Time, bootstrap func() answer) (*Loaded, error) {
	secrets, err := parseSecrets(dump, &r.parser)
	if err != nil {
		return nil, err
	}
	var files mounted
	if slices.ContainsFunc(secrets.active, func(s secret) bool { return ofFile(s.Name) }) {
		said := bootstrap()
		if err = said.err; err == nil {
			files, err = parseMounted(said.raw)
		}
		if err != nil {
			return nil, fmt.Errorf("it has certificates of files, and it is not known what for: %w", err)
		}
	}
	return secrets.loaded(at, files)
}
