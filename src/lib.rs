//! rmnet
pub mod graph;
pub mod kernel;
pub mod plan;
pub mod reference;
pub mod rewrite;
pub mod tensor;
pub mod verify;
