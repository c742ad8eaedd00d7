//! rmnet
pub mod checkpoint;
pub mod graph;
pub mod kernel;
pub mod models;
pub mod preprocess;
pub mod tensor;
