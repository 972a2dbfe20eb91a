//! Tables of what `hosts.toml` and its folders mean.

use super::*;

fn read(text: &str) -> Result<Vec<Host>, Mistake> {
    parse(text, Path::new("/etc/certs.d/docker.io/hosts.toml"), "docker.io")
}

fn mistake(text: &str) -> Mistake {
    read(text).unwrap_err()
}

#[test]
fn hosts_are_asked_in_the_order_of_the_file_and_the_server_last() {
    let hosts = read(
        r#"
server = "https://registry-1.docker.io"
[host."https://z.example"]
[host."http://a.example:5000"]
  capabilities = ["pull"]
[host."m.example/prefix"]
"#,
    )
    .unwrap();
    let shown: Vec<_> = hosts.iter().map(|host| format!("{}{}", host.origin, host.path)).collect();
    let expected = [
        "https://z.example/v2",
        "http://a.example:5000/v2",
        "https://m.example/prefix/v2",
        "https://registry-1.docker.io/v2",
    ];
    assert_eq!(shown, expected);
    assert_eq!(hosts[1].capabilities, Capabilities { pull: true, resolve: false });
    assert_eq!(hosts[0].capabilities, Capabilities::ALL);
    assert_eq!(hosts.iter().filter(|host| host.role == Role::Registry).count(), 1);
    let file = PathBuf::from("/etc/certs.d/docker.io/hosts.toml");
    assert_eq!(hosts[1].declared, Declared::Line { file: file.clone(), line: 4 });
    assert_eq!(hosts[3].declared, Declared::Line { file, line: 2 });
}

#[test]
fn without_a_server_the_registry_itself_is_asked_last() {
    let hosts = read("skip_verify = true\n[host.\"http://mirror:5000\"]\n").unwrap();
    assert_eq!(hosts[1].origin.to_string(), "https://registry-1.docker.io");
    assert!(hosts[1].trust.skip_verify, "settings before the first table are the registry's");
    assert!(!hosts[0].trust.skip_verify);
}

#[test]
fn a_table_for_the_registry_itself_describes_it_and_it_is_asked_once() {
    for (server, table) in [
        ("server = \"https://docker.io\"", "https://registry-1.docker.io"),
        ("", "https://docker.io"),
        ("server = \"http://cache:5000/\"", "http://cache:5000"),
    ] {
        let text =
            format!("{server}\n[host.{table:?}]\ncapabilities = [\"pull\"]\nca = \"a.pem\"\n[host.\"https://m\"]\n");
        let hosts = read(&text).unwrap();
        let roles: Vec<_> = hosts.iter().map(|host| host.role).collect();
        assert_eq!(roles, [Role::Registry, Role::Mirror], "{text}");
        assert_eq!((hosts[0].trust.ca.len(), hosts[0].capabilities), (1, Capabilities::ALL), "{text}");
    }
    // Asked in another way, it may answer otherwise.
    assert_eq!(read("skip_verify = true\n[host.\"https://docker.io\"]\n").unwrap().len(), 2);
    assert_eq!(read("[host.\"http://docker.io:443\"]\n").unwrap().len(), 2);
}

#[test]
fn every_documented_key_is_read() {
    let hosts = read(
        r#"
server = "https://docker.io"
[host."https://m/v2/upstream"]
  capabilities = ["pull", "Resolve", "push"]
  override_path = true
  ca = ["one.pem", "/abs/two.pem"]
  client = [["c.cert", "c.key"], ["both.pem", ""], "also.pem"]
  dial_timeout = "1m1.5s"
  proxy = "http://proxy:3128"
  [host."https://m/v2/upstream".header]
    x-one = "1"
    X-Two = ["a", "b"]
[host."https://n"]
  ca = "n.pem"
  client = "n-client.pem"
"#,
    )
    .unwrap();
    let folder = Path::new("/etc/certs.d/docker.io");
    let host = &hosts[0];
    assert_eq!(host.path, "/v2/upstream");
    assert_eq!(host.trust.ca, [folder.join("one.pem"), PathBuf::from("/abs/two.pem")]);
    let pair = |certificate: &str, key: &str| (folder.join(certificate), folder.join(key));
    assert_eq!(
        host.trust.client,
        [pair("c.cert", "c.key"), pair("both.pem", "both.pem"), pair("also.pem", "also.pem")]
    );
    assert_eq!(host.dial_timeout, Duration::from_millis(61_500));
    assert_eq!(host.proxy.as_ref().unwrap().to_string(), "http://proxy:3128");
    assert_eq!(host.headers.get("x-one").unwrap(), "1");
    assert_eq!(host.headers.get_all("x-two").iter().count(), 2);
    assert_eq!(hosts[1].trust.ca, [folder.join("n.pem")]);
    assert_eq!(hosts[1].trust.client, [pair("n-client.pem", "n-client.pem")]);
    assert_eq!(hosts[2].origin.to_string(), "https://registry-1.docker.io", "docker.io has no API of its own");
}

