#!/usr/bin/env bash
# Writes proto/cri/v1/interface.txt: the published CRI as a table of facts, one line for each message, field, enum value
# and RPC. They are read from the descriptors compiled into the Go module k8s.io/cri-api, so no parser of ours is
# involved. Needs go; run it when the CRI's version changes.
#
# Usage: hack/cri-interface.sh [VERSION]      (default v0.36.0)
set -euo pipefail

version=${1:-v0.36.0}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/main.go" <<'GO'
package main

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	v1 "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func kind(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return string(f.Message().FullName())
	case protoreflect.EnumKind:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

func field(f protoreflect.FieldDescriptor) {
	label, typ := "single", kind(f)
	if f.IsMap() {
		label, typ = "map", kind(f.MapKey())+","+kind(f.MapValue())
	} else if f.IsList() {
		label = "repeated"
	}
	flags := ""
	if f.Options().(*descriptorpb.FieldOptions).GetDeprecated() {
		flags = " deprecated"
	}
	fmt.Printf("field %s.%s %d %s %s%s\n", f.Parent().FullName(), f.Name(), f.Number(), label, typ, flags)
}

func enums(all protoreflect.EnumDescriptors) {
	for i := 0; i < all.Len(); i++ {
		values := all.Get(i).Values()
		for j := 0; j < values.Len(); j++ {
			fmt.Printf("value %s.%s %d\n", all.Get(i).FullName(), values.Get(j).Name(), values.Get(j).Number())
		}
	}
}

func messages(all protoreflect.MessageDescriptors) {
	for i := 0; i < all.Len(); i++ {
		m := all.Get(i)
		if m.IsMapEntry() {
			continue
		}
		fmt.Printf("message %s\n", m.FullName())
		for j := 0; j < m.Fields().Len(); j++ {
			field(m.Fields().Get(j))
		}
		enums(m.Enums())
		messages(m.Messages())
	}
}

func direction(stream bool, of protoreflect.MessageDescriptor) string {
	if stream {
		return "stream:" + string(of.FullName())
	}
	return string(of.FullName())
}

func main() {
	file := (&v1.VersionRequest{}).ProtoReflect().Descriptor().ParentFile()
	for i := 0; i < file.Services().Len(); i++ {
		methods := file.Services().Get(i).Methods()
		for j := 0; j < methods.Len(); j++ {
			m := methods.Get(j)
			fmt.Printf("rpc %s %s %s\n", m.FullName(),
				direction(m.IsStreamingClient(), m.Input()), direction(m.IsStreamingServer(), m.Output()))
		}
	}
	messages(file.Messages())
	enums(file.Enums())
}
GO

cd "$work"
go mod init cri-interface > /dev/null 2>&1
go get "k8s.io/cri-api@$version" > go.log 2>&1 || { cat go.log >&2; exit 1; }
go mod tidy > go.log 2>&1 || { cat go.log >&2; exit 1; }
{
    echo "# The interface published as Go module k8s.io/cri-api $version, written by hack/cri-interface.sh."
    echo "# field MESSAGE.NAME NUMBER single|repeated|map TYPE [deprecated]; value ENUM.NAME NUMBER; rpc NAME REQUEST RESPONSE"
    go run . | LC_ALL=C sort
} > interface.txt
mv interface.txt "$here/proto/cri/v1/interface.txt"
