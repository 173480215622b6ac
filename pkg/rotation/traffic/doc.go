// Package traffic judges real traffic through a change by the counters that the
// proxies keep of it (Envoy's /clusters). Only an endpoint that lives through the
// change tells anything: the same pod at the same address before and after. Its
// share of failed connections and requests is held against its own share from
// before the change. A share that rose closes a gate; no new connection is no
// evidence, which is said and closes nothing. It is pure: time and readings are
// handed in.
package traffic
