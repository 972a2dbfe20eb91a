//! What files and flags are accepted, and the exact words for those that are not.

use super::*;

fn load(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    file::apply(Path::new("/etc/c.toml"), text, &mut config).map_err(|error| error.to_string())?;
    Ok(config)
}

fn flag(name: &str, text: &str) -> Result<Config, String> {
    let key = KEYS.iter().find(|key| key.name == name).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    Config::load(Some(file.path()), &[(key, text.to_owned())]).map_err(|error| error.to_string())
}

#[test]
fn a_file_sets_what_it_names_and_nothing_else() {
    let config = load(
        r#"
root = "/srv/cradle"
[network]
bridge = "br7"
subnets = ["10.7.0.0/16", "10.8.0.0/24"]
[images]
parallel_layers = 0x9
pinned = ["registry.example/base:*"]
progress_timeout = "2m"
"#,
    )
    .unwrap();
    assert_eq!(Config::default().network.subnets.len(), 1);
    let mut expected = Config { root: "/srv/cradle".into(), ..Config::default() };
    expected.network.bridge = Setting::from_value(Value::Text("br7".to_owned())).unwrap();
    expected.network.subnets = vec!["10.7.0.0/16".parse().unwrap(), "10.8.0.0/24".parse().unwrap()];
    expected.images.parallel_layers = Bounded(9);
    expected.images.pinned = vec!["registry.example/base:*".to_owned()];
    expected.images.progress_timeout = Duration::from_secs(120);
    assert_eq!(config, expected);
    assert_eq!(
        config.differences(&Config::default()),
        [
            "root",
            "images.parallel_layers",
            "images.pinned",
            "images.progress_timeout",
            "network.bridge",
            "network.subnets"
        ]
    );
}

#[test]
fn an_error_names_file_line_key_and_what_is_wrong() {
    for (text, expected) in [
        ("roots = \"/x\"", "/etc/c.toml:1: unknown key \"roots\"; the nearest known one is \"root\""),
        (
            "root = \"/x\"\n\n[network]\nbrigde = \"x\"\n",
            "/etc/c.toml:4: unknown key \"network.brigde\"; the nearest known one is \"network.bridge\"",
        ),
        ("[netwrok]\nbridge = \"x\"", "/etc/c.toml:1: unknown key \"netwrok\"; the nearest known one is \"network\""),
        ("network = 1", "/etc/c.toml:1: network: it is a table, not a key"),
        ("root = 1", "/etc/c.toml:1: root: it is a number, and must be a text"),
        ("root = \"x\"", "/etc/c.toml:1: root: \"x\" must be an absolute path"),
        ("root = 1.5", "/etc/c.toml:1: root: there is no key whose value is a float"),
        ("[images]\nkeep_blobs = 1", "/etc/c.toml:2: images.keep_blobs: it is a number, and must be true or false"),
        ("[images]\nparallel_layers = 0", "/etc/c.toml:2: images.parallel_layers: 0 must be between 1 and 32"),
        ("[images]\npinned = [1]", "/etc/c.toml:2: images.pinned: its list must hold texts, and holds a integer"),
        (
            "[images]\nprogress_timeout = \"5\"",
            "/etc/c.toml:2: images.progress_timeout: \"5\" must be a time, as \"90s\", \"5m\" or \"1h\"",
        ),
        (
            "[network]\nsubnets = [\"10.0.0.1/8\"]",
            "/etc/c.toml:2: network.subnets: subnet 10.0.0.1/8 has bits set behind its prefix (did you mean 10.0.0.0/8?)",
        ),
        ("[network]\nsubnets = []", "/etc/c.toml:2: network.subnets: there must be at least one subnet"),
        (
            "[streaming]\naddress = \"localhost\"",
            "/etc/c.toml:2: streaming.address: \"localhost\" must be an IP address",
        ),
        (
            "[metrics]\naddress = \"localhost:1338\"",
            "/etc/c.toml:2: metrics.address: \"localhost:1338\" must be an IP address and a port, as \"127.0.0.1:1338\"",
        ),
        ("[log]\nformat = \"xml\"", "/etc/c.toml:2: log.format: \"xml\" must be \"text\" or \"json\""),
        (
            "[cgroup]\nroot = \"/a/../b\"",
            "/etc/c.toml:2: cgroup.root: \"/a/../b\" must be an absolute path within the control groups, as \"/cradle\"",
        ),
    ] {
        assert_eq!(load(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn of_two_errors_the_topmost_is_told() {
    let error = load("state = 1\nroot = 1").unwrap_err();
    assert!(error.starts_with("/etc/c.toml:1: state:"), "{error}");
}

#[test]
fn broken_toml_names_the_line() {
    let error = load("root = \"/x\"\nstate = \n").unwrap_err();
    assert!(error.starts_with("/etc/c.toml:2: "), "{error}");
    let twice = load("root = \"/x\"\nroot = \"/y\"\n").unwrap_err();
    assert!(twice.starts_with("/etc/c.toml:2: "), "{twice}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let error = Config::load(Some(Path::new("/nonexistent/c.toml")), &[]).unwrap_err();
    let chain = cradle_domain::failure::Chain(&error).to_string();
    assert_eq!(chain, "configuration: cannot read /nonexistent/c.toml: No such file or directory (os error 2)");
}

#[test]
fn every_key_is_a_flag_that_counts_more_than_the_file() {
    assert_eq!(flag("network.subnets", "10.1.0.0/16, 10.2.0.0/16").unwrap().network.subnets.len(), 2);
    assert_eq!(flag("images.parallel_layers", "9").unwrap().images.parallel_layers, Bounded(9));
    assert!(!flag("network.masquerade", "false").unwrap().network.masquerade);
    assert_eq!(flag("metrics.address", "[::1]:1338").unwrap().metrics.address, "[::1]:1338".parse().ok());
    assert_eq!(flag("metrics.address", "").unwrap().metrics.address, None);
    assert_eq!(flag("root", "x"), Err("flag --root: \"x\" must be an absolute path".to_owned()));
    assert_eq!(
        flag("images.keep_blobs", "yes"),
        Err("flag --images.keep_blobs: \"yes\" must be true or false".to_owned())
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "root = \"/from-file\"\nstate = \"/from-file\"").unwrap();
    let config = Config::load(Some(file.path()), &[(&KEYS[0], "/from-flag".to_owned())]).unwrap();
    assert_eq!((config.root, config.state), (PathBuf::from("/from-flag"), PathBuf::from("/from-file")));
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = Config::load(Some(file.path()), &[]).unwrap();
    assert!(config.shim.ends_with("cradle-shim") && config.shim.is_absolute());
    assert_eq!(load(&config.to_toml()), Ok(config));
}

#[test]
fn the_sample_file_has_every_key_with_its_default() {
    let sample = include_str!("../../../../deploy/config.toml");
    assert_eq!(load(sample), Ok(Config::default()));
    for key in KEYS {
        let (section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        let section = sample.split("\n[").find(|text| section.is_empty() || text.starts_with(&format!("{section}]")));
        let says = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{name} = "));
        assert!(section.unwrap().lines().any(says), "{}", key.name);
    }
}

#[test]
fn root_and_state_are_two_folders() {
    assert_eq!(
        flag("root", "/run/cradle"),
        Err("root and state are both /run/cradle, and must be two folders".to_owned())
    );
}

#[test]
fn a_certificate_has_its_key() {
    let half = "streaming.tls_certificate and streaming.tls_key: one is set, and the other is not";
    assert_eq!(flag("streaming.tls_key", "/etc/cradle/key.pem"), Err(half.to_owned()));
}
