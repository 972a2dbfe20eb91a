//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod, in its folder; containers bind them.
//!
//! The kubelet mounts a `hosts` of its own into containers; this one serves those that are run without it.

use std::fmt::Write as _;
use std::path::Path;

use crate::engine::Settings;
use crate::spec::{Dns, NamespaceMode};
use crate::view::PodView;

/// Names of the files in the pod's folder, and where containers see them.
pub(crate) const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// The files of a pod that has its addresses, by name.
pub(crate) fn contents(settings: &Settings, pod: &PodView) -> [(&'static str, String); 3] {
    let spec = &pod.spec;
    let on_host = spec.namespaces.network == NamespaceMode::Node;
    let hostname = if spec.hostname.is_empty() && on_host { &settings.hostname } else { &spec.hostname };
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let hosts = if on_host { read(Path::new("/etc/hosts")) } else { hosts(&pod.addresses, hostname) };
    let resolv = if spec.dns == Dns::default() { read(&settings.resolv_conf) } else { resolv_conf(&spec.dns) };
    [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv)]
}

fn hosts(addresses: &[std::net::IpAddr], hostname: &str) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    if !hostname.is_empty() {
        for address in addresses {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}\t{hostname}");
        }
    }
    text
}

fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    let mut line = |keyword: &str, words: &str| {
        let _ = writeln!(text, "{keyword} {words}");
    };
    if !dns.searches.is_empty() {
        line("search", &dns.searches.join(" "));
    }
    dns.servers.iter().for_each(|server| line("nameserver", server));
    if !dns.options.is_empty() {
        line("options", &dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_names_and_servers_are_in_its_files() {
        let addresses = ["10.0.0.2".parse().unwrap()];
        assert!(hosts(&addresses, "web").ends_with("10.0.0.2\tweb\n"));
        assert!(!hosts(&addresses, "").contains("10.0.0.2"));
        let dns = Dns {
            servers: vec!["1.1.1.1".into(), "::1".into()],
            searches: vec!["a".into(), "b".into()],
            options: vec![],
        };
        assert_eq!(resolv_conf(&dns), "search a b\nnameserver 1.1.1.1\nnameserver ::1\n");
    }
}
