//! What is done to pods and containers, an act a file.

pub(crate) mod attach;
pub(crate) mod create_container;
pub(crate) mod dial;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod exec_sync;
pub(crate) mod recover;
pub(crate) mod remove_container;
pub(crate) mod remove_pod;
pub(crate) mod reopen_log;
pub(crate) mod repair;
pub(crate) mod run_pod;
pub(crate) mod start_container;
pub(crate) mod stop_container;
pub(crate) mod stop_pod;
pub(crate) mod tear_down;
pub(crate) mod update_resources;
