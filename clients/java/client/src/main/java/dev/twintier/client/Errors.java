package dev.twintier.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import dev.twintier.client.TwintierException.Kind;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Optional;
import java.util.concurrent.CompletionException;

/** Translation of errors of gRPC. */
final class Errors {
    private Errors() {
    }

    static TwintierException from(Throwable failure) {
        Throwable cause = unwrap(failure);
        if (cause instanceof TwintierException translated) {
            return translated;
        }
        Status status = Status.fromThrowable(cause);
        String reason = detail(cause, ErrorInfo.class).map(ErrorInfo::getReason).orElse("");
        String message = status.getCode() + (reason.isEmpty() ? "" : " " + reason) + ": "
                + status.getDescription();
        return new TwintierException(kind(status.getCode()), reason, message, cause);
    }

    /** Returns true if the service does not accept the tokens of the request. */
    static boolean isRejectedToken(TwintierException failure) {
        return failure.kind() == Kind.REJECTED && detail(failure.getCause(), BadRequest.class).stream()
                .flatMap(request -> request.getFieldViolationsList().stream())
                .anyMatch(violation -> violation.getField().startsWith("tokens"));
    }

    static Throwable unwrap(Throwable failure) {
        return failure instanceof CompletionException && failure.getCause() != null
                ? failure.getCause() : failure;
    }

    private static <M extends Message> Optional<M> detail(Throwable cause, Class<M> type) {
        com.google.rpc.Status status =
                cause instanceof StatusRuntimeException ? StatusProto.fromThrowable(cause) : null;
        if (status == null) {
            return Optional.empty();
        }
        return status.getDetailsList().stream().filter(any -> any.is(type)).findFirst()
                .map(any -> unpack(any, type));
    }

    private static <M extends Message> M unpack(Any any, Class<M> type) {
        try {
            return any.unpack(type);
        } catch (InvalidProtocolBufferException malformed) {
            return null;
        }
    }

    static Kind kind(Status.Code code) {
        return switch (code) {
            case UNAVAILABLE -> Kind.UNAVAILABLE;
            case DEADLINE_EXCEEDED -> Kind.DEADLINE;
            case UNAUTHENTICATED -> Kind.UNAUTHENTICATED;
            case PERMISSION_DENIED -> Kind.DENIED;
            case CANCELLED -> Kind.CANCELLED;
            default -> Kind.REJECTED;
        };
    }
}
