package rehearsal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"github.com/meshca/kubectl-meshca/pkg/rehearsal"
)

// TestCopyOfAProxyThatDoesNotAnswer: it does not answer in the copy either, and how a new
// root gets to it is known there as far as it is in the mesh: by its image, by another of
// the same image that does answer, or not.
func TestCopyOfAProxyThatDoesNotAnswer(t *testing.T) {
	clock := func() rehearsal.Clock { return rehearsal.NewPaced(time.Now(), 1) }
	d, err := rehearsal.Demo(t.Context(), clock(), "hot")
	if err != nil {
		t.Fatal(err)
	}
	original := &mesh.Collector{Kube: d.Mesh.Kube, Dynamic: d.Mesh.Dynamic, Dialer: d.Mesh, Now: time.Now}
	for name, row := range map[string]struct {
		spoil func(s *mesh.Snapshot)
		want  mesh.Reach
	}{
		"its image tells": {func(*mesh.Snapshot) {}, mesh.ReachPush},
		"another of its image tells": {func(s *mesh.Snapshot) {
			for i := range s.Proxies {
				s.Proxies[i].Version, s.Proxies[i].Image = "", "e2e/proxyv2:1"
				if i > 0 && s.Proxies[i].Loaded != nil {
					s.Proxies[i].Loaded.Info = proxy.Info{Envoy: "1.40.0"}
				}
			}
			s.ControlPlanes[0].Version = ""
		}, mesh.ReachPush},
		"nobody tells, and istiod's release is known": {func(s *mesh.Snapshot) { s.Proxies[0].Version, s.Proxies[0].Image = "", "own/proxy:1" }, mesh.ReachUnknown},
		"nobody tells": {func(s *mesh.Snapshot) {
			s.Proxies[0].Version, s.Proxies[0].Image = "", "own/proxy:1"
			s.ControlPlanes[0].Version = ""
		}, mesh.ReachUnknown},
	} {
		s, err := original.Collect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		row.spoil(s)
		s.Proxies[0].Loaded, s.Proxies[0].Error = nil, "timeout"
		alike := mesh.Alike(s.Proxies)
		for i := range s.Proxies {
			s.Proxies[i].Reach, s.Proxies[i].ReachWhy = mesh.ReachOf(alike(s.Proxies[i]), s.ControlPlanes)
		}
		c, err := rehearsal.CopyOf(t.Context(), clock(), s)
		if err != nil {
			t.Fatal(err)
		}
		read, err := (&mesh.Collector{Kube: c.Mesh.Kube, Dynamic: c.Mesh.Dynamic, Dialer: c.Mesh, Now: time.Now}).Collect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there, here := reaches(s), reaches(read)
		if len(here) != len(there) || len(here) == 0 {
			t.Fatalf("%s: %d proxies, the copy has %d", name, len(there), len(here))
		}
		for ref, is := range there {
			if here[ref] != is {
				t.Errorf("%s: %s is %s, in the copy %s", name, ref, is, here[ref])
			}
		}
		if is := fmt.Sprintf("%s, read: false", row.want); there[s.Proxies[0].Ref()] != is {
			t.Errorf("%s: it is %s", name, there[s.Proxies[0].Ref()])
		}
	}
}

func reaches(s *mesh.Snapshot) map[string]string {
	all := map[string]string{}
	for _, p := range s.Proxies {
		all[p.Ref()] = fmt.Sprintf("%s, read: %t", p.Reach, p.Loaded != nil)
	}
	return all
}
