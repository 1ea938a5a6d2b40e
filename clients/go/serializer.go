package twintier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// Serializer encodes and decodes values. It must be safe for concurrent use.
type Serializer interface {
	// ContentType is stored with each value. A value with another content type is unreadable.
	ContentType() string
	// Marshal encodes a value.
	Marshal(value any) ([]byte, error)
	// Unmarshal decodes data into target, a pointer. It may keep data, but not change it.
	Unmarshal(data []byte, target any) error
}

// Serializers of the library.
var (
	// JSON encodes with encoding/json. It is the default.
	JSON Serializer = jsonSerializer{}
	// MessagePack encodes with msgpack. Fields are named by the tag "msgpack", else by "json".
	MessagePack Serializer = msgpackSerializer{}
	// Bytes stores []byte and string as they are.
	Bytes Serializer = bytesSerializer{}
)

type jsonSerializer struct{}

func (jsonSerializer) ContentType() string { return "application/json" }

func (jsonSerializer) Marshal(value any) ([]byte, error) { return marshalJSON(value) }

func (jsonSerializer) Unmarshal(data []byte, target any) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	return json.Unmarshal(data, target)
}

type msgpackSerializer struct{}

func (msgpackSerializer) ContentType() string { return "application/msgpack" }

func (msgpackSerializer) Marshal(value any) ([]byte, error) {
	encoder := msgpack.GetEncoder()
	defer msgpack.PutEncoder(encoder)
	var buffer bytes.Buffer
	encoder.Reset(&buffer)
	encoder.SetCustomStructTag("json")
	encoder.SetSortMapKeys(true)
	encoder.UseCompactInts(true)
	err := encoder.Encode(value)
	return buffer.Bytes(), err
}

func (msgpackSerializer) Unmarshal(data []byte, target any) error {
	decoder := msgpack.GetDecoder()
	defer msgpack.PutDecoder(decoder)
	reader := bytes.NewReader(data)
	decoder.Reset(reader)
	decoder.SetCustomStructTag("json")
	if err := decoder.Decode(target); err != nil {
		return err
	}
	if reader.Len() > 0 {
		return fmt.Errorf("%d bytes after the value", reader.Len())
	}
	return nil
}

type bytesSerializer struct{}

func (bytesSerializer) ContentType() string { return "application/octet-stream" }

func (bytesSerializer) Marshal(value any) ([]byte, error) {
	switch v := value.(type) {
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	default:
		return nil, fmt.Errorf("the serializer Bytes takes []byte and string, not %T", value)
	}
}

func (bytesSerializer) Unmarshal(data []byte, target any) error {
	switch t := target.(type) {
	case *[]byte:
		*t = append([]byte{}, data...)
	case *string:
		*t = string(data)
	case *any:
		*t = append([]byte{}, data...)
	default:
		return fmt.Errorf("the serializer Bytes returns []byte and string, not %T", target)
	}
	return nil
}

// Decode decodes a value that was stored with a content type into target, a pointer. The error
// matches ErrUnreadable.
func Decode(s Serializer, contentType string, data []byte, target any) error {
	plain, _, _ := strings.Cut(contentType, ";")
	if strings.TrimSpace(plain) != s.ContentType() {
		return fmt.Errorf("twintier: %w: content type %q, want %q", ErrUnreadable, contentType, s.ContentType())
	}
	if err := s.Unmarshal(data, target); err != nil {
		return fmt.Errorf("twintier: %w: %w", ErrUnreadable, err)
	}
	return nil
}

// encode encodes a value. A value that cannot be encoded is wrong usage.
func encode(s Serializer, value any) ([]byte, error) {
	data, err := s.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("twintier: %w: value of type %T cannot be encoded: %w", ErrUsage, value, err)
	}
	return data, nil
}

// marshalJSON encodes compactly, and leaves <, > and & as they are, as other languages do.
func marshalJSON(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
