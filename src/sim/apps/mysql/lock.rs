//! One server for one data directory: it locks its files, and waits while another has them.

use std::time::Duration;

use super::Mysql;
use crate::base::{SimTime, millis, secs};
use crate::sim::apps::model::Launch;

/// What stands for the files that a server locks.
pub(super) const FIRST_FILE: &str = "/var/lib/mysql/ibdata1";
/// Between two tries, of both servers.
const PERIOD: Duration = secs(1);
/// How long MySQL tries, 100 times (`os0file.cc:os_file_create_func`, `OS_FILE_OPEN_RETRY`).
const MYSQL_PATIENCE: Duration = secs(100);
/// How long MariaDB does, which locks Aria's control file first (`ma_control_file.c:lock_control_file`;
/// 30.0 s measured with 10.11).
const MARIADB_PATIENCE: Duration = secs(30);

impl Mysql {
    /// Another server has the files: the wait for it, after `begun` of start-up and its lines.
    pub(super) fn wait_for_lock(
        &mut self,
        begun: Duration,
        mut log: Vec<String>,
        now: SimTime,
    ) -> Launch {
        let since = *self.waits_since.get_or_insert(now);
        let (patience, line) = match self.is_mariadb() {
            true => (
                MARIADB_PATIENCE,
                "[ERROR] mariadbd: Can't lock aria control file '/var/lib/mysql/aria_log_control' for \
                 exclusive use, error: 11",
            ),
            false => (MYSQL_PATIENCE, "[ERROR] [InnoDB] Unable to lock ./ibdata1 error: 11"),
        };
        let gives_up = now.since(since) >= patience;
        log.push(line.into());
        Launch {
            tries_again: (!gives_up).then_some(begun + PERIOD),
            exits: gives_up.then_some((millis(200), 1)),
            memory_bytes: self.memory_bytes / 2,
            n_workers: 1,
            log,
            ..Launch::default()
        }
    }
}
