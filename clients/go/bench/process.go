package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// cpuTime returns the CPU time that this process has used.
func cpuTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// startReplica starts a replica without Redis, and waits until it accepts connections.
func startReplica() (address string, stop func(), err error) {
	program := os.Getenv("TWINTIER")
	if program == "" {
		return "", nil, errors.New("TWINTIER must name a built program of the service, or --server a running one")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = listener.Addr().String()
	_ = listener.Close()
	process := exec.Command(program, "serve", "--listen", address, "--set", "log.level=error", "--set", "admin.enabled=false")
	process.Stderr = os.Stderr
	if err := process.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = process.Process.Kill(); _ = process.Wait() }
	if err := waitReady(address); err != nil {
		stop()
		return "", nil, err
	}
	return address, stop, nil
}

func waitReady(address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), warmUp)
	defer cancel()
	conn.Connect()
	for state := conn.GetState(); state.String() != "READY"; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return errors.New("the replica does not accept connections")
		}
	}
	return nil
}
