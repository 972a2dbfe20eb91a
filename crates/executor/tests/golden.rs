//! Typical containers and the steps that they become.
//!
//! `golden/NAME.json` is an OCI specification and `golden/NAME.steps` what [`plan::container`] makes of it, on a machine
//! with cgroup v2, or v1 where the name begins with `v1-`, that grants everything, or less where the name has `-limited`;
//! on a copy of its image with the pod's owners where the name has `-shifted`.
//! `golden/NAME.exec.json` is an OCI process for [`plan::exec`] in the container `NAME`. `UPDATE_GOLDEN=1` writes the
//! steps anew; look at the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use cradle_domain::ContainerId;
use cradle_executor::cgroup::Layout;
use cradle_executor::plan::capabilities::CapabilitySet;
use cradle_executor::plan::{
    self, ContainerPlan, ExecPlan, Facts, ImageOwners, OOM_SCORE_ADJ_MIN, PlanContext, Rootfs, UNLIMITED,
};
use cradle_executor::seccomp::Architecture;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn facts(name: &str) -> Facts {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = ["cpu", "cpuset", "memory", "pids", "devices", "hugetlb", "blkio", "freezer"];
    let limited = name.contains("-limited");
    Facts {
        capabilities: if limited {
            CapabilitySet::all().without(CapabilitySet::SYS_RESOURCE)
        } else {
            CapabilitySet::all()
        },
        oom_score_adj_floor: if limited { 0 } else { OOM_SCORE_ADJ_MIN },
        hard_limits: if limited { [20_000; 16] } else { [UNLIMITED; 16] },
        layout: if name.starts_with("v1-") { Layout::v1(root, &controllers) } else { Layout::v2(root, &controllers) },
        architecture: Architecture::X86_64,
        seccomp: true,
        apparmor: true,
        selinux: false,
        mount_attributes: true,
        warnings: Vec::new(),
    }
}

fn container(name: &str) -> ContainerPlan {
    let facts = facts(name);
    let snapshot = |number: &str| PathBuf::from(format!("/var/lib/cradle/snapshots/{number}/fs"));
    let (upper, work) = ("/var/lib/cradle/containers/c0/upper".into(), "/var/lib/cradle/containers/c0/work".into());
    let (rootfs, owners) = if name.contains("-shifted") {
        (Rootfs::Directory(upper), ImageOwners::Shifted)
    } else {
        (Rootfs::Overlay { lower: vec![snapshot("2"), snapshot("1")], upper, work }, ImageOwners::Original)
    };
    let context = PlanContext { id: ContainerId::from_random([0xc0; 32]), rootfs, owners, facts: &facts };
    let spec = serde_json::from_str(&read(&format!("{name}.json"))).unwrap();
    plan::container(&spec, &context).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn exec(name: &str) -> ExecPlan {
    let of = name.strip_suffix(".exec").unwrap();
    let process = serde_json::from_str(&read(&format!("{name}.json"))).unwrap();
    plan::exec(&process, &container(of), &facts(of)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of all specifications.
fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|file| Some(file.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names
}

#[test]
fn every_specification_becomes_the_steps_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    let names = names();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let steps = if name.ends_with(".exec") { exec(&name).to_string() } else { container(&name).to_string() };
        let file = folder().join(format!("{name}.steps"));
        if update {
            fs::write(file, steps).unwrap();
        } else if fs::read_to_string(&file).ok().as_deref() != Some(&steps) {
            different.push(format!("{name}: the steps are now\n{steps}"));
        }
    }
    assert!(different.is_empty(), "{}\nUPDATE_GOLDEN=1 accepts them", different.join("\n"));
}

#[test]
fn a_plan_survives_the_way_to_the_shim() {
    for name in names().into_iter().filter(|name| !name.ends_with(".exec")) {
        let plan = container(&name);
        let bytes = postcard::to_allocvec(&plan).unwrap();
        let arrived: ContainerPlan = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(arrived.to_string(), plan.to_string(), "{name}");
        assert_eq!(arrived.steps, plan.steps, "{name}");
    }
}

#[test]
fn an_exec_plan_for_another_command_differs_in_nothing_else() {
    let plan = exec("plain.exec");
    let other = plan.with_command(&["/bin/true".into()], true).unwrap().to_string();
    assert!(other.contains("open a terminal\n") && other.contains("find the program /bin/true\n"), "{other}");
    assert!(other.contains("execute [\"/bin/true\"]"), "{other}");
    let command = ["/usr/bin/redis-cli".to_owned(), "ping".to_owned()];
    assert_eq!(plan.with_command(&command, false).unwrap().to_string(), plan.to_string());
}
