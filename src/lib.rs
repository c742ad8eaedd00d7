//! rmnet
pub mod graph;
pub mod kernel;
pub mod tensor;
