//! WordPress and its database together, without a cluster.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use super::WordPress;
use crate::base::millis;
use crate::sim::apps::model::{App as _, DialError, Peers};
use crate::sim::apps::mysql::Mysql;
use crate::sim::apps::testing::Bench;

/// One database, reached at `db:3306` while it is up.
struct Db {
    bench: Bench,
    app: Mysql,
    is_up: bool,
}

impl Db {
    fn new() -> Self {
        let mut bench = Bench::new("mysql").env(&[
            ("MYSQL_ROOT_PASSWORD", "r"),
            ("MYSQL_DATABASE", "wordpress"),
            ("MYSQL_USER", "wp"),
            ("MYSQL_PASSWORD", "secret"),
        ]);
        let mut app = Mysql::official();
        bench.launch(&mut app);
        Db { bench, app, is_up: true }
    }
}

impl Peers for Db {
    fn query(&mut self, host: &str, _: u16, query: &[u8]) -> Result<(Bytes, Duration), DialError> {
        match (host, self.is_up) {
            ("db", true) => Ok((self.bench.query(&mut self.app, query), millis(1))),
            ("db", false) => Err(DialError::Refused),
            _ => Err(DialError::UnknownHost),
        }
    }
}

/// A WordPress container.
struct Site {
    bench: Bench,
    app: WordPress,
}

impl Site {
    fn new(env: &[(&str, &str)]) -> Self {
        let mut site = Site { bench: Bench::new("wordpress").env(env), app: WordPress::default() };
        site.bench.launch(&mut site.app);
        site
    }

    fn send(&mut self, db: &mut Db, request: Request<Bytes>) -> Response<Bytes> {
        self.bench.work(&mut self.app, db, &request).response.expect("an answer")
    }

    fn get(&mut self, db: &mut Db, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        self.send(db, request("GET", path, headers, ""))
    }

    fn post(
        &mut self,
        db: &mut Db,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Bytes> {
        self.send(db, request("POST", path, headers, body))
    }
}

const ENV: &[(&str, &str)] = &[
    ("WORDPRESS_DB_HOST", "db:3306"),
    ("WORDPRESS_DB_USER", "wp"),
    ("WORDPRESS_DB_PASSWORD", "secret"),
    ("WORDPRESS_DB_NAME", "wordpress"),
];

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "blog.test");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Bytes::from(body.to_owned())).expect("a request")
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("text")
}

const INSTALL: &str = "weblog_title=Blog&user_name=admin&admin_password=p%40ss&admin_password2=p%40ss\
    &pw_weak=on&admin_email=a%40b.c";

fn install(site: &mut Site, db: &mut Db) {
    let installed = site.post(db, "/wp-admin/install.php?step=2", &[], INSTALL);
    assert!(text(&installed).contains("Success!"));
}

/// Logs in and returns the cookies and a nonce.
fn log_in(site: &mut Site, db: &mut Db) -> (String, String) {
    let cookie = [("cookie", "wordpress_test_cookie=1")];
    let response = site.post(db, "/wp-login.php", &cookie, "log=admin&pwd=p%40ss&testcookie=1");
    assert_eq!(response.status(), 302);
    let cookies = response.headers().get_all("set-cookie").into_iter();
    let pairs: Vec<&str> = cookies.filter_map(|c| c.to_str().ok()?.split(';').next()).collect();
    let cookies = pairs.join("; ");
    let path = "/wp-admin/admin-ajax.php?action=rest-nonce";
    let nonce = site.get(db, path, &[("cookie", &cookies)]);
    assert_eq!(nonce.status(), 200, "{}", text(&nonce));
    (cookies, text(&nonce).to_owned())
}

#[test]
fn a_new_site_redirects_to_its_installation_and_then_shows_posts() {
    let (mut db, mut site) = (Db::new(), Site::new(ENV));
    let first = site.get(&mut db, "/", &[]);
    assert_eq!(
        (first.status().as_u16(), header(&first, "location")),
        (302, "http://blog.test/wp-admin/install.php")
    );
    install(&mut site, &mut db);
    let again = site.post(&mut db, "/wp-admin/install.php?step=2", &[], INSTALL);
    assert!(text(&again).contains("Already Installed"));
    let home = site.get(&mut db, "/", &[]);
    assert_eq!(home.status(), 200);
    assert!(text(&home).contains("Hello world!"));
    let secure = site.get(&mut db, "/", &[("x-forwarded-proto", "https")]);
    assert!(text(&secure).contains("https://blog.test/?p=1"));
}

#[test]
fn posts_need_a_session_and_a_nonce() {
    let (mut db, mut site) = (Db::new(), Site::new(ENV));
    install(&mut site, &mut db);
    let wrong = site.post(&mut db, "/wp-login.php", &[], "log=admin&pwd=x");
    assert_eq!(wrong.status(), 200);
    assert!(text(&wrong).contains("incorrect"));
    let body = r#"{"title":"One","content":"Two","status":"publish"}"#;
    assert_eq!(site.post(&mut db, "/wp-json/wp/v2/posts", &[], body).status(), 401);
    let (cookies, nonce) = log_in(&mut site, &mut db);
    let bad = [("cookie", cookies.as_str()), ("x-wp-nonce", "0000000000")];
    assert_eq!(site.post(&mut db, "/wp-json/wp/v2/posts", &bad, body).status(), 403);
    let good = [("cookie", cookies.as_str()), ("x-wp-nonce", nonce.as_str())];
    let created = site.post(&mut db, "/?rest_route=/wp/v2/posts", &good, body);
    assert_eq!(created.status(), 201);
    let value: serde_json::Value = serde_json::from_slice(created.body()).expect("JSON");
    let link = value["link"].as_str().expect("a link").replace("http://blog.test", "");
    assert!(text(&site.get(&mut db, &link, &[])).contains("Two"));
    let path = format!("/wp-json/wp/v2/posts/{}", value["id"]);
    assert!(text(&site.get(&mut db, &path, &[])).contains("\"One\""));
    assert!(text(&site.get(&mut db, "/", &[])).contains("One"), "the front page is not stale");
    assert_eq!(site.get(&mut db, "/?p=999", &[]).status(), 404);
}

