package plugin

import (
	"fmt"
	"strings"

	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// handOver tells who owns the CA Secret how each step becomes so by its means.
func handOver(say func(string, ...any), plan *rotation.Plan, sealed bool) {
	say("The Secret is written by %s, which puts back what anybody else writes: nothing here is written to the cluster with kubectl. Each step is one change at its source.\n", plain(strings.Join(plan.Owners, ", ")))
	said := map[string]bool{}
	for _, owner := range plan.Owners {
		if way := wayOf(owner, plan); !said[way] {
			said[way] = true
			say("- %s", way)
		}
	}
	say("")
	if sealed {
		say("Each `.yaml.age` is the manifest beside it with its keys; `age -d -i key.txt NN.yaml.age` prints it: into the owner's own encryption by a pipe, never to disk or into a repository in clear.\n")
	} else {
		say("Each manifest lacks its key, and says where (%s). The old CA's is the one at the source now; the new one's goes there as its owner keeps keys (SOPS, kubeseal, the external store), never into a repository in clear.\n", keyEntry(plan))
	}
	say("The Secret stays where it is, with its type, all the while: it is changed, never deleted and made again, which would leave a moment in which a starting istiod makes a CA of its own.\n")
	say("For each step, in this order:\n")
	say("1. Change the source to what the step's manifest holds, all its entries in one change: no signer without its roots.")
	say("2. Have the owner sync. `kubectl meshca snapshot --no-proxies -o yaml` shows under `controlPlanes` what the Secret holds now.")
	say("3. Restart what the step names, if it names anything.")
	say("4. Wait for the gate: `kubectl meshca verify` with the step's `.roots.pem` must end in *proven* (`--timeout 2h` waits for it). `kubectl meshca status` knows the rotations of `rotate` alone, and says of this one that nothing is under way: the proof is verify's.")
	say("5. Only then the next step. Where a gate stays closed, stay, or take the steps of the way back from here.\n")
	say("After the last step `kubectl meshca check` must find nothing about the CA, and the old key is destroyed at the source when nobody will go back.\n")
}

// wayOf is how an owner is told. Owners are as mesh names them: a product, or the kind
// and name of an owning object.
func wayOf(owner string, plan *rotation.Plan) string {
	kind, name, _ := strings.Cut(owner, " ")
	switch {
	case owner == "Argo CD":
		return "Argo CD: commit the step, `argocd app sync APP`, `argocd app wait APP --sync`. Its sync options must hold neither `Replace=true` nor `Force=true` for this Secret."
	case owner == "Flux":
		return "Flux: commit the step, `flux reconcile kustomization NAME --with-source`. Its Kustomization must not have `force: true`."
	case owner == "External Secrets", kind == "ExternalSecret":
		if kind != "ExternalSecret" {
			name = "NAME"
		}
		return fmt.Sprintf("External Secrets: write the entries to the store as one version, then `kubectl annotate externalsecret -n %s %s force-sync=$(date +%%s) --overwrite`. Its `deletionPolicy` must not be Delete.", plain(plan.Namespace), plain(name))
	case owner == "Sealed Secrets", kind == "SealedSecret":
		return "Sealed Secrets: seal the step's Secret with `kubeseal -o yaml`, from a pipe, and apply or commit what it prints."
	case owner == "Vault", strings.HasPrefix(kind, "Vault"):
		return "Vault: write the entries as one version of the secret that its object reads; the operator follows by its `refreshAfter`."
	case owner == "Helm":
		return "Helm: put the entries where the chart's values take them, and `helm upgrade` once for each step, without `--force`."
	}
	return plain(owner) + ": change what it writes the Secret from."
}

// keyed says where the keys of a step are.
func keyed(sealed bool, name string) string {
	if sealed {
		return fmt.Sprintf(", with their keys in `%s.yaml.age`", name)
	}
	return ", with the key put in there"
}
