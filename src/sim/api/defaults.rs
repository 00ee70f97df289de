//! Defaulting: what a GET shows after a minimal POST (`pkg/apis/*/v1/defaults.go`).

use super::object::Obj;
use super::store::Part;
use crate::sim::profile::Profile;

/// Fills in the defaults of `object`'s kind.
pub fn apply(_object: &mut Obj, _profile: &Profile) {}

/// What the kind's strategy does before a create: drops status, sets generation 1
/// (`registry/*/strategy.go:PrepareForCreate`).
pub fn prepare_for_create(_object: &mut Obj) {}

/// What the kind's strategy does before an update: keeps the part not written, keeps immutable
/// metadata, bumps the generation when the spec changed (`registry/*/strategy.go:PrepareForUpdate`).
pub fn prepare_for_update(_object: &mut Obj, _stored: &Obj, _part: Part) {}
