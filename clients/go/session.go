package twintier

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// maxTokens is the number of tokens that a request may have.
	maxTokens = 16
	// maxSessionText is the largest text of a session that is accepted, in bytes.
	maxSessionText = 64 << 10
)

// Session carries tokens from answer to request: its calls read their own writes and never go back
// in time, through any replica. Put it into a context with Context; all calls with that context
// belong to the session. It is safe for concurrent use: 16 of its calls can be in flight, others
// wait. The near cache does not answer its reads.
type Session struct {
	client *Client
	slots  chan struct{} // one token per call in flight: so there are at most 16 tokens

	mu     sync.Mutex
	tokens []string
}

// Session creates a session without tokens.
func (c *Client) Session() *Session {
	return &Session{client: c, slots: make(chan struct{}, maxTokens)}
}

// SessionFromText creates a session that goes on from one of another service: see Session.Text.
func (c *Client) SessionFromText(text string) (*Session, error) {
	s := c.Session()
	if text == "" {
		return s, nil
	}
	if len(text) > maxSessionText {
		return nil, usageError("length of the session", len(text), "the limit is "+strconv.Itoa(maxSessionText)+" bytes")
	}
	s.tokens = strings.Split(text, ",")
	if len(s.tokens) > maxTokens {
		return nil, usageError("number of tokens in the session", len(s.tokens), "the limit is "+strconv.Itoa(maxTokens))
	}
	for _, token := range s.tokens {
		if !isToken(token) {
			return nil, usageError("token of the session", strconv.QuoteToASCII(abbreviate(token)), "it must be visible ASCII")
		}
	}
	return s, nil
}

func isToken(token string) bool {
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return token != ""
}

func abbreviate(text string) string {
	if len(text) <= 64 {
		return text
	}
	return text[:64] + "…"
}

// Text returns the session as text, for another service. It is empty if the session has no tokens.
func (s *Session) Text() string { return strings.Join(s.snapshot(), ",") }

type sessionKey struct{}

// Context returns a context whose calls belong to the session.
func (s *Session) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// sessionOf returns the client's session in a context, or nil.
func (c *Client) sessionOf(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	if s == nil || s.client != c {
		return nil
	}
	return s
}

// SessionFromContext returns the session in a context, or nil.
func SessionFromContext(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}

// snapshot returns the tokens. A session that is nil has none.
func (s *Session) snapshot() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

// begin waits until the session has room for a call, and returns the tokens for its request. Each
// begin without error needs an end.
func (s *Session) begin(ctx context.Context) ([]string, error) {
	if s == nil {
		return nil, nil
	}
	select {
	case s.slots <- struct{}{}:
		return s.snapshot(), nil
	case <-ctx.Done():
		return nil, callerEnded(ctx)
	}
}

// end puts the token of an answer in the place of those that its request presented. A call that
// failed has no token.
func (s *Session) end(presented []string, token string) {
	if s == nil {
		return
	}
	if token != "" {
		s.replace(presented, token)
	}
	<-s.slots
}

// replace puts tokens in the place of those that were presented to get them. Only answers of other
// services can bring too many: then the oldest go, which they have gone on from.
func (s *Session) replace(presented []string, tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make([]string, 0, len(s.tokens)+len(tokens))
	for _, known := range s.tokens {
		if !slices.Contains(tokens, known) && !slices.Contains(presented, known) {
			kept = append(kept, known)
		}
	}
	kept = append(kept, tokens...)
	s.tokens = kept[max(0, len(kept)-maxTokens):]
}

// goOnFrom adds the tokens of a session as text. A malformed one is ignored.
func (s *Session) goOnFrom(text string) {
	if other, err := s.client.SessionFromText(text); err == nil && text != "" {
		s.replace(nil, other.tokens...)
	}
}
