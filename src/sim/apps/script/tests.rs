//! Commands of containers, run without a cluster.

use bytes::Bytes;
use rstest::rstest;

use super::*;
use crate::base::secs;
use crate::sim::apps::generic::Idle;
use crate::sim::apps::model::{DialError, Peers};
use crate::sim::apps::testing::{Bench, Nobody};
use crate::sim::machines::Mount;

fn run(bench: &mut Bench, own: &[&str]) -> Command {
    let app = Idle::shell();
    let programs = Programs { own, takes_options: false, app: &app };
    bench.with(&mut Nobody, |cx| command(cx, &programs))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[rstest]
#[case(&["sleep", "3600"], Some((3_600_000, 0)))]
#[case(&["sh", "-c", "sleep 2; exit 3"], Some((2_000, 3)))]
#[case(&["sh", "-c", "echo hi && false && sleep 9"], Some((10, 1)))]
#[case(&["bash", "-c", "sleep 2"], Some((5, 127)))]
#[case(&["sh", "-c", "bash -c 'sleep 2'; exit 3"], Some((5, 3)))]
#[case(&["sh", "-c", "while true; do sleep 1; done"], None)]
#[case(&["sh", "-c", "echo up; while :\ndo echo 'a; b'; sleep 1h\ndone"], None)]
#[case(&["sh", "-c", "tail -f /dev/null"], None)]
#[case(&["sh", "-c", "false && sleep 9; sleep 1"], Some((1_005, 0)))]
#[case(&["sh", "-ec", "false; sleep 9"], Some((5, 1)))]
#[case(&["sh", "-c", "set -e\nfalse && true\nsleep 1 # 9\nfalse"], Some((1_010, 1)))]
#[case(&["sh", "-c", "mkdir -p /tmp/a/b && ls /tmp/a && chown -R 33:33 /tmp/a"], Some((15, 0)))]
#[case(&["ls", "/tmp/a"], Some((5, 1)))]
#[case(&["sh", "-c", "test -e /tmp/a && sleep 9"], Some((5, 1)))]
fn a_command_ends_when_its_steps_are_done(
    #[case] words: &[&str],
    #[case] expected: Option<(u64, i32)>,
) {
    let mut bench = Bench::new("busybox");
    bench.start.command = words.iter().map(|word| (*word).to_owned()).collect();
    let got = match run(&mut bench, &["httpd"]) {
        Command::Ends { after, code, .. } => {
            Some((u64::try_from(after.as_millis()).unwrap_or(0), code))
        }
        Command::Runs { .. } | Command::Waits { .. } | Command::Main(_) => None,
    };
    assert_eq!(got, expected);
    assert_eq!(bench.notes, [] as [&str; 0]);
}

#[test]
fn a_script_can_delay_the_images_own_program() {
    let mut bench = Bench::new("nginx");
    bench.start.command =
        ["sh", "-c", "sleep 7 && exec nginx -g 'daemon off;'"].map(str::to_owned).into();
    let words = words(&["nginx", "-g", "daemon off;"]);
    let main = Main { after: secs(7), log: Vec::new(), words, is_bare: true };
    assert_eq!(run(&mut bench, &["nginx"]), Command::Main(main));
}

#[rstest]
#[case("until nc -z db 3306; do sleep 2; done; exec nginx")]
#[case("for i in 1 2 3; do echo $i; done; nginx")]
#[case("echo hello > /usr/share/nginx/html/index.html && nginx")]
#[case("sleep 30; touch /ready; nginx")]
#[case("rmdir /var/www/html/uploads && exec nginx")]
#[case("/scripts/prepare.sh; nginx")]
#[case("tail -f /dev/null & exec nginx")]
#[case("while :; do sleep 6h; done & exec nginx")]
#[case("export HOST=db; exec nginx")]
#[case("HOST=db exec nginx")]
#[case("test -f /ready && nginx")]
fn what_is_not_understood_is_noted_and_skipped(#[case] script: &str) {
    let mut bench = Bench::new("nginx");
    bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
    let command = run(&mut bench, &["nginx"]);
    assert!(matches!(command, Command::Main(_)), "{command:?}");
    assert_eq!(bench.notes.len(), 1, "{:?}", bench.notes);
}

/// A command takes the place of the entrypoint, arguments are handed to it.
#[rstest]
#[case(&[], &[], Some(false))]
#[case(&[], &["httpd"], Some(false))]
#[case(&["httpd"], &[], Some(true))]
#[case(&["docker-entrypoint.sh"], &["httpd"], Some(false))]
#[case(&["sh", "-c", "exec docker-entrypoint.sh httpd"], &[], Some(false))]
#[case(&["sh", "-c", "exec httpd"], &[], Some(true))]
#[case(&[], &["sh", "-c", "exec httpd"], Some(true))]
#[case(&["docker-entrypoint.sh"], &[], None)]
fn a_command_replaces_the_entrypoint(
    #[case] command: &[&str],
    #[case] args: &[&str],
    #[case] is_bare: Option<bool>,
) {
    let mut bench = Bench::new("httpd");
    (bench.start.command, bench.start.args) = (words(command), words(args));
    let main = match run(&mut bench, &["httpd"]) {
        Command::Main(main) => Some(main.is_bare),
        _ => None,
    };
    assert_eq!(main, is_bare);
    assert_eq!(bench.notes, [] as [&str; 0]);
}

#[rstest]
#[case(&["migrate", "--all"])]
#[case(&["sh", "/scripts/start.sh"])]
fn a_program_that_is_not_known_is_noted(#[case] words: &[&str]) {
    let mut bench = Bench::new("busybox");
    bench.start.command = words.iter().map(|word| (*word).to_owned()).collect();
    run(&mut bench, &[]);
    assert_eq!(bench.notes, [words.join(" ")]);
}

#[test]
fn files_that_a_script_makes_or_removes_are_seen() {
    let mut bench = Bench::new("busybox");
    bench.disk.files.insert("/data/lost+found/x".into(), Bytes::new());
    let script = "touch /run/ready; rm -rf /data/lost+found";
    bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
    run(&mut bench, &[]);
    assert_eq!(bench.disk.files.keys().collect::<Vec<_>>(), ["/run/ready"]);
    assert_eq!(bench.notes, [] as [&str; 0]);
}

/// What listens in a cluster of one Service, `db`, with port 3306.
struct Cluster {
    listens: bool,
}

impl Peers for Cluster {
    fn query(&mut self, _: &str, _: u16, _: &[u8]) -> Result<(Bytes, Duration), DialError> {
        Err(DialError::Refused)
    }

    fn connect(&mut self, host: &str, port: u16) -> Option<Result<(), DialError>> {
        match (host, port) {
            ("db", 3306) if self.listens => Some(Ok(())),
            ("db", _) => Some(Err(DialError::Refused)),
            ("lost", _) => Some(Err(DialError::Timeout)),
            _ => None,
        }
    }
}

#[rstest]
#[case("until nc -z db 3306; do sleep 2; done", 2_005)]
#[case("echo on; while ! nc -zv -w 3 db 3306 >/dev/null 2>&1; do echo off; sleep 2; done", 2_005)]
#[case("while true; do nc -z db 3306 && break; sleep 1; done", 1_005)]
#[case("until nc -z $HOST ${PORT}\ndo\nsleep 1\ndone", 1_005)]
#[case("until nc -zw3 lost 3306; do sleep 2; done", 5_005)]
#[case("until nc -z lost 3306; do sleep 2; done", 129_005)]
fn a_script_waits_until_something_listens(#[case] script: &str, #[case] pause: u64) {
    let mut bench = Bench::new("busybox").env(&[("HOST", "db"), ("PORT", "3306")]);
    let script = format!("{script}; exec httpd");
    bench.start.command = ["sh", "-c", &script].map(str::to_owned).into();
    let app = Idle::shell();
    let programs = Programs { own: &["httpd"], takes_options: false, app: &app };
    let mut run = |listens| bench.with(&mut Cluster { listens }, |cx| command(cx, &programs));
    let waits = run(false);
    assert!(matches!(waits, Command::Waits { again, .. } if again == millis(pause)), "{waits:?}");
    let is_lost = script.contains("lost");
    assert_eq!(matches!(run(true), Command::Main(_)), !is_lost);
    assert_eq!(bench.notes, [] as [&str; 0]);
}

#[rstest]
#[case("until nc -z db.example.com 5432; do sleep 2; done", false)]
#[case("until nslookup db; do sleep 2; done", false)]
#[case("while ! mysqladmin ping -h db; do sleep 1; done", false)]
#[case("until nc db 3306; do sleep 1; done", false)]
#[case("until nc -z db 3306; do :; done", false)]
#[case("while nc -z db 3306; do sleep 1; done", false)]
#[case("sleep 5; until nc -z db 3306; do sleep 1; done", false)]
#[case("while true; do curl -s db && exit; sleep 1; done", false)]
#[case("while true; do nc -z db 3306 && break; curl db; done", false)]
#[case("while true; do echo hi | nc -l -p 80; done", true)]
#[case("while true; do sleep 1 & wait $!; done", true)]
#[case("while :; do :; done", true)]
fn a_loop_that_does_more_than_wait_is_noted(#[case] script: &str, #[case] runs: bool) {
    let mut bench = Bench::new("busybox");
    bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
    let app = Idle::shell();
    let programs = Programs { own: &[], takes_options: false, app: &app };
    let command = bench.with(&mut Cluster { listens: false }, |cx| command(cx, &programs));
    assert_eq!(matches!(command, Command::Runs { .. }), runs, "{command:?}");
    assert_eq!(bench.notes, [script]);
}

#[rstest]
#[case("ls /cache")]
#[case("ls /data/sub")]
#[case("chown -R mysql /tmp")]
#[case("chmod +x /scripts/run.sh")]
#[case("rm /cache/x")]
#[case("mkdir /cache")]
#[case("tail -f /var/log/x")]
fn a_path_that_an_image_may_have_is_noted(#[case] script: &str) {
    let mut bench = Bench::new("busybox");
    bench.start.mounts = vec![mount("/data", "emptyDir/uid/data", false)];
    bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
    assert!(matches!(run(&mut bench, &[]), Command::Ends { .. }));
    assert_eq!(bench.notes, [script]);
}

#[rstest]
#[case("ls /data/", 0)]
#[case("chown 1000:1000 /data", 0)]
#[case("ls /conf/a", 0)]
#[case("ls /conf/b", 1)]
#[case("test -f /conf/a", 0)]
#[case("chmod 600 /conf/a", 1)]
#[case("mkdir -p /conf/c", 1)]
fn what_is_mounted_is_known(#[case] script: &str, #[case] expected: i32) {
    let mut bench = Bench::new("busybox");
    bench.disk.files.insert("/conf/a".into(), Bytes::new());
    bench.start.mounts =
        vec![mount("/data", "emptyDir/uid/data", false), mount("/conf", "configMap/uid/c", true)];
    bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
    let command = run(&mut bench, &[]);
    assert!(matches!(command, Command::Ends { code, .. } if code == expected), "{command:?}");
    assert_eq!(bench.notes, [] as [&str; 0]);
}

fn mount(path: &str, volume: &str, read_only: bool) -> Mount {
    let sub_path = String::new();
    Mount { path: path.into(), volume: volume.into(), sub_path, read_only }
}
