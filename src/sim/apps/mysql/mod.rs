//! MySQL and MariaDB: data directory, start-up, accounts, and the tables that WordPress uses.

mod lock;
mod server;
mod tables;
#[cfg(test)]
mod tests;
mod unmodelled;

pub(super) use server::Mysql;
