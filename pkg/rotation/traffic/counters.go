package traffic

import (
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Counters are what one client's proxy has counted of one endpoint, or of several.
type Counters struct {
	Connections uint64 `json:"connections"`
	// ConnectFail are new connections that failed before they stood: the network,
	// and a server's certificate that the client refused; under TLS 1.2 the reverse.
	ConnectFail uint64 `json:"connectFail"`
	Requests    uint64 `json:"requests"`
	Successes   uint64 `json:"successes"`
	// Errors are requests that failed. Under TLS 1.3 a client learns that its own
	// certificate was refused only after its connection stood: it shows here alone.
	Errors uint64 `json:"errors"`
}

func of(u proxy.Upstream) Counters {
	return Counters{u.Connections, u.ConnectFail, u.Requests, u.Successes, u.Errors}
}

// since is what was added to before; false where a counter fell, because the proxy
// or the endpoint began anew: then nothing is known of the time between.
func (c Counters) since(before Counters) (Counters, bool) {
	if c.Connections < before.Connections || c.ConnectFail < before.ConnectFail || c.Requests < before.Requests || c.Successes < before.Successes || c.Errors < before.Errors {
		return Counters{}, false
	}
	return Counters{c.Connections - before.Connections, c.ConnectFail - before.ConnectFail, c.Requests - before.Requests, c.Successes - before.Successes, c.Errors - before.Errors}, true
}

func (c *Counters) add(d Counters) {
	c.Connections += d.Connections
	c.ConnectFail += d.ConnectFail
	c.Requests += d.Requests
	c.Successes += d.Successes
	c.Errors += d.Errors
}

// attempts and asked bound the failures from above: Envoy counts a failed request
// that never got a connection as an error only.
func (c Counters) attempts() uint64 { return max(c.Connections, c.ConnectFail) }
func (c Counters) asked() uint64    { return max(c.Requests, c.Errors) }

// meshed reports whether a cluster leads to other workloads. The others are the
// application beside the proxy, the agent's own, and what is passed through unseen.
func meshed(cluster string) bool {
	for _, prefix := range []string{"outbound|", "outbound_.", "inbound-vip|"} {
		if strings.HasPrefix(cluster, prefix) {
			return true
		}
	}
	return false
}
