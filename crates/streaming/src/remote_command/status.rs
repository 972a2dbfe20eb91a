//! How it ended, as kubectl and crictl read it: an object `Status` of the Kubernetes API (meta/v1), or a text.

use cradle_domain::Failure;
use serde_json::json;

use crate::negotiation::StatusForm;

#[derive(Debug)]
pub(super) enum Status {
    Success,
    /// The command ended with a code that is not 0.
    ExitCode(i32),
    /// It could not be started, or its end is not known.
    Failed(Failure),
}

impl Status {
    pub fn of_command(ended: Result<i32, Failure>) -> Self {
        match ended {
            Ok(0) => Status::Success,
            Ok(code) => Status::ExitCode(code),
            Err(failure) => Status::Failed(failure),
        }
    }

    /// What is sent on the error stream.
    pub fn text(&self, form: StatusForm) -> Vec<u8> {
        match form {
            StatusForm::Json => self.json().to_string().into_bytes(),
            StatusForm::Text => self.message().unwrap_or_default().into_bytes(),
        }
    }

    fn message(&self) -> Option<String> {
        match self {
            Status::Success => None,
            Status::ExitCode(code) => Some(format!("command terminated with non-zero exit code: exit status {code}")),
            Status::Failed(failure) => Some(format!("Internal error occurred: {failure}")),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Status::Success => json!({ "metadata": {}, "status": "Success" }),
            Status::ExitCode(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.message(),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Status::Failed(failure) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.message(),
                "reason": "InternalError",
                "details": { "causes": [{ "reason": format!("{:?}", failure.class()), "message": failure.to_string() }] },
                "code": 500,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cradle_domain::Class;

    fn json(status: &Status) -> String {
        String::from_utf8(status.text(StatusForm::Json)).unwrap()
    }

    #[test]
    fn a_status_in_json_has_what_kubectl_looks_for() {
        assert_eq!(json(&Status::of_command(Ok(0))), r#"{"metadata":{},"status":"Success"}"#);
        let failed: serde_json::Value = serde_json::from_str(&json(&Status::of_command(Ok(130)))).unwrap();
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(failed["details"]["causes"][0]["message"], "130");
        let failure = Failure::new(Class::NotFound, "no such program");
        let failed: serde_json::Value = serde_json::from_str(&json(&Status::of_command(Err(failure)))).unwrap();
        assert_eq!(failed["reason"], "InternalError");
        assert_eq!(failed["message"], "Internal error occurred: no such program");
        assert_eq!(failed["details"]["causes"][0]["reason"], "NotFound");
    }

    #[test]
    fn a_status_in_text_is_silent_about_success() {
        assert!(Status::Success.text(StatusForm::Text).is_empty());
        let text = String::from_utf8(Status::ExitCode(3).text(StatusForm::Text)).unwrap();
        assert_eq!(text, "command terminated with non-zero exit code: exit status 3");
    }
}
