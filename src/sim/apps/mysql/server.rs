//! The database server: what the image's entrypoint and mysqld do
//! (docker-library/mysql `docker-entrypoint.sh`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::tables::{Database, Query};
use crate::base::{millis, secs};
use crate::sim::apps::generic::is_known;
use crate::sim::apps::model::{App, AppCx, Files, Launch, Shutdown, Work};
use crate::sim::apps::script::{self, Command, Main, Programs};
use crate::sim::apps::wire;

/// The data directory, as both images declare it.
const DATA: &str = "/var/lib/mysql/";
/// Present once the data directory is initialised.
const SYSTEM_TABLES: &str = "/var/lib/mysql/mysql.ibd";
/// Accounts, one file each.
const ACCOUNTS: &str = "/var/lib/mysql/mysql/user/";
/// The port of the protocol.
const PORT: u16 = 3306;
/// Initialising a data directory and restarting (measured runs of mysql:8, 6 to 12 s).
const FIRST_START: (Duration, Duration) = (secs(6), secs(12));
/// Starting on existing data.
const START: (Duration, Duration) = (secs(1), secs(3));
/// CPU time of a query with its few sub-queries.
const QUERY_CPU: (Duration, Duration) = (Duration::from_micros(700), Duration::from_micros(1_300));
/// A write also waits for its log to reach the disk.
const COMMIT_CPU: (Duration, Duration) = (millis(1), millis(3));
/// Shutdown flushes and closes tables.
const SHUTDOWN: Duration = millis(1_200);

/// A database server.
#[derive(Debug)]
pub(in crate::sim::apps) struct Mysql {
    pub(super) name: &'static str,
    pub(super) prefixes: &'static [&'static str],
    daemon: &'static str,
    memory_bytes: u64,
    accounts: BTreeMap<String, Account>,
    databases: BTreeMap<String, Database>,
    is_serving: bool,
    /// Whether the image has its programs under the names that begin with `mysql`, if that is known.
    has_mysql_names: Option<bool>,
}

#[derive(Clone, Debug)]
struct Account {
    password: String,
    /// The database it may use; `None` for all.
    database: Option<String>,
}

impl Mysql {
    /// The official mysql image, version 8.
    pub(in crate::sim::apps) fn official() -> Self {
        Mysql::new("MySQL", &["MYSQL_"], "mysqld", 380 << 20, Some(true))
    }

    /// The official mariadb image; from 11 on its programs go by their new names only
    /// (MariaDB/mariadb-docker#512).
    pub(in crate::sim::apps) fn mariadb(tag: &str) -> Self {
        let major = tag.split(['.', '-']).next().and_then(|major| major.parse::<u32>().ok());
        let old_names = major.map(|major| major < 11);
        Mysql::new("MariaDB", &["MARIADB_", "MYSQL_"], "mariadbd", 110 << 20, old_names)
    }

    fn is_mariadb(&self) -> bool {
        self.daemon == "mariadbd"
    }

