package twintier

import (
	"crypto/tls"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/grpc"
)

// Defaults of a client.
const (
	// DefaultTimeout is the longest time of a call, waiting for a lease excepted.
	DefaultTimeout = 250 * time.Millisecond
	// DefaultLeaseWait is the longest time that GetOrSet waits for the loader of another caller.
	DefaultLeaseWait = 10 * time.Second
	// DefaultLaterQueue is the number of background writes that can wait.
	DefaultLaterQueue = 1024
	// DefaultRefreshes is the number of loads that run in the background at a time.
	DefaultRefreshes = 16
)

// Option is a setting of a client.
type Option func(*config)

// config holds the settings of a client.
type config struct {
	addresses  []string
	call       callOptions // defaults of all calls
	serializer Serializer
	near       *NearCache
	laterQueue int
	refreshes  int
	hooks      []Hooks
	tls        *tls.Config
	tlsFiles   *TLSFiles
	tokenFile  string
	dial       []grpc.DialOption
}

// WithNamespace sets the namespace of all calls. The default is "default".
func WithNamespace(namespace string) Option {
	return func(c *config) { c.call.namespace = namespace }
}

// WithTimeout sets the longest time of a call, waiting for a lease excepted. The default is
// DefaultTimeout.
func WithTimeout(timeout time.Duration) Option {
	return func(c *config) { c.call.timeout = positive(timeout) }
}

// WithLeaseWait sets the longest time that GetOrSet waits for the loader of another caller. The
// default is the call's LeaseDuration, else DefaultLeaseWait.
func WithLeaseWait(wait time.Duration) Option {
	return func(c *config) { c.call.leaseWait = positive(wait) }
}

// WithStrict makes all calls return the errors of the service.
func WithStrict() Option {
	return func(c *config) { c.call.strict = true }
}

// WithCallDefaults sets options of all calls, such as TTL. Options of a call override them.
func WithCallDefaults(options ...CallOption) Option {
	return func(c *config) { c.call = c.call.with(options) }
}

// WithSerializer sets how values are encoded. The default is JSON.
func WithSerializer(serializer Serializer) Option {
	return func(c *config) { c.serializer = serializer }
}

// WithNearCache keeps entries in the memory of the client.
func WithNearCache(near NearCache) Option {
	return func(c *config) { c.near = &near }
}

// WithLaterQueue sets the number of background writes that can wait. When there are more, the
// oldest is dropped and counted. The default is DefaultLaterQueue.
func WithLaterQueue(capacity int) Option {
	return func(c *config) { c.laterQueue = capacity }
}

// WithRefreshes sets the number of loads that run in the background at a time. The default is
// DefaultRefreshes.
func WithRefreshes(limit int) Option {
	return func(c *config) { c.refreshes = limit }
}

// WithHooks adds functions that report what the client does.
func WithHooks(hooks Hooks) Option {
	return func(c *config) { c.hooks = append(c.hooks, hooks) }
}

// WithTLS encrypts connections. Without it, and without WithTLSFiles, they are plain TCP.
func WithTLS(settings *tls.Config) Option {
	return func(c *config) { c.tls = settings }
}

// WithTLSFiles encrypts connections with certificates from files.
func WithTLSFiles(files TLSFiles) Option {
	return func(c *config) { c.tlsFiles = &files }
}

// WithTokenFile sends the content of a file as bearer token with each call. The file is read anew
// within a second after it changed. Over plain TCP everyone on the way can read the token.
func WithTokenFile(path string) Option {
	return func(c *config) { c.tokenFile = path }
}

// WithDialOptions adds options of gRPC, such as a stats handler.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(c *config) { c.dial = append(c.dial, options...) }
}

// Options combines options into one.
func Options(options ...Option) Option {
	return func(c *config) {
		for _, option := range options {
			option(c)
		}
	}
}

// newConfig applies options to the defaults and checks the result.
func newConfig(addresses []string, options []Option) (*config, error) {
	c := &config{
		addresses:  addresses,
		call:       callOptions{timeout: DefaultTimeout},
		serializer: JSON,
		laterQueue: DefaultLaterQueue,
		refreshes:  DefaultRefreshes,
	}
	for _, option := range options {
		option(c)
	}
	return c, c.check()
}

func (c *config) check() error {
	if len(c.addresses) == 0 {
		return usageError("addresses", "empty", "at least one is needed")
	}
	for _, address := range c.addresses {
		if address == "" {
			return usageError("address", `""`, "it must not be empty")
		}
	}
	if c.laterQueue < 1 {
		return usageError("capacity of the queue of background writes", c.laterQueue, "it must be at least 1")
	}
	if c.refreshes < 1 {
		return usageError("number of refreshes", c.refreshes, "it must be at least 1")
	}
	if c.serializer == nil {
		return usageError("serializer", "nil", "it must be given")
	}
	if c.tls != nil && c.tlsFiles != nil {
		return usageError("TLS", "given twice", "use WithTLS or WithTLSFiles")
	}
	if c.near != nil {
		if err := c.near.check(); err != nil {
			return err
		}
	}
	if err := checkNamespace(c.call.namespace); err != nil {
		return err
	}
	return c.call.check()
}

var namespacePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$`)

func checkNamespace(namespace string) error {
	if namespace == "" || namespacePattern.MatchString(namespace) {
		return nil
	}
	return usageError("namespace", strconv.Quote(namespace),
		"it must be 1 to 64 of [a-z0-9._-], beginning and ending with a letter or digit")
}
