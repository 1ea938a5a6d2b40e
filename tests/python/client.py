"""A client of twintier that is built from server reflection only.

Required packages: pip install --requirement tests/python/requirements.txt

usage: client.py alone|together|degraded ADDRESS...
       client.py balanced SERVICE_CONFIG ADDRESS...
       client.py tls CA_FILE CERT_FILE KEY_FILE ADDRESS
"""

import sys
import threading
import time
import uuid
from types import SimpleNamespace

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

SERVICE = "twintier.v1.CacheService"
DEADLINE = 10


class Cache:
    """A client with a method for each RPC: cache.Get(key="k")."""

    def __init__(self, address, options=(), credentials=None):
        if credentials:
            self.channel = grpc.secure_channel(address, credentials, options)
        else:
            self.channel = grpc.insecure_channel(address, options)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.reflection)
        for rpc in self.pool.FindServiceByName(SERVICE).methods:
            setattr(self, rpc.name, self._method(rpc))

    def _method(self, rpc):
        request, response = GetMessageClass(rpc.input_type), GetMessageClass(rpc.output_type)
        path = f"/{SERVICE}/{rpc.name}"
        call = self.channel.unary_unary(path, request.SerializeToString, response.FromString)
        return lambda **fields: call(request(**fields), timeout=DEADLINE)

    def name(self, message, field):
        """Returns the name of an enum field's value."""
        return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[getattr(message, field)].name


def error(call, **fields):
    """Makes a call that must fail. Returns its code, and its details by type."""
    try:
        response = call(**fields)
    except grpc.RpcError as failed:
        details = SimpleNamespace(code=failed.code())
        for packed in rpc_status.from_call(failed).details:
            name = packed.TypeName().rsplit(".", 1)[1]
            detail = getattr(error_details_pb2, name)()
            assert packed.Unpack(detail)
            setattr(details, name, detail)
        return details
    raise AssertionError(f"no error: {response}")


def alone(cache):
    services = cache.reflection.get_services()
    assert {SERVICE, "grpc.health.v1.Health"} <= set(services), services

    # A new namespace, whose counters do not include earlier calls.
    space = f"client-{uuid.uuid4().hex[:8]}"
    stored = cache.Set(namespace=space, key="greeting", value=b"\x00hello\xff", content_type="text/plain", ttl={"seconds": 60})
    assert cache.name(stored, "outcome") == "SET_OUTCOME_STORED"
    found = cache.Get(namespace=space, key="greeting", tokens=[stored.token])
    assert found.WhichOneof("result") == "hit"
    assert (found.hit.value, found.hit.content_type) == (b"\x00hello\xff", "text/plain")
    assert found.hit.entry.version == stored.version
    assert 50 < found.hit.entry.ttl.seconds <= 60

    refused = cache.Set(namespace=space, key="greeting", value=b"other", if_absent={})
    assert cache.name(refused, "outcome") == "SET_OUTCOME_ALREADY_PRESENT"
    assert refused.version == stored.version
    replaced = cache.Set(namespace=space, key="greeting", value=b"other", if_version=stored.version)
    assert cache.name(replaced, "outcome") == "SET_OUTCOME_STORED"

    cache.Set(namespace=space, key="nobody", known_absent={})
    assert cache.Get(namespace=space, key="nobody").WhichOneof("result") == "negative_hit"

    removed = cache.Invalidate(namespace=space, keys={"keys": ["greeting", "nobody", "never set"]})
    assert removed.removed == 2, removed
    missed = cache.Get(namespace=space, key="greeting", tokens=[removed.token])
    assert cache.name(missed.miss, "reason") == "MISS_REASON_ABSENT"
    everything = cache.Invalidate(namespace=space, whole_namespace={})
    assert not everything.HasField("removed")

    stats = cache.Stats(namespace=space)
    counted = stats.namespaces[0]
    assert (counted.l1_hits, counted.misses, counted.sets_condition_failed) == (2, 1, 1), counted
    assert stats.replica.l1_only and cache.name(stats.redis, "state") == "REDIS_STATE_DISABLED"

    wrong = error(cache.Set, key="", ttl={"seconds": -5})
    assert wrong.code == grpc.StatusCode.INVALID_ARGUMENT
    assert (wrong.ErrorInfo.reason, wrong.ErrorInfo.domain) == ("INVALID_REQUEST", "twintier.dev")
    fields = {violation.field: violation.description for violation in wrong.BadRequest.field_violations}
    assert fields.keys() == {"key", "content", "ttl"}, fields
    assert fields["key"] == "must not be empty"


