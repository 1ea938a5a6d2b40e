// Command bench compares the client with the bare stub, in one run, by the CPU time of this
// process. With --check it fails if a ratio is beyond its limit.
//
//	TWINTIER=target/release/twintier go run ./bench --check
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	twintier "github.com/twintier/twintier/clients/go"
	twintierv1 "github.com/twintier/twintier/clients/go/twintier/v1"
)

// value is what the entries hold.
type value struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

const (
	key         = "bench:user:42"
	callTimeout = 10 * time.Second
	// warmUp is the longest time until the near cache answers.
	warmUp = 30 * time.Second
)

// subject is one way to read a value.
type subject struct {
	name  string
	read  func(context.Context) error
	calls int     // in a round
	limit float64 // of the ratio to the bare stub; 0 for the stub itself
	spent time.Duration
	made  int
}

func main() {
	server := flag.String("server", "", "address of a running replica; without it one is started from $TWINTIER")
	check := flag.Bool("check", false, "fail if a ratio is beyond its limit")
	rounds := flag.Int("rounds", 20, "number of rounds; in each every subject has its turn")
	flag.Parse()
	if err := run(os.Stdout, *server, *rounds, *check); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(output io.Writer, server string, rounds int, check bool) error {
	if server == "" {
		address, stop, err := startReplica()
		if err != nil {
			return err
		}
		defer stop()
		server = address
	}
	subjects, closeAll, err := prepare(server)
	if err != nil {
		return err
	}
	defer closeAll()
	for range rounds {
		for _, s := range subjects {
			if err := s.round(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return report(output, subjects, check)
}

// prepare stores the value and returns the subjects.
func prepare(server string) (subjects []*subject, closeAll func(), err error) {
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), warmUp)
	defer cancel()
	client, err := twintier.Open(server, twintier.WithTimeout(callTimeout))
	if err != nil {
		return nil, nil, err
	}
	near, err := twintier.Open(server, twintier.WithTimeout(callTimeout),
		twintier.WithNearCache(twintier.NearCache{MaxStaleness: time.Hour, MaxAge: time.Hour}))
	if err != nil {
		return nil, nil, err
	}
	closeAll = func() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		_, _, _ = client.Close(ctx), near.Close(ctx), conn.Close()
	}
	if _, err = client.Set(ctx, key, value{ID: 42, Name: "Ada Lovelace"}, twintier.TTL(time.Hour), twintier.Strict(true)); err == nil {
		err = fillNear(ctx, near)
	}
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	stub := twintierv1.NewCacheServiceClient(conn)
	return []*subject{
		{name: "bare stub", calls: 500, read: func(ctx context.Context) error { return readStub(ctx, stub) }},
		{name: "Get", calls: 500, limit: 1.3, read: func(ctx context.Context) error { return readClient(ctx, client) }},
		{name: "GetOrSet, hit", calls: 500, limit: 1.5, read: func(ctx context.Context) error { return readOrLoad(ctx, client) }},
		{name: "near cache, hit", calls: 100_000, limit: 1.0 / 50, read: func(ctx context.Context) error { return readClient(ctx, near) }},
	}, closeAll, nil
}

// fillNear waits until the near cache answers.
func fillNear(ctx context.Context, near *twintier.Client) error {
	for {
		entry, err := twintier.GetEntry[value](ctx, near, key)
		if err != nil || entry.Near {
			return err
		}
	}
}

// readStub is what a program without the library does: a deadline, the call, and the value.
func readStub(ctx context.Context, stub twintierv1.CacheServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := stub.Get(ctx, &twintierv1.GetRequest{Key: key})
	if err != nil {
		return err
	}
	var v value
	return twintier.Decode(twintier.JSON, response.GetHit().GetContentType(), response.GetHit().GetValue(), &v)
}

func readClient(ctx context.Context, client *twintier.Client) error {
	_, err := twintier.Get[value](ctx, client, key)
	return err
}

var errLoaded = errors.New("the loader ran")

func readOrLoad(ctx context.Context, client *twintier.Client) error {
	_, err := twintier.GetOrSet(ctx, client, key, func(context.Context) (value, error) { return value{}, errLoaded })
	return err
}

// round makes the calls of one turn and adds the CPU time that they took.
func (s *subject) round() error {
	start, err := cpuTime()
	if err != nil {
		return err
	}
	for range s.calls {
		if err := s.read(context.Background()); err != nil {
			return err
		}
	}
	end, err := cpuTime()
	s.spent += end - start
	s.made += s.calls
	return err
}

func (s *subject) perCall() float64 { return float64(s.spent.Nanoseconds()) / float64(s.made) }

// report prints a table. The first subject is the measure of the others.
func report(output io.Writer, subjects []*subject, check bool) error {
	var failures []error
	fmt.Fprintf(output, "%-16s %12s %9s %9s\n", "", "CPU µs/call", "ratio", "limit")
	for _, s := range subjects {
		ratio := s.perCall() / subjects[0].perCall()
		limit := "-"
		if s.limit > 0 {
			limit = fmt.Sprintf("%.3f", s.limit)
		}
		fmt.Fprintf(output, "%-16s %12.2f %9.3f %9s\n", s.name, s.perCall()/1000, ratio, limit)
		if check && s.limit > 0 && ratio > s.limit {
			failures = append(failures, fmt.Errorf("%s: ratio %.3f is beyond %.3f", s.name, ratio, s.limit))
		}
	}
	return errors.Join(failures...)
}
