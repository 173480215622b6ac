package plugin

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Completion asks the cluster while somebody waits with a key pressed.
const (
	completionTime = 1500 * time.Millisecond
	completionRows = 500
)

// revisionLabel is how Istio marks the control plane of a revision.
const revisionLabel = "istio.io/rev"

// lister gives the values of a flag from the cluster.
type lister func(context.Context, kubernetes.Interface, string) ([]string, error)

// completeLive gives the flags of the whole tree values from the cluster and the
// kubeconfig. It runs once the tree stands.
func (c *cluster) completeLive(root *cobra.Command) {
	complete := func(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
		if _, set := cmd.GetFlagCompletionFunc(flag); set {
			return
		}
		if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err) // the flag was looked up beside this call
		}
	}
	complete(root, "context", c.completeContexts)
	complete(root, "namespace", c.ask(namespaces))
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("contexts") != nil {
			complete(cmd, "contexts", c.completeSeveralContexts)
		}
		for flag, values := range map[string]lister{"istio-namespace": namespaces, "revision": revisions, "accept": pods} {
			if cmd.Flags().Lookup(flag) != nil {
				complete(cmd, flag, c.ask(values))
			}
		}
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
}

// ask lists from the cluster, shortly: a completion that cannot be had is none.
func (c *cluster) ask(values lister) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
		config, err := c.flags.ToRESTConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		kube, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, completionTime)
		defer cancel()
		all, err := values(ctx, kube, start)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if slices.ContainsFunc(all, func(value string) bool { return strings.HasSuffix(value, "=") || strings.HasSuffix(value, "/") }) {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return starting(all, start), directive
	}
}

// starting keeps what begins as typed, sorted, and nothing that a shell would take
// for something else.
func starting(all []string, start string) []string {
	kept := slices.DeleteFunc(all, func(value string) bool { return !strings.HasPrefix(value, start) || value != plain(value) })
	slices.Sort(kept)
	return slices.Compact(kept)
}

func namespaces(ctx context.Context, kube kubernetes.Interface, _ string) ([]string, error) {
	list, err := kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: completionRows})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range list.Items {
		all = append(all, n.Name)
	}
	return all, nil
}

func revisions(ctx context.Context, kube kubernetes.Interface, _ string) ([]string, error) {
	list, err := kube.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{Limit: completionRows, LabelSelector: "app=istiod"})
	if err != nil {
		return nil, err
	}
	var all []string
	for _, d := range list.Items {
		if revision := d.Labels[revisionLabel]; revision != "" {
			all = append(all, revision)
		}
	}
	return all, nil
}

// pods completes namespace/name=: the namespace first, then what runs in it.
func pods(ctx context.Context, kube kubernetes.Interface, start string) ([]string, error) {
	namespace, _, in := strings.Cut(start, "/")
	var all []string
	if !in {
		found, err := namespaces(ctx, kube, start)
		for _, name := range found {
			all = append(all, name+"/")
		}
		return all, err
	}
	list, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: completionRows})
	if err != nil {
		return nil, err
	}
	for _, p := range list.Items {
		if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
			all = append(all, p.Namespace+"/"+p.Name+"=")
		}
	}
	return all, nil
}

func (c *cluster) completeContexts(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	raw, err := c.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return starting(slices.Collect(maps.Keys(raw.Contexts)), start), cobra.ShellCompDirectiveNoFileComp
}

// completeSeveralContexts completes the last of a list, with those that do not stand in
// it yet.
func (c *cluster) completeSeveralContexts(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	before := start[:strings.LastIndex(start, ",")+1]
	all, directive := c.completeContexts(cmd, args, start[len(before):])
	taken := strings.Split(before, ",")
	all = slices.DeleteFunc(all, func(name string) bool { return slices.Contains(taken, name) })
	for i, name := range all {
		all[i] = before + name
	}
	return all, directive
}
