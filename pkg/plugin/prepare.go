package plugin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/pki"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
)

// material reads the new CA, where the flags name one.
func (o *rotateOptions) material() (newCA, error) {
	if !o.given() {
		return newCA{}, nil
	}
	return o.load(time.Now())
}

// prepared is a plan and what it was made from.
type prepared struct {
	plan     *rotation.Plan
	staged   *rotation.Staged
	snapshot *mesh.Snapshot
	ca       *pki.Authority // what it rotates to
}

// prepare looks at the mesh and plans; where an earlier run was stopped, it plans
// what that one did.
func (o *rotateOptions) prepare(ctx context.Context, observer *observer, ca newCA) (prepared, error) {
	s, err := observer.whole(ctx)
	if err != nil {
		return prepared{}, err
	}
	p := prepared{snapshot: s}
	config := o.config(ca.authority)
	var namespace string
	if len(s.ControlPlanes) > 0 {
		if namespace, err = homeOf(s); err != nil {
			return p, err
		}
		if p.staged, err = rotation.FindStaged(ctx, observer.collector.Kube, namespace); err != nil {
			return p, explain(err)
		}
	}
	switch {
	case p.staged != nil && (ca.authority == nil || ca.authority.Cert.Equal(p.staged.New.Cert) && ca.authority.Roots.Set().Equal(p.staged.New.Roots.Set())):
		config = config.Resume(s, p.staged)
		if err := o.asBegun(config); err != nil {
			return p, err
		}
	case p.staged != nil:
		hint := "finish it with 'kubectl meshca rotate' without CA flags, or end it with 'kubectl meshca rollback', then 'kubectl meshca retire'"
		if journal, err := rotation.ReadStaged(ctx, observer.collector.Kube, namespace); err == nil && journal != nil && journal.Over() {
			hint = fmt.Sprintf("it has ended (phase %s): 'kubectl meshca retire', then this again", journal.Phase)
		}
		return p, found(fmt.Errorf("%w: rotation %s to %s is not retired", rotation.ErrStaged, p.staged.ID, p.staged.New.Cert.Subject()), hint)
	case o.back:
		return p, nil
	case ca.authority == nil && o.keepsKey() && len(s.ControlPlanes) > 0:
		if config.New, err = o.renewed(ctx, observer.collector.Kube, s, time.Now()); err != nil {
			return p, err
		}
	case ca.authority == nil && len(s.ControlPlanes) > 0:
		return p, usage(errors.New("no new CA is named, and no rotation is under way"), "give --root, --ca-cert, --ca-key and --chain, or --new-ca with --seal-to and --sealed-file; a root that only expires needs none with --strategy same-key")
	case ca.renewed: // it needs nobody's signature but its own
		if err = o.keyHolds(); err != nil {
			return p, err
		}
	case ca.authority != nil:
		if config.Cross, err = o.crossCert(s, ca.authority, time.Now()); err != nil {
			return p, err
		}
		if config.Cross == nil {
			if config.Cross, err = rotation.CrossSigned(ctx, observer.collector.Kube, s, ca.authority.Roots.Certs[0], time.Now()); err != nil {
				return p, explain(err)
			}
		}
	}
	p.ca = config.New
	p.plan = rotation.NewPlan(s, config)
	accept, err := o.accepted()
	if err != nil {
		return p, err
	}
	p.plan.Begin(s, accept)
	if p.staged != nil {
		// Where that cannot be told, the run itself says why.
		if at, err := p.plan.Stand(ctx, observer.collector.Kube, p.staged, o.back); err == nil {
			p.plan.Standing = &at
		}
	}
	return p, nil
}

// asBegun refuses flags that ask of a rotation under way what it is not.
func (o *rotateOptions) asBegun(config rotation.Config) error {
	switch {
	case o.strategy != "" && config.Strategy != rotation.Strategy(o.strategy):
		return usage(fmt.Errorf("--strategy %s: a rotation is under way that began as %s, and goes on so", o.strategy, config.Begun),
			"leave --strategy out; or go back ('kubectl meshca rollback', then 'retire') and begin anew")
	case o.reason != "" && o.reason != string(rotation.Expiring) && config.Reason != rotation.Reason(o.reason):
		return usage(fmt.Errorf("--reason %s: a rotation is under way that began for another, %s", o.reason, config.Reason),
			"leave --reason out; what waits for renewals as a bundle is hurried by --strategy bundle-by-restart")
	}
	return nil
}

// config is what the flags ask of a plan.
func (o *rotateOptions) config(ca *pki.Authority) rotation.Config {
	c := rotation.Config{New: ca, Strategy: rotation.Strategy(o.strategy), TrustFileWait: o.trustFileWait, VMCertificateLife: o.vmLife, CSRProof: !o.noCSRProof, SingleCluster: o.singleCluster,
		Reason: rotation.Reason(o.reason), Back: o.back, ByOwner: o.byOwner}
	if o.untested {
		c.Override = append(c.Override, rotation.Ambient, rotation.Citadel)
	}
	if o.allowEnding {
		c.Override = append(c.Override, rotation.OldCAEnds)
	}
	return c
}
