//! Compares `proto/cri/v1/api.proto` with the published interface, `interface.txt` (written by `hack/cri-interface.sh`
//! from the descriptors compiled into the Go module k8s.io/cri-api).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// Facts about an interface, one a line, in the form that `interface.txt` states in its head.
type Facts = BTreeSet<String>;

#[test]
fn every_message_field_value_and_rpc_is_as_published() -> Result<()> {
    let path = root().join("proto/cri/v1/interface.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let published: Facts = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let ours = facts(&our_file()?)?;
    let rpcs = ours.iter().filter(|fact| fact.starts_with("rpc ")).count();
    assert_eq!(rpcs, 41, "the interface of Kubernetes 1.36 has 41 RPCs");
    let differences: Vec<String> = published
        .difference(&ours)
        .map(|fact| format!("published: {fact}"))
        .chain(ours.difference(&published).map(|fact| format!("ours:      {fact}")))
        .collect();
    assert!(differences.is_empty(), "api.proto differs from the published interface:\n{}", differences.join("\n"));
    Ok(())
}

#[test]
fn a_changed_number_type_or_name_is_a_different_fact() -> Result<()> {
    let file = our_file()?;
    let original = facts(&file)?;
    let changes: [fn(&mut FieldDescriptorProto); 4] = [
        |field| field.number = Some(99),
        |field| field.name = Some("other".to_owned()),
        |field| field.r#type = Some(Type::Bytes.into()),
        |field| field.label = Some(Label::Repeated.into()),
    ];
    for change in changes {
        let mut changed = file.clone();
        let field = changed.message_type.iter_mut().find_map(|message| message.field.first_mut());
        change(field.context("the first message has no field")?);
        assert_ne!(facts(&changed)?, original);
    }
    Ok(())
}

fn our_file() -> Result<FileDescriptorProto> {
    codegen::descriptors(&root())?.file.pop().context("no file was compiled")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn facts(file: &FileDescriptorProto) -> Result<Facts> {
    let mut facts = Facts::new();
    for service in &file.service {
        for method in &service.method {
            let request = side(method.client_streaming(), method.input_type());
            let response = side(method.server_streaming(), method.output_type());
            facts.insert(format!("rpc {}.{}.{} {request} {response}", file.package(), service.name(), method.name()));
        }
    }
    for message in &file.message_type {
        message_facts(file.package(), message, &mut facts)?;
    }
    for values in &file.enum_type {
        enum_facts(file.package(), values, &mut facts);
    }
    Ok(facts)
}

fn side(streaming: bool, message: &str) -> String {
    let name = message.trim_start_matches('.');
    if streaming { format!("stream:{name}") } else { name.to_owned() }
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut Facts) -> Result<()> {
    let name = format!("{scope}.{}", message.name());
    facts.insert(format!("message {name}"));
    for field in &message.field {
        facts.insert(field_fact(&name, field, message)?);
    }
    for values in &message.enum_type {
        enum_facts(&name, values, facts);
    }
    for nested in message.nested_type.iter().filter(|nested| !is_map_entry(nested)) {
        message_facts(&name, nested, facts)?;
    }
    Ok(())
}

fn field_fact(scope: &str, field: &FieldDescriptorProto, message: &DescriptorProto) -> Result<String> {
    let entry_name = field.type_name().rsplit('.').next().unwrap_or_default();
    let entry = message.nested_type.iter().find(|nested| is_map_entry(nested) && nested.name() == entry_name);
    let form = match (entry.map(|entry| &entry.field[..]), field.label()) {
        (Some([key, value]), _) => format!("map {},{}", kind(key)?, kind(value)?),
        (_, Label::Repeated) => format!("repeated {}", kind(field)?),
        _ => format!("single {}", kind(field)?),
    };
    let deprecated =
        if field.options.as_ref().is_some_and(|options| options.deprecated()) { " deprecated" } else { "" };
    Ok(format!("field {scope}.{} {} {form}{deprecated}", field.name(), field.number()))
}

fn kind(field: &FieldDescriptorProto) -> Result<&str> {
    Ok(match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.'),
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Bool => "bool",
        Type::Double => "double",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Uint32 => "uint32",
        Type::Uint64 => "uint64",
        other => anyhow::bail!("{}: the CRI has no field of type {other:?} so far", field.name()),
    })
}

fn enum_facts(scope: &str, values: &EnumDescriptorProto, facts: &mut Facts) {
    for value in &values.value {
        facts.insert(format!("value {scope}.{}.{} {}", values.name(), value.name(), value.number()));
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}
