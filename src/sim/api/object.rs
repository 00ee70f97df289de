//! Stored objects: typed for the kinds the simulator acts on, untyped for all others.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::{CronJob, Job},
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Endpoints, Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
        Secret, Service, ServiceAccount,
    },
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
    policy::v1::PodDisruptionBudget,
    scheduling::v1::PriorityClass,
    storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind the store knows, as an index into the registry (`Registry`): the typed kinds come first,
/// custom ones are added when their definition appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(pub u16);

/// An untyped object: a custom resource, or a built-in kind that the simulator only stores.
#[derive(Clone, Debug, PartialEq)]
pub struct Untyped {
    /// Which kind it is.
    pub kind: Kind,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Everything else: the object without `apiVersion`, `kind` and `metadata`.
    pub body: serde_json::Map<String, Value>,
}

/// A kind with a Rust type, stored without going through JSON.
pub trait Typed:
    Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind's index.
    const KIND: Kind;
    /// The object as the store keeps it.
    fn wrap(this: Arc<Self>) -> Obj;
    /// The object, if it is of this kind.
    fn peel(obj: &Obj) -> Option<&Arc<Self>>;
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

macro_rules! typed_kinds {
    ($($idx:literal $variant:ident = $const:ident),+ $(,)?) => {
        /// An object in the store; cloning is cheap.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Obj {
            $(#[doc = concat!("A `", stringify!($variant), "`.")] $variant(Arc<$variant>),)+
            /// Any other kind.
            Other(Arc<Untyped>),
        }

        impl Kind {
            $(#[doc = concat!("`", stringify!($variant), "`.")] pub const $const: Kind = Kind($idx);)+
            /// The number of typed kinds; higher indexes are untyped.
            pub const TYPED: u16 = [$(stringify!($variant)),+].len() as u16;
        }

        impl Obj {
            /// The kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Obj::$variant(_) => Kind::$const,)+
                    Obj::Other(o) => o.kind,
                }
            }

            /// The metadata.
            pub fn meta(&self) -> &ObjectMeta {
                match self {
                    $(Obj::$variant(o) => &o.metadata,)+
                    Obj::Other(o) => &o.metadata,
                }
            }

            /// The metadata, to change; clones the object if it is shared.
            pub fn meta_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(Obj::$variant(o) => &mut Arc::make_mut(o).metadata,)+
                    Obj::Other(o) => &mut Arc::make_mut(o).metadata,
                }
            }

            /// The whole object as JSON, without `apiVersion` and `kind` for typed kinds
            /// (the API layer writes those for the version asked for).
            pub fn to_json(&self) -> Value {
                match self {
                    $(Obj::$variant(o) => serde_json::to_value(o.as_ref()),)+
                    Obj::Other(o) => {
                        let mut map = o.body.clone();
                        return match serde_json::to_value(&o.metadata) {
                            Ok(meta) => { map.insert("metadata".into(), meta); Value::Object(map) }
                            Err(_) => Value::Object(map),
                        };
                    }
                }
                .unwrap_or(Value::Null)
            }

            /// A typed object as the bytes of its JSON in the stored version, with `apiVersion` and
            /// `kind`; `None` for an untyped one.
            pub fn to_vec(&self) -> Option<Vec<u8>> {
                match self {
                    $(Obj::$variant(o) => serde_json::to_vec(o.as_ref()).ok(),)+
                    Obj::Other(_) => None,
                }
            }

            /// Reads an object of `kind` from JSON.
            ///
            /// # Errors
            /// Says which field has the wrong type.
            pub fn from_json(kind: Kind, value: Value) -> Result<Obj, serde_json::Error> {
                match kind {
                    $(Kind::$const => serde_json::from_value::<$variant>(value).map(|o| Obj::$variant(Arc::new(o))),)+
                    _ => {
                        let mut body = match value { Value::Object(map) => map, _ => Default::default() };
                        body.remove("apiVersion");
                        body.remove("kind");
                        let metadata = serde_json::from_value(body.remove("metadata").unwrap_or_default())?;
                        Ok(Obj::Other(Arc::new(Untyped { kind, metadata, body })))
                    }
                }
            }
        }

        $(impl Typed for $variant {
            const KIND: Kind = Kind::$const;
            fn wrap(this: Arc<Self>) -> Obj { Obj::$variant(this) }
            fn peel(obj: &Obj) -> Option<&Arc<Self>> {
                match obj { Obj::$variant(o) => Some(o), _ => None }
            }
            fn meta(&self) -> &ObjectMeta { &self.metadata }
            fn meta_mut(&mut self) -> &mut ObjectMeta { &mut self.metadata }
        })+
    };
}

typed_kinds! {
    0 Namespace = NAMESPACE,
    1 Node = NODE,
    2 Pod = POD,
    3 Service = SERVICE,
    4 Endpoints = ENDPOINTS,
    5 EndpointSlice = ENDPOINT_SLICE,
    6 ConfigMap = CONFIG_MAP,
    7 Secret = SECRET,
    8 ServiceAccount = SERVICE_ACCOUNT,
    9 PersistentVolume = PERSISTENT_VOLUME,
    10 PersistentVolumeClaim = PERSISTENT_VOLUME_CLAIM,
    11 StorageClass = STORAGE_CLASS,
    12 VolumeAttachment = VOLUME_ATTACHMENT,
    13 CSIDriver = CSI_DRIVER,
    14 CSINode = CSI_NODE,
    15 Deployment = DEPLOYMENT,
    16 ReplicaSet = REPLICA_SET,
    17 StatefulSet = STATEFUL_SET,
    18 DaemonSet = DAEMON_SET,
    19 ControllerRevision = CONTROLLER_REVISION,
    20 Job = JOB,
    21 CronJob = CRON_JOB,
    22 HorizontalPodAutoscaler = HPA,
    23 PodDisruptionBudget = PDB,
    24 Ingress = INGRESS,
    25 IngressClass = INGRESS_CLASS,
    26 Lease = LEASE,
    27 Event = EVENT,
    28 PriorityClass = PRIORITY_CLASS,
}

impl Obj {
    /// The object as `T`, if it is one.
    pub fn as_typed<T: Typed>(&self) -> Option<&Arc<T>> {
        T::peel(self)
    }

    /// Namespace; empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or("")
    }

    /// Name.
    pub fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or("")
    }
}
