// Command conformance is the runner of the Go client for the conformance suite: it reads operations
// from its standard input and writes their results to its standard output, as
// clients/conformance/README.md says.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	twintier "github.com/twintier/twintier/clients/go"
)

// maxRequest is the longest line that the harness sends.
const maxRequest = 64 << 20

// runner holds what the operations have created.
type runner struct {
	mu       sync.Mutex
	clients  map[string]*twintier.Client
	sessions map[string]*namedSession
	loaders  map[string]*loaderCount
	gates    map[string]chan struct{}
	cancels  map[string]context.CancelCauseFunc
	output   sync.Mutex
}

// namedSession is a session and its client.
type namedSession struct {
	client  *twintier.Client
	session *twintier.Session
}

// operation carries out a request.
type operation func(*runner, context.Context, *arguments) (any, error)

var operations = map[string]operation{
	"client": opClient, "close": opClose, "session": opSession, "session_text": opSessionText,
	"get": opGet, "get_many": opGetMany, "set": opSet, "set_many": opSetMany, "set_absent": opSetAbsent,
	"touch": opTouch, "invalidate": opInvalidate, "get_or_set": opGetOrSet,
	"get_or_set_many_callers": opManyCallers, "set_later": opSetLater, "invalidate_later": opInvalidateLater,
	"cancel": opCancel, "open": opOpen, "loads": opLoads, "counters": opCounters,
	"key": opKey, "argument_key": opArgumentKey, "encode": opEncode, "decode": opDecode,
}

func main() {
	r := &runner{
		clients:  map[string]*twintier.Client{},
		sessions: map[string]*namedSession{},
		loaders:  map[string]*loaderCount{},
		gates:    map[string]chan struct{}{},
		cancels:  map[string]context.CancelCauseFunc{},
	}
	if err := r.serve(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// serve starts each request of the input in a goroutine of its own.
func (r *runner) serve(input io.Reader) error {
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		a, err := parseArguments(lines.Bytes())
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		r.mu.Lock()
		r.cancels[string(a.ID)] = cancel
		r.mu.Unlock()
		go r.handle(ctx, a)
	}
	return lines.Err()
}

func (r *runner) handle(ctx context.Context, a *arguments) {
	answer := map[string]any{"id": a.ID}
	if result, err := r.carryOut(ctx, a); err != nil {
		answer["error"] = map[string]string{"kind": errorKind(err), "message": err.Error()}
	} else {
		answer["result"] = result
	}
	line, err := marshalLine(answer)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	r.mu.Lock()
	delete(r.cancels, string(a.ID))
	r.mu.Unlock()
	r.output.Lock()
	defer r.output.Unlock()
	_, _ = os.Stdout.Write(line)
}

func (r *runner) carryOut(ctx context.Context, a *arguments) (any, error) {
	carryOut, ok := operations[a.Op]
	if !ok {
		return nil, unsupported("operation", a.Op)
	}
	return carryOut(r, ctx, a)
}

// client returns the client that a request names, itself or by a session, and the context of its
// calls.
func (r *runner) client(ctx context.Context, a *arguments) (*twintier.Client, context.Context, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Session != "" {
		s, ok := r.sessions[a.Session]
		if !ok {
			return nil, nil, unsupported("session", a.Session)
		}
		return s.client, s.session.Context(ctx), nil
	}
	c, ok := r.clients[a.Client]
	if !ok {
		return nil, nil, unsupported("client", a.Client)
	}
	return c, ctx, nil
}

func marshalLine(value any) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return line.Bytes(), err
}