#[test]
fn a_mistake_names_its_line_and_the_nearest_key() {
    for (text, line, part) in [
        ("serverr = \"https://x\"", 1, "did you mean \"server\"?"),
        ("\n[host.\"https://x\"]\nskip-verify = true", 3, "did you mean \"skip_verify\"?"),
        ("[host.\"https://x\"]\nserver = \"https://y\"", 2, "unknown key \"server\""),
        ("[host.\"https://x\"]\nwhatever = 1", 2, "known are capabilities, ca"),
        ("[host.\"https://x\"]\ncapabilities = [\n \"pul\" ]", 3, "\"pul\" is not a capability"),
        ("[host.\"https://x\"]\ncapabilities = \"pull\"", 2, "must be a list"),
        ("[host.\"https://x\"]\nskip_verify = \"yes\"", 2, "must be true or false, not a value of type string"),
        ("[host.\"https://x\"]\nca = 1", 2, "\"ca\" must be a file or a list of files"),
        ("[host.\"https://x\"]\nclient = [[\"a\"]]", 2, "\"client\" must be"),
        ("[host.\"https://x\"]\ndial_timeout = \"10\"", 2, "must be a duration"),
        ("[host.\"https://x\"]\nproxy = \"socks5://p:1\"", 2, "socks5"),
        ("\n[host.\"ftp://x\"]", 2, "neither http nor https"),
        ("[host.\"https://user:pass@x\"]", 1, "user name or password"),
        ("a = 1\nb = ", 2, ""),
        ("host = 1", 1, "\"host\" must be a table"),
        ("[host.\"https://x\"]\n[host.\"https://x\".header]\n\"a b\" = \"c\"", 3, "names no header"),
    ] {
        let mistake = mistake(text);
        assert_eq!(mistake.line, line, "{text:?}: {}", mistake.what);
        assert!(mistake.what.contains(part), "{text:?}: {}", mistake.what);
    }
}

#[test]
fn the_number_of_hosts_is_bounded() {
    let text: String = (0..limits::HOSTS_MAX).map(|at| format!("[host.\"https://h{at}\"]\n")).collect();
    assert!(mistake(&text).what.contains("more than the 63"));
}

#[test]
fn the_folder_of_a_registry_is_found_in_three_spellings_and_by_default() {
    let root = tempfile::tempdir().unwrap();
    let path = Some(root.path());
    let write = |folder: &str, server: &str| {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
        std::fs::write(root.path().join(folder).join("hosts.toml"), format!("server = {server:?}")).unwrap();
    };
    let first = |registry: &str| lookup(path, registry).unwrap().hosts[0].origin.to_string();
    assert_eq!(first("r.example:5000"), "https://r.example:5000");
    write("_default", "http://default");
    assert_eq!(first("r.example:5000"), "http://default");
    write("r.example:5000", "http://colon");
    assert_eq!(first("r.example:5000"), "http://colon");
    write("r.example_5000_", "http://underscores");
    assert_eq!(first("r.example:5000"), "http://underscores");
    assert_eq!(first("r.example"), "http://default");
    write("[::1]_5000_", "http://six");
    assert_eq!(first("[::1]:5000"), "http://six");
    assert_eq!(lookup(path, "q:1").unwrap().absent.len(), 2);
}

#[test]
fn certificates_in_a_folder_without_a_file_are_the_registrys() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("r.example");
    std::fs::create_dir(&folder).unwrap();
    for file in ["ca.crt", "client.cert", "client.key", "readme"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    let hosts = lookup(Some(root.path()), "r.example").unwrap().hosts;
    assert_eq!(hosts[0].trust.ca, [folder.join("ca.crt")]);
    assert_eq!(hosts[0].trust.client, [(folder.join("client.cert"), folder.join("client.key"))]);
    assert_eq!(hosts[0].origin.to_string(), "https://r.example");
}

#[test]
fn only_a_registry_on_this_machine_is_asked_in_the_clear_unbidden() {
    let shown = |registry: &str| -> Vec<String> {
        let hosts = lookup(None, registry).unwrap().hosts;
        hosts.iter().map(|host| format!("{}{}", host.origin, if host.trust.skip_verify { "?" } else { "" })).collect()
    };
    for (registry, expected) in [
        ("docker.io", vec!["https://registry-1.docker.io"]),
        ("r.example:5000", vec!["https://r.example:5000"]),
        ("localhost:5000", vec!["https://localhost:5000?", "http://localhost:5000"]),
        ("127.0.0.1:5000", vec!["https://127.0.0.1:5000?", "http://127.0.0.1:5000"]),
        ("[::1]:5000", vec!["https://[::1]:5000?", "http://[::1]:5000"]),
        ("localhost:80", vec!["http://localhost"]),
        ("localhost", vec!["https://localhost?"]),
        ("localhost.example:5000", vec!["https://localhost.example:5000"]),
        ("10.0.0.1:5000", vec!["https://10.0.0.1:5000"]),
    ] {
        assert_eq!(shown(registry), expected, "{registry}");
    }
}

#[test]
fn mirrors_are_told_which_registry_they_stand_for() {
    for (origin, registry, needed) in [
        ("https://registry-1.docker.io", "docker.io", false),
        ("https://mirror", "docker.io", true),
        ("http://127.0.0.1:5000", "docker.io", true),
        ("https://r.example:5000", "r.example:5000", false),
        ("http://r.example:5000", "r.example:5000", false),
        ("https://r.example:5001", "r.example:5000", true),
        ("unix:///run/m.sock", "docker.io", true),
    ] {
        assert_eq!(needs_namespace(&Url::parse(origin).unwrap().origin, registry), needed, "{origin} {registry}");
    }
}
