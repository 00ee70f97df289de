//! Load on the stack: lanes of requests, and the judgement of what became of them.

use std::borrow::Cow;

use http::Method;

use crate::load::{ArrivalPlan, Connection, Load, Record, Served, Source};
use crate::observe::{all_were_deleted, attribute};

use super::exposure::Exposure;
use super::http::Template;
use super::remedy::recreates;
use super::stop::Stop;
use super::target::Program;
use super::trial::Trial;

/// Kept connections are replaced at this age, as clients with a maximum connection age do; the
/// ones in use then always begin after the last few endpoint changes.
const CONNECTION_AGE_S: f64 = 10.0;
/// Kept connections of one lane.
const N_CONNECTIONS: u64 = 8;
/// The smallest load that says something about a claim of zero failures.
const MIN_EXPOSURE: usize = 100;
/// The smallest rate around the ends and starts of pods that says something. Nine ends, as in three
/// rollouts of three replicas, of 100 ms each, the usual time between a pod's end and the proxies'
/// taking note, are then met nine times out of ten by one request at least to one pod of four.
const MIN_PER_SECOND: f64 = 10.0;
/// Setup chose the cheap path for this answer.
const CHEAP: Served = Served::With(200);
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
    /// Its highest rates of static files and of posts.
    fn peaks(&self) -> (f64, f64) {
        match self {
            Lane::Fresh(plan) => (plan.peak(), 0.0),
            Lane::Kept(per_second) => (*per_second, 0.0),
            Lane::Post(plan) => (0.0, plan.peak()),
            Lane::Page(_) => (0.0, 0.0),
        }
    }

    /// With factors on its rates of static files and of posts. Pages are there to cost something.
    fn paced(self, static_files: f64, posts: f64) -> Self {
        match self {
            Lane::Fresh(plan) => Lane::Fresh(plan.scaled(static_files)),
            Lane::Kept(per_second) => Lane::Kept(per_second * static_files),
            Lane::Post(plan) => Lane::Post(plan.scaled(posts)),
            Lane::Page(plan) => Lane::Page(plan),
        }
    }
}

impl Trial {
    /// Starts the load of `lanes`; pods are watched from now on, so that failures can be explained.
    ///
    /// # Errors
    /// The way in is unknown, or the API failed.
    pub async fn start_load(&self, lanes: Vec<Lane>) -> Result<Load, Stop> {
        let (static_files, posts) = self.measure_pace(&lanes).await?;
        let lanes = lanes.into_iter().map(|lane| lane.paced(static_files, posts));
        let lanes: Vec<Lane> = lanes.collect();
        self.watch_pods().await?;
        let asks_for_pages = lanes.iter().any(|lane| matches!(lane, Lane::Page(_)));
        let page = if asks_for_pages { self.page_served().await } else { Served::Successfully };
        let sources = lanes.into_iter().map(|lane| self.source(lane, page));
        let sources = sources.collect::<Result<_, _>>();
        let sources = sources.map_err(Stop::errored)?;
        self.note_kills().await;
        Ok(Load::start(self.transport(), sources))
    }

    /// The shares of `lanes` that can be served: of static files and of posts. Measuring is a load by
    /// itself, so a scenario that waits for the stack to calm down calls this before.
    ///
    /// # Errors
    /// The way in is unknown.
    pub async fn measure_pace(&self, lanes: &[Lane]) -> Result<(f64, f64), Stop> {
        let peaks = lanes.iter().map(Lane::peaks);
        let (static_files, posts) = peaks.fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        let static_files = match static_files > 0.0 {
            true => self.pace_for(static_files).await?,
            false => 1.0,
        };
        let posts = if posts > 0.0 { self.pace_for_posts(posts).await? } else { 1.0 };
        Ok((static_files, posts))
    }

    /// How the front page is to be answered: a program other than WordPress may redirect from there, or
    /// have nothing there, and is held to what it did when first asked.
    async fn page_served(&self) -> Served {
        if self.target().front.program == Program::WordPress {
            return Served::Successfully;
        }
        if let Some(served) = self.page.get() {
            return served;
        }
        let served = match self.get(self.page_path()).await {
            Ok(reply) if reply.status < 500 => Served::With(reply.status),
            _ => return Served::Successfully,
        };
        self.page.set(Some(served));
        served
    }

