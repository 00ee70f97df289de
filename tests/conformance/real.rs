//! One real cluster that all bodies share: opened before the first, closed after the last.
//!
//! Its client lives on the runtime of one thread; the threads of the test harness hand bodies over.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;

use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::Completion;
use tokio::sync::{RwLock, mpsc};
use tokio::task::{LocalSet, spawn_local};

use seatrial::base::{Error, wall};
use seatrial::cli::{KeepArg, Settings};
use seatrial::engine::Engine;
use seatrial::k8s::reported_image;
use seatrial::suite::provision::Fate;

use super::body::Body;
use super::support::{Images, is_control_plane, set_images};

/// As much as runs have (`suite::session`): bringing a cluster up nests deeply in unoptimized builds.
const STACK_BYTES: usize = 32 << 20;

/// Bodies at once: more would make the pods of one slow those of another.
pub const N_PARALLEL: usize = 4;
/// What a namespace made here carries, with the number of the run.
const LABEL: &str = "seatrial.dev/conformance";

type Close = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<(), Error>>>;

/// A cluster that is up, and what is to be done when it is not needed any more.
struct Opened {
    engine: Arc<dyn Engine>,
    close: Close,
}

/// Makes or borrows the cluster of `settings`; its end is the reply's to call.
async fn open_cluster(settings: &Settings) -> Result<Opened, Error> {
    let tell = Arc::new(|line: &str| eprintln!("{line}"));
    let cluster = seatrial::cli::open_cluster(settings, tell).await?;
    let fate = match settings.keep {
        KeepArg::Always => Fate::Keep,
        KeepArg::Never | KeepArg::OnFailure => Fate::Remove,
    };
    let engine = cluster.engine();
    Ok(Opened { engine, close: Box::new(move || Box::pin(cluster.end(fate))) })
}

type Judged = Result<Completion, String>;

struct Job {
    body: Body,
    reply: std_mpsc::Sender<Judged>,
}

/// The open cluster.
pub struct Session {
    jobs: mpsc::UnboundedSender<Job>,
    thread: JoinHandle<Result<(), Error>>,
    /// Engine and version, for the headline.
    pub title: String,
}

impl Session {
    /// Opens the cluster on a thread of its own.
    pub fn open(settings: Settings) -> Result<Session, Error> {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (ready, opened) = std_mpsc::channel();
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn(move || serve(&settings, receiver, &ready)).expect("a thread");
        match opened.recv() {
            Ok(title) => Ok(Session { jobs, thread, title }),
            // The thread has ended without a word; its result says why.
            Err(_) => Err(joined(thread).err().unwrap_or_else(|| lost("did not open"))),
        }
    }

    /// What bodies are handed over to.
    pub fn hand_over(&self) -> impl Fn(Body) -> Judged + Send + Sync + Clone + use<> {
        let jobs = self.jobs.clone();
        move |body| {
            let (reply, judged) = std_mpsc::channel();
            jobs.send(Job { body, reply }).map_err(|_| "the cluster is closed".to_owned())?;
            judged.recv().unwrap_or_else(|_| Err("the cluster was closed meanwhile".into()))
        }
    }

    /// Closes the cluster when everything handed over is judged.
    pub fn close(self) -> Result<(), Error> {
        drop(self.jobs);
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or_else(|_| Err(lost("panicked")))
}

fn lost(how: &str) -> Error {
    Error::environment(format!("the thread of the cluster {how}"))
}

fn serve(
    settings: &Settings,
    jobs: mpsc::UnboundedReceiver<Job>,
    ready: &std_mpsc::Sender<String>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Error::environment(format!("cannot start a runtime: {e}")))?;
    LocalSet::new().block_on(&runtime, async {
        let opened = open_cluster(settings).await?;
        let judged = judge_all(Arc::clone(&opened.engine), jobs, ready).await;
        let closed = (opened.close)().await;
        judged.and(closed)
    })
}

async fn judge_all(
    engine: Arc<dyn Engine>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    ready: &std_mpsc::Sender<String>,
) -> Result<(), Error> {
    set_images(find_images(&*engine).await?);
    let title = format!("{}, Kubernetes {}", engine.name(), engine.kubernetes());
    // Nobody listens if the harness has ended already.
    let _ = ready.send(title);
    let run = format!("{:x}{:x}", wall::unix_seconds() & 0xf_ffff, std::process::id() & 0xfff);
    let label = format!("{LABEL}={run}");
    let quiet = Arc::new(RwLock::new(()));
    let mut tasks = Vec::new();
    while let Some(Job { body, reply }) = jobs.recv().await {
        let namespace = namespace(body.name, &run, tasks.len());
        let (engine, quiet, label) = (Arc::clone(&engine), Arc::clone(&quiet), label.clone());
        let judging = spawn_local(async move {
            // A body that wants to be alone waits for the others, and holds later ones back.
            let (_shared, _alone);
            if body.is_alone() {
                _alone = quiet.write().await;
            } else {
                _shared = quiet.read().await;
            }
            body.judge(engine, &namespace, &label).await
        });
        tasks.push(spawn_local(async move {
            let judged = judging.await.unwrap_or_else(|error| Err(format!("it panicked: {error}")));
            let _ = reply.send(judged);
        }));
    }
    futures::future::join_all(tasks).await;
    Ok(())
}

/// A name that is unique and short enough for those made from it.
fn namespace(body: &str, run: &str, n: usize) -> String {
    let text: String = body.replace('_', "-").chars().take(32).collect();
    format!("{}-{run}-{n}", text.trim_end_matches('-'))
}

/// The images that pods of bodies are made of: named by the environment, else found on the workers.
async fn find_images(engine: &dyn Engine) -> Result<Images, Error> {
    let nodes: Api<Node> = Api::all(engine.client());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.map_err(|e| Error::environment(format!("cannot list nodes: {e}")))?;
    let workers: Vec<Node> =
        nodes.items.into_iter().filter(|node| !is_control_plane(node)).collect();
    let find = |name: &str| {
        let variable = format!("SEATRIAL_{}_IMAGE", name.to_uppercase());
        std::env::var(&variable).ok().or_else(|| reported_image(&workers, name)).ok_or_else(|| {
            Error::environment(format!(
                "no image `{name}` is on all {} workers (status.images of the nodes)\n\
                 load one into the nodes, or name one that they can pull: {variable}=...",
                workers.len()
            ))
        })
    };
    Ok(Images { pause: find("pause")?, nginx: find("nginx")? })
}
