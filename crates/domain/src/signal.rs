//! Signals by number and name, as image configurations and the CRI spell them (`SIGTERM`, `TERM`, `15`, `RTMIN+3`).

use std::fmt;

/// A signal's number on Linux, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Signal(i32);

/// Text or a number that names no signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a signal: expected a name such as SIGTERM or a number from 1 to 64")]
pub struct BadSignal(String);

const RTMIN: i32 = 34;
const MAX: i32 = 64;

/// Names of the signals 1 to 31 (signal(7), x86 and Arm).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

impl Signal {
    pub const HUP: Signal = Signal(1);
    pub const KILL: Signal = Signal(9);
    pub const TERM: Signal = Signal(15);

    pub fn from_number(number: i32) -> Result<Self, BadSignal> {
        if (1..=MAX).contains(&number) { Ok(Signal(number)) } else { Err(BadSignal(number.to_string())) }
    }

    /// Reads a name, with or without `SIG`, in any case, or a number.
    pub fn parse(text: &str) -> Result<Self, BadSignal> {
        let bad = || BadSignal(text.chars().take(32).collect());
        if let Ok(number) = text.parse() {
            return Signal::from_number(number).map_err(|_| bad());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<i32>() };
        if let Some(rest) = name.strip_prefix("RTMIN") {
            let number = RTMIN + offset(rest.trim_start_matches('+')).map_err(|_| bad())?;
            return if (RTMIN..=MAX).contains(&number) { Ok(Signal(number)) } else { Err(bad()) };
        }
        if let Some(rest) = name.strip_prefix("RTMAX") {
            let number = MAX + offset(rest).map_err(|_| bad())?;
            return if (RTMIN..=MAX).contains(&number) { Ok(Signal(number)) } else { Err(bad()) };
        }
        let name = match name {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        let at = NAMES.iter().position(|known| *known == name).ok_or_else(bad)?;
        i32::try_from(at + 1).map(Signal).map_err(|_| bad())
    }

    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0 - 1).ok().and_then(|at| NAMES.get(at)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == MAX => write!(f, "SIGRTMAX"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "SIGRTMIN"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_printed() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("SIGRTMIN", 34),
            ("IOT", 6),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
        for bad in ["", "SIG", "0", "65", "SIGFOO", "RTMIN+99"] {
            assert!(Signal::parse(bad).is_err(), "{bad}");
        }
        for number in 1..=MAX {
            let signal = Signal(number);
            if number != 32 && number != 33 {
                assert_eq!(Signal::parse(&signal.to_string()), Ok(signal));
            }
        }
    }
}
