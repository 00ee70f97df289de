//! What the engine exports of the nodes: their journals, and the logs of pods that are the cluster's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use crate::base::secs;
use crate::engine::NodeLogs;

use super::files::Files;

/// The rest of the time for gathering is for reading what was exported.
const EXPORTED: Duration = secs(90);
/// The folder of a node with the logs of its pods, each in a folder `<namespace>_<pod>_<uid>`.
const PODS: &str = "pods";
/// The same logs once more.
const CONTAINERS: &str = "containers";

/// Writes what the engine exports. The pods in `gathered` namespaces are left out: their logs are
/// written already. What is exported tells secrets, so it goes to a place that nobody keeps first.
pub(super) async fn write(logs: &dyn NodeLogs, gathered: &BTreeSet<String>, files: &mut Files) {
    let taken = async {
        let scratch = tempfile::tempdir_in(logs.place()).map_err(|error| error.to_string())?;
        let exported = match tokio::time::timeout(EXPORTED, logs.export(scratch.path())).await {
            Ok(exported) => exported.map_err(|error| error.to_string()),
            Err(_) => Err(format!("exporting took longer than {} s", EXPORTED.as_secs())),
        };
        // A part is better than nothing.
        let taken = take(scratch.path(), "nodes", gathered, files);
        exported.and(taken.map_err(|error| error.to_string()))
    };
    if let Err(error) = taken.await {
        files.write("nodes.txt", &format!("the nodes' journals are incomplete: {error}\n"));
    }
}

/// Takes the texts below `folder` over as files below `name`, files before folders: where there is
/// too much, the journals are there.
fn take(
    folder: &Path,
    name: &str,
    gathered: &BTreeSet<String>,
    files: &mut Files,
) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // Links lead to what is there anyway, or out of here.
        if kind.is_dir() || kind.is_file() {
            entries.push((kind.is_dir(), entry.file_name().to_string_lossy().into_owned(), entry));
        }
    }
    entries.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let within_pods = folder.file_name().is_some_and(|last| last == PODS);
    for (is_folder, file_name, entry) in entries {
        let name = format!("{name}/{file_name}");
        let namespace = file_name.split('_').next().unwrap_or_default();
        if !is_folder {
            files.import(&name, &entry.path())?;
        } else if file_name != CONTAINERS && !(within_pods && gathered.contains(namespace)) {
            take(&entry.path(), &name, gathered, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;

    use super::super::redact::Redactor;
    use super::*;

    #[test]
    fn exported_texts_are_redacted_and_no_log_is_taken_twice() {
        let exported = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("worker/journal.log", "mount with hunter2-long\n"),
            ("worker/pods/web_front-1_uid/main/0.log", "login hunter2-long\n"),
            ("worker/pods/ingress-nginx_it_uid/main/0.log", "GET /?pw=hunter2-long 200\n"),
            ("worker/containers/front-1_web_main-id.log", "login hunter2-long\n"),
            ("worker/state.gz", "\0hunter2-long"),
        ] {
            let path = exported.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let data = [("password".to_owned(), ByteString(b"hunter2-long".to_vec()))];
        let secret = Secret { data: Some(data.into()), ..Secret::default() };
        let redactor = Redactor::of(&[secret], [], &BTreeSet::new());
        let kept = tempfile::tempdir().expect("a folder");
        let mut files = Files::new(kept.path().to_owned(), redactor);
        let gathered = BTreeSet::from(["web".to_owned()]);
        take(exported.path(), "nodes", &gathered, &mut files).expect("all is read");
        let read = |name: &str| fs::read_to_string(kept.path().join(name)).ok();
        assert_eq!(read("nodes/worker/journal.log").as_deref(), Some("mount with <redacted>\n"));
        let own = read("nodes/worker/pods/ingress-nginx_it_uid/main/0.log");
        assert_eq!(own.as_deref(), Some("GET /?pw=<redacted> 200\n"));
        for left_out in ["pods/web_front-1_uid", "containers", "state.gz"] {
            assert!(!kept.path().join("nodes/worker").join(left_out).exists(), "{left_out}");
        }
    }
}
