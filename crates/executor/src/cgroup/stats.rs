//! What a group has used: processor time, memory, swap, tasks, block devices, and what it had to wait for (PSI).

use cradle_domain::{Class, Classified, Timestamp};

use super::file::{self, FileError};
use super::group::Cgroup;
use super::layout::Hierarchy;

/// The usage of a group could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    #[error("reading the usage of a control group")]
    Read { source: FileError },
    #[error("reading the usage of the control group {path}: it does not exist")]
    Gone { path: String },
}

impl Classified for StatsError {
    fn class(&self) -> Class {
        match self {
            StatsError::Read { source } => source.class(),
            StatsError::Gone { .. } => Class::NotFound,
        }
    }
}

/// The usage of a group and all below it. A part is missing where the machine does not count it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// When it was read.
    pub taken: Timestamp,
    pub cpu: Option<CpuStats>,
    pub memory: Option<MemoryStats>,
    pub swap: Option<SwapStats>,
    pub pids: Option<PidStats>,
    pub io: Option<IoStats>,
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuStats {
    pub usage_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Enforcement periods of the quota that have passed, those in which it was used up, and the time lost by it.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    pub usage_bytes: u64,
    /// Usage without the file pages that nobody has used lately: what cannot be reclaimed easily.
    pub working_set_bytes: u64,
    /// None: no limit.
    pub limit_bytes: Option<u64>,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Page cache.
    pub cache_bytes: u64,
    pub mapped_file_bytes: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwapStats {
    pub usage_bytes: u64,
    /// None: no limit.
    pub limit_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidStats {
    pub current: u64,
    /// None: no limit.
    pub limit: Option<u64>,
}

/// All block devices together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoStats {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// Pressure stall information (kernel: Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// At least one task was waiting.
    pub some: PressureLine,
    /// All tasks were waiting at once.
    pub full: PressureLine,
}

/// The share of time, in percent, over the last 10, 60 and 300 seconds, and the time in all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total_us: u64,
}

/// cgroup v1 shows "no limit" as the largest number of whole pages.
const V1_UNLIMITED: u64 = 1 << 62;

impl Cgroup {
    /// Reads all that the machine counts for this group.
    pub fn stats(&self) -> Result<Stats, StatsError> {
        let reader = Reader { group: self };
        let stats = if self.layout().is_v2() { reader.v2() } else { reader.v1() };
        let stats = stats.map_err(|source| StatsError::Read { source })?;
        let is_there = self.layout().hierarchies().first().is_some_and(|tree| self.exists_in(tree));
        if is_there { Ok(stats) } else { Err(StatsError::Gone { path: format!("/{}", self.path().as_str()) }) }
    }

    /// How often the kernel killed a process of this group for want of memory. One small file; to be read before the
    /// group is removed. A machine that does not count memory, and a group that is gone, say 0.
    pub fn oom_kills(&self) -> Result<u64, StatsError> {
        let Some(tree) = self.tree("memory") else { return Ok(0) };
        let name = if tree.is_unified() { "memory.events" } else { "memory.oom_control" };
        let text = file::read_if_there(tree, &format!("{}/{name}", self.path().as_str()))
            .map_err(|source| StatsError::Read { source })?;
        Ok(text.and_then(|text| file::keyed(&text, "oom_kill")).unwrap_or(0))
    }
}

struct Reader<'a> {
    group: &'a Cgroup,
}

