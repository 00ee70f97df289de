//! WordPress's connection to its database: one per request, as mysqli opens it.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::message::html;
use crate::base::secs;
use crate::sim::apps::model::{AppCx, DialError};
use crate::sim::apps::wire;
use crate::sim::machines::ContainerStart;

/// `default_socket_timeout` of PHP: how long an address that does not answer holds a request.
const CONNECT_TIMEOUT: Duration = secs(60);
/// The resolver's attempts before it gives a name up.
const RESOLVE_FAILS: Duration = Duration::from_millis(20);
/// Table that does not exist: the site is not installed.
const NO_SUCH_TABLE: &str = "1146";

/// Where the database is and who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    host: String,
    port: u16,
    user: String,
    password: String,
    name: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DbError {
    /// No connection, or no right to the database.
    Unavailable,
    /// The tables are not there.
    NotInstalled,
    /// The statement was refused, for the reason named.
    Refused(String),
}

impl Config {
    /// Reads the variables as `wp-config-docker.php` does.
    pub(super) fn read(start: &ContainerStart) -> Config {
        let value = |name: &str, default: &str| {
            let mut env = start.env.iter().rev();
            let found = env.find(|(key, value)| key == name && !value.is_empty());
            found.map_or_else(|| default.to_owned(), |(_, value)| value.clone())
        };
        let host = value("WORDPRESS_DB_HOST", "mysql");
        let (host, port) = match host.split_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(3306)),
            None => (host, 3306),
        };
        Config {
            host,
            port,
            user: value("WORDPRESS_DB_USER", "example username"),
            password: value("WORDPRESS_DB_PASSWORD", "example password"),
            name: value("WORDPRESS_DB_NAME", "wordpress"),
        }
    }

    /// Runs one statement; the fields of its answer, and the time spent waiting for it.
    pub(super) fn run(
        &self,
        statement: &[&str],
        wait: &mut Duration,
        cx: &mut AppCx<'_>,
    ) -> Result<Vec<String>, DbError> {
        let answer = self.send(statement, wait, cx)?;
        match wire::split(&answer).as_slice() {
            ["O" | "S", rest @ ..] => Ok(rest.iter().map(|field| (*field).to_owned()).collect()),
            ["E", NO_SUCH_TABLE, ..] => Err(DbError::NotInstalled),
            // 1044, 1045, 1049: no right, wrong password, no database.
            ["E", "1044" | "1045" | "1049", ..] => Err(DbError::Unavailable),
            ["E", code, ..] => Err(DbError::Refused((*code).to_owned())),
            _ => Err(DbError::Unavailable),
        }
    }

    /// Sends one statement and returns the raw answer.
    pub(super) fn send(
        &self,
        statement: &[&str],
        wait: &mut Duration,
        cx: &mut AppCx<'_>,
    ) -> Result<Bytes, DbError> {
        // mysqlnd takes `localhost` for a unix socket, whatever the port
        // (`ext/mysqlnd/mysqlnd_connection.c:get_scheme`); there is none in this image.
        if self.host == "localhost" {
            return Err(DbError::Unavailable);
        }
        let account = [self.user.as_str(), &self.password, &self.name];
        let query = wire::join(&[account.as_slice(), statement].concat());
        match cx.peers.query(&self.host, self.port, query.as_bytes()) {
            Ok((answer, took)) => {
                *wait += took;
                Ok(answer)
            }
            Err(error) => {
                *wait += match error {
                    DialError::Timeout => CONNECT_TIMEOUT,
                    DialError::UnknownHost => RESOLVE_FAILS,
                    DialError::Refused => Duration::ZERO,
                };
                Err(DbError::Unavailable)
            }
        }
    }
}

/// The page WordPress answers with when there is no database (`wp-includes/functions.php:dead_db`).
pub(super) fn error_page() -> Response<Bytes> {
    const BODY: &str = "<!DOCTYPE html>\n<html>\n<head><title>Database Error</title></head>\n\
        <body><h1>Error establishing a database connection</h1></body>\n</html>\n";
    html(StatusCode::INTERNAL_SERVER_ERROR, BODY)
}
