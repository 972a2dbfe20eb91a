//! Values: what the file and the flags can hold, and the types that they become.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::filter::Targets;

use cradle_domain::Classified;
use cradle_network::bridge::subnet::{Subnet, SubnetError};

/// A value as it is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<String>),
}

impl Value {
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Boolean(flag) => (*flag).into(),
            Value::List(items) => items.as_slice().into(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list of texts",
        }
    }

    fn is_no(&self, expected: &str) -> String {
        format!("it is {}, and must be {expected}", self.kind())
    }
}

/// Prints it as TOML writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        match self {
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Boolean(flag) => write!(f, "{flag}"),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// A type that can be set.
pub trait Setting: Sized {
    /// What stands for a value in the help.
    const PLACEHOLDER: &'static str;

    /// Reads a value; an error says what it must be.
    fn from_value(value: Value) -> Result<Self, String>;

    fn to_value(&self) -> Value;

    /// Reads a flag's text as the value that it stands for.
    fn read_flag(text: &str) -> Result<Value, String> {
        Ok(Value::Text(text.to_owned()))
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(other.is_no("a text")),
    }
}

impl Setting for PathBuf {
    const PLACEHOLDER: &'static str = "PATH";

    fn from_value(value: Value) -> Result<Self, String> {
        let text = text(value)?;
        if text.starts_with('/') { Ok(text.into()) } else { Err(format!("{text:?} must be an absolute path")) }
    }

    fn to_value(&self) -> Value {
        Value::Text(self.display().to_string())
    }
}

/// Empty is none.
impl Setting for Option<PathBuf> {
    const PLACEHOLDER: &'static str = "PATH";

    fn from_value(value: Value) -> Result<Self, String> {
        if value == Value::Text(String::new()) { Ok(None) } else { PathBuf::from_value(value).map(Some) }
    }

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Text(String::new()), Setting::to_value)
    }
}

impl Setting for bool {
    const PLACEHOLDER: &'static str = "true|false";

    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Boolean(flag) => Ok(flag),
            other => Err(other.is_no("true or false")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Boolean(*self)
    }

    fn read_flag(text: &str) -> Result<Value, String> {
        text.parse().map(Value::Boolean).map_err(|_| format!("{text:?} must be true or false"))
    }
}

impl Setting for IpAddr {
    const PLACEHOLDER: &'static str = "ADDRESS";

    fn from_value(value: Value) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| format!("{text:?} must be an IP address"))
    }

    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }
}

/// Empty is none.
impl Setting for Option<SocketAddr> {
    const PLACEHOLDER: &'static str = "ADDRESS:PORT";

    fn from_value(value: Value) -> Result<Self, String> {
        let text = text(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text.parse();
        parsed.map(Some).map_err(|_| format!("{text:?} must be an IP address and a port, as \"127.0.0.1:1338\""))
    }

    fn to_value(&self) -> Value {
        Value::Text(self.map_or(String::new(), |address| address.to_string()))
    }
}

/// A number within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Setting for Bounded<MIN, MAX> {
    const PLACEHOLDER: &'static str = "NUMBER";

    fn from_value(value: Value) -> Result<Self, String> {
        let Value::Integer(number) = value else { return Err(value.is_no("a number")) };
        match u64::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Bounded(number)),
            _ => Err(format!("{number} must be between {MIN} and {MAX}")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Integer(i64::try_from(self.0).unwrap_or(i64::MAX))
    }

    fn read_flag(text: &str) -> Result<Value, String> {
        text.parse().map(Value::Integer).map_err(|_| format!("{text:?} must be a number"))
    }
}

/// Texts; a flag has them separated by commas.
impl Setting for Vec<String> {
    const PLACEHOLDER: &'static str = "TEXT,…";

    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::List(items) => Ok(items),
            other => Err(other.is_no("a list of texts")),
        }
    }

    fn to_value(&self) -> Value {
        Value::List(self.clone())
    }

    fn read_flag(text: &str) -> Result<Value, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        Ok(Value::List(items.map(str::to_owned).collect()))
    }
}

