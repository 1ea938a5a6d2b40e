// Package testservice starts real replicas, and a Redis, for tests.
package testservice

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// startLimit is the longest time that a process may take to start on a busy machine.
const startLimit = 30 * time.Second

// Replica is a running replica.
type Replica struct {
	// Address is host:port.
	Address string
	process *exec.Cmd
	args    []string
	tb      testing.TB
}

// Start starts a replica without Redis. Settings are those of --set, such as "log.level=error".
func Start(tb testing.TB, settings ...string) *Replica {
	tb.Helper()
	return start(tb, "", settings)
}

// StartFleet starts a Redis and replicas that share it.
func StartFleet(tb testing.TB, replicas int, settings ...string) []*Replica {
	tb.Helper()
	redis := startRedis(tb)
	fleet := make([]*Replica, replicas)
	for i := range fleet {
		fleet[i] = start(tb, redis, settings)
	}
	return fleet
}

func start(tb testing.TB, redis string, settings []string) *Replica {
	tb.Helper()
	address := freeAddress(tb)
	r := &Replica{Address: address, tb: tb}
	r.args = []string{"serve", "--listen", address, "--set", "log.level=error", "--set", "admin.enabled=false"}
	if redis != "" {
		r.args = append(r.args, "--redis-url", "redis://"+redis)
	}
	for _, setting := range settings {
		r.args = append(r.args, "--set", setting)
	}
	r.Run()
	return r
}

// Run starts the process, at first or after a Kill, and waits until it is ready.
func (r *Replica) Run() {
	r.tb.Helper()
	program := os.Getenv("TWINTIER")
	if program == "" {
		r.tb.Fatal("TWINTIER must name a built program of the service")
	}
	r.process = run(r.tb, program, r.args...)
	r.waitReady()
}

// Kill ends the process at once.
func (r *Replica) Kill() {
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
}

// Freeze stops the process without ending it, until Thaw. It waits until every thread has stopped.
func (r *Replica) Freeze() {
	r.tb.Helper()
	r.signal(syscall.SIGSTOP)
	Eventually(r.tb, "the process has stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.process.Process.Pid))
		for _, thread := range threads {
			stat, readErr := os.ReadFile(thread)
			_, state, _ := strings.Cut(string(stat), ") ")
			if readErr == nil && !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return err == nil && len(threads) > 0
	})
}

// Thaw lets the process go on.
func (r *Replica) Thaw() { r.signal(syscall.SIGCONT) }

func (r *Replica) signal(signal syscall.Signal) {
	if err := r.process.Process.Signal(signal); err != nil {
		r.tb.Fatal(err)
	}
}

func (r *Replica) waitReady() {
	r.tb.Helper()
	conn, err := grpc.NewClient(r.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	health := grpc_health_v1.NewHealthClient(conn)
	Eventually(r.tb, "the replica is ready", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "readiness"})
		return err == nil && answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
	})
}

func startRedis(tb testing.TB) string {
	tb.Helper()
	address := freeAddress(tb)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	run(tb, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", tb.TempDir())
	Eventually(tb, "Redis answers", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
	return address
}

// run starts a process that ends with the test.
func run(tb testing.TB, program string, args ...string) *exec.Cmd {
	tb.Helper()
	log, err := os.Create(filepath.Join(tb.TempDir(), "log"))
	if err != nil {
		tb.Fatal(err)
	}
	process := exec.Command(program, args...)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGCONT)
		_ = process.Process.Kill()
		_ = process.Wait()
		_ = log.Close()
		if tb.Failed() {
			content, _ := os.ReadFile(log.Name())
			tb.Logf("%s:\n%s", filepath.Base(program), content)
		}
	})
	return process
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// Eventually waits until a condition holds.
func Eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	tb.Fatalf("not within %s: %s", startLimit, what)
}
