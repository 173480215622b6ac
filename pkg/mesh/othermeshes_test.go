package mesh_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

// Several meshes share a cluster: of one whose namespace is named, the others' proxies and
// namespaces are none, and of proxies that ask nobody who is known it is said.
func TestOtherMeshes(t *testing.T) {
	var objects []runtime.Object
	for _, one := range []string{"one", "two"} {
		d := istiod(one, "hub/pilot:1.30.3")
		d.Namespace = one
		pod := replica(d, "x")
		pod.Namespace = one
		app := running("app-"+one, "by-address", nil, agent(env("CA_ADDR", "istiod-"+one+"."+one+".svc:15012")...))
		byRevision := running("app-"+one, "by-revision", map[string]string{"istio.io/rev": one}, agent())
		objects = append(objects, d, pod, app, byRevision, configMap(one, "istio-"+one, map[string]string{"mesh": "discoverySelectors: [{matchLabels: {mesh: " + one + "}}]"}))
		for _, ns := range []string{one, "app-" + one} {
			objects = append(objects, namespace(ns, map[string]string{"mesh": one, "istio.io/rev": one}))
		}
	}
	objects = append(objects, running("app-one", "of-nobody", map[string]string{"istio.io/rev": "gone"}, agent()))
	c, _ := collector(nil, objects...)
	names := func() (proxies, namespaces string) {
		s := collect(t, c)
		var all, where []string
		for _, p := range s.Proxies {
			all = append(all, p.Ref())
		}
		for _, n := range s.Namespaces {
			where = append(where, n.Name)
		}
		slices.Sort(where)
		return strings.Join(all, " "), strings.Join(where, " ")
	}
	if proxies, namespaces := names(); proxies != "app-one/by-address app-one/by-revision app-one/of-nobody app-two/by-address app-two/by-revision" || namespaces != "app-one app-two one two" {
		t.Errorf("of both: %s in %s", proxies, namespaces)
	}
	c.IstioNamespace = "one"
	if proxies, namespaces := names(); proxies != "app-one/by-address app-one/by-revision app-one/of-nobody" || namespaces != "app-one one" {
		t.Errorf("of one: %s in %s", proxies, namespaces)
	}
}
