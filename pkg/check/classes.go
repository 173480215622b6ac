package check

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
)

// Class is a set of proxies that present the same chain behind their own leaves
// and trust the same roots: whom one of them accepts, all of them do.
type Class struct {
	Name    string         `json:"name"`
	Proxies []string       `json:"proxies"`
	Kind    mesh.ProxyKind `json:"proxyKind"`
	Signer  string         `json:"signer"`
	Trusts  []string       `json:"trusts"`

	example proxy.Identity
	judge   pki.Judge
	minor   int
}

// Pair is what happens where a client of one class calls a server of another:
// the server judges the client's certificate, and the client the server's.
type Pair struct {
	Client string     `json:"client"`
	Server string     `json:"server"`
	Answer pki.Answer `json:"answer"`
	// By says which side refuses: "server" judges the client's certificate.
	By string `json:"by,omitempty"`
}

// Classes sorts the readable proxies of a Snapshot into classes.
func Classes(s *mesh.Snapshot) []Class {
	var all []Class
	index := map[[sha256.Size]byte]int{}
	for _, p := range s.Proxies {
		if p.Loaded == nil {
			continue
		}
		for _, identity := range p.Loaded.Identities {
			if identity.Leaf() == nil {
				continue
			}
			key := keyOf(p, identity)
			i, ok := index[key]
			if !ok {
				i = len(all)
				index[key] = i
				all = append(all, classOf(p, identity, i))
			}
			if names := all[i].Proxies; len(names) == 0 || names[len(names)-1] != p.Ref() {
				all[i].Proxies = append(all[i].Proxies, p.Ref())
			}
		}
	}
	return all
}

// keyOf is what makes two identities alike: issuer, what follows the leaf, the
// set of roots, and who judges.
func keyOf(p mesh.Proxy, i proxy.Identity) [sha256.Size]byte {
	sum := sha256.New()
	if leaf := i.Leaf().X509; leaf != nil {
		sum.Write(leaf.RawIssuer)
		sum.Write(leaf.AuthorityKeyId)
	}
	for _, c := range i.Chain[1:] {
		f := c.Fingerprint()
		sum.Write(f[:])
	}
	sum.Write([]byte{0})
	var roots []pki.Fingerprint
	for _, c := range i.Roots {
		roots = append(roots, c.Fingerprint())
	}
	slices.SortFunc(roots, func(a, b pki.Fingerprint) int { return slices.Compare(a[:], b[:]) })
	for _, f := range slices.Compact(roots) {
		sum.Write(f[:])
	}
	fmt.Fprintf(sum, "%s %d", p.Kind, p.EnvoyMinor())
	return [sha256.Size]byte(sum.Sum(nil))
}

func classOf(p mesh.Proxy, i proxy.Identity, n int) Class {
	c := Class{Name: className(n), Kind: p.Kind, example: i, judge: pki.Envoy, minor: p.EnvoyMinor(), Signer: "unknown"}
	if p.Kind == mesh.Ztunnel {
		c.judge = pki.Webpki
	}
	if leaf := i.Leaf().X509; leaf != nil {
		c.Signer = leaf.Issuer.String()
	}
	for _, root := range i.Roots {
		c.Trusts = append(c.Trusts, root.Subject())
	}
	return c
}

// className is A to Z, then A1, B1 and so on.
func className(n int) string {
	name := string(rune('A' + n%26))
	if n >= 26 {
		name += fmt.Sprint(n / 26)
	}
	return name
}

// Matrix answers for every pair of classes whether a handshake would succeed.
func Matrix(classes []Class, at time.Time) []Pair {
	var pairs []Pair
	for _, client := range classes {
		for _, server := range classes {
			pairs = append(pairs, meet(client, server, at))
		}
	}
	return pairs
}

func meet(client, server Class, at time.Time) Pair {
	pair := Pair{Client: client.Name, Server: server.Name}
	pair.Answer = server.judges(client, pki.ClientAuth, at)
	if pair.By = "server"; pair.Answer.Result == pki.Accepted {
		pair.Answer, pair.By = client.judges(server, pki.ServerAuth, at), "client"
	}
	if pair.Answer.Result == pki.Accepted {
		pair.By = ""
	}
	return pair
}

func (c Class) judges(peer Class, usage pki.Usage, at time.Time) pki.Answer {
	return pki.Verify(pki.Question{Judge: c.judge, Roots: c.example.Roots, Chain: peer.example.Chain, At: at, Usage: usage, EnvoyMinor: c.minor})
}

// describe names a class's proxies, a few of them.
func (c Class) describe() string {
	const few = 3
	names := strings.Join(c.Proxies[:min(few, len(c.Proxies))], ", ")
	if more := len(c.Proxies) - few; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names
}
