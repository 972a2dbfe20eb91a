//! How a process behind a URL ended: an object `Status` of the Kubernetes API (meta/v1).

use serde_json::Value;

use crate::error::Error;

#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its own end, with a command's exit code.
    With(i32),
    /// The user has left it.
    Left,
}

impl Ended {
    /// # Errors
    /// It could not be started, or its end is not known.
    pub fn read(status: &[u8]) -> Result<Self, Error> {
        let unknown = || Error::Lost { why: "it ended without telling how the process did".into() };
        let status: Value = serde_json::from_slice(status).map_err(|_| unknown())?;
        let cause = &status["details"]["causes"][0];
        let message = cause["message"].as_str().or(status["message"].as_str()).unwrap_or_default().to_owned();
        match (status["status"].as_str(), status["reason"].as_str(), cause["reason"].as_str()) {
            (Some("Success"), ..) => Ok(Ended::With(0)),
            (_, Some("NonZeroExitCode"), Some("ExitCode")) => message.parse().map(Ended::With).map_err(|_| unknown()),
            // The class of what the command is to blame for.
            (_, _, Some("Invalid")) => Err(Error::Program { message }),
            _ => Err(Error::Local(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_an_exit_code_or_says_what_went_wrong() {
        let read = |text: &str| Ended::read(text.as_bytes()).map_err(|error| (error.to_string(), error.exit_code(125)));
        assert_eq!(read(r#"{"metadata":{},"status":"Success"}"#), Ok(Ended::With(0)));
        let code = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(read(code), Ok(Ended::With(7)));
        let failed = |class: &str| {
            let cause = format!(r#"{{"reason":"{class}","message":"no such program"}}"#);
            read(&format!(r#"{{"status":"Failure","reason":"InternalError","details":{{"causes":[{cause}]}}}}"#))
        };
        assert_eq!(failed("Invalid"), Err(("no such program".to_owned(), 127)));
        assert_eq!(failed("Unavailable"), Err(("no such program".to_owned(), 125)));
        assert!(read("").unwrap_err().0.contains("without telling"));
    }
}
