package twintier

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

const (
	// maxTokens is the number of tokens that a request may have.
	maxTokens = 16
	// maxSessionText is the largest text of a session that is accepted, in bytes.
	maxSessionText = 64 << 10
	// mergeKey is a key that is read only to merge tokens.
	mergeKey = "twintier:session"
)

// Session carries tokens from answer to request: its calls read their own writes and never go back
// in time, through any replica. Put it into a context with Context; all calls with that context
// belong to the session. It is safe for concurrent use.
type Session struct {
	client *Client

	mu     sync.Mutex
	tokens []string
	latest int64 // time of the last new token, by the process clock
}

// Session creates a session without tokens.
func (c *Client) Session() *Session { return &Session{client: c} }

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
	s.latest = clock()
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

// Text returns the session as text, for another service. It takes a call of the service only if
// many calls of the session ended at the same time, whose tokens are merged by that.
func (s *Session) Text(ctx context.Context) (string, error) {
	tokens, err := s.present(ctx)
	return strings.Join(tokens, ","), err
}

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

// present returns the tokens for a request. If there are too many it lets the service merge some.
func (s *Session) present(ctx context.Context) ([]string, error) {
	tokens := s.snapshot()
	for len(tokens) > maxTokens {
		if err := s.merge(ctx, tokens[:maxTokens]); err != nil {
			return nil, err
		}
		tokens = s.snapshot()
	}
	return tokens, nil
}

// merge lets the service merge tokens into one.
func (s *Session) merge(ctx context.Context, tokens []string) error {
	o := &s.client.config.call
	request := &twintierv1.GetRequest{Namespace: o.namespace, Key: mergeKey, MetadataOnly: true, Tokens: tokens}
	response, err := call(ctx, s.client, opMerge, o.timeout, s.client.service.Get, request)
	if err == nil {
		s.replace(tokens, response.GetToken())
	}
	return err
}

// merged returns the session as text, with one token if it can be.
func (s *Session) merged(ctx context.Context) (string, error) {
	tokens, err := s.present(ctx)
	if err != nil || len(tokens) < 2 {
		return strings.Join(tokens, ","), err
	}
	if err := s.merge(ctx, tokens); err != nil {
		return "", err
	}
	return s.Text(ctx)
}

// adopt adds the tokens of a session as text. A malformed one is ignored.
func (s *Session) adopt(text string) {
	other, err := s.client.SessionFromText(text)
	if err != nil {
		return
	}
	for _, token := range other.tokens {
		s.replace(nil, token)
	}
}

// replace puts the token of an answer in the place of those that its request presented.
func (s *Session) replace(presented []string, token string) {
	if s == nil || token == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	merged := make([]string, 0, len(s.tokens)+1)
	for _, known := range s.tokens {
		if known != token && !slices.Contains(presented, known) {
			merged = append(merged, known)
		}
	}
	s.tokens = append(merged, token)
	s.latest = clock()
}

// newest returns the time of the last new token, or 0 if there is none.
func (s *Session) newest() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}
