package plugin

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/meshca/kubectl-meshca/pkg/mesh"
	"github.com/meshca/kubectl-meshca/pkg/rotation"
	"github.com/meshca/kubectl-meshca/pkg/tui"
	"k8s.io/client-go/kubernetes"
)

// ordersAhead is how many orders may wait for an engine that is in the middle of a
// write or a required wait.
const ordersAhead = 16

// work is a run of the engine that can be ordered.
type work struct {
	commands chan rotation.Command
	// turn ends it, so that another goes back.
	turn context.CancelCauseFunc
}

// errTurned is why a run was ended by its own wizard.
var errTurned = errors.New("rolling back") //nolint:gochecknoglobals // a sentinel

// Rotate runs the engine until it has ended for good. An order to roll back ends
// its run, with the mesh safe, and the way back is another, as "rollback" is.
func (b *wizardBackend) Rotate(ctx context.Context, c tui.Choice, each func(rotation.Event)) error {
	var one sync.Mutex // counters come from beside
	emit := func(e rotation.Event) {
		one.Lock()
		defer one.Unlock()
		each(e)
	}
	for {
		run, turn := context.WithCancelCause(ctx)
		w := &work{commands: make(chan rotation.Command, ordersAhead), turn: turn}
		b.at(w)
		var counting sync.WaitGroup
		counting.Go(func() { b.count(run, emit) })
		err := b.once(run, c, w.commands, func(e rotation.Event) {
			if e.Kind != rotation.EventFailed || !errors.Is(context.Cause(run), errTurned) {
				emit(e)
			}
		})
		turned := errors.Is(context.Cause(run), errTurned)
		turn(nil)
		b.at(nil)
		counting.Wait()
		if !turned || ctx.Err() != nil {
			return b.problem(ended(err, c.Back))
		}
		c = tui.Choice{Resume: true, Back: true, Reason: c.Reason}
		emit(rotation.Event{Time: b.clock.Now(), Kind: rotation.EventWarning, Message: "the way there has ended by order: going back"})
	}
}

func (b *wizardBackend) at(w *work) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.work = w
}

// Steer orders the run at work: as the commands would, and with their refusals.
func (b *wizardBackend) Steer(ctx context.Context, o tui.Order) error {
	if o.Act == tui.RollBack {
		return b.turn(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.work == nil {
		return errors.New("no rotation is running")
	}
	kinds := map[tui.Act]rotation.CommandKind{tui.Pause: rotation.CommandPause, tui.Resume: rotation.CommandResume, tui.Accept: rotation.CommandAccept}
	select {
	case b.work.commands <- rotation.Command{Kind: kinds[o.Act], Object: o.Object, Reason: o.Reason}:
	default:
		return errors.New("too many orders are waiting already")
	}
	if o.Act == tui.Accept { // another run of this wizard needs it too
		if b.accepted == nil {
			b.accepted = map[string]string{}
		}
		b.accepted[o.Object] = o.Reason
	}
	return nil
}

// turn has the way back begin, where "rollback" would: the run at work is ended only
// then.
func (b *wizardBackend) turn(ctx context.Context) error {
	staged, err := b.staged(ctx)
	if err != nil {
		return b.problem(err)
	}
	if err := b.options.mayGoBack(prepared{staged: staged}); err != nil {
		return b.problem(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.work == nil {
		return errors.New("no rotation is running")
	}
	b.work.turn(errTurned)
	return nil
}

// staged is what the rotation under way keeps in the cluster.
func (b *wizardBackend) staged(ctx context.Context) (*rotation.Staged, error) {
	var s *mesh.Snapshot
	var kube kubernetes.Interface
	err := b.looking(ctx, func(observer *observer) (err error) {
		kube = observer.collector.Kube
		s, err = observer.planes(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	namespace, err := homeOf(s)
	if err != nil {
		return nil, err
	}
	staged, err := rotation.FindStaged(ctx, kube, namespace)
	if err != nil {
		return nil, explain(err)
	}
	return staged, nil
}

func (b *wizardBackend) accepts() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(b.accepted)
	if all == nil {
		all = map[string]string{}
	}
	return all
}