    fn new(
        name: &'static str,
        prefixes: &'static [&'static str],
        daemon: &'static str,
        memory_bytes: u64,
        has_mysql_names: Option<bool>,
    ) -> Self {
        Mysql {
            name,
            prefixes,
            daemon,
            memory_bytes,
            accounts: BTreeMap::new(),
            databases: BTreeMap::new(),
            is_serving: false,
            has_mysql_names,
        }
    }

    pub(super) fn setting<'a>(&self, cx: &'a AppCx<'_>, name: &str) -> Option<&'a str> {
        self.prefixes.iter().find_map(|prefix| {
            let env = cx.start.env.iter();
            let (_, value) = env
                .rev()
                .find(|(key, value)| key.strip_prefix(prefix) == Some(name) && !value.is_empty())?;
            Some(value.as_str())
        })
    }

    /// What the entrypoint refuses a first start for.
    fn refusal(&self, cx: &AppCx<'_>) -> Option<String> {
        let prefix = self.prefixes[0];
        let root = ["ROOT_PASSWORD", "ALLOW_EMPTY_PASSWORD", "RANDOM_ROOT_PASSWORD"];
        if root.iter().all(|name| self.setting(cx, name).is_none()) {
            return Some(format!(
                "[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified\n    \
                 You need to specify one of the following as an environment variable:\n    \
                 - {prefix}ROOT_PASSWORD\n    - {prefix}ALLOW_EMPTY_PASSWORD\n    \
                 - {prefix}RANDOM_ROOT_PASSWORD"
            ));
        }
        // MariaDB's `mariadb-install-db` puts up with files that are there.
        if !self.is_mariadb() && !cx.files.list(DATA).is_empty() {
            return Some(
                "[ERROR] [Server] --initialize specified but the data directory has files in it. \
                 Aborting."
                    .into(),
            );
        }
        if self.setting(cx, "USER") == Some("root") {
            return Some(format!(
                "[ERROR] [Entrypoint]: {prefix}USER=\"root\", {prefix}USER and {prefix}PASSWORD are \
                 for configuring a regular user and cannot be used for the root user"
            ));
        }
        None
    }

    /// Creates the system tables, accounts and the first database; false when the disk refuses.
    fn initialise(&self, cx: &mut AppCx<'_>) -> bool {
        let root = self.setting(cx, "ROOT_PASSWORD").unwrap_or("").to_owned();
        let database = self.setting(cx, "DATABASE").map(str::to_owned);
        let user = self.setting(cx, "USER").map(str::to_owned);
        let password = self.setting(cx, "PASSWORD").map(str::to_owned);
        let mut ok = cx.files.write(SYSTEM_TABLES, Bytes::from_static(b"1"));
        ok &= cx.files.write(&format!("{ACCOUNTS}root"), wire::message(&[&root, ""]));
        if let Some(database) = &database {
            ok &= cx.files.write(&format!("{DATA}{database}/db.opt"), Bytes::new());
        }
        if let (Some(user), Some(password)) = (user, password) {
            // Without a database the account has no rights on any.
            let allowed = database.unwrap_or_else(|| "-".into());
            let account = wire::message(&[&password, &allowed]);
            ok &= cx.files.write(&format!("{ACCOUNTS}{user}"), account);
        }
        ok
    }

    fn load(&mut self, cx: &AppCx<'_>) {
        self.accounts = load_accounts(cx.files);
        let epoch = cx.now.as_micros();
        let markers = cx.files.list(DATA).into_iter().filter_map(|path| {
            let (database, file) = path.strip_prefix(DATA)?.split_once('/')?;
            (file == "db.opt").then(|| database.to_owned())
        });
        self.databases = markers
            .map(|name| {
                let database = Database::load(format!("{DATA}{name}/"), epoch, cx.files);
                (name, database)
            })
            .collect();
    }

    fn may_use(&self, user: &str, password: &str, database: &str) -> Result<(), Bytes> {
        let account = self.accounts.get(user).filter(|account| account.password == password);
        let Some(account) = account else {
            let text = format!("Access denied for user '{user}'@'%' (using password: YES)");
            return Err(wire::message(&["E", "1045", &text]));
        };
        if account.database.as_deref().is_some_and(|allowed| allowed != database) {
            let text = format!("Access denied for user '{user}'@'%' to database '{database}'");
            return Err(wire::message(&["E", "1044", &text]));
        }
        if !self.databases.contains_key(database) {
            let text = format!("Unknown database '{database}'");
            return Err(wire::message(&["E", "1049", &text]));
        }
        Ok(())
    }
}

fn load_accounts(files: &dyn Files) -> BTreeMap<String, Account> {
    let paths = files.list(ACCOUNTS).into_iter();
    paths
        .filter_map(|path| {
            let content = files.read(&path)?;
            let fields = wire::split(&content);
            let database = fields.get(1).filter(|name| !name.is_empty());
            let account = Account {
                password: (*fields.first()?).to_owned(),
                database: database.map(|name| (*name).to_owned()),
            };
            Some((path.strip_prefix(ACCOUNTS)?.to_owned(), account))
        })
        .collect()
}

