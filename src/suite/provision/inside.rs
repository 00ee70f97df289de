//! What removing has to do inside of clusters: our objects go from those of others, and mounts are let
//! go of before a cluster of ours does.

mod pass;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Tell, Workshop};
use crate::addons;
use crate::base::{Error, in_full, secs};
use crate::engine::host::signals::{Signals, Urgency};
use crate::engine::host::{InClusters, LEASE_LABEL, LeaseFile};
use crate::engine::real::Access;

use pass::remove_labelled;

/// A cluster that works answers at once.
const ANSWERS: Duration = secs(15);

/// Talks to clusters with their kubeconfigs.
pub struct Inside {
    tell: Tell,
    signals: Option<Signals>,
    leases: PathBuf,
    /// Whether a cluster that does not answer is waited for.
    is_patient: bool,
}

impl Inside {
    /// For what a run has made that ends now: its cluster was there a moment ago.
    pub fn new(workshop: &Workshop) -> Self {
        Inside {
            tell: workshop.tell.clone(),
            signals: workshop.signals.clone(),
            leases: workshop.paths.leases(),
            is_patient: true,
        }
    }

    /// For what dead runs have left, perhaps in clusters that are gone too.
    pub fn of_the_dead(workshop: &Workshop) -> Self {
        Inside { is_patient: false, ..Inside::new(workshop) }
    }

    async fn remove_objects(&self, lease: &str, access: &Access) -> Result<(), Error> {
        let client = access.client()?;
        if !self.is_patient {
            let asked = tokio::time::timeout(ANSWERS, client.apiserver_version()).await;
            let silent = match asked {
                Ok(asked) => asked.err().map(|error| in_full(&error)),
                Err(_) => Some(format!("no answer in {} s", ANSWERS.as_secs())),
            };
            if let Some(why) = silent {
                return Err(Error::environment(format!("its cluster does not answer ({why})")));
            }
        }
        let gone = remove_labelled(&client, lease).await;
        let unseen = gone.map_err(|error| Error::environment(error.to_string()))?;
        if !unseen.is_empty() {
            (self.tell)(&format!(
                "of lease {lease}, objects of these kinds could not be looked for, and stay if \
                 there are any: {}; they have the label {LEASE_LABEL}={lease}",
                unseen.join(", ")
            ));
        }
        Ok(())
    }
}

impl InClusters for Inside {
    fn remove<'a>(
        &'a self,
        lease: &'a str,
        kubeconfig: &'a str,
        context: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let access = Access {
                kubeconfig: (!kubeconfig.is_empty()).then(|| kubeconfig.into()),
                context: Some(context.to_owned()),
            };
            let removed = self.remove_objects(lease, &access).await;
            removed.map_err(|error| {
                Error::environment(format!(
                    "{error}; they have the label {LEASE_LABEL}={lease}; if the cluster is gone for \
                     good, delete {}",
                    LeaseFile::path_in(&self.leases, lease).display()
                ))
            })
        })
    }

    fn before_delete<'a>(&'a self, kubeconfig: &'a Path) -> BoxFuture<'a, ()> {
        let access = Access { kubeconfig: Some(kubeconfig.to_owned()), context: None };
        Box::pin(async move {
            // A cluster that cannot be reached any more has nothing that could be asked to let go.
            let Ok(client) = access.client() else { return };
            let in_a_hurry = async {
                match &self.signals {
                    Some(signals) => signals.until(Urgency::Hurry).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = in_a_hurry => {}
                let_go = addons::before_delete(&client) => {
                    if let Err(mounted) = let_go {
                        (self.tell)(&mounted.to_string());
                    }
                }
            }
        })
    }
}
