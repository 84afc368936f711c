package observer

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/registry-notifications/notifications"
)

// step is a call of the Initializer or the Processor.
type step uint8

const (
	stepPrepare step = iota // Get, and Init if need be
	stepMove
	stepMoveIf // it is prepared under the old name, and otherwise stepPrepare
	stepEnable
	stepDisable
	stepFreeze
	stepUnfreeze
	stepEvent
)

func (s step) String() string {
	return [...]string{"preparing", "moving", "moving", "Enable", "Disable", "Freeze", "Unfreeze", "Event"}[s]
}

// onto notes in a state that a step was done.
func (s step) onto(state *State) {
	switch s {
	case stepPrepare, stepMove, stepMoveIf:
		state.Initialized = true
	case stepEnable, stepUnfreeze:
		state.Told = Enabled
	case stepDisable:
		state.Told, state.Initialized = Disabled, false
	case stepFreeze:
		state.Told = Frozen
	}
}

// plan is the steps for what was begun.
type plan struct {
	begun   bool
	flow    bool // all but the event are a workflow's
	steps   [4]step
	n, at   int
	tries   int // of the step that is next
	retries int
	err     error // of the step that was given up, and with it the rest
}

func (p *plan) add(s step) {
	p.steps[p.n] = s
	p.n++
}

// planFor returns the steps for an item, with its event folded already. The caller holds
// the lock.
func (r *repository) planFor(it *item) plan {
	o, s, unsure := r.registry.o, r.state, r.registry.isUnsure()
	p := plan{begun: true, retries: o.config.Retries}
	if s.Error != "" {
		p.retries = 0 // this is the next try
	}
	if s.Name == "" { // of the registry itself
		if it.kind == itemEvent {
			p.add(stepEvent)
		}
		return p
	}
	switch it.kind {
	case itemRelease:
		p.flow = true
		if s.Told == Enabled || s.Told == Frozen || unsure {
			p.add(stepDisable)
		}
		return p
	case itemAcquire:
		p.flow = true
		switch {
		case o.config.Initializer == nil:
		case unsure:
			p.add(stepMoveIf)
		case s.Initialized:
			p.add(stepMove)
		}
	}
	again := it.kind == itemSettle || s.Error != ""
	switch now := s.now(); {
	case now == Disabled:
		if s.Told != Disabled || it.kind == itemSettle {
			p.add(stepDisable)
		}
	case now == s.Told && !again:
	default:
		if !s.Initialized && p.n == 0 && o.config.Initializer != nil {
			p.flow = true
			p.add(stepPrepare)
		}
		switch {
		case now == Frozen:
			p.flow = true
			p.add(stepFreeze)
		case s.Told == Frozen && !again:
			p.add(stepUnfreeze)
		default:
			p.add(stepEnable)
		}
	}
	if it.kind != itemSettle && !r.registry.loading {
		p.add(stepEvent)
	}
	return p
}

// call does a step. A panic is an error.
func (o *Observer) call(s step, state *State, rec notifications.Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			o.config.Logger.WithField("repository", state.Name).Errorf("observer: %s panicked: %v\n%s", s, p, debug.Stack())
		}
	}()
	ctx, p, i := o.work, o.config.Processor, o.config.Initializer
	switch s {
	case stepPrepare:
		return prepare(ctx, i, state.Repository)
	case stepMove, stepMoveIf:
		from := Repository{state.Feed, rec.Event.Target.FromRepository}
		if s == stepMoveIf {
			if there, err := i.Get(ctx, from); err != nil {
				return err
			} else if !there {
				return prepare(ctx, i, state.Repository)
			}
		}
		return i.Move(ctx, from, state.Repository)
	case stepEnable:
		return p.Enable(ctx, state)
	case stepDisable:
		return p.Disable(ctx, state)
	case stepFreeze:
		return p.Freeze(ctx, state)
	case stepUnfreeze:
		return p.Unfreeze(ctx, state)
	}
	return p.Event(ctx, state, rec)
}

func prepare(ctx context.Context, i Initializer, r Repository) error {
	prepared, err := i.Get(ctx, r)
	if err != nil || prepared {
		return err
	}
	return i.Init(ctx, r)
}
