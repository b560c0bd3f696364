//! Stores: where events are read from.

pub mod postgres;