#[test]
fn uploads_live_in_the_files_of_the_container_that_took_them() {
    let (mut db, mut site, mut other) = (Db::new(), Site::new(ENV), Site::new(ENV));
    install(&mut site, &mut db);
    let (cookies, nonce) = log_in(&mut site, &mut db);
    let headers = [
        ("cookie", cookies.as_str()),
        ("x-wp-nonce", nonce.as_str()),
        ("content-disposition", "attachment; filename=\"a.txt\""),
    ];
    let created = site.post(&mut db, "/wp-json/wp/v2/media", &headers, "ship");
    assert_eq!(created.status(), 201, "{}", text(&created));
    let value: serde_json::Value = serde_json::from_slice(created.body()).expect("JSON");
    let source = value["source_url"].as_str().expect("a URL").replace("http://blog.test", "");
    assert_eq!(source, "/wp-content/uploads/2026/01/a.txt");
    assert_eq!(text(&site.get(&mut db, &source, &[])), "ship");
    assert_eq!(other.get(&mut db, &source, &[]).status(), 404);
    let second = site.post(&mut db, "/wp-json/wp/v2/media", &headers, "other");
    assert!(text(&second).contains("a-1.txt"));
}

#[test]
fn sessions_hold_only_where_the_salts_are_the_same() {
    let (mut db, mut site) = (Db::new(), Site::new(ENV));
    install(&mut site, &mut db);
    let (cookies, _) = log_in(&mut site, &mut db);
    let path = "/wp-admin/admin-ajax.php?action=rest-nonce";
    let cookie = [("cookie", cookies.as_str())];
    let mut apart = Site::new(ENV);
    apart.bench.rng = crate::base::Streams::new(99);
    apart.bench.disk.files.clear();
    apart.bench.launch(&mut apart.app);
    assert_eq!(apart.get(&mut db, path, &cookie).status(), 400, "other salts");
    let mut shared = Site::new(ENV);
    shared.bench.disk = site.bench.disk.clone();
    assert_eq!(shared.get(&mut db, path, &cookie).status(), 200, "the same wp-config.php");
}

#[test]
fn without_its_database_pages_fail_and_files_do_not() {
    let (mut db, mut site) = (Db::new(), Site::new(ENV));
    install(&mut site, &mut db);
    db.is_up = false;
    let page = site.get(&mut db, "/", &[]);
    assert_eq!(page.status(), 500);
    assert!(text(&page).contains("Error establishing a database connection"));
    assert_eq!(site.get(&mut db, "/readme.html", &[]).status(), 200);
    db.is_up = true;
    let mut locked_out = Site::new(&[ENV, &[("WORDPRESS_DB_PASSWORD", "wrong")]].concat());
    assert_eq!(locked_out.get(&mut db, "/", &[]).status(), 500);
}

#[test]
fn comments_are_slowed_down_and_xmlrpc_answers() {
    let (mut db, mut site) = (Db::new(), Site::new(ENV));
    install(&mut site, &mut db);
    let form = "comment_post_ID=1&author=a&email=a%40b.c&comment=hi";
    assert_eq!(site.post(&mut db, "/wp-comments-post.php", &[], form).status(), 302);
    assert_eq!(site.post(&mut db, "/wp-comments-post.php", &[], form).status(), 429);
    let call = "<methodCall><methodName>demo.sayHello</methodName></methodCall>";
    let answer = site.post(&mut db, "/xmlrpc.php", &[], call);
    assert!(text(&answer).contains("Hello!"));
}

#[test]
fn the_first_start_copies_files_and_later_ones_are_shorter() {
    let mut bench = Bench::new("wordpress").env(ENV);
    let first = bench.launch(&mut WordPress::default()).listens[0].1;
    let second = bench.launch(&mut WordPress::default()).listens[0].1;
    assert!(first >= millis(1_000) && second < millis(1_000), "{first:?} {second:?}");
    assert!(WordPress::default().shutdown().drains);
}

#[test]
fn nothing_is_copied_where_a_command_replaces_the_entrypoint() {
    let mut site = Site { bench: Bench::new("wordpress").env(ENV), app: WordPress::default() };
    site.bench.start.command = vec!["apache2-foreground".into()];
    site.bench.launch(&mut site.app);
    let mut db = Db::new();
    assert_eq!(site.get(&mut db, "/", &[]).status(), 403);
    assert_eq!(site.bench.notes, [] as [&str; 0]);
}

#[test]
fn the_log_carries_path_and_query() {
    let (mut db, mut site) = (Db::new(), Site::new(ENV));
    let get = request("GET", "/?marker=42", &[], "");
    let work = site.bench.work(&mut site.app, &mut db, &get);
    let log = work.log.expect("a line");
    assert!(log.contains("\"GET /?marker=42 HTTP/1.1\" 302"), "{log}");
}
