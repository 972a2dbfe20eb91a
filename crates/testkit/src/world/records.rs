//! Records in memory.

use std::sync::Arc;

use cradle_domain::{ContainerId, PodId};
use cradle_engine::ports::{Act, ContainerRecord, LoadedRecords, PodRecord, Records};

use super::Life;

pub(super) struct FakeRecords {
    pub life: Arc<Life>,
}

impl Records for FakeRecords {
    fn save_pod(&self, record: &PodRecord) -> Act<'_, ()> {
        let record = record.clone();
        Box::pin(self.life.act("save_pod", move |state| {
            state.pods.insert(record.id.clone(), record);
            Ok(())
        }))
    }

    fn save_container(&self, record: &ContainerRecord) -> Act<'_, ()> {
        let record = record.clone();
        Box::pin(self.life.act("save_container", move |state| {
            state.containers.insert(record.id.clone(), record);
            Ok(())
        }))
    }

    fn put_file(&self, _pod: &PodId, _name: &'static str, _content: Vec<u8>) -> Act<'_, ()> {
        Box::pin(self.life.act("put_file", |_| Ok(())))
    }

    fn remove_container(&self, _pod: &PodId, container: &ContainerId) -> Act<'_, ()> {
        let container = container.clone();
        Box::pin(self.life.act("remove_container", move |state| {
            state.containers.remove(&container);
            Ok(())
        }))
    }

    fn remove_pod(&self, pod: &PodId) -> Act<'_, ()> {
        let pod = pod.clone();
        Box::pin(self.life.act("remove_pod", move |state| {
            state.pods.remove(&pod);
            state.containers.retain(|_, record| record.pod != pod);
            Ok(())
        }))
    }

    fn delete_removed(&self) {}

    fn load(&self) -> Act<'_, LoadedRecords> {
        Box::pin(self.life.act("load", |state| {
            Ok(LoadedRecords {
                pods: state.pods.values().cloned().collect(),
                containers: state.containers.values().cloned().collect(),
                ..LoadedRecords::default()
            })
        }))
    }
}
