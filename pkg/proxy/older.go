package proxy

import (
	"cmp"
	"slices"
)

// Older bounds how many of a proxy's upstream connections are older than a moment at
// which its counters were read before. Envoy tells no connection's age: of each
// endpoint it has how many are open, and how many it has ever made (envoy
// source/server/admin/clusters_handler.cc, cx_active and cx_total). So n open ones, of
// which m were made since, hold at least n-m older ones, and at most as many as were
// open then.
type Older struct {
	// AtLeast are older for certain. AtMost may be.
	AtLeast uint64 `json:"atLeast"`
	AtMost  uint64 `json:"atMost"`
	// Unseen counts connections of then whose endpoints are no longer listed: Envoy
	// keeps what is open to an endpoint that has gone, and shows it nowhere.
	Unseen uint64 `json:"unseen,omitempty"`
	// Endpoints are those with older ones, by cluster, the most first.
	Endpoints []OlderEndpoint `json:"endpoints,omitempty"`
}

// OlderEndpoint is one endpoint's part of Older.
type OlderEndpoint struct {
	Cluster  string `json:"cluster"`
	Endpoint string `json:"endpoint"`
	AtLeast  uint64 `json:"atLeast"`
	AtMost   uint64 `json:"atMost"`
}

// None reports whether none is older, for certain.
func (o Older) None() bool { return o.AtMost == 0 && o.Unseen == 0 }

// OlderThan bounds it by the counters of then and of now. Counters that have gone
// back are those of another Envoy, or of an endpoint that went and came again: of such
// an endpoint nothing is certain but what is open now.
func OlderThan(then, now []Upstream) (o Older) {
	type place struct{ cluster, endpoint string }
	before := map[place]Upstream{}
	for _, u := range then {
		before[place{u.Cluster, u.Endpoint}] = u
	}
	for _, u := range now {
		at := place{u.Cluster, u.Endpoint}
		b, known := before[at]
		delete(before, at)
		if !known || u.Active == 0 {
			continue // it was not there: what it has was made since
		}
		one := OlderEndpoint{Cluster: u.Cluster, Endpoint: u.Endpoint, AtMost: min(u.Active, b.Active)}
		switch {
		case u.Connections < b.Connections:
			one.AtMost = u.Active
		case u.Active > u.Connections-b.Connections:
			one.AtLeast = u.Active - (u.Connections - b.Connections)
		}
		if one.AtMost == 0 {
			continue
		}
		o.AtLeast += one.AtLeast
		o.AtMost += one.AtMost
		o.Endpoints = append(o.Endpoints, one)
	}
	for _, gone := range before {
		o.Unseen += gone.Active
	}
	slices.SortStableFunc(o.Endpoints, func(a, b OlderEndpoint) int { return cmp.Compare(b.AtMost, a.AtMost) })
	return o
}
