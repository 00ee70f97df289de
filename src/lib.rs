#![doc = include_str!("ARCHITECTURE.md")]

pub mod base;
pub mod engine;
pub mod k8s;
pub mod load;
pub mod observe;
pub mod report;
pub mod sim;
pub mod wait;
