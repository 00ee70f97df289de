//! A database server without a cluster.

use bytes::Bytes;

use super::Mysql;
use super::server::{DATA, FIRST_START, START};
use crate::sim::apps::model::App as _;
use crate::sim::apps::testing::Bench;
use crate::sim::apps::wire;

const ENV: &[(&str, &str)] = &[
    ("MYSQL_ROOT_PASSWORD", "r"),
    ("MYSQL_DATABASE", "blog"),
    ("MYSQL_USER", "u"),
    ("MYSQL_PASSWORD", "p"),
];

fn ask(bench: &mut Bench, app: &mut Mysql, fields: &[&str]) -> Vec<String> {
    let answer = bench.query(app, &wire::message(fields));
    wire::split(&answer).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_first_start_needs_a_root_password() {
    let mut bench = Bench::new("mysql");
    let launch = bench.launch(&mut Mysql::official());
    assert_eq!(launch.exits.map(|(_, code)| code), Some(1));
    assert!(launch.log.iter().any(|line| line.contains("MYSQL_ROOT_PASSWORD")));
}

#[test]
fn accounts_are_checked_as_the_server_checks_them() {
    let mut bench = Bench::new("mysql").env(ENV);
    let mut app = Mysql::official();
    let first = bench.launch(&mut app).listens[0].1;
    assert!(first >= FIRST_START.0);
    assert_eq!(ask(&mut bench, &mut app, &["u", "x", "blog", "view", ""])[1], "1045");
    assert_eq!(ask(&mut bench, &mut app, &["u", "p", "other", "view", ""])[1], "1044");
    assert_eq!(ask(&mut bench, &mut app, &["root", "r", "other", "view", ""])[1], "1049");
    assert_eq!(ask(&mut bench, &mut app, &["u", "p", "blog", "view", ""])[1], "1146");
}

#[test]
fn rows_survive_in_the_files_and_nowhere_else() {
    let mut bench = Bench::new("mysql").env(ENV);
    let mut app = Mysql::official();
    bench.launch(&mut app);
    let install = ["u", "p", "blog", "install", "http://b", "Blog", "admin", "pw", "a@b.c"];
    assert_eq!(ask(&mut bench, &mut app, &install)[0], "O");
    let post = ["u", "p", "blog", "post", "Title", "Text", "1", "2026-01-01T00:00:00"];
    let id = ask(&mut bench, &mut app, &post)[1].clone();
    let mut again = Mysql::official();
    let second = bench.launch(&mut again).listens[0].1;
    assert!(second <= START.1, "existing data is not initialised again");
    let found = ask(&mut bench, &mut again, &["u", "p", "blog", "get", &id]);
    assert_eq!(found[3], "Title");
    bench.disk.files.clear();
    let mut empty = Mysql::official();
    bench.launch(&mut empty);
    assert_eq!(ask(&mut bench, &mut empty, &["u", "p", "blog", "get", &id])[1], "1146");
}

#[test]
fn a_disk_with_lost_and_found_is_not_initialised() {
    for (mut app, starts) in [(Mysql::official(), false), (Mysql::mariadb("11.8"), true)] {
        let mut bench = Bench::new("database").env(ENV);
        bench.disk.files.insert(format!("{DATA}lost+found/"), Bytes::new());
        let launch = bench.launch(&mut app);
        assert_eq!(launch.exits.is_none(), starts, "{:?}", launch.log);
    }
}

#[test]
fn a_server_waits_for_the_one_that_has_its_files() {
    for (mut app, patience) in [(Mysql::official(), 100), (Mysql::mariadb("11.8"), 30)] {
        let mut bench = Bench::new("database").env(ENV);
        bench.disk.is_locked = true;
        let mut tries = 0;
        let end = loop {
            let launch = bench.launch(&mut app);
            assert!(launch.listens.is_empty());
            let Some(period) = launch.tries_again else { break launch };
            bench.now += period;
            tries += 1;
        };
        assert_eq!((tries, end.exits.map(|(_, code)| code)), (patience, Some(1)));
    }
    let mut bench = Bench::new("database").env(ENV);
    let mut app = Mysql::official();
    bench.disk.is_locked = true;
    bench.launch(&mut app);
    bench.disk.is_locked = false;
    assert_eq!(bench.launch(&mut app).listens.len(), 1);
}

#[test]
fn programs_go_by_the_names_of_their_image() {
    let has = |app: &Mysql| ["mysqladmin", "mariadb-admin"].map(|name| app.has_binary(name));
    assert_eq!(has(&Mysql::official()), [Some(true), Some(false)]);
    assert_eq!(has(&Mysql::mariadb("10.11")), [Some(true), Some(true)]);
    assert_eq!(has(&Mysql::mariadb("11.8-noble")), [Some(false), Some(true)]);
    assert_eq!(has(&Mysql::mariadb("lts")), [None, Some(true)]);
}

#[test]
fn an_account_with_too_long_a_name_is_never_made() {
    let name = "a".repeat(33);
    let env = [("MYSQL_USER", name.as_str()), ("MYSQL_PASSWORD", "p")];
    for (mut app, ends) in [(Mysql::official(), true), (Mysql::mariadb("11.8"), false)] {
        let mut bench = Bench::new("database").env(&ENV[..2]).env(&env);
        let launch = bench.launch(&mut app);
        assert_eq!(launch.exits.is_some(), ends, "{:?}", launch.log);
        // What was initialised by then is not initialised again.
        assert!(bench.launch(&mut app).exits.is_none());
        let answer = ask(&mut bench, &mut app, &[&name, "p", "blog", "view", ""]);
        assert_eq!(answer[1], if ends { "1045" } else { "1146" });
    }
}
