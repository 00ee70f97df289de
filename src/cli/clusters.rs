//! The commands about clusters and the machine: `up`, `down`, `gc`, `doctor`.

use std::path::Path;

use crate::base::Error;
use crate::engine::doctor::{Level, render, worst};
use crate::engine::host::{Scope, Thing, read_all, sweep_with};
use crate::stack::Stack;
use crate::suite::provision::{self, Fate, Inside, Place, Wanted, Workshop};

use super::args::{DownArgs, EngineArg, GcArgs, TargetArgs, UpArgs};
use super::config::Config;
use super::exit::Exit;
use super::real::{self, Screen};
use super::run::{complain, say, unless_interrupted, whisper};
use super::said::Said;
use super::settings::{ClusterSettings, kubernetes, manifests, no_stack};

/// Brings up a kind cluster with the add-ons of a stack and leaves it running.
///
/// # Errors
/// As a run that cannot start.
pub(super) fn up(args: &UpArgs) -> Result<Exit, Error> {
    let not_kind =
        |said: &&Said<EngineArg>| matches!(said.value, EngineArg::Sim | EngineArg::Kubeconfig);
    if let Some(said) = args.engine.as_ref().filter(not_kind) {
        let why = "`up` makes kind clusters: leave it out, or say kind";
        return Err(Config::default().wrong(said, why));
    }
    let (wanted, stack) = read(&args.target)?;
    let stack = stack.ok_or_else(no_stack)?;
    let workshop = real::workshop(whisper())?;
    if args.dry_run {
        let commands = provision::dry_run(&wanted, &stack, &workshop.paths, Fate::Keep);
        for command in real::block_on(commands)?? {
            say(&format!("{command}\n"));
        }
        return Ok(Exit::Passed);
    }
    let (board, _watching) = real::show_board(whisper(), workshop.signals.as_ref(), Screen::Ours);
    let up = real::block_on(board.up(async {
        let cluster = real::bring_up(&wanted, &stack, &workshop).await?;
        say(&format!("{}\n", real::how_to_use(&cluster)));
        cluster.end(Fate::Keep).await
    }))?;
    // A signal that came when all was done changes nothing about it.
    let interrupted = up.is_err().then(|| interrupted(&workshop)).flatten();
    unless_interrupted(up.map(|()| Exit::Passed), interrupted)
}

/// The kind cluster that is meant, and the stack that it is for, if there is one.
fn read(args: &TargetArgs) -> Result<(Wanted, Option<Stack>), Error> {
    let config = Config::load(args.config.as_ref(), args.manifests.as_ref())?;
    let cluster = ClusterSettings::resolve(&args.cluster, &config)?;
    let kubernetes = kubernetes(args.kubernetes.as_ref(), &config, Some(&cluster))?;
    let stack = manifests(args.manifests.as_ref(), &config)?
        .map(|path| Stack::load(&path, &kubernetes))
        .transpose()?;
    let wanted = Wanted {
        place: Place::Kind(real::kind_wish(&cluster, false)),
        kubernetes,
        addons: cluster.addons,
        purpose: "cluster",
    };
    Ok((wanted, stack))
}

/// Removes clusters that were left running on purpose.
///
/// # Errors
/// Environment: something is left; usage: there is no cluster of that name.
pub(super) fn down(args: &DownArgs) -> Result<Exit, Error> {
    let workshop = real::workshop(whisper())?;
    let Some(name) = &args.name else { return sweep(&workshop, &Scope::All) };
    let leases = leases_of_clusters(&workshop.paths.leases())?;
    // The lease of a shared cluster has an id of its own.
    let known = leases.iter().find(|(cluster, lease)| name == cluster || name == lease);
    let Some((_, lease)) = known else {
        let known: Vec<&str> = leases.iter().map(|(cluster, _)| cluster.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Error::usage(format!(
            "no cluster `{name}` was left running; there is {known}"
        )));
    };
    sweep(&workshop, &Scope::Only(lease.clone()))
}

/// Removes what runs that died have left.
///
/// # Errors
/// Environment: something is left.
pub(super) fn gc(args: &GcArgs) -> Result<Exit, Error> {
    let scope = if args.all { Scope::All } else { Scope::Dead };
    sweep(&real::workshop(whisper())?, &scope)
}

fn sweep(workshop: &Workshop, scope: &Scope) -> Result<Exit, Error> {
    let (board, _watching) = real::show_board(whisper(), workshop.signals.as_ref(), Screen::Ours);
    let swept = real::block_on(board.up(unless_signalled(workshop, async {
        let inside = Inside::of_the_dead(workshop);
        sweep_with(&workshop.paths, &workshop.programs, scope, Some(&inside)).await
    })))?;
    let swept = match swept {
        Ok(swept) => swept,
        Err(exit) => return Ok(exit),
    };
    if swept.busy {
        return Err(Error::environment("another Seatrial sweeps at this moment; try again"));
    }
    let lines = swept.lines();
    if lines.is_empty() {
        say("nothing to remove\n");
    }
    for line in lines {
        say(&format!("{line}\n"));
    }
    let is_done = match scope {
        // What it was for is in use, or on another machine, as a line above says.
        Scope::Only(_) => swept.is_clean() && !swept.leases.is_empty(),
        Scope::Dead | Scope::All => swept.is_clean(),
    };
    Ok(if is_done { Exit::Passed } else { Exit::Environment })
}

/// What `work` comes to, or how the command ends because of a signal. What is not removed by then stays
/// in its lease.
async fn unless_signalled<T>(
    workshop: &Workshop,
    work: impl Future<Output = T>,
) -> Result<T, Exit> {
    provision::unless_interrupted(workshop, work).await.map_err(|error| {
        complain(&error);
        interrupted(workshop).map_or(Exit::Environment, Exit::Signal)
    })
}

/// The exit code of a command that a signal has ended.
fn interrupted(workshop: &Workshop) -> Option<u8> {
    Some(workshop.signals.as_ref()?.interrupt()?.exit_code())
}

/// Names of clusters, each with the lease in `folder` that it belongs to.
fn leases_of_clusters(folder: &Path) -> Result<Vec<(String, String)>, Error> {
    let leases = read_all(folder)?.into_iter().filter_map(|found| found.content.ok());
    let clusters = leases.flat_map(|lease| {
        let id = lease.id;
        lease.things.into_iter().filter_map(move |thing| match thing {
            Thing::KindCluster { name, .. } => Some((name, id.clone())),
            _ => None,
        })
    });
    Ok(clusters.collect())
}

/// Examines this machine.
///
/// # Errors
/// Usage: a setting or the manifests cannot be read.
pub(super) fn doctor(args: &TargetArgs) -> Result<Exit, Error> {
    let (wanted, stack) = read(args)?;
    let workshop = real::workshop(whisper())?;
    if stack.is_none() {
        whisper()("no stack is named (--manifests PATH): what its add-ons need is not looked at");
    }
    let stack = stack.unwrap_or_default();
    let (board, _watching) = real::show_board(whisper(), workshop.signals.as_ref(), Screen::Ours);
    let findings = real::block_on(board.up(unless_signalled(&workshop, async {
        real::sweep_dead(&workshop).await;
        provision::findings(&wanted, &stack, &workshop).await
    })))?;
    let findings = match findings {
        Ok(findings) => findings,
        Err(exit) => return Ok(exit),
    };
    for line in render(&findings) {
        say(&format!("{line}\n"));
    }
    Ok(if worst(&findings) == Level::Fatal { Exit::Environment } else { Exit::Passed })
}
