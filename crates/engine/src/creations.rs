//! Joined requests (invariant 9): the same creation asked for again, while it runs or after it is done, gets the same
//! id; a different one under the same key is refused with the differences named.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use cradle_domain::{Class, Failure};
use serde::Serialize;
use tokio::sync::watch;

type Outcome = Option<Result<(), Failure>>;

/// One creation under its key.
pub(crate) struct Creation<S, I> {
    pub spec: Arc<S>,
    pub id: I,
    outcome: watch::Sender<Outcome>,
}

impl<S, I> Creation<S, I> {
    /// Waits until it is done. Whoever does it always publishes an outcome, if only by failing.
    pub async fn wait(&self) -> Result<(), Failure> {
        let mut outcome = self.outcome.subscribe();
        let done = outcome.wait_for(Option::is_some).await;
        done.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err(interrupted()))
    }

    /// Publishes the outcome; only the first one counts.
    pub fn finish(&self, result: Result<(), Failure>) {
        self.outcome.send_if_modified(|outcome| {
            let first = outcome.is_none();
            if first {
                *outcome = Some(result);
            }
            first
        });
    }
}

fn interrupted() -> Failure {
    Failure::new(Class::Bug, "the work ended without a result")
}

/// What a request finds under its key.
pub(crate) enum Entry<S, I> {
    /// Nothing: the caller does the work, and calls [`Creation::finish`].
    New(Arc<Creation<S, I>>),
    /// The same request, running or done.
    Same(Arc<Creation<S, I>>),
}

/// All creations of one kind, by key.
pub(crate) struct Creations<K, S, I> {
    map: Mutex<HashMap<K, Arc<Creation<S, I>>>>,
}

impl<K, S, I> Default for Creations<K, S, I> {
    fn default() -> Self {
        Creations { map: Mutex::default() }
    }
}

impl<K: Eq + Hash + fmt::Display, S: PartialEq + Serialize, I: Clone + PartialEq + fmt::Display> Creations<K, S, I> {
    /// Joins the creation under `key`, or begins it as `new_id()`.
    ///
    /// # Errors
    /// There is a different one under the key.
    pub fn enter(&self, key: K, spec: S, new_id: impl FnOnce() -> I) -> Result<Entry<S, I>, Failure> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = map.get(&key) {
            if *present.spec == spec {
                return Ok(Entry::Same(present.clone()));
            }
            let differences = differences(present.spec.as_ref(), &spec);
            return Err(conflict(&key, &present.id, &differences));
        }
        let creation = Arc::new(Creation { spec: Arc::new(spec), id: new_id(), outcome: watch::Sender::new(None) });
        map.insert(key, creation.clone());
        Ok(Entry::New(creation))
    }

    /// Enters what was created in an earlier life.
    pub fn restore(&self, key: K, spec: Arc<S>, id: I) {
        let creation = Arc::new(Creation { spec, id, outcome: watch::Sender::new(Some(Ok(()))) });
        self.map.lock().unwrap_or_else(PoisonError::into_inner).insert(key, creation);
    }

    /// Frees the key, if it still leads to `id`.
    pub fn forget(&self, key: &K, id: &I) {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.get(key).is_some_and(|present| present.id == *id) {
            map.remove(key);
        }
    }
}

fn conflict(key: &impl fmt::Display, id: &impl fmt::Display, differences: &str) -> Failure {
    Failure::new(Class::Conflict, format!("{key} exists already as {id} and was asked for differently: {differences}"))
        .with_hint("remove it first, or ask with another name or the next attempt")
}

/// Names the fields in which two specifications differ, with both values.
fn differences<S: Serialize>(present: &S, asked: &S) -> String {
    let mut found = Vec::new();
    if let (Ok(present), Ok(asked)) = (serde_json::to_value(present), serde_json::to_value(asked)) {
        compare("", &present, &asked, &mut found);
    }
    let more = found.len().saturating_sub(DIFFERENCES_SHOWN);
    found.truncate(DIFFERENCES_SHOWN);
    let text = found.join("; ");
    if more == 0 { text } else { format!("{text}; and {more} more") }
}

const DIFFERENCES_SHOWN: usize = 5;
const VALUE_SHOWN_CHARS: usize = 80;

fn compare(path: &str, present: &serde_json::Value, asked: &serde_json::Value, found: &mut Vec<String>) {
    use serde_json::Value;
    if present == asked {
        return;
    }
    if let (Value::Object(left), Value::Object(right)) = (present, asked) {
        let mut names: Vec<_> = left.keys().chain(right.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(&path, left.get(name).unwrap_or(&Value::Null), right.get(name).unwrap_or(&Value::Null), found);
        }
        return;
    }
    let short = |value: &Value| value.to_string().chars().take(VALUE_SHOWN_CHARS).collect::<String>();
    found.push(format!("{path} is {} and was asked for as {}", short(present), short(asked)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq, Serialize)]
    struct Spec {
        name: &'static str,
        size: u32,
    }

    #[tokio::test]
    async fn the_same_request_joins_and_a_different_one_is_told_how_it_differs() {
        let creations = Creations::<String, Spec, u32>::default();
        let Ok(Entry::New(creation)) = creations.enter("a".into(), Spec { name: "x", size: 1 }, || 7) else { panic!() };
        let Ok(Entry::Same(joined)) = creations.enter("a".into(), Spec { name: "x", size: 1 }, || 8) else { panic!() };
        creation.finish(Ok(()));
        creation.finish(Err(interrupted()));
        assert!(joined.wait().await.is_ok());
        assert_eq!(joined.id, 7);
        let Err(failure) = creations.enter("a".into(), Spec { name: "y", size: 1 }, || 9) else { panic!() };
        assert_eq!(failure.class(), Class::Conflict);
        assert!(failure.to_string().contains("name is \"x\" and was asked for as \"y\""), "{failure}");
        creations.forget(&"a".into(), &8);
        assert!(matches!(creations.enter("a".into(), Spec { name: "x", size: 1 }, || 9), Ok(Entry::Same(_))));
        creations.forget(&"a".into(), &7);
        assert!(matches!(creations.enter("a".into(), Spec { name: "y", size: 1 }, || 9), Ok(Entry::New(_))));
    }
}