/// A time, as "90s", "5m" or "1h".
impl Setting for Duration {
    const PLACEHOLDER: &'static str = "TIME";

    fn from_value(value: Value) -> Result<Self, String> {
        let text = text(value)?;
        let (number, seconds) = match text.as_bytes().last() {
            Some(b's') => (&text[..text.len() - 1], 1),
            Some(b'm') => (&text[..text.len() - 1], 60),
            Some(b'h') => (&text[..text.len() - 1], 3600),
            _ => ("", 0),
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)) {
            Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
            _ => Err(format!("{text:?} must be a time, as \"90s\", \"5m\" or \"1h\"")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Text(format!("{}s", self.as_secs()))
    }
}

/// Subnets; what one is, is the network's to say.
impl Setting for Vec<Subnet> {
    const PLACEHOLDER: &'static str = "CIDR,…";

    fn from_value(value: Value) -> Result<Self, String> {
        let subnets: Vec<Subnet> =
            Vec::<String>::from_value(value)?.iter().map(|item| subnet(item)).collect::<Result<_, _>>()?;
        if subnets.is_empty() { Err("there must be at least one subnet".to_owned()) } else { Ok(subnets) }
    }

    fn to_value(&self) -> Value {
        Value::List(self.iter().map(ToString::to_string).collect())
    }

    fn read_flag(text: &str) -> Result<Value, String> {
        Vec::<String>::read_flag(text)
    }
}

fn subnet(text: &str) -> Result<Subnet, String> {
    text.parse().map_err(|error: SubnetError| match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    })
}

/// A name that the kernel accepts for a network interface (dev_valid_name in net/core/dev.c).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    const MAX_BYTES: usize = 15;

    pub fn cradle0() -> Self {
        InterfaceName("cradle0".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for InterfaceName {
    const PLACEHOLDER: &'static str = "NAME";

    fn from_value(value: Value) -> Result<Self, String> {
        let name = text(value)?;
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let plain = !name.is_empty() && name.bytes().all(letter) && name != "." && name != "..";
        if plain && name.len() <= Self::MAX_BYTES {
            Ok(InterfaceName(name))
        } else {
            let form = format!("1 to {} letters, digits, '-', '_' and '.'", Self::MAX_BYTES);
            Err(format!("{name:?} is no name of a network interface: {form}"))
        }
    }

    fn to_value(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// A path within the control group hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath(String);

impl CgroupPath {
    pub fn cradle() -> Self {
        CgroupPath("/cradle".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for CgroupPath {
    const PLACEHOLDER: &'static str = "PATH";

    fn from_value(value: Value) -> Result<Self, String> {
        let path = text(value)?;
        let parts = path.strip_prefix('/').unwrap_or_default();
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
        if parts.split('/').all(plain) {
            Ok(CgroupPath(path))
        } else {
            Err(format!("{path:?} must be an absolute path within the control groups, as \"/cradle\""))
        }
    }

    fn to_value(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

impl Setting for Format {
    const PLACEHOLDER: &'static str = "text|json";

    fn from_value(value: Value) -> Result<Self, String> {
        match text(value)?.as_str() {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            other => Err(format!("{other:?} must be \"text\" or \"json\"")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Text(if *self == Format::Text { "text" } else { "json" }.to_owned())
    }
}

/// What is logged: directives of `tracing_subscriber::filter::Targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    pub fn info() -> Self {
        LogFilter("info".to_owned())
    }

    pub fn targets(&self) -> Targets {
        // The text was read once already.
        self.0.parse().unwrap_or_default()
    }
}

impl Setting for LogFilter {
    const PLACEHOLDER: &'static str = "LEVEL";

    fn from_value(value: Value) -> Result<Self, String> {
        let directives = text(value)?;
        match directives.parse::<Targets>() {
            Ok(_) => Ok(LogFilter(directives)),
            Err(error) => Err(format!("{directives:?} is no log filter: {error}")),
        }
    }

    fn to_value(&self) -> Value {
        Value::Text(self.0.clone())
    }
}