impl Reader<'_> {
    fn text(&self, controller: &str, file: &str) -> Result<Option<String>, FileError> {
        self.group.tree(controller).map_or(Ok(None), |tree| self.text_in(tree, file))
    }

    fn text_in(&self, tree: &Hierarchy, file: &str) -> Result<Option<String>, FileError> {
        file::read_if_there(tree, &format!("{}/{file}", self.group.path().as_str()))
    }

    fn number(&self, controller: &str, file: &str) -> Result<Option<u64>, FileError> {
        Ok(self.text(controller, file)?.and_then(|text| text.trim().parse().ok()))
    }

    /// None: no limit, or none is offered.
    fn limit(&self, controller: &str, file: &str) -> Result<Option<u64>, FileError> {
        Ok(self.number(controller, file)?.filter(|limit| *limit < V1_UNLIMITED))
    }

    fn pids(&self) -> Result<Option<PidStats>, FileError> {
        let Some(current) = self.number("pids", "pids.current")? else { return Ok(None) };
        Ok(Some(PidStats { current, limit: self.limit("pids", "pids.max")? }))
    }

    /// Hybrid machines have it as well: it belongs to the unified tree, not to a controller.
    fn pressure(&self, file: &str) -> Result<Option<Pressure>, FileError> {
        let Some(tree) = self.group.layout().unified() else { return Ok(None) };
        match self.text_in(tree, file) {
            Ok(text) => Ok(text.map(|text| parse_pressure(&text))),
            // The kernel can be told not to keep it (psi=0), and then says so at the first read.
            Err(error) if error.errno() == rustix::io::Errno::OPNOTSUPP => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn v1(&self) -> Result<Stats, FileError> {
        let memory = self.v1_memory()?;
        Ok(Stats {
            taken: Timestamp::now(),
            cpu: self.v1_cpu()?,
            swap: self.v1_swap(memory.as_ref())?,
            memory,
            pids: self.pids()?,
            io: self.v1_io()?,
            cpu_pressure: self.pressure("cpu.pressure")?,
            memory_pressure: self.pressure("memory.pressure")?,
            io_pressure: self.pressure("io.pressure")?,
        })
    }

    fn v1_cpu(&self) -> Result<Option<CpuStats>, FileError> {
        let Some(usage_ns) = self.number("cpuacct", "cpuacct.usage")? else { return Ok(None) };
        let throttling = self.text("cpu", "cpu.stat")?.unwrap_or_default();
        let value = |key| file::keyed(&throttling, key).unwrap_or(0);
        Ok(Some(CpuStats {
            usage_ns,
            user_ns: self.number("cpuacct", "cpuacct.usage_user")?.unwrap_or(0),
            system_ns: self.number("cpuacct", "cpuacct.usage_sys")?.unwrap_or(0),
            periods: value("nr_periods"),
            throttled_periods: value("nr_throttled"),
            throttled_ns: value("throttled_time"),
        }))
    }

    fn v1_memory(&self) -> Result<Option<MemoryStats>, FileError> {
        let Some(usage_bytes) = self.number("memory", "memory.usage_in_bytes")? else { return Ok(None) };
        let text = self.text("memory", "memory.stat")?.unwrap_or_default();
        let value = |key| file::keyed(&text, key).unwrap_or(0);
        Ok(Some(MemoryStats {
            usage_bytes,
            working_set_bytes: usage_bytes.saturating_sub(value("total_inactive_file")),
            limit_bytes: self.limit("memory", "memory.limit_in_bytes")?,
            rss_bytes: value("total_rss"),
            cache_bytes: value("total_cache"),
            mapped_file_bytes: value("total_mapped_file"),
            page_faults: value("total_pgfault"),
            major_page_faults: value("total_pgmajfault"),
        }))
    }

    /// v1 counts and limits memory and swap together.
    fn v1_swap(&self, memory: Option<&MemoryStats>) -> Result<Option<SwapStats>, FileError> {
        let together = self.number("memory", "memory.memsw.usage_in_bytes")?;
        let (Some(together), Some(memory)) = (together, memory) else { return Ok(None) };
        let limit = self.limit("memory", "memory.memsw.limit_in_bytes")?;
        Ok(Some(SwapStats {
            usage_bytes: together.saturating_sub(memory.usage_bytes),
            limit_bytes: limit.zip(memory.limit_bytes).map(|(both, memory)| both.saturating_sub(memory)),
        }))
    }

    fn v1_io(&self) -> Result<Option<IoStats>, FileError> {
        let bytes = self.text("blkio", "blkio.throttle.io_service_bytes_recursive")?;
        let (Some(bytes), Some(counts)) = (bytes, self.text("blkio", "blkio.throttle.io_serviced_recursive")?) else {
            return Ok(None);
        };
        Ok(Some(IoStats {
            read_bytes: sum_v1_io(&bytes, "Read"),
            written_bytes: sum_v1_io(&bytes, "Write"),
            reads: sum_v1_io(&counts, "Read"),
            writes: sum_v1_io(&counts, "Write"),
        }))
    }

    fn v2(&self) -> Result<Stats, FileError> {
        Ok(Stats {
            taken: Timestamp::now(),
            cpu: self.v2_cpu()?,
            memory: self.v2_memory()?,
            swap: match self.number("memory", "memory.swap.current")? {
                Some(usage_bytes) => {
                    Some(SwapStats { usage_bytes, limit_bytes: self.limit("memory", "memory.swap.max")? })
                }
                None => None,
            },
            pids: self.pids()?,
            io: self.text("io", "io.stat")?.map(|text| parse_io_stat(&text)),
            cpu_pressure: self.pressure("cpu.pressure")?,
            memory_pressure: self.pressure("memory.pressure")?,
            io_pressure: self.pressure("io.pressure")?,
        })
    }

    fn v2_cpu(&self) -> Result<Option<CpuStats>, FileError> {
        let Some(text) = self.text("cpu", "cpu.stat")? else { return Ok(None) };
        let value = |key| file::keyed(&text, key).unwrap_or(0);
        let nanoseconds = |key| value(key).saturating_mul(1000);
        Ok(Some(CpuStats {
            usage_ns: nanoseconds("usage_usec"),
            user_ns: nanoseconds("user_usec"),
            system_ns: nanoseconds("system_usec"),
            periods: value("nr_periods"),
            throttled_periods: value("nr_throttled"),
            throttled_ns: nanoseconds("throttled_usec"),
        }))
    }

    fn v2_memory(&self) -> Result<Option<MemoryStats>, FileError> {
        let Some(usage_bytes) = self.number("memory", "memory.current")? else { return Ok(None) };
        let text = self.text("memory", "memory.stat")?.unwrap_or_default();
        let value = |key| file::keyed(&text, key).unwrap_or(0);
        Ok(Some(MemoryStats {
            usage_bytes,
            working_set_bytes: usage_bytes.saturating_sub(value("inactive_file")),
            limit_bytes: self.limit("memory", "memory.max")?,
            rss_bytes: value("anon"),
            cache_bytes: value("file"),
            mapped_file_bytes: value("file_mapped"),
            page_faults: value("pgfault"),
            major_page_faults: value("pgmajfault"),
        }))
    }
}

/// Lines `8:0 Read 4096`.
fn sum_v1_io(text: &str, operation: &str) -> u64 {
    let value = |line: &str| {
        let mut words = line.split(' ').skip(1);
        (words.next() == Some(operation)).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(value).fold(0, u64::saturating_add)
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn parse_io_stat(text: &str) -> IoStats {
    let sum = |key: &str| {
        let values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        values.filter_map(|value| value.parse().ok()).fold(0, u64::saturating_add)
    };
    IoStats { read_bytes: sum("rbytes"), written_bytes: sum("wbytes"), reads: sum("rios"), writes: sum("wios") }
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`.
fn parse_pressure(text: &str) -> Pressure {
    let line = |name: &str| {
        let words = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        let value = |key: &str| words.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let share = |key| value(key).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        PressureLine {
            avg10: share("avg10"),
            avg60: share("avg60"),
            avg300: share("avg300"),
            total_us: value("total").and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    };
    Pressure { some: line("some"), full: line("full") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_devices_are_summed() {
        let v1 = "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 5\nTotal 35\n";
        assert_eq!((sum_v1_io(v1, "Read"), sum_v1_io(v1, "Write")), (15, 20));
        let v2 = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=20 rios=30 wios=40\n";
        assert_eq!(parse_io_stat(v2), IoStats { read_bytes: 11, written_bytes: 22, reads: 33, writes: 44 });
    }

    #[test]
    fn pressure_is_read_by_line_and_key() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.03 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let pressure = parse_pressure(text);
        assert_eq!(pressure.some, PressureLine { avg10: 1.5, avg60: 0.2, avg300: 0.03, total_us: 77 });
        assert_eq!(pressure.full.total_us, 5);
    }
}
