#![doc = include_str!("ARCHITECTURE.md")]

pub mod addons;
pub mod base;
pub mod cli;
pub mod engine;
pub mod k8s;
pub mod load;
pub mod observe;
pub mod report;
pub mod sim;
pub mod stack;
pub mod suite;
#[path = "../suites/mod.rs"]
pub mod suites;
pub mod wait;
