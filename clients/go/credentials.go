package twintier

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// TLSFiles names files of certificates in PEM.
type TLSFiles struct {
	// CA has the certificates that the service's certificate must come from. Empty means those of
	// the system.
	CA string
	// Cert and Key are the client's certificate, for mutual TLS. They are read anew for each
	// connection.
	Cert, Key string
	// ServerName is the name in the service's certificate. Empty means the host of the address.
	ServerName string
}

func (f *TLSFiles) load() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, usageError("ca_file", f.CA, err.Error())
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usageError("ca_file", f.CA, "it has no certificate in PEM")
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, usageError("cert_file and key_file", "given in part", "mutual TLS needs both")
	}
	if f.Cert == "" {
		return settings, nil
	}
	if _, err := tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
		return nil, usageError("cert_file and key_file", f.Cert+", "+f.Key, err.Error())
	}
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		return &pair, err
	}
	return settings, nil
}

// tokenCheckInterval is the time between two looks at the token file.
const tokenCheckInterval = time.Second

// tokenFile is a bearer token that is read anew when its file has changed.
type tokenFile struct {
	path string

	mu      sync.Mutex
	header  map[string]string
	checked time.Time
}

func newTokenFile(path string) (*tokenFile, error) {
	t := &tokenFile{path: path}
	if _, err := t.GetRequestMetadata(context.Background()); err != nil {
		return nil, usageError("token_file", path, err.Error())
	}
	return t, nil
}

// GetRequestMetadata returns the header. If the file cannot be read any more, the last token is
// sent.
func (t *tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.header != nil && time.Since(t.checked) < tokenCheckInterval {
		return t.header, nil
	}
	t.checked = time.Now()
	token, err := readToken(t.path)
	switch {
	case err == nil:
		t.header = map[string]string{"authorization": "Bearer " + token}
	case t.header == nil:
		return nil, err
	}
	return t.header, nil
}

// RequireTransportSecurity allows plain TCP, such as in a mesh that encrypts.
func (t *tokenFile) RequireTransportSecurity() bool { return false }

// readToken reads a token: one line of visible ASCII.
func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("it is empty")
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("the token has a character that is not visible ASCII")
		}
	}
	return token, nil
}
