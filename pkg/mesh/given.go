package mesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// givenMap is a ConfigMap that settings come from; cm is nil where there is none.
type givenMap struct {
	cm  *corev1.ConfigMap
	err error
}

// fill puts the values of ConfigMaps where a container only names them, by envVarFrom of
// the charts or by envFrom, in the order that counts for kubelet: env comes
// after all of envFrom (kubernetes 1.37.1 pkg/kubelet/kubelet_pods.go,
// makeEnvironmentVariables). What a Secret holds, or cannot be read, stays as it is, and
// unknown. changed is when one of them was last written: what has run since before that has
// the values of its start.
func (g *gatherer) fill(ctx context.Context, namespace string, container *corev1.Container) (changed time.Time) {
	if container == nil {
		return changed
	}
	read := func(name string) givenMap {
		m := g.givenMap(ctx, namespace, name)
		if m.cm != nil {
			for _, f := range m.cm.ManagedFields {
				if f.Time != nil && f.Time.After(changed) {
					changed = f.Time.Time
				}
			}
		}
		return m
	}
	optional := func(is *bool) bool { return is != nil && *is }
	var env []corev1.EnvVar
	var elsewhere []corev1.EnvFromSource
	for _, from := range container.EnvFrom {
		if from.ConfigMapRef == nil {
			elsewhere = append(elsewhere, from)
			continue
		}
		switch m := read(from.ConfigMapRef.Name); {
		case m.cm != nil:
			for key, value := range m.cm.Data {
				env = append(env, corev1.EnvVar{Name: from.Prefix + key, Value: value})
			}
		case m.err != nil || !optional(from.ConfigMapRef.Optional):
			elsewhere = append(elsewhere, from)
		}
	}
	for _, v := range container.Env {
		if v.ValueFrom == nil || v.ValueFrom.ConfigMapKeyRef == nil {
			env = append(env, v)
			continue
		}
		ref := v.ValueFrom.ConfigMapKeyRef
		m, value, there := read(ref.Name), "", false
		if m.cm != nil {
			value, there = m.cm.Data[ref.Key]
		}
		switch {
		case there:
			env = append(env, corev1.EnvVar{Name: v.Name, Value: value})
		case m.err != nil || !optional(ref.Optional):
			env = append(env, v)
		}
	}
	container.Env, container.EnvFrom = env, elsewhere
	return changed
}

// proxyOf is proxyIn with the settings that ConfigMaps hold, as envVarFrom of the gateway
// chart has them (istio 1.30.3 manifests/charts/gateway/templates/deployment.yaml). Next to
// no proxy has such, and only of these is anything asked.
func (g *gatherer) proxyOf(ctx context.Context, pod *corev1.Pod, audiences []string) (Proxy, bool) {
	p, ok := proxyIn(pod, audiences)
	if p.Unsaid == "" {
		return p, ok
	}
	pod = pod.DeepCopy()
	container, _, _ := proxyContainer(pod, audiences)
	changed := g.fill(ctx, pod.Namespace, container)
	if p, ok = proxyIn(pod, audiences); p.Created.Before(changed) && startOf(pod, container.Name).Before(changed) {
		p.Unsaid = strings.TrimPrefix(p.Unsaid+"; a ConfigMap that its settings come from was written after it had started, which has the values of before: restart it", "; ")
	}
	return p, ok
}

// givenMap asks for each of them once.
func (g *gatherer) givenMap(ctx context.Context, namespace, name string) givenMap {
	key := namespace + "/" + name
	m, known := g.given[key]
	if known {
		return m
	}
	if m.cm, m.err = g.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{}); m.err != nil {
		m.cm = nil
	}
	if apierrors.IsNotFound(m.err) {
		m.err = nil
	}
	if g.given == nil {
		g.given = map[string]givenMap{}
	}
	g.given[key] = m
	return m
}

// outdated notes the control planes of which a replica runs with other settings than its
// ConfigMaps hold now. A container may have been started anew in a pod of before; of the two
// times the pod's is the API server's, as the ConfigMap's is.
func (g *gatherer) outdated() {
	for _, plane := range g.s.ControlPlanes {
		for _, r := range plane.Replicas {
			if r.created.Before(plane.changed) && r.Started.Before(plane.changed) {
				g.unknownSettings(plane, []error{fmt.Errorf("a ConfigMap that they come from was written after %s had started, which has the values of before: restart it", r.Pod)})
				break
			}
		}
	}
}

// whence says where a setting comes from whose value is not known, and what helps.
func whence(v corev1.EnvVar) error {
	const remedy = "its value is not known: have the container's env say it"
	switch from := v.ValueFrom; {
	case from == nil:
		return errors.New(v.Name + " is made of other settings: " + remedy)
	case from.SecretKeyRef != nil:
		return errors.New(v.Name + " comes from the Secret " + from.SecretKeyRef.Name + ": " + remedy)
	case from.ConfigMapKeyRef != nil:
		return errors.New(v.Name + " comes from the ConfigMap " + from.ConfigMapKeyRef.Name + ", which could not be read, or has no such key: " + remedy)
	}
	return errors.New(v.Name + " comes from elsewhere: " + remedy)
}

// given says what all of a container's settings may come from besides its own env.
func given(container *corev1.Container) []error {
	if len(container.EnvFrom) == 0 {
		return nil
	}
	return []error{errors.New("settings may come from a Secret, or from a ConfigMap that could not be read (envFrom): their values are not known: have the container's env say them")}
}
