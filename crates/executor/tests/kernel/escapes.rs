//! Hostile images and volumes: nothing of the host is reached through them.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::world::{World, capabilities, mount};
use crate::{Test, tests};

pub const TESTS: &[Test] = tests![escapes:
    mount_points_over_links_stay_in_the_root,
    proc_is_not_mounted_over_a_link,
    a_masked_path_over_a_link_masks_in_the_container,
    the_working_directory_over_a_magic_link_is_refused,
    a_null_of_the_image_covers_nothing,
    the_hosts_tree_is_gone_even_for_root,
];

fn mount_points_over_links_stay_in_the_root() {
    let world = World::new();
    let outside = world.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let volume = world.folder.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("mine"), "").unwrap();
    symlink(&outside, world.root().join("absolute")).unwrap();
    symlink("../../../../../../../../../..", world.root().join("up")).unwrap();
    symlink("/proc/self/root", world.root().join("magic")).unwrap();
    let output = world.run("ls /absolute /up/made /data", |spec| {
        for at in ["/absolute/made", "/up/made", "/data/../../../data"] {
            mount(spec, json!({ "destination": at, "source": volume, "options": ["bind"] }));
        }
    });
    assert_eq!(output.stdout.matches("mine").count(), 2, "{} {}", output.stdout, output.stderr);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let text = world.refusal("true", |spec| {
        mount(spec, json!({ "destination": "/magic/x", "source": volume, "options": ["bind"] }));
    });
    assert!(text.ends_with("mount point: Too many symbolic links encountered"), "{text}");
}

fn proc_is_not_mounted_over_a_link() {
    let world = World::new();
    std::fs::remove_dir(world.root().join("proc")).unwrap();
    std::fs::create_dir(world.root().join("real")).unwrap();
    symlink("/real", world.root().join("proc")).unwrap();
    let text = world.refusal("true", |_| {});
    assert!(text.ends_with("the mount point must not be a symbolic link"), "{text}");
}

fn a_masked_path_over_a_link_masks_in_the_container() {
    let world = World::new();
    let outside = world.folder.path().join("outside");
    std::fs::write(&outside, "host").unwrap();
    symlink(&outside, world.root().join("escape")).unwrap();
    std::fs::write(world.root().join("etc/secret"), "secret").unwrap();
    symlink("/etc/secret", world.root().join("inside")).unwrap();
    let output = world.run("cat /etc/secret | wc -c", |spec| {
        spec["linux"]["maskedPaths"] = json!(["/escape", "/inside"]);
    });
    assert_eq!(output.stdout, "0\n");
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "host");
}

fn the_working_directory_over_a_magic_link_is_refused() {
    let world = World::new();
    for (number, magic) in ["/proc/self/fd/7", "/proc/self/root/..", "/proc/1/cwd"].into_iter().enumerate() {
        let link = format!("/cwd-{number}");
        symlink(magic, world.root().join(link.trim_start_matches('/'))).unwrap();
        let text = world.refusal("true", |spec| spec["process"]["cwd"] = json!(link));
        assert!(text.contains(&link), "{text}");
        let text = world.refusal("true", |spec| spec["process"]["cwd"] = json!(magic));
        assert!(text.contains(magic), "{text}");
    }
}

fn a_null_of_the_image_covers_nothing() {
    let world = World::new();
    let dev = world.folder.path().join("dev");
    std::fs::create_dir(&dev).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    let output = world.run("stat -c '%t:%T' /proc/meminfo; cat /proc/meminfo", |spec| {
        spec["linux"]["maskedPaths"] = json!(["/proc/meminfo"]);
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        mount(spec, json!({ "destination": "/dev", "source": dev, "options": ["bind"] }));
    });
    assert_eq!(output.stdout, "1:3\n", "{}", output.stderr);
}

fn the_hosts_tree_is_gone_even_for_root() {
    let world = World::new();
    let marker = world.folder.path().join("marker");
    std::fs::write(&marker, "").unwrap();
    let script = format!(
        "cd /../../..; ls -d {0} ../{0} /proc/1/root/{0} /proc/1/cwd/../{0}; cat /proc/1/mountinfo",
        marker.display()
    );
    let output = world.run(&script, |spec| {
        spec["process"]["capabilities"] = capabilities(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"]);
    });
    assert!(!output.stdout.contains("marker\n"), "{} {}", output.stdout, output.stderr);
    // Nothing is mounted that the specification does not name, neither above nor beneath the root.
    assert_eq!(output.stdout.lines().filter(|line| line.contains(" / / ")).count(), 0, "{}", output.stdout);
}
