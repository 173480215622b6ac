package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/proxy"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// ProbeAccount is the ServiceAccount of a throw-away certificate request. It
	// has no role: its token can do nothing but say its own name.
	ProbeAccount = "meshca-probe"
	// tokenLifetime is the least the API server gives; tokenUse how long one is
	// used, so that none expires under way.
	tokenLifetime = 600 * time.Second
	tokenUse      = tokenLifetime / 2
	// leafLifetime of a throw-away leaf. Its key never leaves memory.
	leafLifetime = 60 * time.Second
)

// ManagedBy labels every object that meshca makes.
const ManagedBy = "meshca"

// Prober asks each istiod replica what no object in the API server tells: which
// chain it serves, and what it would answer to a certificate request now.
type Prober struct {
	Kube   kubernetes.Interface
	Dialer proxy.Dialer
	Now    func() time.Time
	// Timeout bounds one replica; zero means proxy.DefaultTimeout.
	Timeout time.Duration
	// CSR asks for the proof by a throw-away request, which needs a ServiceAccount
	// of its own (made here, and removed by Close). Without it only the served
	// chain is read.
	CSR bool
	// Strongest leaves out the served chain of a replica that has answered a request.
	Strongest bool
	// Clients asks each replica which proxies are connected to it, too.
	Clients bool

	mu     sync.Mutex
	tokens map[tokenFor]token
}

// tokenFor is what one token is good for: the account of a namespace, towards istiods that
// take this audience.
type tokenFor struct{ namespace, audience string }

type token struct {
	text  string
	until time.Time
}

// Probe fills in Served and Signed of every replica, or the reason why not.
// roots are those that may vouch for a replica before it gets a token.
func (p *Prober) Probe(ctx context.Context, s *Snapshot, roots []*pki.Certificate) {
	var wg sync.WaitGroup
	for i := range s.ControlPlanes {
		plane := &s.ControlPlanes[i]
		if plane.CA.Kind == CACitadel {
			continue // it serves nothing that could be asked: its Secrets tell
		}
		var text string
		var refused error
		if p.asks(plane) && len(plane.Replicas) > 0 {
			text, refused = p.token(ctx, plane.tokenFor())
		}
		for j := range plane.Replicas {
			wg.Go(func() { p.replica(ctx, plane, &plane.Replicas[j], roots, text, refused, time.Duration(s.ClockSkew)) })
		}
	}
	wg.Wait()
}

// asks reports whether an istiod is to sign a request: one without a CA cannot.
func (p *Prober) asks(plane *ControlPlane) bool { return p.CSR && plane.CA.Kind != CAIstioCSR }

// replica asks one; what it serves is judged on the cluster's clock, which this machine's is
// ahead of by skew.
func (p *Prober) replica(ctx context.Context, plane *ControlPlane, replica *Istiod, roots []*pki.Certificate, text string, refused error, skew time.Duration) {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = proxy.DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	pod := proxy.Pod{Namespace: plane.Namespace, Name: replica.Pod}
	signed := func() {
		if refused != nil {
			replica.SignedError, replica.ProofForbidden = refused.Error(), apierrors.IsForbidden(refused)
			return
		}
		var err error
		replica.Signed, err = proxy.RequestLeaf(ctx, p.Dialer, pod, proxy.SignRequest{
			Roots: roots, ServerNames: plane.ServerNames(), Token: text, ClusterID: plane.ClusterID, Lifetime: leafLifetime, Now: p.Now().Add(-skew),
		})
		if err != nil {
			replica.SignedError = err.Error()
		}
		if replica.ProofRefused = status.Code(err) == codes.Unauthenticated; replica.ProofRefused {
			p.outdated(plane.tokenFor())
		}
	}
	served := func() {
		var err error
		if replica.Served, err = proxy.ReadServed(ctx, p.Dialer, pod, p.Now()); err != nil {
			replica.ServedError = err.Error()
		}
	}
	if p.Clients {
		var asked sync.WaitGroup
		defer asked.Wait()
		asked.Go(func() {
			var err error
			if replica.Clients, err = proxy.ReadClients(ctx, p.Dialer, pod); err != nil {
				replica.ClientsError = err.Error()
			}
		})
	}
	switch {
	case !p.asks(plane):
		served()
	case p.Strongest:
		if signed(); replica.Signed == nil {
			served()
		}
	default:
		var wg sync.WaitGroup
		wg.Go(signed)
		served()
		wg.Wait()
	}
}

// ServerNames are the names that a replica's serving certificate may carry
// (istio 1.30.3 pilot/pkg/bootstrap/server.go, initDNSCerts).
func (c ControlPlane) ServerNames() []string {
	names := []string{c.Name + "." + c.Namespace + ".svc", "istiod." + c.Namespace + ".svc"}
	if c.Revision != "" && c.Revision != "default" {
		names = append(names, "istiod-"+c.Revision+"."+c.Namespace+".svc")
	}
	return names
}

func (c ControlPlane) tokenFor() tokenFor {
	return tokenFor{c.Namespace, c.audience()}
}

// token gets a bound token for an audience that the istiod takes, making the
// ServiceAccount where there is none.
func (p *Prober) token(ctx context.Context, what tokenFor) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.tokens[what]; ok && p.Now().Before(t.until) {
		return t.text, nil
	}
	namespace := what.namespace
	accounts := p.Kube.CoreV1().ServiceAccounts(namespace)
	automount := false
	account := &corev1.ServiceAccount{
		ObjectMeta:                   metav1.ObjectMeta{Name: ProbeAccount, Labels: map[string]string{"app.kubernetes.io/managed-by": ManagedBy}},
		AutomountServiceAccountToken: &automount,
	}
	if _, err := accounts.Create(ctx, account, metav1.CreateOptions{FieldManager: ManagedBy}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("making the service account %s/%s: %w", namespace, ProbeAccount, err)
	}
	seconds := int64(tokenLifetime / time.Second)
	answer, err := accounts.CreateToken(ctx, ProbeAccount, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{what.audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking for a token of the service account %s/%s: %w", namespace, ProbeAccount, err)
	}
	if p.tokens == nil {
		p.tokens = map[tokenFor]token{}
	}
	p.tokens[what] = token{answer.Status.Token, p.Now().Add(tokenUse)}
	return answer.Status.Token, nil
}

// outdated has the next Probe ask for another token: that of an account which somebody else
// has removed meanwhile, as another 'verify --csr-proof' does at its end, is good for nothing.
func (p *Prober) outdated(what tokenFor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.tokens[what]; ok {
		p.tokens[what] = token{} // Close still removes the account
	}
}

// Close removes the ServiceAccounts that Probe made; their tokens end with them.
func (p *Prober) Close(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var failed []error
	for what := range p.tokens {
		namespace := what.namespace
		err := p.Kube.CoreV1().ServiceAccounts(namespace).Delete(ctx, ProbeAccount, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("removing the service account %s/%s: %w", namespace, ProbeAccount, err))
			continue
		}
		delete(p.tokens, what)
	}
	return errors.Join(failed...)
}
