//! What the server and its entrypoint read and the model does not: any of it makes a verdict `unknown`.

use std::path::Path;

use super::Mysql;
use crate::sim::apps::model::{App as _, AppCx};
use crate::sim::apps::script::Main;

/// Options that change nothing a stack is judged by, and the beginnings of their values.
const HARMLESS_OPTIONS: [(&str, &[&str]); 3] = [
    ("--character-set-server", &["=utf8", "=latin1"]),
    ("--collation-server", &["=utf8", "=latin1"]),
    ("--loose-", &[""]),
];
/// Where the server and the entrypoint look for what the model does not read.
const SETTINGS: [&str; 4] =
    ["/etc/mysql", "/etc/my.cnf", "/etc/my.cnf.d", "/docker-entrypoint-initdb.d"];

impl Mysql {
    /// What is not acted on: options of the server, its configuration and first statements, the
    /// entrypoint's `_FILE` variables (docker-library/mysql `docker-entrypoint.sh:file_env`), and a
    /// server that runs without the entrypoint, which initialises and gives up root.
    pub(super) fn note_unmodelled(&self, main: &Main, cx: &mut AppCx<'_>) {
        let is_harmless = |word: &str| {
            HARMLESS_OPTIONS.iter().any(|(option, values)| {
                word.strip_prefix(option).is_some_and(|rest| {
                    rest.is_empty() || values.iter().any(|value| rest.starts_with(value))
                })
            })
        };
        let options = main.words.iter().filter(|word| word.starts_with('-') && !is_harmless(word));
        cx.notes.extend(options.map(|word| format!("{word} of mysqld")));
        let program = main.words.first().filter(|word| !word.starts_with('-'));
        let is_there = |name: &String| self.has_binary(name) == Some(true);
        cx.notes.extend(program.filter(|name| main.is_bare || !is_there(name)).cloned());
        let mounts = cx.start.mounts.iter().map(|mount| &mount.path);
        let settings =
            mounts.filter(|path| SETTINGS.iter().any(|place| Path::new(path).starts_with(place)));
        cx.notes.extend(settings.map(|path| format!("{path} mounted in {}", self.name)));
        let host = self.setting(cx, "ROOT_HOST").filter(|host| *host != "%");
        let host = host.map(|host| format!("{}ROOT_HOST={host}", self.prefixes[0]));
        cx.notes.extend(host);
        note_files(cx);
    }
}

fn note_files(cx: &mut AppCx<'_>) {
    let names = cx.start.env.iter().map(|(name, _)| name).filter(|name| {
        name.ends_with("_FILE") && (name.starts_with("MYSQL_") || name.starts_with("MARIADB_"))
    });
    cx.notes.extend(names.map(|name| format!("the variable {name}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::apps::testing::Bench;
    use crate::sim::machines::Mount;

    const ENV: &[(&str, &str)] = &[("MYSQL_ROOT_PASSWORD", "r")];

    #[test]
    fn a_server_without_its_entrypoint_and_its_files_are_noted() {
        let mut bench = Bench::new("mysql").env(ENV);
        bench.start.command = vec!["mysqld".into()];
        bench.start.mounts = vec![Mount {
            path: "/etc/mysql/conf.d".into(),
            volume: "v".into(),
            sub_path: String::new(),
            read_only: true,
        }];
        bench.launch(&mut Mysql::official());
        assert_eq!(bench.notes, ["mysqld", "/etc/mysql/conf.d mounted in MySQL"]);
    }

    #[test]
    fn options_and_secret_files_are_noted() {
        let mut bench = Bench::new("mysql").env(ENV);
        bench.start.args =
            vec!["--character-set-server=utf8mb4".into(), "--skip-networking".into()];
        bench.start.env.push(("MYSQL_PASSWORD_FILE".into(), "/run/secrets/p".into()));
        bench.launch(&mut Mysql::official());
        let expected = ["--skip-networking of mysqld", "the variable MYSQL_PASSWORD_FILE"];
        assert_eq!(bench.notes, expected);
    }
}
