//! What is told, in the text format 0.0.4 of Prometheus (Exposition formats, Text-based format).

use std::fmt::{Display, Write};

use cradle_domain::Class;
use cradle_domain::lifecycle::container::ContainerState;
use cradle_domain::lifecycle::pod::PodState;
use cradle_engine::Engine;
use cradle_engine::ports::{Durations, Images, PullCounters};

/// The format's name.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is seen at one moment. States that lists do not show are none.
#[derive(Default)]
pub struct Seen {
    pub pods_ready: usize,
    pub pods_not_ready: usize,
    pub containers_created: usize,
    pub containers_running: usize,
    pub containers_exited: usize,
    pub images: usize,
    pub pulls: PullCounters,
}

impl Seen {
    /// Of snapshots: waits for nobody.
    pub fn of(engine: &Engine, images: &dyn Images) -> Self {
        let mut seen = Seen { images: images.list().len(), pulls: images.status().pulls, ..Seen::default() };
        for pod in engine.pods() {
            match pod.state {
                PodState::Ready => seen.pods_ready += 1,
                PodState::NotReady => seen.pods_not_ready += 1,
                PodState::Creating | PodState::Removing => {}
            }
        }
        for container in engine.containers() {
            match container.state {
                ContainerState::Created | ContainerState::Starting => seen.containers_created += 1,
                ContainerState::Running => seen.containers_running += 1,
                ContainerState::Exited => seen.containers_exited += 1,
                ContainerState::Removing => {}
            }
        }
        seen
    }
}

/// Why a pull may fail. Each is told from the start, with 0: what appears with 1 has never increased.
const REASONS: [(Class, &str); 12] = [
    (Class::NotFound, "not_found"),
    (Class::Invalid, "invalid"),
    (Class::Refused, "refused"),
    (Class::Conflict, "conflict"),
    (Class::Denied, "denied"),
    (Class::Busy, "busy"),
    (Class::Unavailable, "unavailable"),
    (Class::Exhausted, "exhausted"),
    (Class::Deadline, "deadline"),
    (Class::Corrupt, "corrupt"),
    (Class::Unimplemented, "unimplemented"),
    (Class::Bug, "bug"),
];

