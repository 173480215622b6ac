package plugin

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
)

// filterFlags are those that choose which rows are shown. They never change a
// verdict.
func filterFlags(cmd *cobra.Command, selector *string, all *bool) {
	cmd.Flags().StringVarP(selector, "selector", "l", "", "show only proxies with these labels")
	cmd.Flags().BoolVarP(all, "all-namespaces", "A", false, "show all namespaces (the default, unless -n names one)")
}

// onlyOfRows refuses a namespace where no rows are chosen by it: whoever gives it means
// istiod's, and would get another mesh than the one that he named. That of the kubeconfig's
// context is nobody's word.
func onlyOfRows(cmd *cobra.Command) error {
	namespace := cmd.Flags().Lookup("namespace")
	if namespace == nil || !namespace.Changed || cmd.Flags().Lookup("all-namespaces") != nil {
		return nil
	}
	return usage(fmt.Errorf("'%s' takes no --namespace", cmd.CommandPath()), "-n chooses rows of check, verify, versions, certs, envoy; istiod's namespace is -i")
}

// show decides which rows are shown.
type show func(namespace string, labelled map[string]string) bool

// filter makes it from the flags.
func (c *cluster) filter(selector string, all bool) (show, error) {
	namespace := ""
	if c.flags.Namespace != nil {
		namespace = *c.flags.Namespace
	}
	if all && namespace != "" {
		return nil, usage(errors.New("--all-namespaces and --namespace exclude each other"), "all namespaces are shown unless -n names one")
	}
	wanted, err := labels.Parse(selector)
	if err != nil {
		return nil, usage(fmt.Errorf("--selector %q: %w", selector, err), "write it as kubectl takes it: app=web,tier!=db")
	}
	return func(in string, labelled map[string]string) bool {
		return (namespace == "" || in == namespace) && (selector == "" || wanted.Matches(labels.Set(labelled)))
	}, nil
}
