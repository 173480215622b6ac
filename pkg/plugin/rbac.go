package plugin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"
)

const rbacExample = `  # the roles that reading needs
  kubectl meshca rbac | kubectl apply -f -
  kubectl create clusterrolebinding meshca-read --clusterrole=meshca-read --group=mesh-watchers
  kubectl -n istio-system create rolebinding meshca-read --role=meshca-read --group=mesh-watchers
  kubectl -n kube-node-lease create rolebinding meshca-read --role=meshca-read --group=mesh-watchers

  # and what rotate needs beside them, where istiod is in a namespace of its own
  kubectl meshca rbac --for rotate -i mesh-control

  # where cert-manager writes the CA: its issuer's own CA, to know the root of the next renewal
  kubectl meshca rbac --for rotate --issuer-secret cert-manager/mesh-root`

func newRBACCommand(streams genericiooptions.IOStreams) *cobra.Command {
	var wanted, namespace, output string
	var noSecrets, citadel bool
	var issuer string
	cmd := &cobra.Command{
		Use:   "rbac",
		Short: "Print the least roles for reading and for rotating",
		Long: "Prints a ClusterRole and the Roles beside it, with nothing that the commands do\n" +
			"not use. Bind them to whom you like. --for rotate holds what reading needs too.\n" +
			"Reading the Secrets can be left out: the roots come from ConfigMaps and from what\n" +
			"istiods serve then, and what could not be seen is named.\n" +
			"Two kinds of meshes ask for more: --citadel (Istio 1.0 to 1.4) for the Secrets of all\n" +
			"namespaces, --issuer-secret for the CA of cert-manager's issuer.",
		Example: rbacExample,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if !slices.Contains(purposes(), purpose(wanted)) {
				return usage(fmt.Errorf("--for %q", wanted), "use read or rotate")
			}
			if noSecrets && purpose(wanted) == forRotate {
				return usage(fmt.Errorf("--no-secrets with --for %s", wanted), "a rotation writes the CA Secret")
			}
			issuerHome, issuerName, ok := strings.Cut(issuer, "/")
			if issuer != "" && (!ok || issuerHome == "" || issuerName == "" || strings.Contains(issuerName, "/")) {
				return usage(fmt.Errorf("--issuer-secret %q", issuer), "write namespace/name: the issuer's spec.ca.secretName names it, and a ClusterIssuer's is in cert-manager's own namespace")
			}
			if noSecrets && (citadel || issuer != "") {
				return usage(errors.New("--no-secrets excludes --citadel and --issuer-secret"), "what they add are Secrets")
			}
			if namespace == "" {
				return usage(errors.New("--istio-namespace is empty"), "name istiod's namespace: a Role is of one")
			}
			if output != "yaml" && output != "json" {
				return usage(fmt.Errorf("unknown output format %q", output), "use yaml or json")
			}
			all := roles(purpose(wanted), namespace, noSecrets)
			if citadel {
				all = beside(all, purpose(wanted), "", ofCitadel())
			}
			if issuer != "" {
				all = beside(all, purpose(wanted), issuerHome, ofIssuer(issuerHome, issuerName))
			}
			if output == "json" { // one document, as kubectl reads it
				encoder := json.NewEncoder(streams.Out)
				encoder.SetIndent("", "  ")
				if err := encoder.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": all}); err != nil {
					return failed(fmt.Errorf("writing the roles: %w", err), "")
				}
				return nil
			}
			for i, role := range all {
				raw, err := yaml.Marshal(role)
				if err != nil {
					return failed(fmt.Errorf("writing the roles: %w", err), "")
				}
				if i > 0 {
					raw = append([]byte("---\n"), raw...)
				}
				if _, err := streams.Out.Write(raw); err != nil {
					return failed(fmt.Errorf("writing the roles: %w", err), "")
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&wanted, "for", string(forRead), "read, or rotate")
	cmd.Flags().StringVarP(&namespace, "istio-namespace", "i", "istio-system", "namespace of istiod")
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "yaml or json")
	completions(cmd, "output", "yaml", "json")
	cmd.Flags().BoolVar(&noSecrets, "no-secrets", false, "leave out the Secrets of istiod's namespace")
	cmd.Flags().BoolVar(&citadel, "citadel", false, "for a mesh of Citadel's time: list the Secrets of all namespaces, where its workloads' certificates are")
	cmd.Flags().StringVar(&issuer, "issuer-secret", "", "namespace/name of the Secret that cert-manager's issuer of the type ca signs with")
	completions(cmd, "for", string(forRead), string(forRotate))
	return cmd
}

// role is a ClusterRole or a Role: both have the same fields.
type role struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"metadata"`
	Rules []rbacv1.PolicyRule `json:"rules"`
}

// roles are the least ones for a purpose, one for each scope.
func roles(p purpose, istiod string, noSecrets bool) []role {
	var all []role
	for _, s := range []scope{everywhere, atIstiod, atNodes} {
		r := role{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"}
		r.Metadata.Name = "meshca-" + string(p)
		switch s {
		case everywhere:
			r.Kind = "ClusterRole"
		case atIstiod:
			r.Metadata.Namespace = istiod
		case atNodes:
			r.Metadata.Namespace = string(atNodes)
		}
		for _, need := range needed(p) {
			if need.scope == s && (!noSecrets || need.resource != "secrets") {
				r.Rules = append(r.Rules, need.rule())
			}
		}
		if len(r.Rules) > 0 {
			all = append(all, r)
		}
	}
	return all
}

func (n permission) rule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{n.group}, Resources: []string{n.resource}, ResourceNames: n.names, Verbs: n.verbs}
}

// beside adds what a mesh asks beside the rest to the role of a namespace, or, in "", of
// the cluster.
func beside(all []role, p purpose, namespace string, n permission) []role {
	for i := range all {
		if all[i].Metadata.Namespace == namespace {
			all[i].Rules = append(all[i].Rules, n.rule())
			return all
		}
	}
	r := role{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role", Rules: []rbacv1.PolicyRule{n.rule()}}
	r.Metadata.Name, r.Metadata.Namespace = "meshca-"+string(p), namespace
	return append(all, r)
}

// needed are the permissions of a purpose; who rotates also reads.
func needed(p purpose) []permission {
	all := slices.DeleteFunc(permissions(), func(n permission) bool { return p == forRead && n.purpose != forRead })
	slices.SortStableFunc(all, func(a, b permission) int { return cmp.Compare(a.scope, b.scope) })
	return all
}

// allows reports whether it lets somebody do this; istiod is istiod's namespace.
func (n permission) allows(verb, group, resource, namespace, name, istiod string) bool {
	in := n.scope == everywhere || n.scope == atIstiod && namespace == istiod || string(n.scope) == namespace
	return in && n.group == group && n.resource == resource && slices.Contains(n.verbs, verb) && (len(n.names) == 0 || slices.Contains(n.names, name))
}
