//! Conformance: behaviours of Kubernetes as a client sees them, written against `kube::Client` and
//! `Transport` alone, so that the same bodies judge the simulator and a real cluster.
//!
//! `SEATRIAL_ENGINE` chooses: `sim` (a cluster for each body, at the minor of
//! `SEATRIAL_KUBERNETES`), or `kind` and `kubeconfig` (one real cluster for all). Names, filters and
//! `--list` are those of `cargo test`. What a run that was killed has left on a real cluster goes with
//! `kubectl delete namespaces -l seatrial.dev/conformance`. DIVERGENCES.md lists where the two differ.

mod api;
mod autoscaling;
mod body;
mod endpoints;
mod ingress;
mod needs;
mod pods;
mod real;
mod scheduling;
mod served;
mod support;
mod volumes;
mod workloads;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use libtest_mimic::{Arguments, Completion, Trial};

use seatrial::base::{Error, ErrorClass};
use seatrial::cli::{Args, Command, Settings};
use seatrial::engine::Engine;
use seatrial::engine::sim::{self, ClusterSpec, Profile};

use self::body::Body;
use self::real::Session;

/// Workers of the simulated cluster, as in the kind configuration.
const N_WORKERS: usize = 3;

/// All bodies, by module.
fn bodies() -> Vec<(String, Body)> {
    let modules = [
        ("api", api::bodies()),
        ("autoscaling", autoscaling::bodies()),
        ("endpoints", endpoints::bodies()),
        ("ingress", ingress::bodies()),
        ("pods", pods::bodies()),
        ("scheduling", scheduling::bodies()),
        ("volumes", volumes::bodies()),
        ("workloads", workloads::bodies()),
    ];
    let named = |(module, bodies): (&str, Vec<Body>)| {
        let name = |body: Body| (format!("{module}::{}", body.name), body);
        bodies.into_iter().map(name).collect::<Vec<_>>()
    };
    modules.into_iter().flat_map(named).collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let run = || match std::env::var("SEATRIAL_ENGINE").as_deref() {
        Err(_) | Ok("sim" | "auto") => on_sim(&arguments),
        // Listing opens no cluster.
        Ok("kind" | "kubeconfig") if arguments.list => on_sim(&arguments),
        Ok("kind" | "kubeconfig") => on_real(arguments.clone()),
        Ok(other) => Err(Error::usage(format!(
            "SEATRIAL_ENGINE={other} is unknown; choose sim, kind or kubeconfig"
        ))),
    };
    run().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(if error.class() == ErrorClass::Usage { 2 } else { 3 })
    })
}

fn headline(arguments: &Arguments, title: &str) {
    if !arguments.list {
        // Nobody to tell when the pipe is closed.
        let _ = writeln!(std::io::stdout(), "conformance of {title}");
    }
}

fn on_sim(arguments: &Arguments) -> Result<ExitCode, Error> {
    let profile = match std::env::var("SEATRIAL_KUBERNETES") {
        Ok(text) => text.parse().map_err(|error: String| Error::usage(error))?,
        Err(_) => Profile::NEWEST,
    };
    headline(arguments, &format!("sim, Kubernetes {profile}"));
    let trial = |(name, body): (String, Body)| {
        Trial::ignorable_test(name, move || judge_sim(body, profile).map_err(Into::into))
    };
    let trials = bodies().into_iter().map(trial).collect();
    Ok(libtest_mimic::run(arguments, trials).exit_code())
}

/// Judges a simulated cluster of its own.
fn judge_sim(body: Body, profile: Profile) -> Result<Completion, String> {
    let mut spec = ClusterSpec::new(profile, N_WORKERS);
    let images = support::images();
    spec.images = vec![images.pause.clone(), images.nginx.clone()];
    let namespace = body.name.replace('_', "-");
    let run = sim::run(&spec, 1, async |engine| {
        let engine: Arc<dyn Engine> = engine;
        body.judge(engine, &namespace, "seatrial.dev/conformance=sim").await
    });
    run.map_err(|error| error.to_string())?.value
}

/// The settings are those of `seatrial run`; its stack says which add-ons the cluster gets.
fn on_real(mut arguments: Arguments) -> Result<ExitCode, Error> {
    let typed = Args::try_parse_from(["seatrial", "run"]);
    let typed = typed.map_err(|error| Error::usage(error.to_string()))?;
    let Command::Run(typed) = typed.command else {
        return Err(Error::usage("`run` was not understood"));
    };
    let settings = Settings::resolve(&typed)?;
    arguments.test_threads = arguments.test_threads.or(Some(real::N_PARALLEL));
    let session = Session::open(settings)?;
    headline(&arguments, &session.title);
    let judge = session.hand_over();
    let trial = |(name, body): (String, Body)| {
        let judge = judge.clone();
        Trial::ignorable_test(name, move || judge(body).map_err(Into::into))
    };
    let trials = bodies().into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(judge);
    session.close()?;
    Ok(conclusion.exit_code())
}
