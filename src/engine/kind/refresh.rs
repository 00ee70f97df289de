//! Refresh: what a kept cluster has loaded is compared with what the stack wants now; an image that
//! was built anew under its old name would be judged by its old content otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::Error;
use crate::wait::doing;

use super::cluster::KindCluster;
use super::container::Containers;
use super::create::saved_images;
use super::images::{ImagePlan, plan};
use super::load::load;
use super::ready;
use super::spec::KindSpec;

/// Name of the record in the cluster's folder: each source of images with its identity.
const RECORD: &str = "images.json";

/// Writes down what was loaded into `cluster`.
///
/// # Errors
/// The file cannot be written.
pub(super) fn remember(cluster: &KindCluster, plan: &ImagePlan) -> Result<(), Error> {
    let file = cluster.folder.join(RECORD);
    let mut known = known_in(&cluster.folder);
    known.extend(plan.identities.clone());
    let text = serde_json::to_string_pretty(&known)
        .map_err(|error| Error::environment(error.to_string()))?;
    std::fs::write(&file, text)
        .map_err(|error| Error::environment(format!("cannot write {}: {error}", file.display())))
}

/// Loads the images that `spec` wants and the kept `cluster` does not have, or has in an older state.
///
/// # Errors
/// Images are missing, or a node did not take one.
pub async fn refresh(
    cluster: &KindCluster,
    spec: &KindSpec,
    containers: &Containers,
) -> Result<(), Error> {
    let mut plan = doing("look for images", plan(spec, containers)).await?;
    leave_out(&mut plan, &known_in(&cluster.folder));
    if plan.archives.is_empty() && plan.local.is_empty() {
        return Ok(());
    }
    let saved = saved_images(&cluster.folder);
    let from_engine = (!plan.local.is_empty()).then_some(saved.as_path());
    if from_engine.is_some() {
        doing("save images", containers.save(&plan.local, &saved)).await?;
    }
    load(cluster, &plan, from_engine, containers).await?;
    if from_engine.is_some() {
        std::fs::remove_file(&saved).map_err(|error| {
            Error::environment(format!("cannot remove {}: {error}", saved.display()))
        })?;
    }
    ready::images(&ready::client(cluster)?, cluster, &plan, containers).await?;
    remember(cluster, &plan)
}

/// Leaves out of `plan` what is loaded already, as it is now.
fn leave_out(plan: &mut ImagePlan, known: &BTreeMap<String, String>) {
    let is_stale = |source: &str| known.get(source) != plan.identities.get(source);
    plan.archives.retain(|archive| is_stale(&archive.display().to_string()));
    plan.local.retain(|image| is_stale(image));
}

/// What was written down; nothing if that cannot be read: then all is loaded again.
fn known_in(folder: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder.join(RECORD)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_loaded_and_unchanged_is_left_out() {
        let plan = |app: &str| ImagePlan {
            archives: vec![PathBuf::from("/images/a.tar")],
            local: vec!["app:dev".into()],
            identities: BTreeMap::from([
                ("/images/a.tar".to_owned(), "10 1".to_owned()),
                ("app:dev".to_owned(), app.to_owned()),
            ]),
            ..ImagePlan::default()
        };
        let known = plan("sha256:1").identities;
        let left = |mut plan: ImagePlan, known: &BTreeMap<String, String>| {
            leave_out(&mut plan, known);
            (plan.archives.len(), plan.local.len())
        };
        assert_eq!(left(plan("sha256:1"), &known), (0, 0));
        assert_eq!(left(plan("sha256:2"), &known), (0, 1), "it was built anew");
        assert_eq!(left(plan("sha256:1"), &BTreeMap::new()), (1, 1), "nothing was written down");
    }
}
