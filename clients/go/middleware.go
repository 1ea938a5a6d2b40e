package twintier

import (
	"net/http"
	"strings"
)

// SessionHeader is the header that carries a session from service to service.
const SessionHeader = "Twintier-Session"

// maxSessionHeader is the largest session that is sent as a header; servers commonly accept 8 KiB.
const maxSessionHeader = 7 << 10

// Middleware gives each HTTP request a session of the client: calls with the request's context read
// their own writes. A session in the request's header is continued, and the session at the time
// when the response begins is in the response's header. A malformed header is ignored.
//
// Use it where callers are trusted: a forged session costs its caller cache hits, and nothing else.
func Middleware(c *Client) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, err := c.SessionFromText(r.Header.Get(SessionHeader))
			if err != nil {
				session = c.Session()
			}
			r = r.WithContext(session.Context(r.Context()))
			sw := &sessionWriter{ResponseWriter: w, send: func() { setSession(w.Header(), session.Text()) }}
			next.ServeHTTP(sw, r)
			sw.begin()
		})
	}
}

// setSession sets the header. A session that is too long for a header is not sent.
func setSession(header http.Header, text string) {
	if text != "" && len(text) <= maxSessionHeader {
		header.Set(SessionHeader, text)
	}
}

// Transport continues the session of a request's context in the service that it calls, and takes
// over what that service answers. It is the counterpart of Middleware for http.Client.
func Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		session := SessionFromContext(r.Context())
		if session == nil {
			return next.RoundTrip(r)
		}
		presented, err := session.begin(r.Context())
		if err != nil {
			return nil, err
		}
		defer session.end(nil, "")
		r = r.Clone(r.Context())
		setSession(r.Header, strings.Join(presented, ","))
		response, err := next.RoundTrip(r)
		if err == nil {
			session.goOnFrom(response.Header.Get(SessionHeader))
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// sessionWriter sends the session before the response begins.
type sessionWriter struct {
	http.ResponseWriter
	send  func()
	begun bool
}

func (w *sessionWriter) begin() {
	if !w.begun {
		w.begun = true
		w.send()
	}
}

// WriteHeader sends the session, then the header.
func (w *sessionWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends the session before the first byte.
func (w *sessionWriter) Write(data []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(data)
}

// Flush sends the session, and what was written so far.
func (w *sessionWriter) Flush() {
	w.begin()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (w *sessionWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
