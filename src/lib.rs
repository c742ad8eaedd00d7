//! rmnet
pub mod checkpoint;
pub mod graph;
pub mod kernel;
pub mod tensor;
