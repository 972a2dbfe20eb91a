//! Fuzz target: what may stand in the daemon's file of configuration.

use super::Config;

/// A file of configuration. What is understood is written and understood again as the same.
pub fn file(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("cradle-fuzz-config-{}", std::process::id()));
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let loaded = Config::load(Some(&path), &[]);
        std::fs::remove_file(&path).unwrap();
        loaded
    };
    match load(data) {
        Ok(config) => {
            let again = load(config.to_toml().as_bytes()).unwrap();
            assert_eq!(again, config);
            assert!(config.differences(&again).is_empty());
            assert!(config.to_json().is_object());
        }
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            assert!(!cause.to_string().is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    #[test]
    fn configurations_do_no_harm() {
        let defaults = super::Config { shim: "/usr/local/bin/cradle-shim".into(), ..Default::default() };
        let defaults = defaults.to_toml().into_bytes();
        let sample = include_bytes!("../../../../deploy/config.toml").to_vec();
        let others = [
            "root = \"/srv/cradle\"\n[network]\nbridge = \"br7\"\nsubnets = [\"10.7.0.0/16\", \"10.8.0.0/24\"]\n",
            "[images]\nparallel_layers = 0x8\npinned = [\"registry.example/base:*\"]\nprogress_timeout = \"2m\"\n",
            "log.level = \"info,cradle_engine=debug\"\nstreaming = { address = \"::1\", port = 10010 }\n",
            "[imagse]\nparallel_layers = 3\n",
        ];
        let samples = [defaults, sample].into_iter().chain(others.map(|text| text.as_bytes().to_vec()));
        Replay::new("daemon_config").mutants(2000).run(samples, super::file);
    }
}