/// The whole page.
pub fn page(seen: &Seen) -> String {
    let mut page = Page(String::with_capacity(8 * 1024));
    page.family("cradle_build_info", "gauge", "The version of the daemon.");
    page.sample("cradle_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.family("cradle_pods", "gauge", "Pod sandboxes by state.");
    for (state, count) in [("ready", seen.pods_ready), ("not_ready", seen.pods_not_ready)] {
        page.sample("cradle_pods", &[("state", state)], count);
    }
    page.family("cradle_containers", "gauge", "Containers by state.");
    let (created, running, exited) = (seen.containers_created, seen.containers_running, seen.containers_exited);
    for (state, count) in [("created", created), ("running", running), ("exited", exited)] {
        page.sample("cradle_containers", &[("state", state)], count);
    }
    page.single("cradle_images", "gauge", "Images that are listed.", seen.images);
    write_pulls(&mut page, &seen.pulls);
    page.0
}

fn write_pulls(page: &mut Page, pulls: &PullCounters) {
    let failed: u64 = pulls.failed.values().sum();
    let begun = pulls.under_way + pulls.done + failed + pulls.given_up;
    page.single("cradle_image_pulls_in_progress", "gauge", "Pulls under way.", pulls.under_way);
    page.single(
        "cradle_image_pulls_started_total",
        "counter",
        "Pulls begun; those who ask at the same time share one.",
        begun,
    );
    page.single("cradle_image_pulls_succeeded_total", "counter", "Pulls that ended with an image.", pulls.done);
    page.family("cradle_image_pulls_failed_total", "counter", "Pulls that failed, by the class of the reason.");
    for (class, reason) in REASONS {
        let count = pulls.failed.get(&class).copied().unwrap_or_default();
        page.sample("cradle_image_pulls_failed_total", &[("reason", reason)], count);
    }
    let help = "Pulls that were given up since nobody waited for them any more.";
    page.single("cradle_image_pulls_canceled_total", "counter", help, pulls.given_up);
    let help = "Bytes of configurations and layers as they came from registries.";
    page.single("cradle_image_pull_bytes_total", "counter", help, pulls.fetched_bytes);
    let help = "Layers of images that were pulled or loaded: fetched, or present already.";
    page.family("cradle_image_layers_total", "counter", help);
    for (source, count) in [("fetched", pulls.layers_fetched), ("present", pulls.layers_present)] {
        page.sample("cradle_image_layers_total", &[("source", source)], count);
    }
    write_durations(page, "cradle_image_pull_duration_seconds", "What pulls that succeeded took.", &pulls.durations);
}

fn write_durations(page: &mut Page, name: &str, help: &str, durations: &Durations) {
    page.family(name, "histogram", help);
    let bucket = format!("{name}_bucket");
    let bounds = Durations::BOUNDS.map(|bound| bound.as_secs_f64().to_string());
    let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
    let mut count = 0;
    for (bound, more) in bounds.zip(durations.counts) {
        count += more;
        page.sample(&bucket, &[("le", bound)], count);
    }
    page.sample(&format!("{name}_sum"), &[], durations.sum.as_secs_f64());
    page.sample(&format!("{name}_count"), &[], count);
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// `labels` have nothing in their values that would have to be escaped.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        match labels.as_slice() {
            [] => self.line(format_args!("{name} {value}")),
            labels => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_and_durations_are_told_as_prometheus_reads_them() {
        let mut durations = Durations::default();
        for millis in [50, 100, 700, 3_600_000] {
            durations.add(Duration::from_millis(millis));
        }
        let pulls = PullCounters {
            under_way: 1,
            done: 4,
            failed: [(Class::NotFound, 2), (Class::Corrupt, 1)].into(),
            given_up: 3,
            fetched_bytes: 1000,
            layers_fetched: 5,
            layers_present: 6,
            durations,
        };
        let page = page(&Seen { pods_ready: 2, containers_exited: 7, images: 3, pulls, ..Seen::default() });
        for line in [
            "cradle_pods{state=\"ready\"} 2",
            "cradle_pods{state=\"not_ready\"} 0",
            "cradle_containers{state=\"exited\"} 7",
            "cradle_images 3",
            "cradle_image_pulls_in_progress 1",
            "cradle_image_pulls_started_total 11",
            "cradle_image_pulls_succeeded_total 4",
            "cradle_image_pulls_failed_total{reason=\"not_found\"} 2",
            "cradle_image_pulls_failed_total{reason=\"denied\"} 0",
            "cradle_image_pulls_canceled_total 3",
            "cradle_image_pull_bytes_total 1000",
            "cradle_image_layers_total{source=\"present\"} 6",
            "cradle_image_pull_duration_seconds_bucket{le=\"0.1\"} 2",
            "cradle_image_pull_duration_seconds_bucket{le=\"1\"} 3",
            "cradle_image_pull_duration_seconds_bucket{le=\"500\"} 3",
            "cradle_image_pull_duration_seconds_bucket{le=\"+Inf\"} 4",
            "cradle_image_pull_duration_seconds_sum 3600.85",
            "cradle_image_pull_duration_seconds_count 4",
        ] {
            assert!(page.lines().any(|told| told == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn every_sample_has_its_help_and_type_before_it() {
        let mut family = String::new();
        for line in page(&Seen::default()).lines() {
            match line.strip_prefix("# TYPE ") {
                Some(typed) => family = typed.split(' ').next().unwrap().to_owned(),
                None => assert!(line.starts_with("# HELP ") || line.starts_with(&family), "{line} after {family}"),
            }
        }
    }

    #[test]
    fn every_class_is_a_reason_of_its_own() {
        for (at, (class, reason)) in REASONS.iter().enumerate() {
            assert!(REASONS[at + 1..].iter().all(|(other, name)| other != class && name != reason));
        }
    }
}
