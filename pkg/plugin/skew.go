package plugin

import (
	"net/http"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
)

// serverClock compares this machine's clock with the API server's, by the Date of every
// answer: every verdict about dates is only as right as the clock behind it.
type serverClock struct {
	now func() time.Time

	mu   sync.Mutex
	skew time.Duration
	trip time.Duration // of the answer that skew is from; 0 before the first
}

// clusterNow is this moment on the clock of the cluster that was looked at.
func clusterNow(s *mesh.Snapshot) time.Time { return time.Now().Add(-time.Duration(s.ClockSkew)) }

// wrap listens to what passes.
func (c *serverClock) wrap(next http.RoundTripper) http.RoundTripper { return listening{c, next} }

type listening struct {
	clock *serverClock
	next  http.RoundTripper
}

func (l listening) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := l.clock.now()
	response, err := l.next.RoundTrip(request)
	if err == nil {
		l.clock.heard(response.Header.Get("Date"), sent, l.clock.now())
	}
	return response, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (l listening) WrappedRoundTripper() http.RoundTripper { return l.next }

// heard takes one answer. The quickest one says most; Date is cut to the second,
// so its middle is meant.
func (c *serverClock) heard(date string, sent, received time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	trip := max(received.Sub(sent), 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trip == 0 || trip < c.trip {
		c.trip, c.skew = trip, sent.Add(trip/2).Sub(at.Add(time.Second/2))
	}
}

// ahead is how far this machine's clock is ahead, 0 within what Date can tell.
func (c *serverClock) ahead() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.skew.Abs() <= time.Second+c.trip/2 {
		return 0
	}
	return c.skew
}
