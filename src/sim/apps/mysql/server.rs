//! The database server: what the image's entrypoint and mysqld do
//! (docker-library/mysql `docker-entrypoint.sh`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::lock::FIRST_FILE;
use super::tables::{Database, Query};
use crate::base::{SimTime, millis, secs};
use crate::sim::apps::generic::is_known;
use crate::sim::apps::model::{App, AppCx, Files, Launch, Shutdown, Work};
use crate::sim::apps::script::{self, Command, Main, Programs};
use crate::sim::apps::wire;

/// The data directory, as both images declare it.
pub(super) const DATA: &str = "/var/lib/mysql/";
/// Present once the data directory is initialised.
const SYSTEM_TABLES: &str = "/var/lib/mysql/mysql.ibd";
/// Accounts, one file each.
const ACCOUNTS: &str = "/var/lib/mysql/mysql/user/";
/// The port of the protocol.
const PORT: u16 = 3306;
/// What a data directory on a read-only mount is answered with.
const READ_ONLY: &str =
    "[ERROR] [Server] --initialize specified but the data directory is not writable.";
/// Characters of an account's name at most (`mysql_com.h:USERNAME_CHAR_LENGTH` of each).
const LONGEST_USER: (usize, usize) = (32, 128);
/// Initialising a data directory and restarting (measured runs of mysql:8, 6 to 12 s).
pub(super) const FIRST_START: (Duration, Duration) = (secs(6), secs(12));
/// Starting on existing data.
pub(super) const START: (Duration, Duration) = (secs(1), secs(3));
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
    pub(super) memory_bytes: u64,
    /// Since when it has waited for the server that holds its files.
    pub(super) waits_since: Option<SimTime>,
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

    pub(super) fn is_mariadb(&self) -> bool {
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
            waits_since: None,
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

    /// Creates the system tables, accounts and the first database.
    ///
    /// # Errors
    /// What the entrypoint says when it ends there; what it has made by then stays.
    fn initialise(&self, cx: &mut AppCx<'_>) -> Result<(), String> {
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
            let longest = if self.is_mariadb() { LONGEST_USER.1 } else { LONGEST_USER.0 };
            if user.chars().count() > longest {
                return Err(format!(
                    "ERROR 1470 (HY000) at line 1: String '{user}' is too long for user name \
                     (should be no longer than {longest})"
                ));
            }
            // Without a database the account has no rights on any.
            let allowed = database.unwrap_or_else(|| "-".into());
            let account = wire::message(&[&password, &allowed]);
            ok &= cx.files.write(&format!("{ACCOUNTS}{user}"), account);
        }
        if ok { Ok(()) } else { Err(READ_ONLY.into()) }
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
        let Main { mut after, mut log, .. } = main;
        if self.waits_since.is_some() {
            // What comes before the server was done, and told, before the wait.
            (after, log) = (Duration::ZERO, Vec::new());
        } else {
            log.push(format!(
                "[Note] [Entrypoint]: Entrypoint script for {} Server started.",
                self.name
            ));
        }
        if !cx.files.lock(FIRST_FILE) {
            return self.wait_for_lock(after, log, cx.now);
        }
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
            if let Err(refusal) = self.initialise(cx) {
                log.push(refusal);
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
