package plugin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// olderReport is what is known of a proxy's connections that are older than a moment.
type olderReport struct {
	proxy.Older
	// Unknown says why nothing is known; the bounds are no bounds then.
	Unknown string `json:"unknown,omitempty"`
	// Drain is the command that ends them, where one is known.
	Drain string `json:"drain,omitempty"`
}

// readOlder reads what "envoy --counters -o json" wrote before.
func readOlder(name string) (*envoyReport, error) {
	raw, err := readFile("--older-than", name)
	if err != nil {
		return nil, err
	}
	var r envoyReport
	if err := json.Unmarshal(raw, &r); err != nil || r.Kind != "EnvoyList" || r.APIVersion != mesh.APIVersion {
		return nil, failed(fmt.Errorf("--older-than %s: it is no EnvoyList", name), "write it before the change: 'kubectl meshca envoy --counters -o json > before.json'")
	}
	if r.TakenAt.IsZero() || !slices.ContainsFunc(r.Items, func(i envoyItem) bool { return len(i.Upstreams) > 0 }) {
		return nil, failed(fmt.Errorf("--older-than %s: there are no counters in it", name), "write it before the change: 'kubectl meshca envoy --counters -o json > before.json'")
	}
	return &r, nil
}

// older says of every proxy how many of its connections are older than the report
// before. Envoy tells no connection's age, so these are bounds; where a proxy was not
// read then, nothing is known but that a younger proxy has none.
func (r *envoyReport) older(before *envoyReport, proxies []mesh.Proxy) {
	r.Before = before.TakenAt
	then := map[string]envoyItem{}
	for _, item := range before.Items {
		then[item.Namespace+"/"+item.Name] = item
	}
	now := map[string]mesh.Proxy{}
	for _, p := range proxies {
		now[p.Ref()] = p
	}
	for i := range r.Items {
		item := &r.Items[i]
		p := now[item.Namespace+"/"+item.Name]
		was, known := then[p.Ref()]
		o := &olderReport{}
		switch {
		case p.Kind == mesh.Ztunnel:
			o.Unknown = "a ztunnel counts no connections by endpoint"
		case !p.Started.IsZero() && p.Started.After(before.TakenAt): // it has none
		case p.Error != "":
			o.Unknown = "it cannot be read"
		case !known || was.State == stateUnreadable:
			o.Unknown = "it was not read before the change"
		default:
			o.Older = proxy.OlderThan(was.Upstreams, p.Upstreams)
		}
		if (o.Unknown != "" || !o.None()) && p.Workload.Name != "" && p.Workload.Kind != "Job" {
			o.Drain = fmt.Sprintf("kubectl -n %s rollout restart %s/%s", p.Namespace, strings.ToLower(p.Workload.Kind), p.Workload.Name)
		}
		item.Older = o
	}
}

// text is the report in a cell: a number, a range, or that it is not known.
func (o *olderReport) text() string {
	switch {
	case o == nil:
		return ""
	case o.Unknown != "":
		return "unknown: " + o.Unknown
	case o.None():
		return "none"
	}
	text := fmt.Sprint(o.AtLeast)
	if o.AtMost > o.AtLeast {
		text += fmt.Sprintf(" to %d", o.AtMost)
	}
	if o.Unseen > 0 {
		text += fmt.Sprintf(", and %d to endpoints that have gone", o.Unseen)
	}
	return text
}

// olderVerdict is nil where no proxy has, or may have, an older connection.
func (r envoyReport) olderVerdict(at time.Time) error {
	var bad []string
	for _, item := range r.Items {
		if o := item.Older; o != nil && (o.Unknown != "" || !o.None()) {
			bad = append(bad, item.Namespace+"/"+item.Name)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return found(fmt.Errorf("%d of %d proxies hold, or may hold, connections of before %s: %s", len(bad), len(r.Items), stamp(at), firstOf(bad)),
		"they were judged by the certificates of then, and stand until either end closes them: restart the workloads that -o wide names, or bound connections' lives by a DestinationRule (connectionPool)")
}
