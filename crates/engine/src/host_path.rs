//! Paths of the host that requests name may lie on a file system that never answers: they are looked at where it may
//! block, and not waited for longer than a bound. What hangs keeps its thread until the file system answers (or the
//! daemon's end: a process cannot end before its threads), and nobody else. What a container mounts is not looked at
//! here but by its own process.

use std::time::Duration;

use cradle_domain::{Class, Failure};

use crate::limits::HOST_PATH_ANSWER;

/// Looks at `what`, which is named in errors.
///
/// # Errors
/// Those of `look`; or it did not end in time.
pub(crate) async fn read<T: Send + 'static>(
    what: &str,
    look: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    read_within(HOST_PATH_ANSWER, what, look).await
}

async fn read_within<T: Send + 'static>(
    bound: Duration,
    what: &str,
    look: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let looked = tokio::time::timeout(bound, tokio::task::spawn_blocking(look)).await;
    match looked {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => Err(Failure::new(Class::Bug, format!("looking at {what}: {error}"))),
        Err(_) => {
            let text = format!("{what}: no answer within {bound:?}");
            Err(Failure::new(Class::Deadline, text).with_hint("does its file system answer?"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_answers_is_given_up_by_name() {
        let (answer, never) = std::sync::mpsc::sync_channel::<()>(0);
        let looked = read_within(Duration::from_millis(10), "the profile /x", move || {
            // Ends when the test does.
            let _ = never.recv();
            Ok(())
        });
        let failure = looked.await.unwrap_err();
        assert_eq!(failure.class(), Class::Deadline);
        assert!(failure.to_string().starts_with("the profile /x: no answer within"), "{failure}");
        drop(answer);
        assert_eq!(read("x", || Ok(7)).await.unwrap(), 7);
    }
}
