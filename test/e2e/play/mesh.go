package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// mesh is a starting state. Rows that name the same one share it, until one has changed it.
type mesh struct {
	name, about string
	helm        []string
	selfSigned  bool
	issued      bool   // cert-manager writes cacerts
	istio       string // the folder of another release that istiod is installed from, by its own chart: older, or given by MESHCA_ISTIO
	citadel     bool   // Istio 1.4 or before, from what MESHCA_CITADEL names
	empty       bool
	revision    string        // a second control plane of this revision, for namespace c
	life        time.Duration // of its CA, where that is to end
	aged        bool          // its own root is one of an older release, near its end
}

var (
	hot = &mesh{name: "hot", about: "both flags, 2 istiods, leaves of 24 h",
		helm: []string{"--set", "replicaCount=2"}}
	renewing = &mesh{name: "default-flags", about: "Istio's default flags, 2 istiods, leaves of 2 minutes",
		helm: []string{"--set", "replicaCount=2", "--set-string", "env.ISTIO_MULTIROOT_MESH=false",
			"--set-string", "meshConfig.defaultConfig.proxyMetadata.PROXY_CONFIG_XDS_AGENT=false", "--set", "meshConfig.defaultConfig.proxyMetadata.SECRET_TTL=2m"}}
	selfSigned = &mesh{name: "self-signed", about: "Istio's default flags and its own root, 1 istiod, leaves of 2 minutes", selfSigned: true,
		helm: []string{"--set-string", "env.ISTIO_MULTIROOT_MESH=false",
			"--set-string", "meshConfig.defaultConfig.proxyMetadata.PROXY_CONFIG_XDS_AGENT=false", "--set", "meshConfig.defaultConfig.proxyMetadata.SECRET_TTL=2m"}}
	brief = &mesh{name: "default-flags-1m", about: "Istio's default flags, 2 istiods, leaves of 1 minute",
		helm: []string{"--set", "replicaCount=2", "--set-string", "env.ISTIO_MULTIROOT_MESH=false",
			"--set-string", "meshConfig.defaultConfig.proxyMetadata.PROXY_CONFIG_XDS_AGENT=false", "--set", "meshConfig.defaultConfig.proxyMetadata.SECRET_TTL=1m"}}
	revisions = &mesh{name: "two-revisions", about: "both flags, one istiod each of two revisions, namespace c of the second", revision: "next"}
	none      = &mesh{name: "none", about: "a cluster without Istio", empty: true}

	meshes = []*mesh{hot, renewing, brief, cold, selfSigned, aging, revisions, issued, ending, endingCold, older, olderDefault, olderProxies, given, givenDefault, citadel, none}
)

// field is the one cluster, and what is on it.
type field struct {
	state string // the folder of this run
	now   *mesh  // what is on the cluster, unless a row has changed it
	fresh bool   // no mesh has been on it yet
}

// missing says what this machine lacks for the mesh, "" where it lacks nothing.
func (f *field) missing(m *mesh) string {
	if m.citadel {
		if _, err := os.Stat(filepath.Join(f.state, "citadel")); err != nil {
			return "no Citadel: MESHCA_CITADEL names none"
		}
	}
	if m.istio == givenIstio {
		if _, err := os.Stat(filepath.Join(f.state, givenIstio)); err != nil {
			return "no other release: MESHCA_ISTIO names none"
		}
	}
	return ""
}

// set brings the cluster into the mesh's state: from nothing, with a CA of its own, so that no row inherits from another.
func (f *field) set(ctx context.Context, m *mesh) error {
	if f.now == m {
		return nil
	}
	f.now = nil
	began := time.Now()
	log, err := os.OpenFile(filepath.Join(f.state, "log", "mesh.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	step := func(name string, args ...string) error {
		c := exec.CommandContext(ctx, filepath.Join(os.Getenv("E2E"), "mesh", name), args...)
		c.Stdout, c.Stderr = log, log
		if m.selfSigned {
			c.Env = append(os.Environ(), "SELFSIGNED=1")
		}
		if m.istio != "" {
			c.Env = append(os.Environ(), "CHARTS="+filepath.Join(f.state, m.istio, "charts"))
		}
		if m.issued {
			c.Env = append(os.Environ(), "ISSUED=1")
		}
		if m.life > 0 {
			c.Env = append(os.Environ(), "CA_LIFE="+m.life.String())
		}
		if m.aged {
			c.Env = append(os.Environ(), "OWN="+f.own())
		}
		if err := c.Run(); err != nil {
			return fmt.Errorf("mesh/%s: %w (log/mesh.log)", name, err)
		}
		return nil
	}
	if !f.fresh {
		if err := step("reset.sh"); err != nil {
			return err
		}
	}
	f.fresh = false
	if m.aged {
		if err := f.age(time.Now()); err != nil {
			return err
		}
	}
	if !m.empty {
		script := "mesh.sh"
		if m.citadel {
			script = "citadel/up.sh"
		}
		if err := step(script, m.helm...); err != nil {
			return err
		}
		if m.revision != "" {
			if err := step("revision.sh", append([]string{m.revision}, m.helm...)...); err != nil {
				return err
			}
		}
		if err := quiet(ctx); err != nil {
			return err
		}
	}
	f.now = m
	fmt.Printf("mesh: %s (%s) after %.0f s\n", m.name, m.about, time.Since(began).Seconds())
	return nil
}

// quiet waits until every client has had three seconds without a failed request: what fails while a mesh starts is no row's.
func quiet(ctx context.Context) error {
	var bad, since = -1, time.Now()
	for began := time.Now(); time.Since(began) < 2*time.Minute && ctx.Err() == nil; time.Sleep(250 * time.Millisecond) {
		now, sum := clients(), 0
		ok := len(now) == len(namespaces)
		for _, c := range now {
			sum += c.Failed
			ok = ok && c.OK > 0
		}
		if !ok || sum != bad {
			bad, since = sum, time.Now()
			continue
		}
		if time.Since(since) > 3*time.Second {
			return nil
		}
	}
	return fmt.Errorf("the clients' requests do not settle: %s", strings.Join(reasons(clients()), "; "))
}
