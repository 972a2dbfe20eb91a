//! Tests of control groups: plans as tables, device programs against their rules, and groups of this machine.

mod devices;
mod plans;
mod real;
mod v2_tree;
