//! rmnet
