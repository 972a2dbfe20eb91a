//! Fuzz target: what may stand in a container's log.

use std::io::Write;

use super::{Log, Printer};

/// A log, after a byte that says how many of its last lines are wanted. All its bytes are printed but the heads of lines.
pub fn log(data: &[u8]) {
    let Some((&last, data)) = data.split_first() else { return };
    let path = std::env::temp_dir().join(format!("cradle-fuzz-log-{}", std::process::id()));
    std::fs::File::create(&path).and_then(|mut file| file.write_all(data)).unwrap();
    let printed = |lines: Option<usize>, with_times| {
        let mut log = Log::open(&path).unwrap();
        if let Some(lines) = lines {
            log.seek_to_last(lines).unwrap();
        }
        let mut printer = Printer::to(Vec::new(), Vec::new(), with_times);
        log.print_rest(&mut printer).unwrap();
        printer.out.get_ref().len() + printer.err.get_ref().len()
    };
    let all = printed(None, false);
    assert!(all <= data.len());
    assert!(printed(None, true) <= data.len());
    assert_eq!(printed(Some(0), false), 0);
    assert!(printed(Some(usize::from(last)), false) <= all);
    assert_eq!(printed(Some(usize::MAX), false), all);
    std::fs::remove_file(&path).unwrap();
}

#[cfg(test)]
mod tests {
    use cradle_testkit::fuzz::Replay;

    #[test]
    fn logs_do_no_harm() {
        let time = "2024-01-01T00:00:00.123456789Z";
        let samples = [
            format!("\u{1}{time} stdout F one\n{time} stderr F two\n"),
            format!("\u{2}{time} stdout P be{time} stdout F gun\n{time} stdout P open"),
            format!("\0garbage\n\n{time} stdall F x\n{time} stdout F:tag y\n"),
        ];
        Replay::new("cri_log").mutants(1000).run(samples.map(String::into_bytes), super::log);
    }
}
