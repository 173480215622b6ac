package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ParseClusters reads the counters of every endpoint from Envoy's /clusters: lines
// of cluster::endpoint::name::value (envoy source/server/admin/clusters_handler.cc).
func ParseClusters(raw []byte) ([]Upstream, error) { return readClusters(bytes.NewReader(raw)) }

// readClusters takes the lines as they come: of some thirty for each endpoint six
// are kept.
func readClusters(r io.Reader) ([]Upstream, error) {
	var all []Upstream
	index := map[[2]string]int{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		parts := strings.Split(lines.Text(), "::")
		if len(parts) < 4 {
			continue
		}
		// An IPv6 endpoint has "::" in it.
		cluster, name, value := parts[0], parts[len(parts)-2], parts[len(parts)-1]
		endpoint := strings.Join(parts[1:len(parts)-2], "::")
		var into func(*Upstream) *uint64
		switch name {
		case "cx_total":
			into = func(u *Upstream) *uint64 { return &u.Connections }
		case "cx_connect_fail":
			into = func(u *Upstream) *uint64 { return &u.ConnectFail }
		case "cx_active":
			into = func(u *Upstream) *uint64 { return &u.Active }
		case "rq_total":
			into = func(u *Upstream) *uint64 { return &u.Requests }
		case "rq_success":
			into = func(u *Upstream) *uint64 { return &u.Successes }
		case "rq_error":
			into = func(u *Upstream) *uint64 { return &u.Errors }
		default:
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("parsing /clusters: %s of %s is %q", name, endpoint, value)
		}
		key := [2]string{cluster, endpoint}
		i, ok := index[key]
		if !ok {
			i = len(all)
			index[key] = i
			all = append(all, Upstream{Cluster: cluster, Endpoint: endpoint})
		}
		*into(&all[i]) = n
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("parsing /clusters: %w", err)
	}
	return all, nil
}
