//! Load on the stack: lanes of requests, and the judgement of what became of them.

use http::Method;

use crate::load::{ArrivalPlan, Connection, Load, Record, Source};
use crate::observe::{CauseClass, attribute};

use super::stop::Stop;
use super::trial::Trial;

/// Kept connections are replaced at this age, as clients with a maximum connection age do; the
/// ones in use then always begin after the last few endpoint changes.
const CONNECTION_AGE_S: f64 = 10.0;
/// Kept connections of one lane.
const N_CONNECTIONS: u64 = 8;
/// The smallest load that says something about a claim of zero failures.
const MIN_EXPOSURE: usize = 100;
/// A call that WordPress answers without a session, and which is not idempotent.
const XMLRPC_HELLO: &str = "<?xml version=\"1.0\"?><methodCall><methodName>demo.sayHello\
                            </methodName><params></params></methodCall>";

/// One kind of requests at a rate.
#[derive(Clone, Debug)]
pub enum Lane {
    /// GET of a cheap path, each on a connection of its own.
    Fresh(ArrivalPlan),
    /// GET of a cheap path on kept connections, at a constant rate.
    Kept(f64),
    /// POST that the program answers, each on a connection of its own.
    Post(ArrivalPlan),
    /// GET of the front page, each on a connection of its own.
    Page(ArrivalPlan),
}

impl Lane {
    /// Its highest rate, where it asks for static files.
    fn static_per_second(&self) -> f64 {
        match self {
            Lane::Fresh(plan) => plan.peak(),
            Lane::Kept(per_second) => *per_second,
            Lane::Post(_) | Lane::Page(_) => 0.0,
        }
    }

    /// With a factor on its rates, where it asks for static files: their rates are chosen to meet
    /// short windows often, the others to be light.
    fn paced(self, factor: f64) -> Self {
        match self {
            Lane::Fresh(plan) => Lane::Fresh(plan.scaled(factor)),
            Lane::Kept(per_second) => Lane::Kept(per_second * factor),
            other => other,
        }
    }
}

impl Trial {
    /// Starts the load of `lanes`; pods are watched from now on, so that failures can be explained.
    ///
    /// # Errors
    /// The way in is unknown, or the API failed.
    pub async fn start_load(&self, lanes: Vec<Lane>) -> Result<Load, Stop> {
        let per_second: f64 = lanes.iter().map(Lane::static_per_second).sum();
        let factor = if per_second > 0.0 { self.pace_for(per_second).await? } else { 1.0 };
        let lanes = lanes.into_iter().map(|lane| lane.paced(factor));
        self.watch_pods().await?;
        let sources = lanes.map(|lane| self.source(lane)).collect::<Result<_, _>>();
        Ok(Load::start(self.transport(), sources.map_err(Stop::errored)?))
    }

    fn source(&self, lane: Lane) -> Result<Source, String> {
        let door = self.door()?;
        let cheap = || door.template(Method::GET, self.cheap_path());
        Ok(match lane {
            Lane::Fresh(plan) => {
                let get = cheap()?;
                Source {
                    name: "GET fresh",
                    plan,
                    call: Box::new(move |_| get.call(Connection::Fresh)),
                }
            }
            Lane::Kept(per_second) => {
                let get = cheap()?;
                // Numbers of this lane's connections never meet those of another.
                let base = self.unique() << 32;
                let call = move |n: u64| {
                    let generation = (n as f64 / (per_second * CONNECTION_AGE_S)) as u64;
                    let id = base + generation * N_CONNECTIONS + n % N_CONNECTIONS;
                    get.call(Connection::Kept(id))
                };
                let plan = ArrivalPlan::constant(per_second);
                Source { name: "GET kept", plan, call: Box::new(call) }
            }
            Lane::Post(plan) => {
                let post = match self.target().front.program {
                    super::target::Program::WordPress => {
                        door.template(Method::POST, "/xmlrpc.php")?.body("text/xml", XMLRPC_HELLO)
                    }
                    super::target::Program::Other => door
                        .template(Method::POST, self.page_path())?
                        .body("application/x-www-form-urlencoded", "seatrial=1"),
                };
                Source { name: "POST", plan, call: Box::new(move |_| post.call(Connection::Fresh)) }
            }
            Lane::Page(plan) => {
                let get = door.template(Method::GET, self.page_path())?;
                Source {
                    name: "GET page",
                    plan,
                    call: Box::new(move |_| get.call(Connection::Fresh)),
                }
            }
        })
    }

    /// Ends a load; its records count for the report.
    pub async fn stop_load(&self, load: Load) -> Vec<Record> {
        let records = load.stop().await;
        self.records.borrow_mut().extend(records.iter().cloned());
        records
    }

    /// Judges a claim of zero failures over `records`: `during` names the time they cover.
    ///
    /// # Errors
    /// Failed with the causes, or inconclusive when too little was sent.
    pub fn no_failures(&self, records: &[Record], during: &str) -> Result<String, Stop> {
        let n_failed = records.iter().filter(|record| !record.outcome.is_ok()).count();
        let expected = format!("no failed request during {during}");
        if n_failed == 0 && records.len() < MIN_EXPOSURE {
            let seen = format!("only {} requests were sent", records.len());
            return Err(Stop::inconclusive(expected, seen));
        }
        let stats = crate::load::Stats::of(records);
        if n_failed == 0 && !stats.kept_plan() {
            let seen = format!(
                "none of {} failed, but {} were sent too late, up to {:.0} ms: this machine is too \
                 busy to keep the plan",
                stats.planned, stats.late, stats.lag_max_ms
            );
            return Err(Stop::inconclusive(expected, seen));
        }
        if n_failed == 0 {
            let pace = self.pace.measured().map_or(String::new(), |affordable| {
                format!(" (at most {affordable:.0} a second, a quarter of what the cluster serves)")
            });
            return Ok(format!("{} requests{pace}, none failed during {during}", records.len()));
        }
        let seen = format!("{n_failed} of {} failed ({})", records.len(), classes(records));
        Err(self.blame_records(Stop::failed(expected, seen), records))
    }

    /// Adds the causes of the failed requests in `records` to `stop`.
    pub fn blame_records(&self, mut stop: Stop, records: &[Record]) -> Stop {
        for found in attribute(records, self.started(), &self.timeline()) {
            let cause = self.cause(found.class);
            let object = found.object.or(cause.object.clone());
            stop.causes.push(crate::observe::Cause {
                count: found.count,
                object,
                at_ms: Some(found.at_ms),
                ..cause
            });
        }
        stop
    }

    /// How many failures in `records` have the cause `class`.
    pub fn n_caused_by(&self, records: &[Record], class: CauseClass) -> u64 {
        attribute(records, self.started(), &self.timeline())
            .iter()
            .filter(|found| found.class == class)
            .map(|found| found.count)
            .sum()
    }
}

/// `2xx x100, refused x3`.
fn classes(records: &[Record]) -> String {
    let stats = crate::load::Stats::of(records);
    let classes = stats.by_class.iter().map(|(class, count)| format!("{class} x{count}"));
    classes.collect::<Vec<_>>().join(", ")
}
