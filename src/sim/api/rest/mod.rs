//! REST: requests as clients send them: paths, verbs, selectors, patches, watches, subresources, discovery
//! (`apiserver/pkg/endpoints`).

mod answer;
mod call;
mod convert;
mod definitions;
mod discovery;
mod fields;
mod list;
mod lists;
mod managed;
mod metrics;
mod patch;
mod patch_apply;
mod patch_strategic;
mod path;
mod pods;
mod scale;
mod scaled;
mod selector;
mod serve;
mod served;
mod strict;
#[cfg(test)]
mod tests;
mod verbs;
mod watch;

pub use serve::{Served, serve};
pub use watch::{RestEvent, Watches};
