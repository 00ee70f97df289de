//! The sweep: removes what runs that ended without cleaning up have left on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::file_lock::FileLock;
use super::lease::{Lease, STALE_AFTER, write_over};
use super::lease_file::{Found, LeaseFile, Thing, read, read_all};
use super::lock::{is_held, lock_file};
use super::paths::Paths;
use super::process::{Life, Look, Owner, kill_started_under};
use super::program::Programs;
use super::remove::{InClusters, Outcome, Remover, one_line};
use crate::base::{TEMPORARY_PREFIX, millis, secs, wall};

/// After a client of a container engine is killed, the engine may finish what it was asked for:
/// starting a container takes it about a second.
const SETTLE: Duration = secs(2);
/// How often a silent engine is asked, and how long: one that restarts answers again within some
/// ten seconds, on a busy machine within thirty.
const ENGINE_POLL: (Duration, Duration) = (secs(2), secs(60));
/// How often and how many times we look whether killed processes have ended.
const KILL_POLL: (Duration, u32) = (millis(50), 100);

/// Which leases a sweep is for. A lease whose owner lives is never swept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of owners that died.
    Dead,
    /// Of owners that died or left things in place on purpose.
    All,
    /// This one, if its owner has ended.
    Only(String),
}

/// What became of one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptLease {
    /// Whose, as in `a run that died (process 123)`.
    pub whose: String,
    /// What was there and is gone.
    pub removed: Vec<Thing>,
    /// What may be there still, and why.
    pub left: Vec<(Thing, String)>,
    /// Why the lease could not be ended although all is gone.
    pub trouble: Option<String>,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The leases it was for.
    pub leases: Vec<SweptLease>,
    /// Another process was sweeping, so this one did nothing.
    pub busy: bool,
    /// Why the leases could not be looked at.
    pub unseen: Option<String>,
    /// What else there is to say, as of files that are not understood.
    pub remarks: Vec<String>,
}

impl Swept {
    /// Whether nothing of the leases swept is left.
    pub fn is_clean(&self) -> bool {
        self.unseen.is_none()
            && self.leases.iter().all(|lease| lease.left.is_empty() && lease.trouble.is_none())
    }

    /// What to tell the user: nothing, or a line or two per lease.
    pub fn lines(&self) -> Vec<String> {
        let remarks = self.unseen.iter().chain(&self.remarks).cloned();
        self.leases.iter().flat_map(SweptLease::lines).chain(remarks).collect()
    }
}

impl SweptLease {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.removed.is_empty() {
            lines.push(format!("removed {} of {}", listed(self.removed.iter()), self.whose));
        }
        if let Some((_, why)) = self.left.first() {
            let things = listed(self.left.iter().map(|(thing, _)| thing));
            lines.push(format!(
                "left {things} of {}: {why}; mend it, then `seatrial gc`",
                self.whose
            ));
        }
        if let Some(why) = &self.trouble {
            lines.push(format!("removed all of {}, but not the lease: {why}", self.whose));
        }
        lines
    }
}

/// Things by name; files, of which there may be many, by number.
fn listed<'a>(things: impl Iterator<Item = &'a Thing>) -> String {
    let (files, others): (Vec<_>, Vec<_>) =
        things.partition(|thing| matches!(thing, Thing::Path { .. }));
    let mut words: Vec<String> = others.into_iter().map(Thing::to_string).collect();
    match &files[..] {
        [] => {}
        [one] => words.push(one.to_string()),
        many => words.push(format!("{} files and folders", many.len())),
    }
    words.join(", ")
}

/// Sweeps the leases of `scope`, leaving objects in clusters that are not ours.
pub async fn sweep(paths: &Paths, programs: &Programs, scope: &Scope) -> Swept {
    sweep_with(paths, programs, scope, None).await
}

/// Sweeps the leases of `scope`; `clusters` does what has to be done inside of clusters.
///
/// Each thing is struck out of its lease when it is seen to be gone, the newest first; the lease
/// goes last. Whatever stands in the way leaves the lease for the next sweep.
pub async fn sweep_with(
    paths: &Paths,
    programs: &Programs,
    scope: &Scope,
    clusters: Option<&dyn InClusters>,
) -> Swept {
    let folder = paths.leases();
    let mut swept = Swept::default();
    // One that cannot be asked for may be there: the lock tells why.
    if programs.is_dry() || matches!(folder.try_exists(), Ok(false)) {
        return swept;
    }
    let _lock = match FileLock::try_take(&lock_file(&folder)) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            swept.busy = true;
            return swept;
        }
        Err(error) => {
            swept.unseen = Some(one_line(&error));
            return swept;
        }
    };
    let found = match read_all(&folder) {
        Ok(found) => found,
        Err(error) => {
            swept.unseen = Some(one_line(&error));
            return swept;
        }
    };
    remove_temporaries(&folder);
    remove_temporaries(&paths.downloads());
    let here = Owner::current();
    let mut remover = Remover { paths, programs, clusters, silent: BTreeMap::new() };
    for Found { path, content } in found {
        match content {
            Err(why) => swept.remarks.extend(not_understood(&path, &why)),
            Ok(file) => match decide(&file, &here, scope) {
                Decision::Sweep => swept.leases.extend(sweep_one(&mut remover, &path).await),
                Decision::Leave(remark) => swept.remarks.extend(remark),
            },
        }
    }
    swept
}

/// Removes everything that `lease`, a lease of this process, names; the newest first. What is gone
/// is struck out; the lease itself stays for its owner to release. An engine that does not answer
/// may be restarting: it is waited for.
pub async fn give_back(
    paths: &Paths,
    programs: &Programs,
    lease: &Lease,
    clusters: Option<&dyn InClusters>,
) -> Swept {
    give_back_within(ENGINE_POLL, paths, programs, lease, clusters).await
}

