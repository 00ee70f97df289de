//! K8s: typed Kubernetes values and pure questions about them.
//! Owns: quantities, selectors, conditions, owners; defaults, validation, schemas, served versions, coverage of fields.
//! Imports: base. Never: kube, sim.
//! Time and errors: pure functions; malformed input is `None` or an error text.
//! Source: apimachinery. Proof: unit tests beside each function.

pub mod coverage;
mod custom;
pub mod defaults;
mod image;
mod ingress_class;
mod node_selector;
mod owner;
mod percent;
mod pod;
mod profile;
mod qos;
mod quantity;
mod reference;
pub mod rook;
pub mod schema;
mod selector;
pub mod served;
mod service_port;
pub mod validate;
mod volume;

pub use custom::CustomKind;
pub use image::reported_image;
pub use ingress_class::{CLASS_ANNOTATION, annotation_flag, is_nginx_ingress};
pub use node_selector::{fits_node, node_term_matches};
pub use owner::controller_of;
pub use percent::{Rounding, scaled_value};
pub use pod::{
    has_finished, is_pod_active, is_pod_ready, is_terminating, killed_for_memory, memory_kills,
    pod_condition,
};
pub use profile::Profile;
pub use qos::qos_class;
pub use quantity::{bytes, milli};
pub use reference::image_reference;
pub use selector::{matches_labels, matches_selector, selector_string};
pub use service_port::{is_backend_port, is_tcp};
pub use volume::{claim_class, claim_phase, claim_volume, pod_claims, volume_phase};
