package proxy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Bounds of one read. A config dump of secrets alone is some 20 KiB; what is
// larger than MaxAnswer is not one.
const (
	DefaultConcurrency = 32
	DefaultTimeout     = 10 * time.Second
	MaxAnswer          = 8 << 20
	// MaxCounters bounds /clusters, which is read line by line: some 3 KiB for each
	// endpoint, and a proxy knows every endpoint of the mesh unless told otherwise.
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
		dump := r.ask(ctx, target, "/config_dump")[0]
		if dump.err != nil {
			return nil, nil, dump.err
		}
		loaded, err := ParseZtunnel(dump.raw, r.Now())
		return loaded, nil, err
	}
	paths := []string{"/config_dump?resource=dynamic_active_secrets", "/certs"}
	if target.Info {
		paths = append(paths, "/server_info")
	}
	if target.Counters {
		paths = append(paths, clustersPath)
	}
	answers := r.ask(ctx, target, paths...)
	if answers[0].err != nil {
		return nil, nil, answers[0].err
	}
	loaded, err := ParseSecrets(answers[0].raw, r.Now())
	if err != nil {
		return nil, nil, err
	}
	// This is confirmation: without it the first stands, and says that it stands alone.
	if err = answers[1].err; err == nil {
		loaded.Contexts, err = ParseCerts(answers[1].raw)
	}
	if err != nil {
		loaded.ContextsError = err.Error()
	}
	if target.Info && answers[2].err == nil {
		// Without an answer the release stays unknown, which is what it is.
		loaded.Info, _ = ParseInfo(answers[2].raw)
	}
	var upstreams []Upstream
	if target.Counters {
		counters := answers[len(answers)-1]
		if upstreams, err = counters.upstreams, counters.err; err != nil {
			return nil, nil, err // counters were asked for: silence about them is no zero
		}
	}
	return loaded, upstreams, nil
}
