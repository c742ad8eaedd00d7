//! rmnet
pub mod checkpoint;
pub mod graph;
pub mod kernel;
pub mod models;
pub mod plan;
pub mod preprocess;
pub mod reference;
pub mod rewrite;
pub mod tensor;
pub mod verify;
