package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	twintier "github.com/twintier/twintier/clients/go"
)

// fromJSON converts a value of the protocol: integers keep their type, {"$bytes": …} is bytes.
func fromJSON(data json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return toNative(value)
}

func toNative(value any) (any, error) {
	switch v := value.(type) {
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			if n, err := v.Int64(); err == nil {
				return n, nil
			}
		}
		return v.Float64()
	case map[string]any:
		if text, ok := v["$bytes"].(string); ok && len(v) == 1 {
			return base64.StdEncoding.DecodeString(text)
		}
		return v, each(v, func(key string, item any) { v[key] = item })
	case []any:
		for i, item := range v {
			native, err := toNative(item)
			if err != nil {
				return nil, err
			}
			v[i] = native
		}
	}
	return value, nil
}

func each(items map[string]any, put func(string, any)) error {
	for key, item := range items {
		native, err := toNative(item)
		if err != nil {
			return err
		}
		put(key, native)
	}
	return nil
}

// toJSON converts a value to the protocol.
func toJSON(value any) any {
	switch v := value.(type) {
	case []byte:
		return map[string]string{"$bytes": base64.StdEncoding.EncodeToString(v)}
	case map[string]any:
		converted := make(map[string]any, len(v))
		for key, item := range v {
			converted[key] = toJSON(item)
		}
		return converted
	case []any:
		converted := make([]any, len(v))
		for i, item := range v {
			converted[i] = toJSON(item)
		}
		return converted
	}
	return value
}

var serializers = map[string]twintier.Serializer{
	"json": twintier.JSON, "msgpack": twintier.MessagePack, "bytes": twintier.Bytes,
}

func serializer(name string) (twintier.Serializer, error) {
	s, ok := serializers[name]
	if !ok {
		return nil, unsupported("serializer", name)
	}
	return s, nil
}
