//! MySQL and MariaDB: data directory, start-up, accounts, and the tables that WordPress uses.

mod server;
mod tables;
mod unmodelled;

pub(super) use server::Mysql;
