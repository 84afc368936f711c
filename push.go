package notifications

import (
	"context"
	"sync"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
)

// push is a manifest that was put.
type push struct {
	ctx      context.Context // of the Put
	digest   digest.Digest
	manifest distribution.Manifest
	tag      string
}

// untagged is the pushes whose tag is still to be written.
type untagged struct {
	mu     sync.Mutex            // guards pushes
	pushes map[*push]func() bool // with what stops the wait for the end of its request
}

// pushed tells of a push, when its tag is there.
func (e *ear) pushed(p push) {
	if p.ctx.Err() != nil {
		p.tag = ""
	}
	if p.tag == "" || p.ctx.Done() == nil {
		e.tellPush(&p)
		return
	}
	e.untagged.mu.Lock()
	defer e.untagged.mu.Unlock()
	if e.untagged.pushes == nil {
		e.untagged.pushes = make(map[*push]func() bool)
	}
	e.untagged.pushes[&p] = context.AfterFunc(p.ctx, func() {
		if e.untagged.take(&p) {
			p.tag = "" // it never came
			e.tellPush(&p)
		}
	})
}

// tagging takes the push out whose tag is being written now, however its request ends, and
// returns what tells of it, once, with the tag or without.
func (e *ear) tagging(tag string, dgst digest.Digest) (told func(withTag bool)) {
	p := e.untagged.find(tag, dgst)
	return func(withTag bool) {
		if p == nil {
			return
		}
		push := p
		p = nil
		if !withTag {
			push.tag = ""
		}
		e.tellPush(push)
	}
}

func (e *ear) tellPush(p *push) {
	e.tell(p.ctx, func() error { return e.listener.ManifestPushed(p.ctx, e.name, p.digest, p.manifest, p.tag) })
}

// take takes a push out, unless somebody has.
func (u *untagged) take(p *push) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, waits := u.pushes[p]
	delete(u.pushes, p)
	return waits
}

// find takes the push out that waits for a tag.
func (u *untagged) find(tag string, dgst digest.Digest) *push {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p, stop := range u.pushes {
		if p.tag == tag && p.digest == dgst {
			stop()
			delete(u.pushes, p)
			return p
		}
	}
	return nil
}
