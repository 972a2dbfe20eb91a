//! `cradle stats`: what running containers use, seen over one interval.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use cradle_cri_api::v1;

use crate::client::{Client, container_name};
use crate::error::Error;
use crate::table;

/// A processor's use is only seen over time.
const INTERVAL: Duration = Duration::from_millis(500);

pub async fn stats(client: &mut Client) -> Result<ExitCode, Error> {
    let before: HashMap<_, _> = look(client).await?.into_iter().map(|stats| (id(&stats), stats)).collect();
    tokio::time::sleep(INTERVAL).await;
    let after = look(client).await?;
    let containers: HashMap<_, _> =
        client.containers().await?.into_iter().map(|container| (container.id.clone(), container)).collect();
    let row = |stats: &v1::ContainerStats| {
        let id = id(stats);
        let container = containers.get(&id)?;
        Some(vec![
            table::short_id(&id),
            container_name(container).to_owned(),
            before.get(&id).and_then(|before| processors(before, stats)).unwrap_or_else(|| "-".to_owned()),
            bytes(stats.memory.as_ref().and_then(|memory| memory.working_set_bytes)),
            bytes(stats.writable_layer.as_ref().and_then(|layer| layer.used_bytes)),
        ])
    };
    let rows: Vec<_> = after.iter().filter_map(row).collect();
    table::print(&["CONTAINER ID", "NAME", "CPU", "MEMORY", "WRITTEN"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn look(client: &mut Client) -> Result<Vec<v1::ContainerStats>, Error> {
    let answer = client.runtime.list_container_stats(v1::ListContainerStatsRequest::default()).await;
    Ok(answer?.into_inner().stats)
}

fn id(stats: &v1::ContainerStats) -> String {
    stats.attributes.as_ref().map(|attributes| attributes.id.clone()).unwrap_or_default()
}

fn bytes(value: Option<v1::UInt64Value>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| table::size(value.value))
}

/// The use of processors between two looks, in percent of one; none if the daemon does not say.
fn processors(before: &v1::ContainerStats, after: &v1::ContainerStats) -> Option<String> {
    let (before, after) = (before.cpu.as_ref()?, after.cpu.as_ref()?);
    let used = after.usage_core_nano_seconds?.value.checked_sub(before.usage_core_nano_seconds?.value)?;
    let passed = u64::try_from(after.timestamp.checked_sub(before.timestamp)?).ok().filter(|passed| *passed > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let percent = 100.0 * used as f64 / passed as f64;
    Some(format!("{percent:.1} %"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timestamp: i64, used: Option<u64>) -> v1::ContainerStats {
        let usage_core_nano_seconds = used.map(|value| v1::UInt64Value { value });
        let cpu = v1::CpuUsage { timestamp, usage_core_nano_seconds, ..Default::default() };
        v1::ContainerStats { cpu: Some(cpu), ..Default::default() }
    }

    #[test]
    fn the_use_of_processors_is_that_of_the_interval() {
        let text = |before, after| processors(&before, &after);
        assert_eq!(text(at(0, Some(100)), at(1000, Some(1600))).as_deref(), Some("150.0 %"));
        assert_eq!(text(at(5, Some(1)), at(5, Some(2))), None);
        assert_eq!(text(at(0, Some(9)), at(5, Some(2))), None);
        assert_eq!(text(at(0, None), at(5, Some(2))), None);
    }
}
