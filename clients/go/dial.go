package twintier

import (
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // for healthCheckConfig
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// serviceConfig has the settings of callers in docs/rolling-updates.md. The deadline is that of
// each call.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": "readiness"},
  "methodConfig": [
    {
      "name": [{"service": "twintier.v1.CacheService"}],
      "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]
      }
    },
    {"name": [{"service": "twintier.v1.CacheService", "method": "Watch"}]}
  ]
}`

const (
	// keepaliveInterval is the shortest that the service allows.
	keepaliveInterval = 30 * time.Second
	keepaliveTimeout  = 10 * time.Second
	// reconnectDelay limits the time until a replica that is back is used again.
	reconnectDelay = time.Second
	// maxMessage is the largest answer: a value may be larger than gRPC's default of 4 MiB.
	maxMessage = 64 << 20
	// staticScheme is the scheme of a fixed list of addresses.
	staticScheme = "twintier-static"
)

// connect creates the channel. It connects with the first call.
func connect(c *config) (*grpc.ClientConn, error) {
	transport, err := transportCredentials(c)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelay},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithIdleTimeout(0),
	}
	if c.tokenFile != "" {
		token, err := newTokenFile(c.tokenFile)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithPerRPCCredentials(token))
	}
	target := c.addresses[0]
	if len(c.addresses) > 1 {
		list := staticResolver(c.addresses)
		options = append(options, grpc.WithResolvers(list))
		target = staticScheme + ":///" + hostOf(c.addresses[0])
	}
	conn, err := grpc.NewClient(target, append(options, c.dial...)...)
	if err != nil {
		return nil, usageError("addresses", strings.Join(c.addresses, ", "), err.Error())
	}
	return conn, nil
}

// staticResolver resolves to a fixed list of addresses, each verified by its own name.
func staticResolver(addresses []string) resolver.Builder {
	var state resolver.State
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: address, ServerName: hostOf(address)}},
		})
	}
	list := manual.NewBuilderWithScheme(staticScheme)
	list.InitialState(state)
	return list
}

// hostOf returns the host of an address.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

func transportCredentials(c *config) (credentials.TransportCredentials, error) {
	switch {
	case c.tls != nil:
		return credentials.NewTLS(c.tls), nil
	case c.tlsFiles != nil:
		settings, err := c.tlsFiles.load()
		if err != nil {
			return nil, err
		}
		return credentials.NewTLS(settings), nil
	default:
		return insecure.NewCredentials(), nil
	}
}
