package twintier

import "testing"

func TestTheBreakerOpensAfterThreeFailuresInARow(t *testing.T) {
	var b breaker
	now := int64(1000)
	for i, opened := range []bool{false, false, true} {
		if !b.admit(now) {
			t.Fatalf("call %d was refused", i)
		}
		if b.failed(now) != opened {
			t.Fatalf("failure %d: opened is not %v", i, opened)
		}
	}
	if b.admit(now) {
		t.Fatal("an open breaker admitted a call at once")
	}
}

func TestAnOpenBreakerAdmitsOneProbeASecond(t *testing.T) {
	var b breaker
	for range breakerThreshold {
		b.failed(1)
	}
	later := 1 + int64(probeInterval)
	if !b.admit(later) || b.admit(later) {
		t.Fatal("want one probe after the interval")
	}
	if b.failed(later) {
		t.Fatal("a probe that fails counted as opening")
	}
	if b.admit(later+int64(probeInterval)-1) || !b.admit(later+int64(probeInterval)) {
		t.Fatal("want the next probe after another interval")
	}
}

func TestASuccessClosesTheBreaker(t *testing.T) {
	var b breaker
	b.failed(1)
	b.failed(1)
	b.succeeded()
	for i, opened := range []bool{false, false, true} {
		if b.failed(1) != opened {
			t.Fatalf("failure %d after a success: opened is not %v", i, opened)
		}
	}
	b.succeeded()
	for range 2 {
		if !b.admit(2) {
			t.Fatal("a closed breaker refused a call")
		}
	}
}
