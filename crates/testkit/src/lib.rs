//! What tests of more than one crate need: a registry that misbehaves, and a world of fakes for the engine.

pub mod registry;
pub mod world;