async fn give_back_within(
    (poll, patience): (Duration, Duration),
    paths: &Paths,
    programs: &Programs,
    lease: &Lease,
    clusters: Option<&dyn InClusters>,
) -> Swept {
    let mut remover = Remover { paths, programs, clusters, silent: BTreeMap::new() };
    let strike_out = |thing: &Thing| {
        // A full disk changes nothing about what is gone; `Lease::release` tells of the rest.
        let _ = lease.is_gone(thing);
        None
    };
    let give_up = Instant::now() + patience;
    let mut removed = Vec::new();
    loop {
        let file = lease.file();
        let whose = format!("this {}", file.purpose);
        let mut swept = remove_all(&mut remover, &file, whose, strike_out).await;
        removed.append(&mut swept.removed);
        if std::mem::take(&mut remover.silent).is_empty() || Instant::now() >= give_up {
            swept.removed = removed;
            return Swept { leases: vec![swept], ..Swept::default() };
        }
        sleep(poll).await;
    }
}

/// Removes all things of `file`, the newest first. `strike_out` writes down that one is gone, or says
/// why it could not.
async fn remove_all(
    remover: &mut Remover<'_>,
    file: &LeaseFile,
    whose: String,
    mut strike_out: impl FnMut(&Thing) -> Option<String>,
) -> SweptLease {
    let mut swept = SweptLease { whose, removed: Vec::new(), left: Vec::new(), trouble: None };
    end_programs(remover.programs, file).await;
    let mut staying = None;
    for thing in file.things.iter().rev() {
        let outcome = match (&staying, thing) {
            (Some(cluster), Thing::Path { .. } | Thing::LoopDevice { .. }) => {
                Outcome::Left(format!("{cluster} is still there"))
            }
            _ => remover.remove(file, thing).await,
        };
        match outcome {
            Outcome::Left(why) => {
                if let Thing::KindCluster { .. } = thing {
                    // It can be unmounted from with its kubeconfig only, and its disks are in use.
                    staying = Some(thing.to_string());
                }
                swept.left.push((thing.clone(), why));
                continue;
            }
            Outcome::Removed => swept.removed.push(thing.clone()),
            Outcome::WasGone => {}
        }
        swept.trouble = strike_out(thing).or(swept.trouble);
    }
    swept
}

enum Decision {
    Sweep,
    Leave(Option<String>),
}

fn decide(file: &LeaseFile, here: &Owner, scope: &Scope) -> Decision {
    let asked = match scope {
        Scope::Dead => !file.kept,
        Scope::All => true,
        Scope::Only(id) => *id == file.id,
    };
    if !asked {
        return Decision::Leave(None);
    }
    let (id, machine, owner) = (&file.id, &file.owner.machine, &file.owner.process);
    if file.owner.life(here) == Life::Elsewhere {
        // While its heart beats, a run on another machine is nobody's concern here.
        let silent = wall::unix_seconds().saturating_sub(file.heartbeat) > STALE_AFTER.as_secs();
        let remark = format!("left {id} of machine {machine} alone: run `seatrial gc` there");
        return Decision::Leave(silent.then_some(remark));
    }
    if is_held(file, here) {
        let remark = format!("left {id} alone: {owner} uses it; end that first");
        return Decision::Leave(matches!(scope, Scope::Only(_)).then_some(remark));
    }
    Decision::Sweep
}

/// A file that is no lease of ours may still be the only trace of something: it stays.
fn not_understood(path: &Path, why: &str) -> Option<String> {
    // It may have been ended or written anew since it was read.
    let Some(Err(_)) = read(path) else { return None };
    let path = path.display();
    Some(format!("left the lease {path} alone: {why}; delete the file once nothing of it is left"))
}

async fn sweep_one(remover: &mut Remover<'_>, path: &Path) -> Option<SweptLease> {
    // Read again under the lock: it may have ended meanwhile.
    let Some(Ok(file)) = read(path) else { return None };
    let whose = match file.kept {
        true => format!("`{}`, kept until now", file.purpose),
        false => format!("a {} that died ({})", file.purpose, file.owner.process),
    };
    let mut left = file.clone();
    let strike_out = |thing: &Thing| {
        left.things.retain(|known| known != thing);
        // A full disk: what was struck out is looked for once more next time.
        write_over(path, &left).err().map(|error| one_line(&error))
    };
    let mut swept = remove_all(remover, &file, whose, strike_out).await;
    if left.things.is_empty() {
        swept.trouble = fs::remove_file(path).err().map(|error| one_line(&error));
    }
    Some(swept)
}

/// Ends programs of the lease `file` that may still make things, and waits for what the engine does
/// for those that were killed, now or when the run was cut short.
async fn end_programs(programs: &Programs, file: &LeaseFile) {
    let (poll, times) = KILL_POLL;
    let mut killed = programs.take_cut_short();
    for _ in 0..times {
        let look = kill_started_under(&file.id, &file.owner);
        if look == Look::default() {
            break;
        }
        killed |= look.killed > 0;
        sleep(poll).await;
    }
    if killed {
        sleep(SETTLE).await;
    }
}

/// Removes half-written files in `folder` whose writers died.
fn remove_temporaries(folder: &Path) {
    let now = wall::unix_seconds();
    let old = |path: &PathBuf| {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
        let since = modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(now.saturating_sub(since) > STALE_AFTER.as_secs())
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let path = entry.path();
        if name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes())
            && old(&path) == Some(true)
        {
            // If it cannot be removed now, the next sweep tries again.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
