//! What tests of more than one crate need: a registry that misbehaves, a world of fakes for the engine, and a mutator of
//! hostile input.

pub mod fuzz;
pub mod registry;
pub mod world;
