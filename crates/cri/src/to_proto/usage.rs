//! What pods and containers use. A part that the machine does not count is absent, not zero.

use cradle_cri_api::v1;
use cradle_domain::Timestamp;
use cradle_engine::usage::{
    ContainerUsage, CpuStats, LinkUsage, MemoryStats, PodUsage, Pressure, PressureLine, Stats, SwapStats,
};

use super::container::metadata;
use super::image::filesystem;
use super::pod;

/// One container's figures.
pub fn container_stats(usage: &ContainerUsage) -> v1::ContainerStats {
    let view = &usage.container;
    let group = usage.group.as_ref();
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: view.id.to_string(),
            metadata: Some(metadata(&view.spec)),
            labels: view.spec.labels.clone(),
            annotations: view.spec.annotations.clone(),
        }),
        cpu: group.and_then(cpu),
        memory: group.and_then(memory),
        writable_layer: usage.writable.map(|used| filesystem(Timestamp::now(), &view.writable_layer, used)),
        swap: group.and_then(swap),
        io: group.and_then(io),
    }
}

/// One pod's figures.
pub fn pod_stats(usage: &PodUsage) -> v1::PodSandboxStats {
    let view = &usage.pod;
    let group = &usage.group;
    let mut interfaces = usage.links.iter().map(interface);
    let process =
        group.pids.map(|pids| v1::ProcessUsage { timestamp: group.taken.nanos(), process_count: value(pids.current) });
    v1::PodSandboxStats {
        attributes: Some(v1::PodSandboxAttributes {
            id: view.id.to_string(),
            metadata: Some(pod::metadata(&view.spec)),
            labels: view.spec.labels.clone(),
            annotations: view.spec.annotations.clone(),
        }),
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: cpu(group),
            memory: memory(group),
            network: Some(v1::NetworkUsage {
                timestamp: group.taken.nanos(),
                default_interface: interfaces.next(),
                interfaces: interfaces.collect(),
            }),
            process,
            containers: usage.containers.iter().map(container_stats).collect(),
            io: io(group),
        }),
        windows: None,
    }
}

fn cpu(group: &Stats) -> Option<v1::CpuUsage> {
    let CpuStats { usage_ns, .. } = group.cpu?;
    Some(v1::CpuUsage {
        timestamp: group.taken.nanos(),
        usage_core_nano_seconds: value(usage_ns),
        // A rate takes two samples; the kubelet makes it of its own.
        usage_nano_cores: None,
        psi: group.cpu_pressure.as_ref().map(pressure),
    })
}

fn memory(group: &Stats) -> Option<v1::MemoryUsage> {
    let MemoryStats { usage_bytes, working_set_bytes, limit_bytes, rss_bytes, page_faults, major_page_faults, .. } =
        group.memory?;
    Some(v1::MemoryUsage {
        timestamp: group.taken.nanos(),
        working_set_bytes: value(working_set_bytes),
        available_bytes: limit_bytes.and_then(|limit| value(limit.saturating_sub(working_set_bytes))),
        usage_bytes: value(usage_bytes),
        rss_bytes: value(rss_bytes),
        page_faults: value(page_faults),
        major_page_faults: value(major_page_faults),
        psi: group.memory_pressure.as_ref().map(pressure),
    })
}

fn swap(group: &Stats) -> Option<v1::SwapUsage> {
    let SwapStats { usage_bytes, limit_bytes } = group.swap?;
    Some(v1::SwapUsage {
        timestamp: group.taken.nanos(),
        swap_available_bytes: limit_bytes.and_then(|limit| value(limit.saturating_sub(usage_bytes))),
        swap_usage_bytes: value(usage_bytes),
    })
}

fn io(group: &Stats) -> Option<v1::IoUsage> {
    let psi = pressure(group.io_pressure.as_ref()?);
    Some(v1::IoUsage { timestamp: group.taken.nanos(), psi: Some(psi) })
}

fn pressure(pressure: &Pressure) -> v1::PsiStats {
    let line = |line: &PressureLine| v1::PsiData {
        total: line.total_us.saturating_mul(1000),
        avg10: line.avg10,
        avg60: line.avg60,
        avg300: line.avg300,
    };
    v1::PsiStats { full: Some(line(&pressure.full)), some: Some(line(&pressure.some)) }
}

fn interface(link: &LinkUsage) -> v1::NetworkInterfaceUsage {
    v1::NetworkInterfaceUsage {
        name: link.name.clone(),
        rx_bytes: value(link.received_bytes),
        rx_errors: value(link.received_errors),
        tx_bytes: value(link.sent_bytes),
        tx_errors: value(link.sent_errors),
    }
}

fn value(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}
