package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
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
	client, done := r.client(target)
	defer done()
	if target.Ztunnel {
		raw, err := get(ctx, client, "/config_dump")
		if err != nil {
			return nil, nil, err
		}
		loaded, err := ParseZtunnel(raw, r.Now())
		return loaded, nil, err
	}
	raw, err := get(ctx, client, "/config_dump?resource=dynamic_active_secrets")
	if err != nil {
		return nil, nil, err
	}
	loaded, err := ParseSecrets(raw, r.Now())
	if errors.Is(err, ErrNoSecrets) {
		loaded, err = mounted(ctx, client, r.Now(), err)
	}
	if err != nil {
		return nil, nil, err
	}
	// What follows is read over the same connection. It is confirmation: without it
	// the first stands, and says that it stands alone.
	if loaded.Evidence == EvidenceConfigDump {
		if raw, err = get(ctx, client, "/certs"); err == nil {
			loaded.Contexts, err = ParseCerts(raw)
		}
		if err != nil {
			loaded.ContextsError = err.Error()
		}
	}
	if target.Bootstrap {
		// Without an answer it stays unknown how the proxy is secured there.
		if raw, err = get(ctx, client, "/config_dump?mask=bootstrap"); err == nil {
			loaded.ControlPlane, _ = ParseBootstrap(raw)
		}
	}
	if target.Info {
		// Without an answer the release stays unknown, which is what it is.
		if raw, err = get(ctx, client, "/server_info"); err == nil {
			loaded.Info, _ = ParseInfo(raw)
		}
	}
	var upstreams []Upstream
	if target.Counters {
		if raw, err = get(ctx, client, "/clusters"); err == nil {
			upstreams, err = ParseClusters(raw)
		}
		if err != nil {
			return nil, nil, err // counters were asked for: silence about them is no zero
		}
	}
	return loaded, upstreams, nil
}

// mounted reads a proxy whose certificates are files, as on meshes with a Citadel
// (Istio 1.0 to 1.4): there are no dynamic secrets, and /certs alone tells what the
// live contexts use. A proxy without any mesh certificate there is what its dump
// says it is.
func mounted(ctx context.Context, client *http.Client, at time.Time, none error) (*Loaded, error) {
	raw, err := get(ctx, client, "/certs")
	if err != nil {
		return nil, errors.Join(none, err)
	}
	contexts, err := ParseCerts(raw)
	if err != nil {
		return nil, errors.Join(none, err)
	}
	for _, c := range contexts {
		if c.SPIFFE != "" {
			return &Loaded{At: at, Evidence: EvidenceCerts, Contexts: contexts}, nil
		}
	}
	return nil, none
}

// client speaks HTTP to the target's admin port over one connection.
func (r *Reader) client(target Target) (*http.Client, func()) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.Dialer.DialPod(ctx, target.Pod, target.AdminPort)
		},
		MaxConnsPerHost: 1,
	}
	return &http.Client{Transport: transport}, transport.CloseIdleConnections
}

func get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reading %s: %w", path, context.Cause(ctx))
		}
		return nil, fmt.Errorf("reading %s: %w", path, errors.Unwrap(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading %s: the proxy answered %s", path, strconv.Itoa(response.StatusCode))
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, MaxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(raw) > MaxAnswer {
		return nil, fmt.Errorf("reading %s: the answer is larger than %d bytes", path, MaxAnswer)
	}
	return raw, nil
}
