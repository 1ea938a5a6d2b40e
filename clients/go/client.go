package twintier

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// Client is a connection to the cache. It is safe for concurrent use. Create one per process with
// Open, and Close it at the end.
type Client struct {
	config   *config
	conn     *grpc.ClientConn
	service  twintierv1.CacheServiceClient
	counters counters
	breaker  breaker
	flights  flights
	refresh  chan struct{} // one token per load in the background
	later    *laterQueue
	near     *nearCache // nil without a near cache

	lifetime context.Context // ends with Close
	end      context.CancelFunc
	mu       sync.RWMutex // guards closed against goroutines that start
	closed   bool
	tasks    sync.WaitGroup
}

// Open creates a client of the service at one address, such as "dns:///twintier-headless:50051",
// "localhost:50051" or "unix:///run/twintier/grpc.sock". It fails only because of wrong options:
// the connection is made by the first call.
func Open(address string, options ...Option) (*Client, error) {
	return New([]string{address}, options...)
}

// New creates a client of several replicas with fixed addresses. With one address it is Open.
func New(addresses []string, options ...Option) (*Client, error) {
	config, err := newConfig(addresses, options)
	if err != nil {
		return nil, err
	}
	conn, err := connect(config)
	if err != nil {
		return nil, err
	}
	c := &Client{
		config:  config,
		conn:    conn,
		service: twintierv1.NewCacheServiceClient(conn),
		refresh: make(chan struct{}, config.refreshes),
		later:   newLaterQueue(config.laterQueue),
	}
	c.counters.hooks = config.hooks
	c.flights.running = make(map[flightKey]*flight)
	c.lifetime, c.end = context.WithCancel(context.Background())
	if config.near != nil {
		if c.near, err = newNearCache(c, *config.near); err != nil {
			_ = conn.Close()
			return nil, err
		}
		c.spawn(c.near.watch)
	}
	c.spawn(c.writeLater)
	return c, nil
}

// Counters returns all counters.
func (c *Client) Counters() Counters { return c.counters.read() }

// Close stores the background writes that wait, waits for loads that callers wait for, and closes
// the connection. It takes no longer than ctx. The error matches ErrNotDrained if background writes
// were lost.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.closed = true
	c.mu.Unlock()

	drained := c.drainLater(ctx)
	c.end()
	ended := make(chan struct{})
	go func() { // ends with the tasks
		c.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	err := c.conn.Close()
	if !drained {
		return ErrNotDrained
	}
	return err
}

// spawn runs a task in a goroutine that Close waits for. It reports false after Close.
func (c *Client) spawn(task func()) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return false
	}
	c.tasks.Add(1)
	go func() {
		defer c.tasks.Done()
		task()
	}()
	return true
}

// prepare applies options of a call to the client's defaults and checks them.
func (c *Client) prepare(options []CallOption) (*callOptions, error) {
	if len(options) == 0 {
		return &c.config.call, nil
	}
	o := c.config.call.with(options)
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.namespace != c.config.call.namespace {
		if err := checkNamespace(o.namespace); err != nil {
			return nil, err
		}
	}
	return &o, nil
}

// prepareKey is prepare, and checks a key.
func (c *Client) prepareKey(key string, options []CallOption) (*callOptions, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return c.prepare(options)
}
