"""Calls of a replica by the harness itself, as data: requests and answers are mappings."""

import base64
import functools
import sys
from typing import Any

import grpc
import grpc.aio
from google.protobuf import duration_pb2, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from conformance import paths
from conformance.errors import ScenarioError
from conformance.processes import PATIENCE


@functools.cache
def _methods() -> dict[str, tuple[str, Any, Any, bool]]:
    """Returns every method by its name: path, request, response, and whether it streams responses."""
    if str(paths.PROTO) not in sys.path:
        sys.path.append(str(paths.PROTO))
    methods = {}
    for name in ("cache", "admin"):
        protos = grpc.protos(f"twintier/v1/{name}.proto")
        for service in protos.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                request = _message_class(method.input_type)
                response = _message_class(method.output_type)
                methods[method.name] = (path, request, response, method.server_streaming)
    return methods


def _message_class(descriptor: Any) -> Any:
    return message_factory.GetMessageClass(descriptor)


def has_namespace(method: str) -> bool:
    return "namespace" in _methods()[method][1].DESCRIPTOR.fields_by_name


async def call(channel: grpc.aio.Channel, method: str, request: dict[str, Any], token: str | None) -> dict[str, Any]:
    """Calls a method. The items of a stream are put together. An error is `{"error": {"code": …}}`."""
    if method not in _methods():
        raise ScenarioError(f"raw {method!r}: expected one of {', '.join(sorted(_methods()))}")
    path, request_class, response_class, streams = _methods()[method]
    try:
        message = json_format.ParseDict(_to_json(request), request_class())
    except json_format.ParseError as error:
        raise ScenarioError(f"raw {method}: {error}") from error
    metadata = [("authorization", f"Bearer {token}")] if token else None
    options = {"timeout": PATIENCE, "metadata": metadata}
    serializers = (request_class.SerializeToString, response_class.FromString)
    try:
        if streams:
            merged = response_class()
            async for part in channel.unary_stream(path, *serializers)(message, **options):
                merged.MergeFrom(part)
            return to_mapping(merged)
        return to_mapping(await channel.unary_unary(path, *serializers)(message, **options))
    except grpc.aio.AioRpcError as error:
        return {"error": {"code": error.code().name, "message": error.details()}}


def _to_json(part: Any) -> Any:
    """Converts `{$text: …}` and `{$bytes: base64}` to base64, the form of bytes in protobuf's JSON."""
    if isinstance(part, dict):
        if part.keys() == {"$text"}:
            return base64.b64encode(part["$text"].encode()).decode()
        if part.keys() == {"$bytes"}:
            return part["$bytes"]
        return {name: _to_json(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_to_json(value) for value in part]
    return part


def to_mapping(message: Message) -> dict[str, Any]:
    """Converts a message to a mapping with the contract's names, enums by name, durations as `1.5s`."""
    result = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            result[field.name] = [_to_plain(field, value) for value in getattr(message, field.name)]
        elif not field.has_presence or message.HasField(field.name):
            result[field.name] = _to_plain(field, getattr(message, field.name))
    return result


def _to_plain(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if isinstance(value, duration_pb2.Duration):
            return f"{value.ToNanoseconds() / 1e9:.9f}s"
        return to_mapping(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    if field.type == FieldDescriptor.TYPE_BYTES:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"$bytes": base64.b64encode(value).decode()}
    return value