impl App for Mysql {
    fn launch(&mut self, cx: &mut AppCx<'_>) -> Launch {
        let own = [self.daemon, "mysqld"];
        let programs = Programs { own: &own, takes_options: true, app: self };
        let main = match script::command(cx, &programs) {
            Command::Main(main) => main,
            other => return script::launch(other),
        };
        self.note_unmodelled(&main, cx);
        let Main { after, mut log, .. } = main;
        log.push(format!(
            "[Note] [Entrypoint]: Entrypoint script for {} Server started.",
            self.name
        ));
        let fails = |log: Vec<String>| Launch {
            exits: Some((after + millis(200), 1)),
            memory_bytes: 4 << 20,
            n_workers: 1,
            log,
            ..Launch::default()
        };
        let is_first = cx.files.read(SYSTEM_TABLES).is_none();
        let starts = if is_first {
            if let Some(refusal) = self.refusal(cx) {
                log.push(refusal);
                return fails(log);
            }
            log.push("[Note] [Entrypoint]: Initializing database files".into());
            if !self.initialise(cx) {
                log.push("[ERROR] [Server] --initialize specified but the data directory is not writable.".into());
                return fails(log);
            }
            cx.rng.between("mysql-start", FIRST_START.0, FIRST_START.1)
        } else {
            cx.rng.between("mysql-start", START.0, START.1)
        };
        self.load(cx);
        self.is_serving = true;
        log.push(format!("[System] [Server] {}: ready for connections. port: {PORT}", self.daemon));
        Launch {
            listens: vec![(PORT, after + starts)],
            cpu: starts / 4,
            memory_bytes: self.memory_bytes,
            n_workers: 151,
            log,
            ..Launch::default()
        }
    }

    fn http(&mut self, _port: u16, _request: &http::Request<Bytes>, _cx: &mut AppCx<'_>) -> Work {
        // What is no packet of the protocol gets no HTTP response.
        Work {
            cpu: Duration::ZERO,
            wait: Duration::ZERO,
            memory_bytes: 0,
            response: None,
            log: None,
        }
    }

    fn query(&mut self, query: &[u8], cx: &mut AppCx<'_>) -> (Duration, Bytes) {
        let fields = wire::split(query);
        let cpu = cx.rng.between("mysql-cpu", QUERY_CPU.0, QUERY_CPU.1);
        let [user, password, name, rest @ ..] = fields.as_slice() else {
            return (cpu, wire::message(&["E", "1064", "You have an error in your SQL syntax"]));
        };
        if let Err(refused) = self.may_use(user, password, name) {
            return (cpu, refused);
        }
        let Some(database) = self.databases.get_mut(*name) else {
            return (cpu, wire::message(&["E", "1049", "Unknown database"]));
        };
        let Some(query) = Query::parse(rest) else {
            return (cpu, wire::message(&["E", "1064", "You have an error in your SQL syntax"]));
        };
        let writes = query.writes();
        let answer = database.run(&query, cx.files);
        let commit = if writes {
            cx.rng.between("mysql-commit", COMMIT_CPU.0, COMMIT_CPU.1)
        } else {
            Duration::ZERO
        };
        (cpu + commit, answer)
    }

    fn shutdown(&mut self) -> Shutdown {
        Shutdown {
            stops_listening: Duration::ZERO,
            drains: false,
            exits_after: SHUTDOWN,
            exit_code: 0,
            ignores: !self.is_serving,
        }
    }

    fn has_binary(&self, name: &str) -> Option<bool> {
        match name {
            "mariadb" | "mariadb-admin" | "mariadbd" | "healthcheck.sh" => Some(self.is_mariadb()),
            "mysql" | "mysqladmin" | "mysqld" => self.has_mysql_names,
            _ => is_known(name, &["bash"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::apps::testing::Bench;

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
        bench.disk.0.clear();
        let mut empty = Mysql::official();
        bench.launch(&mut empty);
        assert_eq!(ask(&mut bench, &mut empty, &["u", "p", "blog", "get", &id])[1], "1146");
    }

    #[test]
    fn a_disk_with_lost_and_found_is_not_initialised() {
        for (mut app, starts) in [(Mysql::official(), false), (Mysql::mariadb("11.8"), true)] {
            let mut bench = Bench::new("database").env(ENV);
            bench.disk.0.insert(format!("{DATA}lost+found/"), Bytes::new());
            let launch = bench.launch(&mut app);
            assert_eq!(launch.exits.is_none(), starts, "{:?}", launch.log);
        }
    }

    #[test]
    fn programs_go_by_the_names_of_their_image() {
        let has = |app: &Mysql| ["mysqladmin", "mariadb-admin"].map(|name| app.has_binary(name));
        assert_eq!(has(&Mysql::official()), [Some(true), Some(false)]);
        assert_eq!(has(&Mysql::mariadb("10.11")), [Some(true), Some(true)]);
        assert_eq!(has(&Mysql::mariadb("11.8-noble")), [Some(false), Some(true)]);
        assert_eq!(has(&Mysql::mariadb("lts")), [None, Some(true)]);
    }
}
