package dev.twintier.client;

import dev.twintier.v1.GetResponse;
import dev.twintier.v1.IfAbsent;
import dev.twintier.v1.SetRequest;
import java.util.UUID;

/**
 * Condition of a write.
 *
 * @param kind the kind
 * @param value the lease or the version
 */
record Fence(Kind kind, String value) {
    /** Writes always. */
    static final Fence ALWAYS = new Fence(Kind.ALWAYS, "");
    /** Writes if there is no entry. */
    static final Fence IF_ABSENT = new Fence(Kind.IF_ABSENT, "");
    /** Never writes. */
    static final Fence NEVER = new Fence(Kind.NEVER, "");

    /** Kind of a condition. */
    enum Kind { ALWAYS, IF_ABSENT, LEASE, VERSION, NEVER }

    /** Returns the condition of a fill after an answer: its lease, else nothing is written. */
    static Fence ofLease(GetResponse answer) {
        return answer.hasLease() ? new Fence(Kind.LEASE, answer.getLease().getId()) : NEVER;
    }

    /** Returns the condition to overwrite what cannot be read. */
    static Fence ofUnreadable(GetResponse answer) {
        return answer.hasLease() ? ofLease(answer)
                : new Fence(Kind.VERSION, answer.getHit().getEntry().getVersion());
    }

    void applyTo(SetRequest.Builder request) {
        switch (kind) {
            case IF_ABSENT -> request.setIfAbsent(IfAbsent.getDefaultInstance());
            case LEASE -> request.setLease(value);
            case VERSION -> request.setIfVersion(value);
            default -> {
                return;
            }
        }
        // A repeated write reports the outcome of its first attempt.
        request.setRequestId(UUID.randomUUID().toString());
    }
}