    fn source(&self, lane: Lane, page: Served) -> Result<Source, String> {
        let door = self.door()?;
        let cheap = || door.template(Method::GET, self.cheap_path());
        Ok(match lane {
            Lane::Fresh(plan) => {
                let get = cheap()?;
                Source {
                    name: "GET fresh",
                    plan,
                    served: CHEAP,
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
                Source { name: "GET kept", plan, served: CHEAP, call: Box::new(call) }
            }
            Lane::Post(plan) => {
                let post = self.post()?;
                Source {
                    name: "POST",
                    plan,
                    served: Served::BelowServerError,
                    call: Box::new(move |_| post.call(Connection::Fresh)),
                }
            }
            Lane::Page(plan) => {
                let get = door.template(Method::GET, self.page_path())?;
                Source {
                    name: "GET page",
                    plan,
                    served: page,
                    call: Box::new(move |_| get.call(Connection::Fresh)),
                }
            }
        })
    }

    /// A POST that changes nothing.
    pub(super) fn post(&self) -> Result<Template, String> {
        let door = self.door()?;
        Ok(match self.target().front.program {
            Program::WordPress => {
                door.template(Method::POST, "/xmlrpc.php")?.body("text/xml", XMLRPC_HELLO)
            }
            Program::Other => door
                .template(Method::POST, self.page_path())?
                .body("application/x-www-form-urlencoded", "seatrial=1"),
        })
    }

    /// Ends a load; its records count for the report.
    pub async fn stop_load(&self, load: Load) -> Vec<Record> {
        let records = load.stop().await;
        self.records.borrow_mut().extend(records.iter().cloned());
        if records.iter().any(|record| !record.outcome.is_ok()) {
            self.look_for_kills().await;
        }
        self.confirm_pods().await;
        records
    }

    /// Judges a claim of zero failures over `records`: `during` names the time they cover.
    ///
    /// # Errors
    /// Failed with the causes, or inconclusive when too little was sent.
    pub fn no_failures(&self, records: &[Record], during: &str) -> Result<String, Stop> {
        self.judge_failures(records, during, 0)
    }

    /// As `no_failures`, for a claim about the ends and starts of the front's pods.
    ///
    /// # Errors
    /// Failed with the causes, or inconclusive when too little was sent around them.
    pub fn no_failures_around_pods(
        &self,
        records: &[Record],
        during: &str,
    ) -> Result<String, Stop> {
        self.judge_failures(records, during, MIN_EXPOSURE)
    }

    fn judge_failures(
        &self,
        records: &[Record],
        during: &str,
        min_exposed: usize,
    ) -> Result<String, Stop> {
        let stats = crate::load::Stats::of(records);
        let n_failed = stats.failed;
        let expected = format!("no failed request during {during}");
        if n_failed == 0 && records.len() < MIN_EXPOSURE {
            let seen = format!("only {} requests were sent", records.len());
            return Err(Stop::inconclusive(expected, seen));
        }
        if n_failed == 0
            && let Some(why) = &stats.not_sent
        {
            let n_unsent = stats.planned - stats.sent;
            let seen =
                format!("none of {} failed, but {n_unsent} were not sent: {why}", stats.sent);
            return Err(Stop::inconclusive(expected, seen));
        }
        if n_failed == 0 && !stats.kept_plan() {
            let seen = format!(
                "none of {} failed, but {} were sent too late, up to {:.0} ms: this machine is too \
                 busy to keep the plan",
                stats.planned, stats.late, stats.lag_max_ms
            );
            return Err(Stop::inconclusive(expected, seen));
        }
        let unseen = records.first().and_then(|first| self.unseen_pods(first.planned));
        if n_failed == 0 {
            if let Some(unseen) = unseen {
                let seen = format!("none of {} failed, but {unseen}", records.len());
                return Err(Stop::inconclusive(expected, seen));
            }
            let exposure = self.exposure(records);
            if let Some(seen) = too_little(&exposure, min_exposed) {
                return Err(Stop::inconclusive(expected, seen));
            }
            let around = match exposure.n_windows {
                0 => String::new(),
                n => {
                    format!(", {} of them around {n} ends and starts of pods", exposure.n_requests)
                }
            };
            let pace = self.pace.held_back().map_or(String::new(), |affordable| {
                format!(" (at most {affordable:.0} a second, a quarter of what the stack serves)")
            });
            let n = records.len();
            return Ok(format!("{n} requests{pace}{around}, none failed during {during}"));
        }
        let seen = format!("{n_failed} of {} failed ({})", records.len(), classes(records));
        let stop = self.blame_records(Stop::failed(expected, seen), records);
        Err(match unseen {
            Some(unseen) => stop.line(format!("causes may be others: {unseen}")),
            None => stop,
        })
    }

    /// Adds the causes of the failed requests in `records` to `stop`.
    pub fn blame_records(&self, mut stop: Stop, records: &[Record]) -> Stop {
        let timeline = self.front_timeline();
        let mut records = Cow::Borrowed(records);
        if recreates(&self.target().front.workload) {
            // Whatever failed otherwise as well: while all pods end at once, nobody could have served.
            let (out, others): (Vec<Record>, Vec<Record>) = records
                .iter()
                .cloned()
                .partition(|record| all_were_deleted(record, self.started(), &timeline));
            if let Some(first) = out.first() {
                let (count, at_ms) = (out.len() as u64, Some(self.ms(first.finished)));
                stop.causes.push(crate::observe::Cause { count, at_ms, ..self.outage() });
            }
            records = Cow::Owned(others);
        }
        for found in attribute(&records, self.started(), &timeline, &self.kills.borrow().found) {
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
}

/// Why `exposure` is too little, if it is.
fn too_little(exposure: &Exposure, min_exposed: usize) -> Option<String> {
    let Exposure { n_windows, n_requests, .. } = *exposure;
    if n_windows == 0 && min_exposed > 0 {
        return Some("no pod of the front was seen to end or to start".to_owned());
    }
    let around =
        format!("{n_requests} requests were due around {n_windows} ends and starts of pods");
    let per_second = exposure.per_second();
    // At the edges of a window one request may lie just outside.
    let least = MIN_PER_SECOND * exposure.window_ms as f64 / 1e3 - n_windows as f64;
    if (n_requests as f64) < least {
        return Some(format!(
            "{around}, {per_second:.1} a second; below {MIN_PER_SECOND:.0} a second most failures go \
             unseen: give the cluster or its containers more CPU"
        ));
    }
    (n_requests < min_exposed)
        .then(|| format!("only {around}, and {min_exposed} are the least that say something"))
}

/// `2xx x100, refused x3`.
fn classes(records: &[Record]) -> String {
    let stats = crate::load::Stats::of(records);
    let classes = stats.by_class.iter().map(|(class, count)| format!("{class} x{count}"));
    classes.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_load_shows_nothing_and_a_slow_cluster_is_judged_still() {
        let exposure = |n_requests, window_ms| Exposure { n_windows: 9, n_requests, window_ms };
        // A request a second: more than a hundred in all, and hardly any that could have failed.
        let seen = too_little(&exposure(135, 135_000), MIN_EXPOSURE).expect("inconclusive");
        assert!(seen.starts_with("135 requests") && seen.contains("1.0 a second"), "{seen}");
        // The slowest cluster that is known still gets thirty a second.
        assert_eq!(too_little(&exposure(1_350, 45_000), MIN_EXPOSURE), None);
        assert!(too_little(&exposure(60, 2_000), MIN_EXPOSURE).is_some(), "too short");
        assert_eq!(too_little(&exposure(60, 2_000), 0), None, "where it is not about pods");
        let brief = Exposure { n_windows: 1, n_requests: 0, window_ms: 40 };
        assert_eq!(too_little(&brief, 0), None, "the load ended with it");
        let none = Exposure::default();
        assert!(too_little(&none, MIN_EXPOSURE).is_some() && too_little(&none, 0).is_none());
    }
}
