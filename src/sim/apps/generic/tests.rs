//! Servers and idle programs, run without a cluster.

use super::*;
use crate::base::secs;
use crate::sim::apps::testing::Bench;
use crate::sim::machines::Mount;

#[test]
fn a_configured_server_answers_by_path_prefix() {
    let app = GenericApp {
        image: "shop".into(),
        port: 8080,
        start: secs(2),
        cpu_per_request: millis(3),
        memory_bytes: 1,
        statuses: BTreeMap::from([("/bad".to_owned(), 500), ("/bad/ok".to_owned(), 204)]),
        drains: false,
        has_shell: Some(true),
        unprivileged: false,
        probes: Vec::new(),
    };
    let mut bench = Bench::new("shop");
    let mut server = Server::configured(&app);
    let launch = bench.launch(&mut server);
    assert_eq!(launch.listens[0].0, 8080);
    assert!(launch.listens[0].1 >= millis(1_800));
    assert_eq!(bench.get(&mut server, "/").status(), 200);
    assert_eq!(bench.get(&mut server, "/bad/x").status(), 500);
    assert_eq!(bench.get(&mut server, "/bad/ok").status(), 204);
    assert_eq!(server.shutdown().exit_code, TERMINATED);
}

#[test]
fn nginx_has_its_welcome_page_and_what_is_mounted() {
    let mut bench = Bench::new("nginx");
    let mut server = Server::nginx("1.27");
    bench.launch(&mut server);
    for (path, status) in [("/", 200), ("/index.html", 200), ("/healthz", 404)] {
        assert_eq!(bench.get(&mut server, path).status(), status, "{path}");
    }
    assert_eq!(bench.notes, [] as [&str; 0]);
    let mount = |path: &str| Mount {
        path: path.into(),
        volume: "v".into(),
        sub_path: String::new(),
        read_only: true,
    };
    bench.start.mounts = vec![mount(ROOT)];
    assert_eq!(bench.get(&mut server, "/").status(), 403);
    bench.disk.files.insert(format!("{ROOT}/healthz"), Bytes::new());
    assert_eq!(bench.get(&mut server, "/healthz").status(), 200);
    bench.start.mounts = vec![mount("/etc/nginx/conf.d")];
    bench.launch(&mut Server::nginx("1.27"));
    assert_eq!(bench.notes, ["nginx with /etc/nginx/conf.d mounted"]);
}

#[test]
fn nginx_ends_when_it_goes_into_the_background() {
    let mut bench = Bench::new("nginx");
    bench.start.command = vec!["nginx".into()];
    assert_eq!(bench.launch(&mut Server::nginx("1.27")).exits, Some((millis(50), 0)));
    bench.start.command.extend(["-g".into(), "daemon off;".into()]);
    assert_eq!(bench.launch(&mut Server::nginx("1.27")).exits, None);
}

#[test]
fn options_of_nginx_that_are_not_followed_are_noted() {
    for (options, is_followed) in [
        (&["-g", "daemon off;"][..], true),
        (&["-c", "/etc/nginx/nginx.conf", "-g", "daemon off;"], true),
        (&["-c", "/config/nginx.conf", "-g", "daemon off;"], false),
        (&["-g", "daemon off; worker_processes 1;"], false),
        (&["-p", "/srv", "-g", "daemon off;"], false),
        (&["-t"], false),
    ] {
        let mut bench = Bench::new("nginx");
        let words = ["nginx"].iter().chain(options).map(|word| (*word).to_owned());
        bench.start.args = words.collect();
        let ends = bench.launch(&mut Server::nginx("1.27")).exits.is_some();
        assert_eq!((bench.notes.is_empty(), ends), (is_followed, options == ["-t"]), "{options:?}");
    }
    let mut bench = Bench::new("nginx");
    let script = "sleep 1; exec nginx -g 'daemon off; error_log stderr;'";
    bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
    bench.launch(&mut Server::nginx("1.27"));
    assert_eq!(bench.notes, ["nginx -g daemon off; error_log stderr;"]);
}

#[test]
fn a_program_is_missing_only_where_that_is_known() {
    assert_eq!(Server::nginx("1.27-alpine").has_binary("bash"), Some(false));
    assert_eq!(Server::nginx("1.27").has_binary("bash"), Some(true));
    assert_eq!(Server::nginx("1.27").has_binary("pgrep"), None);
    assert_eq!(Idle::shell().has_binary("bash"), Some(false));
    assert_eq!(Idle::pause().has_binary("sleep"), Some(false));
}

#[test]
fn busybox_runs_its_command_and_ignores_sigterm() {
    let mut bench = Bench::new("busybox");
    bench.start.command = vec!["sleep".into(), "60".into()];
    let mut app = Idle::shell();
    assert_eq!(bench.launch(&mut app).exits, Some((secs(60), 0)));
    assert!(app.shutdown().ignores);
}
