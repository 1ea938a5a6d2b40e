package twintier_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	twintier "github.com/twintier/twintier/clients/go"
	"github.com/twintier/twintier/clients/go/internal/testservice"
)

func TestASessionReadsItsOwnWritesAtAnotherReplica(t *testing.T) {
	fleet := testservice.StartFleet(t, 2)
	a, b := open(t, fleet[0].Address), open(t, fleet[1].Address)
	for i := range 50 {
		session := a.Session()
		ok, err := a.Set(session.Context(t.Context()), "k", i)
		stored(t, ok, err)
		handed, err := b.SessionFromText(session.Text())
		succeeds(t, err)
		got, err := twintier.Get[int](handed.Context(t.Context()), b, "k")
		succeeds(t, err)
		equal(t, "value", got, i)
	}
}

func TestASessionHasFewTokens(t *testing.T) {
	_, c := serve(t)
	session := c.Session()
	ctx := session.Context(t.Context())
	ended := make(chan error)
	for range 100 {
		go func() { _, err := c.Set(ctx, "k", 1); ended <- err }()
	}
	for range 100 {
		succeeds(t, <-ended)
	}
	if tokens := strings.Count(session.Text(), ",") + 1; tokens > 16 {
		t.Errorf("%d tokens", tokens)
	}
	_, err := twintier.Get[int](ctx, c, "k", twintier.Strict(true))
	succeeds(t, err)
}

func TestAMalformedSessionIsRefused(t *testing.T) {
	c := open(t, "localhost:1")
	for _, text := range []string{",", "a,", "a b", "ä", strings.Repeat("a,", 16) + "a", strings.Repeat("a", 65<<10)} {
		if _, err := c.SessionFromText(text); !errors.Is(err, twintier.ErrUsage) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// A front end calls a back end, which writes; the front end then reads at another replica.
func TestASessionTravelsOverHTTP(t *testing.T) {
	fleet := testservice.StartFleet(t, 2)
	front, back := open(t, fleet[0].Address), open(t, fleet[1].Address)
	backend := httptest.NewServer(twintier.Middleware(back)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := back.Set(r.Context(), "k", r.URL.Query().Get("value")); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})))
	defer backend.Close()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: twintier.Transport(transport)}

	handler := twintier.Middleware(front)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := http.NewRequestWithContext(r.Context(), http.MethodPost, backend.URL+"?"+r.URL.RawQuery, nil)
		response, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = response.Body.Close()
		got, _ := twintier.Get[string](r.Context(), front, "k")
		_, _ = io.WriteString(w, got)
		http.NewResponseController(w).Flush()
	}))
	for _, value := range []string{"1", "2", "3", "4", "5"} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/?value="+value, nil))
		equal(t, "body", recorder.Body.String(), value)
		if recorder.Header().Get(twintier.SessionHeader) == "" {
			t.Error("the response has no session")
		}
	}
}

func TestAMalformedHeaderIsIgnored(t *testing.T) {
	_, c := serve(t)
	handler := twintier.Middleware(c)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ok, err := c.Set(r.Context(), "k", 1, twintier.Strict(true))
		equal(t, "stored", ok && err == nil, true)
		w.WriteHeader(http.StatusNoContent)
	}))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set(twintier.SessionHeader, "a b")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	equal(t, "status", recorder.Code, http.StatusNoContent)
	if recorder.Header().Get(twintier.SessionHeader) == "" {
		t.Error("the response has no session")
	}
}
