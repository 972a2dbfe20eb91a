//! Reads a `hosts.toml`, strictly: an unknown key, a value of the wrong kind or a URL that makes no sense is an error that
//! names the line, and the nearest known key where there is one.
//!
//! The keys are those of containerd's documentation (docs/hosts.md there). The keys before the first table belong to the
//! registry itself, which is asked last, unless a table names it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ApiPath, Capabilities, Declared, Host, Role, Trust, host_url, registry_itself};
use crate::limits;
use crate::proxy::Proxy;

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

const HOST_KEYS: [&str; 8] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout", "proxy"];
const FILE_KEYS: [&str; 2] = ["server", "host"];

/// Reads `text`, the content of `file`, for `registry`; file names in it are relative to the file's folder.
pub fn parse(text: &str, file: &Path, registry: &str) -> Result<Vec<Host>, Mistake> {
    let reader = Reader { text, file, folder: file.parent().unwrap_or(Path::new("/")) };
    let document = DeTable::parse(text)
        .map_err(|error| reader.mistake(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
    let mut server = None;
    let mut tables = Vec::new();
    let mut own = None;
    for (key, value) in in_order(document.get_ref()) {
        match key.get_ref().as_ref() {
            "server" => server = Some((reader.string(value, "server")?, key.span().start)),
            "host" => tables = in_order(reader.table(value, "host")?),
            _ => {
                let known = [FILE_KEYS.as_slice(), HOST_KEYS.as_slice()].concat();
                reader.setting(own.get_or_insert_default(), key, value, &known)?;
            }
        }
    }
    if tables.len() >= limits::HOSTS_MAX {
        let most = limits::HOSTS_MAX - 1;
        return Err(reader.mistake(0, format!("{} hosts are more than the {most} that are possible", tables.len())));
    }
    let mut hosts = Vec::with_capacity(tables.len() + 1);
    for (key, value) in tables {
        let mut settings = Settings::default();
        for (name, value) in in_order(reader.table(value, "host")?) {
            reader.setting(&mut settings, name, value, &HOST_KEYS)?;
        }
        hosts.push(reader.host(key.get_ref(), key.span().start, settings, Role::Mirror)?);
    }
    let is_described_by_table = own.is_none();
    let own = own.unwrap_or_default();
    let registry = match server {
        Some((server, at)) if !server.is_empty() => reader.host(server, at, own, Role::Registry)?,
        _ => own.applied(registry_itself(registry, Declared::Implied { file: file.to_owned() })),
    };
    let is_registry = |host: &&mut Host| host.origin == registry.origin && host.path == registry.path;
    match hosts.iter_mut().find(is_registry).filter(|_| is_described_by_table) {
        // A table for the registry itself says how, and when, that is asked; to ask it again would bring nothing new.
        Some(host) => (host.role, host.capabilities) = (Role::Registry, registry.capabilities),
        None => hosts.push(registry),
    }
    Ok(hosts)
}

/// What a table says about its host.
#[derive(Default)]
struct Settings {
    capabilities: Option<Capabilities>,
    trust: Trust,
    headers: HeaderMap,
    override_path: bool,
    dial_timeout: Option<Duration>,
    proxy: Option<Proxy>,
}

impl Settings {
    fn applied(self, host: Host) -> Host {
        Host {
            capabilities: self.capabilities.unwrap_or(host.capabilities),
            trust: self.trust,
            headers: self.headers,
            dial_timeout: self.dial_timeout.unwrap_or(host.dial_timeout),
            proxy: self.proxy,
            ..host
        }
    }
}

type Entry<'t, 'i> = (&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>);

/// The entries of a table as they stand in the file; the parser sorts them by name.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
    folder: &'a Path,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }

    fn mistake(&self, at: usize, what: String) -> Mistake {
        Mistake { line: self.line(at), what }
    }

    fn wrong<T>(&self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) -> Result<T, Mistake> {
        let found = value.get_ref().type_str();
        Err(self.mistake(value.span().start, format!("{key:?} must be {expected}, not a value of type {found}")))
    }

    fn host(&self, url: &str, at: usize, settings: Settings, role: Role) -> Result<Host, Mistake> {
        let path = if settings.override_path { ApiPath::Given } else { ApiPath::Standard };
        let (origin, path) = host_url(url, path).map_err(|error| self.mistake(at, error.to_string()))?;
        let declared = Declared::Line { file: self.file.to_owned(), line: self.line(at) };
        Ok(settings.applied(Host { path, ..Host::with_defaults(origin, role, declared) }))
    }

    fn setting(
        &self,
        settings: &mut Settings,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        known: &[&str],
    ) -> Result<(), Mistake> {
        match key.get_ref().as_ref() {
            "capabilities" => settings.capabilities = Some(self.capabilities(value)?),
            "ca" => settings.trust.ca = self.files(value, "ca")?,
            "client" => settings.trust.client = self.client(value)?,
            "skip_verify" => settings.trust.skip_verify = self.boolean(value, "skip_verify")?,
            "header" => settings.headers = self.headers(value)?,
            "override_path" => settings.override_path = self.boolean(value, "override_path")?,
            "dial_timeout" => settings.dial_timeout = Some(self.duration(value, "dial_timeout")?),
            "proxy" => settings.proxy = Some(self.proxy(value)?),
            unknown => return Err(self.mistake(key.span().start, unknown_key(unknown, known))),
        }
        Ok(())
    }

    fn string<'v>(&self, value: &'v Spanned<DeValue<'_>>, key: &str) -> Result<&'v str, Mistake> {
        value.get_ref().as_str().map_or_else(|| self.wrong(value, key, "a string"), Ok)
    }

    fn boolean(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<bool, Mistake> {
        value.get_ref().as_bool().map_or_else(|| self.wrong(value, key, "true or false"), Ok)
    }

    fn table<'v, 'i>(&self, value: &'v Spanned<DeValue<'i>>, key: &str) -> Result<&'v DeTable<'i>, Mistake> {
        value.get_ref().as_table().map_or_else(|| self.wrong(value, key, "a table"), Ok)
    }

    fn capabilities(&self, value: &Spanned<DeValue<'_>>) -> Result<Capabilities, Mistake> {
        let Some(list) = value.get_ref().as_array() else {
            return self.wrong(value, "capabilities", "a list of \"pull\", \"resolve\" and \"push\"");
        };
        let mut capabilities = Capabilities { pull: false, resolve: false };
        for item in list.iter() {
            match self.string(item, "capabilities")?.to_ascii_lowercase().as_str() {
                "pull" => capabilities.pull = true,
                "resolve" => capabilities.resolve = true,
                // Nothing is pushed and no referrers are asked for here.
                "push" | "referrers" => (),
                other => {
                    let what = format!("{other:?} is not a capability: expected \"pull\", \"resolve\" or \"push\"");
                    return Err(self.mistake(item.span().start, what));
                }
            }
        }
        Ok(if list.is_empty() { Capabilities::ALL } else { capabilities })
    }

    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    fn files(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<Vec<PathBuf>, Mistake> {
        match value.get_ref() {
            DeValue::String(file) => Ok(vec![self.path(file)]),
            DeValue::Array(list) => list.iter().map(|item| Ok(self.path(self.string(item, key)?))).collect(),
            _ => self.wrong(value, key, "a file or a list of files"),
        }
    }

    fn client(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<(PathBuf, PathBuf)>, Mistake> {
        let expected = "a file, a list of files or a list of pairs of a certificate and a key";
        let both = |file: &str| (self.path(file), self.path(file));
        match value.get_ref() {
            DeValue::String(file) => Ok(vec![both(file)]),
            DeValue::Array(list) => list
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(file) => Ok(both(file)),
                    DeValue::Array(pair) => {
                        let mut parts = pair.iter();
                        let (Some(certificate), Some(key), None) = (parts.next(), parts.next(), parts.next()) else {
                            return self.wrong(item, "client", expected);
                        };
                        let certificate = self.string(certificate, "client")?;
                        let key =
                            Some(self.string(key, "client")?).filter(|key| !key.is_empty()).unwrap_or(certificate);
                        Ok((self.path(certificate), self.path(key)))
                    }
                    _ => self.wrong(item, "client", expected),
                })
                .collect(),
            _ => self.wrong(value, "client", expected),
        }
    }

    fn headers(&self, value: &Spanned<DeValue<'_>>) -> Result<HeaderMap, Mistake> {
        let mut headers = HeaderMap::new();
        for (key, value) in in_order(self.table(value, "header")?) {
            let name = key.get_ref().parse::<HeaderName>();
            let name =
                name.map_err(|_| self.mistake(key.span().start, format!("{:?} names no header", key.get_ref())))?;
            let add = |headers: &mut HeaderMap, item: &Spanned<DeValue<'_>>| {
                let text = HeaderValue::from_str(self.string(item, "header")?);
                let mut text =
                    text.map_err(|_| self.mistake(item.span().start, format!("no value of header {name}")))?;
                // It may be an authorization; then it must not appear in a log.
                text.set_sensitive(true);
                headers.append(name.clone(), text);
                Ok(())
            };
            match value.get_ref() {
                DeValue::Array(list) => list.iter().try_for_each(|item| add(&mut headers, item))?,
                _ => add(&mut headers, value)?,
            }
        }
        Ok(headers)
    }

    fn duration(&self, value: &Spanned<DeValue<'_>>, key: &str) -> Result<Duration, Mistake> {
        let text = self.string(value, key)?;
        let bad =
            || self.mistake(value.span().start, format!("{key:?} must be a duration such as \"1s\", not {text:?}"));
        duration(text).filter(|duration| !duration.is_zero()).ok_or_else(bad)
    }

    fn proxy(&self, value: &Spanned<DeValue<'_>>) -> Result<Proxy, Mistake> {
        Proxy::parse(self.string(value, "proxy")?).map_err(|error| self.mistake(value.span().start, error.to_string()))
    }
}

fn unknown_key(unknown: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|key| (distance(unknown, key), *key)).min();
    match nearest {
        Some((steps, key)) if steps <= 1 + key.len() / 4 => format!("unknown key {unknown:?}: did you mean {key:?}?"),
        _ => format!("unknown key {unknown:?}: known are {}", known.join(", ")),
    }
}

/// Insertions, removals and replacements that make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // A long key is no typing error of a short one.
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Reads a duration as Go writes it: `300ms`, `1.5s`, `1m30s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}
