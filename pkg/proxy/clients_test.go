package proxy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

func TestReadClients(t *testing.T) {
	const synced = `{"proxy":"app-1.a","cluster_sent":"1","cluster_acked":"1","listener_sent":"2","listener_acked":"2"}`
	for name, test := range map[string]struct {
		words string
		want  []string // each with what it is behind in
		err   string
	}{
		"in sync":            {said(200, "["+synced+"]"), []string{"a/app-1"}, ""},
		"dots in its name":   {said(200, `[{"proxy":"app.v1-0.b"}]`), []string{"b/app.v1-0"}, ""},
		"behind":             {said(200, `[{"proxy":"p.b","cluster_sent":"2","cluster_acked":"1","route_sent":"1"}]`), []string{"b/p clusters routes"}, ""},
		"nobody":             {said(200, `[]`), []string{}, ""},
		"no debugging":       {said(404, ""), nil, "it answered 404"},
		"no list":            {said(200, `{"x":1}`), nil, "parsing the list"},
		"a name without end": {said(200, `[{"proxy":"p."},`+synced+`]`), []string{"? entry 1 of the list of connected proxies: \"p.\" is no pod and namespace", "a/app-1"}, ""},
		"no object":          {said(200, `[`+synced+`,7]`), []string{"a/app-1", "? entry 2 of the list of connected proxies has no name"}, ""},
		"another version":    {said(200, `[`+synced+`,{"proxy":"p.b","cluster_sent":{"nonce":"1"}}]`), []string{"a/app-1", "b/p? entry 2 of the list of connected proxies: json: cannot unmarshal object"}, ""},
		"a large mesh":       {said(200, "["+synced+strings.Repeat(","+`{"padding":"`+strings.Repeat("x", 1<<12)+`","proxy":"app-1.a"}`, proxy.MaxAnswer>>12)+"]"), slices.Repeat([]string{"a/app-1"}, 1+proxy.MaxAnswer>>12), ""},
	} {
		t.Run(name, func(t *testing.T) {
			clients, err := proxy.ReadClients(t.Context(), &script{turns: []turn{{requests: 1, words: test.words}}}, proxy.Pod{})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			got := []string{}
			for _, c := range clients {
				text := strings.TrimSpace(c.Proxy + " " + strings.Join(c.Behind, " "))
				if c.Unread != "" {
					text += "? " + c.Unread
				}
				got = append(got, text)
			}
			if err != nil || clients == nil || !slices.EqualFunc(got, test.want, func(got, want string) bool {
				return got == want || strings.Contains(want, "?") && strings.HasPrefix(got, want)
			}) {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}