def together(one, two):
    token = one.Set(key="shared", value=b"1").token
    assert two.Get(key="shared", tokens=[token]).hit.value == b"1"
    version = two.Get(key="shared").hit.entry.version
    token = two.Set(key="shared", value=b"2", if_version=version).token
    assert one.Get(key="shared", tokens=[token]).hit.value == b"2"
    token = one.Invalidate(key="shared").token
    assert two.Get(key="shared", tokens=[token]).WhichOneof("result") == "miss"
    strong = one.Get(key="shared", consistency="CONSISTENCY_STRONG")
    assert one.name(strong.miss, "reason") == "MISS_REASON_ABSENT"
    stats = two.Stats()
    assert two.name(stats.redis, "state") == "REDIS_STATE_HEALTHY"
    assert stats.coherence.partitions_proven == stats.coherence.partitions


def degraded(*caches):
    for cache in caches:
        missed = cache.Get(key="never seen")
        assert missed.degraded and cache.name(missed.miss, "reason") == "MISS_REASON_UNAVAILABLE"
        strong = {"key": "never seen", "consistency": "CONSISTENCY_STRONG"}
        set_ = {"key": "key", "value": b"value"}
        for call, fields in ((cache.Get, strong), (cache.Set, set_), (cache.Invalidate, {"key": "key"})):
            refused = error(call, **fields)
            assert refused.code == grpc.StatusCode.UNAVAILABLE
            assert refused.ErrorInfo.reason == "L2_UNAVAILABLE"
            assert refused.RetryInfo.retry_delay.ToMilliseconds() > 0


def balanced(service_config, *addresses):
    """Calls all replicas in turn, prints "balanced", and continues until its input ends. No call may fail."""
    target, authority = f"ipv4:{','.join(addresses)}", ("grpc.default_authority", "cache")
    cache = Cache(target, [("grpc.service_config", service_config), authority])
    answered, begun = set(), time.monotonic()
    while len(answered) < len(addresses):
        assert time.monotonic() < begun + DEADLINE, answered
        answered.add(cache.Stats().replica.id)
    print("balanced", flush=True)
    enough = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
    while not enough.is_set():
        token = cache.Set(key="key", value=b"value").token
        assert cache.Get(key="key", tokens=[token]).hit.value == b"value"
    answered = {cache.Stats().replica.id for _ in range(20)}
    print(len(answered))


def credentials(ca_file, cert_file, key_file):
    """Returns the credentials of a client with a certificate."""
    ca, certificate, key = (open(file, "rb").read() for file in (ca_file, cert_file, key_file))
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


if __name__ == "__main__":
    tests = {"alone": alone, "together": together, "degraded": degraded}
    if sys.argv[1] == "balanced":
        balanced(*sys.argv[2:])
    elif sys.argv[1] == "tls":
        alone(Cache(sys.argv[5], credentials=credentials(*sys.argv[2:5])))
        print("tls: all as expected")
    else:
        # By default the authority of a unix socket is its encoded path, which is no host name.
        options = [("grpc.default_authority", "localhost")] if sys.argv[2].startswith("unix:") else []
        tests[sys.argv[1]](*(Cache(address, options) for address in sys.argv[2:]))
        print(f"{sys.argv[1]}: all as expected")
